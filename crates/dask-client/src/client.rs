//! The client: a cheap handle on one scheduler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dask_wire::session::{KeyState, Session};
use dask_wire::{Dialect, Key, Peer, Release, Request};
use tokio::sync::watch;
use tracing::Instrument;

use crate::config::ClientBuilder;
use crate::error::{Error, Result};
use crate::net::address::Address;
use crate::net::comm::Traffic;
use crate::net::dial::ConnectPhases;
use crate::net::pool::{self, Pool};
use crate::results::direct::Reach;
use crate::session::greet::ask_dialect;
use crate::session::life::{ClientEvent, Life};
use crate::session::stream::{self, SessionCell};
use crate::state::topics::Topics;
use crate::waiting::wait::CallFuture;
use crate::work::call::KeyMaker;
use crate::work::remote::IntoCall;

/// A connection to a Dask cluster.
///
/// Cloning is cheap and every clone is the same client. All network work happens in tasks of the tokio runtime that the
/// client was connected in. When the last clone and the last [`Future`](crate::Future) of it are dropped, the client says goodbye to
/// the scheduler, which then forgets what it asked for.
///
/// # Behaviour
/// * `connect` opens one connection and asks the scheduler's release. The client registers with the scheduler (and so
///   becomes visible there) when it first submits something.
/// * Requests go over connections of their own, so that a slow one holds nobody up. Each has a deadline
///   ([`ClientBuilder::rpc_timeout`]).
/// * Nothing is sent twice unless asked for. When the connection breaks, everybody who waits gets the one cause; the
///   client connects again for what comes later (see [`Reconnect`](crate::Reconnect) and
///   [`OnReconnect`](crate::OnReconnect)).
#[derive(Clone)]
pub struct Client {
    pub(crate) handle: Arc<Handle>,
}

/// Held by clients and futures; the last one out says goodbye.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

/// What handles and background tasks share.
pub(crate) struct Shared {
    pub(crate) address: Address,
    pub(crate) pool: Pool,
    pub(crate) session: SessionCell,
    pub(crate) settings: ClientBuilder,
    pub(crate) keys: KeyMaker,
    pub(crate) life: Life,
    pub(crate) reach: Reach,
    pub(crate) counters: Counters,
    phases: ConnectPhases,
    /// The runtime in which it was connected: what lives as long as the client runs there, whoever calls first.
    pub(crate) runtime: tokio::runtime::Handle,
    /// Who listens to topics.
    pub(crate) topics: Topics,
    /// How often the cluster was restarted while this client looked.
    pub(crate) restarts: watch::Sender<u64>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = &self.handle.shared;
        f.debug_struct("Client")
            .field("scheduler", &shared.address)
            .field("release", &shared.dialect().release())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects with default settings.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(address: impl Into<String>) -> Result<Self> {
        Self::builder().address(address).connect().await
    }

