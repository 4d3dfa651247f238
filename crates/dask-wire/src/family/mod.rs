//! What a payload holds.

mod convert;
mod send;

pub(crate) use convert::{as_one_pickle, count_values, describe_view};
#[cfg(feature = "arrow")]
pub(crate) use send::{Method, NOTHING};

use bytes::Bytes;
use dask_pickle::Tree;
use serde::de::DeserializeOwned;

use crate::Limits;
use crate::error::WireError;
use crate::msgpack::{self, Items};
use crate::numpy::{ArrayError, MaskedArray, NdArray, shape_of};
use crate::payload::Payload;
use crate::value::Value;

/// What the names of all newtypes by which pickle kinds are asked for start with.
pub(crate) const PICKLE_KINDS: &str = "$dask_pickle::";

/// What a [`Payload`] holds. Bytes are shared with the payload.
///
/// To read a value of a known type, use [`Decoded::to`]; match on the variants where arrays or tables matter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decoded {
    /// A pickle, with its out-of-band buffers.
    Pickle(Tree),
    /// `bytes`
    Bytes(Bytes),
    /// `bytearray`
    ByteArray(Bytes),
    /// `memoryview`
    Memoryview {
        /// Its bytes.
        data: Bytes,
        /// The format of one element, as the module `struct` names it.
        format: String,
        /// Elements along each axis.
        shape: Vec<usize>,
        /// What conversions of it may cost.
        limits: dask_pickle::Limits,
    },
    /// `array.array`
    ArrayArray {
        /// Its bytes, in the byte order of the machine that sent them.
        data: Bytes,
        /// The type of its elements: `b`, `i`, `d`, ...
        typecode: String,
        /// What conversions of it may cost.
        limits: dask_pickle::Limits,
    },
    /// A NumPy array of anything but Python objects.
    Array(NdArray),
    /// A NumPy array with a mask.
    MaskedArray(Box<MaskedArray>),
    /// An Arrow table or record batch.
    Arrow {
        /// Which of them.
        kind: ArrowKind,
        /// An Arrow IPC stream.
        stream: Bytes,
    },
    /// Plain data.
    Msgpack(Value<'static>),
    /// A list, tuple, set or dict whose elements were serialized one by one.
    Collection {
        /// Which of them.
        kind: CollectionKind,
        /// The elements, with their keys if it is a dict.
        items: Vec<(Option<Value<'static>>, Decoded)>,
        /// What conversions of it may cost.
        limits: dask_pickle::Limits,
    },
    /// Python could not serialize the value; the text says why.
    Unserializable(String),
    /// A value of a class that is not known here.
    Opaque {
        /// Name of the class.
        type_name: String,
        /// The value as it came.
        payload: Payload,
    },
}

/// The sort of an Arrow value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArrowKind {
    /// `pyarrow.Table`
    Table,
    /// `pyarrow.RecordBatch`
    RecordBatch,
}

/// The sort of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollectionKind {
    /// `list`
    List,
    /// `tuple`
    Tuple,
    /// `set`
    Set,
    /// `frozenset`
    FrozenSet,
    /// `dict`
    Dict,
}

impl CollectionKind {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "list" => CollectionKind::List,
            "tuple" => CollectionKind::Tuple,
            "set" => CollectionKind::Set,
            "frozenset" => CollectionKind::FrozenSet,
            "dict" => CollectionKind::Dict,
            _ => return None,
        })
    }

    /// Its name in Python.
    pub fn name(self) -> &'static str {
        match self {
            CollectionKind::List => "list",
            CollectionKind::Tuple => "tuple",
            CollectionKind::Set => "set",
            CollectionKind::FrozenSet => "frozenset",
            CollectionKind::Dict => "dict",
        }
    }
}

/// Why a payload cannot be read, or not as the type that was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A pickle is broken or over a limit.
    #[error("a pickled value cannot be read: {0}")]
    Pickle(#[source] dask_pickle::Error),
    /// A NumPy array cannot be read.
    #[error("{class} cannot be read as an array: {source}")]
    Array {
        /// What there is, or the class it was announced as.
        class: String,
        /// Why.
        #[source]
        source: ArrayError,
    },
    /// Header and frames do not belong together.
    #[error("a serialized {class} is malformed: {problem}")]
    Malformed {
        /// The class it was announced as.
        class: String,
        /// What is wrong.
        problem: String,
    },
    /// Collections inside collections, over the limit.
    #[error("collections are nested deeper than {limit} levels")]
    Depth {
        /// The limit.
        limit: usize,
    },
    /// Very many elements that take hardly any room.
    #[error("a value of more than {limit} elements")]
    Items {
        /// The limit.
        limit: usize,
    },
    /// The value is of another shape than the type that was asked for.
    #[error("{found} cannot be read as {asked}: {reason}")]
    Mismatch {
        /// What there is.
        found: String,
        /// The Rust type that was asked for.
        asked: &'static str,
        /// Why.
        reason: String,
    },
    /// Python could not serialize the value, so there is none.
    #[error("the sender could not serialize the value: {text}")]
    Unserializable {
        /// What Python says about it.
        text: String,
    },
}

