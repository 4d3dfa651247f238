//! The three ways a message became frames.
//!
//! * [`Encoding::PathsWithLengths`] (up to 2021.02.0) and [`Encoding::PathsWithSplits`] (2021.03.0 alone): out-of-band
//!   values are cut out of the message; a second map says at which path each belongs.
//! * [`Encoding::Placeholders`] (from 2021.03.1 on): a placeholder map in the message points to the value's frames.
//!
//! A server's handshake tells which: the number of its frames and the framing.

mod paths;
mod placeholders;

use bytes::Bytes;

use crate::compress::{Budget, Compression, decompress, maybe_compress};
use crate::error::WireError;
use crate::frame::Framing;
use crate::limits::Limits;
use crate::msgpack;
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
            Encoding::Placeholders => placeholders::encode(value, compression),
            _ => paths::encode(self, value, compression),
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

    pub(crate) fn decode<'a>(
        self,
        frames: &'a [Bytes],
        runs: &[Bytes],
        limits: &Limits,
    ) -> Result<Value<'a>, WireError> {
        match self {
            Encoding::Placeholders => placeholders::decode(frames, runs, limits),
            _ => paths::decode(frames, runs, limits),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::payload::Payload;
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

    #[test]
    fn headers_share_what_a_message_may_hold() {
        let header: Vec<(Value<'_>, Value<'_>)> =
            vec![("list".into(), Value::Array(vec![Value::Nil; 500])), ("type".into(), "x".into())];
        let value = |count| -> Value<'_> {
            (0..count).map(|_| Value::from(Payload::new(Value::Map(header.clone()), vec![]))).collect()
        };
        let limits = Limits { items: 2000, ..Limits::default() };
        for encoding in ALL {
            let read = |count| {
                let message = Message::new(encoding.encode(&value(count), None), encoding, limits).unwrap();
                message.value().map(drop)
            };
            assert!(read(3).is_ok(), "{encoding:?}: {:?}", read(3));
            let error = read(5).unwrap_err();
            assert!(matches!(error, WireError::TooLarge { name: "items", .. }), "{encoding:?}: {error}");
        }
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
