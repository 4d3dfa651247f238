//! The wire protocol of Dask's `distributed`, as a client sees it, without any I/O.
//!
//! Bytes go in, values come out, and the other way round; no socket, clock or task is touched, so everything here can
//! be driven by a test, a fuzzer or a recording. The crate `dask-client` puts a runtime around it.
//!
//! From the outside in:
//!
//! * [`frame`]: a TCP stream cut into messages of frames, a WebSocket likewise.
//! * [`Message`] and [`Value`]: a message's frames and what they say, with values that travel beside it as [`Payload`]s.
//! * [`family`]: what a payload holds: pickles, bytes, NumPy arrays, Arrow tables, collections.
//! * [`numpy`], [`exception`]: arrays and exceptions, read without Python.
//! * [`graph`]: tasks, before they are written down for any release.
//! * [`dialect`]: every difference between Dask releases, as data.
//! * [`source`]: Python objects made of source text where they arrive.
//! * [`session`]: what a registered client has to remember, as a pure function from events to actions.

#[cfg(feature = "arrow")]
pub mod arrow;
mod block;
mod compress;
pub mod dialect;
mod error;
pub mod exception;
pub mod family;
pub mod frame;
mod from_python;
pub mod graph;
mod handed;
pub mod handshake;
mod key;
mod limits;
mod message;
mod msgpack;
pub mod numpy;
mod payload;
pub mod session;
pub mod source;
mod value;

pub use compress::Compression;
pub use dialect::{Dialect, Encoding, Feature, NotAvailable, Peer, Release, Request, SubmitError};
pub use error::WireError;
pub use from_python::{FromPython, Gathered};
pub use key::Key;
pub use limits::Limits;
pub use message::Message;
pub use payload::Payload;
pub use value::{Mismatch, Value};
