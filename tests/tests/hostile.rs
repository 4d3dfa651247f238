//! A scheduler that breaks the protocol: every waiter gets the one typed cause, memory stays bounded, nothing hangs.

use std::time::Duration;

use bytes::Bytes;
use dask_client::{Client, ErrorKind, Future, Limits, py};
use dask_live_tests::PATIENCE;
use dask_live_tests::fake::{self, Caller};
use dask_wire::Value;

/// What a liar sends once two tasks are waited for, and what the client must make of it.
async fn answer_with<S, F>(lie: S, kind: ErrorKind, word: &str)
where
    S: Fn(Caller) -> F + Clone + Send + Sync + 'static,
    F: std::future::Future<Output = ()> + Send,
{
    let stream = move |mut caller: Caller| {
        let lie = lie.clone();
        async move {
            caller.next().await;
            lie(caller).await;
        }
    };
    let address = fake::scheduler(|_| None, stream).await;
    let mut limits = Limits::default();
    limits.message_bytes = 64 << 20;
    limits.decompressed_bytes = 64 << 20;
    let client = Client::builder().address(address).limits(limits).reconnect(None).connect().await.unwrap();
    let one: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let two: Future<i64> = client.submit(py("operator:add").args((3, 4))).await.unwrap();
    let both = async { (one.result().await, two.result().await) };
    let (one, two) = tokio::time::timeout(PATIENCE, both).await.expect("a waiter hangs");
    let (one, two) = (one.unwrap_err(), two.unwrap_err());
    assert_eq!(one.kind(), ErrorKind::Lost, "{one}");
    assert!(one.to_string().contains(word), "{one} lacks {word:?}");
    let cause = |error: &dask_client::Error| error.to_string().split_once(": ").unwrap().1.to_owned();
    assert_eq!(cause(&one), cause(&two), "not the one cause");
    // Later calls get it, too, as its own kind.
    let later = client.call::<i64>(py("operator:add").args((1, 2))).await.unwrap_err();
    assert_eq!(later.kind(), kind, "{later}");
    tokio::time::timeout(PATIENCE, client.close()).await.expect("closing hangs");
}

fn bytes_of(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[tokio::test]
async fn claims_of_frames_and_bytes_that_never_come() {
    answer_with(
        |mut caller| async move { caller.send_bytes(&bytes_of(&[24, 1 << 63, 8])).await },
        ErrorKind::Protocol,
        "frames",
    )
    .await;
    answer_with(
        |mut caller| async move { caller.send_bytes(&bytes_of(&[24, 1, 1 << 63])).await },
        ErrorKind::Protocol,
        "bytes",
    )
    .await;
}

#[tokio::test]
async fn framing_that_changes_in_the_middle() {
    let lie = |mut caller: Caller| async move {
        // A message in the framing of 2.30.1: what follows the count is taken for lengths.
        caller.send_bytes(&bytes_of(&[2, 0, 10])).await;
        caller.send_bytes(&[0xa0; 10]).await;
        caller.hang_up().await;
    };
    answer_with(lie, ErrorKind::Protocol, "malformed").await;
}

#[tokio::test]
async fn bombs() {
    // LZ4 that claims more than it can hold, in a value beside the message.
    let lz4 = |mut caller: Caller| async move {
        let body = b"\x91\x83\xa2op\xaatask-erred\xa3key\xa1x\xa9exception\x81\xae__Serialized__\x01";
        let header = b"\x83\xaaserializer\xa6pickle\xaenum-sub-frames\x01\xabcompression\x91\xa3lz4";
        let frame = [&u32::MAX.to_le_bytes()[..], &[0x11, 0x22, 0x33]].concat();
        let frames = [Bytes::from_static(body), Bytes::from_static(header), Bytes::from(frame)];
        caller.send_frames(&frames).await;
    };
    answer_with(lz4, ErrorKind::Protocol, "lz4").await;
    // msgpack nested without end.
    let nested =
        |mut caller: Caller| async move { caller.send_frames(&[Bytes::from(vec![0x91; 1 << 20])]).await };
    answer_with(nested, ErrorKind::Protocol, "nesting").await;
}

#[tokio::test]
async fn messages_that_stop_in_the_middle() {
    let lie = |mut caller: Caller| async move {
        caller.send_bytes(&bytes_of(&[108, 1, 100])).await;
        caller.send_bytes(b"only this much").await;
        caller.hang_up().await;
    };
    answer_with(lie, ErrorKind::ConnectionLost, "middle").await;
}

#[tokio::test]
async fn wrong_types_in_every_field_are_passed_over() {
    let stream = |mut caller: Caller| async move {
        let Some(message) = caller.next().await else { return };
        let key = {
            let value = message.value().unwrap();
            let submitted = &value.as_array().unwrap()[0];
            submitted.get("keys").unwrap().as_array().unwrap()[0].as_str().unwrap().to_owned()
        };
        let odd =
            [Value::Nil, Value::Int(7), Value::Str("x".into()), Value::Array(vec![]), Value::Map(vec![])];
        for op in [
            "key-in-memory",
            "task-erred",
            "cancelled-keys",
            "event",
            "adjust-heartbeat-interval",
            "stream-start",
        ] {
            for odd in &odd {
                let fields = ["key", "keys", "exception", "topic", "event", "interval", "warning"];
                let mut map: Vec<(Value<'_>, Value<'_>)> = vec![("op".into(), op.into())];
                map.extend(fields.iter().map(|field| (Value::from(*field), odd.clone())));
                caller.send(&Value::Array(vec![Value::Map(map), odd.clone()])).await;
            }
        }
        let done: Value<'_> =
            [("op", Value::from("key-in-memory")), ("key", Value::from(key))].into_iter().collect();
        caller.send(&Value::Array(vec![done])).await;
        while caller.next().await.is_some() {}
    };
    let address = fake::scheduler(|_| None, stream).await;
    let client = Client::connect(address).await.unwrap();
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    tokio::time::timeout(PATIENCE, future.finished()).await.expect("it hangs").unwrap();
}

#[tokio::test]
async fn a_scheduler_that_never_replies() {
    let address =
        fake::scheduler(|_| None, |mut caller| async move { while caller.next().await.is_some() {} }).await;
    let client =
        Client::builder().address(address).rpc_timeout(Duration::from_millis(200)).connect().await.unwrap();
    let error = client.scheduler_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("identity"), "{error}");
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let error = future.result().deadline(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn replies_of_the_wrong_shape() {
    for reply in [Value::Nil, Value::Int(3), Value::Array(vec![Value::Nil]), Value::Map(vec![])] {
        let address = {
            let reply = reply.clone();
            fake::scheduler(move |_| Some(reply.clone()), |_| async {}).await
        };
        let client = Client::connect(address).await.unwrap();
        let error = client.scheduler_info().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{reply:?}: {error}");
        drop(client.versions().await);
        drop(client.health(Duration::from_secs(1)).await);
    }
}
