//! What can go wrong between a token and a healthy cluster, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::status::Status;

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something about Saturn Cloud did not work.
///
/// Each message says what was tried and what to do next. No message holds the token or a key. Where a cluster may be
/// running, and costing, its id is in the message and in [`Error::cluster_id`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No URL was given.
    #[error(
        "no Saturn Cloud URL is given; set SATURN_BASE_URL, or give the URL, such as https://app.community.saturnenterprise.io"
    )]
    MissingUrl,
    /// The URL cannot be used.
    #[error("the Saturn Cloud URL {url:?} cannot be used: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL would send the token without encryption.
    #[error(
        "{url} would send the token unencrypted to another machine; use https://, or allow plain HTTP explicitly if the \
         network is trusted"
    )]
    PlainHttp {
        /// What was given.
        url: String,
    },
    /// No token was given.
    #[error(
        "no Saturn Cloud token is given; set SATURN_TOKEN, or give a token or a token.json (the token of a resource is \
         under \"Connect Externally\", that of a user under /api/user/token)"
    )]
    MissingToken,
    /// The token cannot be one.
    #[error("the token cannot be used: {reason}")]
    BadToken {
        /// What is wrong with it.
        reason: String,
    },
    /// The token file cannot be used.
    #[error("the token file {} cannot be used: {reason}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An option cannot be used; nothing was sent.
    #[error("the option {option} cannot be used: {reason}")]
    BadOption {
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The size is none of those that the server offers; nothing was started.
    #[error("{option} {given:?} is not offered; the sizes are: {}", valid.join(", "))]
    WrongSize {
        /// `worker_size` or `scheduler_size`.
        option: &'static str,
        /// What was given.
        given: String,
        /// The names that are valid.
        valid: Vec<String>,
    },
    /// The size is listed but cannot be had; nothing was started.
    #[error("{option} {given:?} is not available now: {message}; the available sizes are: {}", valid.join(", "))]
    SizeDisabled {
        /// `worker_size` or `scheduler_size`.
        option: &'static str,
        /// What was given.
        given: String,
        /// The server's words.
        message: String,
        /// The names that are available.
        valid: Vec<String>,
    },
    /// Nothing answers at the URL.
    #[error("cannot reach Saturn Cloud at {url}: {reason}; is the URL right, and the network up?")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The connection broke after a request had been sent, and before its answer was there.
    #[error("{url} took the request, but no answer came: {reason}; try again")]
    NoAnswer {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// A request was not answered in time.
    #[error("{url} gave no answer within {after:?}; try again, or allow more time for a request")]
    RequestTimeout {
        /// What was asked for.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Something else than Saturn Cloud's API answers, such as a web page.
    #[error(
        "{url} answers {status} with {what}, where Saturn Cloud's API answers JSON; is the URL right?{}",
        quoted(excerpt)
    )]
    NotSaturn {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What kind of answer it was.
        what: String,
        /// How it begins.
        excerpt: String,
    },
    /// The server sends clients elsewhere; the token was not sent there.
    #[error("{url} redirects to {location}; if that is your Saturn Cloud, use its URL")]
    Redirected {
        /// What was asked for.
        url: String,
        /// Where it sends to.
        location: String,
    },
    /// The server does not accept the token (401).
    #[error(
        "Saturn Cloud at {url} does not accept the token; copy it again, or make a new one{}",
        quoted(message)
    )]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// The server's words.
        message: String,
    },
    /// The token was once right, but has expired (401).
    #[error("the token for {url} has expired; make a new one{}", quoted(message))]
    TokenExpired {
        /// What was asked for.
        url: String,
        /// The server's words.
        message: String,
    },
    /// The token is right, but does not allow this (403).
    #[error("the token does not allow this at {url}; use one of a user or scope that may{}", quoted(message))]
    Forbidden {
        /// What was asked for.
        url: String,
        /// The server's words.
        message: String,
    },
    /// There is no such project, or the token's user cannot see it.
    #[error(
        "there is no project {project_id:?} for this token; its id is the last part of its URL{}",
        quoted(message)
    )]
    UnknownProject {
        /// What was given.
        project_id: String,
        /// The server's words.
        message: String,
    },
    /// There is no such workspace, deployment or job, or the token's user cannot see it.
    #[error("there is no {kind} {id:?} for this token; its id is in its URL{}", quoted(message))]
    UnknownResource {
        /// `workspace`, `deployment` or `job`.
        kind: &'static str,
        /// What was given.
        id: String,
        /// The server's words.
        message: String,
    },
    /// There is no such cluster.
    #[error(
        "there is no cluster {id:?} for this token; list those that run to see their ids{}",
        quoted(message)
    )]
    UnknownCluster {
        /// What was given.
        id: String,
        /// The server's words.
        message: String,
    },
    /// What was asked for does not exist (404).
    #[error(
        "{url} does not exist: is the id right, and does this server have that part of the API?{}",
        quoted(message)
    )]
    NotFound {
        /// What was asked for.
        url: String,
        /// The server's words.
        message: String,
    },
    /// The server refuses or fails.
    #[error("{url} answers {status}{}; {}", quoted(message), next_step(*status))]
    Server {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is JSON, but not what the API promises.
    #[error(
        "the answer of {url} cannot be understood: {reason}; is that the URL of Saturn Cloud, and is this program as new as \
         the server?"
    )]
    BadReply {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cluster could not be started: it ended in an error.
    #[error(
        "the cluster {} ended in an error{}; look into its logs, or try other sizes or fewer workers; {after}",
        id.as_deref().unwrap_or("(without id)"), quoted(&errors.join(" "))
    )]
    ClusterFailed {
        /// The cluster.
        id: Option<String>,
        /// The server's words.
        errors: Vec<String>,
        /// What became of it.
        after: Aftermath,
    },
    /// Something else failed while the cluster was starting.
    #[error("starting cluster {id}: {source}; {after}")]
    Starting {
        /// The cluster.
        id: String,
        /// What happened.
        source: Box<Error>,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// Something failed between a cluster that is ready and a client that is connected to it.
    #[error("connecting to cluster {id}: {source}; {after}")]
    Connecting {
        /// The cluster.
        id: String,
        /// What happened.
        source: Box<Error>,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// The cluster could not be closed.
    #[error(
        "closing cluster {id}: {source}; it may run and cost: try again, or close it in the web interface"
    )]
    NotClosed {
        /// The cluster.
        id: String,
        /// What happened.
        source: Box<Error>,
    },
    /// The cluster stopped while it was expected to start.
    #[error(
        "the cluster {id} is {status} instead of starting; start it again, and look into its logs; {after}"
    )]
    ClusterStopped {
        /// The cluster.
        id: String,
        /// What it is now.
        status: Status,
        /// What became of it.
        after: Aftermath,
    },
    /// The cluster did not become ready in time.
    #[error(
        "the cluster {} was still {status} after {waited:?}; try again in a few minutes, or allow more time; {after}",
        id.as_deref().unwrap_or("(id not known yet)")
    )]
    NotReady {
        /// The cluster, if the server has told its id.
        id: Option<String>,
        /// What it was last.
        status: Status,
        /// How long it was waited for.
        waited: Duration,
        /// What became of it.
        after: Aftermath,
    },
    /// The cluster is ready, and the server does not tell where its scheduler is.
    #[error("the server does not tell the address of the scheduler of cluster {id}; try again in a minute")]
    NoAddress {
        /// The cluster.
        id: String,
    },
    /// The cluster was ready and is not any more.
    #[error("the cluster {id} was ready, but is {status} now; look into its logs and start it again")]
    ClusterDied {
        /// The cluster.
        id: String,
        /// What it is now.
        status: Status,
    },
    /// Fewer certificates than a chain has: the client's and the authority's.
    #[error(
        "the server answered the certificate request for cluster {id} with {found} certificate(s) instead of the client's \
         and its authority's; try again, and if that does not help, the server cannot certify clients: tell its operators; \
         {after}"
    )]
    ShortChain {
        /// The cluster.
        id: String,
        /// How many there were.
        found: usize,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// The answer to the certificate request holds no usable certificates.
    #[error(
        "the certificates for cluster {id} cannot be used: {reason}; try again, and if that does not help, tell the \
         server's operators; {after}"
    )]
    BadChain {
        /// The cluster.
        id: String,
        /// What is wrong with them.
        reason: String,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// What answers at the scheduler's address is not certified by the cluster's authority.
    #[error(
        "the scheduler of cluster {id} at {address} shows a certificate that the cluster's own authority did not sign; is \
         something in between (a proxy, another cluster)? Nothing was sent to it; {after}"
    )]
    WrongAuthority {
        /// The cluster.
        id: String,
        /// The scheduler's address.
        address: String,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// The scheduler's certificate is not what was asked for: not the pinned one, made out to another name, or expired.
    #[error(
        "the scheduler of cluster {id} at {address} is not trusted: its certificate {reason}. Nothing was sent to it; {after}"
    )]
    Untrusted {
        /// The cluster.
        id: String,
        /// The scheduler's address.
        address: String,
        /// What is wrong with the certificate, and what to do.
        reason: &'static str,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// What answers at the scheduler's address does not accept this client's certificate, which the server has just made.
    #[error(
        "the scheduler of cluster {id} at {address} does not accept this client's certificate ({reason}); is this \
         machine's clock right? Connect again for another one; {after}"
    )]
    CertificateRefused {
        /// The cluster.
        id: String,
        /// The scheduler's address.
        address: String,
        /// The other side's reason.
        reason: String,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// The server tells to connect to the scheduler without encryption, across a network.
    #[error(
        "the scheduler of cluster {id} is said to be at {address}, which is not encrypted: others on the way could read and \
         change everything; allow that explicitly if every network between is trusted; {after}"
    )]
    Unencrypted {
        /// The cluster.
        id: String,
        /// The scheduler's address.
        address: String,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// A request to create a cluster was not answered properly: the cluster may exist, and cost.
    #[error("{source}; a cluster may have been created all the same, and cost: {}", whereabouts(found))]
    MaybeCreated {
        /// Clusters among which it is, if it exists and the server has told of any.
        found: Vec<String>,
        /// What happened.
        source: Box<Error>,
    },
    /// The scheduler cannot be reached although the cluster runs.
    #[error(
        "the cluster {id} is {status}, but its scheduler at {address} cannot be reached: {source}; {hint}; {after}"
    )]
    SchedulerUnreachable {
        /// The cluster.
        id: String,
        /// The scheduler's address.
        address: String,
        /// What the server says the cluster is.
        status: Status,
        /// What happened.
        source: dask_client::Error,
        /// What to look at.
        hint: &'static str,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// The cluster runs, but not enough workers have come.
    #[error(
        "cluster {id} has {have} of {want} workers after {waited:?}; look into the workers' logs; {after}"
    )]
    TooFewWorkers {
        /// The cluster.
        id: String,
        /// Workers there are.
        have: usize,
        /// Workers there should be.
        want: usize,
        /// How long it was waited for.
        waited: Duration,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// A request to the scheduler failed after the connection had been made.
    #[error("cluster {id}: {source}; {after}")]
    Dask {
        /// The cluster.
        id: String,
        /// What happened.
        source: dask_client::Error,
        /// What became of the cluster.
        after: Aftermath,
    },
    /// A key or a certificate could not be made, or TLS not be set up.
    #[error("cannot {what}: {reason}; has this machine certificates of authorities, and entropy?")]
    Crypto {
        /// What was tried.
        what: &'static str,
        /// What happened.
        reason: String,
    },
    /// This machine refused something.
    #[error(
        "cannot {what}: {source}; look at this machine's limits (ulimit -a), and at what else runs on it"
    )]
    Io {
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: std::io::Error,
    },
}

