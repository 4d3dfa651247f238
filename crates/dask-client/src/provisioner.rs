//! One way to handle clusters of every kind.
//!
//! The traits are here, and not in a crate that starts clusters, because they speak of nothing but this crate's
//! [`Client`]: whatever can start a cluster depends on the client anyway, and a program that is written against the
//! traits need not depend on any of those crates.

use std::fmt;

use futures::future::BoxFuture;

use crate::client::Client;

/// Any failure of starting, reaching or ending a cluster.
pub type ProvisionError = Box<dyn std::error::Error + Send + Sync>;

/// A description of a cluster that can be started: on this machine, at Saturn Cloud, anywhere.
pub trait Provisioner: fmt::Debug + Send {
    /// Starts the cluster, or attaches to it, and waits until its scheduler can be connected to.
    ///
    /// Dropping the future gives it up, and what was started for it ends.
    fn provision(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Cluster>, ProvisionError>>;
}

/// A cluster that somebody has started. Dropping it ends it as its own type says.
pub trait Cluster: fmt::Debug + Send + Sync {
    /// The scheduler's address.
    fn address(&self) -> String;

    /// Connects a client, with the certificates that the cluster demands.
    fn connect(&self) -> BoxFuture<'_, Result<Client, ProvisionError>>;

    /// Has the cluster run this many workers. Returns when that is under way; they may come and go later.
    fn scale(&self, workers: u32) -> BoxFuture<'_, Result<(), ProvisionError>>;

    /// Ends the cluster and waits for that.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), ProvisionError>>;
}
