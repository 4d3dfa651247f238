//! The thread on which clients of blocking programs live.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

use crate::error::{Error, Result};

/// Runs a future to its end on the calling thread. Timers, sockets and whatever it spawns are served by the one
/// background thread. The future is made there where it can already refer to the runtime.
pub(super) fn block_on<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output> {
    if Handle::try_current().is_ok() {
        return Err(Error::config(
            "a blocking call inside of an async runtime would hold up everything else there; use .await instead of \
             .wait(), or wait on a thread of its own (std::thread::spawn)",
        ));
    }
    let handle = background()?;
    let work = {
        let _within = handle.enter();
        make()
    };
    Ok(handle.block_on(work))
}

/// The background thread's runtime, started by whoever first needs it. It is there until the program ends.
fn background() -> Result<&'static Handle> {
    static BACKGROUND: OnceLock<Result<Handle>> = OnceLock::new();
    BACKGROUND.get_or_init(start).as_ref().map_err(Clone::clone)
}

fn start() -> Result<Handle> {
    let cannot = |error: std::io::Error| {
        Error::config(format!("the background thread of blocking calls cannot be started: {error}"))
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let handle = runtime.handle().clone();
    let serve = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("dask-client".to_owned()).spawn(serve).map_err(cannot)?;
    Ok(handle)
}
