//! msgpack: reading a frame into a [`Value`] and writing one.

use std::borrow::Cow;
use std::cell::Cell;

use rmp::Marker;

use crate::error::WireError;
use crate::limits::Limits;
use crate::value::Value;

/// How many values may still be read; all parts of a message share one.
pub(crate) struct Items {
    left: Cell<usize>,
    limit: usize,
}

impl Items {
    /// As many as a message may have.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { left: Cell::new(limits.items), limit: limits.items }
    }

    /// Counts some that were read, or what takes as much memory.
    pub(crate) fn spend(&self, count: usize) -> Result<(), WireError> {
        let left = self.left.get().checked_sub(count).ok_or(WireError::TooLarge {
            what: "a message in values",
            actual: (self.limit as u64).saturating_add(1),
            limit: self.limit as u64,
            name: "items",
        })?;
        self.left.set(left);
        Ok(())
    }

    /// How many were read.
    pub(crate) fn spent(&self) -> usize {
        self.limit.saturating_sub(self.left.get())
    }
}

/// Reads one value that fills `bytes` exactly. `mark` may turn a map into something else (Dask's `__Serialized__` and
/// its like).
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    items: &Items,
    mark: &mut dyn FnMut(Map<'a>) -> Result<Value<'a>, WireError>,
) -> Result<Value<'a>, WireError> {
    let mut reader = Reader { bytes, at: 0, items, max_depth: limits.depth, mark };
    let value = reader.value(limits.depth)?;
    if reader.at != bytes.len() {
        return Err(WireError::malformed(format!(
            "{} bytes left over after a value",
            bytes.len() - reader.at
        )));
    }
    Ok(value)
}

/// [`read`] without marks.
pub(crate) fn read_part<'a>(bytes: &'a [u8], limits: &Limits, items: &Items) -> Result<Value<'a>, WireError> {
    read(bytes, limits, items, &mut |pairs| Ok(Value::Map(pairs)))
}

/// [`read_part`] of what is no part of anything larger.
pub(crate) fn read_plain<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Value<'a>, WireError> {
    read_part(bytes, limits, &Items::new(limits))
}

/// Elements that an array or map has room for before the first has been read.
const FIRST_ELEMENTS: usize = 1024;

pub(crate) type Map<'a> = Vec<(Value<'a>, Value<'a>)>;

struct Reader<'a, 'm> {
    bytes: &'a [u8],
    at: usize,
    items: &'m Items,
    max_depth: usize,
    mark: &'m mut dyn FnMut(Map<'a>) -> Result<Value<'a>, WireError>,
}

