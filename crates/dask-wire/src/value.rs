//! The values inside a message: msgpack, Dask's own marks on top of it, and values that travel beside the message.

use std::borrow::Cow;

use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};

use crate::key::Key;
use crate::payload::Payload;

/// One value of a message. Borrows text and bytes from the message it was read from.
///
/// Python's peers decode arrays as tuples and do not tell lists from tuples on the wire. Map keys may be any value
/// (tuple keys are arrays).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `None`
    Nil,
    /// `True`, `False`
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// A float.
    Float(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// Bytes; also text that is not UTF-8, which no Dask peer sends.
    Bin(Cow<'a, [u8]>),
    /// A list or tuple.
    Array(Vec<Value<'a>>),
    /// A dict, in the peer's order.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// A set (`__Set__`, from 2020.12.0 on).
    Set(Vec<Value<'a>>),
    /// A value serialized by itself and sent beside the message.
    Payload(Box<Payload>),
}

impl<'a> Value<'a> {
    /// The value of a text key in a map; `None` if this is no map or lacks the key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.as_map()?.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// Takes the value of a text key out of a map.
    pub fn take(&mut self, key: &str) -> Option<Value<'a>> {
        let Value::Map(map) = self else { return None };
        let at = map.iter().position(|(name, _)| name.as_str() == Some(key))?;
        Some(map.swap_remove(at).1)
    }

    /// The text of a `Str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a `Bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of an integer that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            Value::UInt(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The value of an integer that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Int(value) => u64::try_from(*value).ok(),
            Value::UInt(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a float or an integer.
    #[expect(clippy::cast_precision_loss, reason = "what float(n) does in Python, too")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Int(value) => Some(*value as f64),
            Value::UInt(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The elements of an array or set.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Value::Array(items) | Value::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a map.
    pub fn as_map(&self) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The bytes of a `Bin` or the text's bytes of a `Str`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bin(bytes) => Some(bytes),
            Value::Str(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The payload of a value that travelled beside the message.
    pub fn as_payload(&self) -> Option<&Payload> {
        match self {
            Value::Payload(payload) => Some(payload),
            _ => None,
        }
    }

    /// Whether this is `Nil`.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// What this is, in a word, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::UInt(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Str(_) => "a string",
            Value::Bin(_) => "bytes",
            Value::Array(_) => "an array",
            Value::Map(_) => "a map",
            Value::Set(_) => "a set",
            Value::Payload(_) => "a serialized value",
        }
    }

    /// The same value owning its text and bytes.
    pub fn into_owned(self) -> Value<'static> {
        let all = |items: Vec<Value<'a>>| items.into_iter().map(Value::into_owned).collect();
        match self {
            Value::Nil => Value::Nil,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::UInt(value) => Value::UInt(value),
            Value::Float(value) => Value::Float(value),
            Value::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Value::Bin(bytes) => Value::Bin(Cow::Owned(bytes.into_owned())),
            Value::Array(items) => Value::Array(all(items)),
            Value::Set(items) => Value::Set(all(items)),
            Value::Map(pairs) => Value::Map(
                pairs.into_iter().map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            ),
            Value::Payload(payload) => Value::Payload(payload),
        }
    }

    /// Reads a typed value out of this one. Fields that the type does not name are passed over.
    ///
    /// # Errors
    /// Says what was expected and what was found.
    pub fn to<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Mismatch> {
        T::deserialize(self)
    }
}

/// A value was not of the shape that the caller reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(String);

impl de::Error for Mismatch {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Mismatch(message.to_string())
    }
}

impl<'de> de::Deserializer<'de> for &'de Value<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self {
            Value::Nil => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::UInt(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Str(text) => visitor.visit_borrowed_str(text),
            Value::Bin(bytes) => visitor.visit_borrowed_bytes(bytes),
            Value::Array(items) | Value::Set(items) => {
                visitor.visit_seq(de::value::SeqDeserializer::new(items.iter()))
            }
            Value::Map(pairs) => visitor.visit_map(Pairs { pairs: pairs.iter(), value: None }),
            Value::Payload(payload) => Err(Mismatch(format!(
                "a serialized value ({}) where plain data was expected",
                payload.describe()
            ))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.is_nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self {
            Value::Str(text) => visitor.visit_enum(text.as_ref().into_deserializer()),
            other => Err(Mismatch(format!("{} where a name was expected", other.kind()))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Mismatch> for &'de Value<'_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct Pairs<'de, 'a> {
    pairs: std::slice::Iter<'de, (Value<'a>, Value<'a>)>,
    value: Option<&'de Value<'a>>,
}

impl<'de> de::MapAccess<'de> for Pairs<'de, '_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(Mismatch("a map value was asked for before its key".to_owned())),
        }
    }
}

impl From<()> for Value<'_> {
    fn from((): ()) -> Self {
        Value::Nil
    }
}
impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}
impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Value::UInt(value), Value::Int)
    }
}
impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Value::from(value as u64)
    }
}
macro_rules! from_small_int {
    ($($int:ty)*) => {$(
        impl From<$int> for Value<'_> {
            fn from(value: $int) -> Self {
                Value::Int(i64::from(value))
            }
        }
    )*};
}
from_small_int!(i8 i16 i32 i64 u8 u16 u32);
impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Str(Cow::Borrowed(text))
    }
}
impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Str(Cow::Owned(text))
    }
}
impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bin(Cow::Owned(bytes))
    }
}
impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bin(Cow::Borrowed(bytes))
    }
}
impl From<Payload> for Value<'_> {
    fn from(payload: Payload) -> Self {
        Value::Payload(Box::new(payload))
    }
}
impl From<&Key> for Value<'static> {
    fn from(key: &Key) -> Self {
        key.to_value()
    }
}
impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Nil, Into::into)
    }
}
impl<'a, T: Into<Value<'a>>> FromIterator<T> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Value::Array(items.into_iter().map(Into::into).collect())
    }
}
impl<'a, K: Into<Value<'a>>, V: Into<Value<'a>>> FromIterator<(K, V)> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
