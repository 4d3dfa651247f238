//! However a start or a cluster ends: nothing is left running, or it is told what is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::{SOON, asked, bare, cluster, impatient, statuses, until};
use futures::{FutureExt, StreamExt};
use saturn_cloud::emulator::{Emulator, Fault, Outcome};
use saturn_cloud::{
    Aftermath, ClusterOptions, Error, GivenUp, Progress, Resource, Saturn, SaturnCluster, Starting, Status,
};

/// Polls a start until the server has a cluster, and not any further.
async fn until_created(emulator: &Emulator, starting: &mut Starting) {
    let before = emulator.clusters().len();
    until(|| {
        drop(starting.next().now_or_never());
        emulator.clusters().len() > before
    })
    .await;
}

fn workspace(emulator: &Emulator) -> Resource {
    Resource::Workspace(emulator.workspace_id().to_owned())
}

#[tokio::test]
async fn a_cluster_whose_answer_is_under_way_is_closed_when_the_start_is_dropped() {
    let slow = Duration::from_millis(400);
    for project in [true, false] {
        let late = Fault::slow("/dask_clusters", slow).method("POST");
        let emulator = bare().outcome(Outcome::Never).fault(late).start().unwrap();
        let description = match project {
            true => cluster(&emulator),
            false => cluster(&emulator).resource(workspace(&emulator)),
        };
        // Dropped before the answer.
        let mut starting = description.clone().start();
        until_created(&emulator, &mut starting).await;
        tokio::task::spawn_blocking(move || drop(starting)).await.unwrap();
        assert!(statuses(&emulator)[0].is_over(), "{:?}", emulator.clusters());
        // Dropped after the answer has come, which nobody has looked at.
        let mut starting = description.clone().start();
        until_created(&emulator, &mut starting).await;
        until(|| asked(&emulator, "/dask_clusters") == 2).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::spawn_blocking(move || drop(starting)).await.unwrap();
        assert!(statuses(&emulator)[1].is_over(), "{:?}", emulator.clusters());
        // Given up.
        let mut starting = description.start();
        until_created(&emulator, &mut starting).await;
        let (id, _) = emulator.clusters().pop().unwrap();
        assert_eq!(starting.cancel().await.unwrap(), GivenUp::Closed { id });
        assert!(statuses(&emulator).iter().all(Status::is_over), "{:?}", emulator.clusters());
    }
}

#[test]
fn a_runtime_that_ends_leaves_nothing_behind() {
    let late = Fault::slow("/dask_clusters", Duration::from_millis(400)).method("POST");
    let emulator = bare().outcome(Outcome::Never).fault(late).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = tokio::task::LocalSet::new();
    runtime.block_on(async {
        let description = cluster(&emulator);
        drop(tokio::spawn(async move { description.start().await }));
        until(|| !emulator.clusters().is_empty()).await;
    });
    drop(started);
    drop(runtime);
    assert_eq!(statuses(&emulator), [Status::Closed]);
}

#[tokio::test]
async fn giving_up_tells_what_became_of_the_cluster() {
    let emulator = bare().start().unwrap();
    assert_eq!(cluster(&emulator).start().cancel().await.unwrap(), GivenUp::Nothing);
    // One that is to be kept is named, even when its answer was under way.
    emulator.fail(Fault::slow("/dask_clusters", Duration::from_millis(300)).method("POST").times(1));
    let mut starting = cluster(&emulator).keep(true).start();
    until_created(&emulator, &mut starting).await;
    let (id, _) = emulator.clusters().pop().unwrap();
    assert_eq!(starting.cancel().await.unwrap(), GivenUp::Left { id: id.clone() });
    // One that was found running is left.
    let mut starting = cluster(&emulator).start();
    while starting.next().await.is_some() {}
    assert_eq!(starting.cancel().await.unwrap(), GivenUp::Left { id });
    assert_eq!(statuses(&emulator), [Status::Running]);
    // One that cannot be closed is named by the error.
    let emulator = bare().outcome(Outcome::Never).fault(Fault::new("/close", 403, "no")).start().unwrap();
    let mut starting = cluster(&emulator).start();
    until_created(&emulator, &mut starting).await;
    let error = starting.cancel().await.unwrap_err();
    assert!(matches!(&error, Error::NotClosed { id, .. } if *id == emulator.clusters()[0].0), "{error}");
}

