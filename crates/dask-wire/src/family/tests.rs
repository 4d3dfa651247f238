use proptest::prelude::*;

use super::*;
use crate::exception::PythonError;

fn map(pairs: Vec<(&str, Value<'static>)>) -> Value<'static> {
    Value::Map(pairs.into_iter().map(|(name, value)| (Value::from(name.to_owned()), value)).collect())
}

fn element() -> Value<'static> {
    map(vec![("serializer", "pickle".into()), ("writeable", Value::Array(Vec::new()))])
}

fn list(headers: Vec<Value<'static>>, lengths: Vec<i64>) -> Value<'static> {
    map(vec![
        ("is-collection", true.into()),
        ("type-serialized", "list".into()),
        ("frame-lengths", lengths.into_iter().collect()),
        ("sub-headers", Value::Array(headers)),
    ])
}

fn read(header: Value<'static>, frames: Vec<Bytes>) -> Result<Decoded, DecodeError> {
    decode(&Payload::new(header, frames), &dask_pickle::Limits::default())
}

#[test]
fn a_collection_that_does_not_fit_its_frames_is_refused() {
    let five = Bytes::from_static(b"K\x05.");
    assert!(read(list(vec![element()], vec![1]), vec![five.clone()]).is_ok());
    for (lengths, frames) in [(vec![2], 1), (vec![1], 2), (vec![1, 1], 2), (vec![-1], 1)] {
        let error = read(list(vec![element()], lengths), vec![five.clone(); frames]).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{error}");
    }
}

#[test]
fn collections_nest_to_a_limit() {
    let mut header = element();
    for _ in 0..150 {
        header = list(vec![header], vec![1]);
    }
    let frames = vec![Bytes::from_static(b"K\x05.")];
    assert!(read(header.clone(), frames.clone()).is_ok());
    for _ in 0..100 {
        header = list(vec![header], vec![1]);
    }
    assert!(matches!(read(header, frames), Err(DecodeError::Depth { limit: 200 })));
}

#[test]
fn a_class_is_found_without_its_name() {
    let class = b"\x80\x04cbuiltins\nbytearray\n.".to_vec();
    let header = map(vec![("serializer", "dask".into()), ("type-serialized", class.into())]);
    assert!(matches!(read(header, vec![Bytes::from_static(b"x")]).unwrap(), Decoded::ByteArray(_)));
    let header = map(vec![("serializer", "dask".into()), ("type", "some.Class".into())]);
    let decoded = read(header, Vec::new()).unwrap();
    assert!(matches!(&decoded, Decoded::Opaque { type_name, .. } if type_name == "some.Class"));
    assert!(decoded.to::<i64>().unwrap_err().to_string().contains("an object of some.Class"));
}

#[test]
fn an_array_of_few_bytes_and_many_elements_is_refused() {
    let header = map(vec![
        ("serializer", "dask".into()),
        ("type", "numpy.ndarray".into()),
        ("dtype", Value::Array(vec![0.into(), "<f8".into()])),
        ("shape", [1i64, 1].into_iter().collect()),
        ("broadcast_to", [1i64 << 20, 1 << 20].into_iter().collect()),
        ("strides", [0i64, 0].into_iter().collect()),
    ]);
    let error = read(header, vec![Bytes::from(vec![0; 8])]).unwrap_err();
    assert!(matches!(error, DecodeError::Array { source: ArrayError::TooLarge { .. }, .. }), "{error}");
}

#[test]
fn values_that_only_pickles_know_survive_collections() {
    let date = dask_pickle::Date { year: 2024, month: 2, day: 29 };
    let frames: Vec<Bytes> = vec![dask_pickle::to_vec(&date).unwrap().into(), Bytes::from_static(b"K\x05.")];
    let decoded = read(list(vec![element(), element()], vec![1, 1]), frames).unwrap();
    assert_eq!(decoded.to::<(dask_pickle::Date, i64)>().unwrap(), (date, 5));
    assert_eq!(decoded.to::<(String, f64)>().unwrap(), ("2024-02-29".to_owned(), 5.0));
}

fn text() -> impl Strategy<Value = Value<'static>> {
    prop::sample::select(vec![
        "pickle",
        "dask",
        "msgpack",
        "error",
        "bytes",
        "builtins.bytearray",
        "numpy.ndarray",
        "memoryview",
        "array.array",
        "numpy.ma.MaskedArray",
        "pyarrow.lib.Table",
        "list",
        "dict",
        "set",
        "<f8",
        "|b1",
        ">M8[3us]",
        "<U2",
        "S3",
        "V0",
        "d",
        "B",
        "O",
    ])
    .prop_map(Value::from)
}

fn name() -> impl Strategy<Value = Value<'static>> {
    prop::sample::select(vec![
        "serializer",
        "type",
        "type-serialized",
        "sub-header",
        "is-collection",
        "sub-headers",
        "frame-lengths",
        "key",
        "dtype",
        "shape",
        "strides",
        "broadcast_to",
        "writeable",
        "pickle",
        "data-header",
        "mask-header",
        "nframes",
        "fill-value",
        "format",
        "typecode",
    ])
    .prop_map(Value::from)
}

