//! The key that names a task and its result on the cluster.

use std::fmt;
use std::sync::Arc;

use dask_pickle::Pickler;

use crate::value::Value;

/// The name of a task and of its result.
///
/// This client names its own tasks by text, which every release takes. Other clients may use tuples such as
/// `("x-1f2e", 0)` from 2023.9.0 on (before, the scheduler turned them into text), so those are read and sent back
/// unchanged. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Key {
    /// A text key.
    Str(Arc<str>),
    /// An integer inside a tuple key (or, from 2023.9.0 on, a key by itself).
    Int(i64),
    /// A float inside a tuple key, by its bits.
    Float(u64),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// `None` inside a tuple key.
    None,
    /// A boolean inside a tuple key.
    Bool(bool),
    /// A tuple key.
    Tuple(Arc<[Key]>),
}

/// How deep a tuple key may nest.
const DEPTH: usize = 16;

impl Key {
    /// The text of a text key.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Key::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The key as it stands in a message.
    pub fn to_value(&self) -> Value<'static> {
        match self {
            Key::Str(text) => Value::from(text.to_string()),
            Key::Int(value) => Value::Int(*value),
            Key::Float(bits) => Value::Float(f64::from_bits(*bits)),
            Key::Bytes(bytes) => Value::from(bytes.to_vec()),
            Key::None => Value::Nil,
            Key::Bool(value) => Value::Bool(*value),
            Key::Tuple(parts) => parts.iter().map(Key::to_value).collect(),
        }
    }

    /// Reads a key from a message; `None` if the value cannot be one.
    pub fn from_value(value: &Value<'_>) -> Option<Key> {
        Self::read(value, DEPTH)
    }

    fn read(value: &Value<'_>, depth: usize) -> Option<Key> {
        Some(match value {
            Value::Str(text) => Key::Str(Arc::from(text.as_ref())),
            Value::Int(value) => Key::Int(*value),
            Value::Float(value) => Key::Float(value.to_bits()),
            Value::Bin(bytes) => Key::Bytes(Arc::from(bytes.as_ref())),
            Value::Nil => Key::None,
            Value::Bool(value) => Key::Bool(*value),
            Value::Array(parts) => {
                let depth = depth.checked_sub(1)?;
                Key::Tuple(parts.iter().map(|part| Self::read(part, depth)).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Writes the key as a Python object.
    pub(crate) fn pickle(&self, out: &mut Pickler) {
        match self {
            Key::Str(text) => out.str(text),
            Key::Int(value) => out.int(*value),
            Key::Float(bits) => out.float(f64::from_bits(*bits)),
            Key::Bytes(bytes) => out.bytes(bytes),
            Key::None => out.none(),
            Key::Bool(value) => out.bool(*value),
            Key::Tuple(parts) => {
                out.mark();
                parts.iter().for_each(|part| part.pickle(out));
                out.tuple_from_mark()
            }
        };
    }
}

impl fmt::Display for Key {
    /// As Python's `str(key)` shows it: text bare, tuples in parentheses with quoted parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Str(text) => f.write_str(text),
            Key::Int(value) => write!(f, "{value}"),
            Key::Float(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Key::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Key::None => f.write_str("None"),
            Key::Bool(value) => f.write_str(if *value { "True" } else { "False" }),
            Key::Tuple(parts) => {
                f.write_str("(")?;
                for (at, part) in parts.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    match part {
                        Key::Str(text) => write!(f, "'{text}'")?,
                        part => write!(f, "{part}")?,
                    }
                }
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::Str(Arc::from(text))
    }
}
impl From<String> for Key {
    fn from(text: String) -> Self {
        Key::Str(Arc::from(text))
    }
}
impl From<Arc<str>> for Key {
    fn from(text: Arc<str>) -> Self {
        Key::Str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuple_keys_survive_the_wire() {
        let wire: Value<'_> = Value::Array(vec![
            Value::from("x-1"),
            Value::Int(0),
            Value::Array(vec![Value::from("y"), Value::Nil]),
        ]);
        let key = Key::from_value(&wire).unwrap();
        assert_eq!(key.to_string(), "('x-1', 0, ('y', None))");
        assert_eq!(key.to_value(), wire);
    }

    #[test]
    fn absurd_nesting_is_no_key() {
        let mut value: Value<'_> = Value::Int(1);
        for _ in 0..40 {
            value = Value::Array(vec![value]);
        }
        assert_eq!(Key::from_value(&value), None);
    }
}
