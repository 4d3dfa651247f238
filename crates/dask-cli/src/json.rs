//! Python values as JSON, and back, in the notation that scripts rely on.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dask_client::{Gathered, Node, PythonError};
use dask_pickle::{Kind, View};
use dask_wire::Value as Wire;
use dask_wire::exception::TraceFrame;
use dask_wire::family::{CollectionKind, Decoded};
use dask_wire::numpy::{DType, DTypeKind, Element, Field, NdArray};
use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value as Json, json};

/// How deep results are shown.
const DEPTH: usize = 100;
/// How many values of a result are shown: one used in many places counts each time.
const ITEMS: usize = 10_000_000;

/// A result as JSON. What is nested deeper or larger than can be shown says so in its place.
pub(crate) fn of_result(result: &Gathered) -> Json {
    Shown { left: ITEMS }.decoded(result, DEPTH)
}

/// A value of a message as JSON, with the same limits.
pub(crate) fn of_wire(value: &Wire<'_>) -> Json {
    Shown { left: ITEMS }.wire(value, DEPTH)
}

/// `{"error": …}` as scripts read it.
pub(crate) fn error(class: &str, message: &str, frames: &[TraceFrame]) -> Json {
    let frame =
        |frame: &TraceFrame| json!({ "file": frame.file, "line": frame.line, "function": frame.function });
    let frames: Vec<Json> = frames.iter().map(frame).collect();
    json!({ "error": { "type": class, "message": message, "traceback": frames } })
}

/// The same of an exception.
pub(crate) fn of_error(python: &PythonError) -> Json {
    let class = match python.module.as_str() {
        "" | "builtins" => python.class.clone(),
        module => format!("{module}.{}", python.class),
    };
    error(&class, &python.message, &python.traceback)
}

/// Reads JSON and keeps integers of any length: those beyond 64 bits as `{"$int": "…"}`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    match with_long_integers(text) {
        None => serde_json::from_str(text),
        // A mistake is told by its place in the text as it was given, where that shows it, too.
        Some(marked) => serde_json::from_str(&marked)
            .map_err(|error| serde_json::from_str::<T>(text).err().unwrap_or(error)),
    }
}

