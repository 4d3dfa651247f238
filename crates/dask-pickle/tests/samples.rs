//! Pickles of programs that a test does not run: Python 2, cloudpickle, numpy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use dask_pickle::{How, Limits, Tree, from_tree, from_view, read};

fn tree(pickle: &'static [u8]) -> Tree {
    read(pickle, Vec::new(), &Limits::default()).unwrap()
}

/// `[u'\xe9\u20ac\n', 'abc', "caf\xc3\xa9'", 10L, 2**70, True, {'a': 1.5}, (1, 2, 3, 4), Old(), set([1]),
/// OrderedDict([('b', 1)]), u'\U0001f600', date(2020, 1, 2)]`, as Python 2.7 pickles it.
#[test]
fn python_2() {
    let pickles: [&[u8]; 3] = [
        b"(lp1\nV\xe9\\u20ac\\u000a\np2\naS'abc'\np3\naS\"caf\\xc3\\xa9'\"\np4\naL10L\naL1180591620717411303424L\naI01\n\
          a(dp5\nS'a'\nF1.5\nsa(I1\nI2\nI3\nI4\ntp6\na(i__main__\nOld\np7\n(dp8\nS'x'\nI1\nsbac__builtin__\nset\np9\n\
          ((lp10\nI1\natRp11\naccollections\nOrderedDict\np12\n((lp13\n(lp14\nS'b'\naI1\naatRp15\naV\\U0001f600\n\
          acdatetime\ndate\np16\n(S'\\x07\\xe4\\x01\\x02'\ntRp17\na.",
        b"]q\x01(X\x06\x00\x00\x00\xc3\xa9\xe2\x82\xac\nq\x02U\x03abcq\x03U\x06caf\xc3\xa9'q\x04L10L\n\
          L1180591620717411303424L\nI01\n}q\x05U\x01aG?\xf8\x00\x00\x00\x00\x00\x00s(K\x01K\x02K\x03K\x04tq\x06\
          (c__main__\nOld\nq\x07oq\x08}q\tU\x01xK\x01sbc__builtin__\nset\nq\n(]q\x0bK\x01atRq\x0cccollections\n\
          OrderedDict\nq\r(]q\x0e]q\x0f(U\x01bK\x01eatRq\x10X\x04\x00\x00\x00\xf0\x9f\x98\x80cdatetime\ndate\nq\x11\
          (U\x04\x07\xe4\x01\x02tRq\x12e.",
        b"\x80\x02]q\x01(X\x06\x00\x00\x00\xc3\xa9\xe2\x82\xac\nq\x02U\x03abcq\x03U\x06caf\xc3\xa9'q\x04\x8a\x01\n\
          \x8a\t\x00\x00\x00\x00\x00\x00\x00\x00@\x88}q\x05U\x01aG?\xf8\x00\x00\x00\x00\x00\x00s(K\x01K\x02K\x03K\x04t\
          q\x06(c__main__\nOld\nq\x07oq\x08}q\tU\x01xK\x01sbc__builtin__\nset\nq\n]q\x0bK\x01a\x85Rq\x0cccollections\n\
          OrderedDict\nq\r]q\x0e]q\x0f(U\x01bK\x01ea\x85Rq\x10X\x04\x00\x00\x00\xf0\x9f\x98\x80cdatetime\ndate\nq\x11\
          U\x04\x07\xe4\x01\x02\x85Rq\x12e.",
    ];
    for pickle in pickles {
        let tree = tree(pickle);
        let items: Vec<_> = tree.root().items().collect();
        assert_eq!(items[0].as_str(), Some("é€\n"));
        assert_eq!(items[1].as_str(), Some("abc"));
        assert_eq!(items[2].as_bytes(), Some("café'".as_bytes()));
        assert_eq!(items[3].as_i64(), Some(10));
        assert_eq!(from_view::<i128>(items[4]).unwrap(), 1 << 70);
        assert_eq!(items[5].as_bool(), Some(true));
        assert_eq!(items[6].get("a").unwrap().as_f64(), Some(1.5));
        assert_eq!(from_view::<Vec<u8>>(items[7]).unwrap(), [1, 2, 3, 4]);
        let old = items[8].object().unwrap();
        assert_eq!((old.how(), old.class_name()), (How::Inst, Some(("__main__", "Old"))));
        assert_eq!(from_view::<serde_json::Value>(items[8]).unwrap(), serde_json::json!({"x": 1}));
        assert_eq!(from_view::<dask_pickle::Set<Vec<i32>>>(items[9]).unwrap().0, [1]);
        assert_eq!(from_view::<serde_json::Value>(items[10]).unwrap(), serde_json::json!({"b": 1}));
        assert_eq!(items[11].as_str(), Some("😀"));
        assert_eq!(from_view::<String>(items[12]).unwrap(), "2020-01-02");
    }
}

