//! Whether a connection moves: transfers are given up when nothing arrives any more, not because they are long.

use std::future::Future as StdFuture;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts bytes, to be looked at by whoever waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved(Arc<AtomicU64>);

impl Moved {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for work for as long as bytes move; `None` once none have for `stall` (or up to twice that).
    pub(crate) async fn wait_for<T>(
        &self,
        mut work: Pin<&mut impl StdFuture<Output = T>>,
        stall: Duration,
    ) -> Option<T> {
        let mut seen = self.load();
        loop {
            if let Ok(done) = tokio::time::timeout(stall, work.as_mut()).await {
                return Some(done);
            }
            let now = self.load();
            if std::mem::replace(&mut seen, now) == now {
                return None;
            }
        }
    }
}

/// Counts what goes through it.
#[derive(Debug)]
pub(crate) struct Moving<T> {
    io: T,
    moved: Moved,
}

impl<T> Moving<T> {
    pub(crate) fn new(io: T, moved: &Moved) -> Self {
        Self { io, moved: moved.clone() }
    }

    pub(crate) fn into_parts(self) -> (T, Moved) {
        (self.io, self.moved)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Moving<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        this.moved.add(buf.filled().len().saturating_sub(before));
        read
    }
}

impl<T: AsyncWrite + Unpin> Moving<T> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.moved.add(bytes);
        }
        written
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Moving<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_waited_for_and_what_stalls_is_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let moved = Moved::default();
        let mut near = Moving::new(near, &moved);
        tokio::spawn(async move {
            // Ten times as long as a stall may be, but never silent for that long.
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                far.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let mut text = [0; 20];
        let whole = std::pin::pin!(near.read_exact(&mut text));
        assert!(moved.wait_for(whole, Duration::from_secs(10)).await.is_some());
        let more = std::pin::pin!(near.read_u8());
        assert!(moved.wait_for(more, Duration::from_secs(10)).await.is_none());
    }
}
