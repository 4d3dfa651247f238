//! What can go wrong, and what to do about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dask_wire::exception::{Kind, PythonError};
use dask_wire::graph::GraphError;
use dask_wire::session::LostReason;
use dask_wire::{Key, NotAvailable, SubmitError, WireError};

use crate::net::address::Address;
use crate::waiting::diagnosis::Diagnosis;

/// Anything that this client reports as failed.
///
/// Cloning is cheap: when a connection breaks, everybody who waited on it gets the one cause.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    key: Option<Key>,
    python: Option<PythonError>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Trying again gives the same.
    lasting: bool,
}

impl Inner {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), key: None, python: None, source: None, lasting: false }
    }
}

impl From<Inner> for Error {
    fn from(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }
}

/// What sort of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Settings or arguments cannot be used; nothing was attempted.
    Config,
    /// The server cannot be reached: name, TCP, TLS or a timeout while connecting.
    Connect,
    /// Something answers that does not speak Dask's protocol, or that is no scheduler.
    NotDask,
    /// A peer broke the protocol or a limit; the connection was given up.
    Protocol,
    /// The connection broke after it had been established.
    ConnectionLost,
    /// A deadline passed.
    Timeout,
    /// There was no room for more work in time: too many tasks are open
    /// ([`ClientBuilder::max_outstanding`](crate::ClientBuilder::max_outstanding)), or the scheduler does not take what is
    /// sent ([`ClientBuilder::max_unsent_bytes`](crate::ClientBuilder::max_unsent_bytes)). Nothing was submitted.
    Overloaded,
    /// Nothing is kept under that name; see [`Client::attach`](crate::Client::attach).
    NotFound,
    /// The server answered a request with an exception.
    Rpc,
    /// The server's release lacks what was asked for, or is older than any that this client speaks; nothing was sent.
    NotAvailable,
    /// The graph cannot run: a cycle, a missing reference, a key used twice; nothing was sent.
    Graph,
    /// An argument cannot be sent.
    Encode,
    /// A result is not of the type that was asked for.
    Decode,
    /// The task raised an exception; see [`Error::python`].
    Task,
    /// The task raised `TimeoutError`: something that it waited for took too long. The other [`ErrorKind::Timeout`] is
    /// about a wait of this client.
    TaskTimeout,
    /// The task needs a module or a name that cannot be imported on the worker; see [`Error::python`].
    TaskImport,
    /// The scheduler cannot read the graph, mostly because a module is missing there (from 2023.4.0 on, when it began to
    /// read graphs).
    SchedulerImport,
    /// The task's workers kept dying; see [`Error::python`].
    KilledWorker,
    /// The scheduler gave the task up because no worker could run it in time (releases that have the setting
    /// `distributed.scheduler.no-workers-timeout`).
    NoWorker,
    /// The task was cancelled, or raised `CancelledError`.
    Cancelled,
    /// What the task takes is gone: cancelled, lost with its workers, or forgotten by the scheduler.
    LostDependencies,
    /// The result is gone: worker lost, cluster restarted or connection broken.
    Lost,
    /// The client was closed.
    Closed,
}

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The key of the task it is about.
    pub fn key(&self) -> Option<&Key> {
        self.inner.key.as_ref()
    }

    /// The Python exception of a failed task or request.
    pub fn python(&self) -> Option<&PythonError> {
        self.inner.python.as_ref()
    }

    /// Why a wait for a task timed out, as far as the cluster tells.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.inner.source.as_deref()?.downcast_ref()
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Inner::new(kind, message).into()
    }

    fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Inner { source: Some(Box::new(source)), ..Inner::new(kind, message) }.into()
    }

    /// Whether the same attempt may succeed later without anybody changing this client's settings or what answers at
    /// the address.
    pub(crate) fn may_heal(&self) -> bool {
        match self.inner.kind {
            ErrorKind::Config | ErrorKind::Protocol | ErrorKind::NotAvailable => false,
            _ => !self.inner.lasting,
        }
    }

    /// The same, where another attempt may do better.
    #[cfg(feature = "tls")]
    pub(crate) fn healable(&self) -> Self {
        Self::new(self.inner.kind, self.inner.message.as_str())
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn connect_timeout(peer: &Address, step: &str, after: Duration) -> Self {
        Self::new(
            ErrorKind::Connect,
            format!(
                "cannot connect to {peer}: {step} took longer than {after:?}; is the address right and reachable?"
            ),
        )
    }

    /// `host` was looked up, which need not be the peer's own.
    pub(crate) fn resolve(peer: &Address, host: &str, error: &std::io::Error) -> Self {
        let way = if host == peer.host() { "" } else { ", to be connected to instead," };
        Self::new(
            ErrorKind::Connect,
            format!("cannot connect to {peer}: the name {host:?}{way} does not resolve ({error})"),
        )
    }

    pub(crate) fn refused(peer: &Address, error: &std::io::Error) -> Self {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                "nothing listens on that port; is the scheduler running?".to_owned()
            }
            _ => error.to_string(),
        };
        Self::new(ErrorKind::Connect, format!("cannot connect to {peer}: {why}"))
    }

    /// The TLS handshake failed; `lasting` if by the certificates or settings of either side.
    #[cfg_attr(not(feature = "tls"), expect(dead_code))]
    pub(crate) fn tls(peer: &Address, why: &str, lasting: bool) -> Self {
        Inner { lasting, ..Inner::new(ErrorKind::Connect, format!("cannot connect to {peer}: {why}")) }.into()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn no_certificate(peer: &Address, why: &dyn std::error::Error) -> Self {
        Self::new(
            ErrorKind::Connect,
            format!("cannot connect to {peer}: no certificate for this client can be had: {why}"),
        )
    }

    #[cfg_attr(not(feature = "ws"), expect(dead_code))]
    pub(crate) fn websocket(peer: &Address, why: &str) -> Self {
        Self::new(
            ErrorKind::NotDask,
            format!("{peer} does not open a WebSocket for Dask ({why}); is it a ws:// scheduler?"),
        )
    }

    pub(crate) fn silent(peer: &Address, after: Duration) -> Self {
        Self::new(
            ErrorKind::NotDask,
            format!(
                "{peer} accepts connections but says nothing for {after:?}, where a Dask server speaks first; is it the \
                 scheduler's port (not the dashboard's), does it want tls://, or does the scheduler hang?"
            ),
        )
    }

    pub(crate) fn hung_up(peer: &Address) -> Self {
        Self::new(
            ErrorKind::NotDask,
            format!(
                "{peer} says nothing, where a Dask server speaks first, and hangs up when spoken to; does it want tls://? \
                 is it the scheduler's port?"
            ),
        )
    }

    /// A server of Dask's, but not the one that a client talks to.
    pub(crate) fn no_scheduler(peer: &Address, class: Option<&str>, scheduler: Option<&str>) -> Self {
        let what = match class.unwrap_or("unknown server").to_lowercase() {
            class if class.ends_with("worker") => "worker".to_owned(),
            class => class.chars().take(80).collect(),
        };
        let next = match scheduler {
            Some(scheduler) => {
                format!("its scheduler is {}", scheduler.chars().take(200).collect::<String>())
            }
            None => {
                "give the address of its scheduler, which the scheduler's log names at its start".to_owned()
            }
        };
        Self::new(ErrorKind::NotDask, format!("{peer} is a Dask {what}, not a scheduler; {next}"))
    }

    pub(crate) fn wire(peer: &Address, error: WireError) -> Self {
        let kind = match &error {
            WireError::NotDask { .. } => ErrorKind::NotDask,
            _ => ErrorKind::Protocol,
        };
        let message = format!("{peer}: {error}");
        Inner { source: Some(Box::new(error)), lasting: true, ..Inner::new(kind, message) }.into()
    }

    pub(crate) fn lost(peer: &Address, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::ConnectionLost, format!("{peer}: {why}"))
    }

    pub(crate) fn timeout(what: impl fmt::Display, after: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("{what} took longer than {after:?}"))
    }

    /// A wait for a task timed out.
    pub(crate) fn late(key: &Key, after: Duration, diagnosis: Diagnosis) -> Self {
        let message = format!("task {key} has no result after {after:?}{diagnosis}");
        Inner {
            key: Some(key.clone()),
            source: Some(Box::new(diagnosis)),
            ..Inner::new(ErrorKind::Timeout, message)
        }
        .into()
    }

    /// Of a wait for several tasks that ended with this error, the one for another of them. The cluster was asked about
    /// one alone.
    pub(crate) fn of_another(&self, key: &Key, after: Duration) -> Self {
        match (self.key(), self.diagnosis()) {
            (Some(first), Some(diagnosis)) if first != key => {
                let message = format!(
                    "task {key} has no result after {after:?}, as others; the cluster was asked about {first}{diagnosis}"
                );
                Inner {
                    key: Some(key.clone()),
                    source: Some(Box::new(diagnosis.clone())),
                    ..Inner::new(self.inner.kind, message)
                }
                .into()
            }
            _ => self.clone(),
        }
    }

    /// Something that is not one task took too long.
    pub(crate) fn because(what: &str, after: Duration, diagnosis: Diagnosis) -> Self {
        Self::with_source(
            ErrorKind::Timeout,
            format!("{what} took longer than {after:?}{diagnosis}"),
            diagnosis,
        )
    }

    pub(crate) fn unexpected(peer: &Address, op: &str, what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Protocol, format!("{peer} answered op {op:?} with {what}"))
    }

    pub(crate) fn rpc(peer: &Address, op: &str, error: PythonError) -> Self {
        let message = format!("{peer} failed at op {op:?}: {}", error.title());
        Inner { python: Some(error), ..Inner::new(ErrorKind::Rpc, message) }.into()
    }

    pub(crate) fn task(key: &Key, error: PythonError) -> Self {
        let kind = match error.kind() {
            Kind::KilledWorker { .. } => ErrorKind::KilledWorker,
            Kind::NoWorker => ErrorKind::NoWorker,
            Kind::Cancelled => ErrorKind::Cancelled,
            Kind::Timeout => ErrorKind::TaskTimeout,
            Kind::Import { .. } => ErrorKind::TaskImport,
            Kind::DeserializationOnScheduler => ErrorKind::SchedulerImport,
            _ => ErrorKind::Task,
        };
        let message = format!("task {key} failed: {}", error.title());
        Inner { key: Some(key.clone()), python: Some(error), ..Inner::new(kind, message) }.into()
    }

    pub(crate) fn cancelled(key: &Key, reason: &str, message: &str) -> Self {
        let detail = match (reason, message) {
            ("", "") => String::new(),
            (one, "") | ("", one) => format!(": {one}"),
            (reason, message) => format!(": {reason}: {message}"),
        };
        let kind =
            if reason == "lost dependencies" { ErrorKind::LostDependencies } else { ErrorKind::Cancelled };
        Self::about(kind, key, format!("task {key} was cancelled{detail}"))
    }

    pub(crate) fn lost_dependency(task: &Key, needs: &Key, cause: impl fmt::Display) -> Self {
        let message = format!(
            "task {task} cannot run: it takes the result of {needs}, and {cause}; submit that again first"
        );
        Self::about(ErrorKind::LostDependencies, task, message)
    }

    pub(crate) fn gone(key: &Key, reason: &LostReason) -> Self {
        let kind = if *reason == LostReason::Closed { ErrorKind::Closed } else { ErrorKind::Lost };
        Self::about(kind, key, format!("the result of {key} is lost: {reason}"))
    }

    pub(crate) fn about(kind: ErrorKind, key: &Key, message: impl Into<String>) -> Self {
        Inner { key: Some(key.clone()), ..Inner::new(kind, message) }.into()
    }

    /// A key was asked for of which this client has no future.
    pub(crate) fn not_held(key: &Key) -> Self {
        Self::about(
            ErrorKind::Config,
            key,
            format!(
                "this client has no future of {key}; use the client that it belongs to, or hand it over by Client::detach, \
                 a Variable or a Queue"
            ),
        )
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the client is closed; connect a new one")
    }

    pub(crate) fn decode(
        what: impl fmt::Display,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let message = format!("{what}: {error}");
        Self::with_source(ErrorKind::Decode, message, error)
    }

    pub(crate) fn encode(error: dask_pickle::Error) -> Self {
        Self::with_source(ErrorKind::Encode, format!("an argument cannot be sent: {error}"), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.inner.message)?;
        match &self.inner.python {
            Some(python) => write!(f, "\n{python}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.source {
            Some(source) => Some(&**source as _),
            // With the traceback, for programs that print the chain of causes.
            None => self.inner.python.as_ref().map(|python| python as _),
        }
    }
}

