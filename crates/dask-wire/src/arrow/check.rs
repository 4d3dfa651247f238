//! What `arrow-ipc` takes for granted about a stream and would panic without: checked before it reads one.
//!
//! It verifies the structure of messages and validates finished columns, but slices a message's body by offsets and
//! lengths as they are told, and counts rows in arithmetic that may overflow.

use arrow_buffer::Buffer;
use arrow_ipc::convert::{MessageBuffer, try_fb_to_schema};
use arrow_ipc::{FieldNode, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, DataType, Field, Schema, UnionMode};

/// Rows that take no room in a stream, all columns and batches together: of columns of nulls, of records without
/// fields, of runs. Rows of other columns take at least one bit.
const ROWS_WITHOUT_DATA: u64 = 20_000_000;

const CONTINUATION: [u8; 4] = [0xff; 4];

fn broken(what: impl Into<String>) -> ArrowError {
    ArrowError::IpcError(what.into())
}

/// Checks every message of a stream.
pub(super) fn check(stream: &Buffer) -> Result<(), ArrowError> {
    let mut rest = stream.clone();
    let mut schema: Option<Schema> = None;
    let mut free = ROWS_WITHOUT_DATA;
    while let Some((message, body)) = next(&mut rest)? {
        let message = message.as_ref();
        let batch = match message.header_type() {
            MessageHeader::Schema => {
                let found =
                    message.header_as_schema().ok_or_else(|| broken("no schema where one belongs"))?;
                let found = try_fb_to_schema(found)?;
                found.fields().iter().try_for_each(|field| check_type(field.data_type()))?;
                schema = Some(found);
                continue;
            }
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => {
                message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data())
            }
            _ => continue,
        };
        let batch = batch.ok_or_else(|| broken("no batch where one belongs"))?;
        let bits = (body.len() as u64).saturating_mul(8);
        let mut rows = |count: i64| {
            let count = u64::try_from(count).map_err(|_| broken("a count of rows below zero"))?;
            free = free.checked_sub(count.saturating_sub(bits)).ok_or_else(|| {
                broken(format!("more than {ROWS_WITHOUT_DATA} rows without data are announced"))
            })?;
            Ok::<_, ArrowError>(())
        };
        rows(batch.length())?;
        for node in batch.nodes().into_iter().flatten() {
            rows(node.length())?;
            if node.null_count() < 0 || node.null_count() > node.length() {
                return Err(broken("more nulls than rows"));
            }
        }
        let mut left = body.len();
        for buffer in batch.buffers().into_iter().flatten() {
            let (start, len) = (usize::try_from(buffer.offset()).ok(), usize::try_from(buffer.length()).ok());
            let inside = start
                .zip(len)
                .filter(|(start, len)| start.checked_add(*len).is_some_and(|end| end <= body.len()));
            let (_, len) = inside.ok_or_else(|| broken("a buffer outside of its message's body"))?;
            // Buffers share no bytes; a copy of each (where one is not aligned) stays within the body's size.
            left = left.checked_sub(len).ok_or_else(|| broken("buffers that overlap"))?;
        }
        // Without a schema arrow-ipc reads no batch.
        let Some(schema) = &schema else { continue };
        let mut parts = Parts {
            nodes: batch.nodes().into_iter().flatten().collect::<Vec<_>>().into_iter(),
            buffers: batch.buffers().into_iter().flatten().copied().collect::<Vec<_>>().into_iter(),
            variadic: batch.variadicBufferCounts().into_iter().flatten().collect::<Vec<_>>().into_iter(),
            validity_of_unions: message.version() < MetadataVersion::V5,
            body: &body,
        };
        match message.header_as_dictionary_batch() {
            None => schema.fields().iter().try_for_each(|field| parts.column(field))?,
            Some(dictionary) => parts.column(&values_of(schema, dictionary.id())?)?,
        }
    }
    Ok(())
}

/// The next message with its body; `None` at the end mark or between two messages.
fn next(rest: &mut Buffer) -> Result<Option<(MessageBuffer, Buffer)>, ArrowError> {
    let early = || broken("a stream that ends early");
    let mut word = || {
        let word: Option<[u8; 4]> = rest.get(..4).and_then(|word| word.try_into().ok());
        if word.is_some() {
            rest.advance(4);
        }
        word
    };
    let size = match word() {
        Some(CONTINUATION) => word().ok_or_else(early)?,
        Some(size) => size,
        None if rest.is_empty() => return Ok(None),
        None => return Err(early()),
    };
    let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
    if size == 0 {
        return Ok(None);
    }
    if size > rest.len() {
        return Err(early());
    }
    let message = MessageBuffer::try_new(rest.slice_with_length(0, size))?;
    rest.advance(size);
    let len = usize::try_from(message.as_ref().bodyLength())
        .map_err(|_| broken("a body of a length below zero"))?;
    if len > rest.len() {
        return Err(early());
    }
    let body = rest.slice_with_length(0, len);
    rest.advance(len);
    Ok(Some((message, body)))
}

