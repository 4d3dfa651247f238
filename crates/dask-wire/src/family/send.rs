//! Results as arguments of later calls.
//!
//! What is known goes as a value of its kind. What is not, goes as the very bytes that came, to be read by whoever made
//! them: nothing of it has to be understood here.

use bytes::Bytes;
use dask_pickle::{ByteArray, FrozenSet, Global, List, PyBytes, Reduce, Set, Tree, Tuple};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::{ArrowKind, CollectionKind, Decoded, convert};
use crate::numpy::{MaskedArray, NdArray};
use crate::payload::Payload;
use crate::value::Value;

/// As an argument of a call: the value that it was in Python.
///
/// Pickles go as they came, inside of bytes, and are unpickled on the worker; so do values of classes that are not known
/// here. Bytes are copied once.
impl Serialize for Decoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let no_plain_form = || S::Error::custom("a message holds a value that has no plain form");
        match self {
            Decoded::Pickle(tree) => pickle(tree, serializer),
            Decoded::Bytes(bytes) => PyBytes(bytes.clone()).serialize(serializer),
            Decoded::ByteArray(bytes) => ByteArray(bytes.clone()).serialize(serializer),
            Decoded::Memoryview { data, format, shape, .. } => {
                let callable = Global::new("builtins:memoryview");
                let plain = Reduce { callable: callable.clone(), args: (PyBytes(data.clone()),) };
                if data.is_empty() {
                    // It cannot be cast.
                    return plain.serialize(serializer);
                }
                let native =
                    ["c", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "n", "N", "f", "d", "?", "P"];
                if !native.contains(&format.trim_start_matches('@'))
                    && let Ok(dtype) = convert::of_format(format)
                    && let Ok(array) = NdArray::from_bytes(dtype, shape.clone(), data.clone())
                {
                    return Reduce { callable, args: (array,) }.serialize(serializer);
                }
                // In two steps, since only bytes can be cast to another format and shape.
                Method { of: &plain, name: "cast", args: (format, List(shape)) }.serialize(serializer)
            }
            Decoded::ArrayArray { data, typecode, .. } => {
                Reduce { callable: Global::new("array:array"), args: (typecode, PyBytes(data.clone())) }
                    .serialize(serializer)
            }
            Decoded::Array(array) => array.serialize(serializer),
            Decoded::MaskedArray(array) => masked(array, serializer),
            Decoded::Arrow { kind, stream } => {
                let reader = Reduce {
                    callable: Global::new("pyarrow.ipc:open_stream"),
                    args: (PyBytes(stream.clone()),),
                };
                let name = match kind {
                    ArrowKind::Table => "read_all",
                    ArrowKind::RecordBatch => "read_next_batch",
                };
                Method { of: &reader, name, args: NOTHING }.serialize(serializer)
            }
            Decoded::Msgpack(value) => {
                convert::to_python(value, usize::MAX).ok_or_else(no_plain_form)?.serialize(serializer)
            }
            Decoded::Collection { kind: CollectionKind::Dict, items, .. } => {
                let pairs = items.iter().map(|(key, value)| {
                    let key = convert::to_python(key.as_ref().unwrap_or(&Value::Nil), usize::MAX);
                    Ok((convert::hashable(key.ok_or_else(no_plain_form)?), value))
                });
                dask_pickle::Dict(pairs.collect::<Result<Vec<_>, S::Error>>()?).serialize(serializer)
            }
            Decoded::Collection { kind, items, .. } => {
                let items: Vec<&Decoded> = items.iter().map(|(_, item)| item).collect();
                match kind {
                    CollectionKind::Tuple => Tuple(items).serialize(serializer),
                    CollectionKind::Set => Set(items).serialize(serializer),
                    CollectionKind::FrozenSet => FrozenSet(items).serialize(serializer),
                    CollectionKind::List | CollectionKind::Dict => List(items).serialize(serializer),
                }
            }
            Decoded::Unserializable(text) => {
                Err(S::Error::custom(format_args!("Python could not serialize this value: {text}")))
            }
            Decoded::Opaque { payload, .. } => opaque(payload, serializer),
        }
    }
}

