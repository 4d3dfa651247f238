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
fn elements_share_what_a_value_may_hold() {
    let limits = dask_pickle::Limits { items: 4_000, ..dask_pickle::Limits::default() };
    // 500 numbers each, as a pickle and as msgpack.
    let pickle = [&b"\x80\x04("[..], &b"K\x05".repeat(500), b"l."].concat();
    let packed = [&[0xdc, 1, 0xf4][..], &[0xcc; 1000]].concat();
    let msgpack = map(vec![("serializer", "msgpack".into())]);
    for (header, frame) in [(element(), pickle), (msgpack, packed)] {
        let read = |count: usize| {
            let frames = vec![Bytes::from(frame.clone()); count];
            let payload = Payload::new(list(vec![header.clone(); count], vec![1; count]), frames);
            decode(&payload, &limits).map(drop)
        };
        assert!(read(4).is_ok(), "{:?}", read(4));
        assert!(matches!(read(10), Err(DecodeError::Items { limit: 4_000 })), "{:?}", read(10));
    }
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

fn repeated(shape: [i64; 2]) -> Value<'static> {
    map(vec![
        ("serializer", "dask".into()),
        ("type", "numpy.ndarray".into()),
        ("dtype", Value::Array(vec![0.into(), "<f8".into()])),
        ("shape", [1i64, 1].into_iter().collect()),
        ("broadcast_to", shape.into_iter().collect()),
        ("strides", [0i64, 0].into_iter().collect()),
    ])
}

#[test]
fn an_array_of_few_bytes_and_many_elements_costs_nothing_until_it_is_written_out() {
    let frame = Bytes::copy_from_slice(&1.5f64.to_le_bytes());
    let decoded = read(repeated([1 << 20, 1 << 20]), vec![frame.clone()]).unwrap();
    let array: NdArray = decoded.to().unwrap();
    assert_eq!((array.shape(), array.len()), (&[1 << 20, 1 << 20][..], 1 << 40));
    assert_eq!(array.elements().next(), Some(crate::numpy::Element::Float(1.5)));
    assert!(matches!(array.to_vec::<f64>(), Err(ArrayError::TooLarge { .. })));
    assert!(matches!(array.to_c_bytes(), Err(ArrayError::TooLarge { .. })));
    assert!(array.to_value().is_err() && array.as_slice::<f64>().is_none());
    for error in [
        decoded.to_value().unwrap_err(),
        decoded.to::<Vec<Vec<f64>>>().unwrap_err(),
        decoded.to::<dask_pickle::Value>().unwrap_err(),
    ] {
        assert!(error.to_string().contains("`pickle_limits`"), "{error}");
    }
    // It is passed on as it is.
    let again = decode(&array.to_payload().unwrap(), &dask_pickle::Limits::default()).unwrap();
    let again = again.to_array().unwrap();
    assert_eq!((again.shape(), again.strides(), again.data()), (array.shape(), &[0, 0][..], &frame));
    assert!(dask_pickle::to_vec(&decoded).unwrap().len() < 1_000);

    // Many of them share the limit.
    let limits = dask_pickle::Limits { items: 1_000, ..dask_pickle::Limits::default() };
    let many = Payload::new(list(vec![repeated([20, 30]); 2], vec![1, 1]), vec![frame; 2]);
    let many = decode(&many, &limits).unwrap();
    let arrays: Vec<NdArray> = many.to().unwrap();
    assert_eq!(arrays[0].to_vec::<f64>().unwrap().len(), 600);
    assert!(arrays[1].to_vec::<f64>().is_err());
    assert!(many.to::<Vec<Vec<Vec<f64>>>>().is_err());
}