/// Lengths in types are signed, and taken as unsigned.
fn check_type(of: &DataType) -> Result<(), ArrowError> {
    if let DataType::FixedSizeBinary(len) | DataType::FixedSizeList(_, len) = of
        && *len < 0
    {
        return Err(broken("a type of a length below zero"));
    }
    match of {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => check_type(field.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        DataType::Union(fields, _) => fields.iter().try_for_each(|(_, field)| check_type(field.data_type())),
        DataType::RunEndEncoded(ends, values) => {
            check_type(ends.data_type())?;
            check_type(values.data_type())
        }
        DataType::Dictionary(_, values) => check_type(values),
        _ => Ok(()),
    }
}

/// The column of a dictionary's values.
fn values_of(schema: &Schema, id: i64) -> Result<Field, ArrowError> {
    #[expect(deprecated, reason = "arrow-ipc looks them up in this way")]
    let field = schema.fields_with_dict_id(id).into_iter().next();
    match field.map(Field::data_type) {
        Some(DataType::Dictionary(_, values)) => Ok(Field::new("", values.as_ref().clone(), true)),
        _ => Err(broken("a dictionary that the schema does not name")),
    }
}

/// Walks nodes and buffers of a batch as `arrow-ipc` does, for the types whose buffers it slices unchecked.
struct Parts<'a> {
    nodes: std::vec::IntoIter<&'a FieldNode>,
    buffers: std::vec::IntoIter<arrow_ipc::Buffer>,
    variadic: std::vec::IntoIter<i64>,
    /// In older versions of the format unions have a validity buffer.
    validity_of_unions: bool,
    body: &'a Buffer,
}

impl Parts<'_> {
    fn buffer(&mut self) -> Result<arrow_ipc::Buffer, ArrowError> {
        self.buffers.next().ok_or_else(|| broken("fewer buffers than the schema needs"))
    }

    fn skip(&mut self, buffers: usize) -> Result<(), ArrowError> {
        (0..buffers).try_for_each(|_| self.buffer().map(drop))
    }

    fn node(&mut self) -> Result<usize, ArrowError> {
        let node = self.nodes.next().ok_or_else(|| broken("fewer columns than the schema has"))?;
        usize::try_from(node.length()).map_err(|_| broken("a count of rows below zero"))
    }

    /// A buffer that arrow-ipc takes as whole values of `size` bytes.
    fn whole(&mut self, size: i64) -> Result<(), ArrowError> {
        if self.buffer()?.length() % size != 0 {
            return Err(broken("a buffer that ends within a value"));
        }
        Ok(())
    }

    /// A buffer with room for `len` values of `size` bytes, aligned for them.
    fn values(&mut self, len: usize, size: usize) -> Result<(), ArrowError> {
        let buffer = self.buffer()?;
        let fits = usize::try_from(buffer.length()).ok().zip(len.checked_mul(size));
        if fits.is_none_or(|(have, need)| have < need) {
            return Err(broken("a union of more rows than its buffers have"));
        }
        let start = usize::try_from(buffer.offset()).unwrap_or_default();
        if (self.body.as_ptr() as usize).wrapping_add(start) % size != 0 {
            return Err(broken("offsets of a union that are not aligned"));
        }
        Ok(())
    }

    /// Validity, offsets and bytes.
    fn text(&mut self, offset: i64) -> Result<(), ArrowError> {
        self.node()?;
        self.skip(1)?;
        self.whole(offset)?;
        self.skip(1)
    }

    /// Validity, buffers of offsets or sizes, and the column of elements.
    fn list(&mut self, elements: &Field, sizes: &[i64]) -> Result<(), ArrowError> {
        self.node()?;
        self.skip(1)?;
        sizes.iter().try_for_each(|size| self.whole(*size))?;
        self.column(elements)
    }

    fn column(&mut self, field: &Field) -> Result<(), ArrowError> {
        match field.data_type() {
            DataType::Utf8 | DataType::Binary => self.text(4),
            DataType::LargeBinary | DataType::LargeUtf8 => self.text(8),
            DataType::BinaryView | DataType::Utf8View => {
                self.node()?;
                let more = self.variadic.next().and_then(|count| usize::try_from(count).ok());
                self.skip(1)?;
                self.whole(16)?;
                // A count that is wrong is found by arrow-ipc.
                self.skip(more.unwrap_or_default().min(self.buffers.len()))
            }
            DataType::List(inner) | DataType::Map(inner, _) => self.list(inner, &[4]),
            DataType::LargeList(inner) => self.list(inner, &[8]),
            DataType::ListView(inner) => self.list(inner, &[4, 4]),
            DataType::LargeListView(inner) => self.list(inner, &[8, 8]),
            DataType::FixedSizeList(inner, _) => self.list(inner, &[]),
            DataType::Struct(fields) => {
                self.node()?;
                self.skip(1)?;
                fields.iter().try_for_each(|field| self.column(field))
            }
            DataType::RunEndEncoded(ends, values) => {
                self.node()?;
                self.column(ends)?;
                self.column(values)
            }
            DataType::Union(fields, mode) => {
                let len = self.node()?;
                if self.validity_of_unions {
                    self.skip(1)?;
                }
                self.values(len, 1)?;
                if *mode == UnionMode::Dense {
                    self.values(len, 4)?;
                }
                fields.iter().try_for_each(|(_, field)| self.column(field))
            }
            DataType::Null => self.node().map(drop),
            DataType::Dictionary(index, _) => {
                self.node()?;
                self.skip(1)?;
                self.whole(index.primitive_width().and_then(|width| i64::try_from(width).ok()).unwrap_or(1))
            }
            _ => {
                self.node()?;
                self.skip(2)
            }
        }
    }
}

/// A stream at an address that is aligned for all types: copied if it lies otherwise and its columns are to be used where
/// they are.
pub(super) fn aligned(stream: Buffer) -> Buffer {
    if (stream.as_ptr() as usize).is_multiple_of(8) {
        return stream;
    }
    Buffer::from_slice_ref(stream.as_slice())
}
