//! A native client for Dask clusters: no Python in this process, any release since 2.30 on the other side.
//!
//! ```no_run
//! use dask_client::{Client, Graph, py};
//!
//! # async fn example() -> dask_client::Result<()> {
//! let client = Client::connect("tcp://127.0.0.1:8786").await?;
//! let three: i64 = client.call(py("operator:add").args((1, 2))).await?;
//!
//! let mut graph = Graph::new();
//! let a = graph.add(py("operator:add").args((1, 2)));
//! let b = graph.add(py("operator:mul").args((&a, 10)));
//! let (x, y): (i64, i64) = client.compute(graph, (a, b)).await?;
//! assert_eq!((three, x, y), (3, 3, 30));
//! # Ok(())
//! # }
//! ```
//!
//! # Giving up
//!
//! Every future here may be dropped at any time. The session goes on, what a wait had taken from shared state (a lock, a
//! lease, an item of a queue) goes back, and tasks whose futures are dropped are released. What was asked of the
//! scheduler before may still happen: a restart that nobody waits for any more is a restart.
//!
//! # Tracing
//!
//! At level DEBUG, `tracing` sees a span for every call that is about tasks (`dask.submit`, `dask.gather`, `dask.retry`,
//! `dask.variable_set`, …), with the first key in `key` and their number in `keys`; below it `dask.rpc` for every
//! request, with its `op`, its `peer` and the `name` of the shared thing that it is about; and `dask.stream` for every
//! message on the stream to the scheduler, with its `op` and keys. What goes wrong without an error to carry it (a slow
//! reply, a lost stream) is an event at level WARN.

#[cfg(doc)]
#[doc = include_str!("../PARITY.md")]
pub mod parity {}

#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod config;
mod ending;
#[cfg(feature = "config-files")]
mod environment;
mod error;
mod look;
mod net;
mod outside;
mod provisioner;
mod raw;
mod results;
mod session;
mod state;
mod waiting;
mod work;

pub use client::{Client, Statistics};
pub use config::{ClientBuilder, Reconnect};
pub use dask_pickle as pickle;
#[cfg(feature = "arrow")]
pub use dask_wire::arrow::{ArrowBatch, ArrowTable, PandasFrame};
pub use dask_wire::dialect::SubmissionForm;
pub use dask_wire::exception::PythonError;
pub use dask_wire::family::Decoded;
#[cfg(feature = "ndarray")]
pub use dask_wire::numpy::{Array, Array1, Array2, Array3, ArrayD};
pub use dask_wire::numpy::{DType, NdArray, Scalar};
pub use dask_wire::session::OnReconnect;
pub use dask_wire::{
    Compression, Dialect, Feature, FromPython, Gathered, Key, Limits, Payload, Release, Value as WireValue,
};
pub use error::{Error, ErrorKind, Result};
pub use look::cluster::{StartStop, TaskRecord};
pub use look::info::{SchedulerInfo, WorkerHealth, WorkerInfo};
pub use look::logs::{LogForwarding, LogLevel, LogLine};
pub use look::profile::{Frame, Profile, ProfileQuery};
pub use look::skew::Skew;
pub use look::story::Transition;
pub use look::versions::{ClusterVersions, ServerVersions};
pub use look::worker_changes::{WorkerChange, WorkerChanges};
pub use net::address::{Address, BadAddress, Scheme};
pub use net::dial::ConnectPhases;
#[cfg(feature = "tls")]
pub use net::renewal::{FreshTls, TlsSource};
#[cfg(feature = "tls")]
pub use net::tls::{Pem, TlsConfig, TlsSession, TlsVersion, Verify};
pub use outside::actor::{Actor, ActorCall, ActorFuture};
pub use outside::plugin::Plugin;
pub use outside::run::Run;
pub use provisioner::{Cluster, ProvisionError, Provisioner};
pub use results::data::Data;
pub use results::direct::Direct;
pub use results::gather::{Compute, Gather};
pub use results::scatter::{Scatter, ScatterMany};
pub use session::life::ClientEvent;
pub use state::datasets::Dataset;
pub use state::detach::Attach;
pub use state::event::Event;
pub use state::guard::Lease;
pub use state::item::Item;
pub use state::lock::Lock;
pub use state::multi_lock::MultiLock;
pub use state::queue::Queue;
pub use state::semaphore::Semaphore;
pub use state::topics::{Subscription, TopicEvent};
pub use state::variable::Variable;
pub use waiting::as_completed::AsCompleted;
pub use waiting::diagnosis::{Diagnosis, Offer};
pub use waiting::limited::Limited;
pub use waiting::progress::{Counts, Progress};
pub use waiting::wait::{CallFuture, ExceptionFuture, Finished, ResultFuture};
pub use waiting::wait_many::{Wait, Waited};
pub use work::arguments::Args;
pub use work::call::{Call, py};
pub use work::future::Future;
pub use work::graph::{Graph, Node, Outputs};
pub use work::map::{Map, MapStream};
pub use work::python::{python, python_module};
#[doc(hidden)]
pub use work::remote::Sent;
pub use work::remote::{Argument, IntoCall, RemoteCall};
