//! Arrays as serde sees them: sequences of sequences, down to numbers.

use dask_pickle::Value;
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::dtype::{DType, DTypeKind, Field};
use super::element::{Element, Record};
use super::{ArrayError, MaskedArray, NdArray};
use crate::family::{PICKLE_KINDS, as_one_pickle};
use crate::handed::{self, Handed, hand_over};

/// What is left of an array after some axes have been walked.
#[derive(Clone, Copy)]
struct Block<'a> {
    bytes: &'a [u8],
    dtype: &'a DType,
    shape: &'a [usize],
    /// `None` in C order.
    strides: Option<&'a [isize]>,
    at: isize,
}

impl<'a> Block<'a> {
    fn of(array: &'a NdArray) -> Self {
        Self {
            bytes: &array.data,
            dtype: &array.dtype,
            shape: &array.shape,
            strides: Some(&array.strides),
            at: isize::try_from(array.offset).unwrap_or_default(),
        }
    }

    fn field(record: Record<'a>, field: &'a Field) -> Self {
        let at = isize::try_from(field.offset).unwrap_or_default();
        Self { bytes: record.bytes, dtype: &field.dtype, shape: &field.shape, strides: None, at }
    }

    /// Length of the first axis, and the blocks along it; `None` for a single element.
    fn axis(self) -> Option<(usize, impl Fn(usize) -> Block<'a>)> {
        let (n, shape) = self.shape.split_first()?;
        let (stride, strides) = match self.strides.and_then(<[isize]>::split_first) {
            Some((stride, strides)) => (*stride, Some(strides)),
            None => {
                let stride = shape.iter().fold(self.dtype.size(), |all, n| all.saturating_mul(*n));
                (isize::try_from(stride).unwrap_or_default(), None)
            }
        };
        let at = move |index: usize| {
            let step = isize::try_from(index).unwrap_or_default().saturating_mul(stride);
            Block { shape, strides, at: self.at.saturating_add(step), ..self }
        };
        Some((*n, at))
    }

    fn element(self) -> Option<Element<'a>> {
        let at = usize::try_from(self.at).ok()?;
        Element::read(self.bytes.get(at..at.checked_add(self.dtype.size())?)?, self.dtype)
    }

    /// The bytes of a row of one-byte elements.
    fn row(self) -> Option<&'a [u8]> {
        let [n] = self.shape else { return None };
        let one = matches!(self.dtype.kind(), DTypeKind::UInt | DTypeKind::Int | DTypeKind::Bytes)
            && self.dtype.size() == 1;
        if !one || (*n > 1 && self.strides.is_some_and(|strides| strides != [1])) {
            return None;
        }
        let at = usize::try_from(self.at).ok()?;
        self.bytes.get(at..at.checked_add(*n)?)
    }

    fn value(self) -> Value {
        match self.axis() {
            Some((n, at)) => Value::List((0..n).map(|index| at(index).value()).collect()),
            None => self.element().map_or(Value::None, value_of),
        }
    }
}

fn value_of(element: Element<'_>) -> Value {
    match element {
        Element::Bool(value) => Value::Bool(value),
        Element::Int(value) => Value::Int(value),
        Element::UInt(value) => i64::try_from(value).map_or_else(|_| Value::BigInt(value.into()), Value::Int),
        Element::Float(value) => Value::Float(value),
        Element::Complex { re, im } => Value::Tuple(vec![Value::Float(re), Value::Float(im)]),
        Element::DateTime(count, _) | Element::TimeDelta(count, _) => count.map_or(Value::None, Value::Int),
        Element::Bytes(bytes) | Element::Void(bytes) => Value::Bytes(bytes.to_vec().into()),
        Element::Str(text) => Value::Str(text.into_owned()),
        Element::Record(record) => Value::Dict(
            record
                .fields
                .iter()
                .map(|field| (Value::Str(field.name.clone()), Block::field(record, field).value()))
                .collect(),
        ),
    }
}

impl NdArray {
    /// Lists of lists, down to numbers, as `tolist` gives them in Python; a single value if there is no axis. Times
    /// are counts of their unit.
    ///
    /// # Errors
    /// If repeated elements make it larger than the limits it was read with.
    pub fn to_value(&self) -> Result<Value, ArrayError> {
        self.check_size()?;
        Ok(Block::of(self).value())
    }
}

impl MaskedArray {
    /// As [`NdArray::to_value`], with `None` for masked elements.
    ///
    /// # Errors
    /// As [`NdArray::to_value`].
    pub fn to_value(&self) -> Result<Value, ArrayError> {
        fn masked(data: Block<'_>, mask: Block<'_>) -> Value {
            match (data.axis(), mask.axis()) {
                (Some((n, data)), Some((_, mask))) => {
                    Value::List((0..n).map(|index| masked(data(index), mask(index))).collect())
                }
                _ if is_masked(mask) => Value::None,
                _ => data.value(),
            }
        }
        self.data.check_size()?;
        match &self.mask {
            Some(mask) => Ok(masked(Block::of(&self.data), Block::of(mask))),
            None => self.data.to_value(),
        }
    }
}

fn is_masked(mask: Block<'_>) -> bool {
    match mask.element() {
        Some(Element::Bool(masked)) => masked,
        // Arrays of records have masks of records.
        Some(Element::Record(record)) => record
            .fields()
            .all(|(_, parts)| !parts.is_empty() && parts.iter().all(|part| *part == Element::Bool(true))),
        _ => false,
    }
}

/// Deserializes an array, or what is left of it after some axes.
#[derive(Clone, Copy)]
pub(crate) struct ArrayDe<'a> {
    of: &'a NdArray,
    block: Block<'a>,
    mask: Option<Block<'a>>,
}