impl Error {
    /// The cluster that the error is about, where there is one.
    pub fn cluster_id(&self) -> Option<&str> {
        match self {
            Self::ClusterFailed { id, .. } | Self::NotReady { id, .. } => id.as_deref(),
            Self::Starting { id, .. }
            | Self::Connecting { id, .. }
            | Self::NotClosed { id, .. }
            | Self::ClusterStopped { id, .. }
            | Self::UnknownCluster { id, .. }
            | Self::NoAddress { id }
            | Self::ClusterDied { id, .. }
            | Self::ShortChain { id, .. }
            | Self::BadChain { id, .. }
            | Self::WrongAuthority { id, .. }
            | Self::Untrusted { id, .. }
            | Self::CertificateRefused { id, .. }
            | Self::Unencrypted { id, .. }
            | Self::SchedulerUnreachable { id, .. }
            | Self::TooFewWorkers { id, .. }
            | Self::Dask { id, .. } => Some(id),
            _ => None,
        }
    }

    /// What became of the cluster, where the error is about one that may be running.
    pub fn aftermath(&self) -> Option<Aftermath> {
        match self {
            Self::ClusterFailed { after, .. }
            | Self::Starting { after, .. }
            | Self::ClusterStopped { after, .. }
            | Self::NotReady { after, .. }
            | Self::ShortChain { after, .. }
            | Self::BadChain { after, .. }
            | Self::WrongAuthority { after, .. }
            | Self::Untrusted { after, .. }
            | Self::CertificateRefused { after, .. }
            | Self::Unencrypted { after, .. }
            | Self::SchedulerUnreachable { after, .. }
            | Self::Connecting { after, .. }
            | Self::Dask { after, .. }
            | Self::TooFewWorkers { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// The same error after something was done about the cluster, where it tells what became of it.
    #[must_use]
    pub fn with_aftermath(mut self, now: Aftermath) -> Self {
        match &mut self {
            Self::ClusterFailed { after, .. }
            | Self::Starting { after, .. }
            | Self::ClusterStopped { after, .. }
            | Self::NotReady { after, .. }
            | Self::ShortChain { after, .. }
            | Self::BadChain { after, .. }
            | Self::WrongAuthority { after, .. }
            | Self::Untrusted { after, .. }
            | Self::CertificateRefused { after, .. }
            | Self::Unencrypted { after, .. }
            | Self::SchedulerUnreachable { after, .. }
            | Self::Connecting { after, .. }
            | Self::Dask { after, .. }
            | Self::TooFewWorkers { after, .. } => *after = now,
            _ => {}
        }
        self
    }

    /// Whether a request that failed like this may have had its effect all the same.
    pub(crate) fn may_have_acted(&self) -> bool {
        match self {
            Self::RequestTimeout { .. } | Self::NoAnswer { .. } | Self::BadReply { .. } => true,
            Self::Server { status, .. } => *status >= 500,
            Self::NotSaturn { status, .. } => (200..300).contains(status),
            _ => false,
        }
    }

    /// Whether the same request may well succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::RequestTimeout { .. }
            | Self::NoAddress { .. } => true,
            Self::Server { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// What became of a cluster after something about it had failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aftermath {
    /// It was closed and costs nothing any more.
    Closed,
    /// It was asked to close, but the server did not confirm it.
    NotClosed,
    /// It was left as it is, and costs for as long as it runs.
    Left,
    /// It is closed when this program lets go of it.
    Guarded,
}

impl std::fmt::Display for Aftermath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "it was closed",
            Self::NotClosed => {
                "closing it failed, so it may run and cost: close it by its id or in the web interface"
            }
            Self::Left => "it was left as it is and may cost: close it when it is not needed",
            Self::Guarded => "it is closed when this program lets go of it",
        })
    }
}

