//! Values cut out of a message, each with the path at which it belongs (up to 2021.03.0).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{Encoding, mark_sets, pack};
use crate::compress::{Budget, Compression};
use crate::error::WireError;
use crate::limits::Limits;
use crate::msgpack::{self, Items};
use crate::payload::{Carried, Payload};
use crate::value::Value;

pub(super) fn encode(encoding: Encoding, value: &Value<'_>, compression: Option<Compression>) -> Vec<Bytes> {
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
        if encoding == Encoding::PathsWithLengths {
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

pub(super) fn decode<'a>(
    frames: &'a [Bytes],
    runs: &[Bytes],
    limits: &Limits,
) -> Result<Value<'a>, WireError> {
    let [_, body, rest @ ..] = frames else {
        return Err(WireError::malformed("a message of fewer than two frames"));
    };
    let items = Items::new(limits);
    let mut message = msgpack::read(body, limits, &items, &mut mark_sets)?;
    let Some((index, mut data)) = rest.split_first() else { return Ok(message) };
    let mut index = msgpack::read_part(index, limits, &items)?;
    let mut budget = Budget::new(limits.decompressed_bytes);
    let Some(Value::Map(headers)) = index.take("headers") else {
        return Err(WireError::malformed("an index of values without headers"));
    };
    let mut headers = headers.into_iter();
    // Paths are found by how they are written, so that any number of them takes its time but once.
    let bytestrings = index.get("bytestrings").and_then(Value::as_array).unwrap_or_default();
    items.spend(bytestrings.len().saturating_mul(NAME_ITEMS))?;
    let bytestrings: HashSet<Vec<u8>> = bytestrings.iter().map(msgpack::write_plain).collect();
    let mut spare = HashMap::new();
    let mut places = Places::new(limits.depth, &items);
    for path in index.get("keys").and_then(Value::as_array).unwrap_or_default() {
        let name = msgpack::write_plain(path);
        // Both sides are written in the same order; look further only where they are not.
        let header = match spare.remove(&name) {
            Some(header) => Some(header),
            None => loop {
                match headers.next() {
                    Some((key, header)) if &key == path => break Some(header),
                    Some((key, header)) => drop(spare.insert(msgpack::write_plain(&key), header)),
                    None => break None,
                }
            },
        };
        let header = header.ok_or_else(|| WireError::malformed("a value in the index without its header"))?;
        let count = header.get("count").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let Some((mine, others)) = count.and_then(|count| data.split_at_checked(count)) else {
            return Err(WireError::malformed("a value with more frames than the message has left"));
        };
        data = others;
        let payload = Payload::receive(header, mine, runs, Carried::Serialized, &mut budget)?;
        let value = match payload.frames() {
            [bytes] if bytestrings.contains(&name) => Value::from(bytes.to_vec()),
            _ => Value::Payload(Box::new(payload)),
        };
        places.add(path.as_array().unwrap_or_default(), value)?;
    }
    if !data.is_empty() {
        return Err(WireError::malformed(format!("{} frames left over after a message", data.len())));
    }
    places.fill(&mut message)?;
    Ok(message)
}

/// As how many values of the message a path kept by how it is written counts: what it takes over what it was read into.
const NAME_ITEMS: usize = 2;
/// As how many a step of a path counts, of those that no other path has: 64 bytes each.
const STEP_ITEMS: usize = 8;

/// Values and where in the message they belong: a tree of the steps of their paths.
///
/// The message is walked once, however many values there are.
struct Places<'a, 'l> {
    nodes: Vec<Place<'a>>,
    values: usize,
    depth: usize,
    items: &'l Items,
}

#[derive(Default)]
struct Place<'a> {
    value: Option<Value<'a>>,
    /// Where each further step leads, in the order in which the steps came.
    steps: Vec<(Value<'static>, usize)>,
    by_name: HashMap<Vec<u8>, usize>,
}

impl<'a, 'l> Places<'a, 'l> {
    fn new(depth: usize, items: &'l Items) -> Self {
        Self { nodes: vec![Place::default()], values: 0, depth, items }
    }

    fn add(&mut self, path: &[Value<'_>], value: Value<'a>) -> Result<(), WireError> {
        // No message is deeper.
        if path.len() > self.depth {
            return Err(WireError::TooLarge {
                what: "nesting",
                actual: path.len() as u64,
                limit: self.depth as u64,
                name: "depth",
            });
        }
        let mut at = 0;
        for step in path {
            let new = self.nodes.len();
            let place = self.nodes.get_mut(at).ok_or_else(lost)?;
            at = *place.by_name.entry(msgpack::write_plain(step)).or_insert(new);
            if at == new {
                self.items.spend(STEP_ITEMS)?;
                place.steps.push((step.clone().into_owned(), new));
                self.nodes.push(Place::default());
            }
        }
        let place = self.nodes.get_mut(at).ok_or_else(lost)?;
        self.values += 1;
        match place.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(WireError::malformed("two values with one path")),
        }
    }