/// JSON with each integer beyond 64 bits marked; `None` if there is none. Of what is no JSON it makes no JSON.
fn with_long_integers(text: &str) -> Option<String> {
    let mut marked = String::new();
    let mut rest = text;
    let mut quoted = false;
    let mut copied = text;
    while let Some(first) = rest.chars().next() {
        let number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        let length = match first {
            '\\' if quoted => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            '"' => {
                quoted = !quoted;
                1
            }
            first if !quoted && number(first) => rest.find(|c| !number(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        if !quoted && is_long_integer(word) {
            let before = copied.len() - rest.len();
            marked.push_str(copied.get(..before).unwrap_or_default());
            marked.push_str(&format!("{{\"$int\":\"{word}\"}}"));
            copied = after;
        }
        rest = after;
    }
    if marked.is_empty() {
        return None;
    }
    Some(marked + copied)
}

/// Whether this is an integer as JSON writes it, and neither `i64` nor `u64` holds it.
fn is_long_integer(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let shortest = u64::MAX.to_string().len() - 1;
    digits.len() >= shortest
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && word.parse::<i64>().is_err()
        && word.parse::<u64>().is_err()
}

fn tagged(tag: &str, value: impl Into<Json>) -> Json {
    Json::Object(Map::from_iter([(tag.to_owned(), value.into())]))
}

fn bytes(bytes: &[u8]) -> Json {
    tagged("$bytes", STANDARD.encode(bytes))
}

fn float(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => tagged("$float", "nan"),
        None if value > 0.0 => tagged("$float", "inf"),
        None => tagged("$float", "-inf"),
    }
}

/// A number as far as others read it exactly, else a text.
fn integer(value: &impl std::fmt::Display) -> Json {
    let text = value.to_string();
    match text.parse::<u64>() {
        Ok(value) => Json::from(value),
        Err(_) => tagged("$int", text),
    }
}

/// A class with its module, which Python leaves out of names of its own.
fn with_module(class: &str) -> String {
    if class.contains('.') { class.to_owned() } else { format!("builtins.{class}") }
}

fn object(class: &str) -> Json {
    tagged("$python", json!({ "class": with_module(class) }))
}

fn shown_as(class: &str, repr: String) -> Json {
    tagged("$python", json!({ "class": with_module(class), "repr": repr }))
}

/// What stands for whatever is too large or too deep to be shown.
fn too_much() -> Json {
    tagged("$python", json!({ "class": "…" }))
}

/// What is pickled by its name. Whether that is a class is told by the name.
fn global(module: &str, name: &str) -> Json {
    let last = name.rsplit('.').next().unwrap_or(name);
    let own = ["bool", "bytes", "dict", "float", "int", "list", "object", "set", "str", "tuple", "type"];
    let shown = if module == "builtins" { name.to_owned() } else { format!("{module}.{name}") };
    match (module, name) {
        ("builtins", "Ellipsis") => shown_as("ellipsis", shown),
        ("builtins", "NotImplemented") => shown_as("NotImplementedType", shown),
        ("builtins", name) if own.contains(&name) => shown_as("type", format!("<class '{shown}'>")),
        _ if last.starts_with(char::is_uppercase) => shown_as("type", format!("<class '{shown}'>")),
        ("builtins", _) => shown_as("builtin_function_or_method", format!("<built-in function {shown}>")),
        _ => shown_as("function", format!("<function {shown}>")),
    }
}

/// An object if all keys are texts, else pairs. Pairs, too, where the object would read like one of the other notations.
fn dict(pairs: Vec<(Json, Json)>) -> Json {
    let alike = matches!(pairs.as_slice(), [(Json::String(key), _)] if key.starts_with('$'));
    if !alike && pairs.iter().all(|(key, _)| key.is_string()) {
        let text = |key| match key {
            Json::String(text) => text,
            _ => String::new(),
        };
        return Json::Object(pairs.into_iter().map(|(key, value)| (text(key), value)).collect());
    }
    tagged("$dict", pairs.into_iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>())
}

struct Shown {
    left: usize,
}

impl Shown {
    /// Counts one more value; the depth left for what it holds, unless the limits are reached.
    fn enter(&mut self, depth: usize) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        depth.checked_sub(1)
    }

    fn decoded(&mut self, value: &Decoded, depth: usize) -> Json {
        if let Decoded::Pickle(tree) = value {
            return self.view(tree.root(), depth);
        }
        let Some(deeper) = self.enter(depth) else { return too_much() };
        match value {
            Decoded::Bytes(data) | Decoded::ByteArray(data) | Decoded::Memoryview { data, .. } => bytes(data),
            Decoded::Array(array) => self.ndarray(array),
            Decoded::Arrow { stream, .. } => tagged("$arrow", STANDARD.encode(stream)),
            Decoded::Msgpack(value) => self.wire(value, depth),
            Decoded::Collection { kind: CollectionKind::Dict, items, .. } => {
                let pairs = items.iter().map(|(key, value)| {
                    let key = key.as_ref().map_or(Json::Null, |key| self.wire(key, deeper));
                    (key, self.decoded(value, deeper))
                });
                dict(pairs.collect())
            }
            Decoded::Collection { items, .. } => {
                Json::Array(items.iter().map(|(_, item)| self.decoded(item, deeper)).collect())
            }
            Decoded::Opaque { type_name, .. } => object(type_name),
            Decoded::Unserializable(text) => shown_as("unserializable", text.clone()),
            other => object(&other.class_name()),
        }
    }

    fn view(&mut self, view: View<'_>, depth: usize) -> Json {
        let Some(deeper) = self.enter(depth) else { return too_much() };
        match view.kind() {
            Kind::None => Json::Null,
            Kind::Bool => Json::from(view.as_bool()),
            Kind::Int => Json::from(view.as_i64()),
            Kind::BigInt => view.to_bigint().map_or(Json::Null, |value| integer(&value)),
            Kind::Float => float(view.as_f64().unwrap_or(f64::NAN)),
            Kind::Str => Json::from(view.as_str()),
            Kind::Surrogates => Json::from(String::from_utf8_lossy(view.as_str_bytes().unwrap_or_default())),
            Kind::Bytes | Kind::ByteArray | Kind::Buffer => bytes(&view.to_bytes().unwrap_or_default()),
            Kind::List | Kind::Tuple | Kind::Set | Kind::FrozenSet => {
                Json::Array(view.items().map(|item| self.view(item, deeper)).collect())
            }
            Kind::Dict => dict(
                view.pairs().map(|(key, value)| (self.view(key, deeper), self.view(value, deeper))).collect(),
            ),
            Kind::Global => match view.as_global() {
                Some((module, name)) => global(module, name),
                None => object("type"),
            },
            _ => self.object(view, deeper),
        }
    }

    fn object(&mut self, view: View<'_>, depth: usize) -> Json {
        if let Ok(array) = NdArray::from_view(view) {
            return self.ndarray(&array);
        }
        if let Some(container) = self.container(view, depth) {
            return container;
        }
        let class = match view.class_name() {
            Some(("array", "_array_reconstructor")) => "array.array".to_owned(),
            _ => view.python_class(),
        };
        // Numbers of NumPy are what they hold.
        if class.starts_with("numpy.")
            && let Ok(plain) = dask_pickle::from_view::<dask_pickle::Value>(view)
        {
            return self.plain(&plain, &class, depth);
        }
        match dask_pickle::from_view::<String>(view) {
            Ok(text) => shown_as(&class, text),
            Err(_) => object(&class),
        }
    }

    /// Dicts of the standard library as dicts, and its deque as a list.
    fn container(&mut self, view: View<'_>, depth: usize) -> Option<Json> {
        let object = view.object()?;
        let first = |at| object.args().item(at);
        let held = match view.class_name()? {
            ("collections", "OrderedDict" | "Counter") => first(0),
            ("collections", "defaultdict") => first(1),
            ("collections", "deque") => {
                let items = first(0).into_iter().flat_map(View::items).chain(object.items());
                return Some(Json::Array(items.map(|item| self.view(item, depth)).collect()));
            }
            _ => return None,
        };
        if held.is_some_and(|held| held.kind() != Kind::Dict) {
            return None;
        }
        let pairs = held.into_iter().flat_map(View::pairs).chain(object.pairs());
        Some(dict(pairs.map(|(key, value)| (self.view(key, depth), self.view(value, depth))).collect()))
    }

    fn plain(&mut self, value: &dask_pickle::Value, class: &str, depth: usize) -> Json {
        use dask_pickle::Value;
        let Some(deeper) = self.enter(depth) else { return too_much() };
        match value {
            Value::None => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Int(value) => Json::from(*value),
            Value::BigInt(value) => integer(value),
            Value::Float(value) => float(*value),
            Value::Str(text) => Json::from(text.as_str()),
            Value::Bytes(data) | Value::ByteArray(data) => bytes(data),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
                Json::Array(items.iter().map(|item| self.plain(item, class, deeper)).collect())
            }
            Value::Dict(pairs) => dict(
                pairs
                    .iter()
                    .map(|(key, value)| (self.plain(key, class, deeper), self.plain(value, class, deeper)))
                    .collect(),
            ),
            _ => object(class),
        }
    }

    fn wire(&mut self, value: &Wire<'_>, depth: usize) -> Json {
        let Some(deeper) = self.enter(depth) else { return too_much() };
        match value {
            Wire::Nil => Json::Null,
            Wire::Bool(value) => Json::from(*value),
            Wire::Int(value) => Json::from(*value),
            Wire::UInt(value) => Json::from(*value),
            Wire::Float(value) => float(*value),
            Wire::Str(text) => Json::from(text.as_ref()),
            Wire::Bin(data) => bytes(data),
            Wire::Array(items) | Wire::Set(items) => {
                Json::Array(items.iter().map(|item| self.wire(item, deeper)).collect())
            }
            Wire::Map(pairs) => dict(
                pairs.iter().map(|(key, value)| (self.wire(key, deeper), self.wire(value, deeper))).collect(),
            ),
            other => object(other.kind()),
        }
    }

    fn ndarray(&mut self, array: &NdArray) -> Json {
        // Empty lists count, too: a length of 0 makes many of them.
        let lengths = array.shape().iter().map(|length| (*length).max(1));
        let count = lengths.fold(1usize, usize::saturating_mul);
        let data = match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                nested(array.shape(), &mut array.elements().map(|one| element(one, array.dtype())))
            }
            None => too_much(),
        };
        tagged(
            "$ndarray",
            json!({ "dtype": array.dtype().to_string(), "shape": array.shape(), "data": data }),
        )
    }
}

