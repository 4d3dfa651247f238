use super::repr::{float, repr};
use super::*;

#[test]
fn a_chain_prints_as_in_python() {
    let frame = |line, function: &str| TraceFrame { file: "a.py".into(), line, function: function.into() };
    let mut inner = PythonError::new("ValueError", "inner");
    inner.traceback = vec![frame(1, "f"); 5];
    let mut outer = PythonError::new("pkg", "outer");
    outer.module = "pkg.errors".into();
    outer.class = "OuterError".into();
    outer.traceback = vec![frame(9, "<module>")];
    outer.notes = vec!["a note".into()];
    outer.context = Some(Box::new(inner));
    let text = "Traceback (most recent call last):\n\
        \x20 File \"a.py\", line 1, in f\n  File \"a.py\", line 1, in f\n  File \"a.py\", line 1, in f\n\
        \x20 [Previous line repeated 2 more times]\n\
        ValueError: inner\n\n\
        During handling of the above exception, another exception occurred:\n\n\
        Traceback (most recent call last):\n  File \"a.py\", line 9, in <module>\n\
        pkg.errors.OuterError: outer\na note";
    assert_eq!(outer.to_string(), text);
    outer.suppress_context = true;
    assert!(outer.to_string().starts_with("Traceback (most recent call last):\n  File \"a.py\", line 9"));
    assert_eq!(PythonError::new("KeyboardInterrupt", "").to_string(), "KeyboardInterrupt");
}

#[test]
fn floats_and_texts_as_repr_writes_them() {
    for (value, text) in [
        (1.0, "1.0"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (1e15, "1000000000000000.0"),
        (1.5e-5, "1.5e-05"),
        (0.0001, "0.0001"),
        (1e300, "1e+300"),
        (f64::NAN, "nan"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(float(value), text);
    }
    let text = |text: &str| repr(&Python::Str(text.to_owned()));
    assert_eq!(text("it's"), "\"it's\"");
    assert_eq!(text("'\""), "'\\'\"'");
    assert_eq!(text("a\n\t\\\u{1}ü\u{7f}"), "'a\\n\\t\\\\\\x01ü\\x7f'");
    assert_eq!(repr(&Python::Bytes(b"a'\xff\n"[..].into())), "b\"a'\\xff\\n\"");
    assert_eq!(repr(&Python::Tuple(vec![Python::Int(1)])), "(1,)");
    assert_eq!(repr(&Python::Set(Vec::new())), "set()");
}

#[test]
fn kinds_by_class_and_message() {
    let error = PythonError::new("RuntimeError", "Error during deserialization of the task graph. This ...");
    assert_eq!(error.kind(), Kind::DeserializationOnScheduler);
    let error = PythonError::new("ImportError", "cannot import name 'x' from 'pkg.mod' (/pkg/mod.py)");
    assert_eq!(error.kind(), Kind::Import { name: Some("pkg.mod".to_owned()) });
    assert_eq!(PythonError::new("RuntimeError", "other").kind(), Kind::Other);
}

#[test]
fn an_exception_without_tblib_is_read_too() {
    // ValueError("x") with {"__notes__": ["n"]}, protocol 2.
    let pickle = b"\x80\x02c__builtin__\nValueError\nU\x01x\x85R}U\x09__notes__]U\x01nasb.";
    let error = PythonError::from_payloads(Some(&Payload::bytes(&pickle[..])), None);
    assert_eq!(error.to_string(), "ValueError: x\nn");
    assert_eq!(error.qualified_class(), "ValueError");
}

#[test]
fn an_exception_inside_of_itself_ends() {
    // A list that holds itself as an argument, and a class given by a number.
    let pickle = b"\x80\x02cbuiltins\nValueError\n]q\x00h\x00a\x85R.";
    let error = PythonError::from_payloads(Some(&Payload::bytes(&pickle[..])), None);
    assert_eq!(error.to_string(), "ValueError: <a list>");
    let error = PythonError::from_payloads(Some(&Payload::bytes(&b"\x80\x02K\x05K\x05\x85R."[..])), None);
    assert!(error.opaque, "{error}");
}
