//! Pickles made to exhaust a reader: each must end in a value or a typed error, soon, and without deep recursion.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use bytes::Bytes;
use dask_pickle::{Error, Kind, Limits, Template, Value, from_slice, from_tree, read};

fn tree(pickle: impl Into<Bytes>) -> Result<dask_pickle::Tree, Error> {
    read(pickle, Vec::new(), &Limits::default())
}

/// Runs on a small stack, so that recursion that grows with the input is found.
fn on_small_stack(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(body).unwrap().join().unwrap();
}

#[test]
fn a_million_nested_containers() {
    on_small_stack(|| {
        for (open, close) in [
            (&b"]"[..], &b"a"[..]),
            (b"(", b"t"),
            (b")", b"\x86"),
            (b"(", b"l"),
            (b"\x8f(", b"\x90"),
            (b"(", b"\x91"),
        ] {
            let depth = if open == b"]" { 1_000_000 } else { 100_000 };
            let mut pickle = b"\x80\x05".to_vec();
            pickle.extend_from_slice(&open.repeat(depth));
            if open != b"(" {
                pickle.extend_from_slice(&close.repeat(depth - 1));
            } else {
                pickle.extend_from_slice(&close.repeat(depth));
            }
            pickle.push(b'.');
            let tree = tree(pickle).unwrap();
            assert!(tree.node_count() >= depth);
            assert!(matches!(from_tree::<Value>(&tree), Err(Error::Depth { limit: 200 })));
            assert!(matches!(from_tree::<serde_json::Value>(&tree), Err(Error::Depth { .. })));
            assert!(matches!(Value::from_view(tree.root()), Err(Error::Depth { .. })));
        }
    });
}

#[test]
fn a_million_nested_objects() {
    on_small_stack(|| {
        let depth = 1_000_000;
        let mut pickle = b"\x80\x04".to_vec();
        pickle.extend_from_slice(b"cmodule\nName\n");
        pickle.extend_from_slice(b"\x94");
        pickle.extend_from_slice(&b"h\0".repeat(depth));
        pickle.extend_from_slice(&b"\x85R".repeat(depth));
        pickle.push(b'.');
        let tree = tree(pickle).unwrap();
        assert_eq!(tree.root().kind(), Kind::Object);
        assert!(from_tree::<serde_json::Value>(&tree).is_err());
        assert!(Value::from_view(tree.root()).is_err());
        assert_eq!(tree.root().class_name(), Some(("module", "Name")));
    });
}

#[test]
fn persistent_ids_and_enum_members_do_not_recurse() {
    on_small_stack(|| {
        let mut pickle = b"\x80\x04K\x01".to_vec();
        pickle.extend_from_slice(&b"Q".repeat(1_000_000));
        pickle.push(b'.');
        let tree = tree(pickle).unwrap();
        assert!(matches!(from_tree::<i64>(&tree), Err(Error::Depth { .. })));
        assert!(Value::from_view(tree.root()).is_err());
    });
}

/// A list of two references to a list of two references ...
fn doubling(levels: usize) -> Vec<u8> {
    let mut pickle = b"\x80\x04]\x94K\x01a".to_vec();
    for level in 0..levels {
        let index = u8::try_from(level).unwrap();
        pickle.extend_from_slice(&[b']', 0x94, b'(', b'h', index, b'h', index, b'e']);
    }
    pickle.push(b'.');
    pickle
}

#[test]
fn sharing_costs_nothing_to_read_and_hits_the_item_limit_in_conversions() {
    let small = tree(doubling(10)).unwrap();
    assert!(small.node_count() < 50);
    assert!(from_tree::<serde_json::Value>(&small).is_ok());

    let mut tree = tree(doubling(100)).unwrap();
    tree.set_limits(Limits { items: 100_000, ..Limits::default() });
    assert!(matches!(from_tree::<serde_json::Value>(&tree), Err(Error::Items { limit: 100_000 })));
    assert!(matches!(Value::from_view(tree.root()), Err(Error::Items { .. })));
    assert!(from_tree::<serde::de::IgnoredAny>(&tree).is_ok());
}

