//! Starts a real Dask, of any release since 2.30.0, on loopback.
//!
//! It is meant for demonstrations and for testing clients: a scheduler and workers of exactly
//! the release asked for, ready when `start` returns, and gone without a trace afterwards.
//!
//! ```no_run
//! # async fn example() -> Result<(), dask_local::Error> {
//! use dask_local::LocalCluster;
//!
//! let cluster = LocalCluster::builder().release("2021.8.1").workers(2).start().await?;
//! assert!(cluster.address().starts_with("tcp://127.0.0.1:"));
//! cluster.stop().await
//! # }
//! ```
//!
//! # What it needs, installs and leaves
//!
//! It needs one Python that the release runs on ([`pythons_for`]), and for the first start of a
//! release a package index that pip or uv can reach. Interpreters are looked for on `PATH`, in
//! the usual system directories, and among those of pyenv, uv, mise and asdf; each is run to
//! see what it is. No Python is ever downloaded.
//!
//! Dask, numpy and lz4 go into a virtual environment of their own below [`cache_directory`],
//! one for each release, Python and list of extra packages, where the next start finds it. uv
//! makes it where uv is on `PATH`, else `venv` and `pip`. Removing that directory is the whole
//! of uninstalling.
//!
//! Everything else (logs, spilled data, certificates, scripts) is in a private temporary
//! directory that goes with the cluster. The processes are children of a supervisor, which ends
//! them and removes that directory as soon as the calling process lets go of it: by
//! [`LocalCluster::stop`], by dropping the cluster, by ending, or by being killed.
//!
//! It never installs into an existing Python, changes no shell setup, listens on loopback only,
//! and neither reads nor writes the user's configuration of Dask: the processes get a home
//! directory of their own, and no `DASK_*` or `PYTHON*` variable of the caller.
//!
//! # Environment variables
//!
//! | variable | meaning |
//! | --- | --- |
//! | `DASK_LOCAL_PYTHON` | interpreters to try first, a list like `PATH` |
//! | `DASK_LOCAL_CACHE` | where the environments are kept; else `$XDG_CACHE_HOME/dask-local`, else `~/.cache/dask-local` |
//! | `PIP_INDEX_URL`, `UV_DEFAULT_INDEX`, `HTTPS_PROXY`, … | as pip and uv read them |

mod builder;
mod cluster;
mod env;
mod error;
mod event;
mod install;
mod launch;
mod port;
mod process_env;
#[cfg(feature = "client")]
mod provisioner;
mod python;
mod recipes;
mod release;
mod start;
mod supervisor;
mod tail;
mod tls;

pub use builder::{ClusterBuilder, Protocol, WorkerSpec};
pub use cluster::{LocalCluster, Output, WorkerInfo};
pub use env::{Environment, cache_directory};
pub use error::{Attempt, Error};
pub use event::Event;
pub use install::Installer;
pub use release::{NEWEST, OLDEST, Release, known_releases};
pub use tls::TlsFiles;

/// The minor versions of Python 3 that run a release, the best first.
pub fn pythons_for(release: &Release) -> &'static [u32] {
    recipes::pythons(release)
}
