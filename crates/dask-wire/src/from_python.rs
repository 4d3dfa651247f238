//! Rust values out of results.

use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::family::{DecodeError, Decoded};

/// A Rust type that a task's result can be turned into: everything that serde can deserialize, and the result as it came
/// as [`Gathered`].
///
/// NumPy arrays as [`NdArray`](crate::numpy::NdArray), and Arrow tables, may stand anywhere in it: by themselves, in
/// tuples, as fields of structs.
pub trait FromPython: Sized {
    /// Converts a result.
    ///
    /// # Errors
    /// Says what the result is and what it was to become.
    fn from_python(result: Arc<Decoded>) -> Result<Self, DecodeError>;
}

impl<T: DeserializeOwned> FromPython for T {
    fn from_python(result: Arc<Decoded>) -> Result<Self, DecodeError> {
        result.to()
    }
}

/// A result as it came, for programs that look at what it is before they convert it, or that only pass it on: as an
/// argument of a later call it is the value that it was in Python, whatever its class.
#[derive(Clone, Debug)]
pub struct Gathered(Arc<Decoded>);

impl Deref for Gathered {
    type Target = Decoded;
    fn deref(&self) -> &Decoded {
        &self.0
    }
}

impl FromPython for Gathered {
    fn from_python(result: Arc<Decoded>) -> Result<Self, DecodeError> {
        Ok(Self(result))
    }
}

impl Serialize for Gathered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