/// The header of an array of one record of a class of NumPy's or of somebody else's.
fn records(module: &str, class: &str) -> Value<'static> {
    use dask_pickle::{Global, Value as Python};
    let text = |text: &str| Python::Str(text.to_owned());
    let dtype = |code: Python, state: Vec<Python>| {
        let object = dask_pickle::Object {
            class: String::new(),
            how: dask_pickle::How::Reduce,
            callable: Python::Global { module: "numpy".into(), qualname: "dtype".into() },
            args: Python::Tuple(vec![code, Python::Bool(false), Python::Bool(true)]),
            kwargs: None,
            state: Some(Python::Tuple(state)),
            items: Vec::new(),
            pairs: Vec::new(),
        };
        Python::Object(Box::new(object))
    };
    let plain = |code: &str| {
        let none = Python::None;
        dtype(text(code), vec![Python::Int(3), text("<"), none.clone(), none.clone(), none])
    };
    let field = |code: &str, offset| Python::Tuple(vec![plain(code), Python::Int(offset)]);
    let fields = vec![(text("a"), field("i4", 0)), (text("b"), field("f8", 4))];
    let state = vec![
        Python::Int(3),
        text("|"),
        Python::None,
        Python::Tuple(vec![text("a"), text("b")]),
        Python::Dict(fields),
        Python::Int(12),
        Python::Int(1),
        Python::Int(16),
    ];
    let global = dask_pickle::to_vec(&Global::of(module, class)).unwrap();
    let global = dask_pickle::read(global, Vec::new(), &dask_pickle::Limits::default()).unwrap();
    let code = Python::from_view(global.root()).unwrap();
    let pickle = dask_pickle::to_vec(&dtype(code, state)).unwrap();
    map(vec![
        ("serializer", "dask".into()),
        ("type", "numpy.rec.recarray".into()),
        ("dtype", Value::Array(vec![1.into(), pickle.into()])),
        ("shape", [1i64].into_iter().collect()),
        ("strides", [12i64].into_iter().collect()),
    ])
}

#[test]
fn records_of_a_class_of_their_own_are_read() {
    let mut frame = 1i32.to_le_bytes().to_vec();
    frame.extend(2.5f64.to_le_bytes());
    let frame = Bytes::from(frame);
    for (module, class) in [("numpy", "record"), ("numpy", "void")] {
        let decoded = read(records(module, class), vec![frame.clone()]).unwrap();
        assert_eq!(decoded.to::<Vec<(i32, f64)>>().unwrap(), [(1, 2.5)]);
        assert_eq!(decoded.to_array().unwrap().dtype().to_string(), "[a: <i4, b: <f8]");
    }
    // Of what nobody here knows it is still a value that can be passed on.
    let decoded = read(records("farm", "Cow"), vec![frame]).unwrap();
    assert!(matches!(&decoded, Decoded::Opaque { type_name, .. } if type_name == "numpy.rec.recarray"));
    assert!(dask_pickle::to_vec(&decoded).is_ok());
}

#[test]
fn values_that_only_pickles_know_survive_collections() {
    let date = dask_pickle::Date { year: 2024, month: 2, day: 29 };
    let frames: Vec<Bytes> = vec![dask_pickle::to_vec(&date).unwrap().into(), Bytes::from_static(b"K\x05.")];
    let decoded = read(list(vec![element(), element()], vec![1, 1]), frames).unwrap();
    assert_eq!(decoded.to::<(dask_pickle::Date, i64)>().unwrap(), (date, 5));
    assert_eq!(decoded.to::<(String, f64)>().unwrap(), ("2024-02-29".to_owned(), 5.0));
}

/// A pickled array of `f8` as NumPy 1.x and 2.x write it with protocol 5, in-band.
fn pickled_array(module: &str, data: &[f64]) -> impl serde::Serialize {
    use dask_pickle::{Global, PyBytes, Reduce, Tuple};
    let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dtype = Reduce { callable: Global::new("numpy:dtype"), args: ("f8", false, true) };
    Reduce {
        callable: Global::new(format!("{module}:_frombuffer")),
        args: (PyBytes(bytes.into()), dtype, Tuple([data.len()]), "C"),
    }
}

