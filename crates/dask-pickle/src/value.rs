//! An owned value of any Python kind.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use num_bigint::BigInt;
use serde::de::value::UnitDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::budget::Budget;
use crate::kinds::Raw;
use crate::plain::Plain;
use crate::template::Embedded;
use crate::tree::How;
use crate::view::{Kind, ObjectView, View};
use crate::{Error, Global, Template, magic, op};

/// An owned Python value.
///
/// Kinds keep what they are in Python: a tuple is no list. Sharing and cycles are not kept: a value used twice is
/// copied (within the limits of its tree), a cycle is an error.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// A bool.
    Bool(bool),
    /// An int of up to 64 bits.
    Int(i64),
    /// A larger int.
    BigInt(BigInt),
    /// A float.
    Float(f64),
    /// A str.
    Str(String),
    /// A str with lone surrogates, as the UTF-8 that `surrogatepass` writes.
    Surrogates(Vec<u8>),
    /// Bytes, or a read-only out-of-band buffer.
    Bytes(Bytes),
    /// A bytearray, or a writable out-of-band buffer.
    ByteArray(Bytes),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A set.
    Set(Vec<Value>),
    /// A frozenset.
    FrozenSet(Vec<Value>),
    /// A dict, in order.
    Dict(Vec<(Value, Value)>),
    /// An importable object.
    Global {
        /// Its module.
        module: String,
        /// Its name in the module, possibly dotted.
        qualname: String,
    },
    /// An object made by a call.
    Object(Box<Object>),
}

/// An object made by a call, as [`Value`]s.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Module and name of its class or of the function that makes it, dotted: `"datetime.date"`. Empty if neither
    /// has a name.
    pub class: String,
    /// How it is made.
    pub how: How,
    /// What it is made with.
    pub callable: Value,
    /// Positional arguments.
    pub args: Value,
    /// Keyword arguments.
    pub kwargs: Option<Value>,
    /// The state given to the finished object.
    pub state: Option<Value>,
    /// Items appended or added to it.
    pub items: Vec<Value>,
    /// Keys and values set in it.
    pub pairs: Vec<(Value, Value)>,
}

impl Value {
    /// Copies a node and everything below it, within the limits of its tree.
    ///
    /// Bytes, bytearrays, sets and frozensets come out as such whichever protocol wrote them, numpy scalars as
    /// plain ones; every other object stays an object.
    pub fn from_view(view: View<'_>) -> Result<Self, Error> {
        let budget = Budget::new(view);
        Self::budgeted(view, budget.depth(), &budget)
    }

