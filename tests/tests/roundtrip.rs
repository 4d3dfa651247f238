//! Values both ways: what Rust builds, Python compares with an expression of its own; what Python builds, Rust compares
//! with a description that does not come from the pickle.

use std::collections::BTreeMap;

use bytes::Bytes;
use dask_client::pickle::{
    BigInt, ByteArray, Complex, DateTime, Decimal, Dict, Fraction, FrozenSet, Global, Limits, List, PyBytes,
    Reduce, Set, Surrogate, Template, Time, TimeDelta, Tuple, Uuid, Value, read,
};
use dask_client::{Client, Future, NdArray, python, python_module};
use dask_live_tests::{ROUND, TestCluster, releases_or};
use dask_local::Protocol;
use dask_wire::numpy::DType;
use serde::Serialize;
use serde_json::{Value as Json, json};

/// A pickle and its out-of-band buffers.
type Pickled = (serde_bytes::ByteBuf, Vec<serde_bytes::ByteBuf>);

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn on_each_release(test: impl AsyncFn(&Client) -> Outcome) {
    for release in releases_or(&["2.30.1", "2022.7.1", "2026.8.0"]) {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let outcome = tokio::time::timeout(ROUND, test(&client)).await;
        outcome.expect("not done in time").unwrap_or_else(|error| panic!("{release}: {error:?}"));
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[derive(Serialize)]
struct Unit;
#[derive(Serialize)]
struct Newtype(i32);
#[derive(Serialize)]
struct Named {
    name: &'static str,
    optional: Option<u8>,
}
#[derive(Serialize)]
enum Choice {
    Unit,
    Newtype(i32),
    Tuple(i32, f64),
    Struct { a: (), b: Vec<bool> },
}

fn case(cases: &mut Vec<(Template, String)>, value: impl Serialize, expression: impl Into<String>) {
    cases.push((Template::of(&value).unwrap(), expression.into()));
}

/// Values, and Python expressions that make the same.
fn values() -> Vec<(Template, String)> {
    let mut all = Vec::new();
    let c = &mut all;
    case(c, (), "None");
    case(c, Some(5), "5");
    case(c, None::<i32>, "None");
    case(c, true, "True");
    case(c, false, "False");
    for bits in [0, 7, 8, 15, 16, 31, 32, 62] {
        for value in [1i64 << bits, -(1i64 << bits), (1i64 << bits) - 1] {
            case(c, value, value.to_string());
        }
    }
    for value in [i64::MIN, i64::MAX] {
        case(c, value, value.to_string());
    }
    case(c, u64::MAX, "2**64 - 1");
    case(c, i128::MIN, "-2**127");
    case(c, i128::MAX, "2**127 - 1");
    case(c, u128::MAX, "2**128 - 1");
    let big = num_bigint::BigInt::from(7).pow(3000);
    case(c, BigInt(big.clone()), "7 ** 3000");
    case(c, BigInt(-big), "-(7 ** 3000)");
    for (value, expression) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e308"),
        (f64::INFINITY, "float('inf')"),
        (f64::NEG_INFINITY, "-float('inf')"),
        (f64::NAN, "float('nan')"),
    ] {
        case(c, value, expression);
    }
    case(c, 0.5f32, "0.5");
    case(c, 'é', "'é'");
    for text in ["", "a", "日本😀", "\u{0}", "line\nbreak", "'\"\\"] {
        case(c, text, format!("bytes.fromhex({:?}).decode()", hex(text.as_bytes())));
    }
    for length in [255, 256, 70_000] {
        case(c, "x".repeat(length), format!("'x' * {length}"));
        case(c, "ü".repeat(length), format!("'ü' * {length}"));
        case(c, PyBytes::from(vec![b'q'; length]), format!("b'q' * {length}"));
        case(c, ByteArray::from(vec![b'q'; length]), format!("bytearray(b'q' * {length})"));
        case(c, vec![1; length], format!("[1] * {length}"));
        case(c, Tuple(vec![1; length]), format!("(1,) * {length}"));
    }
    case(c, PyBytes::default(), "b''");
    case(c, PyBytes::from(vec![0, 255]), r"b'\x00\xff'");
    case(c, ByteArray::default(), "bytearray()");
    case(c, Surrogate::from(&b"a\xed\xa0\x80"[..]), r"'a\ud800'");
    case(c, Vec::<i32>::new(), "[]");
    case(c, vec![vec![1], vec![]], "[[1], []]");
    case(c, (1,), "(1,)");
    case(c, (1, "a"), "(1, 'a')");
    case(c, (1, 2, 3), "(1, 2, 3)");
    case(c, (1, 2, 3, 4), "(1, 2, 3, 4)");
    case(c, ((1, (2, (3, ()))), [4]), "((1, (2, (3, None))), (4,))");
    case(c, Tuple(Vec::<i32>::new()), "()");
    case(c, List((1, 2)), "[1, 2]");
    case(c, Set(vec![(1, 2)]), "{(1, 2)}");
    case(c, Set(vec![vec![1], vec![]]), "{(1,), ()}");
    case(c, Set(Vec::<i32>::new()), "set()");
    case(c, FrozenSet(vec![1, 2]), "frozenset([1, 2])");
    case(c, Set(vec![FrozenSet(vec![1])]), "{frozenset([1])}");
    case(c, FrozenSet(Vec::<i32>::new()), "frozenset()");
    case(c, BTreeMap::from([(1, "a"), (2, "b")]), "{1: 'a', 2: 'b'}");
    case(c, BTreeMap::from([("k", BTreeMap::from([("k", vec![Some(1), None])]))]), "{'k': {'k': [1, None]}}");
    case(c, Dict(vec![((1, 2), "x"), ((3, 4), "y")]), "{(1, 2): 'x', (3, 4): 'y'}");
    case(c, Dict(vec![(vec![1], ())]), "{(1,): None}");
    case(c, Dict(vec![(true, 1), (false, 0)]), "{True: 1, False: 0}");
    case(c, Dict::<i32, i32>(vec![]), "{}");
    case(c, Unit, "None");
    case(c, Newtype(5), "5");
    case(c, Named { name: "n", optional: None }, "{'name': 'n', 'optional': None}");
    case(c, Choice::Unit, "'Unit'");
    case(c, Choice::Newtype(1), "{'Newtype': 1}");
    case(c, Choice::Tuple(1, 2.0), "{'Tuple': (1, 2.0)}");
    case(c, Choice::Struct { a: (), b: vec![true] }, "{'Struct': {'a': None, 'b': [True]}}");
    case(c, Complex { re: 1.5, im: -2.0 }, "complex(1.5, -2.0)");
    for text in ["1.50", "-0", "NaN", "Infinity", "1E+20"] {
        case(c, Decimal(text.to_owned()), format!("decimal.Decimal({text:?})"));
    }
    case(c, Fraction { num: (-3).into(), den: 4.into() }, "fractions.Fraction(-3, 4)");
    case(c, Uuid(*b"0123456789abcdef"), "uuid.UUID(bytes=b'0123456789abcdef')");
    let moment = DateTime {
        year: 2024,
        month: 2,
        day: 29,
        hour: 1,
        minute: 2,
        second: 3,
        microsecond: 456_789,
        offset_seconds: None,
        fold: false,
    };
    let at = "2024, 2, 29, 1, 2, 3, 456789";
    case(c, moment.date(), "datetime.date(2024, 2, 29)");
    case(c, moment.time(), "datetime.time(1, 2, 3, 456789)");
    case(c, moment, format!("datetime.datetime({at})"));
    case(c, DateTime { fold: true, ..moment }, format!("datetime.datetime({at}, fold=1)"));
    for seconds in [0, 3600, -12_600] {
        let zone = format!("datetime.timezone(datetime.timedelta(seconds={seconds}))");
        case(
            c,
            DateTime { offset_seconds: Some(seconds), ..moment },
            format!("datetime.datetime({at}, {zone})"),
        );
        case(
            c,
            Time { offset_seconds: Some(seconds), fold: true, ..moment.time() },
            format!("datetime.time(1, 2, 3, 456789, {zone}, fold=1)"),
        );
    }
    for (days, seconds, microseconds) in [(0, 0, 0), (-1, 5, 7), (999_999_999, 86_399, 999_999)] {
        let expression = format!("datetime.timedelta({days}, {seconds}, {microseconds})");
        case(c, TimeDelta { days, seconds, microseconds }, expression);
    }
    case(c, Global::new("operator:add"), "operator.add");
    case(c, Global::new("only_on_workers:Account"), "only_on_workers.Account");
    case(c, Reduce { callable: Global::new("operator:add"), args: (1, 2) }, "3");
    case(
        c,
        Reduce { callable: Global::new("collections:OrderedDict"), args: (vec![("a", 1)],) },
        "collections.OrderedDict([('a', 1)])",
    );
    arrays(c);
    all
}

/// NumPy arrays of every kind, order and shape.
fn arrays(c: &mut Vec<(Template, String)>) {
    for (dtype, size) in [
        ("|b1", 1),
        ("|i1", 1),
        ("|u1", 1),
        ("<i2", 2),
        (">i2", 2),
        ("<u2", 2),
        ("<i4", 4),
        (">u4", 4),
        ("<i8", 8),
        (">i8", 8),
        ("<u8", 8),
        ("<f2", 2),
        (">f2", 2),
        ("<f4", 4),
        ("<f8", 8),
        (">f8", 8),
        ("<c8", 8),
        ("<c16", 16),
        ("<M8[us]", 8),
        ("<m8[D]", 8),
        ("|S3", 3),
        ("<U2", 8),
    ] {
        // The same bytes on both sides; text must be text, truth 0 or 1, floats no NaN.
        let pattern: Vec<u8> = match dtype {
            "<U2" => "abcdefghijkl".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
            "|b1" => vec![0, 1, 1, 0, 1, 0],
            _ => (0..size * 6).map(|n| u8::try_from(n % 100 + 20).unwrap()).collect(),
        };
        let data = format!("numpy.frombuffer(bytes.fromhex({:?}), {dtype:?})", hex(&pattern));
        let make = |shape: &[usize]| {
            NdArray::from_bytes(DType::parse(dtype).unwrap(), shape.to_vec(), Bytes::from(pattern.clone()))
                .unwrap()
        };
        case(c, make(&[6]), data.clone());
        case(c, make(&[2, 3]), format!("{data}.reshape(2, 3)"));
    }
    let six = Bytes::from((0..48u8).collect::<Vec<_>>());
    let base = format!("numpy.frombuffer(bytes.fromhex({:?}), '<i8')", hex(&six));
    let make = |shape: &[usize], strides: &[isize], offset| {
        let dtype = DType::parse("<i8").unwrap();
        NdArray::new(dtype, shape.to_vec(), strides.to_vec(), offset, six.clone()).unwrap()
    };
    case(c, make(&[2, 3], &[8, 16], 0), format!("{base}.reshape(3, 2).T"));
    case(c, make(&[3], &[16], 8), format!("{base}[1::2]"));
    case(c, make(&[6], &[-8], 40), format!("{base}[::-1]"));
    case(c, make(&[4, 6], &[0, 8], 0), format!("numpy.broadcast_to({base}, (4, 6))"));
    case(c, make(&[], &[], 16), format!("numpy.array({base}[2])"));
    case(c, make(&[0, 3], &[24, 8], 0), "numpy.empty((0, 3), '<i8')");
    case(c, vec![NdArray::from_slice(&[1.5f32, 2.0], [2]).unwrap()], "[numpy.array([1.5, 2.0], 'f4')]");
}

const COMPARE: &str = "
import collections, datetime, decimal, fractions, operator, uuid
import numpy
import only_on_workers

def same(left, right):
    if type(left) is not type(right):
        return False
    if isinstance(left, numpy.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(map(repr, left)) == list(map(repr, right)) and all(map(same, left.values(), right.values()))
    if isinstance(left, (set, frozenset)):
        return left == right and sorted(map(repr, left)) == sorted(map(repr, right))
    if isinstance(left, (datetime.datetime, datetime.time)):
        return left == right and left.fold == right.fold and repr(left) == repr(right)
    return left == right and repr(left) == repr(right) or left != left and right != right

def wrong(value, expression):
    expected = eval(expression)
    if same(value, expected):
        return []
    return ['%.200s: %.200r (%s), not %.200r' % (expression, value, type(value), expected)]

def all_wrong(cases):
    return [text for value, expression in cases for text in wrong(value, expression)]
";

#[tokio::test]
async fn python_gets_what_rust_sends() {
    let cases = values();
    assert!(cases.len() >= 150, "{}", cases.len());
    on_each_release(async |client| {
        // All in one argument, and each as an argument of its own.
        let wrong: Vec<String> = client.call(python_module(COMPARE, "all_wrong").arg(&cases)).await?;
        assert!(wrong.is_empty(), "together: {}", wrong.join("\n"));
        let mut alone: Vec<Future<Vec<String>>> = Vec::new();
        for (value, expression) in &cases {
            alone.push(client.submit(python_module(COMPARE, "wrong").args((value, expression))).await?);
        }
        let wrong: Vec<String> = client.gather(&alone).await?.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "alone: {}", wrong.join("\n"));
        // The comparison can fail.
        let wrong: Vec<String> = client.call(python_module(COMPARE, "wrong").args((1, "1.0"))).await?;
        assert_eq!(wrong.len(), 1);
        Ok(())
    })
    .await;
}

/// What the worker adds to the corpus: values by number, and their pickles.
const CORPUS: &str = concat!(
    include_str!("../../crates/dask-pickle/tests/python/corpus.py"),
    "

VALUES = list(native())

def descriptions():
    return json.dumps([describe(value) for value in VALUES])

def value(at):
    return VALUES[at]

def pickles(at):
    found = []
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found.append((pickle.dumps(VALUES[at], protocol=protocol), []))
        found.append((pickle._dumps(VALUES[at], protocol=protocol), []))
    if pickle.HIGHEST_PROTOCOL >= 5 and isinstance(VALUES[at], (bytes, bytearray)):
        buffers = []
        data = pickle.dumps(pickle.PickleBuffer(VALUES[at]), protocol=5, buffer_callback=buffers.append)
        found.append((data, [bytes(buffer.raw()) for buffer in buffers]))
    return found
"
);

#[tokio::test]
async fn rust_reads_what_python_makes() {
    on_each_release(async |client| {
        // Sets of text differ in order between processes, so everything is made in one.
        let call = |name: &str| python_module(CORPUS, name).workers(["first"]);
        let described: String = client.call(call("descriptions")).await?;
        let described: Vec<Json> = serde_json::from_str(&described)?;
        assert!(described.len() > 170, "{}", described.len());
        let mut results: Vec<Future<Value>> = Vec::new();
        let mut pickles: Vec<Future<Vec<Pickled>>> = Vec::new();
        for at in 0..described.len() {
            results.push(client.submit(call("value").arg(at)).await?);
            pickles.push(client.submit(call("pickles").arg(at)).await?);
        }
        let results = client.gather(&results).await?;
        let pickles = client.gather(&pickles).await?;
        let mut count = 0;
        for (at, description) in described.into_iter().enumerate() {
            let description = normal(description);
            assert_eq!(normal(describe(&results[at])), description, "result {at}");
            for (pickle, buffers) in &pickles[at] {
                let buffers = buffers.iter().map(|buffer| Bytes::copy_from_slice(buffer)).collect();
                let tree = read(pickle.to_vec(), buffers, &Limits::default())?;
                let value = Value::from_view(tree.root())?;
                assert_eq!(normal(describe(&value)), description, "pickle of {at}");
                count += 1;
            }
        }
        assert!(count > 1700, "{count}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn text_given_as_python_keeps_its_characters() {
    on_each_release(async |client| {
        let text: String = client.call(python("return 'ü' + '😀' + s").kwarg("s", "\u{0}\n")).await?;
        assert_eq!(text, "ü😀\u{0}\n");
        Ok(())
    })
    .await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The description that the corpus makes of the same value.
fn describe(value: &Value) -> Json {
    let all = |items: &[Value]| items.iter().map(describe).collect::<Vec<_>>();
    match value {
        Value::None => json!({"t": "none", "v": null}),
        Value::Bool(value) => json!({"t": "bool", "v": value}),
        Value::Int(value) => json!({"t": "int", "v": value.to_string()}),
        Value::BigInt(value) => json!({"t": "int", "v": value.to_string()}),
        Value::Float(value) => json!({"t": "float", "v": hex(&value.to_be_bytes())}),
        Value::Str(text) => json!({"t": "str", "v": hex(text.as_bytes())}),
        Value::Surrogates(text) => json!({"t": "str", "v": hex(text)}),
        Value::Bytes(bytes) => json!({"t": "bytes", "v": hex(bytes)}),
        Value::ByteArray(bytes) => json!({"t": "bytearray", "v": hex(bytes)}),
        Value::List(items) => json!({"t": "list", "v": all(items)}),
        Value::Tuple(items) => json!({"t": "tuple", "v": all(items)}),
        Value::Set(items) => json!({"t": "set", "v": all(items)}),
        Value::FrozenSet(items) => json!({"t": "frozenset", "v": all(items)}),
        Value::Dict(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| json!([describe(key), describe(value)])).collect();
            json!({"t": "dict", "v": pairs})
        }
        other => json!({"t": "other", "v": format!("{other:?}")}),
    }
}

/// Sorts the members of sets by their JSON text, which the two sides write differently.
fn normal(mut description: Json) -> Json {
    let set = matches!(description["t"].as_str(), Some("set" | "frozenset"));
    match &mut description {
        Json::Object(fields) => {
            for field in fields.values_mut() {
                *field = normal(field.take());
                if let (true, Json::Array(items)) = (set, field) {
                    items.sort_by_key(Json::to_string);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| *item = normal(item.take())),
        _ => {}
    }
    description
}