fn sent_array(data: &[f64]) -> (Value<'static>, Bytes) {
    let payload = NdArray::from_slice(data, [data.len()]).unwrap().to_payload().unwrap();
    (Value::Map(payload.header_entries().to_vec()), payload.frames()[0].clone())
}

fn within(array: &NdArray, frame: &Bytes) -> bool {
    frame.as_ptr_range().contains(&array.data().as_ptr())
}

#[test]
fn an_instance_with_an_array_in_it_stays_what_it_is() {
    use dask_pickle::{Global, Reduce, Value as Python};
    let array = pickled_array("numpy.core.numeric", &[1.5]);
    let cow = Reduce { callable: Global::new("farm:Cow"), args: (array,) };
    let pickle: Bytes = dask_pickle::to_vec(&vec![cow]).unwrap().into();
    let decoded = read(element(), vec![pickle]).unwrap();
    let Python::List(cows) = decoded.to_value().unwrap() else { panic!() };
    let Python::Object(cow) = &cows[0] else { panic!() };
    assert_eq!(cow.class, "farm.Cow");
    assert!(matches!(cow.args.items().unwrap(), [Python::Object(_)]));
}

#[derive(serde::Deserialize)]
struct Report {
    array: NdArray,
    date: dask_pickle::Date,
    inner: Inner,
    more: Option<NdArray>,
}

#[derive(serde::Deserialize)]
struct Inner {
    names: Vec<String>,
    rate: f64,
}

#[test]
fn arrays_stand_inside_of_collections_and_pickles_uncopied() {
    let (header, frame) = sent_array(&[1.5, 2.5, 3.5]);
    let decoded =
        read(list(vec![header.clone(), header.clone()], vec![1, 1]), vec![frame.clone(); 2]).unwrap();
    let (a, b): (NdArray, Vec<f64>) = decoded.to().unwrap();
    assert_eq!((a.to_vec::<f64>().unwrap(), b), (vec![1.5, 2.5, 3.5], vec![1.5, 2.5, 3.5]));
    assert!(within(&a, &frame));

    // A dict of an array and of pickles of all sorts.
    let keyed = |header: &Value<'static>, key: &str| {
        let Value::Map(mut pairs) = header.clone() else { panic!() };
        pairs.push(("key".into(), key.to_owned().into()));
        Value::Map(pairs)
    };
    let date = dask_pickle::Date { year: 2024, month: 2, day: 29 };
    let inner = std::collections::BTreeMap::from([
        ("names", dask_pickle::Value::List(vec![dask_pickle::Value::Str("x".into())])),
        ("rate", dask_pickle::Value::Int(2)),
    ]);
    let pickles =
        [dask_pickle::to_vec(&date), dask_pickle::to_vec(&inner)].map(|pickle| pickle.unwrap().into());
    let mut dict = list(
        vec![keyed(&header, "array"), keyed(&element(), "date"), keyed(&element(), "inner")],
        vec![1, 1, 1],
    );
    let Value::Map(pairs) = &mut dict else { panic!() };
    pairs[1].1 = "dict".into();
    let [first, second] = pickles;
    let report: Report = read(dict, vec![frame.clone(), first, second]).unwrap().to().unwrap();
    assert!(within(&report.array, &frame));
    assert_eq!((report.date, report.inner.names, report.inner.rate), (date, vec!["x".to_owned()], 2.0));
    assert_eq!(report.more, None);

    // The same in one pickle, of both modules that NumPy has had.
    for module in ["numpy.core.numeric", "numpy._core.numeric"] {
        let value = (pickled_array(module, &[1.5]), [("n", pickled_array(module, &[2.5, 3.5]))], 7);
        let pickle: Bytes = dask_pickle::to_vec(&value).unwrap().into();
        let decoded = read(element(), vec![pickle.clone()]).unwrap();
        let (one, two, seven): (NdArray, Vec<(String, NdArray)>, i64) = decoded.to().unwrap();
        assert_eq!((one.to_vec::<f64>().unwrap(), two[0].1.shape(), seven), (vec![1.5], &[2][..], 7));
        assert!(within(&one, &pickle) && within(&two[0].1, &pickle));
        assert!(decoded.to::<(f64, (), i64)>().is_err());
    }

    // Rows, and what is none.
    let matrix = NdArray::from_slice(&[1i64, 2, 3, 4], [2, 2]).unwrap();
    let decoded = Decoded::Array(matrix.clone());
    let rows: Vec<NdArray> = decoded.to().unwrap();
    assert_eq!(rows[1].to_vec::<i64>().unwrap(), [3, 4]);
    assert!(within(&rows[1], matrix.data()));
    assert!(decoded.to::<NdArray>().unwrap() == matrix);
    let error = read(element(), vec![Bytes::from_static(b"K\x05.")]).unwrap().to::<NdArray>().unwrap_err();
    assert!(error.to_string().contains("an int cannot be read as a NumPy array"), "{error}");
    let error = Decoded::Bytes("x".into()).to::<NdArray>().unwrap_err().to_string();
    assert!(error.contains("bytes of length 1 where a NumPy array was expected"), "{error}");
}

