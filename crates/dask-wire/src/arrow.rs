//! Arrow tables (feature `arrow`).

mod check;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use dask_pickle::{Global, PyBytes, Reduce};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::family::{ArrowKind, DecodeError, Decoded, Method, NOTHING};
use crate::handed::{Handed, TABLE, Taken};
use crate::payload::Payload;

/// The schema and the batches of a table. Columns share the memory of the stream; one that does not lie at a multiple of
/// eight bytes is copied once.
///
/// # Errors
/// If this is no Arrow IPC stream, one that ends early, or one that announces more rows without data (of columns of
/// nulls, say) than 20,000,000.
pub fn read(stream: &Bytes) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let mut buffer = check::aligned(Buffer::from(stream.clone()));
    check::check(&buffer)?;
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while let Some(batch) = decoder.decode(&mut buffer)? {
        batches.push(batch);
    }
    // A stream is complete with its end mark, or where it has been cut between two messages.
    decoder.finish()?;
    let schema = match decoder.schema() {
        Some(schema) => schema,
        None => return Err(ArrowError::IpcError("a stream without a schema".to_owned())),
    };
    Ok((schema, batches))
}

/// A table as a value to send: it arrives as a `pyarrow.Table`.
///
/// # Errors
/// If the batches are not of this schema.
pub fn table(schema: &Schema, batches: &[RecordBatch]) -> Result<Payload, ArrowError> {
    Ok(payload("Table", write(schema, batches)?))
}

/// One batch as a value to send: it arrives as a `pyarrow.RecordBatch`.
///
/// # Errors
/// If a column is of a type that has no IPC form.
pub fn record_batch(batch: &RecordBatch) -> Result<Payload, ArrowError> {
    Ok(payload("RecordBatch", write(&batch.schema(), std::slice::from_ref(batch))?))
}

fn write(schema: &Schema, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.into_inner()
}

fn payload(class: &str, stream: Vec<u8>) -> Payload {
    Payload::dask(&format!("pyarrow.lib.{class}"), "pyarrow.lib", class, Vec::new(), vec![stream.into()])
}

impl Decoded {
    /// The batches of an Arrow table or record batch; `None` if it is neither.
    ///
    /// # Errors
    /// If its stream is broken.
    pub fn to_batches(&self) -> Option<Result<(SchemaRef, Vec<RecordBatch>), ArrowError>> {
        match self {
            Decoded::Arrow { kind: ArrowKind::Table | ArrowKind::RecordBatch, stream } => Some(read(stream)),
            _ => None,
        }
    }
}

/// A table: a schema and batches of rows.
///
/// As a result it reads a `pyarrow.Table` or `RecordBatch`; as an argument it arrives as a `pyarrow.Table`. See
/// [`ArrowBatch`] and [`PandasFrame`] for arguments of other classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrowTable {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

impl ArrowTable {
    /// Reads a table, a record batch, or the bytes of an Arrow IPC stream.
    ///
    /// # Errors
    /// Says what there is instead.
    pub fn from_decoded(decoded: &Decoded) -> Result<Self, DecodeError> {
        let mismatch = |reason: String| DecodeError::Mismatch {
            found: decoded.describe(),
            asked: "an Arrow table",
            reason,
        };
        let stream = match decoded {
            Decoded::Arrow { stream, .. } | Decoded::Bytes(stream) => stream.clone(),
            Decoded::Pickle(tree) => tree.root().to_bytes().ok_or_else(|| {
                mismatch(
                    "it is no pyarrow table; Future::to_arrow converts pandas objects on the worker"
                        .to_owned(),
                )
            })?,
            _ => return Err(mismatch("it is no pyarrow table".to_owned())),
        };
        let (schema, batches) = read(&stream).map_err(|error| mismatch(error.to_string()))?;
        Ok(Self { schema, batches })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.batches.iter().fold(0, |rows, batch| rows.saturating_add(batch.num_rows()))
    }
}

impl From<RecordBatch> for ArrowTable {
    fn from(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch] }
    }
}

/// As a result, or as a part of a larger one. A pickled table is not read: where a worker sends one inside of other
/// values, it may have to be fetched by itself.
impl<'de> Deserialize<'de> for ArrowTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = match Taken::ask(deserializer, TABLE, "an Arrow table")? {
            Taken::Handed(Handed::Stream(stream)) => Decoded::Bytes(stream),
            Taken::Handed(Handed::Array(array)) => Decoded::Array(array),
            Taken::Pickled(tree) => Decoded::Pickle(tree),
        };
        Self::from_decoded(&decoded).map_err(D::Error::custom)
    }
}

/// The stream of a table, opened by pyarrow where it is unpickled.
fn reader<E: serde::ser::Error>(
    schema: &Schema,
    batches: &[RecordBatch],
) -> Result<Reduce<Global<'static>, (PyBytes,)>, E> {
    let stream = write(schema, batches).map_err(E::custom)?;
    Ok(Reduce { callable: Global::new("pyarrow.ipc:open_stream"), args: (PyBytes(stream.into()),) })
}

impl Serialize for ArrowTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reader = reader::<S::Error>(&self.schema, &self.batches)?;
        Method { of: &reader, name: "read_all", args: NOTHING }.serialize(serializer)
    }
}

/// A batch that arrives as a `pyarrow.RecordBatch` when it is an argument.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrowBatch(pub RecordBatch);

impl Serialize for ArrowBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reader = reader::<S::Error>(&self.0.schema(), std::slice::from_ref(&self.0))?;
        Method { of: &reader, name: "read_next_batch", args: NOTHING }.serialize(serializer)
    }
}

/// A table that arrives as a `pandas.DataFrame` when it is an argument, made by pyarrow's `to_pandas` on the worker.
#[derive(Clone, Debug, PartialEq)]
pub struct PandasFrame(pub ArrowTable);

impl PandasFrame {
    /// Of a table or a batch.
    pub fn new(table: impl Into<ArrowTable>) -> Self {
        Self(table.into())
    }
}

impl Serialize for PandasFrame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Method { of: &self.0, name: "to_pandas", args: NOTHING }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