#[test]
fn a_long_text_used_often_hits_the_item_limit() {
    let mut pickle = b"\x80\x04X".to_vec();
    pickle.extend_from_slice(&1_000_000u32.to_le_bytes());
    pickle.extend_from_slice(&b"x".repeat(1_000_000));
    pickle.extend_from_slice(b"\x940](");
    pickle.extend_from_slice(&b"h\0".repeat(100_000));
    pickle.extend_from_slice(b"e.");
    let mut tree = tree(pickle).unwrap();
    assert_eq!(tree.root().len(), 100_000);
    tree.set_limits(Limits { items: 1_000_000, ..Limits::default() });
    assert!(matches!(from_tree::<Vec<String>>(&tree), Err(Error::Items { .. })));
    assert!(matches!(Value::from_view(tree.root()), Err(Error::Items { .. })));
    assert_eq!(from_tree::<Vec<&str>>(&tree).unwrap_err(), Error::Items { limit: 1_000_000 });
}

#[test]
fn cycles_are_read_and_end_conversions() {
    // l = []; l.append(l)
    let list = tree(&b"\x80\x04]\x94h\0a."[..]).unwrap();
    assert_eq!(list.root().item(0).unwrap().id(), list.root().id());
    assert!(matches!(from_tree::<serde_json::Value>(&list), Err(Error::Depth { .. })));
    // An object whose state holds it.
    let object = tree(&b"\x80\x04cm\nC\n)\x81\x94}\x8c\x01ah\0sb."[..]).unwrap();
    let state = object.root().object().unwrap().state().unwrap();
    assert_eq!(state.get("a").unwrap().id(), object.root().id());
    assert!(matches!(Value::from_view(object.root()), Err(Error::Depth { .. })));
}

#[test]
fn declared_sizes_are_checked_before_anything_is_allocated() {
    let huge = u64::MAX.to_le_bytes();
    for opcode in [0x8d, 0x8e, 0x96, 0x95] {
        let mut pickle = vec![0x80, 5, opcode];
        pickle.extend_from_slice(&huge);
        pickle.extend_from_slice(b"abc.");
        let error = tree(pickle).unwrap_err();
        assert!(matches!(error, Error::Truncated { offset: 2, needed: u64::MAX, left: 4, .. }), "{error}");
    }
    for opcode in [b'X', b'B'] {
        assert!(matches!(tree(vec![opcode, 255, 255, 255, 255]), Err(Error::Truncated { .. })));
    }
    // Signed lengths.
    for opcode in [b'T', 0x8b] {
        assert!(matches!(tree(vec![opcode, 255, 255, 255, 255]), Err(Error::Malformed { .. })));
        assert!(matches!(tree(vec![opcode, 255, 255, 255, 127]), Err(Error::Truncated { .. })));
    }
}

#[test]
fn long_decimal_integers_are_refused() {
    for opcode in [b'L', b'I'] {
        let mut pickle = vec![opcode];
        pickle.extend_from_slice(&b"9".repeat(5_000_000));
        pickle.extend_from_slice(if opcode == b'L' { b"L\n." } else { b"\n." });
        assert!(matches!(tree(pickle), Err(Error::Limit { what: "digits", .. })));
    }
}

#[test]
fn memo_indices_are_not_array_lengths() {
    let tree_ = tree(&b"\x80\x02]r\xff\xff\xff\xff0j\xff\xff\xff\xff."[..]).unwrap();
    assert_eq!(tree_.root().kind(), Kind::List);
    assert_eq!(
        tree(&b"]p18446744073709551615\n0g18446744073709551615\n."[..]).unwrap().root().kind(),
        Kind::List
    );
    assert!(matches!(tree(&b"h\x05."[..]), Err(Error::Malformed { opcode: "BINGET", .. })));
    let limits = Limits { memo: 10, ..Limits::default() };
    let mut pickle = b"\x80\x04]".to_vec();
    pickle.extend_from_slice(&[0x94; 20]);
    pickle.push(b'.');
    assert!(matches!(read(pickle, Vec::new(), &limits), Err(Error::Limit { what: "memo entries", .. })));
}

