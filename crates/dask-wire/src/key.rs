//! The key that names a task and its result on the cluster.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use dask_pickle::Pickler;

use crate::limits::Limits;
use crate::msgpack;
use crate::value::Value;

/// The name of a task and of its result.
///
/// A text is a key on every release, and what this client names its own tasks by. From 2023.9.0 on a tuple such as
/// `("x-1f2e", 0)` is one, too (before, the scheduler turned it into text). Cloning is cheap.
///
/// ```
/// use dask_wire::Key;
///
/// assert_eq!(Key::from("x-1f2e").to_string(), "x-1f2e");
/// assert_eq!(Key::from(("x-1f2e", 0)).to_string(), "('x-1f2e', 0)");
/// ```
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

/// Starts the references to keys other than text.
const MARK: &str = "\0key:";
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

    /// How a [`dask_pickle::Template`] refers to the key: a text key by itself, any other one by a text that starts with
    /// a mark which no text key of Dask's has.
    pub fn as_reference(&self) -> Cow<'_, str> {
        match self {
            Key::Str(text) if !text.starts_with(MARK) => Cow::Borrowed(text),
            key => {
                let bytes = msgpack::write_plain(&key.to_value());
                Cow::Owned(bytes.iter().fold(MARK.to_owned(), |text, byte| text + &format!("{byte:02x}")))
            }
        }
    }

    /// The key that a template refers to.
    pub fn from_reference(text: &str) -> Self {
        let read = |hexadecimal: &str| {
            let digits = hexadecimal.as_bytes().chunks(2);
            let bytes: Option<Vec<u8>> =
                digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
            Key::from_value(&msgpack::read_plain(&bytes?, &Limits::default()).ok()?)
        };
        text.strip_prefix(MARK).and_then(read).unwrap_or_else(|| Key::from(text))
    }

    /// Writes the key as a Python object.
    pub fn pickle(&self, out: &mut Pickler) {
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
impl From<i32> for Key {
    fn from(number: i32) -> Self {
        Key::Int(number.into())
    }
}
impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Key::Int(number)
    }
}
impl<A: Into<Key>, B: Into<Key>> From<(A, B)> for Key {
    fn from((a, b): (A, B)) -> Self {
        Key::Tuple([a.into(), b.into()].into())
    }
}
impl<A: Into<Key>, B: Into<Key>, C: Into<Key>> From<(A, B, C)> for Key {
    fn from((a, b, c): (A, B, C)) -> Self {
        Key::Tuple([a.into(), b.into(), c.into()].into())
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
    fn references_give_back_their_keys() {
        let keys = [
            Key::from("x"),
            Key::from(""),
            Key::from("\0key:no"),
            Key::from("\0key:a178"),
            Key::from(("x", 0)),
            Key::from(("x", -7_000_000_000i64, ("y", 1))),
            Key::Tuple([Key::Float(0.5f64.to_bits()), Key::None, Key::Bool(true)].into()),
        ];
        for key in &keys {
            assert_eq!(&Key::from_reference(&key.as_reference()), key);
        }
        assert_eq!(Key::from("x").as_reference(), "x");
        let texts: std::collections::HashSet<_> = keys.iter().map(|key| key.as_reference()).collect();
        assert_eq!(texts.len(), keys.len());
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