#[tokio::test]
async fn a_first_request_without_an_answer_is_asked_again() {
    let description = |emulator: &Emulator| {
        SaturnCluster::builder(impatient(emulator)).project_id(emulator.project_id()).backoff(SOON)
    };
    for fault in [
        Fault::new("/dask_clusters", 502, "bad gateway").after_executing(),
        Fault::cut("/dask_clusters").after_executing(),
    ] {
        let fault = fault.method("POST").times(1);
        let emulator = bare().outcome(Outcome::Never).fault(fault).start().unwrap();
        let mut starting = description(&emulator).start();
        while !matches!(starting.next().await, Some(Progress::Status { id: Some(_), .. })) {}
        let (id, _) = emulator.clusters().pop().unwrap();
        assert_eq!(starting.cancel().await.unwrap(), GivenUp::Closed { id });
        assert_eq!(statuses(&emulator), [Status::Closed]);
    }
    // One that is ready by the time of the next question may have been there before: that is told.
    let late = Fault::slow("/dask_clusters", Duration::from_secs(10)).method("POST").times(1);
    let emulator = bare().fault(late).start().unwrap();
    let mut starting = description(&emulator).start();
    let mut warnings = Vec::new();
    while let Some(event) = starting.next().await {
        if let Progress::Warning { text } = event {
            warnings.push(text);
        }
    }
    assert!(warnings.iter().any(|text| text.contains("there before")), "{warnings:?}");
    assert!(!starting.await.unwrap().closes_on_drop());
    assert_eq!(statuses(&emulator), [Status::Running]);
}

#[tokio::test]
async fn a_cluster_that_may_have_been_created_is_told() {
    // The server answers nothing useful at all: there is no id to tell.
    let fault = Fault::new("/dask_clusters", 502, "bad gateway").method("POST").after_executing();
    let emulator = bare().outcome(Outcome::Never).fault(fault.clone()).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    assert!(matches!(&error, Error::MaybeCreated { found, .. } if found.is_empty()), "{error}");
    assert!(error.to_string().contains("may have been created all the same"), "{error}");
    // When it answers again by the time of closing, nothing is left.
    let emulator = bare().outcome(Outcome::Never).fault(fault.clone().times(3)).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    assert_eq!(error.aftermath(), Some(Aftermath::Closed), "{error}");
    assert_eq!(error.cluster_id(), Some(emulator.clusters()[0].0.as_str()));
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // The public API tells which clusters the resource has.
    let emulator = bare().fault(fault).start().unwrap();
    let error = cluster(&emulator).resource(workspace(&emulator)).start().await.unwrap_err();
    let Error::MaybeCreated { found, .. } = &error else { panic!("{error}") };
    assert_eq!(*found, [emulator.clusters()[0].0.clone()]);
    assert!(error.to_string().contains(&found[0]), "{error}");
    // What was refused was not created.
    let emulator = bare().fault(Fault::new("/dask_clusters", 422, "no").method("POST")).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    assert!(matches!(error, Error::Server { status: 422, .. }), "{error}");
    assert_eq!(asked(&emulator, "/dask_clusters"), 1);
}

#[tokio::test]
async fn a_reset_that_is_followed_by_a_failure_leaves_nothing() {
    let emulator = bare().fault(Fault::new("/dask_clusters", 403, "no").method("POST")).start().unwrap();
    let settings = emulator.settings().unwrap();
    // The cluster of the token's resource.
    let error = SaturnCluster::builder(settings.clone()).reset().backoff(SOON).start().await.unwrap_err();
    assert_eq!(error.aftermath(), Some(Aftermath::Closed), "{error}");
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // The answer to the reset is lost.
    for fault in [Fault::cut("/reset"), Fault::new("/reset", 504, "gateway timeout")] {
        let emulator = bare().fault(fault.after_executing().times(1)).start().unwrap();
        let settings = emulator.settings().unwrap();
        let running = SaturnCluster::builder(settings).reset().backoff(SOON).start().await.unwrap();
        // What is ready at once after a reset is ours.
        assert!(running.closes_on_drop());
        running.close().await.unwrap();
        assert!(
            statuses(&emulator).iter().all(|status| *status == Status::Closed),
            "{:?}",
            statuses(&emulator)
        );
    }
}

