//! What the scheduler tells, in passing, of where a result lies and what it is.

use std::sync::Arc;

use crate::value::Value;

/// Hints for fetching a result; each may be out of date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// A worker that holds it.
    pub worker: Option<Arc<str>>,
    /// Whether its type is one of which large values are usual: bytes, arrays, tables.
    pub bulky: bool,
}

/// Texts that stand in the pickled class, or in its name, of values that may be large.
const BULKY: &[&str] = &[
    "numpy",
    "pandas",
    "pyarrow",
    "polars",
    "cupy",
    "cudf",
    "scipy",
    "xarray",
    "bytes",
    "bytearray",
    "memoryview",
    "array.array",
];

/// Reads hints. Classes are compared with the last one before they are looked at: most tasks of a graph give one type.
#[derive(Debug, Default)]
pub(super) struct Types {
    last: Vec<u8>,
    bulky: bool,
}

impl Types {
    /// Takes what a `key-in-memory` says besides the key.
    pub(super) fn note(&mut self, placement: &mut Placement, message: &Value<'_>) {
        if let Some(class) = message.get("type").and_then(Value::as_bytes) {
            placement.bulky = self.is_bulky(class);
        }
        let workers = message.get("workers").and_then(Value::as_array).unwrap_or_default();
        if let Some(worker) = workers.first().and_then(Value::as_str) {
            placement.worker = Some(Arc::from(worker));
        }
    }

    fn is_bulky(&mut self, class: &[u8]) -> bool {
        if self.last != class {
            self.bulky =
                BULKY.iter().any(|name| class.windows(name.len()).any(|part| part == name.as_bytes()));
            self.last.clear();
            self.last.extend_from_slice(class);
        }
        self.bulky
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_tell_what_may_be_large() {
        let mut types = Types::default();
        for (class, bulky) in [
            (&b"\x80\x04\x8c\x08builtins\x94\x8c\x03int\x94\x93\x94."[..], false),
            (b"\x80\x04\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94.", true),
            (b"\x80\x04cbuiltins\nbytes\n.", true),
            (b"\x80\x04cbuiltins\nbytes\n.", true),
            (b"", false),
        ] {
            assert_eq!(types.is_bulky(class), bulky, "{class:?}");
        }
    }
}