/// An exception whose class lives in `__main__`: its class is pickled by value.
#[test]
fn an_exception_of_a_class_by_value() {
    let tree = tree(
        b"\x80\x05\x95\x18\x01\x00\x00\x00\x00\x00\x00\x8c\x17cloudpickle.cloudpickle\x94\x8c\x14_make_skeleton_class\x94\
          \x93\x94(\x8c\x08builtins\x94\x8c\x04type\x94\x93\x94\x8c\x01E\x94h\x03\x8c\tException\x94\x93\x94\x85\x94}\x94\
          \x8c\n__module__\x94\x8c\x08__main__\x94s\x8c a4e7f25573b4424ab86028ba41c7c3d0\x94Nt\x94R\x94h\x00\
          \x8c\x0f_class_setstate\x94\x93\x94h\x0f}\x94(\x8c\x07__doc__\x94N\x8c\x0f__firstlineno__\x94K\x05\
          \x8c\n__module__\x94h\x0c\x8c\x15__static_attributes__\x94)u}\x94\x86\x94\x86R0\x8c\x03why\x94K\x02\x86\x94R\
          \x94.",
    );
    assert_eq!(tree.root().class_name(), Some(("__main__", "E")));
    let error = tree.root().object().unwrap();
    let args: Vec<_> = error.arguments().collect();
    assert_eq!((args[0].as_str(), args[1].as_i64()), (Some("why"), Some(2)));
    let message = from_tree::<serde_json::Value>(&tree).unwrap_err().to_string();
    assert!(message.contains("__main__.E"), "{message}");
}

#[test]
fn an_array_with_its_buffer_out_of_band() {
    let buffer = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let pickle: &[u8] = b"\x80\x05\x95k\x00\x00\x00\x00\x00\x00\x00\x8c\x13numpy._core.numeric\x94\x8c\x0b_frombuffer\x94\
        \x93\x94(\x97\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02i8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94\
        NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bK\x02\x85\x94\x8c\x01C\x94t\x94R\x94.";
    let tree = read(pickle, vec![buffer.clone()], &Limits::default()).unwrap();
    assert_eq!(tree.root().class_name(), Some(("numpy._core.numeric", "_frombuffer")));
    let args: Vec<_> = tree.root().object().unwrap().args().items().collect();
    assert_eq!(args[0].as_buffer(), Some((0, false)));
    assert_eq!(args[0].to_bytes().unwrap().as_ptr(), buffer.as_ptr());
    let dtype = args[1].object().unwrap();
    assert_eq!(dtype.class_name(), Some(("numpy", "dtype")));
    assert_eq!(dtype.args().item(0).unwrap().as_str(), Some("i8"));
    assert_eq!(dtype.state().unwrap().item(1).unwrap().as_str(), Some("<"));
    assert_eq!(from_view::<(usize,)>(args[2]).unwrap(), (2,));
    assert_eq!(from_tree::<Vec<i64>>(&tree).unwrap(), [0, 1]);
    assert_eq!(from_tree::<(f64, Option<u8>)>(&tree).unwrap(), (0.0, Some(1)));
    assert_eq!(from_tree::<serde_json::Value>(&tree).unwrap(), serde_json::json!([0, 1]));
    // What leads to another conversion names the class.
    let error = from_tree::<Vec<dask_pickle::Surrogate>>(&tree).unwrap_err();
    assert!(
        matches!(&error, dask_pickle::Error::Object { class, .. } if class.starts_with("numpy.")),
        "{error}"
    );
    let short = read(pickle, vec![buffer.slice(..8)], &Limits::default()).unwrap();
    assert!(from_tree::<Vec<i64>>(&short).is_err());
}

#[test]
fn an_empty_instance_of_a_list_is_empty() {
    // class L(list): pass; L() and L([1]), protocol 2.
    let read = |pickle: &'static [u8]| read(pickle, Vec::new(), &Limits::default()).unwrap();
    let (empty, filled) = (read(b"\x80\x02cm\nL\n)\x81."), read(b"\x80\x02cm\nL\n)\x81K\x01a."));
    assert_eq!(from_tree::<Vec<i64>>(&empty).unwrap(), Vec::<i64>::new());
    assert_eq!(
        from_tree::<Option<dask_pickle::List<Vec<i64>>>>(&empty).unwrap().unwrap().0,
        Vec::<i64>::new()
    );
    assert_eq!(from_tree::<Vec<i64>>(&filled).unwrap(), [1]);
    assert!(from_tree::<std::collections::BTreeMap<String, i64>>(&empty).unwrap().is_empty());
}

#[test]
fn time_zones_with_parts_of_a_second_are_not_cut() {
    // datetime.time(1, 2, 3, tzinfo=timezone(timedelta(seconds=60, microseconds=N))), protocol 0.
    let time = |micros: &str| {
        let pickle = format!(
            "cdatetime\ntime\n(I1\nI2\nI3\nI0\ncdatetime\ntimezone\n(cdatetime\ntimedelta\n(I0\nI60\nI{micros}\ntRtRtR."
        );
        read(pickle.into_bytes(), Vec::new(), &Limits::default()).unwrap()
    };
    let whole = from_tree::<dask_pickle::Time>(&time("0")).unwrap();
    assert_eq!(whole.offset_seconds, Some(60));
    for error in [
        from_tree::<dask_pickle::Time>(&time("5")).unwrap_err(),
        from_tree::<String>(&time("5")).unwrap_err(),
    ] {
        assert!(error.to_string().contains("datetime.time"), "{error}");
    }
}

#[test]
fn strings_and_bytes_are_slices_of_the_source() {
    let source = Bytes::from_static(b"\x80\x04\x8c\x05hello\x94C\x03abc\x86.");
    let tree = read(source.clone(), Vec::new(), &Limits::default()).unwrap();
    let (text, bytes): (&str, &[u8]) = from_tree(&tree).unwrap();
    let inside = source.as_ptr_range();
    assert!(inside.contains(&text.as_ptr()) && inside.contains(&bytes.as_ptr()));
    assert_eq!((text, bytes), ("hello", &b"abc"[..]));
}