#[tokio::test]
async fn resetting_keeps_the_guard_until_another_cluster_is_there() {
    // Never started: as dropped.
    let emulator = bare().start().unwrap();
    let first = cluster(&emulator).keep(false).start().await.unwrap();
    let description = first.reset(ClusterOptions::new());
    assert_eq!(statuses(&emulator), [Status::Running]);
    drop(description);
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // Refused before anything was sent: as dropped, and told.
    let first = cluster(&emulator).keep(false).start().await.unwrap();
    let id = first.id().to_owned();
    let error = first.reset(ClusterOptions::new().worker_size("huge")).start().await.unwrap_err();
    let Error::Starting { id: told, after: Aftermath::Closed, source } = &error else { panic!("{error}") };
    assert!(*told == id && matches!(**source, Error::WrongSize { .. }), "{error}");
    assert!(statuses(&emulator).iter().all(|status| *status == Status::Closed));
    // The server refuses.
    emulator.fail(Fault::new("/reset", 403, "no").times(1));
    let first = cluster(&emulator).keep(false).start().await.unwrap();
    let error = first.reset(ClusterOptions::new()).start().await.unwrap_err();
    assert_eq!(error.aftermath(), Some(Aftermath::Closed), "{error}");
    assert!(statuses(&emulator).iter().all(|status| *status == Status::Closed));
    // What was kept stays kept.
    let mut first = cluster(&emulator).start().await.unwrap();
    first.keep();
    let second = first.reset(ClusterOptions::new()).backoff(SOON).start().await.unwrap();
    assert!(!second.closes_on_drop());
}

