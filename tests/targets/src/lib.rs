//! What a fuzzer drives, a function for each target: any bytes of a peer, through everything that reads them.
//!
//! `fuzz/` gives each to `cargo fuzz`; the test of this crate drives the same functions with what real peers said, bent a
//! little, on a stable toolchain. A function returns where the bytes are refused, and panics where a promise is broken.

mod session;

use std::borrow::Cow;

use bytes::Bytes;
use dask_wire::exception::PythonError;
use dask_wire::family;
use dask_wire::frame::{FrameReader, Framing, WebSocketReader, prelude};
use dask_wire::handshake::Handshake;
use dask_wire::numpy::NdArray;
use dask_wire::{Encoding, Limits, Message, Payload, Value};

pub use session::session;

/// A target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("frames", frames),
    ("message", message),
    ("payload", payload),
    ("pickle", pickle),
    ("compression", compression),
    ("session", session),
];

/// Bounds that keep one input fast.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.message_bytes = 1 << 20;
    limits.decompressed_bytes = 1 << 20;
    limits.frames = 1 << 12;
    limits.items = 1 << 16;
    limits
}

fn pickle_limits() -> dask_pickle::Limits {
    dask_pickle::Limits { items: 1 << 16, memo: 1 << 12, ..dask_pickle::Limits::default() }
}

/// The bytes of a stream in pieces of some size: in each framing, and in one that the first bytes tell.
pub fn frames(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else { return };
    for framing in [None, Some(Framing::Bare), Some(Framing::Prefixed)] {
        let mut reader = match framing {
            None => FrameReader::new(limits().before_handshake()),
            Some(framing) => FrameReader::with_framing(framing, limits()),
        };
        let mut rest = data;
        let mut messages = Vec::new();
        'stream: while !rest.is_empty() {
            let size = reader.put(&rest[..(usize::from(step) + 1).min(rest.len())]);
            rest = &rest[size..];
            loop {
                match reader.next_message() {
                    Ok(Some(frames)) => messages.push(frames),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        for frames in messages {
            again(framing.unwrap_or(Framing::Prefixed), &frames);
        }
    }
    let mut reader = WebSocketReader::new(limits());
    for frame in split(data) {
        if reader.push(frame).is_err() {
            break;
        }
    }
}

/// What was read is read again where it is written.
fn again(framing: Framing, frames: &[Bytes]) {
    let mut bytes = prelude(framing, frames);
    frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
    let mut reader = FrameReader::with_framing(framing, Limits::default());
    let mut rest = bytes.as_slice();
    loop {
        if let Some(found) = reader.next_message().expect("our own message is refused") {
            assert_eq!(found, frames);
            return;
        }
        assert!(!rest.is_empty(), "our own message does not end");
        let size = reader.put(rest);
        rest = &rest[size..];
    }
}

/// Frames out of one input: each after its length in two bytes, the last with what is left.
pub fn split(mut data: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        frames.push(Bytes::copy_from_slice(frame));
        data = rest;
    }
    frames
}

/// The input that [`split`] takes apart into these frames; `None` if one is too long.
pub fn join(frames: &[Bytes]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for frame in frames {
        out.extend_from_slice(&u16::try_from(frame.len()).ok()?.to_le_bytes());
        out.extend_from_slice(frame);
    }
    Some(out)
}

/// The number of an encoding in the first byte of an input.
pub const ENCODINGS: [Encoding; 3] =
    [Encoding::PathsWithLengths, Encoding::PathsWithSplits, Encoding::Placeholders];

/// The frames of a message in each encoding.
pub fn message(data: &[u8]) {
    let Some((&encoding, data)) = data.split_first() else { return };
    let encoding = ENCODINGS[usize::from(encoding) % ENCODINGS.len()];
    let Ok(message) = Message::new(split(data), encoding, limits()) else { return };
    let Ok(value) = message.value() else { return };
    drop(Handshake::from_value(&value));
    drop(PythonError::from_reply(&value));
    drop(dask_wire::Key::from_value(&value));
    each_payload(&value, &mut look_into);
    // What was understood can be said in every encoding.
    for encoding in ENCODINGS {
        let frames = encoding.encode(&value, None);
        assert!(!frames.is_empty());
    }
}

fn each_payload(value: &Value<'_>, look: &mut impl FnMut(&Payload)) {
    match value {
        Value::Payload(payload) => look(payload),
        Value::Array(items) | Value::Set(items) => items.iter().for_each(|item| each_payload(item, look)),
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            each_payload(key, look);
            each_payload(value, look);
        }),
        _ => (),
    }
}

/// A result or an exception, as whoever asked for it looks at it.
fn look_into(payload: &Payload) {
    let error = PythonError::from_payloads(Some(payload), Some(payload));
    drop((error.title(), error.kind(), error.to_string(), error.chain().count()));
    let Ok(decoded) = family::decode(payload, &pickle_limits()) else { return };
    drop(decoded.describe());
    drop(decoded.to_value());
    drop(decoded.to::<Vec<f64>>());
    if let Ok(array) = decoded.to::<NdArray>() {
        drop((array.to_vec::<f64>(), array.elements().take(1_000).count(), array.to_payload()));
    }
}

/// The header of a value and its frames.
pub fn payload(data: &[u8]) {
    let mut frames = split(data);
    frames.insert(0, Bytes::from_static(b"\x81\xae__Serialized__\x01"));
    if let Some(input) = join(&frames) {
        message(&[&[2][..], &input].concat());
    }
}

/// A pickle.
pub fn pickle(data: &[u8]) {
    let buffers = vec![Bytes::from_static(b"buffer"), Bytes::from_static(b"another")];
    let Ok(tree) = dask_pickle::read(data.to_vec(), buffers, &pickle_limits()) else { return };
    let root = tree.root();
    drop((root.kind(), root.as_i64(), root.to_bigint(), root.class_name(), root.items().count()));
    drop(dask_pickle::from_view::<std::collections::BTreeMap<String, Vec<Option<f64>>>>(root));
    if let Ok(value) = dask_pickle::Value::from_view(root) {
        drop(format!("{value:?}"));
        // What was read as plain data can be written, and then reads as the same.
        if let Ok(again) = dask_pickle::to_vec(&value) {
            drop(dask_pickle::read(again, Vec::new(), &pickle_limits()).expect("our own pickle is refused"));
        }
    }
}

/// A compressed frame, inside the value that it belongs to.
pub fn compression(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let name = ["lz4", "zstd", "zlib", "snappy", "blosc"][usize::from(how) % 5];
    let header: Value<'_> = [
        ("serializer", Value::from("pickle")),
        ("num-sub-frames", Value::from(1)),
        ("compression", Value::Array(vec![Value::Str(Cow::Borrowed(name))])),
    ]
    .into_iter()
    .collect();
    // A header is a message without values beside it.
    let header = Encoding::Placeholders.encode(&header, None).swap_remove(0);
    let frames =
        vec![Bytes::from_static(b"\x81\xae__Serialized__\x01"), header, Bytes::copy_from_slice(data)];
    let Ok(message) = Message::new(frames, Encoding::Placeholders, limits()) else { return };
    if let Ok(value) = message.value() {
        each_payload(&value, &mut |payload| {
            assert!(payload.len() as u64 <= limits().decompressed_bytes, "more than the limit");
        });
    }
}