/// Reads a payload.
///
/// Classes that are not known come out as [`Decoded::Opaque`], not as an error.
///
/// # Errors
/// If header and frames do not belong together, a pickle is broken, or a limit is met.
pub fn decode(payload: &Payload, limits: &dask_pickle::Limits) -> Result<Decoded, DecodeError> {
    if payload.family() == "pickle" {
        // This may be a pickle without any header.
        return pickle(payload.frames(), limits);
    }
    let header = Header { entries: payload.header_entries() };
    Decoder { limits, items: limits.items, repeated: limits.items }.decode(
        header,
        payload.frames(),
        limits.depth,
    )
}

fn pickle(frames: &[Bytes], limits: &dask_pickle::Limits) -> Result<Decoded, DecodeError> {
    let (pickle, buffers) = split_pickle(frames)?;
    let tree = dask_pickle::read(pickle.clone(), buffers.to_vec(), limits).map_err(DecodeError::Pickle)?;
    Ok(Decoded::Pickle(tree))
}

fn split_pickle(frames: &[Bytes]) -> Result<(&Bytes, &[Bytes]), DecodeError> {
    frames.split_first().ok_or_else(|| malformed("pickle", "no frame"))
}

#[derive(Clone, Copy)]
struct Header<'a> {
    entries: &'a [(Value<'static>, Value<'static>)],
}

impl<'a> Header<'a> {
    fn get(self, name: &str) -> Option<&'a Value<'static>> {
        self.entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    /// The entries of the class: in a map of their own from 2021.11.0 on, else among all others.
    fn fields(self) -> Value<'static> {
        match self.get("sub-header") {
            Some(fields @ Value::Map(_)) => fields.clone(),
            _ => Value::Map(self.entries.to_vec()),
        }
    }

    /// The class by name, without `builtins.`.
    fn class(self, limits: &dask_pickle::Limits) -> String {
        if let Some(name) = self.text("type").filter(|name| !name.is_empty()) {
            return name.strip_prefix("builtins.").unwrap_or(name).to_owned();
        }
        let pickled = self.get("type-serialized").and_then(Value::as_bytes).unwrap_or_default();
        let tree = dask_pickle::read(pickled.to_vec(), Vec::new(), limits).ok();
        match tree.as_ref().and_then(|tree| tree.root().as_global()) {
            Some(("builtins", name)) => name.to_owned(),
            Some((module, name)) => format!("{module}.{name}"),
            None => "unknown".to_owned(),
        }
    }
}

struct Decoder<'a> {
    limits: &'a dask_pickle::Limits,
    /// Elements of collections that may still be read.
    items: usize,
    /// Elements that the arrays may still have beyond their data, when they are written out.
    repeated: usize,
}

fn malformed(class: &str, problem: impl Into<String>) -> DecodeError {
    DecodeError::Malformed { class: class.to_owned(), problem: problem.into() }
}

fn join(frames: &[Bytes]) -> Bytes {
    match frames {
        [one] => one.clone(),
        frames => frames.concat().into(),
    }
}