    /// Settings for a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) async fn start(settings: ClientBuilder) -> Result<Self> {
        let address = settings.parsed_address()?;
        let span = tracing::debug_span!("dask.connect", peer = %address);
        Self::start_at(address, settings).instrument(span).await
    }

    async fn start_at(address: Address, settings: ClientBuilder) -> Result<Self> {
        let pool = Pool::new(settings.dialer()?, address.clone(), settings.connections);
        let start = Instant::now();
        let (mut comm, phases) = pool.dialer().open(&address).await?;
        // One limit for both.
        let left = settings.connect_timeout.saturating_sub(start.elapsed());
        let dialect = ask_dialect(&mut comm, &address, left, None).await?;
        pool.keep(&address, comm);
        let name = settings.new_name();
        let session = Session::new(name, dialect, settings.on_reconnect);
        let shared = Shared {
            session: SessionCell::new(session, settings.heartbeat),
            address,
            pool,
            keys: KeyMaker::new(),
            life: Life::new(),
            reach: Reach::default(),
            counters: Counters::default(),
            phases,
            runtime: tokio::runtime::Handle::current(),
            topics: Topics::default(),
            restarts: watch::Sender::new(0),
            settings,
        };
        let shared = Arc::new(shared);
        tokio::spawn(pool::sweep(Arc::downgrade(&shared), shared.pool.closed()));
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// The scheduler's address.
    pub fn address(&self) -> &Address {
        &self.shared().address
    }

    /// The scheduler's release.
    pub fn release(&self) -> Release {
        self.shared().dialect().release()
    }

    /// How this client speaks to the scheduler's release.
    pub fn dialect(&self) -> Dialect {
        self.shared().dialect()
    }

    /// The name of this client on the scheduler.
    pub fn name(&self) -> Arc<str> {
        self.shared().session.look(|session| Arc::clone(session.client()))
    }

    /// How long each step of the first connection took.
    pub fn connect_phases(&self) -> ConnectPhases {
        self.shared().phases
    }

    /// Counts of what went over this client's connections, and of its futures.
    pub fn statistics(&self) -> Statistics {
        let traffic: &Traffic = &self.shared().pool.dialer().traffic;
        let counters = &self.shared().counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (held, pending) = self.shared().session.look(|session| (session.held(), session.pending()));
        Statistics {
            bytes_in: traffic.bytes_in.load(Ordering::Relaxed),
            bytes_out: traffic.bytes_out.load(Ordering::Relaxed),
            messages_in: traffic.messages_in.load(Ordering::Relaxed),
            messages_out: traffic.messages_out.load(Ordering::Relaxed),
            results_direct: load(&counters.direct),
            results_relayed: load(&counters.relayed),
            sent_direct: load(&counters.sent_direct),
            sent_relayed: load(&counters.sent_relayed),
            futures: held,
            pending,
            reconnects: self.shared().life.reconnects(),
            slow: self.shared().life.slow_ones(),
            idle_connections: self.shared().pool.idle(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Submits one call and awaits its result: `let three: i64 = client.call(py("operator:add").args((1, 2))).await?`.
    ///
    /// Dropping the returned future before it is done releases the task: the scheduler forgets it unless others want
    /// it. See [`CallFuture::deadline`].
    ///
    /// What [`Client::submit`] and [`Future::result`](crate::Future::result) do, every release.
    pub fn call<R>(&self, call: impl IntoCall<R>) -> CallFuture<'_, R> {
        CallFuture::new(self, call.into_call())
    }

    /// Says goodbye to the scheduler and ends every future of this client, also those held by other clones.
    pub async fn close(&self) {
        let shared = self.shared();
        shared.begin_close();
        let said = shared.life.ended();
        drop(tokio::time::timeout(Duration::from_secs(2), said).await);
    }
}

impl Shared {
    pub(crate) fn is_closing(&self) -> bool {
        self.life.is_closing()
    }

    pub(crate) fn begin_close(&self) {
        if self.life.close() {
            self.session.change(Session::close);
            self.pool.close();
            self.topics.end();
            self.life.over(ClientEvent::Closed);
        }
    }

    /// An error when nothing can be submitted any more.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.life.check_open()
    }

    /// A request for the release of the scheduler that answers now. Without a stream nobody tells this client that its
    /// scheduler was replaced, so when connections to it broke, the stream's among them, it is asked again.
    pub(crate) async fn renewed(&self, request: Request) -> Result<Request> {
        self.check_open()?;
        if self.life.is_connected() || (self.life.is_idle() && !self.pool.home_was_lost()) {
            return Ok(request);
        }
        let mut comm = self.pool.take(&self.address).await?;
        let renewed = self.ask_again(&mut comm).await;
        if renewed.is_ok() {
            self.pool.keep(&self.address, comm);
        }
        let dialect = renewed?;
        Ok(request.for_release(dialect.release())?)
    }

    /// Asks for the release, before the client is registered.
    pub(crate) async fn ask_again(&self, comm: &mut crate::net::comm::Comm) -> Result<Dialect> {
        let before = self.dialect();
        let dialect = ask_dialect(comm, &self.address, self.settings.connect_timeout, Some(before)).await?;
        self.pool.home_was_found();
        if dialect == before {
            return Ok(before);
        }
        tracing::info!(scheduler = %self.address, %before, now = %dialect, "another release");
        self.session.change(|session| session.set_dialect(dialect));
        Ok(dialect)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.session.look(Session::dialect)
    }

    /// Registers with the scheduler, once; waits while the client reconnects.
    pub(crate) async fn stream(self: &Arc<Self>) -> Result<()> {
        if self.life.is_connected() {
            return Ok(());
        }
        let deadline = self.settings.rpc_timeout;
        match tokio::time::timeout(deadline, stream::connected(self)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Error::timeout(format_args!("{} at {}", self.life.doing(), self.address), deadline))
            }
        }
    }

    pub(crate) fn request(&self, op: &str) -> Result<Request> {
        Ok(self.dialect().request(Peer::Scheduler, op)?)
    }

    /// What the session knows of a key, as an error if it cannot have a result any more.
    pub(crate) fn outcome(&self, key: &Key) -> Result<bool> {
        self.session.look(|session| match session.state(key) {
            Some(KeyState::Pending) => Ok(false),
            Some(KeyState::Finished) => Ok(true),
            Some(KeyState::Erred(failure)) => {
                let python = dask_wire::exception::PythonError::from_payloads(
                    failure.exception.as_ref(),
                    failure.traceback.as_ref(),
                );
                Err(Error::task(key, python))
            }
            Some(KeyState::Cancelled { reason, message }) => Err(Error::cancelled(key, reason, message)),
            Some(KeyState::Lost(reason)) => Err(Error::gone(key, reason)),
            _ if self.is_closing() => Err(Error::closed()),
            _ => Err(Error::not_held(key)),
        })
    }
}

/// What a client counts besides bytes and messages.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) direct: AtomicU64,
    pub(crate) relayed: AtomicU64,
    pub(crate) sent_direct: AtomicU64,
    pub(crate) sent_relayed: AtomicU64,
    turn: AtomicUsize,
}

impl Counters {
    /// Where to go on when things are handed to workers in turn.
    pub(crate) fn next_turn(&self, items: usize) -> usize {
        self.turn.fetch_add(items, Ordering::Relaxed) % (1 << 20)
    }
}

/// Counts since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes of messages sent.
    pub bytes_out: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Results fetched from workers themselves.
    pub results_direct: u64,
    /// Results fetched through the scheduler.
    pub results_relayed: u64,
    /// Values sent straight to workers.
    pub sent_direct: u64,
    /// Values sent through the scheduler.
    pub sent_relayed: u64,
    /// Keys that futures of this client hold.
    pub futures: usize,
    /// Those among them whose outcome is open.
    pub pending: usize,
    /// How often the client registered again after its stream broke.
    pub reconnects: u64,
    /// Requests that took longer than [`ClientBuilder::slow_after`].
    pub slow: u64,
    /// Connections that are open and not in use, kept for the next requests.
    pub idle_connections: usize,
}
