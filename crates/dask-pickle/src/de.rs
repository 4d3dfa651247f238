//! The serde deserializer over a tree.

use std::borrow::Cow;

use num_bigint::BigInt;
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

use crate::budget::Budget;
use crate::plain::Plain;
use crate::tree::{self, How};
use crate::value::{self, Value};
use crate::view::{Kind, View};
use crate::{Error, Limits, Tree, magic};

/// Converts a whole tree. Strings and bytes may be borrowed from it.
pub fn from_tree<'de, T: Deserialize<'de>>(tree: &'de Tree) -> Result<T, Error> {
    from_view(tree.root())
}

/// Converts one node of a tree, within the limits of the tree.
pub fn from_view<'de, T: Deserialize<'de>>(view: View<'de>) -> Result<T, Error> {
    let budget = Budget::new(view);
    T::deserialize(De { view, room: budget.depth(), budget: &budget })
}

/// Reads a pickle without out-of-band buffers and converts it.
pub fn from_slice<T: for<'de> Deserialize<'de>>(pickle: &[u8]) -> Result<T, Error> {
    let tree = crate::read(bytes::Bytes::copy_from_slice(pickle), Vec::new(), &Limits::default())?;
    from_tree(&tree)
}

#[derive(Clone, Copy)]
pub(crate) struct De<'a, 'de> {
    view: View<'de>,
    room: usize,
    budget: &'a Budget,
}

/// Largest integer, in bits, that is written as decimal text: that takes quadratic time.
const TEXT_BITS: u64 = 32_768;

type PairIter<'de> = Box<dyn Iterator<Item = (View<'de>, View<'de>)> + 'de>;

/// The pairs of a dict, or of a sequence of pairs.
fn pairs_of<'de>(view: View<'de>) -> PairIter<'de> {
    match view.kind() {
        Kind::List | Kind::Tuple => {
            Box::new(view.items().filter_map(|pair| Some((pair.item(0)?, pair.item(1)?))))
        }
        _ => Box::new(view.pairs()),
    }
}

fn pair_iter<'de>(plain: &Plain<'de>) -> Option<PairIter<'de>> {
    match plain {
        Plain::Map(first, rest) => {
            let first = *first;
            Some(Box::new(first.into_iter().flat_map(pairs_of).chain(rest.clone())))
        }
        Plain::Attributes(attributes, slots) => Some(Box::new(attributes.pairs().chain(slots.pairs()))),
        Plain::Empty => Some(Box::new(std::iter::empty())),
        _ => None,
    }
}

impl<'a, 'de> De<'a, 'de> {
    /// One level further in.
    pub(crate) fn deeper(&self) -> Result<Self, Error> {
        self.at(self.view)
    }

    /// Another node at this level.
    pub(crate) fn beside(self, view: View<'de>) -> Self {
        De { view, ..self }
    }

    pub(crate) fn spend(&self) -> Result<(), Error> {
        self.budget.spend()
    }

    pub(crate) fn spend_bytes(&self, len: usize) -> Result<(), Error> {
        self.budget.spend_bytes(len)
    }

    fn at(&self, view: View<'de>) -> Result<Self, Error> {
        Ok(De { view, room: self.budget.deeper(self.room)?, budget: self.budget })
    }

    /// Whether the node means itself, as nearly all do: there is nothing to find out.
    fn is_plain(&self) -> bool {
        !matches!(self.view.kind(), Kind::Object | Kind::Persistent)
    }

