//! NumPy arrays both ways against the real thing: of every type and layout, by themselves and inside of other values.

use std::collections::BTreeMap;

use bytes::Bytes;
use dask_client::pickle::{Limits, Value};
use dask_client::{
    Array2, Client, Data, Decoded, ErrorKind, Future, Gathered, NdArray, py, python, python_module,
};
use dask_live_tests::{PATIENCE, TestCluster, releases_or};
use dask_local::Protocol;
use dask_wire::numpy::{ByteOrder, DType, DTypeKind};
use ndarray::array;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn on_each_release(test: impl AsyncFn(&TestCluster, &Client) -> Outcome) {
    for release in releases_or(&["2.30.1", "2022.7.1", "2026.8.0"]) {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let outcome = tokio::time::timeout(PATIENCE, test(&cluster, &client)).await;
        outcome.expect("not done in time").unwrap_or_else(|error| panic!("{release}: {error:?}"));
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

/// Arrays, what they are in words, and a comparison.
const ARRAYS: &str = "
import numpy

def made(dtype, shape=(2, 3)):
    return numpy.arange(6).astype(dtype).reshape(shape)

six = numpy.arange(6, dtype='<i8')
cube = numpy.arange(60, dtype='<f4').reshape(3, 4, 5)
VALUES = [made(dtype) for dtype in (
    '?', 'i1', 'u1', '<i2', '>i2', '<u2', '>u2', '<i4', '>u4', '<i8', '>i8', '<u8', '>u8',
    '<f2', '>f2', '<f4', '>f4', '<f8', '>f8', '<c8', '>c8', '<c16', '>c16',
    '<M8[us]', '<M8[25s]', '>M8[D]', '<m8[ns]', '<m8', '|S3', '<U4', '>U4',
)]
VALUES += [
    numpy.frombuffer(bytes(range(20)), 'V5'),
    numpy.frombuffer(bytes(range(32)), numpy.dtype('longdouble')),
    numpy.array(['NaT', '2024-02-29'], 'M8[D]'),
    numpy.array([numpy.nan, numpy.inf, -0.0]),
    numpy.array(['', 'a\\u00fc', '\\U0001f600'], 'U2'),
    six[::2], six[::-1], six[4:1:-2], six.reshape(2, 3).T, numpy.asfortranarray(cube),
    cube[:, ::-1, 1::2], numpy.moveaxis(cube, 0, 2), cube.transpose(2, 0, 1)[::-1],
    numpy.broadcast_to(six, (4, 6)), numpy.broadcast_to(numpy.float32(2.5), (3, 5)),
    numpy.array(7.5), numpy.array(b'xy'), numpy.empty((0, 3), '<i4'), numpy.empty((3, 0, 2)),
    numpy.ones((1, 1, 1), '>i2'), numpy.arange(100000.0), numpy.arange(3000).astype('>i8').reshape(50, 60)[::3, ::-7],
]
fixed = six.copy()
fixed.flags.writeable = False
VALUES.append(fixed)
for dtype in (
    numpy.dtype([('a', '<i4'), ('b', '>f8')]),
    numpy.dtype([('a', 'i1'), ('b', '<f8'), ('c', '<u2')], align=True),
    numpy.dtype([('m', '<i2', (2, 3)), ('s', 'U3'), ('t', 'M8[ms]')]),
    numpy.dtype([('in', [('x', '<f4'), ('y', '>c8')]), ('n', '?')]),
    numpy.dtype([(('a title', 'a'), '<i4'), ('b', 'S4')]),
    numpy.dtype({'names': ['p', 'q'], 'formats': ['<i4', 'V3'], 'offsets': [8, 1], 'itemsize': 16}),
):
    records = numpy.zeros(3, dtype)
    records.view('u1')[:] = numpy.arange(records.nbytes) % 5 if dtype.names != ('m', 's', 't') else 0
    if dtype.names == ('m', 's', 't'):
        records['m'] = numpy.arange(18).reshape(3, 2, 3)
        records['s'] = ['x', 'yy', 'zzz']
    VALUES += [records, records[dtype.names[0]]]
    # Where NumPy copies records it leaves their padding as it happens to be.
    if dtype.itemsize == sum(dtype.fields[name][0].itemsize for name in dtype.names):
        VALUES.append(records[::2])

def form(dtype):
    if dtype.subdtype:
        base, shape = dtype.subdtype
        return form(base) + repr(list(shape))
    if dtype.names:
        fields = ['%s@%d: %s' % (name, dtype.fields[name][1], form(dtype.fields[name][0])) for name in dtype.names]
        return '{%s}%d' % (', '.join(fields), dtype.itemsize)
    return dtype.str

def descriptions():
    return [(form(value.dtype), list(value.shape), value.tobytes()) for value in VALUES]

def value(at):
    return VALUES[at]

def wrong(value, at):
    expected = VALUES[at]
    # Titles of fields are not kept; everything else is in the form.
    if type(value) is numpy.ndarray and form(value.dtype) == form(expected.dtype) and value.shape == expected.shape \\
            and value.tobytes() == expected.tobytes():
        return []
    return ['%d: %r %r, not %r %r' % (at, value, getattr(value, 'dtype', type(value)), expected, expected.dtype)]

def writeable(value):
    value[...] = value[::-1].copy()
    return True
";

/// A type as `form` describes it.
fn form(dtype: &DType) -> String {
    match dtype.kind() {
        DTypeKind::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| {
                    let shape = match field.shape.as_slice() {
                        [] => String::new(),
                        shape => format!("{shape:?}"),
                    };
                    format!("{}@{}: {}{shape}", field.name, field.offset, form(&field.dtype))
                })
                .collect();
            format!("{{{}}}{}", fields.join(", "), dtype.size())
        }
        _ => dtype.to_string(),
    }
}

