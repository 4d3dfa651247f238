//! The three ways a message became frames.
//!
//! * [`Encoding::PathsWithLengths`] (up to 2021.02.0) and [`Encoding::PathsWithSplits`] (2021.03.0 alone): out-of-band
//!   values are cut out of the message; a second map says at which path each belongs.
//! * [`Encoding::Placeholders`] (from 2021.03.1 on): a placeholder map in the message points to the value's frames.
//!
//! A server's handshake tells which: the number of its frames and the framing.

use bytes::Bytes;

use crate::compress::{Budget, Compression, decompress, maybe_compress};
use crate::error::WireError;
use crate::frame::Framing;
use crate::limits::Limits;
use crate::msgpack;
use crate::payload::{Carried, Payload};
use crate::value::Value;

/// How a message is spread over frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// Values by path, their frames cut by `lengths`.
    PathsWithLengths,
    /// Values by path, their frames joined by `split-num-sub-frames`.
    PathsWithSplits,
    /// Values by placeholder.
    Placeholders,
}

impl Encoding {
    /// The encoding of a server, from its handshake's framing and number of frames.
    pub fn detect(framing: Framing, handshake_frames: usize) -> Result<Self, WireError> {
        match (framing, handshake_frames) {
            (Framing::Bare, 2) => Ok(Encoding::PathsWithLengths),
            (Framing::Prefixed, 2) => Ok(Encoding::PathsWithSplits),
            (Framing::Prefixed, 1) => Ok(Encoding::Placeholders),
            (_, count) => Err(WireError::NotDask {
                found: format!("a first message of {count} frames, where Dask sends 1 or 2"),
            }),
        }
    }

    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::PathsWithLengths => "paths+lengths",
            Encoding::PathsWithSplits => "paths+splits",
            Encoding::Placeholders => "placeholders",
        }
    }

    /// Turns a value into frames.
    pub fn encode(self, value: &Value<'_>, compression: Option<Compression>) -> Vec<Bytes> {
        match self {
            Encoding::Placeholders => encode_placeholders(value, compression),
            _ => self.encode_paths(value, compression),
        }
    }

    /// Expands the first part of a message, which the path encodings may compress.
    pub(crate) fn unpack_first(
        self,
        mut frames: Vec<Bytes>,
        limits: &Limits,
    ) -> Result<Vec<Bytes>, WireError> {
        if self == Encoding::Placeholders {
            return if frames.is_empty() {
                Err(WireError::malformed("a message without frames"))
            } else {
                Ok(frames)
            };
        }
        let [small_header, small_payload, ..] = frames.as_mut_slice() else {
            return Err(WireError::malformed("a message of fewer than two frames"));
        };
        if !small_header.is_empty() {
            let header = msgpack::read_plain(small_header, limits)?;
            if let Some(name) = header.get("compression").and_then(Value::as_str) {
                let mut budget = Budget::new(limits.decompressed_bytes);
                *small_payload = decompress(name.parse()?, small_payload, &mut budget)?;
            }
        }
        Ok(frames)
    }

    pub(crate) fn decode<'a>(self, frames: &'a [Bytes], limits: &Limits) -> Result<Value<'a>, WireError> {
        match self {
            Encoding::Placeholders => decode_placeholders(frames, limits),
            _ => decode_paths(frames, limits),
        }
    }

    fn encode_paths(self, value: &Value<'_>, compression: Option<Compression>) -> Vec<Bytes> {
        let mut cut = Cut::default();
        let stripped = cut.strip(value, &mut Vec::new());
        let mut frames = vec![Bytes::new(), Bytes::from(msgpack::write_plain(&stripped))];
        if cut.found.is_empty() {
            return frames;
        }
        let mut headers = Vec::with_capacity(cut.found.len());
        let mut paths = Vec::with_capacity(cut.found.len());
        let mut data = Vec::new();
        for (path, payload) in cut.found {
            let mut head = payload.header_entries().to_vec();
            let (packed, names) = pack(payload.frames(), compression);
            let count = packed.len();
            let mut put = |name: &'static str, value: Value<'static>| head.push((Value::from(name), value));
            put("count", count.into());
            put("compression", names);
            if self == Encoding::PathsWithLengths {
                put("lengths", payload.frames().iter().map(Bytes::len).collect());
                head.retain(|(name, _)| name.as_str() != Some("writeable"));
                head.push((Value::from("writeable"), payload.frames().iter().map(|_| false).collect()));
            } else {
                put("split-num-sub-frames", (0..count).map(|_| 1u8).collect());
                put("split-offsets", (0..count).collect());
            }
            headers.push((Value::Array(path.clone()), Value::Map(head)));
            paths.push(Value::Array(path));
            data.extend(packed);
        }
        let index: Value<'_> = Value::Map(vec![
            (Value::from("headers"), Value::Map(headers)),
            (Value::from("keys"), Value::Array(paths)),
            (Value::from("bytestrings"), Value::Array(Vec::new())),
        ]);
        frames.push(Bytes::from(msgpack::write_plain(&index)));
        frames.extend(data);
        frames
    }
}

