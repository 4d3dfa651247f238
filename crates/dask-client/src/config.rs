//! How a client connects and behaves.

use std::sync::Arc;
use std::time::Duration;

use dask_wire::session::OnReconnect;
use dask_wire::{Compression, Limits};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::net::address::Address;
use crate::net::comm::Traffic;
use crate::net::dial::Dialer;
#[cfg(feature = "tls")]
use crate::net::renewal::{Renewal, TlsOrigin, TlsSettings, TlsSource};
#[cfg(feature = "tls")]
use crate::net::tls::TlsConfig;
use crate::results::direct::Direct;

/// Settings of a [`Client`], each with a default. Made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until connect is called"]
pub struct ClientBuilder {
    pub(crate) address: Option<String>,
    pub(crate) name: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) rpc_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) connections: usize,
    pub(crate) limits: Limits,
    pub(crate) pickle_limits: dask_pickle::Limits,
    pub(crate) compression: Option<Compression>,
    pub(crate) on_reconnect: OnReconnect,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) slow_after: Duration,
    pub(crate) direct: Direct,
    pub(crate) max_outstanding: Option<usize>,
    pub(crate) max_unsent_bytes: usize,
    pub(crate) room_timeout: Option<Duration>,
    pub(crate) tcp_timeout: Duration,
    pub(crate) require_encryption: bool,
    pub(crate) max_graph_tasks: usize,
    pub(crate) max_graph_bytes: usize,
    pub(crate) connect_via: Option<(String, u16)>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsSettings>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            address: None,
            name: "Client-rs".to_owned(),
            connect_timeout: Duration::from_secs(10),
            rpc_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            connections: 64,
            limits: Limits::default(),
            pickle_limits: dask_pickle::Limits::default(),
            compression: None,
            on_reconnect: OnReconnect::default(),
            reconnect: Some(Reconnect::default()),
            slow_after: Duration::from_secs(1),
            direct: Direct::default(),
            max_outstanding: None,
            max_unsent_bytes: 256 << 20,
            room_timeout: None,
            tcp_timeout: Duration::from_secs(30),
            require_encryption: false,
            max_graph_tasks: 1_000_000,
            max_graph_bytes: 512 << 20,
            connect_via: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// How a client connects again after its stream to the scheduler broke.
///
/// What was under way ends by [`OnReconnect`]; this is about the client itself. What will not get better by itself ends it
/// at once: a peer that breaks the protocol or does not speak it, certificates that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnect {
    /// The pause before the first attempt; each further one is twice as long. Default 100 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 10 s.
    pub longest_pause: Duration,
    /// After this time the client gives up and ends. Default 10 minutes.
    pub within: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            within: Duration::from_secs(600),
        }
    }
}

impl ClientBuilder {
    /// Default settings and no address.
    pub fn new() -> Self {
        Self::default()
    }

    /// The scheduler's address: `tcp://host:port`, `tls://…`, `ws://…`, `wss://…`; a bare `host:port` means tcp.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// How the client's name on the scheduler starts; a unique part is added. Default `Client-rs`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Time for opening one connection, handshakes included. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Time for one request and its reply. Default 30 s. Waiting for a task is not a request; see
    /// [`crate::Future::result`]. Fetching a result may take longer, but not stand still for so long.
    pub fn rpc_timeout(mut self, timeout: Duration) -> Self {
        self.rpc_timeout = timeout;
        self
    }