#[test]
fn item_and_size_limits_of_the_reader() {
    let limits = Limits { items: 1000, bytes: 10_000, ..Limits::default() };
    let mut pickle = b"\x80\x04(".to_vec();
    pickle.extend_from_slice(&b"N".repeat(2000));
    pickle.extend_from_slice(b"l.");
    assert!(matches!(read(pickle, Vec::new(), &limits), Err(Error::Limit { what: "items", .. })));
    assert!(matches!(read(vec![b'N'; 20_000], Vec::new(), &limits), Err(Error::Limit { what: "bytes", .. })));
}

#[test]
fn what_is_refused_says_why() {
    assert!(matches!(tree(&b"\x82\x01."[..]), Err(Error::Unsupported { opcode: "EXT1", .. })));
    assert!(matches!(tree(&b"\x80\x06N."[..]), Err(Error::Unsupported { opcode: "PROTO", .. })));
    assert!(matches!(tree(&b"\x00"[..]), Err(Error::Opcode { offset: 0, byte: 0 })));
    assert!(matches!(tree(&b""[..]), Err(Error::Truncated { .. })));
    assert!(matches!(tree(&b"."[..]), Err(Error::Malformed { opcode: "STOP", .. })));
    assert!(matches!(tree(&b"\x97."[..]), Err(Error::Buffer { index: 0, given: 0 })));
    assert!(matches!(tree(&b"(K\x01d."[..]), Err(Error::Malformed { opcode: "DICT", .. })));
    assert!(matches!(tree(&b"(R."[..]), Err(Error::Malformed { opcode: "REDUCE", .. })));
    assert!(matches!(tree(&b"K\x01K\x02a."[..]), Err(Error::Malformed { opcode: "APPEND", .. })));
    assert!(matches!(tree(&b"K\x01(b."[..]), Err(Error::Malformed { opcode: "BUILD", .. })));
    assert!(matches!(tree(&b"\x8c\x01\xff."[..]), Err(Error::Malformed { opcode: "SHORT_BINUNICODE", .. })));
    let error = from_slice::<i32>(b"\x80\x04cbuiltins\nValueError\n\x8c\x01x\x85R.").unwrap_err();
    assert!(error.to_string().contains("builtins.ValueError"), "{error}");
}

#[test]
fn values_nested_too_deeply_are_not_written() {
    #[derive(serde::Serialize)]
    struct Nested(Option<Box<Nested>>, ());
    let mut value = Nested(None, ());
    for _ in 0..1000 {
        value = Nested(Some(Box::new(value)), ());
    }
    assert!(matches!(Template::of(&value), Err(Error::Depth { limit: 200 })));
    assert!(Template::with_depth(&value, 2000).is_ok());
}

#[test]
fn types_that_recurse_without_consuming_anything_end() {
    #[derive(serde::Deserialize, Debug)]
    struct Endless(#[expect(dead_code, reason = "never made")] Option<Box<Endless>>);
    assert!(matches!(from_slice::<Endless>(b"K\x01."), Err(Error::Depth { .. })));
}

#[test]
fn quadratic_lookups_are_avoided() {
    // A dict of many keys converts in one pass.
    let mut pickle = b"\x80\x04}(".to_vec();
    for key in 0..200_000u32 {
        pickle.push(b'J');
        pickle.extend_from_slice(&key.to_le_bytes());
        pickle.push(b'N');
    }
    pickle.extend_from_slice(b"u.");
    let map: HashMap<u32, ()> = from_slice(&pickle).unwrap();
    assert_eq!(map.len(), 200_000);
}
