//! Arrays and tables inside of larger results: serde has no method that takes one, so they pass a visitor by the side,
//! without a copy of their data.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use dask_pickle::Tree;
use serde::de::value::{Error, UnitDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use crate::numpy::NdArray;

/// By this name of a newtype an [`NdArray`] is asked for.
pub(crate) const ARRAY: &str = "$dask_wire::NdArray";

/// By this name of a newtype an Arrow table is asked for.
pub(crate) const TABLE: &str = "$dask_wire::ArrowTable";

/// What is handed over.
pub(crate) enum Handed {
    Array(NdArray),
    /// An Arrow IPC stream.
    #[cfg_attr(not(feature = "arrow"), expect(dead_code, reason = "only tables are made of it"))]
    Stream(Bytes),
}

thread_local! {
    static SLOT: RefCell<Option<Handed>> = const { RefCell::new(None) };
}

/// Gives what was asked for by name to the visitor that asked.
pub(crate) fn hand_over<'de, V: Visitor<'de>>(handed: Handed, visitor: V) -> Result<V::Value, Error> {
    SLOT.with(|slot| slot.replace(Some(handed)));
    let result = visitor.visit_newtype_struct(UnitDeserializer::new());
    SLOT.with(RefCell::take);
    result
}

/// Takes what was handed over, or the part of a pickle that stands there.
pub(crate) enum Taken {
    Handed(Handed),
    Pickled(Tree),
}

impl Taken {
    /// Asks for a value by the name of its newtype.
    pub(crate) fn ask<'de, D: Deserializer<'de>>(
        deserializer: D,
        name: &'static str,
        expecting: &'static str,
    ) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(name, Asking(expecting))
    }
}

struct Asking(&'static str);

impl<'de> Visitor<'de> for Asking {
    type Value = Taken;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Taken, D::Error> {
        match SLOT.with(RefCell::take) {
            Some(handed) => Ok(Taken::Handed(handed)),
            None => Tree::deserialize(deserializer).map(Taken::Pickled),
        }
    }
}

/// As a part of a larger type, wherever an array stands in a result: in its own frame or inside of a pickle, a row of
/// another one, a field of a record. Its data is shared with the result.
impl<'de> Deserialize<'de> for NdArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Taken::ask(deserializer, ARRAY, "a NumPy array")? {
            Taken::Handed(Handed::Array(array)) => Ok(array),
            Taken::Handed(Handed::Stream(_)) => Err(D::Error::custom("an Arrow table is no NumPy array")),
            Taken::Pickled(tree) => NdArray::from_view(tree.root()).map_err(|error| {
                let found = crate::family::describe_view(tree.root());
                D::Error::custom(format_args!("{found} cannot be read as a NumPy array: {error}"))
            }),
        }
    }
}
