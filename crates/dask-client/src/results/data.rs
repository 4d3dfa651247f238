//! Values to be scattered.

use bytes::Bytes;
use dask_wire::numpy::NdArray;
use dask_wire::{Key, Payload};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// A value to be sent to workers: see [`crate::Client::scatter`].
///
/// A mistake made while building (a value that cannot be sent) is reported where it is used.
#[derive(Clone, Debug)]
#[must_use = "data does nothing until it is scattered"]
pub struct Data {
    payload: Result<Payload>,
    name: &'static str,
    key: Option<Key>,
}

impl Data {
    /// Anything that serde can serialize, as Python has it: numbers, text, lists, tuples, dicts.
    pub fn value(value: &(impl Serialize + ?Sized)) -> Self {
        let payload =
            dask_pickle::to_vec(value).map(|pickle| Payload::pickle(pickle, [])).map_err(Error::encode);
        Self { payload, name: "value", key: None }
    }

    /// Python `bytes`. They are not copied here.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { payload: Ok(Payload::bytes(bytes)), name: "bytes", key: None }
    }

    /// A NumPy array. Its data is not copied here unless its elements lie scattered.
    pub fn array(array: &NdArray) -> Self {
        let payload = array
            .to_payload()
            .map_err(|error| Error::new(ErrorKind::Encode, format!("an array cannot be sent: {error}")));
        Self { payload, name: "ndarray", key: None }
    }

    /// A `pyarrow.Table`, of a table or a batch (feature `arrow`). Needs pyarrow on the workers.
    ///
    /// For a pandas DataFrame scatter [`Data::value`] of a [`PandasFrame`](crate::PandasFrame).
    #[cfg(feature = "arrow")]
    pub fn arrow(table: impl Into<crate::ArrowTable>) -> Self {
        let table = table.into();
        Self::of_arrow(dask_wire::arrow::table(&table.schema, &table.batches), "table")
    }

    /// A `pyarrow.RecordBatch` (feature `arrow`). Needs pyarrow on the workers.
    #[cfg(feature = "arrow")]
    pub fn arrow_batch(batch: &crate::ArrowBatch) -> Self {
        Self::of_arrow(dask_wire::arrow::record_batch(&batch.0), "batch")
    }

    #[cfg(feature = "arrow")]
    fn of_arrow<E: std::fmt::Display>(payload: std::result::Result<Payload, E>, name: &'static str) -> Self {
        let payload = payload.map_err(|error| {
            Error::new(ErrorKind::Encode, format!("an Arrow {name} cannot be sent: {error}"))
        });
        Self { payload, name, key: None }
    }

    /// A value serialized already: one that was gathered as it came, or one made by hand.
    pub fn payload(payload: Payload) -> Self {
        Self { payload: Ok(payload), name: "payload", key: None }
    }

    /// The key to keep it under. Without one the key is made of the content.
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Its key and payload; `unique` makes a key if none is to be made of the content.
    pub(crate) fn into_parts(self, unique: Option<&dyn Fn(&str) -> Key>) -> Result<(Key, Payload)> {
        let payload = self.payload?;
        let key = match (self.key, unique) {
            (Some(key), _) => key,
            (None, Some(unique)) => unique(self.name),
            (None, None) => Key::from(format!("{}-{}", self.name, content(&payload))),
        };
        Ok((key, payload))
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Payload> for Data {
    fn from(payload: Payload) -> Self {
        Self::payload(payload)
    }
}

impl From<&NdArray> for Data {
    fn from(array: &NdArray) -> Self {
        Self::array(array)
    }
}

/// A name for the content: 128 bits of a cryptographic hash, so that nobody can make two values share a key.
fn content(payload: &Payload) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", payload.header_entries()).as_bytes());
    for frame in payload.frames() {
        hasher.update(&(frame.len() as u64).to_le_bytes());
        hasher.update(frame);
    }
    let hex = hasher.finalize().to_hex();
    hex.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(data: Data) -> Key {
        data.into_parts(None).unwrap().0
    }

    #[test]
    fn equal_content_has_equal_keys() {
        assert_eq!(key(Data::value(&[1, 2][..])), key(Data::value(&vec![1, 2])));
        assert_ne!(key(Data::value(&[1, 2][..])), key(Data::value(&(1, 2))));
        assert_ne!(key(Data::bytes("ab")), key(Data::bytes("ba")));
        let array = |shape: [usize; 2]| NdArray::from_slice(&[1.0, 2.0], shape).unwrap();
        assert_ne!(key(Data::array(&array([1, 2]))), key(Data::array(&array([2, 1]))));
        assert!(key(Data::array(&array([1, 2]))).to_string().starts_with("ndarray-"));
        assert_eq!(key(Data::bytes("ab").key("mine")), Key::from("mine"));
    }

    #[test]
    fn what_cannot_be_sent_is_told_when_used() {
        let error = Data::value(&dask_pickle::Ref("x")).into_parts(None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
    }
}
