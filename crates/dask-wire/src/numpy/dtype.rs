//! NumPy's data types.

use std::fmt;

use dask_pickle::{Dict, Global, List, Reduce, Tuple, View};
use serde::{Serialize, Serializer};

use super::ArrayError;
use crate::value::Value;

/// Nesting of structured types that is followed.
const MAX_DEPTH: usize = 16;

/// The order of the bytes of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first, and all types for which there is no order.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The order of this machine.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
}

/// What a count in a `datetime64` or `timedelta64` counts: `[25us]` is a multiple of 25 of the unit `us`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TimeUnit {
    /// `Y`, `M`, `W`, `D`, `h`, `m`, `s`, `ms`, `us`, `ns`, `ps`, `fs`, `as`, or `generic`.
    pub unit: String,
    /// How many of the unit.
    pub multiple: u32,
}

impl TimeUnit {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self { unit: "generic".to_owned(), multiple: 1 });
        }
        let text = text.strip_prefix('[')?.strip_suffix(']')?;
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (multiple, unit) = text.split_at(split);
        let multiple = if multiple.is_empty() { 1 } else { multiple.parse().ok()? };
        Self::new(unit, multiple)
    }

    fn new(unit: &str, multiple: u32) -> Option<Self> {
        const UNITS: &[&str] =
            &["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"];
        UNITS.contains(&unit).then(|| Self { unit: unit.to_owned(), multiple })
    }

    /// Units per second: how many counts of this unit one second has, for units up to a second.
    pub fn per_second(&self) -> Option<u64> {
        let units = match self.unit.as_str() {
            "s" => 1,
            "ms" => 1_000,
            "us" => 1_000_000,
            "ns" => 1_000_000_000,
            "ps" => 1_000_000_000_000,
            "fs" => 1_000_000_000_000_000,
            "as" => 1_000_000_000_000_000_000,
            _ => return None,
        };
        (self.multiple == 1).then_some(units)
    }
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.unit.as_str(), self.multiple) {
            ("generic", _) => Ok(()),
            (unit, 1) => write!(f, "[{unit}]"),
            (unit, multiple) => write!(f, "[{multiple}{unit}]"),
        }
    }
}

/// One field of a structured type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Where it starts in the record, in bytes.
    pub offset: usize,
    /// The shape of a field that is an array itself; empty for a plain one.
    pub shape: Vec<usize>,
}

/// What an element is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DTypeKind {
    /// A bool in one byte.
    Bool,
    /// A signed integer.
    Int,
    /// An unsigned integer.
    UInt,
    /// A float of 2, 4 or 8 bytes; larger ones (`longdouble`) are carried but not read.
    Float,
    /// Two floats: real and imaginary part.
    Complex,
    /// A point in time, as a count since 1970.
    DateTime(TimeUnit),
    /// A difference of two points in time.
    TimeDelta(TimeUnit),
    /// Bytes of a fixed length, padded with zeros.
    Bytes,
    /// Text of a fixed length in UTF-32, padded with zeros.
    Str,
    /// Raw bytes of a fixed length.
    Void,
    /// A record. Titles that fields may have besides their names are not kept.
    Struct(Vec<Field>),
    /// Python objects. Arrays of these are pickles; see [`crate::family::Decoded::Pickle`].
    Object,
}

/// The type of an array's elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DType {
    kind: DTypeKind,
    order: ByteOrder,
    size: usize,
}

impl DType {
    pub(crate) fn plain(kind: DTypeKind, size: usize) -> Self {
        Self { kind, order: ByteOrder::NATIVE, size }
    }

