//! A scheduler that breaks the protocol: every waiter gets the one typed cause, memory stays bounded, nothing hangs.
//!
//! Each lie is told on the stream and as the reply to a request, in every way that a message can be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dask_client::{Client, ClientBuilder, Direct, ErrorKind, Future, Limits, py};
use dask_live_tests::PATIENCE;
use dask_live_tests::fake::{self, Caller, Liar};
use dask_wire::{Compression, Encoding, Payload, Value};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message as WsMessage;

/// What a message may expand to, here.
const EXPANDED: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Up to 2021.02.0: no total size first, values by path.
    Bare,
    /// 2021.03.0: values by path.
    Splits,
    /// From 2021.03.1 on.
    Placeholders,
    /// The same over a WebSocket.
    WebSocket,
}

use Way::{Bare, Placeholders, Splits, WebSocket};

const STREAMS: [Way; 3] = [Bare, Splits, Placeholders];
const ALL: [Way; 4] = [Bare, Splits, Placeholders, WebSocket];

impl Way {
    fn encoding(self) -> Encoding {
        match self {
            Bare => Encoding::PathsWithLengths,
            Splits => Encoding::PathsWithSplits,
            Placeholders | WebSocket => Encoding::Placeholders,
        }
    }

    fn liar(self) -> Liar {
        let liar = match self {
            Bare => Liar::new("2.30.1"),
            Splits => Liar::new("2021.3.0"),
            Placeholders => Liar::new("2026.8.0"),
            WebSocket => Liar::new("2026.8.0").websocket(),
        };
        liar.encoding(self.encoding())
    }

    /// What comes before the frames of a message: these numbers, after a total where there is one.
    fn start(self, numbers: &[u64]) -> Vec<u8> {
        let total: &[u64] = if self == Bare { &[] } else { &[24] };
        bytes_of(&[total, numbers].concat())
    }
}

fn bytes_of(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn client(address: String) -> ClientBuilder {
    let mut limits = Limits::default();
    limits.message_bytes = 64 << 20;
    limits.websocket_bytes = 16 << 20;
    limits.decompressed_bytes = EXPANDED as u64;
    Client::builder().address(address).limits(limits).rpc_timeout(PATIENCE).reconnect(None)
}

/// What a liar does once two tasks are waited for, and once a request is, and what the client must make of it.
async fn answer_with<S, F>(way: Way, lie: S, kind: ErrorKind, word: &str)
where
    S: Fn(Caller) -> F + Clone + Send + Sync + 'static,
    F: std::future::Future<Output = ()> + Send,
{
    on_the_stream(way, lie.clone(), kind, word).await;
    as_a_reply(way, lie, kind, word).await;
}

async fn on_the_stream<S, F>(way: Way, lie: S, kind: ErrorKind, word: &str)
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
    let client = client(way.liar().listen(|_| None, stream).await).connect().await.unwrap();
    let one: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let two: Future<i64> = client.submit(py("operator:add").args((3, 4))).await.unwrap();
    let both = async { (one.result().await, two.result().await) };
    let (one, two) = tokio::time::timeout(PATIENCE, both).await.expect("a waiter hangs");
    let (one, two) = (one.unwrap_err(), two.unwrap_err());
    assert_eq!(one.kind(), ErrorKind::Lost, "{way:?}: {one}");
    assert!(one.to_string().contains(word), "{way:?}: {one} lacks {word:?}");
    let cause = |error: &dask_client::Error| error.to_string().split_once(": ").unwrap().1.to_owned();
    assert_eq!(cause(&one), cause(&two), "{way:?}: not the one cause");
    // Later calls get it, too, as its own kind.
    let later = client.call::<i64>(py("operator:add").args((1, 2))).await.unwrap_err();
    assert_eq!(later.kind(), kind, "{way:?}: {later}");
    tokio::time::timeout(PATIENCE, client.close()).await.expect("closing hangs");
}