fn leaf() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        (-2i64..9).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text(),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::from),
    ]
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    leaf().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..8).prop_map(Value::Map),
        ]
    })
}

fn frames() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from), 0..5)
}

fn shape() -> impl Strategy<Value = Value<'static>> {
    prop::collection::vec(prop_oneof![0i64..5, any::<i64>()], 0..4).prop_map(|n| n.into_iter().collect())
}

fn array_header() -> impl Strategy<Value = Value<'static>> {
    let strides = prop::collection::vec(prop_oneof![-16i64..17, any::<i64>()], 0..4);
    (text(), shape(), strides, prop::option::of(shape())).prop_map(|(dtype, shape, strides, broadcast)| {
        map(vec![
            ("serializer", "dask".into()),
            ("type", "numpy.ndarray".into()),
            ("dtype", Value::Array(vec![0.into(), dtype])),
            ("shape", shape),
            ("strides", strides.into_iter().collect()),
            ("broadcast_to", broadcast.into()),
        ])
    })
}

fn exercise(payload: &Payload) {
    let limits = dask_pickle::Limits { items: 10_000, ..dask_pickle::Limits::default() };
    let error = PythonError::from_payloads(Some(payload), Some(payload));
    let _ = (error.to_string(), error.kind());
    let Ok(decoded) = decode(payload, &limits) else { return };
    let _ = (decoded.describe(), decoded.to_value());
    let _ = decoded.to::<Vec<f64>>();
    let _ = decoded.to::<Vec<Vec<Option<i64>>>>();
    let _ = decoded.to::<std::collections::BTreeMap<String, serde_bytes::ByteBuf>>();
    let _ = decoded.to::<dask_pickle::Value>();
    #[cfg(feature = "arrow")]
    let _ = decoded.to_batches();
    if let Ok(array) = decoded.to_array() {
        assert_eq!(array.elements().count(), array.len());
        let again = array.to_payload().ok().and_then(|payload| decode(&payload, &limits).ok());
        if let Some(again) = again {
            assert!(again.to_array().unwrap() == array);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_headers_and_frames_never_panic(header in any_value(), frames in frames()) {
        exercise(&Payload::new(header, frames));
    }

    #[test]
    fn arbitrary_arrays_never_panic(header in array_header(), frame in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&Payload::new(header, vec![frame.into()]));
    }

    #[test]
    fn arbitrary_collections_never_panic(
        headers in prop::collection::vec(prop_oneof![any_value(), array_header()], 0..5),
        lengths in prop::collection::vec(0i64..3, 0..5),
        frames in frames(),
    ) {
        exercise(&Payload::new(list(headers, lengths), frames));
    }
}