/// Compresses what is worth it; gives the frames and the list of names for their header.
fn pack(frames: &[Bytes], compression: Option<Compression>) -> (Vec<Bytes>, Value<'static>) {
    let mut names = Vec::with_capacity(frames.len());
    let packed = frames
        .iter()
        .map(|frame| match compression.and_then(|how| Some((how, maybe_compress(how, frame)?))) {
            Some((how, packed)) => {
                names.push(Value::from(how.name()));
                packed
            }
            None => {
                names.push(Value::Nil);
                frame.clone()
            }
        })
        .collect();
    (packed, Value::Array(names))
}

/// Takes the payloads out of a value, remembering where they were.
#[derive(Default)]
struct Cut<'v> {
    found: Vec<(Vec<Value<'static>>, &'v Payload)>,
}

impl<'v> Cut<'v> {
    fn strip<'a>(&mut self, value: &'v Value<'a>, path: &mut Vec<Value<'static>>) -> Value<'v> {
        match value {
            Value::Payload(payload) => {
                self.found.push((path.clone(), payload));
                Value::Nil
            }
            Value::Array(items) => {
                let mut kept = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    path.push(Value::from(at));
                    kept.push(self.strip(item, path));
                    path.pop();
                }
                Value::Array(kept)
            }
            Value::Map(pairs) => {
                let mut kept = Vec::with_capacity(pairs.len());
                for (key, item) in pairs {
                    path.push(key.clone().into_owned());
                    let item = self.strip(item, path);
                    // A payload's own entry is left out of a map; in an array its place is kept by nil.
                    if self.found.last().is_none_or(|(found, _)| found != path) {
                        kept.push((borrow(key), item));
                    }
                    path.pop();
                }
                Value::Map(kept)
            }
            other => borrow(other),
        }
    }
}

fn borrow<'v>(value: &'v Value<'_>) -> Value<'v> {
    match value {
        Value::Str(text) => Value::Str(std::borrow::Cow::Borrowed(text)),
        Value::Bin(bytes) => Value::Bin(std::borrow::Cow::Borrowed(bytes)),
        other => other.clone().into_owned(),
    }
}

fn decode_paths<'a>(frames: &'a [Bytes], limits: &Limits) -> Result<Value<'a>, WireError> {
    let [_, body, rest @ ..] = frames else {
        return Err(WireError::malformed("a message of fewer than two frames"));
    };
    let mut message = msgpack::read(body, limits, &mut mark_sets)?;
    let Some((index, mut data)) = rest.split_first() else { return Ok(message) };
    let mut index = msgpack::read_plain(index, limits)?;
    let mut budget = Budget::new(limits.decompressed_bytes);
    let mut headers = match index.take("headers") {
        Some(Value::Map(pairs)) => pairs.into_iter(),
        _ => return Err(WireError::malformed("an index of values without headers")),
    };
    let bytestrings = index.take("bytestrings");
    let is_bytestring = |path: &Value<'_>| {
        bytestrings.as_ref().and_then(Value::as_array).is_some_and(|paths| paths.contains(path))
    };
    let mut spare = Vec::new();
    for path in index.get("keys").and_then(Value::as_array).unwrap_or_default() {
        // Both sides are written in the same order; look further only where they are not.
        let header = match spare.iter().position(|(key, _)| key == path) {
            Some(at) => Some(spare.swap_remove(at)),
            None => loop {
                match headers.next() {
                    Some(pair) if &pair.0 == path => break Some(pair),
                    Some(pair) => spare.push(pair),
                    None => break None,
                }
            },
        };
        let Some((_, header)) = header else {
            return Err(WireError::malformed("a value in the index without its header"));
        };
        let count = header.get("count").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let Some((mine, others)) = count.and_then(|count| data.split_at_checked(count)) else {
            return Err(WireError::malformed("a value with more frames than the message has left"));
        };
        data = others;
        let payload = Payload::receive(header, mine, Carried::Serialized, &mut budget)?;
        let value = match payload.frames() {
            [bytes] if is_bytestring(path) => Value::from(bytes.to_vec()),
            _ => Value::Payload(Box::new(payload)),
        };
        put_at(&mut message, path.as_array().unwrap_or_default(), value)?;
    }
    if !data.is_empty() {
        return Err(WireError::malformed(format!("{} frames left over after a message", data.len())));
    }
    Ok(message)
}