async fn as_a_reply<S, F>(way: Way, lie: S, kind: ErrorKind, word: &str)
where
    S: Fn(Caller) -> F + Clone + Send + Sync + 'static,
    F: std::future::Future<Output = ()> + Send,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = {
        let asked = Arc::clone(&asked);
        move |_, mut caller: Caller| {
            let (lie, number) = (lie.clone(), asked.fetch_add(1, Ordering::SeqCst));
            async move {
                if number == 0 {
                    lie(caller).await;
                    return None;
                }
                caller.send(&[("id", "honest")].into_iter().collect()).await;
                Some(caller)
            }
        }
    };
    let address = way.liar().listen_and_answer(answer, |_| async {}).await;
    let client = client(address).connect().await.unwrap();
    let reply = tokio::time::timeout(PATIENCE, client.rpc("identity", [])).await.expect("a request hangs");
    let error = reply.unwrap_err();
    assert_eq!(error.kind(), kind, "{way:?}: {error}");
    assert!(error.to_string().contains(word), "{way:?}: {error} lacks {word:?}");
    // That connection is given up, and nothing else: the next request gets one of its own.
    let reply = client.rpc("identity", []).await.unwrap();
    assert_eq!(reply.get("id").and_then(Value::as_str), Some("honest"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    tokio::time::timeout(PATIENCE, client.close()).await.expect("closing hangs");
}

#[tokio::test]
async fn claims_of_frames_and_bytes_that_never_come() {
    for way in STREAMS {
        let frames = way.start(&[1 << 63, 8]);
        let lie = move |mut caller: Caller| {
            let frames = frames.clone();
            async move { caller.send_bytes(&frames).await }
        };
        answer_with(way, lie, ErrorKind::Protocol, "frames").await;
        let bytes = way.start(&[1, 1 << 63]);
        let lie = move |mut caller: Caller| {
            let bytes = bytes.clone();
            async move { caller.send_bytes(&bytes).await }
        };
        answer_with(way, lie, ErrorKind::Protocol, "bytes").await;
    }
}

#[tokio::test]
async fn websockets_that_break_the_rules() {
    let count = |count: u64| WsMessage::Binary(Bytes::copy_from_slice(&count.to_le_bytes()));
    let frames = move |mut caller: Caller| async move { caller.send_websocket(count(1 << 63)).await };
    answer_with(WebSocket, frames, ErrorKind::Protocol, "frames").await;
    // A WebSocket message that announces more bytes than may come (masking aside, as a server sends it): room for them
    // would be reserved at once.
    for size in [1u64 << 40, 32 << 20] {
        let huge = move |mut caller: Caller| async move {
            caller.send_bytes(&[&[0x82, 127][..], &size.to_be_bytes()].concat()).await;
            caller.next().await;
        };
        answer_with(WebSocket, huge, ErrorKind::Protocol, "websocket_bytes").await;
    }
    let gibberish = |mut caller: Caller| async move {
        caller.send_bytes(&[0xff; 64]).await;
        caller.next().await;
    };
    answer_with(WebSocket, gibberish, ErrorKind::Protocol, "WebSocket").await;
    let text = |mut caller: Caller| async move { caller.send_websocket(WsMessage::text("hello")).await };
    answer_with(WebSocket, text, ErrorKind::NotDask, "text message").await;
    let no_count = |mut caller: Caller| async move {
        caller.send_websocket(WsMessage::Binary(Bytes::from_static(b"no count"))).await;
    };
    answer_with(WebSocket, no_count, ErrorKind::Protocol, "frames").await;
    let stops = move |mut caller: Caller| async move {
        caller.send_websocket(count(2)).await;
        caller.send_websocket(WsMessage::Binary(Bytes::from_static(b"the first"))).await;
        caller.hang_up().await;
    };
    answer_with(WebSocket, stops, ErrorKind::ConnectionLost, "").await;
}

#[tokio::test]
async fn a_websocket_that_claims_much_before_any_handshake() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let claim = [&[0x82, 127][..], &(1u64 << 30).to_be_bytes()].concat();
        socket.get_mut().write_all(&claim).await.unwrap();
        std::future::pending::<()>().await;
    };
    // With the limits that every client has.
    let connected = tokio::select! {
        connected = Client::builder().address(address).connect() => connected,
        () = serve => return,
    };
    let error = connected.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("websocket_bytes"), "{error}");
}

