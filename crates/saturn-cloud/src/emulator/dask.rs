//! The real clusters.

use std::sync::Arc;

use dask_local::{LocalCluster, WorkerSpec};

use super::state::{Outcome, Shared};
use crate::options::ClusterOptions;
use crate::status::Status;

fn count(n: Option<u32>, default: u32) -> usize {
    usize::try_from(n.unwrap_or(default)).unwrap_or(usize::MAX)
}

/// Worker processes that these options ask for.
fn wanted(options: &ClusterOptions) -> usize {
    count(options.n_workers, 1).saturating_mul(count(options.nprocs, 1))
}

/// Worker processes and threads of each that these options ask for, as far as this machine gives them.
fn workers(options: &ClusterOptions, most: usize) -> (usize, usize) {
    (wanted(options).min(most), count(options.nthreads, 2).clamp(1, 64))
}

/// What a user should know whose options ask for more than there is.
pub(super) fn shortage(options: &ClusterOptions, most: usize) -> Option<String> {
    let wanted = wanted(options);
    (wanted > most).then(|| {
        format!(
            "{wanted} worker processes are asked for, and this emulator runs {most} at most (most_workers)"
        )
    })
}

/// Workers' machines that run if this many processes do: they are counted as they are asked for.
pub(super) fn machines(processes: usize, options: &ClusterOptions) -> u32 {
    let wanted = options.n_workers.unwrap_or(1);
    let running = processes.div_ceil(count(options.nprocs, 1).max(1));
    u32::try_from(running).unwrap_or(wanted).min(wanted)
}

/// Starts the processes of a cluster in the background; its status tells how far they are.
pub(super) fn start(shared: &Arc<Shared>, id: &str, generation: u64) {
    let (shared, id) = (Arc::clone(shared), id.to_owned());
    tokio::spawn(async move {
        let config = &shared.config;
        tokio::time::sleep(config.delay / 2).await;
        shared.change(&id, generation, |cluster| cluster.status = Status::Starting);
        tokio::time::sleep(config.delay / 2).await;
        match &config.outcome {
            Outcome::Never => return,
            Outcome::Error(messages) => {
                shared.change(&id, generation, |cluster| {
                    cluster.status = Status::Error;
                    cluster.errors.clone_from(messages);
                });
                return;
            }
            Outcome::Ready | Outcome::Dies(_) => {}
        }
        let mut options = None;
        shared.change(&id, generation, |cluster| options = Some(cluster.options.clone()));
        let Some(options) = options else { return };
        let dask = match config.dask {
            true => Some(processes(&shared, &options).await),
            false => None,
        };
        match dask.transpose() {
            Err(message) => {
                shared.change(&id, generation, |cluster| {
                    cluster.status = Status::Error;
                    cluster.errors = vec![message];
                });
            }
            Ok(dask) => {
                let dask = dask.map(Arc::new);
                // One that was closed meanwhile is dropped, and ends.
                shared.change(&id, generation, |cluster| {
                    cluster.dask = dask;
                    cluster.status = Status::Running;
                });
            }
        }
        if let Outcome::Dies(after) = config.outcome {
            tokio::time::sleep(after).await;
            let mut gone = None;
            shared.change(&id, generation, |cluster| {
                cluster.status = Status::Error;
                cluster.errors = vec!["the scheduler died".to_owned()];
                gone = cluster.dask.take();
            });
            end(gone).await;
        }
    });
}

async fn processes(shared: &Shared, options: &ClusterOptions) -> Result<LocalCluster, String> {
    let (count, threads) = workers(options, shared.config.most_workers);
    let mut builder = LocalCluster::builder()
        .release(&shared.config.release)
        .extra_packages(shared.config.packages.iter().cloned())
        .workers(count)
        .threads(threads);
    if let Some(listen) = &shared.config.listen.0 {
        builder = builder.on_event(Arc::clone(listen));
    }
    builder.start().await.map_err(|error| error.to_string())
}

/// Changes the number of workers in the background.
pub(super) fn scale(shared: &Arc<Shared>, id: &str) {
    let scaling = {
        let state = shared.lock();
        let Some(cluster) = state.clusters.get(id) else { return };
        Arc::clone(&cluster.scaling)
    };
    let (shared, id) = (Arc::clone(shared), id.to_owned());
    tokio::spawn(async move {
        // One after another, each towards what is wanted when its turn comes.
        let _turn = scaling.lock().await;
        let (dask, options) = {
            let state = shared.lock();
            let Some(cluster) = state.clusters.get(&id) else { return };
            (cluster.dask.clone(), cluster.options.clone())
        };
        let Some(dask) = dask else { return };
        let (want, threads) = workers(&options, shared.config.most_workers);
        let running: Vec<usize> =
            dask.workers().into_iter().filter(|worker| worker.running).map(|worker| worker.index).collect();
        for _ in running.len()..want {
            if let Err(error) = dask.add_worker(WorkerSpec::new().threads(threads)).await {
                tracing::warn!(%error, "a worker did not start");
            }
        }
        for index in running.iter().skip(want) {
            if let Err(error) = dask.stop_worker(*index).await {
                tracing::warn!(%error, "a worker did not stop");
            }
        }
    });
}

/// Ends processes and waits for that, unless others still use them.
pub(super) async fn end(dask: Option<Arc<LocalCluster>>) {
    if let Some(dask) = dask.and_then(Arc::into_inner)
        && let Err(error) = dask.stop().await
    {
        tracing::warn!(%error, "a cluster did not stop");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_machines_and_their_processes_are_counted_by_them() {
        let options = ClusterOptions::new().n_workers(3).nprocs(2);
        assert_eq!([0, 1, 2, 5, 6, 9].map(|processes| machines(processes, &options)), [0, 1, 1, 3, 3, 3]);
        assert_eq!(machines(1, &ClusterOptions::new()), 1);
        assert_eq!(workers(&options, 8).0, 6);
        assert_eq!(shortage(&options, 6), None);
        assert!(shortage(&options, 5).is_some_and(|text| text.contains("6 worker processes")));
    }
}
