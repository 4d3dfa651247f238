//! Differential tests against every Python that is found: what Python pickles must be read as what it is, and what
//! this crate pickles must load as what was meant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use dask_pickle::{
    BigInt, ByteArray, Complex, DateTime, Decimal, Dict, Fraction, FrozenSet, Global, Limits, List, PyBytes,
    Reduce, Set, Surrogate, Time, TimeDelta, Tuple, Uuid, Value, from_tree, from_view, read, to_vec,
};
use serde_json::{Value as Json, json};

/// Prints what tells one Python from another here: its version, and whether it has numpy.
const PROBE: &str = "\
import sys, importlib.util
assert sys.version_info >= (3, 6)
print('%d.%02d' % sys.version_info[:2], 'plain' if importlib.util.find_spec('numpy') is None else 'numpy')
";

/// The Pythons to compare with: of those on `PATH`, in pyenv and in the environments of the project's local clusters,
/// the oldest and the newest with and without numpy. With `DASK_PICKLE_ALL_PYTHONS` set, one of every minor version.
fn pythons() -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(path) = std::env::var_os("PATH") {
        candidates.extend(std::env::split_paths(&path).map(|folder| folder.join("python3")));
    }
    if let Some(home) = std::env::var_os("HOME") {
        for folder in [".pyenv/versions", ".cache/dask-local"] {
            let Ok(entries) = Path::new(&home).join(folder).read_dir() else { continue };
            candidates.extend(entries.flatten().map(|entry| entry.path().join("bin/python")));
        }
    }
    let mut found = BTreeMap::new();
    for python in candidates {
        let probe = Command::new(&python).args(["-c", PROBE]).stderr(Stdio::null()).output();
        let Ok(output) = probe else { continue };
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let (version, numpy) = text.trim().split_once(' ').unwrap();
            found.entry((numpy.to_owned(), version.to_owned())).or_insert(python);
        }
    }
    assert!(
        !found.is_empty() || std::env::var_os("DASK_PICKLE_NO_PYTHON").is_some(),
        "no Python 3.6 or later found to compare with: install one, or set DASK_PICKLE_NO_PYTHON to compare nothing"
    );
    if std::env::var_os("DASK_PICKLE_ALL_PYTHONS").is_none() {
        let names: Vec<_> = found.keys().cloned().collect();
        for (index, name) in names.iter().enumerate() {
            let same = |other: Option<&(String, String)>| other.is_some_and(|(numpy, _)| *numpy == name.0);
            if same(index.checked_sub(1).and_then(|before| names.get(before))) && same(names.get(index + 1)) {
                eprintln!("left out without DASK_PICKLE_ALL_PYTHONS: {} {}", name.0, name.1);
                found.remove(name);
            }
        }
    }
    found.into_values().collect()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The description that `corpus.py` makes of the same value.
fn describe(value: &Value) -> Json {
    let all = |items: &[Value]| items.iter().map(describe).collect::<Vec<_>>();
    let sorted = |items: &[Value]| {
        let mut items = all(items);
        items.sort_by_key(|item| item.to_string());
        items
    };
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
        Value::Set(items) => json!({"t": "set", "v": sorted(items)}),
        Value::FrozenSet(items) => json!({"t": "frozenset", "v": sorted(items)}),
        Value::Dict(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| json!([describe(key), describe(value)])).collect();
            json!({"t": "dict", "v": pairs})
        }
        Value::Global { module, qualname } => json!({"t": "global", "v": format!("{module}.{qualname}")}),
        Value::Object(object) => json!({"t": "object", "v": object.class}),
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

fn decode(field: &Json) -> Vec<u8> {
    BASE64_STANDARD.decode(field.as_str().unwrap()).unwrap()
}

/// Compares every pickle of one value; returns their number.
fn compare(record: &Json, again: &mut Vec<Json>) -> usize {
    let native = (!record["native"].is_null()).then(|| normal(record["native"].clone()));
    let mut written = BTreeSet::new();
    let pickles = record["pickles"].as_array().unwrap();
    for pickle in pickles {
        written.insert(compare_one(record, pickle, native.as_ref()));
    }
    if native.is_some() {
        let records = written
            .into_iter()
            .map(|pickle| json!({"pickle": BASE64_STANDARD.encode(pickle), "native": record["native"]}));
        again.extend(records);
    }
    pickles.len()
}