/// Nested arrays of elements in C order.
fn nested(shape: &[usize], elements: &mut dyn Iterator<Item = Json>) -> Json {
    match shape.split_first() {
        None => elements.next().unwrap_or(Json::Null),
        Some((count, inner)) => (0..*count).map(|_| nested(inner, elements)).collect(),
    }
}

fn element(element: Element<'_>, dtype: &DType) -> Json {
    let time = |value: Option<i64>| value.map_or_else(|| tagged("$time", "NaT"), Json::from);
    match element {
        Element::Bool(value) => Json::from(value),
        Element::Int(value) => Json::from(value),
        Element::UInt(value) => Json::from(value),
        Element::Float(value) => float(value),
        Element::Complex { re, im } => json!([float(re), float(im)]),
        Element::DateTime(value, _) | Element::TimeDelta(value, _) => time(value),
        Element::Bytes(data) | Element::Void(data) => bytes(data),
        Element::Str(text) => Json::from(text.as_ref()),
        Element::Record(record) => {
            let DTypeKind::Struct(fields) = dtype.kind() else { return object("numpy.void") };
            let field = |(field, (_, values)): (&Field, (&str, Vec<Element<'_>>))| {
                nested(&field.shape, &mut values.into_iter().map(|one| self::element(one, &field.dtype)))
            };
            fields.iter().zip(record.fields()).map(field).collect()
        }
        _ => object("numpy.generic"),
    }
}

/// JSON as a Python argument: objects are dicts, arrays lists, and the notation of results is understood.
pub(crate) struct Argument<'a> {
    value: &'a Json,
    nodes: Option<&'a HashMap<&'a str, Node>>,
}

