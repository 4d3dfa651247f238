//! A scheduler that lies: it connects, tells a release and registers like a real one, then does as it is told.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use dask_wire::frame::{FrameReader, Framing, prelude};
use dask_wire::{Encoding, Limits, Message, Value, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One connection to the liar.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    reader: FrameReader,
}

impl Caller {
    /// The next message of the client; `None` when it has gone.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(frames) = self.reader.next_message().ok()? {
                return Message::new(frames, Encoding::Placeholders, Limits::default()).ok();
            }
            if self.stream.read_buf(&mut self.reader.space()).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Sends a well-formed message.
    pub async fn send(&mut self, value: &Value<'_>) {
        self.send_frames(&Encoding::Placeholders.encode(value, None)).await;
    }

    /// Sends any frames.
    pub async fn send_frames(&mut self, frames: &[Bytes]) {
        let mut bytes = prelude(Framing::Prefixed, frames);
        frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
        self.send_bytes(&bytes).await;
    }

    /// Sends any bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Ends the connection.
    pub async fn hang_up(mut self) {
        drop(self.stream.shutdown().await);
    }
}

/// Listens on loopback. `stream` gets the connection on which a client has registered; requests on others get `reply`
/// of their op, or no answer at all for `None`.
pub async fn scheduler<R, S, F>(reply: R, stream: S) -> String
where
    R: Fn(&str) -> Option<Value<'static>> + Send + Sync + 'static,
    S: Fn(Caller) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    let (reply, stream) = (Arc::new(reply), Arc::new(stream));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (reply, stream) = (Arc::clone(&reply), Arc::clone(&stream));
            tokio::spawn(async move {
                let reader = FrameReader::with_framing(Framing::Prefixed, Limits::default());
                let mut caller = Caller { stream: socket, reader };
                caller.send(&handshake::ours(None, 4)).await;
                caller.next().await;
                while let Some(message) = caller.next().await {
                    let op =
                        message.value().ok().and_then(|value| Some(value.get("op")?.as_str()?.to_owned()));
                    match op.as_deref() {
                        Some("versions") => {
                            let packages: Value<'_> = [("distributed", "2026.8.0")].into_iter().collect();
                            caller
                                .send(&[("host", Value::Nil), ("packages", packages)].into_iter().collect())
                                .await;
                        }
                        Some("register-client") => {
                            let start: Value<'_> = [("op", "stream-start")].into_iter().collect();
                            caller.send(&Value::Array(vec![start])).await;
                            stream(caller).await;
                            return;
                        }
                        Some(op) => match reply(op) {
                            Some(value) => caller.send(&value).await,
                            None => std::future::pending().await,
                        },
                        None => return,
                    }
                }
            });
        }
    });
    address
}