    pub(crate) fn budgeted(view: View<'_>, room: usize, budget: &Budget) -> Result<Self, Error> {
        budget.spend()?;
        let items = |items: &mut dyn Iterator<Item = View<'_>>| {
            let room = budget.deeper(room)?;
            items.map(|item| Self::budgeted(item, room, budget)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match view.kind() {
            Kind::None => Value::None,
            Kind::Bool => Value::Bool(view.as_bool().unwrap_or_default()),
            Kind::Int => Value::Int(view.as_i64().unwrap_or_default()),
            Kind::BigInt => {
                let value = view.as_bigint().cloned().unwrap_or_default();
                budget.spend_bytes(usize::try_from(value.bits() / 8).unwrap_or(usize::MAX))?;
                Value::BigInt(value)
            }
            Kind::Float => Value::Float(view.as_f64().unwrap_or_default()),
            Kind::Str => {
                let text = view.as_str().unwrap_or_default();
                budget.spend_bytes(text.len())?;
                Value::Str(text.to_owned())
            }
            Kind::Surrogates => {
                let text = view.as_str_bytes().unwrap_or_default();
                budget.spend_bytes(text.len())?;
                Value::Surrogates(text.to_owned())
            }
            Kind::Bytes => Value::Bytes(view.to_bytes().unwrap_or_default()),
            Kind::ByteArray => Value::ByteArray(view.to_bytes().unwrap_or_default()),
            Kind::Buffer => {
                let bytes = view.to_bytes().unwrap_or_default();
                match view.as_buffer() {
                    Some((_, true)) => Value::Bytes(bytes),
                    _ => Value::ByteArray(bytes),
                }
            }
            Kind::List => Value::List(items(&mut view.items())?),
            Kind::Tuple => Value::Tuple(items(&mut view.items())?),
            Kind::Set => Value::Set(items(&mut view.items())?),
            Kind::FrozenSet => Value::FrozenSet(items(&mut view.items())?),
            Kind::Dict => {
                let room = budget.deeper(room)?;
                let pair = |(key, value)| {
                    Ok((Self::budgeted(key, room, budget)?, Self::budgeted(value, room, budget)?))
                };
                Value::Dict(view.pairs().map(pair).collect::<Result<_, Error>>()?)
            }
            Kind::Global => {
                let (module, qualname) = view.as_global().unwrap_or_default();
                budget.spend_bytes(module.len().saturating_add(qualname.len()))?;
                Value::Global { module: module.to_owned(), qualname: qualname.to_owned() }
            }
            Kind::Persistent => match view.persistent_id() {
                Some(id) => Self::budgeted(id, budget.deeper(room)?, budget)?,
                None => Value::None,
            },
            Kind::Object => {
                let plain = match view.class_name() {
                    // Objects of these modules may stand for a native kind; all others keep their class.
                    Some((
                        "builtins"
                        | "__builtin__"
                        | "_codecs"
                        | "numpy.core.multiarray"
                        | "numpy._core.multiarray",
                        _,
                    )) => Plain::of(view),
                    _ => Plain::Unknown,
                };
                let spent = |bytes: std::borrow::Cow<'_, [u8]>| {
                    budget.spend_bytes(bytes.len())?;
                    Ok::<_, Error>(Bytes::from(bytes.into_owned()))
                };
                match plain {
                    Plain::Bytes(bytes) => Value::Bytes(spent(bytes)?),
                    Plain::ByteArray(bytes) => Value::ByteArray(spent(bytes)?),
                    Plain::Set(of) => Value::Set(items(&mut of.items())?),
                    Plain::FrozenSet(of) => Value::FrozenSet(items(&mut of.items())?),
                    Plain::Bool(value) => Value::Bool(value),
                    Plain::Int(value) => Value::Int(value),
                    Plain::BigInt(value) => Value::BigInt(value),
                    Plain::Float(value) => Value::Float(value),
                    Plain::Text(text) => Value::Str(text),
                    _ => match view.object() {
                        Some(object) => Self::object(object, budget.deeper(room)?, budget)?,
                        None => Value::None,
                    },
                }
            }
        })
    }

    fn object(object: ObjectView<'_>, room: usize, budget: &Budget) -> Result<Self, Error> {
        let copy = |view| Self::budgeted(view, room, budget);
        let class = match object.class_name() {
            Some((module, name)) => {
                budget.spend_bytes(module.len().saturating_add(name.len()))?;
                format!("{module}.{name}")
            }
            None => String::new(),
        };
        Ok(Value::Object(Box::new(Object {
            class,
            how: object.how(),
            callable: copy(object.callable())?,
            args: copy(object.args())?,
            kwargs: object.kwargs().map(copy).transpose()?,
            state: object.state().map(copy).transpose()?,
            items: object.items().map(copy).collect::<Result<_, _>>()?,
            pairs: object
                .pairs()
                .map(|(key, value)| Ok((copy(key)?, copy(value)?)))
                .collect::<Result<_, Error>>()?,
        })))
    }

    /// The str, if it is one without lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The int, if it is one of up to 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The items of a list, tuple, set or frozenset.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
                Some(items)
            }
            _ => None,
        }
    }

    /// The value of a str key in a dict.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Dict(pairs) => {
                pairs.iter().rev().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

