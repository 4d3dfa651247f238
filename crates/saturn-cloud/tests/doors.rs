//! What is wrong with a scheduler's door is told exactly, and nothing goes through one that is not safe.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::{bare, cluster, statuses};
use saturn_cloud::{Aftermath, Error, Status, Verification};

#[tokio::test]
async fn an_address_without_encryption_is_refused_unless_it_is_allowed() {
    let emulator =
        bare().tells_address("tcp://10.0.23.16:8786").delay(Duration::from_millis(10)).start().unwrap();
    let error = cluster(&emulator).start().await.unwrap_err();
    let Error::Unencrypted { address, after, .. } = &error else { panic!("{error}") };
    assert_eq!((address.as_str(), *after), ("tcp://10.0.23.16:8786", Aftermath::Closed));
    assert_eq!(error.cluster_id(), Some(emulator.clusters()[0].0.as_str()));
    assert_eq!(statuses(&emulator), [Status::Closed]);
    let allowed = cluster(&emulator).allow_unencrypted(true).start().await.unwrap();
    assert_eq!(allowed.address().to_string(), "tcp://10.0.23.16:8786");
    // On this machine nobody listens in.
    let emulator = bare().tells_address("tcp://127.0.0.1:8786").start().unwrap();
    assert!(cluster(&emulator).start().await.is_ok());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_where_names_matter() {
    let emulator = bare().certificate_name("dask-internal").start().unwrap();
    let named = cluster(&emulator).verification(Verification::Name).start().await.unwrap();
    let error = named.connect().await.unwrap_err();
    assert!(matches!(&error, Error::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("another name") && !error.to_string().contains("port"), "{error}");
    // As Dask judges it is fine; what is missing is the scheduler behind.
    let chain = cluster(&emulator).start().await.unwrap();
    let error = chain.connect().await.unwrap_err();
    assert!(matches!(&error, Error::SchedulerUnreachable { .. }), "{error}");
    assert!(emulator.connections().iter().any(|connection| connection.client.is_some()));
}

#[tokio::test]
async fn a_pin_that_does_not_match_is_told() {
    let emulator = bare().start().unwrap();
    let wrong = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
    let pinned = cluster(&emulator).verification(Verification::Pinned(wrong.into())).start().await.unwrap();
    let error = pinned.connect().await.unwrap_err();
    assert!(matches!(&error, Error::Untrusted { reason, .. } if reason.contains("pinned")), "{error}");
    assert!(!error.to_string().contains("allowed from here"), "{error}");
}

#[tokio::test]
async fn a_pin_that_is_none_is_refused_before_anything_is_asked_for() {
    let emulator = bare().start().unwrap();
    for pin in [dask_client::Pem::File("/no/such/pin.pem".into()), "no PEM at all".to_owned().into()] {
        let error = cluster(&emulator).verification(Verification::Pinned(pin)).start().await.unwrap_err();
        assert!(matches!(&error, Error::BadOption { option: "verification", .. }), "{error}");
    }
    assert!(emulator.requests().is_empty());
}

#[tokio::test]
async fn a_client_certificate_that_is_not_accepted_is_told() {
    let emulator = bare().certificate_lifetime(Duration::ZERO).start().unwrap();
    let running = cluster(&emulator).start().await.unwrap();
    let error = running.connect().await.unwrap_err();
    assert!(
        matches!(&error, Error::CertificateRefused { reason, .. } if reason == "CertificateExpired"),
        "{error}"
    );
    assert!(!error.to_string().contains("allowed from here"), "{error}");
}

#[tokio::test]
async fn without_a_name_there_is_no_way_in() {
    // Names that are addresses are not sent (SNI).
    let emulator = bare().host("127.0.0.1").start().unwrap();
    let running = cluster(&emulator).start().await.unwrap();
    let error = running.connect().await.unwrap_err();
    assert!(matches!(&error, Error::SchedulerUnreachable { .. }), "{error}");
    let seen = emulator.connections();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|one| one.server_name.is_none() && one.refused.is_some()), "{seen:?}");
}
