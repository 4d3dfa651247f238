//! Python pickle as data: reads any protocol without running anything, and writes pickles that call importable Python
//! by name.
//!
//! # Reading
//!
//! [`read`] takes a pickle of any protocol, 0 to 5, with its out-of-band buffers, and makes a [`Tree`]: a flat arena
//! of nodes in which names, calls, state and persistent ids are nodes like any other. [`View`] walks it; [`from_tree`]
//! converts it into any `Deserialize` type; [`Value`] is an owned copy. Strings and bytes are slices of the input.
//!
//! The reader never imports or calls anything, whatever the pickle asks for. Objects of well-known types mean what
//! they mean in Python: an `OrderedDict` is a map, a `datetime` its ISO 8601 text or a [`DateTime`], a numpy scalar a
//! number, an array of them a sequence, an instance of a class its attributes. An object without such a meaning is an [`Error::Object`] that names
//! its class; the tree still shows how it is made.
//!
//! # Limits
//!
//! A pickle of a few bytes can describe a value that fills any memory, and one of a few megabytes can nest a million
//! deep. Reading and dropping a tree do not recurse, declared sizes are checked against what is left of the input, and
//! a shared value is stored once. Conversions, which must expand sharing and do recurse, stop at [`Limits::items`] and
//! [`Limits::depth`].
//!
//! # Writing
//!
//! [`to_vec`] pickles a `Serialize` value with protocol 4, which every Python since 3.4 reads. Rust sequences become
//! lists, tuples tuples, maps and structs dicts; for other Python kinds there are wrapper types ([`Tuple`], [`Set`],
//! [`Global`], [`Decimal`], [`Reduce`] …). [`Pickler`] writes single opcodes.
//!
//! A task's arguments are pickled by the thread that owns them, before it is known which Dask release will read them,
//! and releases spell references between tasks differently. So [`Template::of`] pickles everything that is the same in
//! every release and leaves [holes](Hole) for the rest: names, references to other tasks ([`Ref`]) and nested calls
//! ([`CallTemplate`]). Later [`Template::write_into`] places it into a pickle, and a [`FillHoles`] writes what belongs
//! into the holes.
//!
//! # Example
//!
//! ```
//! use dask_pickle::{Error, Limits, Ref, Template, from_tree, read, to_vec};
//!
//! #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct Point {
//!     x: f64,
//!     label: Option<String>,
//! }
//!
//! # fn main() -> Result<(), Error> {
//! let point = Point { x: 1.5, label: None };
//! let tree = read(to_vec(&point)?, Vec::new(), &Limits::default())?;
//! assert_eq!(tree.root().get("x").and_then(|x| x.as_f64()), Some(1.5));
//! assert_eq!(from_tree::<Point>(&tree)?, point);
//!
//! let args = Template::of(&(Ref("another-task"), point))?;
//! assert_eq!(args.references().collect::<Vec<_>>(), ["another-task"]);
//! # Ok(())
//! # }
//! ```

mod array;
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

pub use de::{ViewDeserializer, from_slice, from_tree, from_view};
pub use error::Error;
pub use kinds::{
    BigInt, ByteArray, Dict, FrozenSet, Global, Instance, List, PyBytes, Reduce, Ref, Set, Surrogate, Tuple,
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