impl Object {
    /// Adds the code that makes the object.
    fn add_to(&self, into: &mut Template, level: usize, limit: usize) -> Result<(), Error> {
        let inner = level.saturating_add(1);
        into.reached(inner, limit)?;
        let add =
            |into: &mut Template, value: &Value| into.add(&Template::with_depth(value, limit)?, inner, limit);
        add(into, &self.callable)?;
        add(into, &self.args)?;
        match (self.how, &self.kwargs) {
            (How::New, Some(kwargs)) => {
                add(into, kwargs)?;
                into.code.push(op::NEWOBJ_EX);
            }
            (How::New, None) => into.code.push(op::NEWOBJ),
            (How::Reduce | How::Inst, _) => into.code.push(op::REDUCE),
        }
        if !self.items.is_empty() {
            into.code.push(op::MARK);
            for item in &self.items {
                add(into, item)?;
            }
            into.code.push(op::APPENDS);
        }
        if !self.pairs.is_empty() {
            into.code.push(op::MARK);
            for (key, value) in &self.pairs {
                add(into, key)?;
                add(into, value)?;
            }
            into.code.push(op::SETITEMS);
        }
        if let Some(state) = &self.state {
            add(into, state)?;
            into.code.push(op::BUILD);
        }
        Ok(())
    }
}

impl Serialize for Object {
    /// Only pickles can hold an object; any other format reports an error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let add = |into: &mut Template, level, limit| self.add_to(into, level, limit);
        serializer.serialize_newtype_struct(magic::TEMPLATE, &Embedded(add))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::None => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::BigInt(value) => crate::kinds::serialize_bigint(value, serializer),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) => serializer.serialize_str(text),
            Value::Surrogates(text) => serializer.serialize_newtype_struct(magic::SURROGATE, &Raw(text)),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::ByteArray(bytes) => serializer.serialize_newtype_struct(magic::BYTEARRAY, &Raw(bytes)),
            Value::List(items) => serializer.serialize_newtype_struct(magic::LIST, items),
            Value::Tuple(items) => serializer.serialize_newtype_struct(magic::TUPLE, items),
            Value::Set(items) => serializer.serialize_newtype_struct(magic::SET, items),
            Value::FrozenSet(items) => serializer.serialize_newtype_struct(magic::FROZENSET, items),
            Value::Dict(pairs) => serializer.collect_map(pairs.iter().map(|(key, value)| (key, value))),
            Value::Global { module, qualname } => Global::of(module, qualname).serialize(serializer),
            Value::Object(object) => object.serialize(serializer),
        }
    }
}

thread_local! {
    /// A finished value on its way through a visitor, which has no method that takes one.
    static HANDED: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// Gives a finished value to the visitor of [`Value`].
pub(crate) fn hand_over<'de, V: Visitor<'de>>(value: Value, visitor: V) -> Result<V::Value, Error> {
    HANDED.with(|slot| slot.replace(Some(value)));
    let result = visitor.visit_newtype_struct(UnitDeserializer::new());
    HANDED.with(RefCell::take);
    result
}

struct ValueVisitor;

macro_rules! visit {
    ($($method:ident($value:ident: $type:ty) => $result:expr;)*) => {$(
        fn $method<E: serde::de::Error>(self, $value: $type) -> Result<Value, E> {
            Ok($result)
        }
    )*};
}

fn any_int(value: impl Into<BigInt>) -> Value {
    let value = value.into();
    i64::try_from(&value).map_or_else(|_| Value::BigInt(value), Value::Int)
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    visit! {
        visit_bool(value: bool) => Value::Bool(value);
        visit_i64(value: i64) => Value::Int(value);
        visit_u64(value: u64) => any_int(value);
        visit_i128(value: i128) => any_int(value);
        visit_u128(value: u128) => any_int(value);
        visit_f64(value: f64) => Value::Float(value);
        visit_str(text: &str) => Value::Str(text.to_owned());
        visit_string(text: String) => Value::Str(text);
        visit_bytes(bytes: &[u8]) => Value::Bytes(Bytes::copy_from_slice(bytes));
        visit_byte_buf(bytes: Vec<u8>) => Value::Bytes(bytes.into());
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match HANDED.with(RefCell::take) {
            Some(value) => Ok(value),
            None => deserializer.deserialize_any(self),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Value::Dict(pairs))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(magic::VALUE, ValueVisitor)
    }
}