/// Compares one pickle; returns what this crate writes for the same value.
fn compare_one(record: &Json, pickle: &Json, native: Option<&Json>) -> Vec<u8> {
    let name = format!("{} in protocol {}", record["repr"], pickle["protocol"]);
    let buffers =
        pickle["buffers"].as_array().unwrap().iter().map(|buffer| Bytes::from(decode(buffer))).collect();
    let tree = read(decode(&pickle["pickle"]), buffers, &Limits::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let value = Value::from_view(tree.root()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let through_serde: Value = from_tree(&tree).unwrap();
    let written = to_vec(&value).unwrap_or_else(|error| panic!("{name}: {error}"));
    let reread = read(written.clone(), Vec::new(), &Limits::default()).unwrap();
    let reread = Value::from_view(reread.root()).unwrap();
    // A NaN equals nothing, so descriptions are compared.
    let same = |other: &Value| *other == value || format!("{other:?}") == format!("{value:?}");
    assert!(same(&through_serde), "{name}: {through_serde:?}");
    assert!(same(&reread), "{name}: {reread:?}");
    if let Some(native) = native {
        assert_eq!(normal(describe(&value)), *native, "{name}");
        return written;
    }
    if let Some(class) = record["class"].as_str() {
        let (module, qualname) = tree.root().class_name().unwrap_or_else(|| panic!("{name} has a class"));
        let module = match module {
            "__builtin__" | "exceptions" => "builtins",
            other => other,
        };
        let found = format!("{module}.{}", if qualname == "xrange" { "range" } else { qualname });
        assert_eq!(found, class, "{name}");
    }
    if let Some(text) = record["text"].as_str() {
        let found = from_tree::<String>(&tree).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, text, "{name}");
    }
    let json = from_tree::<Json>(&tree);
    match &record["json"] {
        Json::Array(pair) if pair.first() == Some(&json!("MyInt")) => {
            assert_eq!(from_tree::<i64>(&tree).unwrap(), 7, "{name}");
        }
        Json::Array(pair) if pair.first() == Some(&json!("MyStr")) => {}
        expected if record["has_json"] == json!(true) => {
            assert_eq!(json.unwrap_or_else(|error| panic!("{name}: {error}")), *expected, "{name}");
        }
        _ => assert!(json.is_err(), "{name}: {json:?}"),
    }
    written
}

fn run(python: &Path, name: &str, lines: &[Json]) -> String {
    let mut child = Command::new(python)
        .arg("-B")
        .arg(script(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let written = writer.join().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {name}: {problem}", python.display());
    written.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn reads_what_python_writes() {
    std::thread::scope(|scope| {
        for python in pythons() {
            scope.spawn(move || {
                let corpus = run(&python, "corpus.py", &[]);
                let mut again = Vec::new();
                let mut count = 0;
                for line in corpus.lines() {
                    count += compare(&serde_json::from_str(line).unwrap(), &mut again);
                }
                let checked = run(&python, "check.py", &again);
                eprintln!("{}: {count} pickles read, {} written back", python.display(), checked.trim());
                assert!(count > 1000);
                assert_eq!(checked.trim(), again.len().to_string());
            });
        }
    });
}

fn case<T: serde::Serialize>(value: &T, expression: &str) -> Json {
    let pickle = to_vec(value).unwrap_or_else(|error| panic!("{expression}: {error}"));
    json!({"pickle": BASE64_STANDARD.encode(pickle), "expression": expression})
}

#[derive(serde::Serialize)]
struct Unit;
#[derive(serde::Serialize)]
struct Newtype(i32);
#[derive(serde::Serialize)]
struct Pair(i32, &'static str);
#[derive(serde::Serialize)]
struct Named {
    name: &'static str,
    optional: Option<u8>,
}
#[derive(serde::Serialize)]
enum Choice {
    Unit,
    Newtype(i32),
    Tuple(i32, f64),
    Struct { a: (), b: Vec<bool> },
    Empty {},
}

fn written() -> Vec<Json> {
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
    let big = num_bigint::BigInt::from(7).pow(3000);
    vec![
        case(&(), "None"),
        case(&None::<i32>, "None"),
        case(&Some(5), "5"),
        case(&true, "True"),
        case(&false, "False"),
        case(
            &[0i64, -1, 255, 256, 65_535, 65_536, i64::MAX, i64::MIN],
            "(0, -1, 255, 256, 65535, 65536, 2**63-1, -2**63)",
        ),
        case(&[i128::MAX, i128::MIN, 0], "(2**127-1, -2**127, 0)"),
        case(&[u128::MAX, 1], "(2**128-1, 1)"),
        case(&u64::MAX, "2**64-1"),
        case(&vec![1.5f64, -0.0, f64::INFINITY], "[1.5, -0.0, float('inf')]"),
        case(&f64::NAN, "float('nan')"),
        case(&0.5f32, "0.5"),
        case(&'é', "'é'"),
        case(&"日本😀", "'日本😀'"),
        case(&"x".repeat(256), "'x' * 256"),
        case(&"x".repeat(255), "'x' * 255"),
        case(&PyBytes::from(vec![0, 255]), r"b'\x00\xff'"),
        case(&PyBytes::from(vec![b'q'; 300]), "b'q' * 300"),
        case(&PyBytes::from(vec![b'q'; 70_000]), "b'q' * 70000"),
        case(&ByteArray::from(&b"abc"[..]), "bytearray(b'abc')"),
        case(&Surrogate::from(&b"a\xed\xa0\x80"[..]), r"'a\ud800'"),
        case(&vec![1, 2], "[1, 2]"),
        case(&Vec::<i32>::new(), "[]"),
        case(&(), "None"),
        case(&(1,), "(1,)"),
        case(&(1, "a"), "(1, 'a')"),
        case(&(1, 2, 3), "(1, 2, 3)"),
        case(&(1, 2, 3, 4), "(1, 2, 3, 4)"),
        case(&Tuple(vec![1, 2]), "(1, 2)"),
        case(&Tuple(Vec::<i32>::new()), "()"),
        case(&Tuple((1, 2)), "(1, 2)"),
        case(&List((1, 2)), "[1, 2]"),
        case(&Set(vec![(1, 2)]), "{(1, 2)}"),
        case(&Set(vec![vec![1], vec![]]), "{(1,), ()}"),
        case(&Set(Vec::<i32>::new()), "set()"),
        case(&FrozenSet(vec![1, 2]), "frozenset([1, 2])"),
        case(&Set(vec![FrozenSet(vec![1])]), "{frozenset([1])}"),
        case(&FrozenSet(Vec::<i32>::new()), "frozenset()"),
        case(&std::collections::BTreeMap::from([(1, "a"), (2, "b")]), "{1: 'a', 2: 'b'}"),
        case(&Dict(vec![((1, 2), "x"), ((3, 4), "y")]), "{(1, 2): 'x', (3, 4): 'y'}"),
        case(&Dict(vec![(vec![1], ())]), "{(1,): None}"),
        case(&Dict::<i32, i32>(vec![]), "{}"),
        case(&Unit, "None"),
        case(&Newtype(5), "5"),
        case(&Pair(1, "b"), "(1, 'b')"),
        case(&Named { name: "n", optional: None }, "{'name': 'n', 'optional': None}"),
        case(&Choice::Unit, "'Unit'"),
        case(&Choice::Newtype(1), "{'Newtype': 1}"),
        case(&Choice::Tuple(1, 2.0), "{'Tuple': (1, 2.0)}"),
        case(&Choice::Struct { a: (), b: vec![true] }, "{'Struct': {'a': None, 'b': [True]}}"),
        case(&Choice::Empty {}, "{'Empty': {}}"),
        case(&BigInt(big.clone()), "7 ** 3000"),
        case(&BigInt(-big), "-(7 ** 3000)"),
        case(&BigInt::from(128), "128"),
        case(&BigInt::from(u64::MAX), "2**64 - 1"),
        case(&Complex { re: 1.5, im: -2.0 }, "complex(1.5, -2.0)"),
        case(&Decimal("1.50".to_owned()), "decimal.Decimal('1.50')"),
        case(&Fraction { num: (-3).into(), den: 4.into() }, "fractions.Fraction(-3, 4)"),
        case(&Uuid(*b"0123456789abcdef"), "uuid.UUID(bytes=b'0123456789abcdef')"),
        case(&moment.date(), "datetime.date(2024, 2, 29)"),
        case(&moment.time(), "datetime.time(1, 2, 3, 456789)"),
        case(&moment, "datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)"),
        case(&DateTime { fold: true, ..moment }, "datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, fold=1)"),
        case(
            &DateTime { offset_seconds: Some(0), ..moment },
            "datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, datetime.timezone.utc)",
        ),
        case(
            &DateTime { offset_seconds: Some(-12_600), fold: true, ..moment },
            "datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, \
             datetime.timezone(datetime.timedelta(seconds=-12600)), fold=1)",
        ),
        case(&Time { fold: true, ..moment.time() }, "datetime.time(1, 2, 3, 456789, fold=1)"),
        case(
            &Time { fold: true, offset_seconds: Some(3600), ..moment.time() },
            "datetime.time(1, 2, 3, 456789, datetime.timezone(datetime.timedelta(seconds=3600)), fold=1)",
        ),
        case(&TimeDelta { days: -1, seconds: 5, microseconds: 7 }, "datetime.timedelta(-1, 5, 7)"),
        case(&Global::new("operator:add"), "operator.add"),
        case(&Global::new("os.path.join"), "os.path.join"),
        case(&Global::new("len"), "len"),
        case(&Global::new("datetime:datetime.fromtimestamp").qualname(), "'datetime.fromtimestamp'"),
        case(&Reduce { callable: Global::new("operator:add"), args: (1, 2) }, "3"),
        case(
            &Reduce { callable: Global::new("datetime:date.fromordinal"), args: vec![5] },
            "datetime.date(1, 1, 5)",
        ),
        case(
            &vec![Global::new("operator:add"), Global::new("operator:sub"), Global::new("operator:add")],
            "[operator.add, operator.sub, operator.add]",
        ),
        case(
            &(Reduce { callable: Global::new("collections:OrderedDict"), args: (vec![("a", 1)],) }, 1),
            "(collections.OrderedDict([('a', 1)]), 1)",
        ),
    ]
}

#[test]
fn python_loads_what_is_written() {
    let cases = written();
    for python in pythons() {
        assert_eq!(run(&python, "check.py", &cases).trim(), cases.len().to_string(), "{}", python.display());
    }
}

/// Every wrapper type comes back as itself.
#[test]
fn wrappers_round_trip() {
    fn back<T: serde::Serialize + for<'de> serde::Deserialize<'de> + PartialEq + std::fmt::Debug>(value: T) {
        let pickle = to_vec(&value).unwrap();
        let tree = read(pickle, Vec::new(), &Limits::default()).unwrap();
        assert_eq!(from_view::<T>(tree.root()).unwrap(), value);
    }
    let moment = DateTime {
        year: 2024,
        month: 12,
        day: 31,
        hour: 23,
        minute: 59,
        second: 58,
        microsecond: 1,
        offset_seconds: Some(-12_600),
        fold: true,
    };
    back(moment);
    back(moment.date());
    back(moment.time());
    back(DateTime { offset_seconds: None, fold: false, ..moment });
    back(TimeDelta { days: -1, seconds: 2, microseconds: 3 });
    back(Complex { re: 1.0, im: -2.5 });
    back(Decimal("1.50".to_owned()));
    back(Fraction { num: BigInt(num_bigint::BigInt::from(3).pow(200)), den: 7.into() });
    back(Uuid(*b"0123456789abcdef"));
    back(BigInt(-num_bigint::BigInt::from(3).pow(2000)));
    back(BigInt::from(5));
    back(Tuple(vec![1, 2]));
    back(List(vec![1, 2]));
    back(Set(vec![1, 2]));
    back(FrozenSet(vec![1, 2]));
    back(PyBytes::from(vec![1, 2]));
    back(ByteArray::from(vec![1, 2]));
    back(Surrogate::from(&b"\xed\xa0\x80"[..]));
    back(Dict(vec![((1, 2), "a".to_owned())]));
    back(Reduce { callable: Global::new("operator:add"), args: (1, 2) });
    back(Global::new("datetime:datetime.now"));
    back((i128::MIN, u128::MAX, i64::MIN, u64::MAX, 'x', Some(1.5f32), None::<u8>));
}
