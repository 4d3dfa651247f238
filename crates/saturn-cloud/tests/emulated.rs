//! Against the emulator without real clusters: everything up to the scheduler's door.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::{SOON, bare, cluster, settings, statuses};
use futures::StreamExt;
use saturn_cloud::emulator::{Chain, Emulator, Fault, Outcome};
use saturn_cloud::{
    Aftermath, ClusterOptions, Error, GivenUp, Progress, Resource, Saturn, SaturnCluster, Settings, Status,
};

#[tokio::test]
async fn a_wrong_and_an_expired_token_are_told_apart() {
    let emulator = bare().expired_token("0ld").start().unwrap();
    for (token, expired) in [("wr0ng", false), ("0ld", true)] {
        let error = Saturn::new(settings(&emulator, token)).unwrap().public().sizes().await.unwrap_err();
        match expired {
            true => assert!(matches!(error, Error::TokenExpired { .. }), "{error}"),
            false => assert!(matches!(error, Error::Unauthorized { .. }), "{error}"),
        }
        assert!(!format!("{error:?} {error}").contains(token), "{error:?}");
    }
}

#[tokio::test]
async fn an_unknown_project_workspace_and_cluster_are_named() {
    let emulator = bare().start().unwrap();
    let error = cluster(&emulator).project_id("nope").start().await.unwrap_err();
    assert!(matches!(&error, Error::UnknownProject { project_id, .. } if project_id == "nope"), "{error}");
    let error = cluster(&emulator).resource(Resource::Workspace("w".into())).start().await.unwrap_err();
    assert!(matches!(&error, Error::UnknownResource { kind: "workspace", .. }), "{error}");
    let error = cluster(&emulator).cluster_id("c9").start().await.unwrap_err();
    assert!(matches!(&error, Error::UnknownCluster { .. }), "{error}");
    assert_eq!(error.cluster_id(), Some("c9"));
    let error = cluster(&emulator).project_id(" ").start().await.unwrap_err();
    assert!(matches!(error, Error::BadOption { option: "project_id", .. }));
    assert!(emulator.clusters().is_empty());
}

