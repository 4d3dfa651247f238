//! Opening a comm: name, TCP, TLS, WebSocket, handshake, each step timed and each failure in plain words.

use std::collections::VecDeque;
use std::future::Future as StdFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dask_wire::frame::FrameReader;
use dask_wire::handshake::{self, Handshake};
use dask_wire::{Compression, Encoding, Limits, Message};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::address::{Address, Scheme};
use super::comm::{Agreed, Comm, CommReader, CommWriter, Sink, Source, Traffic};
use super::moving::{Moved, Moving};
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::{Error, ErrorKind};
use crate::waiting::limit::from_now;

/// Everything that opening a connection needs besides the address.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) timeout: Duration,
    /// How long a peer may leave what was sent unacknowledged.
    pub(crate) tcp_timeout: Duration,
    /// Refuse addresses without TLS.
    pub(crate) encrypted_only: bool,
    pub(crate) limits: Limits,
    pub(crate) compression: Option<Compression>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<super::renewal::TlsOrigin>,
    /// Connect here instead of to the scheduler address's own host and port.
    pub(crate) via: Option<(String, u16)>,
    pub(crate) traffic: Arc<Traffic>,
}

/// There are none without the feature.
#[cfg(not(feature = "tls"))]
enum Tls {}

/// How long each step of opening a connection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectPhases {
    /// Name resolution.
    pub resolve: Duration,
    /// The TCP connection.
    pub tcp: Duration,
    /// The TLS handshake; `None` without TLS.
    pub tls: Option<Duration>,
    /// The WebSocket upgrade; `None` without WebSocket.
    pub websocket: Option<Duration>,
    /// Dask's own handshake.
    pub handshake: Duration,
    /// What the TLS handshake came to; `None` without TLS.
    #[cfg(feature = "tls")]
    pub tls_session: Option<super::tls::TlsSession>,
}

/// A peer that says nothing for this share of the time to connect is sent our handshake, to see how it reacts.
const NUDGE_AFTER: Duration = Duration::from_millis(1500);

impl Dialer {
    /// Opens a comm within the connect timeout.
    pub(crate) async fn open(&self, peer: &Address) -> Result<(Comm, ConnectPhases), Error> {
        if self.encrypted_only && !peer.scheme().is_encrypted() {
            return Err(Error::config(format!(
                "{peer} is not encrypted, and distributed.comm.require-encryption demands that; use a tls:// address"
            )));
        }
        let start = Instant::now();
        let deadline = from_now(self.timeout);
        let mut phases = ConnectPhases::default();

        let (host, port) = match &self.via {
            Some((host, port)) => (host.as_str(), *port),
            None => (peer.host(), peer.port()),
        };
        let found = timeout_at(deadline, tokio::net::lookup_host((host, port))).await;
        let found = found.map_err(|_| Error::connect_timeout(peer, "resolving the name", self.timeout))?;
        let addresses = in_turn(found.map_err(|error| Error::resolve(peer, host, &error))?);
        phases.resolve = start.elapsed();

        let mut nudge = true;
        let comm = loop {
            if let Some(comm) = self.attempt(&addresses, peer, deadline, nudge, &mut phases).await? {
                break comm;
            }
            // The server was only slow, and by now it answers.
            nudge = false;
        };
        tracing::debug!(%peer, elapsed = ?start.elapsed(), "connected");
        Ok((comm, phases))
    }

    /// One connection, up to the handshake; `None` if a nudge made it useless.
    async fn attempt(
        &self,
        addresses: &[SocketAddr],
        peer: &Address,
        deadline: tokio::time::Instant,
        nudge: bool,
        phases: &mut ConnectPhases,
    ) -> Result<Option<Comm>, Error> {
        let tls = self.current_tls(peer, deadline).await?;
        let mark = Instant::now();
        let tcp = timeout_at(deadline, connect_any(addresses, connect_to_another)).await;
        let tcp =
            tcp.map_err(|_| Error::connect_timeout(peer, "opening the TCP connection", self.timeout))?;
        let tcp = tcp.map_err(|error| Error::refused(peer, &error))?;
        tune(&tcp, self.tcp_timeout);
        phases.tcp = mark.elapsed();

        let comm = self.converse(tcp, tls, peer, deadline, nudge, phases).await;
        // It may be the certificate that the server does not like.
        comm.map_err(|error| self.renew_tls_after(error))
    }

