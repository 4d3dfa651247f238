//! Tables: Arrow here, pyarrow or pandas there (feature `arrow`).

use dask_wire::arrow::ArrowTable;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::waiting::limit::Limit;
use crate::waiting::wait::CallFuture;
use crate::work::future::Future;
use crate::work::python::python;
use crate::work::submit::Room;

/// Runs where the data is: from whatever is a table to the bytes of an Arrow IPC stream.
const TO_STREAM: &str = "
import pyarrow
if isinstance(value, pyarrow.RecordBatch):
    schema, batches = value.schema, [value]
else:
    if isinstance(value, dict):
        value = pyarrow.Table.from_pydict(value)
    elif not isinstance(value, pyarrow.Table):
        import sys
        # Whoever has a value of pandas has pandas.
        pandas = sys.modules.get('pandas')
        if pandas and isinstance(value, pandas.Series):
            value = value.to_frame()
        if pandas and isinstance(value, pandas.DataFrame):
            value = pyarrow.Table.from_pandas(value)
        else:
            raise TypeError('%s.%s is no table' % (type(value).__module__, type(value).__qualname__))
    schema, batches = value.schema, value.combine_chunks().to_batches()
sink = pyarrow.BufferOutputStream()
writer = pyarrow.RecordBatchStreamWriter(sink, schema)
for batch in batches:
    writer.write_batch(batch)
writer.close()
return sink.getvalue().to_pybytes()
";

impl<R> Future<R> {
    /// Fetches the result as an Arrow table: a pandas DataFrame or Series, a pyarrow Table or RecordBatch, or a dict of
    /// columns.
    ///
    /// The conversion is one more task, run where the result lies; what travels is an Arrow IPC stream, and columns
    /// share its memory. The index of a pandas object comes along as pyarrow does it: a plain range as metadata only,
    /// any other as a column. Needs pyarrow on the workers; works on every release.
    ///
    /// # Errors
    /// The result is no table, pyarrow is missing on the worker, or whatever [`Future::result`] reports.
    pub async fn to_arrow(&self) -> Result<ArrowTable> {
        let client = self.client();
        let stream: Future<ArrowTable> = client.submit(python(TO_STREAM).kwarg("value", self)).await?;
        let result = client.fetch_one(stream.key()).await?;
        ArrowTable::from_decoded(&result)
            .map_err(|error| Error::decode(format_args!("the table of {}", self.key()), error))
    }
}

impl<'a, R: Send + 'a> CallFuture<'a, R> {
    /// Submits the call, waits for its result and fetches that as an Arrow table. See [`Future::to_arrow`]; a deadline
    /// that was set is the limit of all of it.
    pub fn to_arrow(self) -> BoxFuture<'a, Result<ArrowTable>> {
        let (client, call, deadline) = self.into_parts();
        Box::pin(async move {
            let limit = deadline.map(Limit::new);
            let room = if limit.is_some() { Room::Patient } else { Room::AsSet };
            let submitting = client.submit_call(call, room);
            let future: Future<R> = Limit::submitting(limit, client.shared(), submitting).await?;
            crate::waiting::wait::within(client.shared(), limit, future.key(), future.to_arrow()).await
        })
    }
}
