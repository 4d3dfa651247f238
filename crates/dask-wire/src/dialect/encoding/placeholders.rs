//! Values beside a message, each pointed to by a placeholder inside it (from 2021.03.1 on).

use bytes::Bytes;

use super::{mark_sets, pack};
use crate::compress::{Budget, Compression};
use crate::error::WireError;
use crate::limits::Limits;
use crate::msgpack::{self, Items};
use crate::payload::{Carried, Payload};
use crate::value::Value;

pub(super) fn encode(value: &Value<'_>, compression: Option<Compression>) -> Vec<Bytes> {
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

pub(super) fn decode<'a>(
    frames: &'a [Bytes],
    runs: &[Bytes],
    limits: &Limits,
) -> Result<Value<'a>, WireError> {
    let Some((body, _)) = frames.split_first() else {
        return Err(WireError::malformed("a message without frames"));
    };
    let mut budget = Budget::new(limits.decompressed_bytes);
    let mut used = 1;
    let mut taken = vec![false; frames.len()];
    let items = Items::new(limits);
    let value = msgpack::read(body, limits, &items, &mut |pairs| {
        let (carried, target) = match pairs.first() {
            Some((Value::Str(key), target)) if key == "__Serialized__" => (Carried::Serialized, target),
            Some((Value::Str(key), target)) if key == "__Pickled__" => (Carried::Pickled, target),
            _ => return mark_sets(pairs),
        };
        let Some(at) = target.as_u64().and_then(|at| usize::try_from(at).ok()) else {
            return inline_payload(pairs, &mut budget);
        };
        let header = match at.checked_sub(1).and_then(|_| frames.get(at)) {
            Some(frame) => msgpack::read_part(frame, limits, &items)?,
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
        Ok(Value::Payload(Box::new(Payload::receive(header, mine, runs, carried, &mut budget)?)))
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
    Ok(Value::Payload(Box::new(Payload::receive(header, &frames, &[], Carried::Serialized, budget)?)))
}
