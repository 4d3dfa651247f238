//! The serde serializer that builds a [`Template`].

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

use crate::kinds::Global;
use crate::template::{Hole, embed};
use crate::{Error, Template, magic, op};

/// Levels of nesting allowed when nothing else is said.
pub(crate) const DEPTH: usize = 200;

/// What the next value must be, said by a newtype of this crate around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Any,
    Seq(Kind),
    ByteArray,
    BigInt,
    Surrogate,
    Global,
    Reference,
    Reduce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Tuple,
    Set,
    FrozenSet,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Any => "any value",
            Mode::Seq(_) => "a sequence",
            Mode::ByteArray | Mode::Surrogate => "bytes",
            Mode::BigInt => "the bytes of an integer",
            Mode::Global => "the name of an object",
            Mode::Reference => "the key of a task",
            Mode::Reduce => "a callable and its arguments",
        }
    }
}

/// Serializes one value into a template.
pub(crate) struct Ser<'a> {
    out: &'a mut Template,
    level: usize,
    limit: usize,
    mode: Mode,
    /// Whether the value is a dict key or a set member.
    hashed: bool,
}

impl<'a> Ser<'a> {
    pub(crate) fn new(out: &'a mut Template, limit: usize) -> Self {
        Self { out, level: 0, limit, mode: Mode::Any, hashed: false }
    }

    fn expect(&self, found: &str) -> Result<(), Error> {
        if self.mode == Mode::Any {
            return Ok(());
        }
        Err(Error::Kind { expected: self.mode.name().to_owned(), found: found.to_owned() })
    }

    fn enter(&mut self) -> Result<usize, Error> {
        let level = self.level + 1;
        self.out.reached(level, self.limit)?;
        Ok(level)
    }

    fn hashable(&self, kind: &'static str) -> Result<(), Error> {
        if self.hashed { Err(Error::Unhashable { kind }) } else { Ok(()) }
    }

    fn text(&mut self, text: &str) {
        self.out.text = true;
        op::put_str(&mut self.out.code, text.as_bytes());
    }

    /// Opens a dict; with a variant's name, the outer one-pair dict too.
    fn dict(mut self, variant: Option<&str>) -> Result<Compound<'a>, Error> {
        self.expect("a dict")?;
        self.hashable("a dict")?;
        let outer = variant.is_some();
        if let Some(name) = variant {
            self.level = self.enter()?;
            self.out.code.push(op::EMPTY_DICT);
            self.text(name);
        }
        let level = self.enter()?;
        self.out.code.push(op::EMPTY_DICT);
        Ok(self.compound(Close::Dict, level, None, outer))
    }

    /// Opens a tuple of known length; with a variant's name, the outer one-pair dict too.
    fn fixed(mut self, variant: Option<&str>, len: usize) -> Result<Compound<'a>, Error> {
        let outer = variant.is_some();
        if let Some(name) = variant {
            self.expect("a dict")?;
            self.hashable("a dict")?;
            self.level = self.enter()?;
            self.out.code.push(op::EMPTY_DICT);
            self.text(name);
        }
        match self.mode {
            Mode::Any | Mode::Seq(Kind::Tuple) => {
                let level = self.enter()?;
                if len > 3 {
                    self.out.code.push(op::MARK);
                }
                Ok(self.compound(Close::Fixed(len), level, Some(len), outer))
            }
            Mode::Reduce if len == 2 => {
                let level = self.enter()?;
                Ok(self.compound(Close::Reduce, level, Some(2), outer))
            }
            Mode::Seq(_) => self.serialize_seq(Some(len)),
            _ => {
                self.expect("a tuple")?;
                Err(Error::Message("a tuple has no place here".to_owned()))
            }
        }
    }

    fn compound(self, close: Close, level: usize, expected: Option<usize>, outer: bool) -> Compound<'a> {
        let hashed = match close {
            Close::Set | Close::FrozenSet => true,
            Close::Fixed(_) | Close::Tuple => self.hashed,
            _ => false,
        };
        Compound { out: self.out, level, limit: self.limit, close, count: 0, expected, outer, hashed }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    List,
    Tuple,
    Fixed(usize),
    Set,
    FrozenSet,
    Dict,
    Reduce,
}

