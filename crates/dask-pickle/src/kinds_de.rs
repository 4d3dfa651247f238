//! `Deserialize` of the wrapper types.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{
    BigInt, ByteArray, Complex, Date, DateTime, Decimal, Dict, Fraction, FrozenSet, Global, Instance, List,
    PyBytes, Reduce, Set, Surrogate, Time, TimeDelta, Tuple, Uuid, magic,
};

/// Passes a newtype's inner value on.
struct Inner<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Inner<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<T, A::Error> {
        T::deserialize(serde::de::value::SeqAccessDeserializer::new(access))
    }
}

macro_rules! sequences {
    ($($name:ident $magic:ident $expecting:literal;)*) => {$(
        impl<'de, T: Deserialize<'de>> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer
                    .deserialize_newtype_struct(magic::$magic, Inner($expecting, PhantomData))
                    .map($name)
            }
        }
    )*};
}

sequences! {
    Tuple TUPLE "a tuple";
    List LIST "a list";
    Set SET "a set";
    FrozenSet FROZENSET "a frozenset";
}

impl<'de, C: Deserialize<'de>, A: Deserialize<'de>> Deserialize<'de> for Reduce<C, A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = Inner::<(C, A)>("a callable and its arguments", PhantomData);
        let (callable, args) = deserializer.deserialize_newtype_struct(magic::REDUCE, visitor)?;
        Ok(Reduce { callable, args })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Instance<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = Inner::<(String, T)>("a value with the name of its class", PhantomData);
        let (class, value) = deserializer.deserialize_newtype_struct(magic::INSTANCE, visitor)?;
        Ok(Instance { class, value })
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = access.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_byte_buf(self)
    }
}

impl<'de> Deserialize<'de> for PyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor).map(PyBytes)
    }
}

impl<'de> Deserialize<'de> for ByteArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(magic::BYTEARRAY, BytesVisitor).map(ByteArray)
    }
}

