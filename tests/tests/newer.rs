//! A scheduler of a release that nobody knows yet: the newest dialect is spoken, and said so once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dask_client::{Client, ErrorKind, Future, py};
use dask_live_tests::PATIENCE;
use dask_live_tests::fake::{Caller, Liar};
use dask_live_tests::told::Told;
use dask_wire::Value;
use tokio::sync::mpsc;

fn warnings() -> Told {
    Told::new(|metadata| *metadata.level() == tracing::Level::WARN)
}

/// The warnings that are about the scheduler's release.
fn about_the_release(warnings: &Told) -> Vec<String> {
    let lines = warnings.lines().into_iter().map(|(_, line)| line);
    lines.filter(|line| line.contains("release")).collect()
}

/// Passes on the key of each submission and the field that carries the graph.
async fn note_submissions(mut caller: Caller, seen: mpsc::UnboundedSender<(String, bool)>) {
    while let Some(message) = caller.next().await {
        let value = message.value().unwrap();
        for entry in value.as_array().unwrap_or_default() {
            if entry.get("op").and_then(Value::as_str) != Some("update-graph") {
                continue;
            }
            let key = entry.get("keys").and_then(Value::as_array).and_then(|keys| keys[0].as_str());
            let as_expr = entry.get("expr_ser").is_some_and(|graph| graph.as_payload().is_some());
            seen.send((key.unwrap().to_owned(), as_expr)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_newer_release_is_spoken_to_as_the_newest_known_with_one_warning() {
    let warnings = warnings();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (seen, mut submissions) = mpsc::unbounded_channel();
    let liar = Liar::new("2031.1.0.dev3");
    let address = liar.listen(|_| None, move |caller| note_submissions(caller, seen.clone())).await;

    let client = Client::connect(address).await.unwrap();
    assert!(!client.dialect().is_known());
    assert_eq!(client.release(), dask_client::Release::new(2031, 1, 0));
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let another: Future<i64> = client.submit(py("operator:add").args((3, 4))).await.unwrap();
    for expected in [&future, &another] {
        let (key, as_expr) = tokio::time::timeout(PATIENCE, submissions.recv()).await.unwrap().unwrap();
        assert_eq!(Some(key.as_str()), expected.key().as_str());
        assert!(as_expr, "the graph is not an expression");
    }
    let said = about_the_release(&warnings);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("2031.1.0") && said[0].contains("known=2026.8.0"), "{said:?}");
    client.close().await;
}

#[tokio::test]
async fn builds_without_a_release_number_are_spoken_to_as_the_newest_with_one_warning() {
    for version in ["0+unknown", "0+untagged.1.g3d2a", "0.1.dev1+gabc", "2026.8.0+12.gabc", "main"] {
        let warnings = warnings();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let (seen, mut submissions) = mpsc::unbounded_channel();
        let liar = Liar::new(version);
        let address = liar.listen(|_| None, move |caller| note_submissions(caller, seen.clone())).await;
        let client = Client::connect(address).await.unwrap();
        assert!(!client.dialect().is_known(), "{version}");
        let _future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
        let (_, as_expr) = tokio::time::timeout(PATIENCE, submissions.recv()).await.unwrap().unwrap();
        assert!(as_expr, "{version}: the graph is not an expression");
        let said = about_the_release(&warnings);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(version), "{said:?}");
        client.close().await;
    }
}

#[tokio::test]
async fn a_release_before_the_oldest_known_is_refused_at_once() {
    let warnings = warnings();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let address = Liar::new("2.20.0").listen(|_| None, |_| async {}).await;
    let error = Client::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAvailable);
    let expected = "Dask 2.20.0 is older than 2.30.0, the oldest that this client speaks";
    assert_eq!(error.to_string(), expected);
    assert_eq!(about_the_release(&warnings), [""; 0]);
}

#[tokio::test]
async fn a_scheduler_that_comes_back_newer_is_told_of_as_well() {
    let warnings = warnings();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (count, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // The release changes when the first stream has ended.
    let release = {
        let ended = Arc::clone(&count);
        move || match ended.load(Ordering::SeqCst) {
            0 => "2026.8.0".to_owned(),
            _ => "2031.1.0.dev3".to_owned(),
        }
    };
    let (seen, mut submissions) = mpsc::unbounded_channel();
    let address = Liar::by(release)
        .listen(
            |_| None,
            move |mut caller| {
                let (ended, seen) = (Arc::clone(&count), seen.clone());
                let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    if first {
                        caller.next().await;
                        ended.fetch_add(1, Ordering::SeqCst);
                        caller.hang_up().await;
                    } else {
                        note_submissions(caller, seen).await;
                    }
                }
            },
        )
        .await;
    let client = Client::connect(address).await.unwrap();
    assert!(client.dialect().is_known());
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    drop(future.result().deadline(PATIENCE).await);
    let again: Future<i64> = client.submit(py("operator:add").args((3, 4))).await.unwrap();
    loop {
        let (key, as_expr) = tokio::time::timeout(PATIENCE, submissions.recv()).await.unwrap().unwrap();
        assert!(as_expr);
        if Some(key.as_str()) == again.key().as_str() {
            break;
        }
    }
    assert!(!client.dialect().is_known());
    let said = about_the_release(&warnings);
    assert_eq!(said.len(), 1, "{said:?}");
    client.close().await;
}
