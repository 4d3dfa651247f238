//! Python pickle as data.

mod budget;
mod de;
mod error;
mod kinds;
mod kinds_de;
mod limits;
mod magic;
mod number;
mod numpy;
mod op;
mod plain;
mod read;
mod ser;
mod template;
mod text;
mod time;
mod tree;
mod value;
mod view;
mod write;

pub use de::{from_slice, from_tree, from_view};
pub use error::Error;
pub use kinds::{
    BigInt, ByteArray, Dict, FrozenSet, Global, List, PyBytes, Reduce, Ref, Set, Surrogate, Tuple,
};
pub use limits::Limits;
pub use number::{Complex, Decimal, Fraction, Uuid};
pub use read::read;
pub use template::{CallTemplate, Callable, FillHoles, Hole, Template};
pub use time::{Date, DateTime, Time, TimeDelta};
pub use tree::{How, NodeId, Tree};
pub use value::{Object, Value};
pub use view::{Items, Kind, ObjectView, Pairs, View};
pub use write::Pickler;

/// Pickles a value (protocol 4). An error if it contains a [`Ref`] or a [`CallTemplate`].
pub fn to_vec<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    Template::of(value)?.to_pickle()
}