/// Puts a value where its path says.
fn put_at<'a>(message: &mut Value<'a>, path: &[Value<'_>], value: Value<'a>) -> Result<(), WireError> {
    let lost = || WireError::malformed("a value's path leads nowhere");
    let Some((last, way)) = path.split_last() else {
        *message = value;
        return Ok(());
    };
    let mut place = message;
    for step in way {
        place = match place {
            Value::Map(pairs) => {
                pairs.iter_mut().find(|(key, _)| key == step).map(|(_, value)| value).ok_or_else(lost)?
            }
            Value::Array(items) => {
                let at = step.as_u64().and_then(|at| usize::try_from(at).ok()).ok_or_else(lost)?;
                items.get_mut(at).ok_or_else(lost)?
            }
            _ => return Err(lost()),
        };
    }
    match place {
        Value::Map(pairs) => pairs.push((last.clone().into_owned(), value)),
        Value::Array(items) => {
            let at = last.as_u64().and_then(|at| usize::try_from(at).ok()).ok_or_else(lost)?;
            *items.get_mut(at).ok_or_else(lost)? = value;
        }
        _ => return Err(lost()),
    }
    Ok(())
}

/// Marks that need no frames: sets and enums.
fn mark_sets(mut pairs: msgpack::Map<'_>) -> Result<Value<'_>, WireError> {
    let first = match pairs.first() {
        Some((Value::Str(key), _)) => key.as_ref(),
        _ => "",
    };
    let field = |pairs: &mut msgpack::Map<'_>, name: &str| {
        pairs.iter().position(|(key, _)| key.as_str() == Some(name))
    };
    match first {
        "__Set__" => match field(&mut pairs, "as-list").map(|at| pairs.swap_remove(at).1) {
            Some(Value::Array(items)) => Ok(Value::Set(items)),
            _ => Err(WireError::malformed("a set without its elements")),
        },
        // An enum member is its name, as releases that send plain names have it.
        "__Enum__" => match field(&mut pairs, "name").map(|at| pairs.swap_remove(at).1) {
            Some(name @ Value::Str(_)) => Ok(name),
            _ => Err(WireError::malformed("an enum member without its name")),
        },
        _ => Ok(Value::Map(pairs)),
    }
}

fn encode_placeholders(value: &Value<'_>, compression: Option<Compression>) -> Vec<Bytes> {
    let mut beside: Vec<Bytes> = Vec::new();
    let mut body = Vec::new();
    msgpack::write(&mut body, value, &mut |out, payload| {
        let at = beside.len() + 1;
        // Pickled sub-frames are read without decompression up to 2023.9.2, so they go as they are.
        let (mark, mut head, frames, compression) = match payload.carried() {
            Carried::Serialized => {
                ("__Serialized__", payload.header_entries().to_vec(), payload.frames(), compression)
            }
            Carried::Pickled => {
                let (pickle, buffers) =
                    payload.frames().split_first().map_or((&[][..], &[][..]), |(p, b)| (p, b));
                (
                    "__Pickled__",
                    vec![(Value::from("pickled-obj"), Value::Bin(pickle.to_vec().into()))],
                    buffers,
                    None,
                )
            }
        };
        let (packed, names) = pack(frames, compression);
        head.push((Value::from("num-sub-frames"), packed.len().into()));
        head.push((Value::from("compression"), names));
        if mark == "__Serialized__" {
            head.push((Value::from("split-num-sub-frames"), packed.iter().map(|_| 1u8).collect()));
            head.push((Value::from("split-offsets"), (0..packed.len()).collect()));
        }
        beside.push(Bytes::from(msgpack::write_plain(&Value::Map(head))));
        beside.extend(packed);
        msgpack::write_map_len(out, 1);
        msgpack::write_str(out, mark);
        msgpack::write(out, &Value::from(at), &mut |_, _| ());
    });
    beside.insert(0, Bytes::from(body));
    beside
}

