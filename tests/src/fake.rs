//! A scheduler that lies: it connects, tells a release and registers like a real one, then does as it is told.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use dask_wire::frame::{FrameReader, Framing, Space, WebSocketReader, prelude};
use dask_wire::{Encoding, Limits, Message, Value, handshake};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;

/// One connection to the liar.
#[derive(Debug)]
pub struct Caller {
    link: Link,
    encoding: Encoding,
}

#[derive(Debug)]
enum Link {
    Stream { stream: TcpStream, framing: Framing, reader: FrameReader },
    WebSocket { socket: Box<WebSocketStream<TcpStream>>, reader: WebSocketReader },
}

impl Caller {
    /// The next message of the client; `None` when it has gone.
    pub async fn next(&mut self) -> Option<Message> {
        let frames = match &mut self.link {
            Link::Stream { stream, reader, .. } => loop {
                if let Some(frames) = reader.next_message().ok()? {
                    break frames;
                }
                let count = match reader.space() {
                    Space::Buffer(mut buffer) => stream.read_buf(&mut buffer).await,
                    Space::Block(block) => stream.read(block).await,
                };
                let count = count.ok().filter(|count| *count > 0)?;
                reader.filled(count);
            },
            Link::WebSocket { socket, reader } => loop {
                if let WsMessage::Binary(bytes) = socket.next().await?.ok()?
                    && let Some(frames) = reader.push(bytes).ok()?
                {
                    break frames;
                }
            },
        };
        Message::new(frames, self.encoding, Limits::default()).ok()
    }

    /// Sends a well-formed message.
    pub async fn send(&mut self, value: &Value<'_>) {
        self.send_frames(&self.encoding.encode(value, None)).await;
    }

    /// Sends any frames.
    pub async fn send_frames(&mut self, frames: &[Bytes]) {
        match &mut self.link {
            Link::Stream { stream, framing, .. } => {
                let mut bytes = prelude(*framing, frames);
                frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
                drop(stream.write_all(&bytes).await);
            }
            Link::WebSocket { socket, .. } => {
                let count = Bytes::copy_from_slice(&(frames.len() as u64).to_le_bytes());
                for frame in [count].into_iter().chain(frames.iter().cloned()) {
                    drop(socket.send(WsMessage::Binary(frame)).await);
                }
            }
        }
    }

    /// Sends any bytes: on a WebSocket below its own framing, where they belong to no WebSocket message.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let stream = match &mut self.link {
            Link::Stream { stream, .. } => stream,
            Link::WebSocket { socket, .. } => socket.get_mut(),
        };
        drop(stream.write_all(bytes).await);
    }

    /// Sends one WebSocket message; on other connections nothing.
    pub async fn send_websocket(&mut self, message: WsMessage) {
        if let Link::WebSocket { socket, .. } = &mut self.link {
            drop(socket.send(message).await);
        }
    }

    /// Ends the connection.
    pub async fn hang_up(mut self) {
        match &mut self.link {
            Link::Stream { stream, .. } => drop(stream.shutdown().await),
            Link::WebSocket { socket, .. } => drop(socket.get_mut().shutdown().await),
        }
    }
}

/// Which release a liar pretends to be, and how it speaks.
#[derive(Clone)]
pub struct Liar {
    release: Arc<dyn Fn() -> String + Send + Sync>,
    framing: Framing,
    encoding: Encoding,
    websocket: bool,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liar").field("release", &(self.release)()).finish_non_exhaustive()
    }
}

impl Liar {
    /// One that calls itself by any release, and speaks like the newest.
    pub fn new(release: &str) -> Self {
        let release = release.to_owned();
        Self::by(move || release.clone())
    }

