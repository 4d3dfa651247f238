//! Templates: holes, what they report, and how they are placed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use dask_pickle::{
    BigInt, CallTemplate, Callable, Decimal, Dict, Error, FillHoles, Global, Hole, Limits, Pickler, PyBytes,
    Ref, Set, Surrogate, Template, Tuple, Value, from_slice, read, to_vec,
};
use serde::Serialize;

/// Fills references with `("ref", key)` and calls with `("call", name, args...)`.
struct Spell;

impl FillHoles for Spell {
    fn reference(&mut self, out: &mut Pickler, key: &str) -> Result<(), Error> {
        out.str_memo("ref").str(key).tuple2();
        Ok(())
    }

    fn call(&mut self, out: &mut Pickler, call: &CallTemplate) -> Result<(), Error> {
        out.mark().str_memo("call").str(&call.callable.to_string());
        for arg in &call.args {
            arg.write_into(out, self)?;
        }
        out.tuple_from_mark();
        Ok(())
    }
}

fn add(args: Vec<Template>) -> CallTemplate {
    let callable = Callable::Name { module: "operator".to_owned(), qualname: "add".to_owned() };
    CallTemplate { callable, args, kwargs: Vec::new() }
}

#[derive(Serialize)]
struct Args<'a> {
    left: Ref<'a>,
    list: Vec<Ref<'a>>,
    call: CallTemplate,
    function: Global<'a>,
}

#[test]
fn holes_are_filled_in_place() {
    let nested = add(vec![Template::of(&Ref("c")).unwrap(), Template::of(&1).unwrap()]);
    let args = Args {
        left: Ref("a"),
        list: vec![Ref("b"), Ref("a")],
        call: nested,
        function: Global::new("operator:sub"),
    };
    let template = Template::of(&args).unwrap();
    assert_eq!(template.references().collect::<Vec<_>>(), ["a", "b", "a", "c"]);
    assert_eq!(template.holes().count(), 5);
    assert!(!template.is_plain() && template.has_text() && template.has_globals() && !template.is_scalar());
    assert_eq!(template.to_pickle(), Err(Error::Reference { key: "a".to_owned() }));

    let mut out = Pickler::new();
    template.write_into(&mut out, &mut Spell).unwrap();
    template.write_into(&mut out, &mut Spell).unwrap();
    out.tuple2();
    let tree = read(out.finish(), Vec::new(), &Limits::default()).unwrap();
    let Value::Tuple(both) = Value::from_view(tree.root()).unwrap() else { panic!("a tuple") };
    assert_eq!(both[0], both[1]);
    let reference = |key: &str| Value::Tuple(vec![Value::Str("ref".into()), Value::Str(key.into())]);
    assert_eq!(both[0].get("left"), Some(&reference("a")));
    assert_eq!(both[0].get("list"), Some(&Value::List(vec![reference("b"), reference("a")])));
    assert_eq!(
        both[0].get("call").unwrap().items().unwrap(),
        [Value::Str("call".into()), Value::Str("operator.add".into()), reference("c"), Value::Int(1)]
    );
    assert_eq!(
        both[0].get("function"),
        Some(&Value::Global { module: "operator".into(), qualname: "sub".into() })
    );
}

#[test]
fn templates_say_what_they_are() {
    let scalar = |template: Template| template.is_scalar() && template.as_str().is_none();
    assert!(scalar(Template::of(&()).unwrap()));
    assert!(scalar(Template::of(&true).unwrap()));
    assert!(scalar(Template::of(&1.5).unwrap()));
    assert!(scalar(Template::of(&i64::MIN).unwrap()));
    assert!(scalar(Template::of(&u128::MAX).unwrap()));
    assert!(scalar(Template::of(&BigInt(num_bigint::BigInt::from(7).pow(5000))).unwrap()));
    assert!(scalar(Template::of(&PyBytes::from(vec![1; 1000])).unwrap()));
    assert!(!Template::of(&[1]).unwrap().is_scalar());
    assert!(!Template::of(&Ref("x")).unwrap().is_scalar());
    for text in ["", "key", "日本", &"x".repeat(1000)] {
        let template = Template::of(text).unwrap();
        assert_eq!(template.as_str(), Some(text));
        assert!(template.has_text() && !template.is_scalar());
    }
    let surrogate = Template::of(&Surrogate::from(&b"\xed\xa0\x80"[..])).unwrap();
    assert!(surrogate.has_text() && surrogate.as_str().is_none());
    assert_eq!(Template::of(&vec!["a"]).unwrap().as_str(), None);
    assert!(!Template::of(&vec![1, 2]).unwrap().has_text());
    assert!(Template::of(&BTreeMap::from([("k", 1)])).unwrap().has_text());
    assert!(!Template::of(&Dict(vec![(1, Global::new("m:f"))])).unwrap().has_text());
    assert_eq!(Template::of(&Ref("k")).unwrap().as_reference(), Some("k"));
    assert_eq!(Template::of(&Ref("k")).unwrap(), Template::of_reference("k"));
    let call = add(vec![]);
    assert_eq!(Template::of(&call).unwrap().as_call(), Some(&call));
    assert_eq!(Template::of_call(call.clone()).unwrap(), Template::of(&call).unwrap());
    let texts: Vec<_> = Dict(vec![("a", "b")]).0.into_iter().flat_map(|(key, value)| [key, value]).collect();
    let template = Template::of(&Dict(vec![("a", "b")])).unwrap();
    assert_eq!(template.texts().collect::<Vec<_>>(), texts);
}