/// No arguments: serde's unit would be `None`.
pub(crate) const NOTHING: [(); 0] = [];

/// The result of a method of an object that is itself made by a call.
pub(crate) struct Method<'a, T, A> {
    pub(crate) of: &'a T,
    pub(crate) name: &'static str,
    pub(crate) args: A,
}

impl<T: Serialize, A: Serialize> Serialize for Method<'_, T, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let method = Reduce { callable: Global::new("builtins:getattr"), args: (self.of, self.name) };
        Reduce { callable: method, args: &self.args }.serialize(serializer)
    }
}

fn pickle<S: Serializer>(tree: &Tree, serializer: S) -> Result<S::Ok, S::Error> {
    let code = PyBytes(tree.source().clone());
    if tree.buffers().is_empty() {
        return Reduce { callable: Global::of("_pickle", "loads"), args: (code,) }.serialize(serializer);
    }
    // Dask's own function knows how to give buffers to the pickle of its Python, of 3.7 too.
    let buffers = List(tree.buffers().iter().cloned().map(ByteArray).collect::<Vec<_>>());
    Reduce {
        callable: Global::of("dask.utils", "apply"),
        args: (
            Global::of("distributed.protocol.pickle", "loads"),
            Tuple((code,)),
            dask_pickle::Dict(vec![("buffers", buffers)]),
        ),
    }
    .serialize(serializer)
}

fn masked<S: Serializer>(array: &MaskedArray, serializer: S) -> Result<S::Ok, S::Error> {
    let (copy, keep_subclass, dimensions) = (false, true, 0);
    Reduce {
        callable: Global::new("numpy.ma:MaskedArray"),
        args: (
            &array.data,
            array.mask.as_ref().map_or(Mask::None, Mask::Array),
            (),
            copy,
            keep_subclass,
            dimensions,
            &array.fill,
        ),
    }
    .serialize(serializer)
}

enum Mask<'a> {
    None,
    Array(&'a crate::numpy::NdArray),
}

impl Serialize for Mask<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Mask::None => serializer.serialize_bool(false),
            Mask::Array(array) => array.serialize(serializer),
        }
    }
}

fn opaque<S: Serializer>(payload: &Payload, serializer: S) -> Result<S::Ok, S::Error> {
    let header = Value::Map(payload.header_entries().to_vec());
    let header = convert::to_python(&header, usize::MAX)
        .ok_or_else(|| S::Error::custom("its header holds a value serialized by itself"))?;
    let frames: Vec<PyBytes> = payload.frames().iter().cloned().map(|frame: Bytes| PyBytes(frame)).collect();
    Reduce {
        callable: Global::of("distributed.protocol.serialize", "deserialize"),
        args: (header, List(frames)),
    }
    .serialize(serializer)
}

impl Decoded {
    /// The Python class of the value, with its module unless that is `builtins`: `collections.Counter`, `float`. What
    /// is pickled as a function or class by name has that name.
    pub fn class_name(&self) -> String {
        match self {
            Decoded::Pickle(tree) => tree.root().python_class(),
            Decoded::Bytes(_) => "bytes".to_owned(),
            Decoded::ByteArray(_) => "bytearray".to_owned(),
            Decoded::Memoryview { .. } => "memoryview".to_owned(),
            Decoded::ArrayArray { .. } => "array.array".to_owned(),
            Decoded::Array(_) => "numpy.ndarray".to_owned(),
            Decoded::MaskedArray(_) => "numpy.ma.MaskedArray".to_owned(),
            Decoded::Arrow { kind: ArrowKind::Table, .. } => "pyarrow.lib.Table".to_owned(),
            Decoded::Arrow { kind: ArrowKind::RecordBatch, .. } => "pyarrow.lib.RecordBatch".to_owned(),
            Decoded::Msgpack(value) => value.kind().to_owned(),
            Decoded::Collection { kind, .. } => kind.name().to_owned(),
            Decoded::Unserializable(_) => "unknown".to_owned(),
            Decoded::Opaque { type_name, .. } => type_name.clone(),
        }
    }
}
