//! Properties: what is written is read back, and no input makes the reader panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use bytes::Bytes;
use dask_pickle::{Limits, Template, Value, from_slice, from_tree, read, to_vec};
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-300i64..70_000).prop_map(Value::Int),
        proptest::collection::vec(any::<u8>(), 9..40).prop_filter_map("small", |le| {
            let value = num_bigint::BigInt::from_signed_bytes_le(&le);
            i64::try_from(&value).is_err().then_some(Value::BigInt(value))
        }),
        any::<f64>().prop_filter("NaN equals nothing", |value| !value.is_nan()).prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
    ]
}

fn hashable() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Tuple),
            proptest::collection::vec(inner, 0..4).prop_map(Value::FrozenSet),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        scalar(),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::ByteArray(bytes.into())),
        Just(Value::Surrogates(b"a\xed\xb0\x80".to_vec())),
        Just(Value::Global { module: "a.b".to_owned(), qualname: "C.d".to_owned() }),
    ]
    .prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Tuple),
            proptest::collection::vec(hashable(), 0..6).prop_map(Value::Set),
            proptest::collection::vec((hashable(), inner), 0..6).prop_map(Value::Dict),
        ]
    })
}

/// Programs of mostly valid opcodes reach further than random bytes.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"N",
        b"\x88",
        b"K\x05",
        b"M\x01\x02",
        b"J\x00\x00\x00\x80",
        b"\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09",
        b"G\x3f\xf0\x00\x00\x00\x00\x00\x00",
        b"\x8c\x01a",
        b"\x8c\x03\xed\xa0\x80",
        b"C\x04\x07\xe8\x02\x1d",
        b"]",
        b"}",
        b")",
        b"\x8f",
        b"(",
        b"a",
        b"e",
        b"s",
        b"u",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"\x90",
        b"\x91",
        b"R",
        b"b",
        b"\x81",
        b"\x92",
        b"o",
        b"0",
        b"1",
        b"2",
        b"\x94",
        b"h\x00",
        b"h\x01",
        b"q\x00",
        b"p5\n",
        b"g5\n",
        b"\x97",
        b"\x98",
        b"Q",
        b"Pid\n",
        b"cdatetime\ndate\n",
        b"cdatetime\ndatetime\n",
        b"ccollections\nOrderedDict\n",
        b"cuuid\nUUID\n",
        b"cbuiltins\ncomplex\n",
        b"cnumpy.core.multiarray\nscalar\n",
        b"cnumpy\ndtype\n",
        b"l",
        b"d",
        b"i__main__\nC\n",
        b"\x93",
        b"I01\n",
        b"L5L\n",
        b"F1.5\n",
        b"S'a'\n",
        b"Va\\u0041\n",
        b"U\x01a",
        b"ccopyreg\n_reconstructor\n",
        b"ccopyreg\n__newobj__\n",
        b"cbuiltins\nset\n",
        b"cdatetime\ntimedelta\n",
        b"cfractions\nFraction\n",
        b"cpathlib\nPosixPath\n",
        b"ccollections\ndeque\n",
        b"c_codecs\nencode\n",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..60).prop_map(|pieces| {
        let mut program = pieces.concat();
        program.push(b'.');
        program
    })
}

fn convert_every_way(tree: &dask_pickle::Tree) {
    let _ = from_tree::<serde_json::Value>(tree);
    let _ = from_tree::<String>(tree);
    let _ = from_tree::<Vec<f64>>(tree);
    let _ = from_tree::<BTreeMap<String, i64>>(tree);
    let _ = from_tree::<dask_pickle::DateTime>(tree);
    let _ = from_tree::<dask_pickle::BigInt>(tree);
    let _ = from_tree::<dask_pickle::Set<Vec<u8>>>(tree);
    let _ = from_tree::<Result<i32, String>>(tree);
    if let Ok(value) = Value::from_view(tree.root()) {
        // Whatever was read can be written, and then means the same.
        if let Ok(pickle) = to_vec(&value) {
            let again = read(pickle, Vec::new(), &Limits::default()).unwrap();
            let _ = Value::from_view(again.root()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_round_trip(value in value()) {
        let pickle = to_vec(&value).unwrap();
        let tree = read(pickle.clone(), Vec::new(), &Limits::default()).unwrap();
        prop_assert_eq!(&Value::from_view(tree.root()).unwrap(), &value);
        prop_assert_eq!(&from_tree::<Value>(&tree).unwrap(), &value);
        prop_assert_eq!(tree.consumed(), pickle.len());
    }

    #[test]
    fn templates_inside_values_are_the_values(left in value(), right in value()) {
        let parts = vec![Template::of(&left).unwrap(), Template::of(&right).unwrap()];
        prop_assert_eq!(to_vec(&parts).unwrap(), to_vec(&vec![left, right]).unwrap());
    }

    #[test]
    fn json_round_trips(text in "\\PC{0,20}", numbers in proptest::collection::vec(any::<f64>(), 0..5), int in any::<i64>()) {
        let value = serde_json::json!({ "text": text, "numbers": numbers, "int": int, "none": null, "nested": [[true]] });
        prop_assert_eq!(from_slice::<serde_json::Value>(&to_vec(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(tree) = read(bytes, vec![Bytes::from_static(b"buffer")], &Limits::default()) {
            convert_every_way(&tree);
        }
    }

    #[test]
    fn random_programs_do_not_panic(program in program()) {
        if let Ok(mut tree) = read(program, vec![Bytes::from_static(b"buffer")], &Limits::default()) {
            tree.set_limits(Limits { items: 10_000, depth: 50, ..Limits::default() });
            convert_every_way(&tree);
        }
    }

    #[test]
    fn cut_pickles_do_not_panic(value in value(), cut in any::<proptest::sample::Index>()) {
        let mut pickle = to_vec(&value).unwrap();
        pickle.truncate(cut.index(pickle.len()));
        prop_assert!(read(pickle, Vec::new(), &Limits::default()).is_err());
    }
}
