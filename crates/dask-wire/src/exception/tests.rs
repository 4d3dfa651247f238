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

fn group(message: &str, exceptions: Vec<PythonError>) -> PythonError {
    let mut group = PythonError::new("ExceptionGroup", message);
    group.exceptions = exceptions;
    group
}

#[test]
fn groups_print_as_trees_as_in_python() {
    let mut caused = PythonError::new("ValueError", "a");
    caused.cause = Some(Box::new(PythonError::new("TypeError", "why")));
    let missing = PythonError::new("FileNotFoundError", "[Errno 2] no");
    let nested = group("nested (2 sub-exceptions)", vec![PythonError::new("KeyError", "'k'"), missing]);
    let mut outer = group("outer (2 sub-exceptions)", vec![caused, nested]);
    outer.notes = vec!["a note\nof two lines".to_owned()];
    // As Python 3.13 prints it.
    let text = "\
  | ExceptionGroup: outer (2 sub-exceptions)
  | a note
  | of two lines
  +-+---------------- 1 ----------------
    | TypeError: why
    | 
    | The above exception was the direct cause of the following exception:
    | 
    | ValueError: a
    +---------------- 2 ----------------
    | ExceptionGroup: nested (2 sub-exceptions)
    +-+---------------- 1 ----------------
      | KeyError: 'k'
      +---------------- 2 ----------------
      | FileNotFoundError: [Errno 2] no
      +------------------------------------";
    assert_eq!(outer.to_string(), format!("  {}", text.trim_start()));
    let mut last = PythonError::new("RuntimeError", "last");
    last.context = Some(Box::new(outer.clone()));
    let handling =
        "\n\nDuring handling of the above exception, another exception occurred:\n\nRuntimeError: last";
    assert_eq!(last.to_string(), format!("{outer}{handling}"));
    outer.traceback = vec![TraceFrame { file: "a.py".into(), line: 9, function: "f".into() }];
    let start =
        "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 9, in f\n  | Exc";
    assert!(outer.to_string().starts_with(start), "{outer}");

    let many = (0..17).map(|n| PythonError::new("ValueError", n.to_string())).collect();
    let end = "    | ValueError: 14\n    +---------------- ... ----------------\n    | and 2 more exceptions\n    \
               +------------------------------------";
    assert!(group("many", many).to_string().ends_with(end));
    let deep = (0..40).fold(PythonError::new("ValueError", "x"), |inner, _| group("deep", vec![inner]));
    assert!(deep.to_string().contains("| ... (max_group_depth is 10)"));
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
    for (module, class, kind) in [
        ("builtins", "TimeoutError", Kind::Timeout),
        ("asyncio.exceptions", "TimeoutError", Kind::Timeout),
        ("concurrent.futures._base", "TimeoutError", Kind::Timeout),
        ("tornado.util", "TimeoutError", Kind::Timeout),
        ("distributed.comm.core", "TimeoutError", Kind::Timeout),
        ("distributed.deploy.utils", "WorkerStartTimeoutError", Kind::Timeout),
        ("socket", "timeout", Kind::Timeout),
        ("", "TimeoutError", Kind::Timeout),
        ("redis.exceptions", "TimeoutError", Kind::Other),
        ("asyncio.exceptions", "CancelledError", Kind::Cancelled),
        ("distributed.client", "FutureCancelledError", Kind::Cancelled),
        ("shop.orders", "CancelledError", Kind::Other),
        ("distributed.scheduler", "NoValidWorkerError", Kind::NoWorker),
        ("farm", "NoWorkerError", Kind::Other),
        ("farm", "KilledWorker", Kind::Other),
    ] {
        let error = PythonError { module: module.into(), ..PythonError::new(class, "x") };
        assert_eq!(error.kind(), kind, "{module}.{class}");
    }
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

/// `RuntimeError(…)` with these arguments.
fn raised(args: Vec<Python>) -> PythonError {
    let call = dask_pickle::Reduce {
        callable: dask_pickle::Global::of("builtins", "RuntimeError"),
        args: dask_pickle::Tuple(args),
    };
    PythonError::from_payloads(Some(&Payload::bytes(dask_pickle::to_vec(&call).unwrap())), None)
}

/// A value that is made by a call.
fn made(module: &str, name: &str, args: Vec<Python>) -> Python {
    let call = dask_pickle::Reduce {
        callable: dask_pickle::Global::of(module, name),
        args: dask_pickle::Tuple(args),
    };
    let tree = dask_pickle::read(dask_pickle::to_vec(&call).unwrap(), Vec::new(), &Default::default());
    Python::from_view(tree.unwrap().root()).unwrap()
}

#[test]
fn an_exception_as_an_argument_says_what_it_says() {
    let text = |text: &str| Python::Str(text.to_owned());
    let class = |name: &str| Python::Global { module: "builtins".into(), qualname: name.into() };
    let args = |args: &[Python]| Python::Tuple(args.to_vec());
    let dict = |pairs: Vec<(&str, Python)>| {
        Python::Dict(pairs.into_iter().map(|(name, value)| (text(name), value)).collect())
    };
    let tblib = "tblib.pickling_support";
    // Alone, and as older and newer releases of tblib pickle it.
    let each = |name: &str, of: &[Python]| {
        [
            made("builtins", name, of.to_vec()),
            made(tblib, "unpickle_exception", vec![class(name), args(of), Python::None, Python::None]),
            made(
                tblib,
                "unpickle_exception_with_attrs",
                vec![class(name), dict(vec![("__dict__", dict(Vec::new())), ("args", args(of))])],
            ),
        ]
    };
    for inner in each("ValueError", &[text("inner")]) {
        let lone = raised(vec![inner.clone()]);
        assert_eq!(lone.title(), "RuntimeError: inner");
        let beside = raised(vec![text("failed"), inner.clone()]);
        assert_eq!(beside.title(), "RuntimeError: ('failed', ValueError('inner'))");
        let listed = raised(vec![Python::List(vec![inner])]);
        assert_eq!(listed.title(), "RuntimeError: [ValueError('inner')]");
    }
    for inner in each("KeyError", &[text("k")]) {
        assert_eq!(raised(vec![inner]).title(), "RuntimeError: 'k'");
    }
    let missing = [Python::Int(2), text("No such file or directory"), text("/x")];
    for inner in each("FileNotFoundError", &missing) {
        assert_eq!(
            raised(vec![inner.clone()]).title(),
            "RuntimeError: [Errno 2] No such file or directory: '/x'"
        );
        assert_eq!(repr(&inner), "FileNotFoundError(2, 'No such file or directory')");
    }
}

#[test]
fn plain_objects_show_what_they_mean() {
    let of = |value: &dyn Fn() -> Vec<u8>| {
        let tree = dask_pickle::read(value(), Vec::new(), &dask_pickle::Limits::default()).unwrap();
        Python::from_view(tree.root()).unwrap()
    };
    macro_rules! shown {
        ($($value:expr => $repr:literal, $str:literal;)*) => {$(
            let value = of(&|| dask_pickle::to_vec(&$value).unwrap());
            assert_eq!((repr(&value).as_str(), super::repr::str_of(&value).as_str()), ($repr, $str));
        )*};
    }
    use dask_pickle::{Complex, Date, DateTime, Decimal, Global, Reduce, Time, TimeDelta, Uuid};
    let complex = |re, im| Complex { re, im };
    let range = |step| Reduce { callable: Global::of("builtins", "range"), args: (0, 9, step) };
    let date = Date { year: 2020, month: 1, day: 2 };
    let time = Time { hour: 3, minute: 4, ..Time::default() };
    let exact = Time { second: 5, microsecond: 6, fold: true, offset_seconds: Some(-19_800), ..time };
    shown! {
        complex(1.0, 2.0) => "(1+2j)", "(1+2j)";
        complex(0.0, 1.0) => "1j", "1j";
        complex(-0.0, 1.0) => "(-0+1j)", "(-0+1j)";
        complex(1.5, f64::NAN) => "(1.5+nanj)", "(1.5+nanj)";
        complex(f64::INFINITY, -2e20) => "(inf-2e+20j)", "(inf-2e+20j)";
        range(1) => "range(0, 9)", "range(0, 9)";
        range(2) => "range(0, 9, 2)", "range(0, 9, 2)";
        Decimal("1.20".into()) => "Decimal('1.20')", "1.20";
        Uuid([5; 16]) => "UUID('05050505-0505-0505-0505-050505050505')", "05050505-0505-0505-0505-050505050505";
        date => "datetime.date(2020, 1, 2)", "2020-01-02";
        time => "datetime.time(3, 4)", "03:04:00";
        DateTime::new(date, Time { offset_seconds: Some(0), ..time })
            => "datetime.datetime(2020, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)", "2020-01-02 03:04:00+00:00";
        DateTime::new(date, exact)
            => "datetime.datetime(2020, 1, 2, 3, 4, 5, 6, fold=1, \
                tzinfo=datetime.timezone(datetime.timedelta(days=-1, seconds=66600)))",
               "2020-01-02 03:04:05.000006-05:30";
        TimeDelta::default() => "datetime.timedelta(0)", "0:00:00";
        TimeDelta { days: -1, seconds: 0, microseconds: 5 }
            => "datetime.timedelta(days=-1, microseconds=5)", "-1 day, 0:00:00.000005";
        TimeDelta { days: 2, seconds: 18_000, microseconds: 0 }
            => "datetime.timedelta(days=2, seconds=18000)", "2 days, 5:00:00";
    }
}

#[test]
fn the_standard_library_says_more_than_its_arguments() {
    let of_text = |text: &str| Python::Str(text.to_owned());
    let said = |module: &str, class: &str, args: &[Python]| text::message(module, class, args, &|_| None);
    let command = Python::List(vec![of_text("false")]);
    for (module, class, args, message) in [
        (
            "subprocess",
            "CalledProcessError",
            vec![Python::Int(1), command.clone()],
            "Command '['false']' returned non-zero exit status 1.",
        ),
        (
            "subprocess",
            "CalledProcessError",
            vec![Python::Int(-9), of_text("x")],
            "Command 'x' died with <Signals.SIGKILL: 9>.",
        ),
        (
            "subprocess",
            "CalledProcessError",
            vec![Python::Int(-99), of_text("x")],
            "Command 'x' died with unknown signal 99.",
        ),
        (
            "subprocess",
            "TimeoutExpired",
            vec![command, Python::Float(0.5)],
            "Command '['false']' timed out after 0.5 seconds",
        ),
        (
            "json.decoder",
            "JSONDecodeError",
            vec![of_text("Extra data"), of_text("{}\nü x"), Python::Int(5)],
            "Extra data: line 2 column 3 (char 5)",
        ),
        ("json.decoder", "JSONDecodeError", vec![of_text("said: line 1")], "said: line 1"),
        (
            "socket",
            "gaierror",
            vec![Python::Int(-2), of_text("Name or service not known")],
            "[Errno -2] Name or service not known",
        ),
        ("socket", "timeout", vec![of_text("timed out")], "timed out"),
        ("ssl", "SSLError", vec![Python::Int(1), of_text("[SSL] no")], "[SSL] no"),
    ] {
        assert_eq!(said(module, class, &args), message);
    }
}
