//! The one message that each side sends when a connection opens: the server first.

use crate::compress::Compression;
use crate::error::WireError;
use crate::value::Value;

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// The compression it would use, if both sides name the same.
    pub compression: Option<String>,
    /// Its Python version.
    pub python: Vec<i64>,
    /// The newest pickle protocol that it reads.
    pub pickle_protocol: i64,
}

impl Handshake {
    /// Reads a peer's handshake.
    ///
    /// # Errors
    /// The message is no Dask handshake.
    pub fn from_value(value: &Value<'_>) -> Result<Self, WireError> {
        let protocol = value.get("pickle-protocol").and_then(Value::as_i64);
        let (Some(pickle_protocol), Some(_)) = (protocol, value.get("python")) else {
            return Err(WireError::NotDask { found: format!("{} where a handshake belongs", value.kind()) });
        };
        let python = value.get("python").and_then(Value::as_array).unwrap_or_default();
        Ok(Self {
            compression: value.get("compression").and_then(Value::as_str).map(str::to_owned),
            python: python.iter().filter_map(Value::as_i64).collect(),
            pickle_protocol,
        })
    }
}

/// Our handshake.
///
/// `pickle_protocol` 5 allows the peer to send buffers beside a pickle instead of inside it.
pub fn ours(compression: Option<Compression>, pickle_protocol: i64) -> Value<'static> {
    // Dask requires a Python version here and uses it for nothing.
    Value::Map(vec![
        (Value::from("compression"), compression.map(Compression::name).into()),
        (Value::from("python"), [3i64, 9, 0].into_iter().collect()),
        (Value::from("pickle-protocol"), Value::from(pickle_protocol)),
    ])
}
