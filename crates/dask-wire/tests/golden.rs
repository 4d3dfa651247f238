//! Values, arrays and exceptions as real releases of distributed serialize them (made by `data/make.py`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "fixtures are what they are")]

use std::collections::BTreeMap;

use base64::Engine;
use bytes::Bytes;
use dask_pickle::{Limits, Value as Python};
use dask_wire::exception::{Kind, PythonError};
use dask_wire::family::{ArrowKind, CollectionKind, Decoded, decode};
use dask_wire::numpy::Element;
#[cfg(feature = "ndarray")]
use dask_wire::numpy::NdArray;
use dask_wire::{Payload, Value};
use proptest::prelude::*;
use serde_json::Value as Json;

const NEW: &str = include_str!("data/new.json");
const OLD: &str = include_str!("data/old.json");

fn releases() -> [Json; 2] {
    [NEW, OLD].map(|text| serde_json::from_str(text).unwrap())
}

fn blob(json: &Json) -> Option<Bytes> {
    let text = json.get("$b")?.as_str()?;
    Some(base64::engine::general_purpose::STANDARD.decode(text).unwrap().into())
}

fn wire(json: &Json) -> Value<'static> {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(int) => Value::Int(int),
            None => Value::Float(number.as_f64().unwrap()),
        },
        Json::String(text) => Value::Str(text.clone().into()),
        Json::Array(items) => Value::Array(items.iter().map(wire).collect()),
        Json::Object(map) => match (blob(json), map.get("$m")) {
            (Some(bytes), _) => Value::Bin(bytes.to_vec().into()),
            (None, Some(pairs)) => Value::Map(
                pairs.as_array().unwrap().iter().map(|pair| (wire(&pair[0]), wire(&pair[1]))).collect(),
            ),
            (None, None) => panic!("{json}"),
        },
    }
}

fn payload(json: &Json) -> Payload {
    let frames = json["frames"].as_array().unwrap().iter().map(|frame| blob(frame).unwrap()).collect();
    Payload::new(wire(&json["header"]), frames)
}

