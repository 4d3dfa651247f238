//! A server that fails for a moment costs no cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{SOON, asked, bare, cluster, statuses};
use saturn_cloud::emulator::{Emulator, Fault};
use saturn_cloud::{Aftermath, Error, Resource, Saturn, SaturnCluster, Status};

/// An answer to the question where the scheduler is, after the sizes were asked for.
fn info(body: &str) -> Fault {
    let mut fault = Fault::new("/info", 200, "").skip(1);
    body.clone_into(&mut fault.body);
    fault
}

#[tokio::test]
async fn where_the_scheduler_is_may_be_told_late() {
    for fault in [
        Fault::new("/info", 502, "bad gateway").skip(1).times(1),
        Fault::cut("/info").skip(1).times(2),
        info(r#"{"scheduler_address": null}"#).times(1),
        info(r#"{"scheduler_address": ""}"#).times(2),
        info("{}").times(1),
    ] {
        let emulator = bare().fault(fault.clone()).start().unwrap();
        let running = cluster(&emulator).start().await.unwrap();
        assert!(running.address().scheme().is_encrypted(), "{fault:?}");
        assert_eq!(statuses(&emulator), [Status::Running]);
    }
    // One that is never told is no reason to pay without end.
    let emulator = bare().fault(info(r#"{"scheduler_address": null}"#)).start().unwrap();
    let error = cluster(&emulator).keep(false).start().await.unwrap_err();
    let Error::Starting { id, source, after: Aftermath::Closed } = &error else { panic!("{error}") };
    assert!(matches!(&**source, Error::NoAddress { id: own } if own == id), "{error}");
    assert_eq!((asked(&emulator, "/info"), statuses(&emulator)), (4, vec![Status::Closed]));
    // What is refused for good is not asked for again.
    let emulator = bare().fault(Fault::new("/info", 403, "no").skip(1)).start().unwrap();
    assert!(cluster(&emulator).start().await.is_err());
    assert_eq!(asked(&emulator, "/info"), 2);
}

/// A stopped cluster's id.
async fn stopped(emulator: &Emulator) -> String {
    let saturn = Saturn::new(emulator.settings().unwrap()).unwrap();
    let workspace = Resource::Workspace(emulator.workspace_id().to_owned());
    saturn.public().create(&workspace, &saturn_cloud::ClusterOptions::new()).await.unwrap().id
}

#[tokio::test]
async fn a_stopped_cluster_is_started_in_spite_of_a_lost_answer() {
    for fault in
        [Fault::new("/start", 503, "later"), Fault::cut("/start"), Fault::cut("/start").after_executing()]
    {
        let emulator = bare().fault(fault.clone().times(1)).start().unwrap();
        let id = stopped(&emulator).await;
        let description = SaturnCluster::builder(emulator.settings().unwrap()).cluster_id(&id).backoff(SOON);
        let running = description.start().await.unwrap();
        // It runs because of this start, whichever request it was.
        assert!(running.closes_on_drop(), "{fault:?}");
        // What has acted is not done twice.
        assert_eq!(asked(&emulator, "/start"), if fault.executes { 1 } else { 2 });
        running.close().await.unwrap();
        assert_eq!(statuses(&emulator), [Status::Stopped]);
    }
}

#[tokio::test]
async fn a_certificate_is_asked_for_again() {
    for (times, certificates) in [(1, 1), (2, 1), (3, 0)] {
        let fault = Fault::new("/csr", 502, "bad gateway").times(times);
        let emulator = bare().fault(fault).start().unwrap();
        let running = cluster(&emulator).start().await.unwrap();
        let made = running.client_builder().await;
        assert_eq!(usize::from(made.is_ok()), certificates, "{times}: {made:?}");
        assert_eq!(asked(&emulator, "/csr"), 3.min(usize::try_from(times).unwrap() + 1));
    }
    // Not for longer than connecting may take.
    let emulator = bare().fault(Fault::new("/csr", 502, "bad gateway")).start().unwrap();
    let hurried = cluster(&emulator).connect_timeout(std::time::Duration::ZERO).start().await.unwrap();
    assert!(hurried.client_builder().await.is_err());
    assert_eq!(asked(&emulator, "/csr"), 1);
}
