//! One element of an array, whatever its type.

use std::borrow::Cow;

use super::Raw;
use super::dtype::{ByteOrder, DType, DTypeKind, Field, TimeUnit};
use super::scalar::{float, integer};

/// One element of an array.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Element<'a> {
    /// A bool.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A float.
    Float(f64),
    /// A complex number.
    Complex {
        /// Its real part.
        re: f64,
        /// Its imaginary part.
        im: f64,
    },
    /// A point in time; `None` is "not a time".
    DateTime(Option<i64>, &'a TimeUnit),
    /// A difference in time; `None` is "not a time".
    TimeDelta(Option<i64>, &'a TimeUnit),
    /// Bytes, without the zeros they are padded with.
    Bytes(&'a [u8]),
    /// Text, without the zeros it is padded with.
    Str(Cow<'a, str>),
    /// Raw bytes.
    Void(&'a [u8]),
    /// A record: its fields, read on demand.
    Record(Record<'a>),
}

/// One record of a structured array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) fields: &'a [Field],
}

impl<'a> Record<'a> {
    /// Names and values of the fields. A field that is an array itself gives all its elements.
    pub fn fields(self) -> impl ExactSizeIterator<Item = (&'a str, Vec<Element<'a>>)> {
        self.fields.iter().map(move |field| (field.name.as_str(), self.elements(field)))
    }

    /// The value of a field; of one that is an array, the first element.
    pub fn get(self, name: &str) -> Option<Element<'a>> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        self.elements(field).into_iter().next()
    }

    fn elements(self, field: &'a Field) -> Vec<Element<'a>> {
        let count: usize = field.shape.iter().product();
        (0..count).map_while(|at| self.element(field, at)).collect()
    }

    pub(super) fn element(self, field: &'a Field, at: usize) -> Option<Element<'a>> {
        let start = at.checked_mul(field.dtype.size())?.checked_add(field.offset)?;
        let end = start.checked_add(field.dtype.size())?;
        Element::read(self.bytes.get(start..end)?, &field.dtype)
    }
}

impl<'a> Element<'a> {
    /// Reads the bytes of one element.
    pub(super) fn read(bytes: &'a [u8], dtype: &'a DType) -> Option<Self> {
        let order = dtype.byte_order();
        let count = || {
            let count = i64::try_from(integer(bytes, order, true)?).ok()?;
            Some((count != i64::MIN).then_some(count))
        };
        Some(match dtype.kind() {
            DTypeKind::Bool => Element::Bool(bytes.first()? != &0),
            DTypeKind::Int => Element::Int(i64::try_from(integer(bytes, order, true)?).ok()?),
            DTypeKind::UInt => Element::UInt(u64::try_from(integer(bytes, order, false)?).ok()?),
            DTypeKind::Float => match float(bytes, order) {
                Some(value) => Element::Float(value),
                None => Element::Void(bytes),
            },
            DTypeKind::Complex => {
                let (re, im) = bytes.split_at_checked(bytes.len() / 2)?;
                match (float(re, order), float(im, order)) {
                    (Some(re), Some(im)) => Element::Complex { re, im },
                    _ => Element::Void(bytes),
                }
            }
            DTypeKind::DateTime(unit) => Element::DateTime(count()?, unit),
            DTypeKind::TimeDelta(unit) => Element::TimeDelta(count()?, unit),
            DTypeKind::Bytes => {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                Element::Bytes(bytes.get(..end)?)
            }
            DTypeKind::Str => {
                let (units, _) = bytes.as_chunks::<4>();
                let text: String = units
                    .iter()
                    .map(|unit| match order {
                        ByteOrder::Big => u32::from_be_bytes(*unit),
                        ByteOrder::Little => u32::from_le_bytes(*unit),
                    })
                    .map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect();
                Element::Str(Cow::Owned(text.trim_end_matches('\0').to_owned()))
            }
            DTypeKind::Struct(fields) => Element::Record(Record { bytes, fields }),
            DTypeKind::Void | DTypeKind::Object => Element::Void(bytes),
        })
    }
}

/// The elements of an array in C order.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) dtype: &'a DType,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        Element::read(self.raw.next()?, self.dtype)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.raw.size_hint()
    }
}

impl ExactSizeIterator for Elements<'_> {}