/// A container being written.
pub(crate) struct Compound<'a> {
    out: &'a mut Template,
    level: usize,
    limit: usize,
    close: Close,
    count: usize,
    expected: Option<usize>,
    /// Whether the container is the value of a one-pair dict (an enum variant).
    outer: bool,
    hashed: bool,
}

impl Compound<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, value: &T, hashed: bool, mode: Mode) -> Result<(), Error> {
        value.serialize(Ser { out: self.out, level: self.level, limit: self.limit, mode, hashed })
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if self.count == 0 && matches!(self.close, Close::List | Close::Set) {
            self.out.code.push(op::MARK);
        }
        let mode = match (self.close, self.count) {
            (Close::Reduce, 1) => Mode::Seq(Kind::Tuple),
            _ => Mode::Any,
        };
        self.count += 1;
        self.put(value, self.hashed, mode)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        if self.count == 0 {
            self.out.code.push(op::MARK);
        }
        self.count += 1;
        self.put(key, true, Mode::Any)
    }

    fn named<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.key(name)?;
        self.put(value, false, Mode::Any)
    }

    fn close(self) -> Result<(), Error> {
        if let Some(expected) = self.expected
            && expected != self.count
        {
            return Err(Error::Kind {
                expected: format!("a tuple of {expected} items"),
                found: format!("{} items", self.count),
            });
        }
        let code = &mut self.out.code;
        match self.close {
            Close::List if self.count > 0 => code.push(op::APPENDS),
            Close::Set if self.count > 0 => code.push(op::ADDITEMS),
            Close::Dict if self.count > 0 => code.push(op::SETITEMS),
            Close::List | Close::Set | Close::Dict => {}
            Close::Tuple => code.push(op::TUPLE),
            Close::FrozenSet => code.push(op::FROZENSET),
            Close::Reduce => code.push(op::REDUCE),
            Close::Fixed(len) => code.push(match len {
                0 => op::EMPTY_TUPLE,
                1 => op::TUPLE1,
                2 => op::TUPLE2,
                3 => op::TUPLE3,
                _ => op::TUPLE,
            }),
        }
        if self.outer {
            code.push(op::SETITEM);
        }
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty;)*) => {$(
        fn $method(self, value: $type) -> Result<(), Error> {
            self.serialize_i64(i64::from(value))
        }
    )*};
}