fn value(release: &Json, name: &str) -> Decoded {
    decode(&payload(&release["values"][name]), &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A Python value as the fixtures write lists.
fn json_of(value: &Python) -> Json {
    match value {
        Python::None => Json::Null,
        Python::Bool(value) => Json::from(*value),
        Python::Int(value) => Json::from(*value),
        Python::BigInt(value) => Json::from(u64::try_from(value).unwrap()),
        Python::Float(value) if value.is_infinite() => serde_json::json!({"$f": format!("{value}")}),
        Python::Float(value) => Json::from(*value),
        Python::Str(text) => Json::from(text.clone()),
        Python::Bytes(bytes) => {
            serde_json::json!({"$b": base64::engine::general_purpose::STANDARD.encode(bytes)})
        }
        Python::List(items) | Python::Tuple(items) => items.iter().map(json_of).collect(),
        // Records are tuples in Python.
        Python::Dict(pairs) => pairs.iter().map(|(_, value)| json_of(value)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_value_is_read_as_what_it_is() {
    for release in &releases() {
        assert_eq!(value(release, "int").to::<i64>().unwrap(), 5);
        assert_eq!(value(release, "int").to::<f64>().unwrap(), 5.0);
        assert_eq!(value(release, "none").to::<Option<String>>().unwrap(), None);
        value(release, "none").to::<()>().unwrap();
        assert_eq!(value(release, "text").to::<String>().unwrap(), "text");
        assert_eq!(
            value(release, "list_pickled").to::<(i64, f64, String)>().unwrap(),
            (1, 2.5, "x".to_owned())
        );
        assert!(matches!(value(release, "bytes"), Decoded::Bytes(bytes) if bytes == "bytes!"));
        assert_eq!(value(release, "bytes").to::<serde_bytes::ByteBuf>().unwrap().as_slice(), b"bytes!");
        assert_eq!(value(release, "bytes").to::<Vec<u8>>().unwrap(), b"bytes!");
        assert!(matches!(value(release, "bytearray"), Decoded::ByteArray(bytes) if bytes == "array"));
        let view = value(release, "memoryview");
        assert_eq!(view.to::<Vec<Vec<i32>>>().unwrap(), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(view.to::<serde_bytes::ByteBuf>().unwrap().len(), 24);
        assert_eq!(value(release, "array.array").to::<Vec<f64>>().unwrap(), [1.5, -2.0]);
        assert!(matches!(
            value(release, "error"),
            Decoded::Unserializable(text) if text == "Could not serialize object of type T\nTraceback"
        ));
        let error = value(release, "error").to::<i64>().unwrap_err().to_string();
        assert!(error.contains("could not serialize the value"), "{error}");
        assert_eq!(
            value(release, "msgpack").to::<BTreeMap<String, Vec<Option<i64>>>>().unwrap()["a"],
            [Some(1), None]
        );
        assert_eq!(
            value(release, "class")
                .to::<dask_pickle::Global<'static>>()
                .map(|global| global.to_string())
                .ok(),
            Some("builtins:ValueError".to_owned())
        );
    }
}

#[test]
fn collections_of_elements_serialized_one_by_one() {
    for release in &releases() {
        let list = value(release, "list");
        assert!(
            matches!(&list, Decoded::Collection { kind: CollectionKind::List, items, .. } if items.len() == 4)
        );
        assert_eq!(list.to::<(i64, f64, String, Option<i64>)>().unwrap(), (1, 2.5, "three".to_owned(), None));
        assert_eq!(list.describe(), "a list of 4 items");
        let list = value(release, "list").to::<Python>().unwrap();
        assert_eq!(list.items().unwrap()[2], Python::Str("three".to_owned()));
        assert_eq!(
            value(release, "tuple").to::<Python>().unwrap(),
            Python::Tuple(vec![
                Python::Int(1),
                Python::Tuple(vec![Python::Int(2), Python::List(vec![Python::Int(3)])])
            ])
        );
        assert_eq!(value(release, "tuple").to::<(i64, (i64, Vec<i64>))>().unwrap(), (1, (2, vec![3])));
        assert_eq!(value(release, "set").to::<Vec<i64>>().unwrap(), [1]);

        #[derive(serde::Deserialize)]
        struct Three {
            a: i64,
            b: Vec<i64>,
            c: Vec<f64>,
        }
        let three = value(release, "dict").to::<Three>().unwrap();
        assert_eq!((three.a, three.b, three.c), (1, vec![1, 2], vec![0.0, 1.0, 2.0]));
        let nested = value(release, "nested");
        type Nested = (Vec<Vec<i64>>, BTreeMap<String, serde_bytes::ByteBuf>);
        let (arrays, map) = nested.to::<Nested>().unwrap();
        assert_eq!(arrays, [[0, 1]]);
        assert_eq!(map["k"].as_slice(), b"v");
    }
}

#[test]
fn a_mismatch_says_what_there_is_and_what_was_asked() {
    let [release, _] = &releases();
    let error = value(release, "list").to::<Vec<i64>>().unwrap_err().to_string();
    assert!(error.starts_with("a list of 4 items cannot be read as alloc::vec::Vec<i64>: "), "{error}");
    let error = value(release, "array/f4").to::<Vec<i64>>().unwrap_err().to_string();
    assert!(error.contains("a NumPy array of <f4 [2, 1]"), "{error}");
    let error = value(release, "table").to::<Vec<i64>>().unwrap_err().to_string();
    assert!(error.contains("an Arrow table"), "{error}");
}

#[test]
fn every_array_gives_what_tolist_gives() {
    for release in &releases() {
        for (name, fixture) in release["values"].as_object().unwrap() {
            let Some(expected) = fixture.get("list") else { continue };
            let decoded = value(release, name);
            let found = decoded.to_value().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(&json_of(&found), expected, "{name}");
            if name.ends_with("object") || name.ends_with("object_fortran") {
                assert!(matches!(decoded, Decoded::Pickle(_)), "{name}");
                continue;
            }
            let array = decoded.to_array().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(array.elements().count(), array.len(), "{name}");
            // What is sent is what was received.
            let sent = decode(&array.to_payload().unwrap(), &Limits::default()).unwrap();
            assert_eq!(sent.to_array().unwrap(), array, "{name}");
        }
    }
}

#[test]
fn arrays_as_typed_slices() {
    for release in &releases() {
        let array = |name: &str| value(release, &format!("array/{name}")).to_array().unwrap();
        assert_eq!(array("i8").as_slice::<i64>().unwrap(), &[0, 1, 2, 3, 4, 5][..]);
        assert_eq!(array("i8").as_slice::<u64>(), None);
        assert_eq!(array("f8_big").as_slice::<f64>().unwrap(), &[1.5, -2.25, 1e300][..]);
        assert_eq!(array("i2_big").to_vec::<i16>().unwrap(), [-2, 300]);
        assert_eq!(array("bool").to_vec::<bool>().unwrap(), [true, false]);
        assert_eq!(array("c16").to_vec::<[f64; 2]>().unwrap(), [[1.0, 2.0], [0.0, -0.5]]);
        assert_eq!(array("c8").to_vec::<[f32; 2]>().unwrap(), [[1.0, 2.0]]);
        assert_eq!(array("zero_d").shape(), [0usize; 0]);
        assert_eq!(array("zero_d").to_vec::<f64>().unwrap(), [7.5]);
        assert_eq!(value(release, "array/zero_d").to::<f64>().unwrap(), 7.5);
        assert_eq!(array("empty").shape(), [0, 3]);
        assert!(array("empty").is_empty());
        let fortran = array("fortran");
        assert!(fortran.is_f_contiguous() && !fortran.is_c_contiguous());
        assert_eq!(fortran.to_vec::<f64>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(fortran.get(&[1, 0]), Some(Element::Float(3.0)));
        assert_eq!(fortran.get(&[2, 0]), None);
        let broadcast = array("broadcast");
        assert_eq!((broadcast.shape(), broadcast.strides()), (&[4usize, 3][..], &[0isize, 8][..]));
        assert_eq!(broadcast.data().len(), 24);
        assert_eq!(array("dates").to_vec::<i64>().unwrap()[1], i64::MIN);
        assert_eq!(value(release, "array/dates").to::<Vec<Option<i64>>>().unwrap()[1], None);
        assert_eq!(array("dates").dtype().to_string(), "<M8[ns]");
        assert_eq!(value(release, "array/texts").to::<Vec<String>>().unwrap(), ["ab", "ü", ""]);
        assert_eq!(value(release, "array/strings").to::<Vec<String>>().unwrap(), ["ab", "c"]);
        assert_eq!(value(release, "array/u1").to::<serde_bytes::ByteBuf>().unwrap().as_slice(), [1, 2, 255]);

        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Record {
            i: i32,
            f: f64,
            s: String,
        }
        let expected = Record { i: 3, f: 4.5, s: "yy".to_owned() };
        assert_eq!(value(release, "array/record").to::<Vec<Record>>().unwrap()[1], expected);
        assert_eq!(value(release, "pickled4/record").to::<Vec<Record>>().unwrap()[1], expected);
        assert_eq!(value(release, "array/record").to::<Vec<(i32, f64, String)>>().unwrap()[0].1, 2.5);
        let nested = array("record_sub");
        let Some(Element::Record(record)) = nested.get(&[0]) else { panic!("no record") };
        assert_eq!(record.get("n"), Some(Element::Int(1)));
        assert_eq!(record.fields().last().unwrap().1.len(), 4);
    }
}

#[test]
fn masked_arrays_have_holes() {
    for release in &releases() {
        let masked = value(release, "masked");
        assert_eq!(masked.to::<Vec<Vec<Option<f64>>>>().unwrap(), [[None, Some(2.0)], [Some(3.0), None]]);
        assert_eq!(json_of(&masked.to_value().unwrap()), serde_json::json!([[null, 2.0], [3.0, null]]));
        let Decoded::MaskedArray(array) = &masked else { panic!("{masked:?}") };
        assert_eq!(array.fill, Some(Python::Float(-1.0)));
        assert_eq!(value(release, "unmasked").to::<Vec<i64>>().unwrap(), [1, 2]);
    }
}

#[test]
fn arrays_inside_of_pickles() {
    for release in &releases() {
        #[derive(serde::Deserialize)]
        struct Inside {
            x: Vec<i64>,
            t: (f64, String),
        }
        let inside = value(release, "dict_with_array_pickled").to::<Inside>().unwrap();
        assert_eq!((inside.x, inside.t), (vec![0, 1, 2], (1.5, "s".to_owned())));
        assert_eq!(
            value(release, "pickled5/object").to::<((i64, String), (Option<i64>, f64))>().unwrap(),
            ((1, "a".to_owned()), (None, 2.5))
        );
    }
}

#[test]
fn arrow_streams_are_found() {
    for release in &releases() {
        assert!(matches!(value(release, "table"), Decoded::Arrow { kind: ArrowKind::Table, .. }));
        assert!(matches!(value(release, "batch"), Decoded::Arrow { kind: ArrowKind::RecordBatch, .. }));
    }
}

#[cfg(feature = "arrow")]
#[test]
fn arrow_tables_go_both_ways() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};

    for release in &releases() {
        let (schema, batches) = value(release, "table").to_batches().unwrap().unwrap();
        assert_eq!(schema.fields().len(), 3);
        let ints: Vec<_> = batches[0].column(0).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ints, [Some(1), Some(2), None]);
        let sent = dask_wire::arrow::table(&schema, &batches).unwrap();
        let (_, again) = decode(&sent, &Limits::default()).unwrap().to_batches().unwrap().unwrap();
        assert_eq!(again, batches);
        let (_, batches) = value(release, "batch").to_batches().unwrap().unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Float64Type>().values().as_ref(), [1.0, 2.0]);
        let sent = dask_wire::arrow::record_batch(&batches[0]).unwrap();
        assert_eq!(sent.header("type").unwrap().as_str(), Some("pyarrow.lib.RecordBatch"));
    }
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_of_the_ndarray_crate() {
    let [release, _] = &releases();
    let array = value(release, "array/fortran").to_array().unwrap();
    let other = array.to_ndarray::<f64>().unwrap();
    assert_eq!(other[[1, 0]], 3.0);
    assert_eq!(
        NdArray::from_ndarray(&other.t()).unwrap().to_vec::<f64>().unwrap(),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
}

fn error(release: &Json, name: &str) -> PythonError {
    let fixture = &release["errors"][name];
    let exception = payload(&fixture["exception"]);
    let traceback = payload(&fixture["traceback"]);
    PythonError::from_payloads(Some(&exception), Some(&traceback))
}

#[test]
fn exceptions_print_as_in_python() {
    for release in &releases() {
        for (name, fixture) in release["errors"].as_object().unwrap() {
            let error = error(release, name);
            assert!(!error.opaque, "{name}: {error}");
            let class = fixture["class"].as_str().unwrap();
            if name == "local_class" {
                // A class pickled by value tells its qualified name only in a call that fills it in.
                assert_eq!(error.title(), "Inner: from a function");
                continue;
            }
            assert_eq!(error.class, class, "{name}");
            // What older WorkerStates say of themselves is not told again.
            if name != "killed" || error.args.len() == 3 {
                assert_eq!(error.message, fixture["str"].as_str().unwrap(), "{name}");
            }
            // tblib loses what the first says, and the second is a tree in Python.
            if !["unicode_error", "group", "killed"].contains(&name.as_str()) {
                assert_eq!(error.to_string(), fixture["printed"].as_str().unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn exceptions_by_their_parts() {
    let [new, old] = &releases();
    for release in [new, old] {
        let plain = error(release, "plain_error");
        assert_eq!(plain.qualified_class(), "ZeroDivisionError");
        assert_eq!(plain.traceback.last().unwrap().function, "plain_error");
        assert_eq!(error(release, "custom").module, "some.package");
        assert_eq!(error(release, "custom").args, [Python::Int(7), Python::Str("seven".to_owned())]);
        assert_eq!(error(release, "local").module, "__main__");
        let chained = error(release, "chained");
        assert_eq!(chained.cause.as_ref().unwrap().class, "ZeroDivisionError");
        assert_eq!(chained.chain().count(), 2);
        assert_eq!(error(release, "cancelled").kind(), Kind::Cancelled);
        assert_eq!(error(release, "timeout").kind(), Kind::Timeout);
        assert_eq!(
            error(release, "import_error").kind(),
            Kind::Import { name: Some("not_there_at_all".to_owned()) }
        );
        assert_eq!(plain.kind(), Kind::Other);

        // Without a traceback beside it, the exception's own is used where it has one.
        let exception = payload(&release["errors"]["plain_error"]["exception"]);
        let alone = PythonError::from_payloads(Some(&exception), None);
        assert_eq!(alone.title(), "ZeroDivisionError: division by zero");
        assert_eq!(alone.traceback.last().unwrap().function, "plain_error");
    }
    let context = error(new, "context");
    assert_eq!((context.chain().count(), context.suppress_context), (2, false));
    let suppressed = error(new, "suppressed");
    assert_eq!((suppressed.chain().count(), suppressed.suppress_context), (1, true));
    assert_eq!(error(new, "notes").notes, ["first note", "second\nnote"]);
    assert_eq!(error(new, "future_cancelled").kind(), Kind::Cancelled);
    let worker = Some("tcp://127.0.0.1:4567".to_owned());
    assert_eq!(
        error(new, "killed").kind(),
        Kind::KilledWorker {
            task: "inc-1".to_owned(),
            last_worker: worker.clone(),
            allowed_failures: Some(3)
        }
    );
    assert_eq!(
        error(old, "killed").kind(),
        Kind::KilledWorker { task: "inc-1".to_owned(), last_worker: worker, allowed_failures: None }
    );
    assert!(error(old, "killed").message.starts_with("('inc-1', <WorkerState 'tcp://127.0.0.1:4567'"));
}

#[test]
fn replies_fall_back_to_their_text() {
    for release in &releases() {
        let fixture = &release["errors"]["key_error"];
        let field = |name: &str| (Value::from(name.to_owned()), wire(&fixture[name]));
        let mut reply = vec![
            (Value::from("status"), Value::from("uncaught-error")),
            field("exception_text"),
            field("traceback_text"),
            (Value::from("exception"), payload(&fixture["exception"]).into()),
            (Value::from("traceback"), payload(&fixture["traceback"]).into()),
        ];
        let error = PythonError::from_reply(&Value::Map(reply.clone())).unwrap();
        assert_eq!(error.to_string(), fixture["printed"].as_str().unwrap());
        reply[3].1 = Payload::bytes("no pickle").into();
        reply[4].1 = Value::Nil;
        let error = PythonError::from_reply(&Value::Map(reply)).unwrap();
        assert!(error.opaque);
        assert_eq!(error.title(), "KeyError: \"it's\"");
        assert_eq!(error.traceback.last().unwrap().function, "key_error");
    }
    let text = |pairs: &[(&str, &str)]| {
        Value::Map(
            pairs.iter().map(|(k, v)| (Value::from((*k).to_owned()), Value::from((*v).to_owned()))).collect(),
        )
    };
    let error = PythonError::from_reply(&text(&[
        ("status", "error"),
        ("exception_text", r"ValueError('a\n\u00fc')"),
    ]));
    assert_eq!(error.unwrap().title(), "ValueError: a\nü");
    let error = PythonError::from_reply(&text(&[("status", "uncaught-error"), ("text", "said")]));
    assert_eq!(error.unwrap().message, "said");
    assert_eq!(PythonError::from_reply(&text(&[("status", "OK")])), None);
    // Keys that are missing are no exception.
    assert_eq!(PythonError::from_reply(&text(&[("status", "error"), ("keys", "x")])), None);
}

#[test]
fn an_unreadable_exception_says_so() {
    let error = PythonError::from_payloads(None, None);
    assert_eq!(error.title(), "UnknownError: the exception was not sent");
    let error = PythonError::from_payloads(Some(&Payload::pickle("junk", [])), None);
    assert!(error.opaque && error.message.contains("pickle"), "{error}");
    let error = PythonError::from_payloads(Some(&Payload::pickle("\u{80}", [])), None);
    assert!(error.opaque);
    let text = dask_pickle::to_vec("just text").unwrap();
    let error = PythonError::from_payloads(Some(&Payload::bytes(text)), None);
    assert_eq!(error.title(), "Exception: just text");
}

/// All payloads of a release.
fn payloads() -> Vec<Payload> {
    let mut all = Vec::new();
    for release in &releases() {
        all.extend(release["values"].as_object().unwrap().values().map(payload));
        for error in release["errors"].as_object().unwrap().values() {
            all.extend(["exception", "traceback"].map(|name| payload(&error[name])));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn damaged_values_never_panic(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local! {
            static ALL: Vec<Payload> = payloads();
        }
        let payload = ALL.with(|all| all[which.index(all.len())].clone());
        let mut frames: Vec<Vec<u8>> = payload.frames().iter().map(|frame| frame.to_vec()).collect();
        for frame in &mut frames {
            let len = frame.len();
            for (at, byte) in damage.iter().filter(|_| len > 0) {
                let at = at.index(len);
                frame[at] = *byte;
            }
            if let Some(cut) = &cut {
                frame.truncate(cut.index(frame.len() + 1));
            }
        }
        let header = Value::Map(payload.header_entries().to_vec());
        let payload = Payload::new(header, frames.into_iter().map(Bytes::from).collect());
        let error = PythonError::from_payloads(Some(&payload), Some(&payload));
        let _ = (error.to_string(), error.kind());
        let limits = Limits { items: 100_000, ..Limits::default() };
        if let Ok(decoded) = decode(&payload, &limits) {
            let _ = (decoded.describe(), decoded.to_value(), decoded.to_array());
            let _ = decoded.to::<Vec<f64>>();
            let _ = decoded.to::<BTreeMap<String, i64>>();
            #[cfg(feature = "arrow")]
            let _ = decoded.to_batches();
        }
    }
}
