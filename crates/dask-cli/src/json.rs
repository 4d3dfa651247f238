//! Python values as JSON, and back, in the notation that scripts rely on.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dask_client::{Node, PythonError};
use dask_pickle::View;
use dask_wire::family::Decoded;
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value as Json, json};

/// How deep results are shown.
const DEPTH: usize = 100;

/// A task's result, to be shown as JSON.
pub(crate) type Result = Gathered;

/// Shows a result as JSON.
pub(crate) trait ToJson {
    fn to_json(&self) -> Json;
}

fn tagged(tag: &str, value: Json) -> Json {
    Json::Object(Map::from_iter([(tag.to_owned(), value)]))
}

fn bytes(bytes: &[u8]) -> Json {
    tagged("$bytes", Json::from(STANDARD.encode(bytes)))
}

fn float(value: f64) -> Json {
    Number::from_f64(value).map_or_else(
        || {
            let name = if value.is_nan() {
                "nan"
            } else if value > 0.0 {
                "inf"
            } else {
                "-inf"
            };
            tagged("$float", Json::from(name))
        },
        Json::Number,
    )
}

fn python(class: &str) -> Json {
    json!({ "$python": { "class": class } })
}