#[tokio::test]
async fn framing_that_changes_in_the_middle() {
    for (way, bytes) in [
        // A message in the framing of 2.30.1: what follows the count is taken for lengths.
        (Placeholders, [bytes_of(&[2, 0, 10]), vec![0xa0; 10]].concat()),
        (Splits, [bytes_of(&[2, 0, 10]), vec![0xa0; 10]].concat()),
    ] {
        let lie = move |mut caller: Caller| {
            let bytes = bytes.clone();
            async move {
                caller.send_bytes(&bytes).await;
                caller.hang_up().await;
            }
        };
        answer_with(way, lie, ErrorKind::Protocol, "malformed").await;
    }
    // The other way round: the total is taken for a number of frames, and what follows for their lengths.
    let lie = |mut caller: Caller| async move {
        caller.send_bytes(&bytes_of(&[34, 2, 0, 10])).await;
        caller.hang_up().await;
    };
    answer_with(Bare, lie, ErrorKind::ConnectionLost, "middle").await;
    let lie = |mut caller: Caller| async move {
        caller.send_bytes(&[bytes_of(&[34, 2, 0, 10]), vec![0xa0; 500]].concat()).await;
    };
    answer_with(Bare, lie, ErrorKind::Protocol, "bytes").await;
}

/// A message with an exception beside it that takes `size` bytes.
fn with_exception(exception: Vec<u8>) -> Value<'static> {
    let error = Value::Map(vec![
        ("op".into(), "task-erred".into()),
        ("key".into(), "x".into()),
        ("exception".into(), Payload::pickle(exception, []).into()),
    ]);
    Value::Array(vec![error])
}

#[tokio::test]
async fn compressed_frames_that_expand_beyond_the_limit() {
    let message = with_exception(vec![0; EXPANDED + 1]);
    for how in [Compression::Lz4, Compression::Zstd, Compression::Zlib, Compression::Snappy] {
        for way in ALL {
            let frames = way.encoding().encode(&message, Some(how));
            let size: usize = frames.iter().map(Bytes::len).sum();
            assert!(size < EXPANDED / 10, "{how}: {size} bytes are no bomb");
            let lie = move |mut caller: Caller| {
                let frames = frames.clone();
                async move { caller.send_frames(&frames).await }
            };
            answer_with(way, lie, ErrorKind::Protocol, "decompressed_bytes").await;
        }
    }
}

#[tokio::test]
async fn a_first_part_that_expands_beyond_the_limit() {
    let packed =
        Encoding::PathsWithSplits.encode(&with_exception(vec![0; EXPANDED + 1]), Some(Compression::Zlib));
    let bomb = packed.last().unwrap().clone();
    for way in [Bare, Splits] {
        let bomb = bomb.clone();
        let lie = move |mut caller: Caller| {
            let frames = [Bytes::from_static(b"\x81\xabcompression\xa4zlib"), bomb.clone()];
            async move { caller.send_frames(&frames).await }
        };
        answer_with(way, lie, ErrorKind::Protocol, "decompressed_bytes").await;
    }
}