impl Decoder<'_> {
    /// Counts what takes more room than in the payload: elements of collections and nodes of pickles.
    fn spend(&mut self, items: usize) -> Result<(), DecodeError> {
        self.items = self.items.checked_sub(items).ok_or_else(|| self.too_many())?;
        Ok(())
    }

    fn too_many(&self) -> DecodeError {
        DecodeError::Items { limit: self.limits.items }
    }

    /// Reads a pickle with what is left of the items.
    fn tree(&mut self, pickle: Bytes, buffers: &[Bytes]) -> Result<Tree, DecodeError> {
        let limits = dask_pickle::Limits { items: self.items, ..*self.limits };
        let mut tree = dask_pickle::read(pickle, buffers.to_vec(), &limits).map_err(|error| match error {
            dask_pickle::Error::Limit { what: "items", .. } if self.items < self.limits.items => {
                self.too_many()
            }
            error => DecodeError::Pickle(error),
        })?;
        self.spend(tree.node_count())?;
        // Conversions have a count of their own.
        tree.set_limits(*self.limits);
        Ok(tree)
    }

    fn pickle(&mut self, frames: &[Bytes]) -> Result<Decoded, DecodeError> {
        let (pickle, buffers) = split_pickle(frames)?;
        Ok(Decoded::Pickle(self.tree(pickle.clone(), buffers)?))
    }

    fn decode(&mut self, header: Header<'_>, frames: &[Bytes], room: usize) -> Result<Decoded, DecodeError> {
        if header.get("is-collection").and_then(Value::as_bool) == Some(true) {
            let room = room.checked_sub(1).ok_or(DecodeError::Depth { limit: self.limits.depth })?;
            return self.collection(header, frames, room);
        }
        match header.text("serializer") {
            Some("pickle") => self.pickle(frames),
            Some("dask") => self.class(header, frames),
            Some("msgpack") => {
                let mut limits = Limits::default();
                limits.depth = self.limits.depth;
                limits.items = self.items;
                let items = Items::new(&limits);
                let bytes = join(frames);
                let value = msgpack::read_part(&bytes, &limits, &items).map_err(|error| match error {
                    WireError::TooLarge { name: "items", .. } => self.too_many(),
                    error => malformed("msgpack value", error.to_string()),
                })?;
                self.spend(items.spent())?;
                Ok(Decoded::Msgpack(value.into_owned()))
            }
            Some("error") => {
                let lines: Vec<_> = frames.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
                Ok(Decoded::Unserializable(lines.join("\n")))
            }
            other => Ok(opaque(other.unwrap_or("unknown").to_owned(), header, frames)),
        }
    }

    fn collection(
        &mut self,
        header: Header<'_>,
        frames: &[Bytes],
        room: usize,
    ) -> Result<Decoded, DecodeError> {
        let class = match header.get("type-serialized") {
            Some(Value::Str(name)) => name.to_string(),
            _ => header.class(self.limits),
        };
        let Some(kind) = CollectionKind::parse(&class) else { return Ok(opaque(class, header, frames)) };
        let headers = header.get("sub-headers").and_then(Value::as_array);
        let lengths = header.get("frame-lengths").and_then(Value::as_array);
        let (Some(headers), Some(lengths)) = (headers, lengths) else {
            return Err(malformed(&class, "no headers or frame counts of its elements"));
        };
        if headers.len() != lengths.len() {
            return Err(malformed(&class, "not one frame count for each element"));
        }
        self.spend(headers.len())?;
        let mut rest = frames;
        let mut items = Vec::with_capacity(headers.len());
        for (header, count) in headers.iter().zip(lengths) {
            let count = count.as_u64().and_then(|count| usize::try_from(count).ok());
            let Some((mine, others)) = count.and_then(|count| rest.split_at_checked(count)) else {
                return Err(malformed(&class, "an element with more frames than there are"));
            };
            rest = others;
            let Value::Map(entries) = header else {
                return Err(malformed(
                    &class,
                    format!("{} where an element's header belongs", header.kind()),
                ));
            };
            let header = Header { entries };
            let key = match kind {
                CollectionKind::Dict => Some(
                    header.get("key").cloned().ok_or_else(|| malformed(&class, "an element without key"))?,
                ),
                _ => None,
            };
            items.push((key, self.decode(header, mine, room)?));
        }
        if !rest.is_empty() {
            return Err(malformed(&class, format!("{} frames left over", rest.len())));
        }
        Ok(Decoded::Collection { kind, items, limits: *self.limits })
    }

    fn class(&mut self, header: Header<'_>, frames: &[Bytes]) -> Result<Decoded, DecodeError> {
        let class = header.class(self.limits);
        let fields = header.fields();
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let array = |source| DecodeError::Array { class: format!("a {class}"), source };
        Ok(match class.as_str() {
            "bytes" => Decoded::Bytes(join(frames)),
            "bytearray" => Decoded::ByteArray(join(frames)),
            "memoryview" => {
                let shape = fields.get("shape").and_then(shape_of);
                Decoded::Memoryview {
                    data: join(frames),
                    format: text("format"),
                    shape: shape.ok_or_else(|| malformed(&class, "no shape"))?,
                    limits: *self.limits,
                }
            }
            "array.array" => {
                Decoded::ArrayArray { data: join(frames), typecode: text("typecode"), limits: *self.limits }
            }
            "pyarrow.lib.Table" | "pyarrow.Table" => {
                Decoded::Arrow { kind: ArrowKind::Table, stream: join(frames) }
            }
            "pyarrow.lib.RecordBatch" | "pyarrow.RecordBatch" => {
                Decoded::Arrow { kind: ArrowKind::RecordBatch, stream: join(frames) }
            }
            name if name.starts_with("numpy.ma.") && fields.get("data-header").is_some() => {
                match self.masked(&class, &fields, frames) {
                    Err(DecodeError::Array { source: ArrayError::DType(_), .. }) => {
                        opaque(class, header, frames)
                    }
                    array => Decoded::MaskedArray(Box::new(array?)),
                }
            }
            // Classes that derive from NumPy's array come in the same form.
            _ if fields.get("pickle").and_then(Value::as_bool) == Some(true) => self.pickle(frames)?,
            _ if fields.get("dtype").is_some() && fields.get("strides").is_some() => {
                match self.array(&fields, frames) {
                    // Of a type that means something to Python alone.
                    Err(ArrayError::DType(_)) => opaque(class, header, frames),
                    read => Decoded::Array(read.map_err(array)?),
                }
            }
            _ => opaque(class, header, frames),
        })
    }

    /// One of the arrays, with what is left of the limit for elements that are repeated.
    fn array(&mut self, fields: &Value<'_>, frames: &[Bytes]) -> Result<NdArray, ArrayError> {
        let array = NdArray::from_header(fields, frames, self.limits)?.repeating(self.repeated);
        self.repeated = self.repeated.saturating_sub(array.extra());
        Ok(array)
    }

    fn masked(
        &mut self,
        class: &str,
        fields: &Value<'_>,
        frames: &[Bytes],
    ) -> Result<MaskedArray, DecodeError> {
        let array = |source| DecodeError::Array { class: format!("a {class}"), source };
        let count =
            fields.get("nframes").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let Some((data, mask)) = count.and_then(|count| frames.split_at_checked(count)) else {
            return Err(malformed(class, "more frames announced than there are"));
        };
        let header = fields.get("data-header").unwrap_or(&Value::Nil);
        let data = self.array(header, data).map_err(array)?;
        let mask = match fields.get("mask-header") {
            Some(header) => Some(self.array(header, mask).map_err(array)?),
            None => None,
        };
        if mask.as_ref().is_some_and(|mask| mask.shape() != data.shape()) {
            return Err(malformed(class, "a mask of another shape"));
        }
        let fill = match fields.get("fill-value").and_then(Value::as_array) {
            Some([pickled, value]) if pickled.as_bool() == Some(true) => {
                let pickle = value.as_bytes().unwrap_or_default().to_vec();
                let tree = self.tree(pickle.into(), &[])?;
                dask_pickle::Value::from_view(tree.root()).ok()
            }
            Some([_, value]) => convert::to_python(value, self.limits.depth),
            _ => None,
        };
        Ok(MaskedArray { data, mask, fill })
    }
}

