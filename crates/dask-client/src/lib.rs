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

mod actor;
mod arguments;
mod as_completed;
mod batch;
#[cfg(feature = "blocking")]
pub mod blocking;
mod call;
mod cancel;
mod client;
mod config;
mod data;
mod datasets;
mod detach;
mod diagnose;
mod diagnosis;
mod direct;
mod ending;
#[cfg(feature = "config-files")]
mod environment;
mod error;
mod event;
mod exchange;
mod future;
mod gather;
mod graph;
mod greet;
mod guard;
mod info;
mod item;
mod keep;
mod life;
mod limit;
mod lock;
mod logs;
mod looking;
mod map;
mod metadata;
mod multi_lock;
mod net;
mod pickled;
mod placement;
mod plain;
mod plugin;
mod profile;
mod progress;
mod provisioner;
mod python;
mod queue;
mod raw;
mod remote;
mod reply;
mod run;
mod scatter;
mod semaphore;
mod session;
mod skew;
mod story;
mod submit;
#[cfg(feature = "arrow")]
mod table;
mod topics;
mod trace;
mod upload;
mod variable;
mod versions;
mod wait;
mod wait_many;
mod watch;
mod worker_changes;

pub use actor::{Actor, ActorCall, ActorFuture};
pub use arguments::Args;
pub use as_completed::AsCompleted;
pub use call::{Call, py};
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
pub use data::Data;
pub use datasets::Dataset;
pub use detach::Attach;
pub use diagnosis::{Diagnosis, Offer};
pub use direct::Direct;
pub use error::{Error, ErrorKind, Result};
pub use event::Event;
pub use future::Future;
pub use gather::{Compute, Gather};
pub use graph::{Graph, Node, Outputs};
pub use guard::Lease;
pub use info::{SchedulerInfo, WorkerHealth, WorkerInfo};
pub use item::Item;
pub use life::ClientEvent;
pub use lock::Lock;
pub use logs::{LogForwarding, LogLevel, LogLine};
pub use looking::{StartStop, TaskRecord};
pub use map::{Map, MapStream};
pub use multi_lock::MultiLock;
pub use net::address::{Address, BadAddress, Scheme};
pub use net::dial::ConnectPhases;
#[cfg(feature = "tls")]
pub use net::renewal::{FreshTls, TlsSource};
#[cfg(feature = "tls")]
pub use net::tls::{Pem, TlsConfig, TlsSession, TlsVersion, Verify};
pub use plugin::Plugin;
pub use profile::{Frame, Profile, ProfileQuery};
pub use progress::{Counts, Progress};
pub use provisioner::{Cluster, ProvisionError, Provisioner};
pub use python::{python, python_module};
pub use queue::Queue;
#[doc(hidden)]
pub use remote::Sent;
pub use remote::{Argument, IntoCall, RemoteCall};
pub use run::Run;
pub use scatter::{Scatter, ScatterMany};
pub use semaphore::Semaphore;
pub use skew::Skew;
pub use story::Transition;
pub use topics::{Subscription, TopicEvent};
pub use variable::Variable;
pub use versions::{ClusterVersions, ServerVersions};
pub use wait::{CallFuture, ExceptionFuture, Finished, ResultFuture};
pub use wait_many::{Wait, Waited};
pub use worker_changes::{WorkerChange, WorkerChanges};
