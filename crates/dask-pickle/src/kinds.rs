//! Wrapper types for Python kinds that serde's data model does not know.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::{Error, magic};

/// The result of another task, by its key. With any other serde format it is just the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ref<'a>(pub &'a str);

impl Serialize for Ref<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(magic::REFERENCE, self.0)
    }
}

/// An importable object, passed by name.
///
/// Two globals are equal if they have the same module and name, however they were written.
#[derive(Debug, Clone, Eq)]
pub struct Global<'a> {
    name: Cow<'a, str>,
    split: usize,
}

impl<'a> Global<'a> {
    /// Names an object by `"module:qualname"`, or by `"module.name"` when no colon is there. A name with neither
    /// is a builtin.
    ///
    /// The colon form is needed for dotted names: `"datetime:datetime.fromisoformat"`. A name with an empty part
    /// is an error when it is pickled.
    pub fn new(name: impl Into<Cow<'a, str>>) -> Self {
        let name = name.into();
        if let Some(split) = name.find(':').or_else(|| name.rfind('.')) {
            return Self { split, name };
        }
        Self::of("builtins", &name)
    }

    /// Names an object by its module and its name in the module.
    pub fn of(module: &str, qualname: &str) -> Self {
        Self { split: module.len(), name: Cow::Owned(format!("{module}:{qualname}")) }
    }

    /// The module.
    pub fn module(&self) -> &str {
        self.name.get(..self.split).unwrap_or_default()
    }

    /// The name in the module, possibly dotted.
    pub fn qualname(&self) -> &str {
        self.name.get(self.split.saturating_add(1)..).unwrap_or_default()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |part: &str| part.split('.').any(|name| name.is_empty() || name.contains(['\n', '\r']));
        if bad(self.module()) || bad(self.qualname()) {
            return Err(Error::Name { name: self.name.clone().into_owned() });
        }
        Ok(())
    }
}

impl PartialEq for Global<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.module() == other.module() && self.qualname() == other.qualname()
    }
}

impl std::hash::Hash for Global<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.module().hash(state);
        self.qualname().hash(state);
    }
}

impl fmt::Display for Global<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module(), self.qualname())
    }
}

impl Serialize for Global<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.name.as_bytes().get(self.split) == Some(&b':') {
            return serializer.serialize_newtype_struct(magic::GLOBAL, &*self.name);
        }
        serializer.serialize_newtype_struct(magic::GLOBAL, &format_args!("{self}"))
    }
}

macro_rules! sequences {
    ($($(#[$doc:meta])* $name:ident $magic:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<T>(pub T);

        impl<T: Serialize> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct(magic::$magic, &self.0)
            }
        }

        impl<T> From<T> for $name<T> {
            fn from(items: T) -> Self {
                Self(items)
            }
        }
    )*};
}

sequences! {
    /// A sequence as a Python tuple.
    Tuple TUPLE;
    /// A sequence (or Rust tuple) as a Python list.
    List LIST;
    /// A sequence as a Python set. Sequences inside it become tuples, since Python cannot hash lists.
    Set SET;
    /// A sequence as a Python frozenset.
    FrozenSet FROZENSET;
}

macro_rules! byte_strings {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Bytes);

        impl<T: Into<Bytes>> From<T> for $name {
            fn from(bytes: T) -> Self {
                Self(bytes.into())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    )*};
}

byte_strings! {
    /// Python bytes.
    PyBytes;
    /// A Python bytearray.
    ByteArray;
    /// A str with lone surrogates, as the UTF-8 that Python's `surrogatepass` writes.
    Surrogate;
}

/// Serializes as bytes instead of as a sequence of integers.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for PyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Serialize for ByteArray {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(magic::BYTEARRAY, &Raw(&self.0))
    }
}

impl Serialize for Surrogate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(magic::SURROGATE, &Raw(&self.0))
    }
}

/// A Python int of any size.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BigInt(pub num_bigint::BigInt);

impl<T: Into<num_bigint::BigInt>> From<T> for BigInt {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_bigint(&self.0, serializer)
    }
}

pub(crate) fn serialize_bigint<S: Serializer>(
    value: &num_bigint::BigInt,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Digits<'a>(&'a num_bigint::BigInt);
    impl Serialize for Digits<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(self.0)
            } else {
                serializer.serialize_bytes(&self.0.to_signed_bytes_le())
            }
        }
    }
    if let Ok(small) = i64::try_from(value) {
        serializer.serialize_i64(small)
    } else if let Ok(small) = u64::try_from(value) {
        serializer.serialize_u64(small)
    } else {
        serializer.serialize_newtype_struct(magic::BIGINT, &Digits(value))
    }
}

/// Keys and values as a Python dict, in order. Keys may be of any hashable kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Dict<K, V>(pub Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Dict<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<K, V> FromIterator<(K, V)> for Dict<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// A call that unpickling executes: `callable(*args)`. `callable` is usually a [`Global`], `args` a Rust tuple.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Reduce<C, A> {
    /// What is called.
    pub callable: C,
    /// Its positional arguments: a sequence or a Rust tuple.
    pub args: A,
}

impl<C: Serialize, A: Serialize> Serialize for Reduce<C, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(magic::REDUCE, &(&self.callable, &self.args))
    }
}

/// A value with the name of its class: what tells one dataclass, namedtuple or enum from another.
///
/// Only for reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance<T> {
    /// Module and name of the class, dotted, or of the function that makes the object: `shop.orders.Order`. Classes of
    /// Python's own have no module: `list`.
    pub class: String,
    /// The attributes, items or value.
    pub value: T,
}

/// A value that is pickled as a call and shown to other serde formats as text.
pub(crate) trait AsCall {
    /// Text for other formats.
    fn text(&self) -> String;
    /// The callable and its arguments, as a pair.
    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

pub(crate) fn serialize_call<T: AsCall, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    struct Pair<'a, T>(&'a T);
    impl<T: AsCall> Serialize for Pair<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.serialize_str(&self.0.text())
            } else {
                self.0.pair(serializer)
            }
        }
    }
    serializer.serialize_newtype_struct(magic::REDUCE, &Pair(value))
}

macro_rules! calls {
    ($($name:ty),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::kinds::serialize_call(self, serializer)
            }
        }
    )*};
}
pub(crate) use calls;
