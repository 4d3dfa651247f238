//! A value that travels beside a message: a header that names its serialization, and frames.

use bytes::Bytes;

use crate::compress::{Budget, decompress};
use crate::error::WireError;
use crate::value::Value;

/// A value serialized by a worker, a client or the scheduler, kept as it came.
///
/// Frames are already decompressed and put together; the header lacks what only told how to do that. A payload that is
/// not understood can therefore still be sent on unchanged, to any release.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    header: Vec<(Value<'static>, Value<'static>)>,
    frames: Vec<Bytes>,
    carried: Carried,
}

/// How a payload is marked inside the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// `__Serialized__`: the scheduler passes it on unread.
    Serialized,
    /// `__Pickled__`: the receiver unpickles it at once.
    Pickled,
}

/// Header entries that speak of frames on the wire, not of the value.
const TRANSPORT: &[&str] =
    &["compression", "count", "lengths", "num-sub-frames", "split-num-sub-frames", "split-offsets"];

impl Payload {
    /// A payload with this header and these frames.
    pub fn new(header: Value<'static>, frames: Vec<Bytes>) -> Self {
        let header = match header {
            Value::Map(pairs) => pairs,
            _ => Vec::new(),
        };
        Self { header, frames, carried: Carried::Serialized }
    }

    /// A pickle, with the buffers that it left out-of-band (protocol 5).
    pub fn pickle(pickle: impl Into<Bytes>, buffers: impl IntoIterator<Item = Bytes>) -> Self {
        let mut frames = vec![pickle.into()];
        frames.extend(buffers);
        let writeable: Value<'_> = frames.iter().skip(1).map(|_| false).collect();
        Self {
            header: vec![
                (Value::from("serializer"), Value::from("pickle")),
                (Value::from("writeable"), writeable),
            ],
            frames,
            carried: Carried::Serialized,
        }
    }

    /// Raw bytes, which arrive as Python `bytes`.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::dask("builtins.bytes", "builtins", "bytes", Vec::new(), vec![bytes.into()])
    }

    /// A value of a class that Dask itself knows how to put into frames (bytes, NumPy arrays, Arrow tables).
    ///
    /// The class's own entries stand both at the top of the header, where releases up to 2021.10.0 look for them, and in
    /// its `sub-header`, where later ones do.
    pub fn dask(
        type_name: &str,
        module: &str,
        class: &str,
        fields: Vec<(Value<'static>, Value<'static>)>,
        frames: Vec<Bytes>,
    ) -> Self {
        let class = format!("\u{0}c{module}\n{class}\n.").into_bytes();
        // Protocol 4: PROTO 4, GLOBAL, STOP.
        let class: Vec<u8> = [&[0x80, 0x04][..], class.get(1..).unwrap_or_default()].concat();
        let mut header = vec![
            (Value::from("serializer"), Value::from("dask")),
            (Value::from("type"), Value::from(type_name.to_owned())),
            (Value::from("type-serialized"), Value::from(class)),
        ];
        header.extend(fields.iter().cloned());
        header.push((Value::from("sub-header"), Value::Map(fields)));
        Self { header, frames, carried: Carried::Serialized }
    }

    /// A pickle that the receiver, the scheduler included, unpickles on arrival (from 2022.04.0 on).
    pub fn to_unpickle(pickle: impl Into<Bytes>) -> Self {
        Self { header: Vec::new(), frames: vec![pickle.into()], carried: Carried::Pickled }
    }

    /// Puts a received header and its wire frames together. Frames that lie one after the other in one of the `runs` are
    /// joined where they are; all others that were cut up are copied.
    pub(crate) fn receive(
        header: Value<'_>,
        frames: &[Bytes],
        runs: &[Bytes],
        carried: Carried,
        budget: &mut Budget,
    ) -> Result<Self, WireError> {
        let Value::Map(header) = header else {
            return Err(WireError::malformed(format!("{} where a payload's header belongs", header.kind())));
        };
        let find =
            |name: &str| header.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
        let mut merged = expand(find("compression"), frames, budget)?;
        if let Some(counts) = find("split-num-sub-frames") {
            merged = join_split(counts, find("split-offsets"), &merged, runs)?;
        } else if let Some(lengths) = find("lengths").and_then(Value::as_array) {
            merged = cut_by_length(lengths, &merged, runs)?;
        }
        if carried == Carried::Pickled {
            let pickle = find("pickled-obj")
                .and_then(Value::as_bytes)
                .ok_or_else(|| WireError::malformed("a pickled value without its pickle"))?;
            merged.insert(0, Bytes::copy_from_slice(pickle));
            return Ok(Self { header: Vec::new(), frames: merged, carried });
        }
        let header = header
            .into_iter()
            .filter(|(key, _)| key.as_str().is_none_or(|key| !TRANSPORT.contains(&key)))
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        Ok(Self { header, frames: merged, carried })
    }

    /// An entry of the header.
    pub fn header(&self, name: &str) -> Option<&Value<'static>> {
        self.header.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    /// All entries of the header.
    pub fn header_entries(&self) -> &[(Value<'static>, Value<'static>)] {
        &self.header
    }

    /// The frames, decompressed and whole.
    pub fn frames(&self) -> &[Bytes] {
        &self.frames
    }

    /// Bytes of all frames together.
    pub fn len(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte in any frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn carried(&self) -> Carried {
        self.carried
    }

    /// The serialization family: `pickle`, `dask`, `msgpack`, `error`, or `collection`.
    pub fn family(&self) -> &str {
        if self.carried == Carried::Pickled {
            return "pickle";
        }
        if self.header("is-collection").and_then(Value::as_bool) == Some(true) {
            return "collection";
        }
        self.header("serializer").and_then(Value::as_str).unwrap_or("unknown")
    }

    /// What it is in a few words, for messages to people.
    pub fn describe(&self) -> String {
        match (self.family(), self.header("type").and_then(Value::as_str)) {
            ("dask", Some(name)) => name.trim_start_matches("builtins.").to_owned(),
            (family, _) => family.to_owned(),
        }
    }
}