impl<'a> Argument<'a> {
    /// An argument without references.
    pub(crate) fn plain(value: &'a Json) -> Self {
        Self { value, nodes: None }
    }

    /// An argument in which `{"$ref": name}` stands for a node.
    pub(crate) fn with_nodes(value: &'a Json, nodes: &'a HashMap<&'a str, Node>) -> Self {
        Self { value, nodes: Some(nodes) }
    }

    fn of(&self, value: &'a Json) -> Self {
        Self { value, nodes: self.nodes }
    }
}

/// The name in `{"$ref": name}`.
pub(crate) fn reference(value: &Json) -> Option<&str> {
    match value.as_object() {
        Some(map) if map.len() == 1 => map.get("$ref")?.as_str(),
        _ => None,
    }
}

impl Serialize for Argument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => serializer.serialize_i64(value),
                (_, Some(value), _) => serializer.serialize_u64(value),
                (_, _, value) => serializer.serialize_f64(value.unwrap_or(f64::NAN)),
            },
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(&self.of(item)))?;
                seq.end()
            }
            Json::Object(map) => {
                if let (Some(nodes), Some(name)) = (self.nodes, reference(self.value)) {
                    return match nodes.get(name) {
                        Some(node) => node.serialize(serializer),
                        None => Err(S::Error::custom(format_args!("{name:?} is no task of the graph"))),
                    };
                }
                let mut pairs = map.iter();
                let lone = pairs.next().filter(|_| map.len() == 1);
                if let Some(pairs) = lone.and_then(|(tag, value)| dict_pairs(tag, value)) {
                    let mut out = serializer.serialize_map(Some(pairs.len()))?;
                    pairs
                        .iter()
                        .try_for_each(|(key, value)| out.serialize_entry(&self.of(key), &self.of(value)))?;
                    return out.end();
                }
                if let Some(result) = lone.and_then(|(tag, value)| special(tag, value)) {
                    return match result {
                        Ok(special) => special.serialize(serializer),
                        Err(error) => Err(S::Error::custom(error)),
                    };
                }
                let mut out = serializer.serialize_map(Some(map.len()))?;
                map.iter().try_for_each(|(key, value)| out.serialize_entry(key, &self.of(value)))?;
                out.end()
            }
        }
    }
}