    /// Puts every value in its place; gives how many values of the message were looked at.
    fn fill(mut self, message: &mut Value<'a>) -> Result<usize, WireError> {
        let (mut looked, mut filled) = (0, 0);
        // The tree may be deeper than the message, but is followed only as far as the message goes.
        let mut rest = vec![(message, 0)];
        while let Some((target, at)) = rest.pop() {
            looked += 1;
            let place = self.nodes.get_mut(at).map(std::mem::take).ok_or_else(lost)?;
            if let Some(value) = place.value {
                if !place.steps.is_empty() {
                    return Err(WireError::malformed("a value inside of another one"));
                }
                *target = value;
                filled += 1;
                continue;
            }
            match target {
                Value::Array(items) => {
                    // Steps in any order; each place once, since no two steps are equal.
                    let mut wanted: Vec<(usize, usize)> = Vec::with_capacity(place.steps.len());
                    for (step, next) in place.steps {
                        let index = step.as_u64().and_then(|index| usize::try_from(index).ok());
                        wanted.push((index.ok_or_else(lost)?, next));
                    }
                    wanted.sort_unstable();
                    let mut items = items.iter_mut().enumerate();
                    for (index, next) in wanted {
                        let (_, item) = items.find(|(at, _)| *at == index).ok_or_else(lost)?;
                        rest.push((item, next));
                    }
                }
                Value::Map(pairs) => {
                    let here = pairs.len();
                    let mut missing = place.by_name;
                    let mut found = Vec::new();
                    for (index, (key, _)) in pairs.iter().enumerate() {
                        looked += 1;
                        if let Some(next) = missing.remove(&msgpack::write_plain(key)) {
                            found.push((index, next));
                        }
                    }
                    // A payload's own entry is left out of the map that it belongs to.
                    for (step, next) in place.steps {
                        if missing.contains_key(&msgpack::write_plain(&step)) {
                            found.push((pairs.len(), next));
                            pairs.push((step, Value::Nil));
                        }
                    }
                    let mut found = found.into_iter().peekable();
                    for (index, (_, value)) in pairs.iter_mut().enumerate() {
                        if let Some((_, next)) = found.next_if(|(at, _)| *at == index) {
                            let leaf = self.nodes.get(next).is_some_and(|place| place.value.is_some());
                            if index >= here && !leaf {
                                return Err(lost());
                            }
                            rest.push((value, next));
                        }
                    }
                }
                // The message itself, where nothing belongs into it.
                _ if place.steps.is_empty() => (),
                _ => return Err(lost()),
            }
        }
        if filled == self.values { Ok(looked) } else { Err(lost()) }
    }
}

