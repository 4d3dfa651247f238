//! Objects of known and of unknown classes, as a real cluster sends them: the corpus of `dask-pickle`, in a module on the
//! workers.

use dask_client::pickle::{Date, DateTime, Dict, Global, Instance, Reduce, Template, Value};
use dask_client::{Client, ErrorKind, Future, Gathered, NdArray, py, python};
use dask_live_tests::{ROUND, TestCluster, releases_or};
use dask_local::Protocol;
use dask_wire::numpy::{DTypeKind, Element};
use serde::Serialize;
use serde_json::Value as Json;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Values and descriptions by number.
const CORPUS: &str = concat!(
    include_str!("../../crates/dask-pickle/tests/python/corpus.py"),
    "

CASES = [case for source in (objects, modern, dotted, zones, libraries) for case in source()]

def descriptions():
    return json.dumps([[repr(case[0])] + list(case[1:]) for case in CASES])

def value(at):
    return CASES[at][0]

def same(value, expected):
    return type(value) is type(expected) and value == expected
"
);

async fn on_each_release(test: impl AsyncFn(&Client) -> Outcome) {
    for release in releases_or(&["2.30.1", "2022.7.1", "2026.8.0"]) {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        std::fs::write(cluster.modules.path().join("corpus.py"), CORPUS).unwrap();
        let client = cluster.client().connect().await.unwrap();
        let outcome = tokio::time::timeout(ROUND, test(&client)).await;
        outcome.expect("not done in time").unwrap_or_else(|error| panic!("{release}: {error:?}"));
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn objects_mean_what_they_mean_in_python() {
    on_each_release(async |client| {
        let call = |name: &str| py(&format!("corpus:{name}")).workers(["first"]);
        let described: String = client.call(call("descriptions")).await?;
        type Case = (String, Option<String>, Option<String>, Json);
        let described: Vec<Case> = serde_json::from_str(&described)?;
        assert!(described.len() > 60, "{}", described.len());
        let mut results: Vec<Future<Gathered>> = Vec::new();
        for at in 0..described.len() {
            results.push(client.submit(call("value").arg(at)).await?);
        }
        let results = client.gather(&results).await?;
        for (found, (name, class, text, json)) in results.iter().zip(described) {
            if let Some(class) = class {
                let class = class.replace("__main__.", "corpus.");
                let class = class.strip_prefix("builtins.").unwrap_or(&class);
                assert_eq!(found.class_name(), class, "{name}");
            }
            if let Some(text) = text {
                assert_eq!(found.to::<String>()?, text, "{name}");
            }
            match json {
                // Subclasses of scalars hold them; arrays of numbers are sequences.
                Json::Array(pair) if pair.first().is_some_and(|tag| tag == "MyInt") => {
                    assert_eq!(found.to::<i64>()?, 7, "{name}");
                }
                Json::Array(pair) if pair.first().is_some_and(|tag| tag == "MyStr") => {}
                Json::Null if found.class_name() == "array.array" => assert_eq!(found.to::<Vec<i64>>()?, [1]),
                Json::Null => assert!(found.to::<Json>().is_err(), "{name}: {:?}", found.to::<Json>()),
                json => assert_eq!(found.to::<Json>()?, json, "{name}"),
            }
        }
        Ok(())
    })
    .await;
}

#[derive(serde::Deserialize, Debug, PartialEq)]
struct Order {
    x: i64,
    y: String,
}

#[tokio::test]
async fn classes_are_at_hand_beside_their_values() {
    on_each_release(async |client| {
        let corpus = |text: &str| python(&format!("import corpus, numpy\nreturn {text}"));
        let orders: Vec<Instance<Order>> = client
            .call(corpus("list(corpus.modern()) and [corpus.Data(1, 'b'), corpus.Slots(2, 'c')]"))
            .await?;
        assert_eq!(orders[0], Instance { class: "corpus.Data".into(), value: Order { x: 1, y: "b".into() } });
        assert_eq!(orders[1].class, "corpus.Slots");
        let classes: Vec<Instance<Value>> = client
            .call(corpus("[corpus.Point(1, 2), corpus.Color.RED, numpy.float32(0.5), 'a', {}]"))
            .await?;
        let classes: Vec<&str> = classes.iter().map(|of| of.class.as_str()).collect();
        assert_eq!(classes, ["corpus.Point", "corpus.Color", "numpy.float32", "str", "dict"]);

        // An exception that is a value is no text.
        let error = client.call::<String>(corpus("corpus.MyError('why')")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("corpus.MyError"), "{error}");

        // NumPy's scalars as what they mean, or as arrays without axes.
        let (day, moment): (Date, DateTime) = client
            .call(corpus("(numpy.datetime64('2024-02-29'), numpy.datetime64('2024-02-29T01:02:03.5', 'ns'))"))
            .await?;
        assert_eq!(
            (day.to_string(), moment.to_string()),
            ("2024-02-29".into(), "2024-02-29T01:02:03.500000".into())
        );
        let nanos: NdArray = client.call(corpus("numpy.datetime64(5, 'ns')")).await?;
        match nanos.get(&[]) {
            Some(Element::DateTime(Some(5), unit)) => assert_eq!(unit.unit, "ns"),
            other => panic!("{other:?}"),
        }
        let record: NdArray = client.call(corpus("numpy.array([(1, 0.5)], 'i4,f8')[0]")).await?;
        assert!(matches!(record.dtype().kind(), DTypeKind::Struct(fields) if fields.len() == 2));
        let long: NdArray = client.call(corpus("numpy.longdouble(2)")).await?;
        assert_eq!((long.ndim(), long.dtype().kind()), (0, &DTypeKind::Float));
        Ok(())
    })
    .await;
}

fn call(name: &'static str, args: impl Serialize) -> Template {
    Template::of(&Reduce { callable: Global::new(name), args }).unwrap()
}

#[tokio::test]
async fn objects_built_in_rust_are_what_they_say() {
    let cases = [
        (call("corpus:Point", (1, "y")), "corpus.Point(1, 'y')"),
        (call("corpus:Data", (1, "b")), "corpus.Data(1, 'b')"),
        (Template::of(&Global::new("corpus:Color.RED")).unwrap(), "corpus.Color.RED"),
        (call("corpus:Level", (3,)), "corpus.Level.HIGH"),
        (call("corpus:MyDict", (Dict(vec![("a", 1)]),)), "corpus.MyDict(a=1)"),
        (call("numpy:float32", (0.1,)), "numpy.float32(0.1)"),
        (call("numpy:int8", (-5,)), "numpy.int8(-5)"),
        (call("numpy:uint64", (u64::MAX,)), "numpy.uint64(2**64 - 1)"),
        (
            call("numpy:complex64", (Reduce { callable: Global::new("complex"), args: (1, 2) },)),
            "numpy.complex64(1 + 2j)",
        ),
        (call("numpy:datetime64", ("2024-02-29", "s")), "numpy.datetime64('2024-02-29', 's')"),
        (call("numpy:str_", ("ü",)), "numpy.str_('ü')"),
        (call("numpy:bool_", (true,)), "numpy.bool_(True)"),
    ];
    on_each_release(async |client| {
        // What makes the dataclass.
        client
            .call::<i64>(python("import corpus\nreturn len(list(corpus.modern()))").workers(["first"]))
            .await?;
        for (value, expression) in &cases {
            let check = python(&format!("import corpus, numpy\nreturn corpus.same(v, {expression})"));
            let same: bool = client.call(check.kwarg("v", value).workers(["first"])).await?;
            assert!(same, "{expression}");
        }
        Ok(())
    })
    .await;
}