#[test]
fn references_reach_through_calls_and_depth_counts_them() {
    let mut template = Template::of(&Ref("deep")).unwrap();
    for level in 0..150 {
        template = Template::of_call(add(vec![template, Template::of(&level).unwrap()])).unwrap();
    }
    assert_eq!(template.references().collect::<Vec<_>>(), ["deep"]);
    for _ in 0..50 {
        template = Template::of(&[template]).unwrap();
    }
    assert_eq!(Template::of(&[&template]), Err(Error::Depth { limit: 200 }));
    assert!(
        matches!(Template::of(&add(vec![])).unwrap().to_pickle(), Err(Error::Call { callable }) if callable == "operator.add")
    );
}

#[test]
fn other_formats_see_plain_values() {
    assert_eq!(serde_json::to_string(&Ref("key")).unwrap(), "\"key\"");
    assert_eq!(serde_json::to_string(&Tuple((1, 2))).unwrap(), "[1,2]");
    assert_eq!(serde_json::to_string(&Set(vec![1])).unwrap(), "[1]");
    assert_eq!(serde_json::to_string(&Global::new("os.path")).unwrap(), "\"os:path\"");
    assert_eq!(serde_json::to_string(&Decimal("1.5".into())).unwrap(), "\"1.5\"");
    let big = BigInt(num_bigint::BigInt::from(10).pow(30));
    let text = serde_json::to_string(&big).unwrap();
    assert_eq!(text, format!("\"{big}\""));
    assert_eq!(serde_json::from_str::<BigInt>(&text).unwrap(), big);
    assert!(serde_json::to_string(&Template::of(&1).unwrap()).is_err());
    assert!(serde_json::to_string(&add(vec![])).is_err());
    let moment: dask_pickle::DateTime = serde_json::from_str("\"2020-01-02T03:04:05.5-01:30\"").unwrap();
    assert_eq!((moment.microsecond, moment.offset_seconds), (500_000, Some(-5400)));
    assert_eq!(serde_json::to_string(&moment).unwrap(), "\"2020-01-02T03:04:05.500000-01:30\"");
    for text in ["PT0S", "P1D", "-PT23H", "P3DT1M1.000001S", "PT1H0.5S", "P2DT1H"] {
        assert_eq!(text.parse::<dask_pickle::TimeDelta>().unwrap().to_string(), text);
    }
}

#[test]
fn what_python_cannot_hash_is_refused() {
    assert_eq!(to_vec(&Set(vec![BTreeMap::from([(1, 2)])])), Err(Error::Unhashable { kind: "a dict" }));
    assert_eq!(to_vec(&Dict(vec![(Set(vec![1]), 1)])), Err(Error::Unhashable { kind: "a set" }));
    assert!(to_vec(&Dict(vec![(vec![vec![1]], 1)])).is_ok());
    assert!(matches!(to_vec(&Global::new("a..b")), Err(Error::Name { .. })));
    assert!(matches!(to_vec(&Global::new(":x")), Err(Error::Name { .. })));
    assert!(matches!(to_vec(&Set(5)), Err(Error::Kind { .. })));
    assert!(matches!(to_vec(&(1, Ref("k"))), Err(Error::Reference { key }) if key == "k"));
}

#[test]
fn names_are_written_once() {
    let template = Template::of(&vec![Global::new("operator:add"); 1000]).unwrap();
    let pickle = template.to_pickle().unwrap();
    assert!(pickle.len() < 2100, "{}", pickle.len());
    let mut out = Pickler::new();
    out.mark();
    // More memo entries than a byte can count.
    for index in 0..300 {
        out.str_memo(&format!("key {index}"));
    }
    for index in (0..300).rev() {
        out.str_memo(&format!("key {index}"));
    }
    out.tuple_from_mark();
    let texts: Vec<String> = from_slice(&out.finish()).unwrap();
    assert!(texts.iter().eq(texts.iter().rev()));
    assert!(template.holes().all(|hole| matches!(hole, Hole::Global { .. })));
}