#[tokio::test]
async fn resetting_keeps_the_time_limit() {
    let emulator = bare().start().unwrap();
    let mut first = cluster(&emulator).keep(false).start().await.unwrap();
    first.close_after(Some(Duration::from_secs(10))).unwrap();
    let second = first.reset(ClusterOptions::new()).backoff(SOON).start().await.unwrap();
    assert!(second.closes_on_drop());
    until(|| statuses(&emulator) == [Status::Closed, Status::Closed]).await;
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_time_limit_holds_for_a_cluster_that_is_kept() {
    let limit = Duration::from_secs(6);
    // While it is held.
    let emulator = bare().delay(Duration::from_millis(10)).start().unwrap();
    let held = cluster(&emulator).keep(true).close_after(limit).start().await.unwrap();
    assert!(!held.closes_on_drop());
    until(|| statuses(&emulator) == [Status::Closed]).await;
    held.close().await.unwrap();
    assert_eq!(asked(&emulator, "/close"), 1);
    // While it starts.
    let emulator = bare().outcome(Outcome::Never).start().unwrap();
    let error = cluster(&emulator).keep(true).close_after(limit).start().await.unwrap_err();
    assert!(matches!(&error, Error::NotReady { after: Aftermath::Closed, .. }), "{error}");
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // After a reset.
    let emulator = bare().start().unwrap();
    let mut first = cluster(&emulator).start().await.unwrap();
    first.keep();
    let second =
        first.reset(ClusterOptions::new()).backoff(SOON).close_after(2 * limit).start().await.unwrap();
    assert!(!second.closes_on_drop());
    let third = second.reset(ClusterOptions::new()).start().await.unwrap();
    assert!(!third.closes_on_drop());
    until(|| statuses(&emulator) == vec![Status::Closed; 3]).await;
    drop(third);
    // Dropped before, it goes on.
    let emulator = bare().start().unwrap();
    drop(cluster(&emulator).keep(true).close_after(Duration::from_secs(3600)).start().await.unwrap());
    assert_eq!(statuses(&emulator), [Status::Running]);
    // Who closes it, or wants it closed, gets that.
    let kept = cluster(&emulator).keep(true).close_after(Duration::from_secs(3600)).start().await.unwrap();
    kept.close().await.unwrap();
    assert_eq!(statuses(&emulator), [Status::Closed]);
    let mut kept =
        cluster(&emulator).keep(true).close_after(Duration::from_secs(3600)).start().await.unwrap();
    kept.close_after(None).unwrap();
    assert!(kept.closes_on_drop());
    drop(kept);
    assert_eq!(statuses(&emulator), [Status::Closed, Status::Closed]);
}

#[tokio::test]
async fn resetting_by_the_public_api_stays_with_the_resource() {
    let emulator = bare().start().unwrap();
    // Another cluster, which is none of its business.
    let mut other = SaturnCluster::builder(emulator.settings().unwrap()).backoff(SOON).start().await.unwrap();
    other.keep();
    let first = cluster(&emulator).resource(workspace(&emulator)).start().await.unwrap();
    let old = first.id().to_owned();
    let options = ClusterOptions::new().n_workers(5);
    let second = first.reset(options).backoff(SOON).start().await.unwrap();
    assert_ne!(second.id(), old);
    let saturn = Saturn::new(emulator.settings().unwrap()).unwrap();
    assert!(matches!(saturn.public().get(&old).await, Err(Error::UnknownCluster { .. })));
    let made = saturn.public().get(second.id()).await.unwrap();
    assert_eq!((made.n_workers, made.resource()), (5, Some(workspace(&emulator))));
    assert_eq!(other.status().await.unwrap(), Status::Running);
    second.close().await.unwrap();
    assert_eq!(statuses(&emulator), [Status::Running, Status::Stopped]);
}

#[tokio::test]
async fn a_close_that_fails_at_the_deadline_is_tried_until_it_works() {
    let emulator = bare().fault(Fault::new("/close", 503, "later").times(5)).start().unwrap();
    let mut held = cluster(&emulator).keep(false).start().await.unwrap();
    held.close_after(Some(Duration::ZERO)).unwrap();
    // A request is noted when it is answered, a moment after what it did.
    until(|| asked(&emulator, "/close") == 6).await;
    assert_eq!(statuses(&emulator), [Status::Closed]);
    held.close().await.unwrap();
    assert_eq!(asked(&emulator, "/close"), 6);
}

#[tokio::test]
async fn a_close_that_failed_is_tried_further_and_by_the_next_who_asks() {
    // Refused for good at the deadline; whoever closes later makes an attempt at once.
    let emulator = bare().fault(Fault::new("/close", 403, "no").times(1)).start().unwrap();
    let mut held = cluster(&emulator).keep(false).start().await.unwrap();
    held.close_after(Some(Duration::ZERO)).unwrap();
    until(|| asked(&emulator, "/close") == 1).await;
    held.close().await.unwrap();
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // When nobody asks any more, it goes on by itself.
    let emulator = bare().fault(Fault::new("/close", 403, "no").times(1)).start().unwrap();
    let held = cluster(&emulator).keep(false).start().await.unwrap();
    let error = held.close().await.unwrap_err();
    assert!(matches!(error, Error::NotClosed { .. }), "{error}");
    until(|| statuses(&emulator) == [Status::Closed]).await;
    // A cluster that is forgotten is not closed any more.
    let emulator = bare().fault(Fault::new("/close", 503, "no")).start().unwrap();
    let mut held = cluster(&emulator).keep(false).start().await.unwrap();
    held.close_after(Some(Duration::ZERO)).unwrap();
    until(|| asked(&emulator, "/close") >= 3).await;
    held.keep();
    drop(held);
    assert_eq!(statuses(&emulator), [Status::Running]);
}

#[tokio::test]
async fn nothing_is_asked_for_after_the_time_is_up() {
    let emulator = bare().outcome(Outcome::Never).start().unwrap();
    let error = cluster(&emulator).close_after(Duration::from_secs(5)).start().await.unwrap_err();
    assert!(matches!(&error, Error::NotReady { after: Aftermath::Closed, .. }), "{error}");
    assert_eq!(statuses(&emulator), [Status::Closed]);
}

#[tokio::test]
async fn a_cluster_that_is_ended_by_others_while_it_starts_is_told() {
    let emulator = bare().outcome(Outcome::Never).start().unwrap();
    let saturn = Saturn::new(emulator.settings().unwrap()).unwrap();
    for description in [cluster(&emulator), cluster(&emulator).resource(workspace(&emulator))] {
        let mut starting = description.start();
        loop {
            let event = starting.next().await.unwrap();
            if let Progress::Status { status: Status::Starting, id: Some(id), .. } = event {
                saturn.public().stop(&id).await.unwrap();
                break;
            }
        }
        let error = starting.await.unwrap_err();
        assert!(matches!(&error, Error::ClusterStopped { status: Status::Stopped, .. }), "{error}");
        assert!(statuses(&emulator).iter().all(Status::is_over));
    }
}

#[tokio::test]
async fn a_token_that_expires_during_a_start_is_told_with_the_cluster() {
    let emulator = bare().outcome(Outcome::Never).start().unwrap();
    let mut starting = cluster(&emulator).start();
    until_created(&emulator, &mut starting).await;
    while !matches!(starting.next().await, Some(Progress::Status { .. })) {}
    emulator.expire_token();
    let error = starting.await.unwrap_err();
    let Error::Starting { id, after, source } = &error else { panic!("{error}") };
    // Without a token nothing can be closed either: the id is what is left.
    assert_eq!((id, *after), (&emulator.clusters()[0].0, Aftermath::NotClosed));
    assert!(matches!(**source, Error::TokenExpired { .. }), "{error}");
}

#[tokio::test]
async fn a_close_by_the_public_api_takes_any_word_for_yes() {
    let mut fault = Fault::new("/stop", 202, "").after_executing();
    (fault.content_type, fault.body) = ("text/plain".to_owned(), "accepted".to_owned());
    let emulator = bare().fault(fault).start().unwrap();
    let running = cluster(&emulator).resource(workspace(&emulator)).start().await.unwrap();
    running.close().await.unwrap();
    assert_eq!(statuses(&emulator), [Status::Stopped]);
}