    /// A node that means itself.
    fn visit_itself<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.budget.spend()?;
        self.visit_node(visitor)
    }

    /// The meaning of the node, through any number of nodes that mean another one.
    fn resolve(self) -> Result<(Self, Plain<'de>), Error> {
        let mut at = self;
        loop {
            at.budget.spend()?;
            if let Some(id) = at.view.persistent_id() {
                at = at.at(id)?;
                continue;
            }
            match Plain::of(at.view) {
                Plain::Other(view) => at = at.at(view)?,
                plain => return Ok((at, plain)),
            }
        }
    }

    /// As [`De::resolve`], where a scalar is asked for: an instance of a subclass of one holds it as its only
    /// argument.
    fn resolve_scalar(self) -> Result<(Self, Plain<'de>), Error> {
        let (at, plain) = self.resolve()?;
        match &plain {
            Plain::Tuple(items) if items.len() == 1 => match items.clone().next() {
                Some(item) => at.at(item)?.resolve(),
                None => Ok((at, plain)),
            },
            _ => Ok((at, plain)),
        }
    }

    fn visit_items<V: Visitor<'de>>(
        self,
        items: impl Iterator<Item = View<'de>>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Seq { items, of: self.at(self.view)? })
    }

    fn visit_pairs<V: Visitor<'de>>(
        self,
        pairs: impl Iterator<Item = (View<'de>, View<'de>)>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Map { pairs, value: None, of: self.at(self.view)? })
    }

    fn unknown<T>(&self, visitor: &dyn Expected) -> Result<T, Error> {
        let class = match self.view.class_name() {
            Some((module, name)) => format!("{module}.{name}"),
            None => "an unnamed class".to_owned(),
        };
        Err(Error::Object { class, expected: visitor.to_string() })
    }

    fn mismatch<T>(&self, expected: impl Into<String>) -> Result<T, Error> {
        Err(Error::Kind { expected: expected.into(), found: self.view.describe() })
    }

    pub(crate) fn visit_plain<V: Visitor<'de>>(
        self,
        plain: Plain<'de>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match plain {
            Plain::Same => self.visit_node(visitor),
            Plain::Other(view) => self.at(view)?.deserialize_any(visitor),
            Plain::Bool(value) => visitor.visit_bool(value),
            Plain::Int(value) => visitor.visit_i64(value),
            Plain::BigInt(value) => visit_bigint(&value, visitor),
            Plain::Float(value) => visitor.visit_f64(value),
            Plain::Bytes(bytes) | Plain::ByteArray(bytes) => {
                self.budget.spend_bytes(bytes.len())?;
                match bytes {
                    Cow::Borrowed(bytes) => visitor.visit_borrowed_bytes(bytes),
                    Cow::Owned(bytes) => visitor.visit_byte_buf(bytes),
                }
            }
            Plain::Text(text) => {
                self.budget.spend_bytes(text.len())?;
                visitor.visit_string(text)
            }
            Plain::Set(view) | Plain::FrozenSet(view) => self.visit_items(view.items(), visitor),
            Plain::List(first, rest) => {
                self.visit_items(first.into_iter().flat_map(View::items).chain(rest), visitor)
            }
            Plain::Tuple(items) => self.visit_items(items, visitor),
            Plain::Map(..) | Plain::Attributes(..) | Plain::Empty => match pair_iter(&plain) {
                Some(pairs) => self.visit_pairs(pairs, visitor),
                None => self.unknown(&visitor),
            },
            Plain::Fields(names, items) => {
                let fields = names.iter().copied().zip(items.map(|view| Field(De { view, ..self })));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            Plain::Complex(re, im) => visitor.visit_seq(SeqDeserializer::new([re, im].into_iter())),
            Plain::Date(date) => visitor.visit_string(date.to_string()),
            Plain::Time(time, zone) => visitor.visit_string(with_zone(time.to_string(), zone)),
            Plain::DateTime(time, zone) => visitor.visit_string(with_zone(time.to_string(), zone)),
            Plain::TimeDelta(delta) => visitor.visit_string(delta.to_string()),
            Plain::Decimal(text) => {
                self.budget.spend_bytes(text.len())?;
                visitor.visit_borrowed_str(text)
            }
            Plain::Fraction(num, den) if num.bits().max(den.bits()) > TEXT_BITS => self.unknown(&visitor),
            Plain::Fraction(num, den) => visitor.visit_string(format!("{num}/{den}")),
            Plain::Uuid(bytes) => visitor.visit_string(crate::Uuid(bytes).to_string()),
            Plain::Array(array) => array.visit(self, visitor),
            Plain::Unknown => self.unknown(&visitor),
        }
    }

    fn visit_node<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let view = self.view;
        match view.kind() {
            Kind::None => visitor.visit_unit(),
            Kind::Bool => visitor.visit_bool(view.as_bool().unwrap_or_default()),
            Kind::Int => visitor.visit_i64(view.as_i64().unwrap_or_default()),
            Kind::BigInt => match view.as_bigint() {
                Some(value) => visit_bigint(value, visitor),
                None => self.unknown(&visitor),
            },
            Kind::Float => visitor.visit_f64(view.as_f64().unwrap_or_default()),
            Kind::Str => {
                let text = view.as_str().unwrap_or_default();
                self.budget.spend_bytes(text.len())?;
                visitor.visit_borrowed_str(text)
            }
            Kind::Surrogates | Kind::Bytes | Kind::ByteArray | Kind::Buffer => {
                let bytes = view.as_str_bytes().or_else(|| view.as_bytes()).unwrap_or_default();
                self.budget.spend_bytes(bytes.len())?;
                visitor.visit_borrowed_bytes(bytes)
            }
            Kind::List | Kind::Tuple | Kind::Set | Kind::FrozenSet => self.visit_items(view.items(), visitor),
            Kind::Dict => self.visit_pairs(view.pairs(), visitor),
            Kind::Global => match view.as_global() {
                Some((module, name)) => visitor.visit_string(format!("{module}:{name}")),
                None => self.unknown(&visitor),
            },
            Kind::Object | Kind::Persistent => self.unknown(&visitor),
        }
    }

    fn float(self) -> Result<Option<f64>, Error> {
        let (at, plain) = self.resolve_scalar()?;
        Ok(match plain {
            Plain::Decimal(text) => text.parse().ok(),
            Plain::Fraction(num, den) => match (big_to_f64(&num), big_to_f64(&den)) {
                (Some(num), Some(den)) => Some(num / den),
                _ => None,
            },
            Plain::BigInt(value) => big_to_f64(&value),
            Plain::Same => at.view.as_f64().or_else(|| at.view.as_bigint().and_then(big_to_f64)),
            _ => None,
        })
    }

    /// The kinds that only a type of this crate asks for, by the name of its newtype.
    fn special<V: Visitor<'de>>(self, name: &str, visitor: V) -> Result<V::Value, Error> {
        if name == magic::VALUE {
            let value = Value::budgeted(self.view, self.room, self.budget)?;
            return value::hand_over(value, visitor);
        }
        if name == magic::TREE {
            return tree::hand_over(tree::subtree(self.view, self.budget)?, visitor);
        }
        if name == magic::INSTANCE {
            let class = self.view.python_class();
            self.budget.spend_bytes(class.len())?;
            return visitor.visit_seq(Classed { class: Some(class), value: Some(self.at(self.view)?) });
        }
        if name == magic::REDUCE {
            return match self.view.object() {
                Some(object) if object.how() == How::Reduce => {
                    let parts = [object.callable(), object.args()];
                    self.visit_items(parts.into_iter(), visitor)
                }
                _ => self.mismatch("the result of a call"),
            };
        }
        let (at, plain) = self.resolve()?;
        let kind = at.view.kind();
        let same = matches!(plain, Plain::Same);
        match name {
            magic::TUPLE if (same && kind == Kind::Tuple) || matches!(plain, Plain::Tuple(_)) => {}
            magic::TUPLE => return at.mismatch("a tuple"),
            magic::LIST
                if (same && kind == Kind::List) || matches!(plain, Plain::List(..) | Plain::Empty) => {}
            magic::LIST => return at.mismatch("a list"),
            magic::SET if (same && kind == Kind::Set) || matches!(plain, Plain::Set(_)) => {}
            magic::SET => return at.mismatch("a set"),
            magic::FROZENSET if (same && kind == Kind::FrozenSet) || matches!(plain, Plain::FrozenSet(_)) => {
            }
            magic::FROZENSET => return at.mismatch("a frozenset"),
            magic::BYTEARRAY
                if (same && kind == Kind::ByteArray)
                    || matches!(plain, Plain::ByteArray(_))
                    || at.view.as_buffer().is_some_and(|(_, readonly)| !readonly) => {}
            magic::BYTEARRAY => return at.mismatch("a bytearray"),
            magic::SURROGATE => {
                return match at.view.as_str_bytes() {
                    Some(bytes) if same => visitor.visit_borrowed_bytes(bytes),
                    _ => at.mismatch("a str"),
                };
            }
            magic::GLOBAL if same && kind == Kind::Global => {}
            magic::GLOBAL => return at.mismatch("an importable object"),
            magic::BIGINT => {
                let value = match plain {
                    Plain::Int(value) => Some(BigInt::from(value)),
                    Plain::BigInt(value) => Some(value),
                    Plain::Same => at.view.to_bigint(),
                    _ => None,
                };
                return match value {
                    Some(value) => {
                        let bytes = value.to_signed_bytes_le();
                        at.budget.spend_bytes(bytes.len())?;
                        visitor.visit_byte_buf(bytes)
                    }
                    None => at.mismatch("an int"),
                };
            }
            magic::DATE | magic::TIME | magic::DATETIME | magic::TIMEDELTA => {
                if let Some(fields) = time_fields(name, &plain) {
                    return visitor.visit_seq(SeqDeserializer::new(fields.into_iter()));
                }
                if let Plain::Time(_, Some(zone)) | Plain::DateTime(_, Some(zone)) = plain {
                    return at.mismatch(format!("a fixed offset from UTC instead of time zone {zone}"));
                }
            }
            _ => {}
        }
        visitor.visit_newtype_struct(at)
    }
}