#[tokio::test]
async fn arrays_of_every_type_and_layout_go_both_ways() {
    on_each_release(async |_, client| {
        let call = |name: &str| python_module(ARRAYS, name).workers(["first"]);
        type Description = (String, Vec<usize>, serde_bytes::ByteBuf);
        let described: Vec<Description> = client.call(call("descriptions")).await?;
        assert!(described.len() > 60, "{}", described.len());
        let mut futures: Vec<Future<NdArray>> = Vec::new();
        for at in 0..described.len() {
            futures.push(client.submit(call("value").arg(at)).await?);
        }
        let arrays = client.gather(&futures).await?;
        let mut wrong: Vec<Future<Vec<String>>> = Vec::new();
        for (at, (array, (dtype, shape, data))) in arrays.iter().zip(&described).enumerate() {
            assert_eq!(
                (form(array.dtype()), array.shape(), &*array.to_c_bytes()?),
                (dtype.clone(), shape.as_slice(), data.as_slice()),
                "{at}"
            );
            // Inside of a call, and scattered.
            let scattered: Future<NdArray> = client.scatter(Data::array(array)).await?;
            wrong.push(client.submit(call("wrong").args((array, at))).await?);
            wrong.push(client.submit(call("wrong").args((&scattered, at))).await?);
        }
        let wrong = client.gather(&wrong).await?.concat();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // The comparison can fail, and what was sent in a call may be written to.
        let wrong: Vec<String> = client.call(call("wrong").args((&arrays[1], 2))).await?;
        assert_eq!(wrong.len(), 1);
        assert!(client.call::<bool>(call("writeable").arg(&arrays[1])).await?);
        Ok(())
    })
    .await;
}

/// What Rust lays out itself, in ways that NumPy would not send.
#[tokio::test]
async fn arrays_laid_out_in_rust_arrive_as_they_are() {
    let data = Bytes::from((0..48u8).collect::<Vec<_>>());
    let base = "numpy.frombuffer(bytes(range(48)), '<i8')";
    let make = |shape: &[usize], strides: &[isize], offset| {
        let dtype = DType::parse("<i8").unwrap();
        NdArray::new(dtype, shape.to_vec(), strides.to_vec(), offset, data.clone()).unwrap()
    };
    let cases = [
        (make(&[2, 3], &[8, 16], 0), format!("{base}.reshape(3, 2).T")),
        (make(&[3], &[16], 8), format!("{base}[1::2]")),
        (make(&[6], &[-8], 40), format!("{base}[::-1]")),
        (make(&[4, 6], &[0, 8], 0), format!("numpy.broadcast_to({base}, (4, 6))")),
        (make(&[5], &[8], 3), "numpy.frombuffer(bytes(range(3, 43)), '<i8')".to_owned()),
        (make(&[], &[], 16), format!("numpy.array({base}[2])")),
        (make(&[0, 3], &[24, 8], 0), "numpy.empty((0, 3), '<i8')".to_owned()),
    ];
    on_each_release(async |_, client| {
        for (array, expression) in &cases {
            let check = python(&format!(
                "import numpy\ne = {expression}\nreturn (v.dtype, v.shape, v.tobytes()) == (e.dtype, e.shape, e.tobytes())"
            ));
            let scattered: Future<NdArray> = client.scatter(Data::array(array)).await?;
            assert!(client.call::<bool>(check.clone().kwarg("v", array)).await?, "{expression}");
            assert!(client.call::<bool>(check.kwarg("v", &scattered)).await?, "{expression}, scattered");
        }
        Ok(())
    })
    .await;
}