fn decode_placeholders<'a>(frames: &'a [Bytes], limits: &Limits) -> Result<Value<'a>, WireError> {
    let Some((body, _)) = frames.split_first() else {
        return Err(WireError::malformed("a message without frames"));
    };
    let mut budget = Budget::new(limits.decompressed_bytes);
    let mut used = 1;
    let mut taken = vec![false; frames.len()];
    let value = msgpack::read(body, limits, &mut |pairs| {
        let (carried, target) = match pairs.first() {
            Some((Value::Str(key), target)) if key == "__Serialized__" => (Carried::Serialized, target),
            Some((Value::Str(key), target)) if key == "__Pickled__" => (Carried::Pickled, target),
            _ => return mark_sets(pairs),
        };
        let Some(at) = target.as_u64().and_then(|at| usize::try_from(at).ok()) else {
            return inline_payload(pairs, &mut budget);
        };
        let header = match at.checked_sub(1).and_then(|_| frames.get(at)) {
            Some(frame) => msgpack::read_plain(frame, limits)?,
            None => return Err(WireError::malformed("a placeholder for a frame that is not there")),
        };
        let count = header.get("num-sub-frames").and_then(Value::as_u64).unwrap_or(0);
        let mine = usize::try_from(count)
            .ok()
            .and_then(|count| frames.get(at + 1..at.checked_add(1)?.checked_add(count)?))
            .ok_or_else(|| WireError::malformed("a value with more frames than its message"))?;
        // Each frame belongs to one value only; anything else could multiply memory.
        for flag in taken.iter_mut().skip(at).take(mine.len() + 1) {
            if std::mem::replace(flag, true) {
                return Err(WireError::malformed("two values share a frame"));
            }
        }
        used += 1 + mine.len();
        Ok(Value::Payload(Box::new(Payload::receive(header, mine, carried, &mut budget)?)))
    })?;
    if used != frames.len() {
        return Err(WireError::malformed(format!(
            "{} frames left over after a message",
            frames.len() - used
        )));
    }
    Ok(value)
}