    /// One whose release is asked for anew at each connection.
    pub fn by(release: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            release: Arc::new(release),
            framing: Framing::Prefixed,
            encoding: Encoding::Placeholders,
            websocket: false,
        }
    }

    /// Speaks in this encoding, with the framing that came with it.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.framing = if encoding == Encoding::PathsWithLengths { Framing::Bare } else { Framing::Prefixed };
        self.encoding = encoding;
        self
    }

    /// Listens for WebSockets.
    pub fn websocket(mut self) -> Self {
        self.websocket = true;
        self
    }

    /// Listens on loopback and gives the address. `stream` gets the connection on which a client has registered;
    /// requests on others get `reply` of their op, or no answer at all for `None`. The questions with which a client
    /// finds out whom it talks to are answered without asking `reply`.
    pub async fn listen<R, S, F>(self, reply: R, stream: S) -> String
    where
        R: Fn(&str) -> Option<Value<'static>> + Send + Sync + 'static,
        S: Fn(Caller) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let reply = move |op: String, mut caller: Caller| {
            let value = reply(&op);
            async move {
                match value {
                    Some(value) => caller.send(&value).await,
                    None => std::future::pending().await,
                }
                Some(caller)
            }
        };
        self.listen_and_answer(reply, stream).await
    }

    /// As [`Liar::listen`], but `answer` gets the connection with each op, and gives it back if it goes on.
    pub async fn listen_and_answer<A, G, S, F>(self, answer: A, stream: S) -> String
    where
        A: Fn(String, Caller) -> G + Send + Sync + 'static,
        G: Future<Output = Option<Caller>> + Send,
        S: Fn(Caller) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let scheme = if self.websocket { "ws" } else { "tcp" };
        let address = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let (answer, stream) = (Arc::new(answer), Arc::new(stream));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (liar, answer, stream) = (self.clone(), Arc::clone(&answer), Arc::clone(&stream));
                tokio::spawn(async move {
                    if let Some(caller) = liar.welcome(socket).await {
                        liar.serve(caller, &*answer, &*stream).await;
                    }
                });
            }
        });
        address
    }

    async fn welcome(&self, stream: TcpStream) -> Option<Caller> {
        let limits = Limits::default();
        let link = if self.websocket {
            let socket = tokio_tungstenite::accept_async(stream).await.ok()?;
            Link::WebSocket { socket: Box::new(socket), reader: WebSocketReader::new(limits) }
        } else {
            let reader = FrameReader::with_framing(self.framing, limits);
            Link::Stream { stream, framing: self.framing, reader }
        };
        let mut caller = Caller { link, encoding: self.encoding };
        caller.send(&handshake::ours(None, 4)).await;
        caller.next().await?;
        Some(caller)
    }

    async fn serve<G, F>(
        &self,
        mut caller: Caller,
        answer: impl Fn(String, Caller) -> G,
        stream: impl Fn(Caller) -> F,
    ) where
        G: Future<Output = Option<Caller>>,
        F: Future<Output = ()>,
    {
        while let Some(message) = caller.next().await {
            let op = message.value().ok().and_then(|value| Some(value.get("op")?.as_str()?.to_owned()));
            match op.as_deref() {
                Some("versions") => {
                    let release = (self.release)();
                    let packages: Value<'_> = [("distributed", release.as_str())].into_iter().collect();
                    caller.send(&[("host", Value::Nil), ("packages", packages)].into_iter().collect()).await;
                }
                Some("who_has") => caller.send(&Value::Map(Vec::new())).await,
                Some("register-client") => {
                    let start: Value<'_> = [("op", "stream-start")].into_iter().collect();
                    caller.send(&Value::Array(vec![start])).await;
                    return stream(caller).await;
                }
                Some(op) => match answer(op.to_owned(), caller).await {
                    Some(back) => caller = back,
                    None => return,
                },
                None => return,
            }
        }
    }
}

/// A [`Liar`] of the newest release.
pub async fn scheduler<R, S, F>(reply: R, stream: S) -> String
where
    R: Fn(&str) -> Option<Value<'static>> + Send + Sync + 'static,
    S: Fn(Caller) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    Liar::new(&dask_wire::dialect::NEWEST_KNOWN.to_string()).listen(reply, stream).await
}
