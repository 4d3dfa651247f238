//! A comm: one connection to a Dask server, carrying messages.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
#[cfg(feature = "ws")]
use dask_wire::frame::WebSocketReader;
use dask_wire::frame::{FrameReader, Framing, Space, prelude};
use dask_wire::{Compression, Encoding, Limits, Message, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::address::Address;
use crate::error::Error;

pub(crate) type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

#[cfg(feature = "ws")]
pub(crate) type Socket = tokio_tungstenite::WebSocketStream<super::moving::Moving<super::dial::Io>>;

/// Bytes and messages that went over a client's connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) messages_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
}

/// What both halves of a comm need to know.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub(crate) peer: Address,
    pub(crate) encoding: Encoding,
    pub(crate) compression: Option<Compression>,
    pub(crate) limits: Limits,
    pub(crate) traffic: Arc<Traffic>,
    /// Bytes that have gone over this comm, either way.
    pub(crate) moved: super::moving::Moved,
}

/// One connection whose handshake is done.
pub(crate) struct Comm {
    pub(crate) reader: CommReader,
    pub(crate) writer: CommWriter,
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comm").field("peer", &self.reader.agreed.peer).finish_non_exhaustive()
    }
}

pub(crate) struct CommReader {
    pub(crate) source: Source,
    pub(crate) agreed: Agreed,
}

pub(crate) enum Source {
    Stream {
        io: BoxRead,
        frames: FrameReader,
    },
    #[cfg(feature = "ws")]
    WebSocket {
        socket: futures::stream::SplitStream<Socket>,
        frames: WebSocketReader,
    },
}

impl Source {
    /// The frames of the next message; `None` when the peer ended the connection between two messages.
    ///
    /// Dropping the future loses nothing: what has arrived stays in `self`.
    pub(crate) async fn frames(&mut self, peer: &Address) -> Result<Option<Vec<Bytes>>, Error> {
        match self {
            Source::Stream { io, frames } => loop {
                if let Some(message) = frames.next_message().map_err(|error| Error::wire(peer, error))? {
                    return Ok(Some(message));
                }
                let read = match frames.space() {
                    Space::Buffer(mut buffer) => io.read_buf(&mut buffer).await,
                    Space::Block(block) => io.read(block).await,
                };
                match read {
                    Ok(0) if frames.is_between_messages() => return Ok(None),
                    Ok(0) => {
                        return Err(Error::lost(peer, "the connection ended in the middle of a message"));
                    }
                    Ok(count) => frames.filled(count),
                    // Dask's servers close TCP without TLS's goodbye.
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                        return if frames.is_between_messages() {
                            Ok(None)
                        } else {
                            Err(Error::lost(peer, "the connection ended in the middle of a message"))
                        };
                    }
                    Err(error) => return Err(super::dial::broken(peer, &error)),
                }
            },
            #[cfg(feature = "ws")]
            Source::WebSocket { socket, frames } => {
                use futures::StreamExt;
                use tokio_tungstenite::tungstenite::Message as WsMessage;
                loop {
                    match socket.next().await {
                        Some(Ok(WsMessage::Binary(bytes))) => {
                            if let Some(message) =
                                frames.push(bytes).map_err(|error| Error::wire(peer, error))?
                            {
                                return Ok(Some(message));
                            }
                        }
                        Some(Ok(WsMessage::Close(_))) | None if frames.is_between_messages() => {
                            return Ok(None);
                        }
                        Some(Ok(WsMessage::Close(_))) | None => {
                            return Err(Error::lost(peer, "the connection ended in the middle of a message"));
                        }
                        Some(Ok(WsMessage::Text(_))) => {
                            let found = "a WebSocket text message, where Dask sends binary ones".to_owned();
                            return Err(Error::wire(peer, dask_wire::WireError::NotDask { found }));
                        }
                        Some(Ok(_)) => (),
                        Some(Err(error)) => return Err(websocket_failed(peer, &error)),
                    }
                }
            }
        }
    }

    /// Other bounds on the messages from now on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        match self {
            Source::Stream { frames, .. } => frames.set_limits(limits),
            #[cfg(feature = "ws")]
            Source::WebSocket { frames, .. } => frames.set_limits(limits),
        }
    }

    /// The framing that the peer's first bytes told. A WebSocket has none; it exists since the newer encoding only.
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Source::Stream { frames, .. } => frames.framing().unwrap_or(Framing::Prefixed),
            #[cfg(feature = "ws")]
            Source::WebSocket { .. } => Framing::Prefixed,
        }
    }
}

/// A peer that breaks WebSocket's rules or a limit, told apart from a connection that broke.
#[cfg(feature = "ws")]
fn websocket_failed(peer: &Address, error: &tokio_tungstenite::tungstenite::Error) -> Error {
    use dask_wire::WireError;
    use tokio_tungstenite::tungstenite::Error as WsError;
    use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
    let broken = match error {
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            return Error::lost(peer, "the server closed the connection");
        }
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => WireError::TooLarge {
            what: "a WebSocket message in bytes",
            actual: *size as u64,
            limit: *max_size as u64,
            name: "websocket_bytes",
        },
        WsError::Protocol(_) | WsError::Capacity(_) | WsError::Utf8(_) | WsError::AttackAttempt => {
            WireError::Malformed(format!("on a WebSocket: {error}"))
        }
        WsError::Io(error) => return super::dial::broken(peer, error),
        error => return Error::lost(peer, error),
    };
    Error::wire(peer, broken)
}