    /// Has TLS settings at hand before there is a connection: servers give a client little time to begin.
    async fn current_tls(
        &self,
        peer: &Address,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Tls>, Error> {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.as_ref().filter(|_| peer.scheme().is_encrypted()) {
            let tls = timeout_at(deadline, tls.current(peer, self.timeout / 2)).await.map_err(|_| {
                Error::connect_timeout(peer, "getting a certificate for this client", self.timeout)
            })?;
            return tls.map(Some);
        }
        let _ = (peer, deadline);
        Ok(None)
    }

    /// TLS settings are made anew for the next connection, where they can be.
    pub(crate) fn renew_tls(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.renew();
        }
    }

    /// As [`Dialer::renew_tls`]; with other settings the next connection may do better than this one.
    fn renew_tls_after(&self, error: Error) -> Error {
        self.renew_tls();
        #[cfg(feature = "tls")]
        if let Some(tls) =
            self.tls.as_ref().filter(|_| error.kind() == ErrorKind::Connect && !error.may_heal())
        {
            tls.refuse();
        }
        #[cfg(feature = "tls")]
        if matches!(self.tls, Some(super::renewal::TlsOrigin::Renewed(_)))
            && error.kind() == ErrorKind::Connect
        {
            return error.healable();
        }
        error
    }

    /// The steps on a TCP connection.
    async fn converse(
        &self,
        tcp: TcpStream,
        tls: Option<Tls>,
        peer: &Address,
        deadline: tokio::time::Instant,
        nudge: bool,
        phases: &mut ConnectPhases,
    ) -> Result<Option<Comm>, Error> {
        let moved = Moved::default();
        let io = Moving::new(self.secure(tcp, tls, peer, deadline, phases).await?, &moved);
        let (source, sink) = self.upgrade(io, peer, deadline, phases).await?;
        let mark = Instant::now();
        let comm = timeout_at(deadline, self.shake_hands(source, sink, moved, peer, nudge)).await;
        let comm = comm.map_err(|_| Error::silent(peer, self.timeout))??;
        phases.handshake += mark.elapsed();
        Ok(comm)
    }