#[test]
fn lists_of_an_arrays_elements_are_counted_before_they_are_made() {
    let limits = dask_pickle::Limits { items: 1_000, ..dask_pickle::Limits::default() };
    let shape = [2_000i64];
    let frame = Bytes::from(vec![7; 2_000]);
    let array = |fields: Vec<(&str, Value<'static>)>, kind: &str| {
        let mut header = vec![("serializer", "dask".into()), ("type", kind.to_owned().into())];
        header.extend(fields);
        Payload::new(map(header), vec![frame.clone()])
    };
    let payloads = [
        array(
            vec![
                ("dtype", Value::Array(vec![0.into(), "|u1".into()])),
                ("shape", shape.into_iter().collect()),
                ("strides", [1i64].into_iter().collect()),
            ],
            "numpy.ndarray",
        ),
        array(vec![("format", "B".into()), ("shape", shape.into_iter().collect())], "memoryview"),
        array(vec![("typecode", "B".into())], "array.array"),
    ];
    for payload in &payloads {
        let decoded = decode(payload, &limits).unwrap();
        let error = decoded.to_value().unwrap_err().to_string();
        assert!(error.contains("2000 elements are too many for the limit of 1000 items"), "{error}");
        assert!(error.contains("read it as NdArray"), "{error}");
        assert!(decoded.to::<dask_pickle::Value>().is_err());
        assert_eq!(decoded.to::<Vec<u8>>().unwrap().len(), 2_000);
        assert_eq!(decoded.to_array().unwrap().len(), 2_000);
        // Many of them share one budget.
        let whole = dask_pickle::Limits { items: 5_000, ..limits };
        assert!(decode(payload, &whole).unwrap().to_value().is_ok());
        let headers = vec![Value::Map(payload.header_entries().to_vec()); 3];
        let many = Payload::new(list(headers, vec![1; 3]), vec![frame.clone(); 3]);
        let many = decode(&many, &whole).unwrap();
        assert!(many.to_value().unwrap_err().to_string().contains("too many"));
        assert!(many.to::<Vec<dask_pickle::Value>>().is_err());
        assert_eq!(many.to::<Vec<serde_bytes::ByteBuf>>().unwrap().len(), 3);
    }
    // What the limits do not forbid is read again under the same.
    let deep = dask_pickle::Limits { depth: 3, ..dask_pickle::Limits::default() };
    let header = list(vec![list(vec![element()], vec![1])], vec![1]);
    let payload = Payload::new(header, vec![Bytes::from_static(b"K\x05.")]);
    let decoded = decode(&payload, &deep).unwrap();
    assert!(decoded.to::<dask_pickle::List<Vec<dask_pickle::List<Vec<i64>>>>>().is_ok());
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
    // Elements that are repeated may be more than can be walked.
    if let Ok(array) = decoded.to_array()
        && array.to_c_bytes().is_ok()
    {
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