#[tokio::test]
async fn frames_that_claim_more_than_they_can_hold() {
    let message = with_exception(vec![0; 100_000]);
    for way in ALL {
        let mut frames = way.encoding().encode(&message, Some(Compression::Lz4));
        let mut last = frames.pop().unwrap().to_vec();
        last[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        frames.push(Bytes::from(last));
        let lie = move |mut caller: Caller| {
            let frames = frames.clone();
            async move { caller.send_frames(&frames).await }
        };
        answer_with(way, lie, ErrorKind::Protocol, "lz4").await;
    }
}

#[tokio::test]
async fn msgpack_nested_without_end() {
    for way in ALL {
        let body = Bytes::from(vec![0x91; 1 << 20]);
        let frames = if matches!(way, Bare | Splits) { vec![Bytes::new(), body] } else { vec![body] };
        let lie = move |mut caller: Caller| {
            let frames = frames.clone();
            async move { caller.send_frames(&frames).await }
        };
        answer_with(way, lie, ErrorKind::Protocol, "nesting").await;
    }
}

#[tokio::test]
async fn messages_that_stop_in_the_middle() {
    for way in STREAMS {
        let start = way.start(&[1, 100]);
        let lie = move |mut caller: Caller| {
            let start = start.clone();
            async move {
                caller.send_bytes(&start).await;
                caller.send_bytes(b"only this much").await;
                caller.hang_up().await;
            }
        };
        answer_with(way, lie, ErrorKind::ConnectionLost, "middle").await;
    }
}

/// The pickle of a million lists inside of each other.
fn deep_pickle() -> Vec<u8> {
    const DEPTH: usize = 1_000_000;
    [&b"\x80\x04"[..], &vec![b']'; DEPTH], &vec![b'a'; DEPTH - 1], b"."].concat()
}

/// Reads the key of the first task that a client submits.
async fn first_key(caller: &mut Caller) -> Value<'static> {
    let message = caller.next().await.unwrap();
    let value = message.value().unwrap();
    value.as_array().unwrap()[0].get("keys").unwrap().as_array().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn pickles_nested_without_end() {
    for way in ALL {
        // As a result, which is fetched through the scheduler.
        let (sender, key) = tokio::sync::watch::channel(None);
        let answer = move |op: String, mut caller: Caller| {
            let key: Value<'static> = key.borrow().clone().unwrap_or(Value::Nil);
            async move {
                assert_eq!(op, "gather");
                let data: Value<'_> = [(key, Payload::pickle(deep_pickle(), []))].into_iter().collect();
                caller.send(&[("status", Value::from("OK")), ("data", data)].into_iter().collect()).await;
                Some(caller)
            }
        };
        let stream = move |mut caller: Caller| {
            let sender = sender.clone();
            async move {
                let key = first_key(&mut caller).await;
                sender.send_replace(Some(key.clone()));
                let done: Value<'_> =
                    [("op", Value::from("key-in-memory")), ("key", key)].into_iter().collect();
                caller.send(&Value::Array(vec![done])).await;
                while caller.next().await.is_some() {}
            }
        };
        let address = way.liar().listen_and_answer(answer, stream).await;
        let deep = client(address).direct(Direct::Never).connect().await.unwrap();
        let result = deep.call::<Vec<i64>>(py("operator:add").args((1, 2)));
        let error = tokio::time::timeout(PATIENCE, result).await.expect("it hangs").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{way:?}: {error}");
        deep.close().await;

        // As an exception.
        let stream = move |mut caller: Caller| async move {
            let key = first_key(&mut caller).await;
            let pickle = || Value::from(Payload::pickle(deep_pickle(), []));
            let erred: Value<'_> =
                [("op", "task-erred".into()), ("key", key), ("exception", pickle()), ("traceback", pickle())]
                    .into_iter()
                    .collect();
            caller.send(&Value::Array(vec![erred])).await;
            while caller.next().await.is_some() {}
        };
        let deep = client(way.liar().listen(|_| None, stream).await).connect().await.unwrap();
        let result = deep.call::<i64>(py("operator:add").args((1, 2)));
        let error = tokio::time::timeout(PATIENCE, result).await.expect("it hangs").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Task, "{way:?}: {error}");
        deep.close().await;
    }
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
        Client::builder().address(address).rpc_timeout(Duration::from_secs(5)).connect().await.unwrap();
    let error = client.scheduler_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("identity"), "{error}");
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let error = future.result().deadline(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn numbers_beyond_all_bounds() {
    let worker = || -> Value<'static> {
        [("nthreads", u64::MAX), ("memory_limit", u64::MAX), ("last-seen", u64::MAX)].into_iter().collect()
    };
    let workers: Value<'_> =
        [("tcp://10.0.0.1:1", worker()), ("tcp://10.0.0.1:2", worker())].into_iter().collect();
    let identity: Value<'_> = [("id", "Scheduler".into()), ("workers", workers)].into_iter().collect();
    let address = fake::scheduler(move |_| Some(identity.clone()), |_| async {}).await;
    let info = Client::connect(address).await.unwrap().scheduler_info().await.unwrap();
    assert_eq!((info.workers.len(), info.total_threads), (2, u64::MAX));
}

/// More than are asked at once, and not one of them answers.
#[tokio::test]
async fn a_hundred_workers_that_hang_take_no_longer_than_one() {
    let worker = |port: u16| (format!("tcp://10.0.0.1:{port}"), Value::Map(vec![]));
    let workers: Value<'_> = (1..=100).map(worker).collect();
    let identity: Value<'_> = [("id", "Scheduler".into()), ("workers", workers)].into_iter().collect();
    let address = fake::scheduler(move |op| (op == "identity").then(|| identity.clone()), |_| async {}).await;
    let client = Client::connect(address).await.unwrap();
    // In turns, they would take several times that.
    let within = Duration::from_secs(20);
    let health = tokio::time::timeout(2 * within, client.health(within)).await.expect("in turns").unwrap();
    assert_eq!(health.len(), 100);
    assert!(health.values().all(|worker| worker.status == "timeout"), "{health:?}");
    let ran = client.run::<i64>(py("os:getpid")).deadline(within).into_future();
    let ran = tokio::time::timeout(2 * within, ran).await.expect("in turns").unwrap();
    assert_eq!(ran.len(), 100);
    let kinds = ran.into_values().map(|outcome| outcome.unwrap_err().kind());
    assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Timeout));
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
