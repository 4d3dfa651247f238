//! What the tests against an emulator without real clusters share.
#![allow(dead_code, clippy::unwrap_used, reason = "not every test uses all of it")]

use std::time::Duration;

use saturn_cloud::emulator::{Emulator, EmulatorBuilder};
use saturn_cloud::{Backoff, ClusterBuilder, SaturnCluster, Settings, Status};

pub(crate) const SOON: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(50));

pub(crate) fn bare() -> EmulatorBuilder {
    Emulator::builder().dask(false)
}

pub(crate) fn cluster(emulator: &Emulator) -> ClusterBuilder {
    SaturnCluster::builder(emulator.settings().unwrap()).project_id(emulator.project_id()).backoff(SOON)
}

/// Settings under which a request is given up soon.
pub(crate) fn impatient(emulator: &Emulator) -> Settings {
    Settings::builder()
        .base_url(emulator.url())
        .token(emulator.token())
        .request_timeout(Duration::from_secs(4))
        .build()
        .unwrap()
}

pub(crate) fn settings(emulator: &Emulator, token: &str) -> Settings {
    Settings::builder().base_url(emulator.url()).token(token).build().unwrap()
}

pub(crate) fn statuses(emulator: &Emulator) -> Vec<Status> {
    emulator.clusters().into_iter().map(|(_, status)| status).collect()
}

/// Requests so far whose path ends like this.
pub(crate) fn asked(emulator: &Emulator, path_ends: &str) -> usize {
    emulator.requests().iter().filter(|request| request.path.ends_with(path_ends)).count()
}

/// Waits, within bounds, until something holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
}
