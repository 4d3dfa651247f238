//! Every target, driven by what real clients, schedulers and workers said to each other, as it was and bent.
//!
//! The bending is the same in every run; `DASK_FUZZ_TIMES=100` does more of it. `cargo fuzz` goes further: see
//! `fuzz/README.md`.

use std::path::Path;

use bytes::Bytes;
use dask_fuzz_targets::{ALL, ENCODINGS, join};
use dask_wire::frame::{FrameReader, Framing};
use dask_wire::{Compression, Encoding, Limits, Message, Payload, Value};

/// Inputs by target.
#[derive(Default)]
struct Seeds {
    frames: Vec<Vec<u8>>,
    message: Vec<Vec<u8>>,
    payload: Vec<Vec<u8>>,
    pickle: Vec<Vec<u8>>,
}

/// What is longer is cut, so that every input gets its turn.
const LONGEST: usize = 4000;

impl Seeds {
    fn of_recordings() -> Self {
        let mut seeds = Seeds::default();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol-fixtures");
        let mut releases: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        releases.sort();
        for release in releases.iter().filter(|path| path.join("index.json").is_file()) {
            let index = std::fs::read(release.join("index.json")).unwrap();
            let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
            for scenario in index["scenarios"].as_object().unwrap().values() {
                let bytes = std::fs::read(release.join(scenario["file"].as_str().unwrap())).unwrap();
                for connection in scenario["connections"].as_array().unwrap() {
                    for side in ["server", "client"] {
                        let at =
                            |field: &str| usize::try_from(connection[side][field].as_u64().unwrap()).unwrap();
                        seeds.add_stream(&bytes[at("offset")..at("offset") + at("length")]);
                    }
                }
            }
        }
        seeds
    }

    fn add_stream(&mut self, bytes: &[u8]) {
        self.frames.push([&[63][..], &bytes[..bytes.len().min(LONGEST)]].concat());
        let mut reader = FrameReader::new(Limits::default());
        let (mut rest, mut encoding) = (bytes, None);
        while !rest.is_empty() {
            let size = reader.put(rest);
            rest = &rest[size..];
            while let Ok(Some(frames)) = reader.next_message() {
                let framing = reader.framing().unwrap_or(Framing::Prefixed);
                // Ours answers in as many frames as the server's.
                let encoding =
                    *encoding.get_or_insert_with(|| Encoding::detect(framing, frames.len()).unwrap());
                self.add_message(encoding, frames);
            }
        }
    }

    fn add_message(&mut self, encoding: Encoding, frames: Vec<Bytes>) {
        let number = ENCODINGS.iter().position(|known| *known == encoding).unwrap();
        if let Some(input) = join(&frames).filter(|input| input.len() <= LONGEST) {
            self.message.push([&[u8::try_from(number).unwrap()][..], &input].concat());
        }
        if encoding == Encoding::Placeholders && frames.len() > 1 {
            self.payload.extend(join(&frames[1..]).filter(|input| input.len() <= LONGEST));
        }
        let Ok(message) = Message::new(frames, encoding, Limits::default()) else { return };
        self.add_pickles(&message.value().unwrap());
    }

    fn add_pickles(&mut self, value: &Value<'_>) {
        match value {
            Value::Bin(bytes) if bytes.starts_with(b"\x80") && bytes.len() <= LONGEST => {
                self.pickle.push(bytes.to_vec());
            }
            Value::Payload(payload) => {
                let pickles = payload.frames().iter().filter(|frame| frame.starts_with(b"\x80"));
                self.pickle
                    .extend(pickles.filter(|frame| frame.len() <= LONGEST).map(|frame| frame.to_vec()));
            }
            Value::Array(items) | Value::Set(items) => items.iter().for_each(|item| self.add_pickles(item)),
            Value::Map(pairs) => pairs.iter().for_each(|(_, value)| self.add_pickles(value)),
            _ => (),
        }
    }
}

/// Frames as each way to compress makes them.
fn compressed() -> Vec<Vec<u8>> {
    let ways = [Compression::Lz4, Compression::Zstd, Compression::Zlib, Compression::Snappy];
    let text = "key-in-memory ".repeat(1000);
    let packed = ways.iter().enumerate().map(|(number, how)| {
        let value = Value::from(Payload::bytes(text.clone().into_bytes()));
        let frame = Encoding::Placeholders.encode(&value, Some(*how)).pop().unwrap();
        [&[u8::try_from(number).unwrap()][..], &frame].concat()
    });
    packed.collect()
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() % 256).unwrap()
    }

    /// A few bytes changed, left out, doubled or made extreme, or the end cut.
    fn bend(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bent = input.to_vec();
        for _ in 0..=self.next() % 4 {
            if bent.is_empty() {
                break;
            }
            let at = self.next() % bent.len();
            match self.next() % 7 {
                0 => bent[at] = self.byte(),
                1 => bent[at] ^= 1 << (self.next() % 8),
                2 => bent[at] = [0, 1, 0x7f, 0x80, 0xff][self.next() % 5],
                3 => drop(bent.remove(at)),
                4 => bent.insert(at, self.byte()),
                5 => bent.truncate(at),
                _ => {
                    let from = self.next() % other.len().max(1);
                    let part = &other[from.min(other.len())..other.len().min(from + 16)];
                    let end = (at + part.len()).min(bent.len());
                    bent.splice(at..end, part.iter().copied());
                }
            }
        }
        bent
    }
}

/// Leaves inputs for cargo-fuzz to start from, if asked for.
fn write_corpus(name: &str, inputs: &[Vec<u8>]) {
    let Some(directory) = std::env::var_os("DASK_FUZZ_CORPUS") else { return };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(directory).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for (number, input) in inputs.iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{number}")), input).unwrap();
    }
}

#[test]
fn what_peers_said_as_it_was_and_bent() {
    let times = std::env::var("DASK_FUZZ_TIMES").map_or(1, |times| times.parse().expect("a number of times"));
    let mut seeds = Seeds::of_recordings();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let events: Vec<Vec<u8>> = (0..300).map(|_| (0..300).map(|_| dice.byte()).collect()).collect();
    for (name, target) in ALL {
        let mut inputs: Vec<Vec<u8>> = match *name {
            "frames" => std::mem::take(&mut seeds.frames),
            "message" => std::mem::take(&mut seeds.message),
            "payload" => std::mem::take(&mut seeds.payload),
            "pickle" => std::mem::take(&mut seeds.pickle),
            "compression" => compressed(),
            "session" => events.clone(),
            other => panic!("no seeds for {other}"),
        };
        inputs.sort();
        inputs.dedup();
        assert!(inputs.len() >= 4, "{name}: {} seeds", inputs.len());
        write_corpus(name, &inputs);
        let rounds = (20_000 / inputs.len() + 1) * times;
        for (number, input) in inputs.iter().enumerate() {
            target(input);
            for _ in 0..rounds {
                let other = &inputs[dice.next() % inputs.len()];
                let bent = dice.bend(input, other);
                let outcome = std::panic::catch_unwind(|| target(&bent));
                assert!(outcome.is_ok(), "{name}: seed {number} bent to {}", bent.escape_ascii());
            }
        }
        println!("{name}: {} seeds, each bent {rounds} times", inputs.len());
    }
}
