//! Arrow tables (feature `arrow`).

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;

use crate::family::{ArrowKind, Decoded};
use crate::payload::Payload;

/// The schema and the batches of a table. Columns share the memory of the stream where it is aligned.
///
/// # Errors
/// If this is no Arrow IPC stream, or one that ends early.
pub fn read(stream: &Bytes) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let mut buffer = Buffer::from(stream.clone());
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