    #[cfg(feature = "tls")]
    async fn secure(
        &self,
        tcp: TcpStream,
        tls: Option<Tls>,
        peer: &Address,
        deadline: tokio::time::Instant,
        phases: &mut ConnectPhases,
    ) -> Result<Io, Error> {
        if !peer.scheme().is_encrypted() {
            return Ok(Io::Tcp(tcp));
        }
        let tls = tls.ok_or_else(|| {
            Error::config(format!(
                "{peer} needs TLS settings: the cluster's CA file, a client certificate and its key"
            ))
        })?;
        let name = tls.name_for(peer.host()).map_err(|error| Error::config(error.to_string()))?;
        let mark = Instant::now();
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
        let stream = timeout_at(deadline, connector.connect(name, tcp)).await;
        let stream = stream.map_err(|_| Error::connect_timeout(peer, "the TLS handshake", self.timeout))?;
        let stream = stream.map_err(|error| {
            Error::tls(peer, &super::tls::explain(&error), super::tls::is_lasting(&error))
        })?;
        phases.tls = Some(mark.elapsed());
        phases.tls_session = Some(super::tls::TlsSession::of(stream.get_ref().1));
        Ok(Io::Tls(Box::new(stream)))
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(
        &self,
        tcp: TcpStream,
        _: Option<Tls>,
        peer: &Address,
        _: tokio::time::Instant,
        _: &mut ConnectPhases,
    ) -> Result<Io, Error> {
        if peer.scheme().is_encrypted() {
            return Err(Error::config(format!("{peer} needs this crate's feature \"tls\"")));
        }
        Ok(Io::Tcp(tcp))
    }

    async fn upgrade(
        &self,
        io: Moving<Io>,
        peer: &Address,
        deadline: tokio::time::Instant,
        phases: &mut ConnectPhases,
    ) -> Result<(Source, Sink), Error> {
        if !matches!(peer.scheme(), Scheme::Ws | Scheme::Wss) {
            let (read, write) = split(io);
            return Ok((
                Source::Stream { io: read, frames: FrameReader::new(self.limits.before_handshake()) },
                Sink::Stream { io: write, framing: dask_wire::frame::Framing::Prefixed },
            ));
        }
        self.upgrade_to_websocket(io, peer, deadline, phases).await
    }

    #[cfg(feature = "ws")]
    async fn upgrade_to_websocket(
        &self,
        io: Moving<Io>,
        peer: &Address,
        deadline: tokio::time::Instant,
        phases: &mut ConnectPhases,
    ) -> Result<(Source, Sink), Error> {
        use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
        let mark = Instant::now();
        // The library reserves what a frame's header claims, and its bounds are those of the whole connection.
        let size = self.limits.websocket_bytes.min(self.limits.message_bytes);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default().max_message_size(Some(size)).max_frame_size(Some(size));
        let url = format!("{}://{}/", peer.scheme().name(), peer.authority());
        let socket = tokio_tungstenite::client_async_with_config(url, io, Some(config));
        let socket = timeout_at(deadline, socket).await;
        let socket =
            socket.map_err(|_| Error::connect_timeout(peer, "the WebSocket upgrade", self.timeout))?;
        let (socket, _) = socket.map_err(|error| Error::websocket(peer, &error.to_string()))?;
        phases.websocket = Some(mark.elapsed());
        let (sink, stream) = socket.split();
        let frames = dask_wire::frame::WebSocketReader::new(self.limits.before_handshake());
        Ok((Source::WebSocket { socket: stream, frames }, Sink::WebSocket { socket: sink }))
    }

    #[cfg(not(feature = "ws"))]
    async fn upgrade_to_websocket(
        &self,
        _: Moving<Io>,
        peer: &Address,
        _: tokio::time::Instant,
        _: &mut ConnectPhases,
    ) -> Result<(Source, Sink), Error> {
        Err(Error::config(format!("{peer} needs this crate's feature \"ws\"")))
    }

    /// The server speaks first; its first bytes tell how to answer. With `nudge` it is not waited for without end;
    /// `None` if it was sent what its release does not understand.
    async fn shake_hands(
        &self,
        mut source: Source,
        mut sink: Sink,
        moved: Moved,
        peer: &Address,
        nudge: bool,
    ) -> Result<Option<Comm>, Error> {
        let ours = handshake::ours(self.compression, 5);
        let mut sent = false;
        let patience = if nudge { NUDGE_AFTER.min(self.timeout / 2) } else { self.timeout };
        let first = match tokio::time::timeout(patience, source.frames(peer)).await {
            Ok(frames) => frames,
            Err(_) if !nudge => return Err(Error::silent(peer, self.timeout)),
            Err(_) => {
                // A slow scheduler finds our handshake where it looks for it anyway; anything else gives itself away by
                // its answer.
                let frames = Encoding::Placeholders.encode(&ours, None);
                sent = sink.send(frames).await.is_ok();
                match source.frames(peer).await {
                    Err(error) if error.kind() == ErrorKind::ConnectionLost => {
                        return Err(Error::hung_up(peer));
                    }
                    Ok(None) => return Err(Error::hung_up(peer)),
                    answer => answer,
                }
            }
        };
        let frames =
            first?.ok_or_else(|| Error::lost(peer, "the server closed the connection without a word"))?;
        let framing = source.framing();
        let encoding = Encoding::detect(framing, frames.len()).map_err(|error| Error::wire(peer, error))?;
        let message = Message::new(frames, encoding, self.limits.before_handshake())
            .map_err(|error| Error::wire(peer, error))?;
        source.set_limits(self.limits);
        let theirs = message.value().and_then(|value| Handshake::from_value(&value));
        let theirs = theirs.map_err(|error| Error::wire(peer, error))?;
        sink.answer_in(framing);
        if sent && encoding != Encoding::Placeholders {
            return Ok(None);
        }
        let agreed = Agreed {
            peer: peer.clone(),
            encoding,
            compression: self.compression.filter(|ours| theirs.compression.as_deref() == Some(ours.name())),
            limits: self.limits,
            traffic: Arc::clone(&self.traffic),
            moved,
        };
        let mut comm = Comm {
            reader: CommReader { source, agreed: agreed.clone() },
            writer: CommWriter { sink, agreed },
        };
        if !sent {
            comm.writer.send(&ours).await?;
        }
        Ok(Some(comm))
    }
}

/// Connects, unless to itself: TCP may pick the wanted port for this side as well when nobody listens there. That would
/// look like a silent peer, and would keep a scheduler that comes back from its port.
async fn connect_to_another(address: SocketAddr) -> io::Result<TcpStream> {
    unless_to_itself(TcpStream::connect(address).await?)
}

fn unless_to_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? != stream.peer_addr()? {
        return Ok(stream);
    }
    // Gives the port back at once, instead of minutes later.
    drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
    Err(io::ErrorKind::ConnectionRefused.into())
}

