//! Dask clusters on Saturn Cloud: from a token to a healthy cluster, and no bill left running.
//!
//! ```no_run
//! use saturn_cloud::{SaturnCluster, Settings};
//! use std::time::Duration;
//!
//! # async fn example() -> saturn_cloud::Result<()> {
//! let settings = Settings::builder()
//!     .base_url("https://app.community.saturnenterprise.io")
//!     .token_file("token.json")
//!     .build()?;
//! let cluster = SaturnCluster::builder(settings)
//!     .project_id("a753517c0d4b40b598823cb759a83f50")
//!     .n_workers(3)
//!     .worker_size("8xlarge")
//!     .scheduler_size("2xlarge")
//!     .nthreads(32)
//!     .start()
//!     .await?;
//! let client = cluster.connect().await?;
//! // {"tcp://10.0.23.16:43141": {"status": "OK"}, …}
//! println!("{:?}", client.health(Duration::from_secs(10)).await);
//! cluster.close().await
//! # }
//! ```
//!
//! # What ends a cluster
//!
//! A cluster that [`ClusterBuilder::start`] has started is closed by [`SaturnCluster::close`], by dropping the
//! [`SaturnCluster`] or the [`Starting`] before it, by an error on the way, or when the time of
//! [`ClusterBuilder::close_after`] has passed. One that was found running is left running. [`ClusterBuilder::keep`]
//! changes either, and nothing about the time. [`Saturn::running`] lists what runs, with its price.
//!
//! Requests that create are sent by a thread which lives until it is known what they have created, whatever becomes of the
//! future or the runtime that asked. A close that fails is tried again for as long as the program runs, up to an hour after
//! it has let go. Where the server does not say whether it has created something, [`Error::MaybeCreated`] does.
//!
//! dask-saturn's interface does not tell a cluster that this program starts from one that somebody else with the same
//! project or token is just starting: whoever joins such a start, and is not to end it, says `keep(true)`.
//!
//! # TLS
//!
//! Each connection gets a key of its own, which never leaves the program's memory, and a certificate that the cluster's
//! authority signs for it; both are renewed before they expire, and when the client connects again. How the scheduler is
//! judged is up to [`Verification`]. All data goes through the scheduler: workers are never dialled, and a scheduler without
//! encryption is refused unless it is on this machine or [`ClusterBuilder::allow_unencrypted`] says so.
//!
//! # Beside other clusters
//!
//! [`ClusterBuilder`] and [`SaturnCluster`] are a [`dask_client::Provisioner`] and a [`dask_client::Cluster`], like local
//! clusters.
//!
//! # Without an account
//!
//! The feature `emulator` brings a stand-in for the service with real Dask clusters on this machine; `dask-rs saturn
//! emulate` runs it.
//!
//! # Environment variables
//!
//! | variable | meaning |
//! | --- | --- |
//! | `SATURN_BASE_URL`, else `BASE_URL` | where Saturn Cloud is |
//! | `SATURN_TOKEN` | the token |
//! | `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, … | for requests to it, as usual; not for connections to schedulers |

pub mod api;
mod backoff;
mod builder;
mod certificates;
mod certifier;
mod cluster;
mod csr;
mod diagnose;
#[cfg(feature = "emulator")]
pub mod emulator;
mod error;
mod guard;
mod keeper;
mod options;
mod provisioner;
mod run;
mod running;
mod settings;
mod sizes;
mod start;
mod status;
mod surface;
mod watch;

pub use api::Saturn;
pub use api::legacy::{ClusterInfo, Created};
pub use api::public::{Component, DaskCluster, LogLine, Logs, Resource, RuntimeSummary, WorkerCounts};
pub use backoff::Backoff;
pub use builder::ClusterBuilder;
pub use certificates::Verification;
pub use cluster::SaturnCluster;
pub use error::{Aftermath, Error, Result};
pub use options::ClusterOptions;
pub use running::Running;
pub use settings::{Settings, SettingsBuilder};
pub use sizes::{InstanceSize, Sizes};
pub use start::{GivenUp, Progress, Starting};
pub use status::Status;