/// The fields of a date or time, as the types of this crate read them.
fn time_fields(name: &str, plain: &Plain<'_>) -> Option<Vec<i64>> {
    let clock = |time: &crate::Time| {
        let micros = i64::from(time.microsecond);
        let (zoned, offset) = (time.offset_seconds.is_some(), time.offset_seconds.unwrap_or(0));
        let [hour, minute, second] = [time.hour, time.minute, time.second].map(i64::from);
        vec![hour, minute, second, micros, i64::from(zoned), i64::from(offset), i64::from(time.fold)]
    };
    let day = |date: &crate::Date| vec![i64::from(date.year), i64::from(date.month), i64::from(date.day)];
    match (name, plain) {
        (magic::DATE, Plain::Date(date)) => Some(day(date)),
        (magic::TIME, Plain::Time(time, None)) => Some(clock(time)),
        (magic::DATETIME, Plain::DateTime(time, None)) => {
            let mut fields = day(&time.date());
            fields.extend(clock(&time.time()));
            Some(fields)
        }
        (magic::TIMEDELTA, Plain::TimeDelta(delta)) => {
            Some([delta.days, delta.seconds, delta.microseconds].map(i64::from).into())
        }
        _ => None,
    }
}

fn with_zone(text: String, zone: Option<&str>) -> String {
    match zone {
        Some(zone) => format!("{text}[{zone}]"),
        None => text,
    }
}

