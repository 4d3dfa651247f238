//! Python values as JSON, and back, in the notation that scripts rely on.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dask_client::{Gathered, Node, PythonError};
use dask_pickle::{Kind, View};
use dask_wire::Value as Wire;
use dask_wire::family::{CollectionKind, Decoded};
use dask_wire::numpy::{Element, NdArray};
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
pub(crate) fn of_error(error: &PythonError) -> Json {
    let class = match error.module.as_str() {
        "" | "builtins" => error.class.clone(),
        module => format!("{module}.{}", error.class),
    };
    let frames: Vec<Json> = error
        .traceback
        .iter()
        .map(|frame| json!({ "file": frame.file, "line": frame.line, "function": frame.function }))
        .collect();
    json!({ "error": { "type": class, "message": error.message, "traceback": frames } })
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

fn object(class: &str) -> Json {
    tagged("$python", json!({ "class": class }))
}

fn shown_as(class: &str, repr: String) -> Json {
    tagged("$python", json!({ "class": class, "repr": repr }))
}

/// An object if all keys are texts, else pairs.
fn dict(pairs: Vec<(Json, Json)>) -> Json {
    if pairs.iter().all(|(key, _)| key.is_string()) {
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
    fn decoded(&mut self, value: &Decoded, depth: usize) -> Json {
        match value {
            Decoded::Pickle(tree) => self.view(tree.root(), depth),
            Decoded::Bytes(data) | Decoded::ByteArray(data) | Decoded::Memoryview { data, .. } => bytes(data),
            Decoded::Array(array) => ndarray(array),
            Decoded::Arrow { stream, .. } => tagged("$arrow", STANDARD.encode(stream)),
            Decoded::Msgpack(value) => self.wire(value, depth),
            Decoded::Collection { kind, items } => {
                let Some(depth) = depth.checked_sub(1) else { return object(kind.name()) };
                match kind {
                    CollectionKind::Dict => {
                        let pairs = items.iter().map(|(key, value)| {
                            let key = key.as_ref().map_or(Json::Null, |key| self.wire(key, depth));
                            (key, self.decoded(value, depth))
                        });
                        dict(pairs.collect())
                    }
                    _ => Json::Array(items.iter().map(|(_, item)| self.decoded(item, depth)).collect()),
                }
            }
            Decoded::Opaque { type_name, .. } => object(type_name),
            Decoded::Unserializable(text) => shown_as("unserializable", text.clone()),
            other => object(&other.describe()),
        }
    }

    fn view(&mut self, view: View<'_>, depth: usize) -> Json {
        self.left = self.left.saturating_sub(1);
        let Some(deeper) = depth.checked_sub(1).filter(|_| self.left > 0) else { return object("…") };
        match view.kind() {
            Kind::None => Json::Null,
            Kind::Bool => Json::from(view.as_bool()),
            Kind::Int => Json::from(view.as_i64()),
            Kind::BigInt => match view.to_bigint() {
                Some(value) => match u64::try_from(&value) {
                    Ok(value) => Json::from(value),
                    Err(_) => tagged("$int", value.to_string()),
                },
                None => Json::Null,
            },
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
                Some((module, name)) => shown_as("type", format!("<{module}.{name}>")),
                None => object("type"),
            },
            _ => self.object(view, deeper),
        }
    }

    fn object(&mut self, view: View<'_>, depth: usize) -> Json {
        if let Ok(array) = NdArray::from_view(view) {
            return ndarray(&array);
        }
        let class = view.class_name().map_or_else(
            || "object".to_owned(),
            |(module, name)| match module {
                "builtins" => name.to_owned(),
                module => format!("{module}.{name}"),
            },
        );
        // Numbers of NumPy, and containers of the standard library, are what they hold.
        if (class.starts_with("numpy.") || class.starts_with("collections."))
            && let Ok(plain) = dask_pickle::from_view::<dask_pickle::Value>(view)
        {
            return self.plain(&plain, depth);
        }
        match dask_pickle::from_view::<String>(view) {
            Ok(text) => shown_as(&class, text),
            Err(_) => object(&class),
        }
    }

    fn plain(&mut self, value: &dask_pickle::Value, depth: usize) -> Json {
        use dask_pickle::Value;
        let Some(deeper) = depth.checked_sub(1) else { return object("…") };
        match value {
            Value::None => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Int(value) => Json::from(*value),
            Value::BigInt(value) => tagged("$int", value.to_string()),
            Value::Float(value) => float(*value),
            Value::Str(text) => Json::from(text.as_str()),
            Value::Bytes(data) | Value::ByteArray(data) => bytes(data),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
                Json::Array(items.iter().map(|item| self.plain(item, deeper)).collect())
            }
            Value::Dict(pairs) => dict(
                pairs
                    .iter()
                    .map(|(key, value)| (self.plain(key, deeper), self.plain(value, deeper)))
                    .collect(),
            ),
            Value::Object(inner) if !inner.pairs.is_empty() => dict(
                inner
                    .pairs
                    .iter()
                    .map(|(key, value)| (self.plain(key, deeper), self.plain(value, deeper)))
                    .collect(),
            ),
            Value::Object(inner) => object(&inner.class),
            _ => object("object"),
        }
    }

    fn wire(&mut self, value: &Wire<'_>, depth: usize) -> Json {
        let Some(deeper) = depth.checked_sub(1) else { return object("…") };
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
}

fn ndarray(array: &NdArray) -> Json {
    let mut elements = array.elements().map(element);
    let data = nested(array.shape(), &mut elements);
    tagged("$ndarray", json!({ "dtype": array.dtype().to_string(), "shape": array.shape(), "data": data }))
}

/// Nested arrays of elements in C order.
fn nested(shape: &[usize], elements: &mut dyn Iterator<Item = Json>) -> Json {
    match shape.split_first() {
        None => elements.next().unwrap_or(Json::Null),
        Some((count, inner)) => (0..*count).map(|_| nested(inner, elements)).collect(),
    }
}

fn element(element: Element<'_>) -> Json {
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
        Element::Record(record) => record
            .fields()
            .map(|(_, values)| Json::Array(values.into_iter().map(self::element).collect()))
            .collect(),
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
                if let (Some((tag, value)), None) = (pairs.next(), pairs.next())
                    && let Some(result) = special(tag, value)
                {
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