fn opaque(type_name: String, header: Header<'_>, frames: &[Bytes]) -> Decoded {
    let payload = Payload::new(Value::Map(header.entries.to_vec()), frames.to_vec());
    Decoded::Opaque { type_name, payload }
}

impl Decoded {
    /// What it is in a few words, for messages to people.
    pub fn describe(&self) -> String {
        match self {
            Decoded::Pickle(tree) => convert::describe_view(tree.root()),
            Decoded::Bytes(bytes) => format!("bytes of length {}", bytes.len()),
            Decoded::ByteArray(bytes) => format!("a bytearray of length {}", bytes.len()),
            Decoded::Memoryview { format, shape, .. } => format!("a memoryview of {format:?} {shape:?}"),
            Decoded::ArrayArray { typecode, .. } => format!("an array.array of {typecode:?}"),
            Decoded::Array(array) => format!("a NumPy array of {} {:?}", array.dtype(), array.shape()),
            Decoded::MaskedArray(array) => {
                format!("a masked NumPy array of {} {:?}", array.data.dtype(), array.data.shape())
            }
            Decoded::Arrow { kind: ArrowKind::Table, .. } => "an Arrow table".to_owned(),
            Decoded::Arrow { kind: ArrowKind::RecordBatch, .. } => "an Arrow record batch".to_owned(),
            Decoded::Msgpack(value) => value.kind().to_owned(),
            Decoded::Collection { kind, items, .. } => format!("a {} of {} items", kind.name(), items.len()),
            Decoded::Unserializable(_) => "a value that could not be serialized".to_owned(),
            Decoded::Opaque { type_name, .. } => format!("an object of {type_name}"),
        }
    }

    /// Reads it as a Rust value.
    ///
    /// Pickles convert as [`dask_pickle::from_tree`] does. NumPy arrays are sequences of sequences of numbers (a single
    /// number if they have no axis), whether sent as such or pickled; records in them are maps or tuples, masked
    /// elements are `None`. Collections are sequences and maps of whatever they hold.
    ///
    /// # Errors
    /// Says what there is, what was asked for, and where the two differ.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        convert::to(self)
    }

    /// Reads it as a Python value of whatever kind. Arrays become lists of lists, each element of which counts against
    /// [`Limits::items`](dask_pickle::Limits::items).
    ///
    /// # Errors
    /// If it is of a class without a plain form, or over a limit.
    pub fn to_value(&self) -> Result<dask_pickle::Value, DecodeError> {
        convert::to_value(self).map_err(|reason| DecodeError::Mismatch {
            found: self.describe(),
            asked: std::any::type_name::<dask_pickle::Value>(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests;