fn expand(names: Option<&Value<'_>>, frames: &[Bytes], budget: &mut Budget) -> Result<Vec<Bytes>, WireError> {
    let names = names.and_then(Value::as_array).unwrap_or_default();
    frames
        .iter()
        .enumerate()
        .map(|(at, frame)| match names.get(at).and_then(Value::as_str) {
            None => Ok(frame.clone()),
            Some(name) => decompress(name.parse()?, frame, budget),
        })
        .collect()
}

fn index(value: Option<&Value<'_>>) -> Option<usize> {
    usize::try_from(value?.as_u64()?).ok()
}

/// Undoes the sharding of large frames: original frame `j` is `counts[j]` frames from `offsets[j]` on.
fn join_split(
    counts: &Value<'_>,
    offsets: Option<&Value<'_>>,
    frames: &[Bytes],
    runs: &[Bytes],
) -> Result<Vec<Bytes>, WireError> {
    let counts = counts.as_array().unwrap_or_default();
    let offsets = offsets.and_then(Value::as_array).unwrap_or_default();
    let mut next = 0;
    let mut whole = Vec::with_capacity(counts.len().min(frames.len()));
    for (at, count) in counts.iter().enumerate() {
        let count = index(Some(count));
        let start = index(offsets.get(at)).unwrap_or(next);
        let pieces = count
            .and_then(|count| frames.get(start..start.checked_add(count)?))
            .ok_or_else(|| WireError::malformed("a split frame points outside of its message"))?;
        // Each frame belongs to one value only; anything else could multiply memory.
        if start != next {
            return Err(WireError::malformed("split frames overlap or leave a gap"));
        }
        next = start + pieces.len();
        whole.push(concat(pieces, runs));
    }
    if next != frames.len() {
        return Err(WireError::malformed("frames left over after joining split ones"));
    }
    Ok(whole)
}

/// Cuts the frames, taken as one run of bytes, at the lengths of the original ones (up to 2021.02.0).
fn cut_by_length(lengths: &[Value<'_>], frames: &[Bytes], runs: &[Bytes]) -> Result<Vec<Bytes>, WireError> {
    let lengths: Option<Vec<usize>> = lengths.iter().map(|length| index(Some(length))).collect();
    let lengths = lengths.ok_or_else(|| WireError::malformed("a frame length that is no length"))?;
    if lengths.iter().copied().eq(frames.iter().map(Bytes::len)) {
        return Ok(frames.to_vec());
    }
    let mut all = concat(frames, runs);
    let mut whole = Vec::with_capacity(lengths.len());
    for length in lengths {
        if length > all.len() {
            return Err(WireError::malformed("frame lengths add up to more than the frames"));
        }
        whole.push(all.split_to(length));
    }
    if !all.is_empty() {
        return Err(WireError::malformed("frame lengths add up to less than the frames"));
    }
    Ok(whole)
}

fn concat(pieces: &[Bytes], runs: &[Bytes]) -> Bytes {
    match pieces {
        [one] => one.clone(),
        pieces => runs.iter().find_map(|run| within(pieces, run)).unwrap_or_else(|| pieces.concat().into()),
    }
}

/// The part of a buffer that is exactly these pieces, if they lie there one after the other.
fn within(pieces: &[Bytes], run: &Bytes) -> Option<Bytes> {
    let address = |bytes: &Bytes| bytes.as_ptr() as usize;
    let start = address(pieces.first()?).checked_sub(address(run))?;
    let mut end = start;
    for piece in pieces {
        if address(piece) != address(run).checked_add(end)? {
            return None;
        }
        end = end.checked_add(piece.len()).filter(|end| *end <= run.len())?;
    }
    Some(run.slice(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_where_they_lie() {
        let run = Bytes::from((0..100u8).collect::<Vec<_>>());
        let cut = |range: std::ops::Range<usize>| run.slice(range);
        let joined = concat(&[cut(10..40), cut(40..70), cut(70..71)], std::slice::from_ref(&run));
        assert_eq!(joined, run.slice(10..71));
        assert_eq!(joined.as_ptr(), run[10..].as_ptr());
        let other = Bytes::from(vec![1, 2, 3]);
        for pieces in [
            [cut(10..40), cut(41..70)],
            [cut(40..70), cut(10..40)],
            [cut(90..100), other.clone()],
            [other.clone(), cut(0..9)],
        ] {
            let joined = concat(&pieces, std::slice::from_ref(&run));
            assert_eq!(joined, pieces.concat());
        }
    }
}