/// An address that says nothing for this long is not waited for before the next is tried as well.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first, trying them in turn with a head start for each.
async fn connect_any<A: Copy, S, F: StdFuture<Output = io::Result<S>>>(
    addresses: &[A],
    connect: impl Fn(A) -> F,
) -> io::Result<S> {
    let mut rest = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    loop {
        let next = match rest.next() {
            Some(address) => {
                attempts.push(connect(*address));
                tokio::time::timeout(NEXT_AFTER, attempts.next()).await
            }
            None => Ok(attempts.next().await),
        };
        match next {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last = Some(error),
            // The next one joins.
            Err(_) => (),
            // All have failed.
            Ok(None) => break,
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// The addresses in their order, the two families in turn: a network without one of them costs one head start.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut first: VecDeque<SocketAddr> = addresses.collect();
    let family = first.front().map(SocketAddr::is_ipv4);
    let mut second: VecDeque<SocketAddr> = VecDeque::new();
    first.retain(|address| {
        let same = Some(address.is_ipv4()) == family;
        if !same {
            second.push_back(*address);
        }
        same
    });
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    while !(first.is_empty() && second.is_empty()) {
        mixed.extend(first.pop_front());
        mixed.extend(second.pop_front());
    }
    mixed
}

/// Latency before throughput, and a dead peer is noticed within a time, as between Dask's own servers.
fn tune(stream: &TcpStream, timeout: Duration) {
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(timeout / 3)
        .with_interval((timeout / 6).max(Duration::from_secs(1)));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(timeout));
}

/// A connection that broke. With TLS 1.3 a server that does not accept this client's certificate says so only after the
/// handshake: that is no connection that was lost, but one that never came about.
pub(crate) fn broken(peer: &Address, error: &io::Error) -> Error {
    #[cfg(feature = "tls")]
    if super::tls::is_refusal(error) {
        return Error::tls(peer, &super::tls::explain(error), true);
    }
    Error::lost(peer, describe(error))
}

/// An I/O error for people.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "the connection was reset by the other side".to_owned(),
        io::ErrorKind::BrokenPipe => "the other side has closed the connection".to_owned(),
        io::ErrorKind::TimedOut => "the other side does not answer any more".to_owned(),
        #[cfg(feature = "tls")]
        _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => super::tls::explain(error),
        _ => error.to_string(),
    }
}