#[derive(serde::Deserialize)]
struct Fit {
    weights: NdArray,
    loss: f64,
    history: Vec<NdArray>,
    extra: Option<NdArray>,
}

fn holds(memory: &Bytes, array: &NdArray) -> bool {
    memory.as_ptr_range().contains(&array.data().as_ptr())
}

/// Whether the memory of an array is that of the result.
fn shared(decoded: &Decoded, array: &NdArray) -> bool {
    match decoded {
        Decoded::Array(of) => holds(of.data(), array),
        Decoded::Pickle(tree) => {
            holds(tree.source(), array) || tree.buffers().iter().any(|buffer| holds(buffer, array))
        }
        Decoded::Collection { items, .. } => items.iter().any(|(_, item)| shared(item, array)),
        _ => false,
    }
}

#[tokio::test]
async fn arrays_stand_inside_of_results_without_a_copy() {
    on_each_release(async |_, client| {
        let numpy = |body: &str| python(&format!("import numpy, types\n{body}"));
        let (a, b): (NdArray, NdArray) =
            client.call(numpy("return numpy.arange(3.), numpy.eye(2, dtype='i4')")).await?;
        assert_eq!((a.to_vec::<f64>()?, b.shape()), (vec![0.0, 1.0, 2.0], &[2, 2][..]));
        // As frames of their own where the array comes first, else pickled; small and large, as attributes, in lists.
        for body in [
            "return {'weights': w, 'loss': 0.5, 'history': [w, w[::2]]}",
            "return {'loss': 0.5, 'weights': w, 'history': [w, w[::2]], 'extra': None}",
            "return types.SimpleNamespace(loss=0.5, weights=w, history=[w, w[::2]])",
            "return [w, 0.5, [w, w[::2]], None]",
            "return (w, 0.5, (w, w[::2]), None)",
        ] {
            for len in [10, 200_000] {
                let kept: Gathered =
                    client.call(numpy(&format!("w = numpy.arange({len}, dtype='f8')\n{body}"))).await?;
                let fit: Fit = kept.to()?;
                assert_eq!((fit.weights.len(), fit.loss, fit.history.len()), (len, 0.5, 2), "{body}");
                assert_eq!(fit.history[1].to_vec::<f64>()?[..3], [0.0, 2.0, 4.0], "{body}");
                assert!(fit.extra.is_none());
                assert!(shared(&kept, &fit.weights), "{len}: {body}: {}", kept.describe());
            }
        }
        // Larger than what Dask sends as one frame.
        let large: NdArray = client.call(numpy("return numpy.arange(20_000_001, dtype='f8')")).await?;
        let values = large.as_slice::<f64>().unwrap();
        assert!(values.iter().zip(0u32..).all(|(value, n)| *value == f64::from(n)), "{}", values.len());
        assert_eq!(values.len(), 20_000_001);
        drop(large);
        let error = client.call::<(NdArray, i64)>(numpy("return 'x', 1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("cannot be read as a NumPy array"), "{error}");
        Ok(())
    })
    .await;
}

dask_client::remote! {
    /// Declared by the types of the crate `ndarray`.
    fn dot(left: Array2<f64>, right: Array2<f64>) -> Array2<f64> = "numpy:dot";
    fn total(of: NdArray) -> f64 = "builtins:float";
}

#[tokio::test]
async fn arrays_of_the_crate_ndarray_are_arguments_and_results() {
    on_each_release(async |_, client| {
        let left = array![[1.0, 2.0], [3.0, 4.0]];
        let swap = array![[0.0, 1.0], [1.0, 0.0]];
        let product = client.call(dot(&left, swap.clone())).await?;
        assert_eq!(*product, left.dot(&swap));
        // A view that lies otherwise, a future and a nested call.
        let future: Future<Array2<f64>> = client.submit(dot(&left, left.t())).await?;
        let product = client.call(dot(&future, dot(&swap, Array2::from(swap.clone())))).await?;
        assert_eq!(*product, left.dot(&left.t()));
        assert_eq!(client.call(total(ndarray::arr0(7.5))).await?, 7.5);
        let error = client.call::<Array2<f64>>(py("numpy:arange").arg(3.0)).await.unwrap_err();
        assert!(error.to_string().contains("1 dimensions where one of 2"), "{error}");

        // Views where the array lies, and half floats.
        let array: NdArray =
            client.call(python("import numpy\nreturn numpy.arange(200000.).reshape(400, 500).T")).await?;
        match array.view::<f64>() {
            Some(view) => assert_eq!((view.shape(), view[[499, 399]]), (&[500, 400][..], 199_999.0)),
            None => assert!(!(array.data().as_ptr() as usize).is_multiple_of(8)),
        }
        assert_eq!(array.to_ndarray::<f64>()?[[499, 399]], 199_999.0);
        let halves: NdArray =
            client.call(python("import numpy\nreturn numpy.array([0.5, -2], '>f2')")).await?;
        assert_eq!(halves.dtype().byte_order(), ByteOrder::Big);
        let halves = halves.to_vec::<half::f16>()?;
        assert_eq!(halves, [half::f16::from_f32(0.5), half::f16::from_f32(-2.0)]);
        let check = python("return v.dtype.str + repr(v.tolist())");
        let text: String = client.call(check.kwarg("v", NdArray::from_slice(&halves, [2])?)).await?;
        assert_eq!(text, "<f2[0.5, -2.0]");
        Ok(())
    })
    .await;
}

/// Arrays inside of what is no plain list or dict.
const HOLDERS: &str = "
import collections, dataclasses, numpy

@dataclasses.dataclass
class Model:
    name: str
    weights: object
    raw: object

Row = collections.namedtuple('Row', 'name weights raw')
parts = ('x', numpy.array([[1.5, 2.5]]), numpy.arange(3))
names = ('name', 'weights', 'raw')

def model():
    return Model(*parts)
def row():
    return Row(*parts)
def plain():
    return dict(zip(names, parts))
def ordered():
    return collections.OrderedDict(zip(names, parts))
def filled():
    return collections.defaultdict(list, zip(names, parts))
def objects():
    return {'name': 'x', 'weights': numpy.array([[1.5, 2.5]], dtype=object), 'raw': parts[2]}
def records():
    return Model('x', numpy.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')]), None)
def several():
    return {
        'text': numpy.array(['a', 'bc']), 'bytes': numpy.array([b'a', b'bc']), 'times': numpy.array(['NaT', '1970-01-02'], 'M8[s]'),
        'big': numpy.arange(3, dtype='>i2'), 'turned': numpy.arange(6).reshape(2, 3).T, 'none': numpy.zeros((0, 3)),
        'complex': numpy.array([1 + 2j]), 'flags': numpy.array([True, False]), 'one': numpy.array(1.5),
    }
";

#[derive(serde::Deserialize)]
struct Model {
    name: String,
    weights: Vec<Vec<f64>>,
    raw: NdArray,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Several {
    text: Vec<String>,
    bytes: Vec<serde_bytes::ByteBuf>,
    times: Vec<Option<i64>>,
    big: Vec<i16>,
    turned: Vec<Vec<u8>>,
    none: Vec<Vec<f64>>,
    complex: Vec<(f64, f64)>,
    flags: Vec<bool>,
    one: f64,
}

#[tokio::test]
async fn arrays_inside_of_any_object_are_sequences() {
    on_each_release(async |_, client| {
        let call = |name: &str| python_module(HOLDERS, name);
        for name in ["model", "plain", "ordered", "filled", "objects"] {
            let model: Model = client.call(call(name)).await.map_err(|error| format!("{name}: {error}"))?;
            assert_eq!((model.name.as_str(), model.weights), ("x", vec![vec![1.5, 2.5]]), "{name}");
            assert_eq!(model.raw.to_vec::<i64>()?, [0, 1, 2], "{name}");
        }
        let row: (String, Vec<Vec<f64>>, NdArray) = client.call(call("row")).await?;
        assert_eq!((row.0.as_str(), row.1), ("x", vec![vec![1.5, 2.5]]));
        let records: BTreeMap<String, serde_json::Value> = client.call(call("records")).await?;
        assert_eq!(records["weights"], serde_json::json!([{"a": 1, "b": 2.5}]));
        let several: Several = client.call(call("several")).await?;
        let bytes = |text: &str| serde_bytes::ByteBuf::from(text);
        let expected = Several {
            text: vec!["a".into(), "bc".into()],
            bytes: vec![bytes("a"), bytes("bc")],
            times: vec![None, Some(86_400)],
            big: vec![0, 1, 2],
            turned: vec![vec![0, 3], vec![1, 4], vec![2, 5]],
            none: Vec::new(),
            complex: vec![(1.0, 2.0)],
            flags: vec![true, false],
            one: 1.5,
        };
        assert_eq!(several, expected);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn records_and_repeated_elements_are_read_as_they_lie() {
    on_each_release(async |_, client| {
        let call = |text: &str| python(&format!("import numpy\nreturn {text}"));
        let records = "numpy.rec.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')])";
        assert_eq!(client.call::<Vec<(i32, f64)>>(call(records)).await?, [(1, 2.5)]);
        let (whole, first): (NdArray, NdArray) =
            client.call(call(&format!("({records}, {records}[0])"))).await?;
        assert_eq!((whole.shape(), whole.dtype()), (&[1][..], first.dtype()));
        let gathered: Gathered = client.call(call(records)).await?;
        let sum: f64 = client.call(python("return float(x['b'][0])").kwarg("x", &gathered)).await?;
        assert_eq!(sum, 2.5);

        // More elements than the limit, of four bytes.
        let wide = "numpy.broadcast_to(numpy.float32(1.5), (5000, 5000))";
        let gathered: Gathered = client.call(call(wide)).await?;
        let array: NdArray = client.call(call(wide)).await?;
        assert_eq!((array.shape(), array.data().len()), (&[5000, 5000][..], 4));
        let error = client.call::<Vec<Vec<f32>>>(call(wide)).await.unwrap_err();
        assert!(error.to_string().contains("pickle_limits"), "{error}");
        let scattered: Future<NdArray> = client.scatter(Data::array(&array)).await?;
        let last = |x: &dyn Fn(dask_client::Call) -> dask_client::Call| {
            x(python("return [x.shape[0], float(x[-1, -1])]"))
        };
        for call in [
            last(&|call| call.kwarg("x", &gathered)),
            last(&|call| call.kwarg("x", &array)),
            last(&|call| call.kwarg("x", &scattered)),
        ] {
            assert_eq!(client.call::<(i64, f64)>(call).await?, (5000, 1.5));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_decoded_stays_within_the_limits_of_the_client() {
    on_each_release(async |cluster, _| {
        let limits = Limits { items: 1_000, depth: 5, ..Limits::default() };
        let client = cluster.client().pickle_limits(limits).connect().await?;
        let call = |text: &str| python(&format!("import numpy\nreturn {text}"));
        for text in
            ["list(range(2000))", "numpy.zeros(2000)", "[numpy.zeros(600)] * 2", "memoryview(bytes(2000))"]
        {
            let error = client.call::<Value>(call(text)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{text}: {error}");
        }
        let error = client.call::<Value>(call("numpy.zeros(2000)")).await.unwrap_err();
        assert!(error.to_string().contains("read it as NdArray"), "{error}");
        let error = client.call::<Value>(call("[[[[[[[1]]]]]]]")).await.unwrap_err();
        assert!(error.to_string().contains("nested deeper than 5"), "{error}");
        assert_eq!(client.call::<Vec<f64>>(call("numpy.zeros(2000)")).await?.len(), 2_000);
        assert_eq!(client.call::<NdArray>(call("numpy.zeros(2000)")).await?.len(), 2_000);
        let small: BTreeMap<String, Vec<f64>> = client.call(call("{'a': numpy.zeros(100)}")).await?;
        assert_eq!(small["a"].len(), 100);
        client.close().await;
        Ok(())
    })
    .await;
}
