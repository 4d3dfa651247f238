//! Values, calls and errors against the real thing: what Rust sends, Python compares, and the other way round.

use std::collections::{BTreeMap, HashMap};

use dask_client::{Client, Future, Graph, py, python, python_module};
use dask_live_tests::{TestCluster, releases_or};
use dask_local::Protocol;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs a test against each release: the two ends of history and one from between.
async fn on_each_release(test: impl AsyncFn(&Client) -> Outcome) {
    let mut failures = Vec::new();
    for release in releases_or(&["2.30.1", "2022.7.1", "2026.8.0"]) {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        match tokio::time::timeout(dask_live_tests::PATIENCE, test(&client)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("{release}: {error:?}")),
            Err(_) => failures.push(format!("{release}: not done in time")),
        }
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const MODULE: &str = "
    import os
    loaded = []

    def count():
        loaded.append(1)
        return len(loaded)

    class Box:
        def __init__(self, value):
            self.value = value
        def doubled(self):
            return self.value * 2

    def fail(x):
        y = x + 1
        raise ValueError('no %d' % y)
";

#[tokio::test]
async fn python_text_runs_anywhere() {
    on_each_release(async |client| {
        let five: i64 = client.call(python("return a + b").kwarg("a", 2).kwarg("b", 3)).await?;
        assert_eq!(five, 5);
        let call = python(
            "
            import math
            if scale is None:
                return math.fsum(args)
            return [x * scale for x in args]
        ",
        );
        let sum: f64 = client.call(call.clone().args((1.5, 2.5)).kwarg("scale", None::<f64>)).await?;
        assert_eq!(sum, 4.0);
        let scaled: Vec<f64> = client.call(call.args((1.5, 2.5)).kwarg("scale", 2)).await?;
        assert_eq!(scaled, [3.0, 5.0]);

        // Compiled once in each of the two processes, however often it is called.
        let mut highest = 0;
        for _ in 0..8 {
            let count: i64 = client.call(python_module(MODULE, "count")).await?;
            highest = highest.max(count);
        }
        assert!(highest >= 4, "{highest}");
        let boxed = python_module(MODULE, "Box").arg("ab");
        let text: String = client.call(python("return box.doubled()").kwarg("box", boxed)).await?;
        assert_eq!(text, "abab");

        // References in text, and text in references.
        let three: Future<i64> = client.submit(python("return 3")).await?;
        let nine: i64 =
            client.call(python("return x['a'][0] ** 2").kwarg("x", HashMap::from([("a", [&three])]))).await?;
        assert_eq!(nine, 9);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn python_text_that_is_used_stays_compiled() {
    on_each_release(async |client| {
        const HERE: [&str; 1] = ["first"];
        let hot =
            python_module("loaded = []\ndef count():\n    loaded.append(1)\n    return len(loaded)", "count");
        let shown = python(
            "
            import traceback
            try:
                1 / 0
            except ZeroDivisionError:
                return traceback.format_exc()
        ",
        );
        // The same text with other parameters, which is not used again.
        client.call::<String>(shown.clone().kwarg("once", 1).workers(HERE)).await?;
        for round in 1..=7 {
            let count: usize = client.call(hot.clone().workers(HERE)).await?;
            assert_eq!(count, round, "executed again");
            let mut others: Vec<Future<usize>> = Vec::new();
            for n in 0..50 {
                others
                    .push(client.submit(python(&format!("return {round} * 100 + {n}")).workers(HERE)).await?);
            }
            assert_eq!(client.gather(&others).await?[49], round * 100 + 49);
            let text: String = client.call(shown.clone().kwarg("hot", 1).workers(HERE)).await?;
            assert!(text.contains("    1 / 0\n"), "{round}: {text}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn python_text_fails_with_its_file_and_line() {
    on_each_release(async |client| {
        let error = client.call::<()>(python_module(MODULE, "fail").arg(1)).await.unwrap_err();
        let raised = error.python().unwrap();
        assert_eq!((raised.class.as_str(), raised.message.as_str()), ("ValueError", "no 2"));
        let last = raised.traceback.last().unwrap();
        assert!(last.file.starts_with("<source "), "{last:?}");
        assert_eq!((last.line, last.function.as_str()), (17, "fail"));

        let error = client.call::<()>(python("x = 1\n\nreturn x / y").kwarg("y", 0)).await.unwrap_err();
        let raised = error.python().unwrap();
        assert_eq!(raised.class, "ZeroDivisionError");
        assert_eq!(raised.traceback.last().map(|frame| frame.line), Some(3));

        let error = client.call::<()>(python("return (")).await.unwrap_err();
        assert_eq!(error.python().unwrap().class, "SyntaxError", "{error:?}");
        let error = client.call::<()>(python_module(MODULE, "missing")).await.unwrap_err();
        assert!(error.to_string().contains("does not define 'missing'"), "{error:?}");
        let error = client.call::<()>(python("return 1").kwarg("a b", 1)).await.unwrap_err();
        assert!(error.to_string().contains("name of a parameter"), "{error:?}");

        // The worker's own traceback shows the line.
        let text: String = client
            .call(python(
                "
                import traceback
                try:
                    1 / 0
                except ZeroDivisionError:
                    return traceback.format_exc()
            ",
            ))
            .await?;
        assert!(text.contains("1 / 0"), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn references_and_calls_stand_anywhere() {
    on_each_release(async |client| {
        let three: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
        let four = py("operator:add").args((&three, 1));
        let literal = py("operator:mul").args((2, 3));

        // A dict in a list in a dict in a tuple, with references and calls at every level.
        type Deep = (i64, BTreeMap<String, Vec<BTreeMap<String, i64>>>, (i64, (i64, i64)));
        let inner = BTreeMap::from([
            ("ref", serde_value(&three)),
            ("call", serde_value(&four)),
            ("plain", serde_value(&7)),
            ("six", serde_value(&literal)),
        ]);
        let deep = (&three, BTreeMap::from([("list", vec![inner])]), (&four, (&literal, &three)));
        let identity = python("return args[0]");
        let found: Deep = client.call(identity.clone().arg(&deep)).await?;
        let expected = BTreeMap::from([("call", 4), ("plain", 7), ("ref", 3), ("six", 6)]);
        assert_eq!(found.0, 3);
        assert_eq!(found.1["list"][0], expected.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        assert_eq!(found.2, (4, (6, 3)));
        let found: Deep = client.call(python("return x").kwarg("x", &deep)).await?;
        assert_eq!(found.2, (4, (6, 3)));
        let class: String = client
            .call(
                python("return str([type(x).__name__ for x in (x, x[1], x[1]['list'], x[2])])")
                    .kwarg("x", &deep),
            )
            .await?;
        assert_eq!(class, "['tuple', 'dict', 'list', 'tuple']");

        // In sets, as dict keys, in objects that are made by a call.
        let found: Vec<i64> =
            client.call(py("builtins:sorted").arg(dask_client::pickle::Set([&three, &three]))).await?;
        assert_eq!(found, [3]);
        let keyed = dask_client::pickle::Dict(vec![(&three, "x")]);
        let found: HashMap<i64, String> = client.call(identity.clone().arg(keyed)).await?;
        assert_eq!(found, HashMap::from([(3, "x".to_owned())]));
        let made = dask_client::pickle::Reduce {
            callable: dask_client::pickle::Global::new("builtins:divmod"),
            args: (&three, 2),
        };
        let found: (i64, i64) = client.call(identity.clone().arg(made)).await?;
        assert_eq!(found, (1, 1));

        // Calls in calls in structures, with keyword arguments, of what only workers can import.
        let call = py("only_on_workers:double").arg(&four);
        let call = py("builtins:dict").kwarg("a", &call).kwarg("b", [(&call, 1)]);
        let found: HashMap<String, dask_client::pickle::Value> =
            client.call(py("builtins:dict").arg(HashMap::from([("k", &call)]))).await?;
        assert_eq!(format!("{:?}", found["k"]).matches("Int(8)").count(), 2, "{found:?}");

        // A text that equals the key of a reference in the same structure stays a text.
        let named: Future<i64> = client.submit(py("operator:add").args((1, 1)).key("plain-name")).await?;
        let found: (String, i64) = client.call(identity.clone().arg(("plain-name", &named))).await?;
        assert_eq!(found, ("plain-name".to_owned(), 2));

        // Within one graph, and failing inside of a nested call.
        let mut graph = Graph::new();
        let a = graph.add(py("operator:add").args((1, 2)));
        let b = graph.add(identity.clone().arg(HashMap::from([("k", (py("operator:neg").arg(&a), &a))])));
        let c = graph.add(python("return b['k'][0] + a").kwarg("a", &a).kwarg("b", &b));
        let (b, c): (HashMap<String, (i64, i64)>, i64) = client.compute(graph, (b, c)).await?;
        assert_eq!((b["k"], c), ((-3, 3), 0));
        let bad = py("operator:truediv").args((&three, 0));
        let error = client.call::<()>(identity.arg(HashMap::from([("k", bad)]))).await.unwrap_err();
        assert_eq!(error.python().unwrap().class, "ZeroDivisionError");
        Ok(())
    })
    .await;
}

/// Values of different types for one map.
fn serde_value(value: &impl serde::Serialize) -> dask_client::pickle::Template {
    dask_client::pickle::Template::of(value).unwrap()
}

dask_client::remote! {
    /// Python's own.
    fn gcd(a: i64, b: i64) -> i64 = "math:gcd";
    /// Of the workers' module.
    fn double(x: Vec<i64>) -> Vec<i64> = "only_on_workers:double";
    fn joined(between: String, parts: Vec<String>) -> String = "builtins:str.join";
    fn nothing() = "gc:enable";
}

#[tokio::test]
async fn declared_functions_are_called_like_functions() {
    on_each_release(async |client| {
        let four = client.call(gcd(12, 8).retries(1).priority(3)).await?;
        assert_eq!(four, 4);
        let twelve: Future<i64> = client.submit(gcd(24, 36)).await?;
        // Values, references to them, futures and other calls.
        assert_eq!(client.call(gcd(&twelve, 18)).await?, 6);
        assert_eq!(client.call(gcd(gcd(&twelve, 18), 4)).await?, 2);
        assert_eq!(client.call(double(vec![1, 2])).await?, [1, 2, 1, 2]);
        assert_eq!(client.call(double(&[7][..])).await?, [7, 7]);
        assert_eq!(client.call(joined("-", vec!["a".to_owned(), "b".to_owned()])).await?, "a-b");
        client.call(nothing()).await?;
        let mut graph = Graph::new();
        let node = graph.add(gcd(10, 4));
        let nested = graph.add(gcd(&node, gcd(&node, 6)));
        let list = graph.add(py("builtins:list").arg((&nested, 5)));
        let listed = graph.add(double(&list));
        let (two, doubled): (i64, Vec<i64>) = client.compute(graph, (node, listed)).await?;
        assert_eq!((two, doubled), (2, vec![2, 5, 2, 5]));
        Ok(())
    })
    .await;
}

/// Values that Rust need not understand: how Python makes each, what its class is called, and how Python knows it again.
const OPAQUE: &[(&str, &str, &str)] = &[
    (
        "collections.Counter('abca')",
        "collections.Counter",
        "v == collections.Counter('abca') and type(v) is collections.Counter",
    ),
    ("re.compile('a+', re.I)", "re.", "v.match('AA') and v.flags & re.I"),
    ("only_on_workers.Account(7)", "only_on_workers.Account", "v.balance == 7 and v.deposit(1) == 8"),
    ("(lambda n: lambda x: x * n)(3)", "function", "v(5) == 15"),
    ("functools.partial(int, base=2)", "functools.partial", "v('101') == 5"),
    ("range(2, 9, 3)", "range", "v == range(2, 9, 3)"),
    ("ValueError('x', 1)", "ValueError", "type(v) is ValueError and v.args == ('x', 1)"),
    ("bytearray(b'ab')", "bytearray", "v == bytearray(b'ab') and type(v) is bytearray"),
    (
        "memoryview(b'abcd').cast('H', [2])",
        "memoryview",
        "v.format == 'H' and v.shape == (2,) and bytes(v) == b'abcd'",
    ),
    ("memoryview(b'')", "memoryview", "bytes(v) == b''"),
    (
        "memoryview(numpy.arange(6, dtype='>i4').reshape(2, 3))",
        "memoryview",
        "v.shape == (2, 3) and numpy.array_equal(v, numpy.arange(6).reshape(2, 3))",
    ),
    (
        "memoryview(numpy.array([1 + 2j, 3]))",
        "memoryview",
        "numpy.array_equal(v, [1 + 2j, 3]) and v.format == 'Zd'",
    ),
    ("array.array('d', [1.5, -2])", "array.array", "v == array.array('d', [1.5, -2]) and v.typecode == 'd'"),
    (
        "numpy.arange(12.).reshape(3, 4)[:, ::2]",
        "numpy.ndarray",
        "(v == numpy.arange(12.).reshape(3, 4)[:, ::2]).all() and v.shape == (3, 2)",
    ),
    (
        "numpy.array([1, 'x', None], dtype=object)",
        "numpy.ndarray",
        "v.dtype == object and v.tolist() == [1, 'x', None]",
    ),
    (
        "numpy.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=9)",
        "numpy.ma.MaskedArray",
        "v.mask.tolist() == [False, True, False] and v.fill_value == 9 and v.sum() == 4",
    ),
    ("numpy.float32(1.5)", "numpy.float32", "v == 1.5 and type(v) is numpy.float32"),
    (
        "{'a': numpy.arange(3), 'b': only_on_workers.Account(2)}",
        "dict",
        "v['a'].tolist() == [0, 1, 2] and v['b'].balance == 2",
    ),
    (
        "[numpy.arange(100000), collections.Counter('x')]",
        "list",
        "v[0].sum() == 4999950000 and v[1] == collections.Counter('x')",
    ),
    (
        "types.SimpleNamespace(big=numpy.arange(70000), b=bytearray(b'xy'))",
        "types.SimpleNamespace",
        "v.big[-1] == 69999 and v.big.flags.writeable and v.b == bytearray(b'xy')",
    ),
    (
        "only_on_workers.registered(41)",
        "only_on_workers.Registered",
        "v.payload == b'41' * 3 and type(v).__name__ == 'Registered'",
    ),
];

const IMPORTS: &str =
    "import array, collections, functools, re, types\nimport numpy\nimport only_on_workers\n";

#[tokio::test]
async fn what_has_no_mapping_can_be_passed_on() {
    on_each_release(async |client| {
        let mut wrong = Vec::new();
        for (make, class, check) in OPAQUE {
            let kept: dask_client::Gathered = client.call(python(&format!("{IMPORTS}return {make}"))).await?;
            if kept.class_name() != *class && !(class.ends_with('.') && kept.class_name().starts_with(class))
            {
                wrong.push(format!("{make} is called {}", kept.class_name()));
            }
            let again = python(&format!("{IMPORTS}return bool({check})"));
            match client.call::<bool>(again.clone().kwarg("v", &kept)).await {
                Ok(true) => {}
                outcome => wrong.push(format!("{make} arrives changed: {outcome:?}")),
            }
            // Inside of other values, beside a reference.
            let future: Future<bool> = client.submit(python("return True")).await?;
            let nested = python(&format!("{IMPORTS}v = x['v'][0]\nreturn bool({check}) and x['f']"));
            let x = BTreeMap::from([("v", serde_value(&[&kept])), ("f", serde_value(&future))]);
            match client.call::<bool>(nested.kwarg("x", x)).await {
                Ok(true) => {}
                outcome => wrong.push(format!("{make} arrives changed in a dict: {outcome:?}")),
            }
        }
        assert!(wrong.is_empty(), "{}: {}", client.release(), wrong.join("\n"));
        Ok(())
    })
    .await;
}