impl<'a> Serializer for Ser<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    /// True for the values of others (dates and addresses become str); false tells the types of this crate
    /// that they are being pickled.
    fn is_human_readable(&self) -> bool {
        !matches!(self.mode, Mode::BigInt | Mode::Reduce)
    }

    integers! {
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.expect("a bool")?;
        op::put_bool(&mut self.out.code, value);
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.expect("an int")?;
        op::put_int(&mut self.out.code, value);
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.serialize_i128(i128::from(value))
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.expect("an int")?;
        match i64::try_from(value) {
            Ok(small) => op::put_int(&mut self.out.code, small),
            Err(_) => op::put_long(&mut self.out.code, &value.to_le_bytes()),
        }
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        if let Ok(signed) = i128::try_from(value) {
            return self.serialize_i128(signed);
        }
        self.expect("an int")?;
        let mut le = value.to_le_bytes().to_vec();
        le.push(0);
        op::put_long(&mut self.out.code, &le);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.expect("a float")?;
        op::put_float(&mut self.out.code, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, value: &str) -> Result<(), Error> {
        match self.mode {
            Mode::Reference => self.out.hole(Hole::Reference(value.into())),
            Mode::Global => {
                let name = Global::new(value);
                name.check()?;
                self.out
                    .hole(Hole::Global { module: name.module().into(), qualname: name.qualname().into() });
            }
            Mode::BigInt => {
                return self.serialize_i128(value.parse().map_err(|_| Error::Kind {
                    expected: Mode::BigInt.name().to_owned(),
                    found: "a str".to_owned(),
                })?);
            }
            _ => {
                self.expect("a str")?;
                self.text(value);
            }
        }
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        match self.mode {
            Mode::ByteArray => {
                self.hashable("a bytearray")?;
                self.out.hole(Hole::Global { module: "builtins".into(), qualname: "bytearray".into() });
                op::put_bytes(&mut self.out.code, value);
                self.out.code.extend_from_slice(&[op::TUPLE1, op::REDUCE]);
            }
            Mode::BigInt => op::put_long(&mut self.out.code, value),
            Mode::Surrogate => {
                self.out.text = true;
                op::put_str(&mut self.out.code, value);
            }
            _ => {
                self.expect("bytes")?;
                op::put_bytes(&mut self.out.code, value);
            }
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.out.code.push(op::NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if !name.starts_with(magic::PREFIX) {
            return value.serialize(self);
        }
        let mode = match name {
            magic::TEMPLATE => {
                // Arguments given as a template are taken on trust: their code is already written.
                if !matches!(self.mode, Mode::Any | Mode::Seq(_)) {
                    self.expect("a template")?;
                }
                return embed(value, self.out, self.level, self.limit);
            }
            magic::REFERENCE => Mode::Reference,
            magic::GLOBAL => Mode::Global,
            magic::TUPLE => Mode::Seq(Kind::Tuple),
            magic::LIST => Mode::Seq(Kind::List),
            magic::SET => Mode::Seq(Kind::Set),
            magic::FROZENSET => Mode::Seq(Kind::FrozenSet),
            magic::BYTEARRAY => Mode::ByteArray,
            magic::BIGINT => Mode::BigInt,
            magic::SURROGATE => Mode::Surrogate,
            magic::REDUCE => Mode::Reduce,
            _ => return value.serialize(self),
        };
        if self.mode != mode {
            self.expect("another kind of value")?;
        }
        value.serialize(Ser { mode, ..self })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.expect("a dict")?;
        self.hashable("a dict")?;
        let level = self.enter()?;
        self.out.code.push(op::EMPTY_DICT);
        self.text(variant);
        value.serialize(Ser {
            out: &mut *self.out,
            level,
            limit: self.limit,
            mode: Mode::Any,
            hashed: false,
        })?;
        self.out.code.push(op::SETITEM);
        Ok(())
    }

    fn serialize_seq(mut self, len: Option<usize>) -> Result<Compound<'a>, Error> {
        let kind = match self.mode {
            // Python hashes tuples, not lists.
            Mode::Any if self.hashed => Kind::Tuple,
            Mode::Any => Kind::List,
            Mode::Seq(kind) => kind,
            _ => return self.fixed(None, len.unwrap_or(0)),
        };
        let level = self.enter()?;
        let close = match kind {
            Kind::List => {
                self.hashable("a list")?;
                self.out.code.push(op::EMPTY_LIST);
                Close::List
            }
            Kind::Set => {
                self.hashable("a set")?;
                self.out.code.push(op::EMPTY_SET);
                Close::Set
            }
            Kind::Tuple if len == Some(0) => return Ok(self.compound(Close::Fixed(0), level, len, false)),
            Kind::Tuple => {
                self.out.code.push(op::MARK);
                Close::Tuple
            }
            Kind::FrozenSet => {
                self.out.code.push(op::MARK);
                Close::FrozenSet
            }
        };
        Ok(self.compound(close, level, None, false))
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'a>, Error> {
        self.fixed(None, len)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Compound<'a>, Error> {
        self.fixed(None, len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a>, Error> {
        self.fixed(Some(variant), len)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, Error> {
        self.dict(None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Error> {
        self.dict(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Error> {
        self.dict(Some(variant))
    }
}

macro_rules! items {
    ($($trait:ident $method:ident;)*) => {$(
        impl $trait for Compound<'_> {
            type Ok = ();
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! fields {
    ($($trait:ident;)*) => {$(
        impl $trait for Compound<'_> {
            type Ok = ();
            type Error = Error;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.named(name, value)
            }
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.put(value, false, Mode::Any)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}