impl<'a> ArrayDe<'a> {
    pub(crate) fn new(array: &'a NdArray) -> Self {
        Self { of: array, block: Block::of(array), mask: None }
    }

    pub(crate) fn masked(array: &'a MaskedArray) -> Self {
        Self { of: &array.data, block: Block::of(&array.data), mask: array.mask.as_ref().map(Block::of) }
    }

    fn element(self) -> Result<Element<'a>, Error> {
        self.block.element().ok_or_else(|| custom("an element outside of its buffer"))
    }

    /// What is left as an array of its own, on the same memory.
    fn part(self) -> Result<NdArray, Error> {
        if self.mask.is_some() {
            return Err(custom("a masked array was asked for as one without a mask"));
        }
        let Block { bytes, dtype, shape, strides, at } = self.block;
        let data = match bytes.is_empty() {
            true => bytes::Bytes::new(),
            false => self.of.data.slice_ref(bytes),
        };
        let strides = match strides {
            Some(strides) => Ok(strides.to_vec()),
            None => super::c_strides(shape, dtype.size()),
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        strides
            .and_then(|strides| NdArray::new(dtype.clone(), shape.to_vec(), strides, at, data))
            .map(|array| array.within(self.of.limit).repeating(self.of.repeated))
            .map_err(serde::de::Error::custom)
    }

    fn is_none(self) -> bool {
        self.block.shape.is_empty()
            && (self.mask.is_some_and(is_masked)
                || matches!(
                    self.block.element(),
                    Some(Element::DateTime(None, _) | Element::TimeDelta(None, _))
                ))
    }
}

fn custom(text: &str) -> Error {
    serde::de::Error::custom(text)
}

impl<'de> Deserializer<'de> for ArrayDe<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.block.shape.is_empty() {
            return self.deserialize_seq(visitor);
        }
        if self.is_none() {
            return visitor.visit_unit();
        }
        match self.element()? {
            Element::Bool(value) => visitor.visit_bool(value),
            Element::Int(value) => visitor.visit_i64(value),
            Element::UInt(value) => visitor.visit_u64(value),
            Element::Float(value) => visitor.visit_f64(value),
            Element::Complex { re, im } => visitor.visit_seq(SeqDeserializer::new([re, im].into_iter())),
            Element::DateTime(count, _) | Element::TimeDelta(count, _) => match count {
                Some(count) => visitor.visit_i64(count),
                None => visitor.visit_unit(),
            },
            Element::Bytes(bytes) | Element::Void(bytes) => visitor.visit_borrowed_bytes(bytes),
            Element::Str(text) => visitor.visit_string(text.into_owned()),
            Element::Record(record) => visitor.visit_map(Fields {
                array: self.of,
                record,
                fields: record.fields.iter(),
                of: None,
                mask: self.mask,
            }),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some((n, block)) = self.block.axis() {
            if self.block.shape.len() == self.of.shape.len() {
                self.of.check_size().map_err(serde::de::Error::custom)?;
            }
            let mask = self.mask.and_then(Block::axis).map(|(_, mask)| mask);
            let part = move |index| ArrayDe {
                of: self.of,
                block: block(index),
                mask: mask.as_ref().map(|mask| mask(index)),
            };
            return visitor.visit_seq(Items { items: (0..n).map(part) });
        }
        match self.block.element() {
            Some(Element::Record(record)) if !self.is_none() => {
                let part = move |field: &'de Field| ArrayDe {
                    of: self.of,
                    block: Block::field(record, field),
                    mask: None,
                };
                visitor.visit_seq(Items { items: record.fields.iter().map(part) })
            }
            _ => self.deserialize_any(visitor),
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

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_none() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.block.row() {
            Some(bytes) if self.mask.is_none() => visitor.visit_borrowed_bytes(bytes),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.block.element() {
            Some(Element::Bytes(bytes)) if self.block.shape.is_empty() && !self.is_none() => {
                match std::str::from_utf8(bytes) {
                    Ok(text) => visitor.visit_borrowed_str(text),
                    Err(_) => visitor.visit_borrowed_bytes(bytes),
                }
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == handed::ARRAY {
            return hand_over(Handed::Array(self.part()?), visitor);
        }
        if name.starts_with(PICKLE_KINDS) {
            return Err(as_one_pickle());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.block.element() {
            Some(Element::Str(text)) if self.block.shape.is_empty() => {
                visitor.visit_enum(text.into_owned().into_deserializer())
            }
            _ => {
                Err(serde::de::Error::custom(format_args!("an array where a variant of {name} was expected")))
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char unit unit_struct map struct identifier
    }
}

struct Items<I> {
    items: I,
}

impl<'de, I: Iterator<Item = ArrayDe<'de>>> SeqAccess<'de> for Items<I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.items.next().map(|item| seed.deserialize(item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        self.items.size_hint().1
    }
}

struct Fields<'a> {
    array: &'a NdArray,
    record: Record<'a>,
    fields: std::slice::Iter<'a, Field>,
    of: Option<&'a Field>,
    mask: Option<Block<'a>>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        self.of = Some(field);
        seed.deserialize(field.name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let field = self.of.take().ok_or_else(|| custom("a value was asked for before its key"))?;
        // The mask of a record is a record of the same fields.
        let mask = match self.mask.and_then(Block::element) {
            Some(Element::Record(mask)) => mask
                .fields
                .iter()
                .find(|of| of.name == field.name && of.shape == field.shape)
                .map(|of| Block::field(mask, of)),
            _ => None,
        };
        seed.deserialize(ArrayDe { of: self.array, block: Block::field(self.record, field), mask })
    }
}