/// The pairs of `{"$dict": [[key, value], …]}`.
fn dict_pairs<'a>(tag: &str, value: &'a Json) -> Option<Vec<(&'a Json, &'a Json)>> {
    let pairs = value.as_array().filter(|_| tag == "$dict")?;
    pairs
        .iter()
        .map(|pair| match pair.as_array().map(Vec::as_slice) {
            Some([key, value]) => Some((key, value)),
            _ => None,
        })
        .collect()
}

/// Values that JSON has no form of its own for.
enum Special {
    Bytes(Vec<u8>),
    Float(f64),
    Int(dask_pickle::BigInt),
}

impl Serialize for Special {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Special::Bytes(data) => serializer.serialize_bytes(data),
            Special::Float(value) => serializer.serialize_f64(*value),
            Special::Int(value) => value.serialize(serializer),
        }
    }
}

fn special(tag: &str, value: &Json) -> Option<Result<Special, String>> {
    let text = value.as_str()?;
    Some(match tag {
        "$bytes" => STANDARD.decode(text).map(Special::Bytes).map_err(|error| format!("$bytes: {error}")),
        "$float" => text.parse().map(Special::Float).map_err(|error| format!("$float {text:?}: {error}")),
        "$int" => text
            .parse()
            .map(|value| Special::Int(dask_pickle::BigInt(value)))
            .map_err(|error| format!("$int {text:?}: {error}")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_length_are_kept() {
        let long = "123456789012345678901234567890";
        let read = |text: &str| parse::<Json>(text).unwrap();
        assert_eq!(read(long), json!({ "$int": long }));
        assert_eq!(read(&format!("[-{long}, 1, {{\"a\": {long}}}]")), {
            json!([{ "$int": format!("-{long}") }, 1, { "a": { "$int": long } }])
        });
        // Neither what fits, nor texts, nor other numbers.
        for text in
            ["18446744073709551615", "-9223372036854775808", "1e300", "123456789012345678901.5", "null"]
        {
            assert_eq!(with_long_integers(text), None, "{text}");
        }
        assert_eq!(read(&format!("\"{long}\"")), long);
        assert_eq!(read(&format!("[\"a\\\"{long}\", \"é\"]")), json!([format!("a\"{long}"), "é"]));
        // What is no JSON stays none.
        for text in ["12345678901234567890123x", "0012345678901234567890123", "{123456789012345678901234: 1}"]
        {
            assert!(parse::<Json>(text).is_err(), "{text}");
        }
        assert!(read("18446744073709551616").is_object());
    }

    #[test]
    fn dicts_are_not_taken_for_other_notations() {
        let text = |text: &str| Json::from(text);
        assert_eq!(dict(vec![(text("$bytes"), text("x"))]), json!({ "$dict": [["$bytes", "x"]] }));
        assert_eq!(dict(vec![(text("$a"), 1.into()), (text("b"), 2.into())]), json!({ "$a": 1, "b": 2 }));
        assert_eq!(dict(vec![(1.into(), 2.into())]), json!({ "$dict": [[1, 2]] }));
    }

    fn shown(pickle: &[u8]) -> Json {
        let tree = dask_pickle::read(pickle.to_vec(), Vec::new(), &dask_pickle::Limits::default()).unwrap();
        Shown { left: ITEMS }.view(tree.root(), DEPTH)
    }

    #[test]
    fn objects_have_the_name_of_their_class() {
        let class = |name: &str| json!({ "$python": { "class": name } });
        assert_eq!(shown(b"cbuiltins\ncomplex\n(F1\nF2\ntR."), class("builtins.complex"));
        assert_eq!(shown(b"cfarm\nCow\n(tR."), class("farm.Cow"));
        assert_eq!(
            shown(b"carray\n_array_reconstructor\n(carray\narray\nVd\nI16\nV\ntR."),
            class("array.array")
        );
        let repr = |class: &str, repr: &str| json!({ "$python": { "class": class, "repr": repr } });
        assert_eq!(shown(b"cbuiltins\nint\n."), repr("builtins.type", "<class 'int'>"));
        assert_eq!(shown(b"cfarm\nCow\n."), repr("builtins.type", "<class 'farm.Cow'>"));
        assert_eq!(shown(b"cbuiltins\nEllipsis\n."), repr("builtins.ellipsis", "Ellipsis"));
        assert_eq!(shown(b"cfarm\nmilk\n."), repr("builtins.function", "<function farm.milk>"));
        // Containers of the standard library, with what they hold.
        assert_eq!(
            shown(b"ccollections\nOrderedDict\n(tR(Va\ncfarm\nCow\n(tRu."),
            json!({ "a": class("farm.Cow") })
        );
        assert_eq!(shown(b"ccollections\nCounter\n((dVa\nI2\nstR."), json!({ "a": 2 }));
        assert_eq!(
            shown(b"ccollections\ndefaultdict\n(cbuiltins\nlist\ntR(I1\nI2\nu."),
            json!({ "$dict": [[1, 2]] })
        );
        assert_eq!(shown(b"ccollections\ndeque\n((tI5\ntR(I1\nI2\ne."), json!([1, 2]));
        let typed = Decoded::ArrayArray {
            data: vec![1].into(),
            typecode: "B".into(),
            limits: dask_pickle::Limits::default(),
        };
        assert_eq!(Shown { left: ITEMS }.decoded(&typed, DEPTH), class("array.array"));
    }

    #[test]
    fn fields_of_records_are_what_they_are() {
        let field = |name: &str, code: &str, offset, shape| Field {
            name: name.to_owned(),
            dtype: DType::parse(code).unwrap(),
            offset,
            shape,
        };
        let inner = DType::record(vec![field("x", "|u1", 0, vec![])], 1).unwrap();
        let inner = Field { name: "n".to_owned(), dtype: inner, offset: 1, shape: vec![] };
        let fields = vec![field("a", "|i1", 0, vec![]), inner, field("b", "<i2", 2, vec![2, 1])];
        let array =
            NdArray::from_bytes(DType::record(fields, 6).unwrap(), [1], vec![5u8, 7, 1, 0, 2, 0]).unwrap();
        assert_eq!(Shown { left: ITEMS }.ndarray(&array)["$ndarray"]["data"], json!([[5, [7], [[1], [2]]]]));
    }

    #[test]
    fn the_limits_hold_for_every_kind_of_value() {
        let many = Wire::Array(vec![Wire::Array(vec![Wire::Nil; 10]); 10]);
        let mut shown = Shown { left: 15 };
        let text = shown.wire(&many, DEPTH).to_string();
        assert_eq!(text.matches("null").count(), 12, "{text}");
        assert_eq!(shown.left, 0);
        let mut deep = Wire::Nil;
        for _ in 0..1000 {
            deep = Wire::Array(vec![deep]);
        }
        assert!(of_wire(&deep).to_string().contains('…'));
    }
}