impl From<NotAvailable> for Error {
    fn from(error: NotAvailable) -> Self {
        Self::with_source(ErrorKind::NotAvailable, error.to_string(), error)
    }
}

impl From<GraphError> for Error {
    fn from(error: GraphError) -> Self {
        Self::with_source(ErrorKind::Graph, error.to_string(), error)
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        let kind = match &error {
            SubmitError::NotAvailable(_) => ErrorKind::NotAvailable,
            _ => ErrorKind::Encode,
        };
        Self::with_source(kind, error.to_string(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_chain_of_causes_has_the_python_exception() {
        let error = Error::task(&Key::from("k"), PythonError::from_payloads(None, None));
        assert!(error.source().is_some_and(|source| source.is::<PythonError>()));
        assert!(Error::closed().source().is_none());
    }

    #[test]
    fn only_what_may_change_by_itself_is_tried_again() {
        let peer: Address = "tcp://a:1".parse().unwrap();
        assert!(Error::refused(&peer, &std::io::ErrorKind::ConnectionRefused.into()).may_heal());
        assert!(Error::silent(&peer, Duration::ZERO).may_heal() && Error::hung_up(&peer).may_heal());
        assert!(Error::lost(&peer, "gone").may_heal() && Error::timeout("it", Duration::ZERO).may_heal());
        let stranger = WireError::NotDask { found: "HTTP".to_owned() };
        assert!(!Error::wire(&peer, stranger).may_heal() && !Error::config("bad").may_heal());
        #[cfg(feature = "tls")]
        assert!(
            !Error::tls(&peer, "another CA", true).may_heal() && Error::tls(&peer, "cut", false).may_heal()
        );
    }

    #[test]
    fn each_of_many_is_named_in_its_own_error() {
        let after = Duration::from_secs(1);
        let first = Error::late(&Key::from("a"), after, Diagnosis::NoWorkers);
        let second = first.of_another(&Key::from("b"), after);
        assert_eq!((second.key(), second.kind()), (Some(&Key::from("b")), ErrorKind::Timeout));
        assert!(second.to_string().contains("task b") && second.diagnosis().is_some(), "{second}");
        assert_eq!(first.of_another(&Key::from("a"), after).to_string(), first.to_string());
        assert_eq!(Error::closed().of_another(&Key::from("b"), after).kind(), ErrorKind::Closed);
    }
}
