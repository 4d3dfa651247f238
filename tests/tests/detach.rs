//! Results that outlive the client that asked for them, for other clients and for Python.

use std::time::Duration;

use dask_client::{ErrorKind, Future, WireValue, py, python};
use dask_live_tests::rounds::{another, python as real_python};
use dask_live_tests::scenarios::{Outcome, Stage};
use dask_live_tests::{PATIENCE, checks, ensure, ensure_eq, on_each_release};

#[tokio::test]
async fn what_is_detached_is_there_for_others() {
    on_each_release(checks![
        another_client_collects_what_one_left,
        python_collects_what_we_leave,
        we_collect_what_python_leaves,
        names_are_replaced_and_dropped,
        what_is_not_there_is_told,
    ])
    .await;
}

async fn another_client_collects_what_one_left(stage: &Stage) -> Outcome {
    let first = another(stage).await?;
    // Not done by the time its client is gone.
    let report: Future<String> =
        first.submit(python("import time\ntime.sleep(1)\nreturn 'all is well'")).await?;
    first.detach(&report, "report").await?;
    drop(report);
    first.close().await;
    for _ in 0..2 {
        let reader = another(stage).await?;
        let report: Future<String> = reader.attach("report").within(PATIENCE).await?;
        ensure_eq!(report.result().await?, "all is well");
        drop(report);
        reader.close().await;
    }
    stage.client.forget_detached("report").await?;
    Ok(())
}

async fn python_collects_what_we_leave(stage: &Stage) -> Outcome {
    let sum: Future<i64> = stage.client.submit(py("operator:add").args((40, 2))).await?;
    stage.client.detach(&sum, "for-python").await?;
    drop(sum);
    let printed = real_python(stage, "print(Variable('for-python').get(timeout=20).result())").await?;
    ensure_eq!(printed, "42");
    stage.client.forget_detached("for-python").await?;
    Ok(())
}

async fn we_collect_what_python_leaves(stage: &Stage) -> Outcome {
    real_python(stage, "Variable('from-python').set(client.submit(add, 20, 22))").await?;
    let sum: Future<i64> = stage.client.attach("from-python").within(PATIENCE).await?;
    ensure_eq!(sum.result().await?, 42);
    stage.client.forget_detached("from-python").await?;
    Ok(())
}

async fn names_are_replaced_and_dropped(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let old: Future<i64> = client.submit(py("operator:add").args((1, 1))).await?;
    let new: Future<i64> = client.submit(py("operator:add").args((2, 2))).await?;
    client.detach(&old, "name").await?;
    client.detach(&new, "name").await?;
    let keys = [old.key().clone(), new.key().clone()];
    drop((old, new));
    let four: Future<i64> = client.attach("name").within(PATIENCE).await?;
    ensure_eq!(four.result().await?, 4);
    drop(four);
    client.forget_detached("name").await?;
    // Nobody holds either any more.
    let mut known = true;
    for _ in 0..1200 {
        let states = client.rpc("get_task_status", [("keys", keys.iter().collect())]).await?;
        known = states.as_map().unwrap_or_default().iter().any(|(_, state)| !matches!(state, WireValue::Nil));
        if !known {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(!known, "the scheduler still keeps {keys:?}");
    Ok(())
}

async fn what_is_not_there_is_told(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let error = client.attach::<i64>("nobody-left-this").await.unwrap_err();
    ensure_eq!(error.kind(), ErrorKind::NotFound);
    ensure!(error.to_string().contains("nobody-left-this"), "{error}");
    client.variable("a-value").set(&7).await?;
    let error = client.attach::<i64>("a-value").within(PATIENCE).await.unwrap_err();
    ensure_eq!(error.kind(), ErrorKind::Decode);
    client.forget_detached("a-value").await?;
    client.forget_detached("never-was").await?;
    // Waiting for somebody to come.
    let other = another(stage).await?;
    let (attached, left) =
        tokio::join!(client.attach::<i64>("later").within(Duration::from_secs(30)).into_future(), async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let sum: Future<i64> = other.submit(py("operator:add").args((3, 4))).await?;
            other.detach(&sum, "later").await
        });
    left?;
    ensure_eq!(attached?.result().await?, 7);
    client.forget_detached("later").await?;
    other.close().await;
    Ok(())
}