impl<'a> Reader<'a, '_> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(size);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += size;
                Ok(slice)
            }
            None => Err(WireError::malformed(format!(
                "a value of {size} bytes in the last {} of a frame",
                self.bytes.len() - self.at
            ))),
        }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let slice = self.take(N)?;
        slice.try_into().map_err(|_| WireError::malformed("a number cut short"))
    }

    fn size(&mut self, width: u8) -> Result<usize, WireError> {
        Ok(match width {
            1 => u8::from_be_bytes(self.number()?).into(),
            2 => u16::from_be_bytes(self.number()?).into(),
            _ => usize::try_from(u32::from_be_bytes(self.number()?))
                .map_err(|_| WireError::malformed("a size beyond this machine"))?,
        })
    }

    fn text(&mut self, size: usize) -> Result<Value<'a>, WireError> {
        let bytes = self.take(size)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => Value::Str(Cow::Borrowed(text)),
            Err(_) => Value::Bin(Cow::Borrowed(bytes)),
        })
    }

    fn bin(&mut self, size: usize) -> Result<Value<'a>, WireError> {
        Ok(Value::Bin(Cow::Borrowed(self.take(size)?)))
    }

    /// How many of `count` announced elements are set aside for at once: no more than the rest of the frame can hold, and
    /// few, since an element takes many times the byte that may announce it and nested arrays each have their own.
    fn room(&self, count: usize) -> usize {
        count.min(self.bytes.len() - self.at).min(self.items.left.get()).min(FIRST_ELEMENTS)
    }

    fn array(&mut self, count: usize, depth: usize) -> Result<Value<'a>, WireError> {
        let depth = self.deeper(depth)?;
        let mut items = Vec::with_capacity(self.room(count));
        for _ in 0..count {
            items.push(self.value(depth)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<Value<'a>, WireError> {
        let depth = self.deeper(depth)?;
        let mut pairs = Vec::with_capacity(self.room(count));
        for _ in 0..count {
            pairs.push((self.value(depth)?, self.value(depth)?));
        }
        // Every mark of Dask's is a text key that starts with two underscores.
        match pairs.first() {
            Some((Value::Str(key), _)) if key.starts_with("__") => (self.mark)(pairs),
            _ => Ok(Value::Map(pairs)),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, WireError> {
        depth.checked_sub(1).ok_or(WireError::TooLarge {
            what: "nesting",
            actual: self.max_depth as u64 + 1,
            limit: self.max_depth as u64,
            name: "depth",
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, WireError> {
        self.items.spend(1)?;
        let [marker] = self.number()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Value::Nil,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(value) => Value::Int(value.into()),
            Marker::FixNeg(value) => Value::Int(value.into()),
            Marker::U8 => Value::Int(u8::from_be_bytes(self.number()?).into()),
            Marker::U16 => Value::Int(u16::from_be_bytes(self.number()?).into()),
            Marker::U32 => Value::Int(u32::from_be_bytes(self.number()?).into()),
            Marker::U64 => Value::from(u64::from_be_bytes(self.number()?)),
            Marker::I8 => Value::Int(i8::from_be_bytes(self.number()?).into()),
            Marker::I16 => Value::Int(i16::from_be_bytes(self.number()?).into()),
            Marker::I32 => Value::Int(i32::from_be_bytes(self.number()?).into()),
            Marker::I64 => Value::Int(i64::from_be_bytes(self.number()?)),
            Marker::F32 => Value::Float(f32::from_be_bytes(self.number()?).into()),
            Marker::F64 => Value::Float(f64::from_be_bytes(self.number()?)),
            Marker::FixStr(size) => self.text(size.into())?,
            Marker::Str8 => self.size(1).and_then(|size| self.text(size))?,
            Marker::Str16 => self.size(2).and_then(|size| self.text(size))?,
            Marker::Str32 => self.size(4).and_then(|size| self.text(size))?,
            Marker::Bin8 => self.size(1).and_then(|size| self.bin(size))?,
            Marker::Bin16 => self.size(2).and_then(|size| self.bin(size))?,
            Marker::Bin32 => self.size(4).and_then(|size| self.bin(size))?,
            Marker::FixArray(count) => self.array(count.into(), depth)?,
            Marker::Array16 => self.size(2).and_then(|count| self.array(count, depth))?,
            Marker::Array32 => self.size(4).and_then(|count| self.array(count, depth))?,
            Marker::FixMap(count) => self.map(count.into(), depth)?,
            Marker::Map16 => self.size(2).and_then(|count| self.map(count, depth))?,
            Marker::Map32 => self.size(4).and_then(|count| self.map(count, depth))?,
            other => return Err(WireError::malformed(format!("msgpack {other:?}, which Dask never sends"))),
        })
    }
}

/// Writes a value. `payload` writes what stands in the place of a payload.
pub(crate) fn write(
    out: &mut Vec<u8>,
    value: &Value<'_>,
    payload: &mut dyn FnMut(&mut Vec<u8>, &crate::payload::Payload),
) {
    match value {
        Value::Nil => out.push(0xc0),
        Value::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Int(value) => write_int(out, *value),
        Value::UInt(value) => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Float(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Str(text) => write_str(out, text),
        Value::Bin(bytes) => {
            write_size(out, bytes.len(), &[(0xff, 0xc4), (0xffff, 0xc5), (usize::MAX, 0xc6)]);
            out.extend_from_slice(bytes);
        }
        Value::Array(items) => {
            write_array_len(out, items.len());
            items.iter().for_each(|item| write(out, item, payload));
        }
        Value::Set(items) => {
            write_map_len(out, 2);
            write_str(out, "__Set__");
            out.push(0xc3);
            write_str(out, "as-list");
            write_array_len(out, items.len());
            items.iter().for_each(|item| write(out, item, payload));
        }
        Value::Map(pairs) => {
            write_map_len(out, pairs.len());
            for (key, value) in pairs {
                write(out, key, payload);
                write(out, value, payload);
            }
        }
        Value::Payload(value) => payload(out, value),
    }
}

/// Writes a value that holds no payload; one that does is written as nil.
pub(crate) fn write_plain(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value, &mut |out, _| out.push(0xc0));
    out
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(small) = i8::try_from(value) {
        if small >= -32 {
            out.extend_from_slice(&small.to_be_bytes());
        } else {
            out.push(0xd0);
            out.extend_from_slice(&small.to_be_bytes());
        }
    } else if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[0xcc, value]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    if text.len() < 32 {
        #[expect(clippy::cast_possible_truncation, reason = "below 32")]
        out.push(0xa0 | text.len() as u8);
    } else {
        write_size(out, text.len(), &[(0xff, 0xd9), (0xffff, 0xda), (usize::MAX, 0xdb)]);
    }
    out.extend_from_slice(text.as_bytes());
}

fn write_array_len(out: &mut Vec<u8>, len: usize) {
    if len < 16 {
        #[expect(clippy::cast_possible_truncation, reason = "below 16")]
        out.push(0x90 | len as u8);
    } else {
        write_size(out, len, &[(0xffff, 0xdc), (usize::MAX, 0xdd)]);
    }
}

pub(crate) fn write_map_len(out: &mut Vec<u8>, len: usize) {
    if len < 16 {
        #[expect(clippy::cast_possible_truncation, reason = "below 16")]
        out.push(0x80 | len as u8);
    } else {
        write_size(out, len, &[(0xffff, 0xde), (usize::MAX, 0xdf)]);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each arm's bound; msgpack itself ends at 4 GiB")]
fn write_size(out: &mut Vec<u8>, size: usize, forms: &[(usize, u8)]) {
    for &(bound, marker) in forms {
        if size <= bound {
            out.push(marker);
            match bound {
                0xff => out.push(size as u8),
                0xffff => out.extend_from_slice(&(size as u16).to_be_bytes()),
                _ => out.extend_from_slice(&(size as u32).to_be_bytes()),
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value<'static>> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (i64::MAX as u64 + 1..=u64::MAX).prop_map(Value::UInt),
            (-1e300f64..1e300).prop_map(Value::Float),
            ".{0,40}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
                proptest::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any_value()) {
            let bytes = write_plain(&value);
            prop_assert_eq!(&read_plain(&bytes, &Limits::default()).unwrap(), &value);
            let mut oracle = std::io::Cursor::new(&bytes);
            let _: serde::de::IgnoredAny = rmp_serde::from_read(&mut oracle).unwrap();
            prop_assert_eq!(oracle.position(), bytes.len() as u64);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_plain(&bytes, &Limits::default());
        }
    }

    #[test]
    fn room_is_bounded_by_what_is_there_and_by_the_first_step() {
        let bytes = vec![0xc0; 5000];
        let room = |items: usize, count: usize| {
            let mark = &mut |pairs| Ok(Value::Map(pairs));
            let items = Items::new(&Limits { items, ..Limits::default() });
            Reader { bytes: &bytes, at: 4000, items: &items, max_depth: 9, mark }.room(count)
        };
        assert_eq!(room(1 << 20, 3), 3);
        assert_eq!(room(1 << 20, 1 << 30), 1000);
        assert_eq!(room(7, 1 << 30), 7);
        let bytes = vec![0xc0; 1 << 20];
        let reader = Reader {
            bytes: &bytes,
            at: 0,
            items: &Items::new(&Limits::default()),
            max_depth: 9,
            mark: &mut |pairs| Ok(Value::Map(pairs)),
        };
        assert_eq!(reader.room(1 << 30), FIRST_ELEMENTS);
    }

    #[test]
    fn endless_nesting_and_claimed_sizes_are_errors() {
        let error = read_plain(&vec![0x91; 1_000_000], &Limits::default()).unwrap_err();
        assert!(matches!(error, WireError::TooLarge { name: "depth", .. }), "{error}");
        for marker in [0xdd, 0xdf, 0xc6, 0xdb] {
            assert!(read_plain(&[marker, 0xff, 0xff, 0xff, 0xff, 1], &Limits::default()).is_err());
        }
        let few = Limits { items: 10, ..Limits::default() };
        assert!(read_plain(&[0x9f; 3], &few).is_err());
        assert!(matches!(
            read_plain(&[&[0xdc, 0, 20][..], &[0xc0; 20]].concat(), &few),
            Err(WireError::TooLarge { name: "items", .. })
        ));
    }
}