fn big_to_f64(value: &BigInt) -> Option<f64> {
    // Beyond this a float is infinite, and the text would take long to make.
    (value.bits() <= 1024).then(|| value.to_string().parse().ok()).flatten()
}

fn visit_bigint<'de, V: Visitor<'de>>(value: &BigInt, visitor: V) -> Result<V::Value, Error> {
    if let Ok(small) = u64::try_from(value) {
        visitor.visit_u64(small)
    } else if let Ok(small) = i128::try_from(value) {
        visitor.visit_i128(small)
    } else if let Ok(small) = u128::try_from(value) {
        visitor.visit_u128(small)
    } else {
        let expected = (&visitor as &dyn Expected).to_string();
        Err(Error::Kind { expected, found: format!("an int of {} bits", value.bits()) })
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if self.is_plain() {
                return self.visit_itself(visitor);
            }
            let (at, plain) = self.resolve_scalar()?;
            at.visit_plain(plain, visitor)
        }
    )*};
}

macro_rules! as_any {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_plain() {
            return self.visit_itself(visitor);
        }
        let (at, plain) = self.resolve()?;
        at.visit_plain(plain, visitor)
    }

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_identifier
    }

    as_any! { deserialize_map }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some(value) = self.view.as_f64() {
            self.budget.spend()?;
            return visitor.visit_f64(value);
        }
        match self.float()? {
            Some(value) => visitor.visit_f64(value),
            None => {
                let (at, plain) = self.resolve_scalar()?;
                at.visit_plain(plain, visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.view.is_none() { visitor.visit_none() } else { visitor.visit_some(self.at(self.view)?) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name.starts_with(magic::PREFIX) {
            return self.special(name, visitor);
        }
        visitor.visit_newtype_struct(self.at(self.view)?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_plain() && self.view.as_bytes().is_none() {
            return self.visit_itself(visitor);
        }
        let (at, plain) = self.resolve()?;
        let owned;
        let bytes = match &plain {
            Plain::Same => at.view.as_bytes(),
            Plain::Bytes(bytes) | Plain::ByteArray(bytes) => {
                owned = bytes.clone();
                Some(&*owned)
            }
            // An instance of a class that derives from list, too, is no more than this.
            Plain::Empty => return at.visit_items(std::iter::empty(), visitor),
            _ => None,
        };
        match bytes {
            Some(bytes) => {
                at.budget.spend_bytes(bytes.len())?;
                visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
            }
            None => at.visit_plain(plain, visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (at, plain) = self.resolve_scalar()?;
        if let (Plain::Same, Some(text)) = (&plain, at.view.as_str()) {
            return visitor.visit_enum(StrDeserializer::new(text));
        }
        if let Plain::Text(text) = plain {
            return visitor.visit_enum(text.into_deserializer());
        }
        let mut pairs = match &plain {
            Plain::Same => Box::new(at.view.pairs()),
            plain => pair_iter(plain).unwrap_or_else(|| Box::new(std::iter::empty())),
        };
        match (pairs.next(), pairs.next()) {
            (Some((key, value)), None) => {
                visitor.visit_enum(Variant { key: at.at(key)?, value: at.at(value)? })
            }
            _ => at.mismatch(format!("a variant of {name}: its name, or a dict of one pair")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// A value inside a synthetic map.
struct Field<'a, 'de>(De<'a, 'de>);

impl<'a, 'de> IntoDeserializer<'de, Error> for Field<'a, 'de> {
    type Deserializer = De<'a, 'de>;

    fn into_deserializer(self) -> De<'a, 'de> {
        self.0
    }
}

struct Seq<'a, 'de, I> {
    items: I,
    of: De<'a, 'de>,
}

impl<'de, I: Iterator<Item = View<'de>>> SeqAccess<'de> for Seq<'_, 'de, I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(view) = self.items.next() else { return Ok(None) };
        self.of.budget.spend()?;
        seed.deserialize(De { view, ..self.of }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        match self.items.size_hint() {
            (low, Some(high)) if low == high => Some(high),
            _ => None,
        }
    }
}

/// The name of a class, and a value.
struct Classed<'a, 'de> {
    class: Option<String>,
    value: Option<De<'a, 'de>>,
}

impl<'de> SeqAccess<'de> for Classed<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.class.take() {
            Some(class) => seed.deserialize(class.into_deserializer()).map(Some),
            None => self.value.take().map(|value| seed.deserialize(value)).transpose(),
        }
    }
}

struct Map<'a, 'de, I> {
    pairs: I,
    value: Option<View<'de>>,
    of: De<'a, 'de>,
}

impl<'de, I: Iterator<Item = (View<'de>, View<'de>)>> MapAccess<'de> for Map<'_, 'de, I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.of.budget.spend()?;
        self.value = Some(value);
        seed.deserialize(De { view: key, ..self.of }).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.value.take() {
            Some(view) => seed.deserialize(De { view, ..self.of }),
            None => Err(Error::Message("a value was asked for before its key".to_owned())),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        match self.pairs.size_hint() {
            (low, Some(high)) if low == high => Some(high),
            _ => None,
        }
    }
}

struct Variant<'a, 'de> {
    key: De<'a, 'de>,
    value: De<'a, 'de>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Error;
    type Variant = De<'a, 'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, De<'a, 'de>), Error> {
        Ok((seed.deserialize(self.key)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for De<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.view.is_none() { Ok(()) } else { self.mismatch("None") }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}

/// Deserializes a node for somebody else's deserializer, of which the pickle is only a part. See [`from_view`] for
/// conversions by themselves.
///
/// Each method is a conversion of its own as far as [`Limits::items`] goes.
#[derive(Clone, Copy, Debug)]
pub struct ViewDeserializer<'de>(pub View<'de>);

macro_rules! delegate {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, Error> {
            let budget = Budget::new(self.0);
            De { view: self.0, room: budget.depth(), budget: &budget }.$method($($arg,)* visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for ViewDeserializer<'de> {
    type Error = Error;

    delegate! {
        deserialize_any(); deserialize_bool(); deserialize_i8(); deserialize_i16(); deserialize_i32();
        deserialize_i64(); deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64(); deserialize_char();
        deserialize_str(); deserialize_string(); deserialize_bytes(); deserialize_byte_buf();
        deserialize_option(); deserialize_unit(); deserialize_seq(); deserialize_map();
        deserialize_identifier(); deserialize_ignored_any();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }
}