    /// Time between heartbeats on the scheduler's stream. Default 5 s; newer schedulers ask for longer ones.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.max(Duration::from_millis(10));
        self
    }

    /// How many requests may be under way at once, over as many connections. Default 64.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Bounds on incoming messages.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Bounds on incoming pickles, on the lists that arrays become where they are read as Python values, and on the
    /// elements that an array repeats (`numpy.broadcast_to`) where they are written out. Exceptions have bounds of their
    /// own: 2,000,000 items.
    pub fn pickle_limits(mut self, limits: dask_pickle::Limits) -> Self {
        self.pickle_limits = limits;
        self
    }

    /// Compresses what is sent, if the server uses the same way. Default none, as in Dask since 2023.5.0.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// What happens to futures when the scheduler is lost. Default [`OnReconnect::Fail`].
    pub fn on_reconnect(mut self, policy: OnReconnect) -> Self {
        self.on_reconnect = policy;
        self
    }

    /// Whether and how the client connects again when its stream breaks. Default: yes, as [`Reconnect::default`] says.
    /// Work submitted meanwhile waits, for as long as one request may take.
    pub fn reconnect(mut self, policy: impl Into<Option<Reconnect>>) -> Self {
        self.reconnect = policy.into();
        self
    }

    /// A request that takes longer is reported as [`ClientEvent::Slow`](crate::ClientEvent::Slow). Default 1 s.
    pub fn slow_after(mut self, limit: Duration) -> Self {
        self.slow_after = limit;
        self
    }

    pub(crate) fn new_name(&self) -> String {
        format!("{}-{}", self.name, uuid::Uuid::new_v4())
    }

    /// Whether data goes straight between this client and workers. Default [`Direct::Auto`]: where it pays and they can be
    /// reached, which the client finds out and remembers. Never together with [`ClientBuilder::connect_via`].
    pub fn direct(mut self, direct: Direct) -> Self {
        self.direct = direct;
        self
    }

    /// At most this many tasks whose results are wanted may be open at once: submitting more waits until others are done.
    /// A graph that wants more by itself goes when nothing else is open. Default no limit.
    pub fn max_outstanding(mut self, tasks: usize) -> Self {
        self.max_outstanding = Some(tasks.max(1));
        self
    }

    /// Submitting waits while about this many bytes of messages were not yet given to the connection, because the scheduler
    /// is slower than this program. As many again may be on their way. A graph that is larger by itself goes when nothing
    /// else waits. Default 256 MiB.
    pub fn max_unsent_bytes(mut self, bytes: usize) -> Self {
        self.max_unsent_bytes = bytes;
        self
    }

    /// How long a submission without a deadline of its own waits without any progress for room among the tasks that may be
    /// outstanding or the bytes that may be unsent, before it fails as [`ErrorKind::Overloaded`](crate::ErrorKind). Default
    /// as long as a request may take ([`ClientBuilder::rpc_timeout`]). A stream of [`Client::map`] has only its own.
    pub fn room_timeout(mut self, timeout: Duration) -> Self {
        self.room_timeout = Some(timeout);
        self
    }

    /// How long a peer may leave what was sent to it, or a question whether it is still there, unanswered by its network
    /// before the connection counts as lost. Default 30 s, as in Dask.
    pub fn tcp_timeout(mut self, timeout: Duration) -> Self {
        self.tcp_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// Refuses to connect to anything but `tls://` and `wss://` addresses. Default no.
    pub fn require_encryption(mut self, required: bool) -> Self {
        self.require_encryption = required;
        self
    }

    /// Refuses graphs of more tasks than this before anything is sent. Default 1,000,000.
    pub fn max_graph_tasks(mut self, tasks: usize) -> Self {
        self.max_graph_tasks = tasks;
        self
    }

    /// Refuses graphs of more bytes than this, about, before anything is sent; the error names the largest task. Large
    /// arguments are better scattered. Default 512 MiB.
    pub fn max_graph_bytes(mut self, bytes: usize) -> Self {
        self.max_graph_bytes = bytes;
        self
    }

    /// Opens connections to the scheduler at this host and port instead of those of its address, which then only name it
    /// (for TLS). For port forwards and proxies.
    pub fn connect_via(mut self, host: impl Into<String>, port: u16) -> Self {
        self.connect_via = Some((host.into(), port));
        self
    }

    /// Certificates for `tls://` and `wss://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(TlsSettings::Fixed(tls));
        self
    }

    /// Where certificates for `tls://` and `wss://` come from, for those that are short-lived.
    #[cfg(feature = "tls")]
    pub fn tls_source(mut self, source: Arc<dyn TlsSource>) -> Self {
        self.tls = Some(TlsSettings::Renewed(source));
        self
    }

    /// The scheduler's address as far as these settings have one.
    pub fn get_address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The certificates as far as these settings have any; none where a source makes them.
    #[cfg(feature = "tls")]
    pub fn get_tls(&self) -> Option<&TlsConfig> {
        match &self.tls {
            Some(TlsSettings::Fixed(tls)) => Some(tls),
            _ => None,
        }
    }

    pub(crate) fn parsed_address(&self) -> Result<Address> {
        let text = self.address.as_deref().ok_or_else(|| {
            Error::config("no scheduler address is given; pass one such as tcp://10.0.0.1:8786")
        })?;
        text.parse().map_err(|error: crate::net::address::BadAddress| Error::config(error.to_string()))
    }

    pub(crate) fn dialer(&self) -> Result<Dialer> {
        Ok(Dialer {
            timeout: self.connect_timeout,
            tcp_timeout: self.tcp_timeout,
            encrypted_only: self.require_encryption,
            limits: self.limits,
            compression: self.compression,
            #[cfg(feature = "tls")]
            tls: match &self.tls {
                Some(TlsSettings::Fixed(tls)) => {
                    Some(TlsOrigin::Fixed(tls.build().map_err(|error| Error::config(error.to_string()))?))
                }
                Some(TlsSettings::Renewed(source)) => {
                    Some(TlsOrigin::Renewed(Renewal::new(Arc::clone(source))))
                }
                None => None,
            },
            via: self.connect_via.clone(),
            traffic: Arc::new(Traffic::default()),
        })
    }

    /// Connects: opens a connection and asks for the scheduler's release (op `versions`). The client registers later, with
    /// the first call that needs it.
    ///
    /// # Errors
    /// Within the connect timeout, in all: the address is wrong, nothing answers, something else than a Dask scheduler
    /// answers, TLS fails.
    pub async fn connect(self) -> Result<Client> {
        Client::start(self).await
    }
}