/// What to do about a status.
fn next_step(status: u16) -> &'static str {
    match status {
        409 => "something else is going on with it: look at its status, and try again",
        429 => "ask less often, and try again in a few minutes",
        400..=499 => "the server does not accept the request as it is: look at the options",
        _ => "try again in a few minutes; if it stays like this, tell the server's operators",
    }
}

/// Where to look for a cluster.
fn whereabouts(found: &[String]) -> String {
    match found {
        [] => "list the clusters that run, or look into the web interface".to_owned(),
        found => format!("it would be one of {}; close it if it is not needed", found.join(", ")),
    }
}

/// The server's words after a colon, if there are any.
fn quoted(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do_next() {
        let (url, id, message) = ("https://a.example", "c1", "boom");
        let server = |status| Error::Server { url: url.into(), status, message: message.into() };
        let after = Aftermath::Left;
        for (error, next) in [
            (server(500), "try again in a few minutes"),
            (server(409), "look at its status"),
            (server(429), "ask less often"),
            (server(422), "look at the options"),
            (Error::NotFound { url: url.into(), message: message.into() }, "is the id right"),
            (Error::BadReply { url: url.into(), reason: message.into() }, "as new as the server"),
            (Error::NoAnswer { url: url.into(), reason: message.into() }, "try again"),
            (Error::ShortChain { id: id.into(), found: 1, after }, "tell its operators"),
            (Error::BadChain { id: id.into(), reason: message.into(), after }, "tell the server's operators"),
            (Error::ClusterFailed { id: None, errors: Vec::new(), after }, "look into its logs"),
            (
                Error::Connecting { id: id.into(), source: Box::new(server(502)), after },
                "close it when it is not needed",
            ),
            (Error::NoAddress { id: id.into() }, "try again in a minute"),
            (Error::Crypto { what: "do it", reason: message.into() }, "certificates of authorities"),
            (Error::Io { what: "do it", source: std::io::Error::other("boom") }, "limits"),
            (Error::MaybeCreated { found: Vec::new(), source: Box::new(server(502)) }, "list the clusters"),
            (Error::MaybeCreated { found: vec![id.into()], source: Box::new(server(502)) }, "one of c1"),
            (
                Error::Unencrypted { id: id.into(), address: "tcp://a:1".into(), after },
                "allow that explicitly",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(next), "{next:?} is missing: {text}");
            // What may run is told by its id.
            assert!(
                error.aftermath().is_none() || error.cluster_id().is_none() || text.contains(id),
                "{text}"
            );
        }
    }
}