#[tokio::test]
async fn a_cluster_belongs_to_what_it_was_made_for() {
    let emulator = bare().start().unwrap();
    let (deployment, job) = (emulator.deployment_id().to_owned(), emulator.job_id().to_owned());
    for (resource, unknown) in [
        (Resource::Deployment(deployment.clone()), Resource::Deployment(job.clone())),
        (Resource::Job(job), Resource::Job(deployment)),
    ] {
        let running = cluster(&emulator).resource(resource.clone()).start().await.unwrap();
        let made = running.saturn().public().get(running.id()).await.unwrap();
        assert_eq!(made.resource(), Some(resource));
        // The id is one of another kind.
        let error = cluster(&emulator).resource(unknown).start().await.unwrap_err();
        assert!(matches!(&error, Error::UnknownResource { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_url_is_told_by_what_answers_there() {
    let emulator = bare().fault(Fault::page("/info", 200).times(1)).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    assert!(matches!(&error, Error::NotSaturn { excerpt, .. } if excerpt == "Sign in"), "{error}");
    // A page that is not there at all, below some other site.
    let site =
        Settings::builder().base_url(format!("{}/elsewhere", emulator.url())).token("t").build().unwrap();
    let error = Saturn::new(site).unwrap().public().list().await.unwrap_err();
    assert!(matches!(error, Error::NotSaturn { status: 200, .. }), "{error}");
    // Nothing listens, and nobody else is given the port.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = unused.local_addr().unwrap().port();
    let nowhere =
        Settings::builder().base_url(format!("http://127.0.0.1:{port}")).token("s3cret").build().unwrap();
    let error = Saturn::new(nowhere).unwrap().public().list().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    // Something listens and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Settings::builder()
        .base_url(format!("http://{}", silent.local_addr().unwrap()))
        .token("s3cret")
        .request_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let error = Saturn::new(silent).unwrap().public().list().await.unwrap_err();
    assert!(matches!(error, Error::RequestTimeout { .. }), "{error}");
}

#[tokio::test]
async fn wrong_sizes_are_refused_before_anything_is_created() {
    let emulator = bare().start().unwrap();
    let error = cluster(&emulator).worker_size("huge").start().await.unwrap_err();
    assert!(
        matches!(&error, Error::WrongSize { valid, .. } if valid.contains(&"8xlarge".to_owned())),
        "{error}"
    );
    let error = cluster(&emulator).scheduler_size("g4dnxlarge").start().await.unwrap_err();
    assert!(matches!(error, Error::SizeDisabled { .. }), "{error}");
    assert!(emulator.requests().iter().all(|request| request.method == "GET"));
    let sizes = Saturn::new(emulator.settings().unwrap()).unwrap().public().sizes().await.unwrap();
    assert_eq!(sizes.get("8xlarge").and_then(|size| size.price_per_hour), Some(2.4));
}

#[tokio::test]
async fn progress_tells_each_status_and_each_warning_once() {
    let emulator = bare().delay(Duration::from_millis(400)).warning("spot prices are high").start().unwrap();
    let mut starting = cluster(&emulator).n_workers(2).worker_size("large").scheduler_size("medium").start();
    let mut events = Vec::new();
    while let Some(event) = starting.next().await {
        events.push(event);
    }
    let cluster = starting.await.unwrap();
    assert!(matches!(events[0], Progress::Cost { per_hour } if (per_hour - 0.36).abs() < 1e-9), "{events:?}");
    let warnings = events.iter().filter(|event| matches!(event, Progress::Warning { .. })).count();
    assert_eq!(warnings, 1);
    let seen: Vec<Status> = events
        .iter()
        .filter_map(|event| match event {
            Progress::Status { status, id, .. } => id.as_ref().map(|_| status.clone()),
            _ => None,
        })
        .collect();
    assert!(seen.len() >= 2 && seen[0] == Status::Pending, "{seen:?}");
    assert_eq!(seen.last(), Some(&Status::Ready));
    let Some(Progress::Ready { id, address, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((id.as_str(), address.as_str()), (cluster.id(), cluster.address().to_string().as_str()));
    assert!(cluster.closes_on_drop());
    assert!(cluster.cost_per_hour().is_some());
    cluster.close().await.unwrap();
    assert_eq!(statuses(&emulator), [Status::Closed]);
}

#[tokio::test]
async fn a_cluster_that_was_found_running_is_left_running() {
    let emulator = bare().start().unwrap();
    let mut first = cluster(&emulator).keep(true).start().await.unwrap();
    first.keep();
    drop(first);
    let found = cluster(&emulator).n_workers(7).start().await.unwrap();
    assert!(!found.closes_on_drop());
    drop(found);
    assert_eq!(statuses(&emulator), [Status::Running]);
    // Unless the caller says otherwise.
    drop(cluster(&emulator).keep(false).start().await.unwrap());
    assert_eq!(statuses(&emulator), [Status::Closed]);
}

#[tokio::test]
async fn dropping_closes_what_was_started() {
    let emulator = bare().delay(Duration::from_millis(100)).start().unwrap();
    drop(cluster(&emulator).start().await.unwrap());
    assert_eq!(statuses(&emulator), [Status::Closed]);
    let mut kept = cluster(&emulator).start().await.unwrap();
    kept.keep();
    drop(kept);
    assert_eq!(statuses(&emulator), [Status::Closed, Status::Running]);
}

#[tokio::test]
async fn a_deadline_closes_a_cluster_that_is_still_held() {
    let emulator = bare().delay(Duration::from_millis(10)).start().unwrap();
    let held = cluster(&emulator).close_after(Duration::from_secs(4)).start().await.unwrap();
    let until = tokio::time::timeout(Duration::from_secs(30), async {
        while statuses(&emulator) != [Status::Closed] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    until.await.unwrap();
    drop(held);
    let closes = emulator.requests().iter().filter(|request| request.path.ends_with("/close")).count();
    assert_eq!(closes, 1);
}

#[tokio::test]
async fn giving_up_half_way_closes_what_was_started() {
    let emulator = bare().outcome(Outcome::Never).start().unwrap();
    let mut starting = cluster(&emulator).start();
    while !matches!(starting.next().await, Some(Progress::Status { .. })) {}
    assert_eq!(starting.cancel().await.unwrap(), GivenUp::Closed { id: emulator.clusters()[0].0.clone() });
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // By dropping, too.
    let mut starting = cluster(&emulator).start();
    while !matches!(starting.next().await, Some(Progress::Status { .. })) {}
    drop(starting);
    assert_eq!(statuses(&emulator), [Status::Closed, Status::Closed]);
    // What is to be kept is named instead.
    let mut starting = cluster(&emulator).keep(true).start();
    while !matches!(starting.next().await, Some(Progress::Status { .. })) {}
    let GivenUp::Left { id } = starting.cancel().await.unwrap() else { panic!("not left") };
    let (last, status) = emulator.clusters().pop().unwrap();
    assert!(last == id && status != Status::Closed, "{status}");
}

#[tokio::test]
async fn a_cluster_that_never_becomes_ready_is_closed_at_the_deadline() {
    let emulator = bare().outcome(Outcome::Never).start().unwrap();
    let error = cluster(&emulator).deadline(Duration::from_millis(300)).start().await.unwrap_err();
    assert!(matches!(&error, Error::NotReady { status: Status::Starting | Status::Pending, .. }), "{error}");
    assert_eq!(error.aftermath(), Some(Aftermath::Closed));
    assert_eq!(error.cluster_id(), Some(emulator.clusters()[0].0.as_str()));
    assert_eq!(statuses(&emulator), [Status::Closed]);
}

#[tokio::test]
async fn a_cluster_that_ends_in_error_is_closed_and_its_words_are_shown() {
    let errors = vec!["no capacity".to_owned(), "quota exceeded".to_owned()];
    let emulator = bare().outcome(Outcome::Error(errors)).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    assert!(matches!(&error, Error::ClusterFailed { .. }), "{error}");
    assert!(error.to_string().contains("no capacity quota exceeded; look into its logs, or try other sizes or fewer workers; it was closed"), "{error}");
    assert_eq!(statuses(&emulator), [Status::Closed]);
}

#[tokio::test]
async fn a_failure_after_the_start_names_the_cluster_and_closes_it() {
    let boom = || bare().fault(Fault::new("/info", 500, "boom").skip(1)).delay(Duration::from_millis(50));
    let emulator = boom().start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    let Error::Starting { id, after, source } = &error else { panic!("{error}") };
    assert_eq!((id, *after), (&emulator.clusters()[0].0, Aftermath::Closed));
    assert!(
        matches!(**source, Error::Server { status: 500, .. }) && error.to_string().contains("boom"),
        "{error}"
    );
    assert_eq!(statuses(&emulator), [Status::Closed]);
    // When closing fails as well, the id is what is left.
    let emulator = boom().fault(Fault::new("/close", 403, "not yours")).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    assert_eq!(error.aftermath(), Some(Aftermath::NotClosed), "{error}");
    assert!(error.to_string().contains(&emulator.clusters()[0].0), "{error}");
}

#[tokio::test]
async fn a_few_failures_in_a_row_do_not_end_a_start() {
    let fault = Fault::new("/dask_clusters", 502, "bad gateway").method("POST").skip(1).times(2);
    let emulator = bare().delay(Duration::from_millis(200)).fault(fault).start().unwrap();
    let mut starting = cluster(&emulator).start();
    let mut warnings = 0;
    while let Some(event) = starting.next().await {
        warnings += usize::from(matches!(event, Progress::Warning { .. }));
    }
    starting.await.unwrap().close().await.unwrap();
    assert_eq!(warnings, 1);
    // Many do.
    emulator.fail(Fault::new("/dask_clusters", 502, "bad gateway").method("POST").skip(1));
    let error = cluster(&emulator).start().await.unwrap_err();
    assert!(matches!(&error, Error::Starting { after: Aftermath::Closed, .. }), "{error}");
}

#[tokio::test]
async fn an_unreachable_scheduler_tells_that_the_cluster_runs() {
    let emulator = bare().unreachable(true).delay(Duration::from_millis(20)).start().unwrap();
    let running = cluster(&emulator).start().await.unwrap();
    let error = running.connect().await.unwrap_err();
    assert!(matches!(&error, Error::SchedulerUnreachable { status: Status::Running, .. }), "{error}");
    assert_eq!((error.cluster_id(), error.aftermath()), (Some(running.id()), Some(Aftermath::Guarded)));
}

#[tokio::test]
async fn certificates_that_do_not_do_are_told_apart() {
    for (chain, matches) in [
        (Chain::Short, (|error| matches!(error, Error::ShortChain { found: 1, .. })) as fn(&Error) -> bool),
        (Chain::Page, |error| {
            let Error::Connecting { source, .. } = error else { return false };
            matches!(**source, Error::NotSaturn { .. })
        }),
        (Chain::Foreign, |error| matches!(error, Error::WrongAuthority { .. })),
    ] {
        let emulator = bare().chain(chain).start().unwrap();
        let running = cluster(&emulator).start().await.unwrap();
        let error = running.connect().await.unwrap_err();
        assert!(matches(&error), "{chain:?}: {error}");
        // Whatever it is, the cluster and its fate are told.
        assert_eq!((error.cluster_id(), error.aftermath()), (Some(running.id()), Some(Aftermath::Left)));
        assert!(error.to_string().contains(running.id()), "{error}");
    }
    let emulator = bare().fault(Fault::new("/csr", 502, "bad gateway")).start().unwrap();
    let running = cluster(&emulator).keep(false).start().await.unwrap();
    let error = running.connect().await.unwrap_err();
    let Error::Connecting { id, source, after: Aftermath::Guarded } = &error else { panic!("{error}") };
    assert!(matches!(**source, Error::Server { status: 502, .. }) && id == running.id(), "{error}");
}

#[tokio::test]
async fn a_cluster_that_dies_after_it_was_ready_is_told() {
    let emulator = bare().start().unwrap();
    let running = cluster(&emulator).start().await.unwrap();
    emulator.kill_clusters();
    assert_eq!(statuses(&emulator), [Status::Error]);
    let error = running.connect().await.unwrap_err();
    assert!(matches!(&error, Error::ClusterDied { status: Status::Error, .. }), "{error}");
    let error = running.scheduler_info().await.unwrap_err();
    assert!(matches!(&error, Error::ClusterDied { .. }), "{error}");
    assert_eq!(running.status().await.unwrap(), Status::Error);
}

#[tokio::test]
async fn the_public_api_creates_starts_lists_and_stops() {
    let emulator = bare().delay(Duration::from_millis(100)).start().unwrap();
    let saturn = Saturn::new(emulator.settings().unwrap()).unwrap();
    let options =
        ClusterOptions::new().n_workers(3).worker_size("8xlarge").scheduler_size("2xlarge").nthreads(32);
    let mut starting = SaturnCluster::builder(emulator.settings().unwrap())
        .resource(Resource::Workspace(emulator.workspace_id().to_owned()))
        .options(options)
        .backoff(SOON)
        .start();
    let mut parts = 0;
    while let Some(event) = starting.next().await {
        parts += usize::from(matches!(event, Progress::Components { workers, .. } if workers.count == 3));
    }
    let cluster = starting.await.unwrap();
    assert!(parts > 0);
    let running = saturn.running().await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!((running[0].cluster.id.as_str(), running[0].cluster.n_workers), (cluster.id(), 3));
    assert!(running[0].cost_per_hour.is_some_and(|cost| (cost - 7.8).abs() < 1e-9));
    cluster.scale(2).await.unwrap();
    cluster.adapt(1, 5).await.unwrap();
    assert!(matches!(cluster.adapt(5, 1).await, Err(Error::BadOption { .. })));
    let id = cluster.id().to_owned();
    assert_eq!(saturn.public().runtime_summary(&id).await.unwrap().worker_summary.count, 2);
    assert!(saturn.public().logs(&id, None, 10).await.unwrap().lines.is_empty());
    assert!(matches!(saturn.public().delete(&id, false).await, Err(Error::Server { status: 409, .. })));
    assert_eq!(saturn.public().restart(&id).await.unwrap().status, Status::Pending);
    cluster.close().await.unwrap();
    assert_eq!(saturn.public().get(&id).await.unwrap().status, Status::Stopped);
    assert!(saturn.running().await.unwrap().is_empty());
    // Stopped, it can be started again by its id, and is then ours to close.
    drop(
        SaturnCluster::builder(emulator.settings().unwrap())
            .cluster_id(&id)
            .backoff(SOON)
            .start()
            .await
            .unwrap(),
    );
    assert_eq!(statuses(&emulator), [Status::Stopped]);
    saturn.public().delete(&id, false).await.unwrap();
    assert!(emulator.clusters().is_empty());
}

#[tokio::test]
async fn the_last_lines_of_a_log_are_given_however_many_pages_it_has() {
    use saturn_cloud::Component;
    let emulator = (0..250).fold(bare(), |emulator, n| emulator.logged(format!("line {n}"))).start().unwrap();
    let running = cluster(&emulator).start().await.unwrap();
    for (most, first, left_out) in [(1, 249, 249), (120, 130, 130), (250, 0, 0), (usize::MAX, 0, 0)] {
        let logs = running.logs(Some(Component::Scheduler), most).await.unwrap();
        let expected: Vec<String> = (first..250).map(|n| format!("line {n}")).collect();
        assert_eq!(logs.lines.into_iter().map(|line| line.content).collect::<Vec<_>>(), expected);
        assert_eq!((logs.left_out, logs.is_cut), (left_out, false));
    }
    assert!(running.logs(Some(Component::Worker), 10).await.unwrap().lines.is_empty());
}

#[tokio::test]
async fn resetting_replaces_the_cluster() {
    let emulator = bare().start().unwrap();
    let first = cluster(&emulator).keep(false).start().await.unwrap();
    let second = first.reset(ClusterOptions::new().n_workers(2)).backoff(SOON).start().await.unwrap();
    assert_eq!(statuses(&emulator), [Status::Closed, Status::Running]);
    assert!(second.closes_on_drop());
    second.close().await.unwrap();
}

/// A certificate for a client of the cluster, made without this crate's own code: the chain, and the key, as PEM.
async fn certified(emulator: &Emulator, id: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("Dask Client {id}"));
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let saturn = Saturn::new(emulator.settings().unwrap()).unwrap();
    let chain = saturn.legacy(None).sign(id, &csr).await.unwrap();
    (chain, key.serialize_pem())
}

fn authority(chain: &str) -> String {
    let (_, rest) = chain.split_once("-----END CERTIFICATE-----\n").unwrap();
    rest.to_owned()
}

#[tokio::test]
async fn the_proxy_demands_the_name_and_a_certificate_of_the_clusters_authority() {
    use dask_client::{Client, TlsConfig};
    let emulator = bare().start().unwrap();
    let one = cluster(&emulator).start().await.unwrap();
    let settings = emulator.settings().unwrap();
    let other = SaturnCluster::builder(settings).start().await.unwrap();
    let (chain, _) = certified(&emulator, one.id()).await;
    let (foreign, foreign_key) = certified(&emulator, other.id()).await;
    let ca = authority(&chain);
    let connect = |address: String, tls: TlsConfig| {
        let port = emulator.scheduler_port();
        Client::builder().address(address).tls(tls).connect_via("127.0.0.1", port).connect()
    };
    let none = connect(one.address().to_string(), TlsConfig::new().ca(ca.clone())).await;
    assert!(none.is_err());
    let tls = TlsConfig::new().ca(ca.clone()).cert(foreign).key(foreign_key);
    assert!(connect(one.address().to_string(), tls).await.is_err());
    let unknown = format!("tls://nobody.localhost:{}", emulator.scheduler_port());
    assert!(connect(unknown, TlsConfig::new().ca(ca)).await.is_err());
    // The client hears of it first.
    common::until(|| emulator.connections().len() == 3).await;
    let refused: Vec<bool> = emulator.connections().iter().map(|one| one.refused.is_some()).collect();
    assert_eq!(refused, [true, true, true], "{:?}", emulator.connections());
}

#[tokio::test]
async fn the_schedulers_certificate_is_judged_as_asked_for() {
    use base64::Engine;
    use saturn_cloud::Verification;
    let emulator = bare().start().unwrap();
    let first = cluster(&emulator).start().await.unwrap();
    // The leaf that the proxy shows, seen as any client of the cluster sees it.
    let (chain, key) = certified(&emulator, first.id()).await;
    let host = first.address().host().to_owned();
    let leaf = {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority(&chain).as_bytes()).unwrap()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", emulator.scheduler_port())).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let tls = connector.connect(ServerName::try_from(host).unwrap(), tcp).await.unwrap();
        tls.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let body = base64::engine::general_purpose::STANDARD.encode(&leaf);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let wrong = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
    for (verification, trusted) in [
        (Verification::Chain, true),
        (Verification::Name, true),
        (Verification::Pinned(pem.into()), true),
        (Verification::Pinned(wrong.into()), false),
    ] {
        let before = emulator.connections().len();
        let found = cluster(&emulator).verification(verification.clone()).start().await.unwrap();
        // There is no scheduler behind the door: what counts is whether the door was accepted.
        assert!(found.connect().await.is_err());
        let accepted = emulator.connections()[before..].iter().any(|connection| connection.client.is_some());
        assert_eq!(accepted, trusted, "{verification:?}: {:?}", emulator.connections());
    }
}

#[tokio::test]
async fn the_parts_of_a_projects_cluster_are_told_until_the_server_has_none() {
    let parts = |emulator: &Emulator| {
        let mut starting = cluster(emulator).n_workers(3).start();
        async move {
            let mut seen = Vec::new();
            while let Some(event) = starting.next().await {
                if let Progress::Components { manager, scheduler, workers } = event {
                    seen.push((manager, scheduler, workers.count));
                }
            }
            starting.await.unwrap().close().await.unwrap();
            seen
        }
    };
    let emulator = bare().delay(Duration::from_millis(400)).start().unwrap();
    let seen = parts(&emulator).await;
    assert!(!seen.is_empty());
    assert!(
        seen.iter()
            .all(|(manager, scheduler, count)| { manager.is_some() && scheduler.is_some() && *count == 3 })
    );
    // A server that has never heard of it is asked once, and the cluster starts all the same.
    for fault in [Fault::new("/runtimesummary", 404, "Not Found"), Fault::page("/runtimesummary", 404)] {
        let emulator = bare().delay(Duration::from_millis(400)).fault(fault).start().unwrap();
        assert!(parts(&emulator).await.is_empty());
        assert_eq!(common::asked(&emulator, "/runtimesummary"), 1);
    }
}

#[tokio::test]
async fn a_cluster_that_was_there_before_costs_what_it_costs() {
    let emulator = bare().delay(Duration::from_millis(50)).start().unwrap();
    let first = cluster(&emulator).n_workers(2).worker_size("large").scheduler_size("medium").start();
    let first = first.await.unwrap();
    assert!(first.options_apply());
    assert_eq!(first.cost_per_hour(), Some(0.36));
    // The options of whoever attaches are ignored by the server, and so is their price.
    let found = cluster(&emulator).n_workers(9).worker_size("8xlarge").scheduler_size("8xlarge");
    let found = found.start().await.unwrap();
    assert!(!found.options_apply() && !found.closes_on_drop());
    assert_eq!(found.cost_per_hour(), Some(0.36));
    // A server that does not tell how it was made leaves the price open.
    emulator.fail(Fault::new(format!("/{}", found.id()), 404, "Not Found").method("GET"));
    let found = cluster(&emulator).n_workers(9).worker_size("8xlarge").scheduler_size("8xlarge");
    assert_eq!(found.start().await.unwrap().cost_per_hour(), None);
}

#[tokio::test]
async fn an_existing_cluster_takes_no_options() {
    let emulator = bare().start().unwrap();
    let options = ClusterOptions::new;
    for (option, options) in [
        ("n_workers", options().n_workers(2)),
        ("worker_size", options().worker_size("large")),
        ("worker_is_spot", options().worker_is_spot(false)),
        ("scheduler_size", options().scheduler_size("large")),
        ("nprocs", options().nprocs(1)),
        ("nthreads", options().nthreads(1)),
    ] {
        let error = cluster(&emulator).cluster_id("c1").options(options).start().await.unwrap_err();
        assert!(matches!(&error, Error::BadOption { option: told, .. } if *told == option), "{error}");
    }
    assert!(emulator.requests().is_empty());
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let emulator = bare().start().unwrap();
    let saturn = Saturn::new(emulator.settings().unwrap()).unwrap();
    let options = ClusterOptions::new().worker_size("x".repeat(5 << 20));
    let error = saturn.legacy(Some(emulator.project_id())).create(&options).await.unwrap_err();
    assert!(matches!(error, Error::Server { status: 413, .. } | Error::NoAnswer { .. }), "{error}");
    assert!(emulator.clusters().is_empty());
}