    /// A record type. The fields must lie within `size` bytes.
    ///
    /// # Errors
    /// If a field lies outside, or holds Python objects.
    pub fn record(fields: Vec<Field>, size: usize) -> Result<Self, ArrayError> {
        for field in &fields {
            let count = field.shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
            let end = count
                .and_then(|count| count.checked_mul(field.dtype.size))
                .and_then(|len| len.checked_add(field.offset));
            // A shape without elements may still mean very many lists.
            let most = field.shape.len().saturating_mul(size).saturating_add(1);
            if end.is_none_or(|end| end > size) || super::parts(&field.shape) > most {
                return Err(ArrayError::dtype(format!("field {:?} lies outside of its record", field.name)));
            }
        }
        Ok(Self { kind: DTypeKind::Struct(fields), order: ByteOrder::Little, size })
    }

    /// Reads NumPy's short form: `<f8`, `|b1`, `>M8[ns]`, `<U5`.
    ///
    /// # Errors
    /// If it is no such form.
    pub fn parse(text: &str) -> Result<Self, ArrayError> {
        let bad = || ArrayError::dtype(format!("{text:?} is no data type"));
        let (order, rest) = match text.as_bytes().first() {
            Some(b'<' | b'|') => (ByteOrder::Little, text.get(1..)),
            Some(b'=') => (ByteOrder::NATIVE, text.get(1..)),
            Some(b'>') => (ByteOrder::Big, text.get(1..)),
            _ => (ByteOrder::NATIVE, Some(text)),
        };
        let rest = rest.ok_or_else(bad)?;
        if rest == "?" {
            return Ok(Self { kind: DTypeKind::Bool, order: ByteOrder::Little, size: 1 });
        }
        let code = rest.chars().next().filter(char::is_ascii).ok_or_else(bad)?;
        let rest = rest.get(1..).unwrap_or_default();
        let split = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, unit) = rest.split_at(split);
        let number: Option<usize> =
            if digits.is_empty() { None } else { Some(digits.parse().map_err(|_| bad())?) };
        if !matches!(code, 'M' | 'm') && !unit.is_empty() {
            return Err(bad());
        }
        let needed = number.ok_or_else(bad);
        let (kind, size) = match code {
            'b' if number == Some(1) => (DTypeKind::Bool, 1),
            'i' => (DTypeKind::Int, needed?),
            'u' => (DTypeKind::UInt, needed?),
            'f' => (DTypeKind::Float, needed?),
            'c' => (DTypeKind::Complex, needed?),
            'M' => (DTypeKind::DateTime(TimeUnit::parse(unit).ok_or_else(bad)?), needed?),
            'm' => (DTypeKind::TimeDelta(TimeUnit::parse(unit).ok_or_else(bad)?), needed?),
            'S' | 'a' => (DTypeKind::Bytes, number.unwrap_or(0)),
            'U' => (DTypeKind::Str, number.unwrap_or(0).checked_mul(4).ok_or_else(bad)?),
            'V' => (DTypeKind::Void, number.unwrap_or(0)),
            'O' => (DTypeKind::Object, number.unwrap_or(8)),
            _ => return Err(bad()),
        };
        let fits = match code {
            'i' | 'u' => matches!(size, 1 | 2 | 4 | 8),
            'f' => matches!(size, 2 | 4 | 8 | 12 | 16),
            'c' => matches!(size, 8 | 16 | 24 | 32),
            'M' | 'm' => size == 8,
            _ => true,
        };
        if !fits {
            return Err(bad());
        }
        let order =
            if size == 1 || matches!(code, 'S' | 'a' | 'V' | 'O') { ByteOrder::Little } else { order };
        Ok(Self { kind, order, size })
    }

    /// What an element is.
    pub fn kind(&self) -> &DTypeKind {
        &self.kind
    }

    /// The order of an element's bytes.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// Bytes of one element.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether it is, or contains, Python objects.
    pub fn has_objects(&self) -> bool {
        match &self.kind {
            DTypeKind::Object => true,
            DTypeKind::Struct(fields) => fields.iter().any(|field| field.dtype.has_objects()),
            _ => false,
        }
    }

    /// The entry of a header: `[0, short form or description]` or `[1, pickle]`.
    pub(crate) fn from_header(value: &Value<'_>, limits: &dask_pickle::Limits) -> Result<Self, ArrayError> {
        let [custom, dtype] = value.as_array().unwrap_or_default() else {
            return Err(ArrayError::dtype("the header's dtype is no pair".to_owned()));
        };
        if custom.as_i64() == Some(0) || custom.as_bool() == Some(false) {
            return Self::from_description(dtype, MAX_DEPTH);
        }
        let pickle = dtype.as_bytes().unwrap_or_default().to_vec();
        let tree = dask_pickle::read(pickle, Vec::new(), limits)
            .map_err(|error| ArrayError::dtype(format!("its pickle cannot be read: {error}")))?;
        Self::from_view(tree.root())
    }

    /// A short form, or a list of `(name, type[, shape])`.
    fn from_description(value: &Value<'_>, depth: usize) -> Result<Self, ArrayError> {
        if let Some(text) = value.as_str() {
            return Self::parse(text);
        }
        let bad = || ArrayError::dtype("a description that is no list of fields".to_owned());
        let depth = depth.checked_sub(1).ok_or_else(|| ArrayError::dtype("nested too deep".to_owned()))?;
        let mut offset = 0usize;
        let mut fields = Vec::new();
        for field in value.as_array().ok_or_else(bad)? {
            let (name, dtype, shape) = match field.as_array().unwrap_or_default() {
                [name, dtype] => (name, dtype, None),
                [name, dtype, shape] => (name, dtype, Some(shape)),
                _ => return Err(bad()),
            };
            // A name may be a pair of title and name.
            let name = match name.as_array() {
                Some([_, name]) => name.as_str(),
                _ => name.as_str(),
            };
            let name = name.ok_or_else(bad)?.to_owned();
            let dtype = Self::from_description(dtype, depth)?;
            let shape = match shape {
                None => Vec::new(),
                Some(shape) => shape_of(shape).ok_or_else(bad)?,
            };
            let count = shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n)).ok_or_else(bad)?;
            let end =
                count.checked_mul(dtype.size).and_then(|len| len.checked_add(offset)).ok_or_else(bad)?;
            // Nameless fields are padding.
            if !name.is_empty() {
                fields.push(Field { name, dtype, offset, shape });
            }
            offset = end;
        }
        Self::record(fields, offset)
    }

    /// A pickled `numpy.dtype`.
    ///
    /// # Errors
    /// If it is none, or one that is not known.
    pub fn from_view(view: View<'_>) -> Result<Self, ArrayError> {
        Ok(Self::from_pickled(view, MAX_DEPTH)?.0)
    }

    /// The type, and the shape if it is a type of arrays.
    fn from_pickled(view: View<'_>, depth: usize) -> Result<(Self, Vec<usize>), ArrayError> {
        let bad = |what: &str| ArrayError::dtype(format!("a pickled data type {what}"));
        let depth = depth.checked_sub(1).ok_or_else(|| bad("that is nested too deep"))?;
        let object = view.object().ok_or_else(|| bad("that is no object"))?;
        if let Some((module, name)) = object.class_name()
            && !(module == "numpy" && name == "dtype")
        {
            return Err(bad(&format!("made by {module}.{name}, which is not known")));
        }
        let code = object.args().item(0).ok_or_else(|| bad("without a code"))?;
        if code.kind() == dask_pickle::Kind::Dict {
            return Ok((Self::from_dict(code, depth)?, Vec::new()));
        }
        let code = match (code.as_str(), code.as_global()) {
            (Some(code), _) => code,
            // The elements of a `recarray`: records of a class that gives their fields as attributes.
            (None, Some(("numpy" | "numpy.rec" | "numpy.core.records", "record" | "void"))) => "V",
            // Classes of the program itself that NumPy treats as records.
            (None, Some((_, name))) => return Err(bad(&format!("of the class {name}"))),
            (None, None) => return Err(bad("without a code")),
        };
        let item = |index| object.state().and_then(|state: View<'_>| state.item(index));
        let text = |view: View<'_>| match (view.as_str(), super::pickle::contents(view)) {
            (None, Ok(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            (text, _) => text.unwrap_or_default().to_owned(),
        };
        let mut dtype = Self::parse(code)?;
        if let Some(order) = item(1).map(text) {
            dtype.order = match order.as_str() {
                ">" => ByteOrder::Big,
                "=" => ByteOrder::NATIVE,
                "<" => ByteOrder::Little,
                _ => dtype.order,
            };
        }
        // Version 4 of the state adds metadata and the time unit.
        if let DTypeKind::DateTime(unit) | DTypeKind::TimeDelta(unit) = &mut dtype.kind
            && let Some(parts) = item(8).and_then(|meta| meta.item(1))
            && let (Some(name), Some(multiple)) = (parts.item(0), parts.item(1).and_then(View::as_u64))
        {
            *unit = TimeUnit::new(&text(name), u32::try_from(multiple).unwrap_or(1))
                .ok_or_else(|| bad("with an unknown time unit"))?;
        }
        if let Some(sub) = item(2).filter(|sub| !sub.is_none()) {
            let (Some(base), Some(shape)) = (sub.item(0), sub.item(1)) else {
                return Err(bad("of arrays without their shape"));
            };
            let (base, inner) = Self::from_pickled(base, depth)?;
            let dims: Option<Vec<usize>> = match shape.as_u64() {
                Some(len) => usize::try_from(len).ok().map(|len| vec![len]),
                None => shape.items().map(|n| usize::try_from(n.as_u64()?).ok()).collect(),
            };
            let mut dims = dims.ok_or_else(|| bad("of arrays without their shape"))?;
            dims.extend(inner);
            return Ok((base, dims));
        }
        let (Some(names), Some(fields)) =
            (item(3).filter(|names| !names.is_none()), item(4).filter(|fields| !fields.is_none()))
        else {
            if code == "V" {
                return Err(bad("of records without fields"));
            }
            return Ok((dtype, Vec::new()));
        };
        let size = item(5).and_then(View::as_u64).and_then(|size| usize::try_from(size).ok());
        let mut parts = Vec::new();
        for name in names.items() {
            let name = name.as_str().ok_or_else(|| bad("with a nameless field"))?;
            let field = fields.get(name).ok_or_else(|| bad("with an undescribed field"))?;
            let (Some(of), Some(offset)) = (field.item(0), field.item(1).and_then(View::as_u64)) else {
                return Err(bad("with an undescribed field"));
            };
            let (of, shape) = Self::from_pickled(of, depth)?;
            let offset = usize::try_from(offset).map_err(|_| bad("with a field out of range"))?;
            parts.push(Field { name: name.to_owned(), dtype: of, offset, shape });
        }
        Ok((Self::record(parts, size.unwrap_or(dtype.size))?, Vec::new()))
    }

    /// A dict of names, formats, offsets and size, as `numpy.dtype` takes it.
    fn from_dict(view: View<'_>, depth: usize) -> Result<Self, ArrayError> {
        let bad = || ArrayError::dtype("a dict that does not describe a record".to_owned());
        let depth = depth.checked_sub(1).ok_or_else(bad)?;
        let part = |name: &str| view.get(name).ok_or_else(bad);
        let size = part("itemsize")?.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(bad)?;
        let parts = part("names")?.items().zip(part("formats")?.items()).zip(part("offsets")?.items());
        let mut fields = Vec::new();
        for ((name, format), offset) in parts {
            let (format, shape) = match (format.item(0), format.item(1)) {
                (Some(format), Some(shape)) => (format, shape.items().collect()),
                _ => (format, Vec::new()),
            };
            let shape: Option<Vec<usize>> =
                shape.into_iter().map(|n: View<'_>| usize::try_from(n.as_u64()?).ok()).collect();
            let dtype = match format.as_str() {
                Some(code) => Self::parse(code)?,
                None => Self::from_dict(format, depth)?,
            };
            fields.push(Field {
                name: name.as_str().ok_or_else(bad)?.to_owned(),
                dtype,
                offset: offset.as_u64().and_then(|offset| usize::try_from(offset).ok()).ok_or_else(bad)?,
                shape: shape.ok_or_else(bad)?,
            });
        }
        Self::record(fields, size)
    }

    /// The entry of a header.
    pub(crate) fn to_header(&self) -> Result<Value<'static>, ArrayError> {
        let (custom, dtype) = match &self.kind {
            // Receivers decode lists as tuples, which NumPy does not take for a description.
            DTypeKind::Struct(_) => {
                let pickle =
                    dask_pickle::to_vec(&Reduce { callable: Global::of("numpy", "dtype"), args: (self,) })
                        .map_err(|error| ArrayError::dtype(error.to_string()))?;
                (1, Value::from(pickle))
            }
            _ => (0, Value::from(self.to_string())),
        };
        Ok(Value::Array(vec![Value::from(custom), dtype]))
    }
}

/// The numbers of a wire array, or a single number.
pub(crate) fn shape_of(value: &Value<'_>) -> Option<Vec<usize>> {
    match value.as_u64() {
        Some(len) => Some(vec![usize::try_from(len).ok()?]),
        None => value.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect(),
    }
}

impl fmt::Display for DType {
    /// NumPy's short form, or a list of fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            _ if self.size == 1 => '|',
            ByteOrder::Little => '<',
            ByteOrder::Big => '>',
        };
        match &self.kind {
            DTypeKind::Bool => f.write_str("|b1"),
            DTypeKind::Int => write!(f, "{order}i{}", self.size),
            DTypeKind::UInt => write!(f, "{order}u{}", self.size),
            DTypeKind::Float => write!(f, "{order}f{}", self.size),
            DTypeKind::Complex => write!(f, "{order}c{}", self.size),
            DTypeKind::DateTime(unit) => write!(f, "{order}M8{unit}"),
            DTypeKind::TimeDelta(unit) => write!(f, "{order}m8{unit}"),
            DTypeKind::Bytes => write!(f, "|S{}", self.size),
            DTypeKind::Str => write!(f, "{order}U{}", self.size / 4),
            DTypeKind::Void => write!(f, "|V{}", self.size),
            DTypeKind::Object => f.write_str("|O"),
            DTypeKind::Struct(fields) => {
                f.write_str("[")?;
                for (at, field) in fields.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", field.name, field.dtype)?;
                    if !field.shape.is_empty() {
                        write!(f, "{:?}", field.shape)?;
                    }
                }
                f.write_str("]")
            }
        }
    }
}

impl Serialize for DType {
    /// What `numpy.dtype` takes as its argument: the short form, or a dict of names, formats and offsets.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let DTypeKind::Struct(fields) = &self.kind else { return serializer.collect_str(self) };
        let formats: Vec<_> = fields.iter().map(|field| Format(&field.dtype, &field.shape)).collect();
        let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
        let offsets: Vec<_> = fields.iter().map(|field| field.offset).collect();
        Dict(vec![
            ("names", Part::Names(List(names))),
            ("formats", Part::Formats(List(formats))),
            ("offsets", Part::Numbers(List(offsets))),
            ("itemsize", Part::Number(self.size)),
        ])
        .serialize(serializer)
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Names(List<Vec<&'a String>>),
    Formats(List<Vec<Format<'a>>>),
    Numbers(List<Vec<usize>>),
    Number(usize),
}

/// A type, or a type of arrays as the pair of type and shape.
struct Format<'a>(&'a DType, &'a [usize]);

impl Serialize for Format<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.1.is_empty() {
            self.0.serialize(serializer)
        } else {
            (self.0, Tuple(self.1)).serialize(serializer)
        }
    }
}