fn lost() -> WireError {
    WireError::malformed("a value's path leads nowhere")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a reply with `count` payloads, whose headers come in another order than they themselves.
    fn reply(count: usize) -> Vec<Bytes> {
        let data: Value<'_> =
            (0..count).map(|n| (format!("key-{n}"), Payload::bytes(n.to_string()))).collect();
        let other: Value<'_> = (0..count).map(|n| (format!("other-{n}"), Value::from(n))).collect();
        let reply =
            Value::Map(vec![("status".into(), "OK".into()), ("data".into(), data), ("x".into(), other)]);
        let mut frames = encode(Encoding::PathsWithLengths, &reply, None);
        let mut index = msgpack::read_plain(&frames[2], &Limits::default()).unwrap().into_owned();
        let Some(Value::Map(mut headers)) = index.take("headers") else { panic!("no headers") };
        headers.reverse();
        let paths = index.get("keys").unwrap().clone();
        let Value::Map(pairs) = &mut index else { panic!("no index") };
        pairs.retain(|(key, _)| key.as_str() != Some("bytestrings"));
        pairs.push(("headers".into(), Value::Map(headers)));
        pairs.push(("bytestrings".into(), paths));
        frames[2] = Bytes::from(msgpack::write_plain(&index));
        frames
    }

    #[test]
    fn many_values_in_any_order_find_their_places() {
        let frames = reply(20_000);
        let value = decode(&frames, &[], &Limits::default()).unwrap();
        let data = value.get("data").unwrap().as_map().unwrap();
        assert_eq!(data.len(), 20_000);
        assert!(data.iter().enumerate().all(|(n, (key, value))| {
            key.as_str() == Some(&format!("key-{n}")) && value.as_bytes() == Some(n.to_string().as_bytes())
        }));
        assert_eq!(value.get("x").unwrap().as_map().unwrap().len(), 20_000);
    }

    #[test]
    fn the_message_is_walked_once() {
        let items = Items::new(&Limits::default());
        for count in [10usize, 1000, 10_000] {
            let inner: Value<'_> = (0..count).map(|n| (format!("{n}"), Value::Map(Vec::new()))).collect();
            let mut message = Value::Map(vec![("data".into(), inner)]);
            let mut places = Places::new(200, &items);
            for n in (0..count).rev() {
                let path = ["data".into(), Value::from(n.to_string()), "value".into()];
                places.add(&path, Payload::bytes("x").into()).unwrap();
            }
            let looked = places.fill(&mut message).unwrap();
            assert!(looked <= 3 * count + 10, "{looked} steps for {count} values");
            let data = message.get("data").unwrap().as_map().unwrap();
            assert!(data.iter().all(|(_, value)| value.get("value").is_some()));
        }
    }

    #[test]
    fn paths_that_lead_nowhere_or_twice_to_one_place_are_errors() {
        let message =
            || Value::Map(vec![("list".into(), Value::Array(vec![Value::Nil])), ("n".into(), 1.into())]);
        let items = Items::new(&Limits::default());
        let fill = |paths: &[&[Value<'_>]]| {
            let mut places = Places::new(200, &items);
            for path in paths {
                places.add(path, Payload::bytes("x").into())?;
            }
            places.fill(&mut message())
        };
        let text = Value::from;
        assert!(fill(&[&[text("list"), 0.into()], &[text("new")]]).is_ok());
        for paths in [
            &[&[text("list"), Value::from(1)][..]][..],
            &[&[text("list"), Value::from(-1)]],
            &[&[text("list"), text("x")]],
            &[&[text("n"), Value::from(0)]],
            &[&[text("no"), text("such")]],
            &[&[text("new")], &[text("new")]],
            &[&[text("new")], &[text("new"), text("deeper")]],
        ] {
            assert!(matches!(fill(paths), Err(WireError::Malformed(_))), "{paths:?}");
        }
        // As deep as a message can be at most.
        let deep = vec![Value::from(0); 200];
        assert!(matches!(fill(&[&deep]), Err(WireError::Malformed(_))));
    }

    /// Frames of a message with an index of paths for values of no frames.
    fn indexed(paths: Vec<Value<'static>>, bytestrings: Vec<Value<'static>>) -> Vec<Bytes> {
        let headers = paths.iter().map(|path| (path.clone(), [("count", 0)].into_iter().collect())).collect();
        let index = Value::Map(vec![
            ("headers".into(), Value::Map(headers)),
            ("keys".into(), Value::Array(paths)),
            ("bytestrings".into(), Value::Array(bytestrings)),
        ]);
        [vec![], vec![0xc0], msgpack::write_plain(&index)].map(Bytes::from).to_vec()
    }

    #[test]
    fn an_index_costs_no_more_than_the_limits_say() {
        let path = |steps: std::ops::Range<u64>| -> Value<'static> { steps.map(Value::from).collect() };
        let limits = Limits { items: 10_000, ..Limits::default() };
        let refused = |paths, bytestrings| match decode(&indexed(paths, bytestrings), &[], &limits) {
            Err(WireError::TooLarge { name, .. }) => Some(name),
            _ => None,
        };
        assert_eq!(refused(vec![path(0..201)], vec![]), Some("depth"));
        assert_eq!(refused(vec![path(0..200)], vec![]), None);
        // Every path is read within the limit, but the steps take more to keep.
        let paths = |count: u64| (0..count).map(|n| path(n * 100..n * 100 + 100)).collect::<Vec<_>>();
        assert_eq!(refused(paths(8), vec![]), None);
        assert_eq!(refused(paths(20), vec![]), Some("items"));
        let names = |count: i64| (0..count).map(Value::from).collect::<Vec<_>>();
        assert_eq!(refused(vec![], names(3000)), None);
        assert_eq!(refused(vec![], names(5000)), Some("items"));
    }

    #[test]
    fn body_and_index_share_what_a_message_may_hold() {
        let limits = Limits { items: 1000, ..Limits::default() };
        let mut frames = indexed(vec![], (0..200).map(Value::from).collect());
        assert!(decode(&frames, &[], &limits).is_ok());
        frames[1] = Bytes::from(msgpack::write_plain(&Value::Array(vec![Value::Nil; 500])));
        let error = decode(&frames, &[], &limits).unwrap_err();
        assert!(matches!(error, WireError::TooLarge { name: "items", .. }), "{error}");
    }
}