impl<'de> Deserialize<'de> for Surrogate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(magic::SURROGATE, BytesVisitor).map(Surrogate)
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Dict<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Pairs<K, V> {
            type Value = Dict<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dict")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Dict<K, V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = access.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Dict(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// Longest integer that is parsed from text: parsing takes quadratic time.
const DIGITS: usize = 10_000;

impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl<'de> Visitor<'de> for Digits {
            type Value = BigInt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an int")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<BigInt, E> {
                Ok(value.into())
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<BigInt, E> {
                Ok(value.into())
            }

            fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<BigInt, E> {
                Ok(value.into())
            }

            fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<BigInt, E> {
                Ok(value.into())
            }

            fn visit_bytes<E: serde::de::Error>(self, le: &[u8]) -> Result<BigInt, E> {
                Ok(BigInt(num_bigint::BigInt::from_signed_bytes_le(le)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<BigInt, E> {
                let digits = Some(text).filter(|text| text.len() <= DIGITS);
                digits
                    .and_then(|text| text.parse().ok())
                    .map(BigInt)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<BigInt, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
        deserializer.deserialize_newtype_struct(magic::BIGINT, Digits)
    }
}

impl<'de> Deserialize<'de> for Global<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = Inner::<Cow<'_, str>>("the name of an importable object", PhantomData);
        let name = deserializer.deserialize_newtype_struct(magic::GLOBAL, visitor)?;
        Ok(Global::new(name.into_owned()))
    }
}

impl<'de> Deserialize<'de> for Complex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Complex;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a complex")
            }

            fn visit_f64<E: serde::de::Error>(self, re: f64) -> Result<Complex, E> {
                Ok(Complex { re, im: 0.0 })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Complex, A::Error> {
                match (access.next_element()?, access.next_element()?) {
                    (Some(re), Some(im)) => Ok(Complex { re, im }),
                    _ => Err(A::Error::invalid_length(1, &self)),
                }
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

/// A type read from its text, or from the integers that make it up.
trait FromText: Sized {
    const EXPECTING: &'static str;
    fn from_text(text: &str) -> Option<Self>;
    fn from_fields(_: &[i64]) -> Option<Self> {
        None
    }
    fn from_bytes(_: &[u8]) -> Option<Self> {
        None
    }
    fn from_int(_: i64) -> Option<Self> {
        None
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<'de, T: FromText> Visitor<'de> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTING)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        T::from_bytes(bytes).ok_or_else(|| E::invalid_type(Unexpected::Bytes(bytes), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
        T::from_int(value).ok_or_else(|| E::invalid_type(Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
        i64::try_from(value)
            .ok()
            .and_then(T::from_int)
            .ok_or_else(|| E::invalid_type(Unexpected::Unsigned(value), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<T, A::Error> {
        let mut fields: Vec<i64> = Vec::new();
        while let Some(field) = access.next_element()? {
            fields.push(field);
            if fields.len() > 16 {
                break;
            }
        }
        T::from_fields(&fields).ok_or_else(|| A::Error::invalid_length(fields.len(), &self))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Option<T> {
    T::try_from(value).ok()
}

fn clock(fields: &[i64]) -> Option<Time> {
    let [hour, minute, second, microsecond, zoned, offset, fold] = fields else { return None };
    Some(Time {
        hour: narrow(*hour)?,
        minute: narrow(*minute)?,
        second: narrow(*second)?,
        microsecond: narrow(*microsecond)?,
        offset_seconds: if *zoned == 0 { None } else { Some(narrow(*offset)?) },
        fold: *fold != 0,
    })
}

fn day(fields: &[i64]) -> Option<Date> {
    let [year, month, day] = fields else { return None };
    Some(Date { year: narrow(*year)?, month: narrow(*month)?, day: narrow(*day)? })
}

impl FromText for Date {
    const EXPECTING: &'static str = "a date";
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn from_fields(fields: &[i64]) -> Option<Self> {
        day(fields)
    }
}

impl FromText for Time {
    const EXPECTING: &'static str = "a time";
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn from_fields(fields: &[i64]) -> Option<Self> {
        clock(fields)
    }
}

impl FromText for DateTime {
    const EXPECTING: &'static str = "a datetime";
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn from_fields(fields: &[i64]) -> Option<Self> {
        let (date, time) = fields.split_at_checked(3)?;
        Some(DateTime::new(day(date)?, clock(time)?))
    }
}

impl FromText for TimeDelta {
    const EXPECTING: &'static str = "a timedelta";
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn from_fields(fields: &[i64]) -> Option<Self> {
        let [days, seconds, microseconds] = fields else { return None };
        Some(TimeDelta {
            days: narrow(*days)?,
            seconds: narrow(*seconds)?,
            microseconds: narrow(*microseconds)?,
        })
    }
}

impl FromText for Decimal {
    const EXPECTING: &'static str = "a decimal";
    fn from_text(text: &str) -> Option<Self> {
        Some(Decimal(text.to_owned()))
    }
    fn from_int(value: i64) -> Option<Self> {
        Some(Decimal(value.to_string()))
    }
}

impl FromText for Fraction {
    const EXPECTING: &'static str = "a fraction";
    fn from_text(text: &str) -> Option<Self> {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        if text.len() > DIGITS {
            return None;
        }
        Some(Fraction { num: BigInt(num.parse().ok()?), den: BigInt(den.parse().ok()?) })
    }
    fn from_int(value: i64) -> Option<Self> {
        Some(Fraction { num: value.into(), den: 1.into() })
    }
}

impl FromText for Uuid {
    const EXPECTING: &'static str = "a UUID";
    fn from_text(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(|value| Uuid(value.to_be_bytes()))
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Uuid)
    }
}

macro_rules! from_text {
    ($($name:ident $magic:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_newtype_struct($magic, TextVisitor(PhantomData))
            }
        }
    )*};
}

from_text! {
    Date "$dask_pickle::Date";
    Time "$dask_pickle::Time";
    DateTime "$dask_pickle::DateTime";
    TimeDelta "$dask_pickle::TimeDelta";
    Decimal "$dask_pickle::Decimal";
    Fraction "$dask_pickle::Fraction";
    Uuid "$dask_pickle::Uuid";
}