/// `{"__Serialized__": true, "data": [header, frames]}`: a payload inside the message itself.
fn inline_payload<'a>(mut pairs: msgpack::Map<'a>, budget: &mut Budget) -> Result<Value<'a>, WireError> {
    let data =
        pairs.iter().position(|(key, _)| key.as_str() == Some("data")).map(|at| pairs.swap_remove(at).1);
    let Some(Value::Array(parts)) = data else {
        return Err(WireError::malformed("a placeholder that points nowhere"));
    };
    let mut parts = parts.into_iter();
    let (Some(header), Some(Value::Array(frames)), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(WireError::malformed("an inline value that is not a header and frames"));
    };
    let frames: Option<Vec<Bytes>> =
        frames.iter().map(|frame| Some(Bytes::copy_from_slice(frame.as_bytes()?))).collect();
    let frames =
        frames.ok_or_else(|| WireError::malformed("an inline value with a frame that is no bytes"))?;
    Ok(Value::Payload(Box::new(Payload::receive(header, &frames, Carried::Serialized, budget)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use proptest::prelude::*;

    const ALL: [Encoding; 3] =
        [Encoding::PathsWithLengths, Encoding::PathsWithSplits, Encoding::Placeholders];

    fn sample() -> Value<'static> {
        let array = Payload::dask(
            "numpy.ndarray",
            "numpy",
            "ndarray",
            vec![(Value::from("shape"), [3i64].into_iter().collect())],
            vec![Bytes::from(vec![1u8; 24])],
        );
        let big = Payload::pickle(vec![b'x'; 50_000], [Bytes::from_static(b"buffer")]);
        Value::Map(vec![
            ("op".into(), "scatter".into()),
            (
                "data".into(),
                Value::Map(vec![
                    ("a-1".into(), array.into()),
                    (Value::Array(vec!["t".into(), 0.into()]), big.into()),
                ]),
            ),
            ("list".into(), Value::Array(vec![1.into(), Payload::bytes("bytes!").into(), "end".into()])),
            ("workers".into(), Value::Nil),
        ])
    }

    fn by_key(value: &Value<'_>) -> Vec<(String, String)> {
        let mut pairs: Vec<_> =
            value.as_map().unwrap().iter().map(|(k, v)| (format!("{k:?}"), format!("{v:?}"))).collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn every_encoding_gives_back_what_it_was_given() {
        for encoding in ALL {
            for compression in [None, Some(Compression::Lz4), Some(Compression::Zstd)] {
                let frames = encoding.encode(&sample(), compression);
                let message = Message::new(frames, encoding, Limits::default()).unwrap();
                let value = message.value().unwrap();
                assert_eq!(value.get("op").unwrap().as_str(), Some("scatter"));
                let data = value.get("data").unwrap().as_map().unwrap();
                let payload = data[0].1.as_payload().unwrap();
                assert_eq!(payload.frames(), [Bytes::from(vec![1u8; 24])], "{encoding:?}");
                assert_eq!(payload.header("shape").unwrap(), &Value::Array(vec![3.into()]));
                let payload = data[1].1.as_payload().unwrap();
                assert_eq!(payload.frames()[0].len(), 50_000);
                assert_eq!(payload.frames()[1], "buffer");
                let list = value.get("list").unwrap().as_array().unwrap();
                assert_eq!(list[1].as_payload().unwrap().frames(), ["bytes!"]);
                assert_eq!(list[2].as_str(), Some("end"));
                assert_eq!(by_key(&value).len(), 4);
            }
        }
    }

    #[test]
    fn sets_enums_and_pickles_are_recognised() {
        let message = Value::Map(vec![
            ("keys".into(), Value::Set(vec!["a".into()])),
            ("annotations".into(), Payload::to_unpickle("pickle").into()),
            (
                "status".into(),
                Value::Map(vec![("__Enum__".into(), true.into()), ("name".into(), "running".into())]),
            ),
        ]);
        let frames = Encoding::Placeholders.encode(&message, None);
        let message = Message::new(frames, Encoding::Placeholders, Limits::default()).unwrap();
        let value = message.value().unwrap();
        assert_eq!(value.get("keys"), Some(&Value::Set(vec!["a".into()])));
        assert_eq!(value.get("status").unwrap().as_str(), Some("running"));
        assert_eq!(value.get("annotations").unwrap().as_payload().unwrap().frames(), ["pickle"]);
    }

    #[test]
    fn a_frame_used_twice_or_never_is_an_error() {
        let mut frames = Encoding::Placeholders.encode(&Value::Array(vec![Payload::bytes("x").into()]), None);
        frames.push(Bytes::from_static(b"left over"));
        let message = Message::new(frames.clone(), Encoding::Placeholders, Limits::default()).unwrap();
        assert!(message.value().unwrap_err().to_string().contains("left over"));
        frames.pop();
        let twice = [&[0x92u8][..], &frames[0][1..], &frames[0][1..]].concat();
        frames[0] = Bytes::from(twice);
        let message = Message::new(frames, Encoding::Placeholders, Limits::default()).unwrap();
        assert!(message.value().unwrap_err().to_string().contains("share a frame"));
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
            for encoding in ALL {
                if let Ok(message) = Message::new(frames.clone(), encoding, Limits::default()) {
                    let _ = message.value();
                }
                let mut bent: Vec<Vec<u8>> = encoding.encode(&sample(), None).iter().map(|f| f.to_vec()).collect();
                for (at, byte) in &flips {
                    let frame = at.index(bent.len());
                    if !bent[frame].is_empty() {
                        let at = at.index(bent[frame].len());
                        bent[frame][at] = *byte;
                    }
                }
                let bent = bent.into_iter().map(Bytes::from).collect();
                if let Ok(message) = Message::new(bent, encoding, Limits::default()) {
                    let _ = message.value();
                }
            }
        }
    }
}