impl CommReader {
    /// The next message; `None` when the peer ended the connection between two messages.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Error> {
        let Some(frames) = self.source.frames(&self.agreed.peer).await? else { return Ok(None) };
        let size: usize = frames.iter().map(Bytes::len).sum();
        self.agreed.traffic.messages_in.fetch_add(1, Ordering::Relaxed);
        self.agreed.traffic.bytes_in.fetch_add(size as u64, Ordering::Relaxed);
        let runs = match &mut self.source {
            Source::Stream { frames, .. } => frames.take_runs(),
            #[cfg(feature = "ws")]
            Source::WebSocket { .. } => Vec::new(),
        };
        let message = Message::new(frames, self.agreed.encoding, self.agreed.limits)
            .map_err(|error| Error::wire(&self.agreed.peer, error))?;
        Ok(Some(message.with_runs(runs)))
    }

    /// The next message, where there has to be one.
    pub(crate) async fn expect(&mut self) -> Result<Message, Error> {
        match self.next().await? {
            Some(message) => Ok(message),
            None => Err(Error::lost(&self.agreed.peer, "the server closed the connection")),
        }
    }
}

pub(crate) struct CommWriter {
    pub(crate) sink: Sink,
    pub(crate) agreed: Agreed,
}

pub(crate) enum Sink {
    Stream {
        io: BoxWrite,
        framing: Framing,
    },
    #[cfg(feature = "ws")]
    WebSocket {
        socket: futures::stream::SplitSink<Socket, tokio_tungstenite::tungstenite::Message>,
    },
}

/// Messages up to this size are copied into one buffer; larger ones are written frame by frame.
const SMALL: usize = 64 * 1024;

impl Sink {
    /// Writes in the framing that the peer's first bytes told.
    pub(crate) fn answer_in(&mut self, told: Framing) {
        match self {
            Sink::Stream { framing, .. } => *framing = told,
            #[cfg(feature = "ws")]
            Sink::WebSocket { .. } => (),
        }
    }

    pub(crate) async fn send(&mut self, frames: Vec<Bytes>) -> std::io::Result<()> {
        match self {
            Sink::Stream { io, framing } => {
                let mut start = prelude(*framing, &frames);
                let size: usize = frames.iter().map(Bytes::len).sum();
                if start.len() + size <= SMALL {
                    frames.iter().for_each(|frame| start.extend_from_slice(frame));
                    io.write_all(&start).await?;
                } else {
                    let mut queue = VecDeque::with_capacity(frames.len() + 1);
                    queue.push_back(Bytes::from(start));
                    queue.extend(frames.into_iter().filter(|frame| !frame.is_empty()));
                    io.write_all_buf(&mut FrameQueue(queue)).await?;
                }
                io.flush().await
            }
            #[cfg(feature = "ws")]
            Sink::WebSocket { socket } => {
                use futures::SinkExt;
                use tokio_tungstenite::tungstenite::Message as WsMessage;
                let count = Bytes::copy_from_slice(&(frames.len() as u64).to_le_bytes());
                let other = |error: tokio_tungstenite::tungstenite::Error| match error {
                    tokio_tungstenite::tungstenite::Error::Io(error) => error,
                    error => std::io::Error::other(error),
                };
                socket.feed(WsMessage::Binary(count)).await.map_err(other)?;
                for frame in frames {
                    socket.feed(WsMessage::Binary(frame)).await.map_err(other)?;
                }
                socket.flush().await.map_err(other)
            }
        }
    }
}

impl CommWriter {
    /// Sends a message. A future dropped halfway leaves a torn message behind: the comm must then be dropped, too.
    pub(crate) async fn send(&mut self, message: &Value<'_>) -> Result<(), Error> {
        let frames = self.agreed.encoding.encode(message, self.agreed.compression);
        let size: usize = frames.iter().map(Bytes::len).sum();
        let sent = self.sink.send(frames).await;
        sent.map_err(|error| super::dial::broken(&self.agreed.peer, &error))?;
        self.agreed.traffic.messages_out.fetch_add(1, Ordering::Relaxed);
        self.agreed.traffic.bytes_out.fetch_add(size as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Ends our side, so that the server sees an orderly close.
    pub(crate) async fn shutdown(&mut self) {
        match &mut self.sink {
            Sink::Stream { io, .. } => drop(io.shutdown().await),
            #[cfg(feature = "ws")]
            Sink::WebSocket { socket } => {
                use futures::SinkExt;
                drop(socket.close().await);
            }
        }
    }
}

impl Comm {
    /// One request, one reply.
    pub(crate) async fn call(&mut self, request: &Value<'_>) -> Result<Message, Error> {
        self.writer.send(request).await?;
        self.reader.expect().await
    }
}

/// Frames still to be written, as one run of bytes.
struct FrameQueue(VecDeque<Bytes>);

impl Buf for FrameQueue {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |frame| frame.as_ref())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.0) {
            *slice = IoSlice::new(frame);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.0.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
    }
}