/// TCP, or TLS over it.
#[derive(Debug)]
pub(crate) enum Io {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn split(io: Moving<Io>) -> (super::comm::BoxRead, super::comm::BoxWrite) {
    let (io, moved) = io.into_parts();
    match io {
        Io::Tcp(stream) => {
            let (read, write) = stream.into_split();
            (Box::new(Moving::new(read, &moved)), Box::new(Moving::new(write, &moved)))
        }
        #[cfg(feature = "tls")]
        Io::Tls(stream) => {
            let (read, write) = tokio::io::split(Moving::new(*stream, &moved));
            (Box::new(read), Box::new(write))
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_everything_does_not_keep_others_from_answering() {
        let connect = |number: u32| async move {
            match number {
                0 => std::future::pending().await,
                1 => Err(io::ErrorKind::ConnectionRefused.into()),
                number => Ok(number),
            }
        };
        assert_eq!(connect_any(&[0, 0, 1, 2, 0], connect).await.unwrap(), 2);
        let refused = connect_any(&[1, 1], connect).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_any(&[], connect).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        // All were tried, and the silent one is still waited for.
        let waiting = tokio::time::timeout(Duration::from_secs(60), connect_any(&[0, 1], connect)).await;
        assert!(waiting.is_err());
    }

    /// Gives settings that are old at once, and no others.
    #[cfg(feature = "tls")]
    #[derive(Debug)]
    struct Once(std::sync::atomic::AtomicBool);

    #[cfg(feature = "tls")]
    impl crate::TlsSource for Once {
        fn tls(
            &self,
        ) -> futures::future::BoxFuture<'_, Result<crate::FreshTls, Box<dyn std::error::Error + Send + Sync>>>
        {
            let asked = self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async move {
                if asked {
                    std::future::pending::<()>().await;
                }
                let ca = rcgen::generate_simple_self_signed(["ca".to_owned()])?.cert.pem();
                Ok(crate::FreshTls::new(crate::TlsConfig::new().ca(ca)).renew_after(Duration::ZERO))
            })
        }
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_connection_asks_for_certificates_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer: Address = format!("tls://{}", listener.local_addr().unwrap()).parse().unwrap();
        let hang_up = async {
            drop(listener.accept().await.unwrap());
            std::future::pending().await
        };
        let source = Arc::new(Once(std::sync::atomic::AtomicBool::new(false)));
        let dialer = crate::Client::builder().tls_source(source).dialer().unwrap();
        let error = tokio::select! {
            opened = dialer.open(&peer) => opened.unwrap_err(),
            () = hang_up => return,
            // Asked again, outside of the time to connect, it would wait without end.
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("it hangs"),
        };
        assert!(error.to_string().contains("TLS handshake"), "{error}");
    }

    /// Gives settings once.
    #[cfg(feature = "tls")]
    #[derive(Debug)]
    struct NoMore(std::sync::atomic::AtomicBool);

    #[cfg(feature = "tls")]
    impl crate::TlsSource for NoMore {
        fn tls(
            &self,
        ) -> futures::future::BoxFuture<'_, Result<crate::FreshTls, Box<dyn std::error::Error + Send + Sync>>>
        {
            let asked = self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async move {
                if asked {
                    return Err("the authority sleeps".into());
                }
                let ca = rcgen::generate_simple_self_signed(["ca".to_owned()])?.cert.pem();
                Ok(crate::FreshTls::new(crate::TlsConfig::new().ca(ca)))
            })
        }
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn only_a_refusal_makes_a_certificate_useless() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        // A fatal alert about an expired certificate, and nothing at all.
        for (answer, second) in
            [(&[0x15, 3, 3, 0, 2, 2, 45][..], "the authority sleeps"), (&[], "during the TLS handshake")]
        {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peer: Address = format!("tls://{}", listener.local_addr().unwrap()).parse().unwrap();
            let serve = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    drop(stream.read(&mut [0; 4096]).await);
                    drop(stream.write_all(answer).await);
                    drop(stream.shutdown().await);
                }
            };
            let source = Arc::new(NoMore(std::sync::atomic::AtomicBool::new(false)));
            let dialer = crate::Client::builder()
                .tls_source(source)
                .connect_timeout(Duration::from_secs(60))
                .dialer()
                .unwrap();
            let twice = async {
                drop(dialer.open(&peer).await.unwrap_err());
                dialer.open(&peer).await.unwrap_err().to_string()
            };
            let error = tokio::select! {
                error = twice => error,
                () = serve => return,
            };
            assert!(error.contains(second), "{error}");
        }
    }

    #[tokio::test]
    async fn a_slow_server_of_another_encoding_is_dialled_again() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer: Address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let frames = Encoding::PathsWithLengths.encode(&handshake::ours(None, 4), None);
        let mut theirs = dask_wire::frame::prelude(dask_wire::frame::Framing::Bare, &frames);
        frames.iter().for_each(|frame| theirs.extend_from_slice(frame));
        let serve = async {
            // The first time it says nothing until it is nudged.
            let (mut first, _) = listener.accept().await.unwrap();
            first.read_u64_le().await.unwrap();
            first.write_all(&theirs).await.unwrap();
            let (mut second, _) = listener.accept().await.unwrap();
            second.write_all(&theirs).await.unwrap();
            // Two frames, in the framing without a total.
            (second.read_u64_le().await.unwrap(), first, second)
        };
        let dialer = crate::Client::builder().dialer().unwrap();
        let both = async { tokio::join!(dialer.open(&peer), serve) };
        let (opened, (count, ..)) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
        assert_eq!(opened.unwrap().0.reader.agreed.encoding, Encoding::PathsWithLengths);
        assert_eq!(count, 2);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_the_one_that_was_looked_up() {
        let client = || crate::Client::builder().connect_timeout(Duration::from_secs(60));
        let peer: Address = "tcp://scheduler.example:1".parse().unwrap();
        // No resolver is asked for a name with a space.
        let dialer = client().connect_via("no host", 1).dialer().unwrap();
        let error = dialer.open(&peer).await.unwrap_err().to_string();
        assert!(error.contains(r#"the name "no host", to be connected to instead"#), "{error}");
        assert!(error.contains("cannot connect to tcp://scheduler.example:1"), "{error}");
        assert!(!error.contains(r#""scheduler.example""#), "{error}");
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_none() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let to_itself = socket.connect(address).await.unwrap();
        let refused = unless_to_itself(to_itself).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // The port is free again.
        tokio::net::TcpListener::bind(address).await.unwrap();
    }

    #[test]
    fn families_take_turns() {
        let addresses =
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(|a| a.parse().unwrap());
        let mixed: Vec<String> = in_turn(addresses.into_iter()).iter().map(ToString::to_string).collect();
        assert_eq!(mixed, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
    }
}
