//! Frames: how a message is cut into byte strings on a TCP or TLS stream, and on a WebSocket.
//!
//! A TCP message is `count, length × count, frames`, all numbers `u64` little-endian. From 2021.03.0 on another `u64`
//! comes first: once the size of all that follows, since 2023.11.0 only of a leading part. The reader therefore never
//! relies on it, and the writer always writes the full size, which every release understands.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::block::Block;
use crate::error::WireError;
use crate::limits::Limits;

/// Whether messages on a stream start with a total size. Told by a server's first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// No total (up to 2021.02.0).
    Bare,
    /// A total first (from 2021.03.0 on).
    Prefixed,
}

/// What is read from the socket at once while no frame asks for more.
const CHUNK: usize = 64 * 1024;
/// A frame's buffer starts at no more than this and grows with what has arrived.
const FIRST_ALLOCATION: usize = 64 << 20;
/// Frames of no less than this that have one length, and the rest after them, are taken for one value cut up: Dask does
/// so at 64 MiB (`distributed.comm.shard`), or up to an item below. Smaller ones are more likely several results of one
/// size, which would keep each other in memory.
const SHARD: usize = 32 << 20;

/// Turns the bytes of a stream into messages, each a list of frames.
///
/// It does no I/O: put bytes where [`FrameReader::space`] says, then ask [`FrameReader::next_message`]. A large frame
/// is received straight into the buffer that the caller gets; frames that look like one value cut up into one buffer
/// together (see [`FrameReader::take_runs`]).
#[derive(Debug)]
pub struct FrameReader {
    framing: Option<Framing>,
    limits: Limits,
    /// Bytes received and not yet given to a frame.
    inbox: BytesMut,
    state: State,
    /// Buffers of several frames of the message.
    runs: Vec<Bytes>,
    /// The shortest frames that such a buffer is for.
    shard: usize,
}

#[derive(Debug)]
enum State {
    /// Before a message.
    Idle,
    /// The frame count is known, the lengths are still arriving.
    Lengths { count: usize, lengths: Vec<usize>, total: u64 },
    /// Frames are arriving; the first missing one may have a buffer of its own.
    Body { lengths: Vec<usize>, frames: Vec<Bytes>, large: Option<Large> },
}

/// Where the next bytes of a stream go.
#[derive(Debug)]
pub enum Space<'r> {
    /// Into a buffer, which counts what is put into it.
    Buffer(Limit<&'r mut BytesMut>),
    /// Into memory of a known size; [`FrameReader::filled`] has to be told of how many bytes.
    Block(&'r mut [u8]),
}

/// Memory that is being filled.
#[derive(Debug)]
enum Filling {
    /// By the allocator; grows.
    Buffer(BytesMut),
    /// By the system, all of it.
    Block(Block),
}

impl Filling {
    fn filled(&self) -> usize {
        match self {
            Filling::Buffer(buffer) => buffer.len(),
            Filling::Block(block) => block.filled(),
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Filling::Buffer(buffer) => buffer.freeze(),
            Filling::Block(block) => block.freeze(),
        }
    }
}

/// A value, or what may be one, that is being received.
#[derive(Debug)]
struct Large {
    memory: Filling,
    /// Bytes that belong into it.
    length: usize,
    /// Frames that these are.
    frames: usize,
}

impl Large {
    /// For the first of these frames, and those after it that continue it.
    fn of(lengths: &[usize], shard: usize) -> Option<Self> {
        let (&first, rest) = lengths.split_first()?;
        let same = if first < shard { 0 } else { rest.iter().take_while(|length| **length == first).count() };
        let last = rest.get(same).filter(|last| first >= shard && **last > 0 && **last < first);
        let frames = 1 + same + usize::from(last.is_some());
        let length = lengths.iter().take(frames).try_fold(0usize, |all, length| all.checked_add(*length))?;
        let memory = match Block::new(length) {
            Some(block) => Filling::Block(block),
            None => Filling::Buffer(BytesMut::with_capacity(first.min(FIRST_ALLOCATION))),
        };
        Some(Self { memory, length, frames })
    }
}

impl FrameReader {
    /// A reader for a server's side of a connection whose framing is still unknown.
    pub fn new(limits: Limits) -> Self {
        Self {
            framing: None,
            limits,
            inbox: BytesMut::new(),
            state: State::Idle,
            runs: Vec::new(),
            shard: SHARD,
        }
    }

    /// A reader for a stream whose framing is known.
    pub fn with_framing(framing: Framing, limits: Limits) -> Self {
        Self { framing: Some(framing), ..Self::new(limits) }
    }

    /// Other bounds, for the messages that come after this one.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The framing, once the first eight bytes have told it.
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// Where the next bytes of the stream go. Tell [`FrameReader::filled`] how many they are.
    pub fn space(&mut self) -> Space<'_> {
        match &mut self.state {
            State::Body { large: Some(Large { memory: Filling::Buffer(buffer), length, .. }), .. } => {
                let wanted = length.saturating_sub(buffer.len());
                if buffer.capacity() == buffer.len() {
                    buffer.reserve(wanted.min(buffer.len().max(CHUNK)));
                }
                Space::Buffer(buffer.limit(wanted))
            }
            State::Body { large: Some(Large { memory: Filling::Block(block), .. }), .. } => {
                Space::Block(block.rest())
            }
            _ => {
                if self.inbox.capacity() - self.inbox.len() < CHUNK / 4 {
                    self.inbox.reserve(CHUNK);
                }
                Space::Buffer((&mut self.inbox).limit(usize::MAX))
            }
        }
    }

    /// So many bytes were put where [`FrameReader::space`] said.
    pub fn filled(&mut self, count: usize) {
        if let State::Body { large: Some(Large { memory: Filling::Block(block), .. }), .. } = &mut self.state
        {
            block.fill(count);
        }
    }

    /// Copies bytes of the stream to where they go, for those who have them in memory; how many it took. Ask
    /// [`FrameReader::next_message`] before the rest.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = match self.space() {
            Space::Buffer(mut buffer) => {
                let taken = bytes.len().min(buffer.remaining_mut());
                buffer.put_slice(bytes.get(..taken).unwrap_or_default());
                taken
            }
            Space::Block(mut block) => {
                let taken = bytes.len().min(block.len());
                block.put_slice(bytes.get(..taken).unwrap_or_default());
                taken
            }
        };
        self.filled(taken);
        taken
    }

    /// Whether the stream may end here without cutting a message.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Idle) && self.inbox.is_empty()
    }

    /// The next complete message, if its bytes are here.
    ///
    /// # Errors
    /// The peer speaks another protocol or exceeds a limit; the stream cannot be read any further.
    pub fn next_message(&mut self) -> Result<Option<Vec<Bytes>>, WireError> {
        loop {
            match &mut self.state {
                State::Idle => {
                    let Some(count) = self.read_prelude()? else { return Ok(None) };
                    self.runs.clear();
                    // Space for the lengths grows as they arrive.
                    self.state =
                        State::Lengths { count, lengths: Vec::with_capacity(count.min(1024)), total: 0 };
                }
                State::Lengths { count, lengths, total } => {
                    while lengths.len() < *count {
                        let Some(length) = take_u64(&mut self.inbox) else { return Ok(None) };
                        *total = total.saturating_add(length);
                        self.limits.check_bytes(*total)?;
                        lengths.push(usize::try_from(length).map_err(|_| {
                            WireError::malformed(format!(
                                "a frame of {length} bytes does not fit this machine"
                            ))
                        })?);
                    }
                    let lengths = std::mem::take(lengths);
                    let frames = Vec::with_capacity(lengths.len());
                    self.state = State::Body { lengths, frames, large: None };
                }
                State::Body { lengths, frames, large } => {
                    while let Some(&length) = lengths.get(frames.len()) {
                        if let Some(Large { memory, length, .. }) = large
                            && memory.filled() < *length
                        {
                            return Ok(None);
                        }
                        if let Some(Large { memory, frames: count, .. }) = large.take() {
                            let mut whole = memory.freeze();
                            if count > 1 {
                                self.runs.push(whole.clone());
                            }
                            let of = frames.len();
                            for length in lengths.iter().skip(of).take(count) {
                                frames.push(whole.split_to((*length).min(whole.len())));
                            }
                        } else if self.inbox.len() >= length {
                            frames.push(self.inbox.split_to(length).freeze());
                        } else if length > CHUNK {
                            let rest = lengths.get(frames.len()..).unwrap_or_default();
                            let mut filling = Large::of(rest, self.shard)
                                .ok_or_else(|| WireError::malformed("frames that no machine can hold"))?;
                            let begun = self.inbox.split();
                            match &mut filling.memory {
                                Filling::Buffer(buffer) => buffer.put(begun),
                                Filling::Block(block) => {
                                    // No more of the stream is here than a part of this frame.
                                    block.rest().put_slice(&begun);
                                    block.fill(begun.len());
                                }
                            }
                            *large = Some(filling);
                            return Ok(None);
                        } else {
                            return Ok(None);
                        }
                    }
                    let frames = std::mem::take(frames);
                    self.state = State::Idle;
                    return Ok(Some(frames));
                }
            }
        }
    }

    /// The buffers that each hold several frames of the last message, one after the other. With them what was cut up is
    /// whole again without a copy: see [`Message::with_runs`](crate::Message::with_runs).
    pub fn take_runs(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.runs)
    }

    fn read_prelude(&mut self) -> Result<Option<usize>, WireError> {
        let framing = match self.framing {
            Some(framing) => framing,
            None => {
                let Some(first) = self.inbox.get(..8) else {
                    return foreign(&self.inbox).map_or(Ok(None), Err);
                };
                // A handshake has exactly two frames in the unprefixed framing; a total is never below 24.
                let first = u64::from_le_bytes(first.try_into().unwrap_or_default());
                let framing = if first == 2 { Framing::Bare } else { Framing::Prefixed };
                if framing == Framing::Prefixed && !(24..1 << 20).contains(&first) {
                    return Err(foreign(&self.inbox).unwrap_or_else(|| self.gibberish()));
                }
                self.framing = Some(framing);
                framing
            }
        };
        let needed = if framing == Framing::Prefixed { 16 } else { 8 };
        if self.inbox.len() < needed {
            return Ok(None);
        }
        if framing == Framing::Prefixed {
            self.inbox.advance(8);
        }
        let count = self.inbox.get_u64_le();
        match usize::try_from(count) {
            Ok(count) if count <= self.limits.frames => Ok(Some(count)),
            _ => Err(WireError::TooLarge {
                what: "a message in frames",
                actual: count,
                limit: self.limits.frames as u64,
                name: "frames",
            }),
        }
    }

    fn gibberish(&self) -> WireError {
        let start: Vec<u8> = self.inbox.iter().take(16).copied().collect();
        WireError::NotDask { found: format!("its first bytes are \"{}\"", start.escape_ascii()) }
    }
}

/// Recognises other protocols by how they start.
fn foreign(start: &[u8]) -> Option<WireError> {
    let found = match start {
        [0x15 | 0x16, 0x03, ..] => "it answers with TLS; use a tls:// address".to_owned(),
        [b'H', b'T', b'T', b'P', b'/', ..] => {
            "it answers with HTTP (the dashboard's port? the scheduler's own port is usually 8786)".to_owned()
        }
        [b'S', b'S', b'H', b'-', ..] => "it is an SSH server".to_owned(),
        _ => return None,
    };
    Some(WireError::NotDask { found })
}

fn take_u64(buffer: &mut BytesMut) -> Option<u64> {
    (buffer.len() >= 8).then(|| buffer.get_u64_le())
}

/// The bytes that go before the frames of a message.
pub fn prelude(framing: Framing, frames: &[Bytes]) -> Vec<u8> {
    let total: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
    let count = frames.len() as u64;
    let mut out = Vec::with_capacity(16 + 8 * frames.len());
    if framing == Framing::Prefixed {
        out.extend_from_slice(&(8 + 8 * count + total).to_le_bytes());
    }
    out.extend_from_slice(&count.to_le_bytes());
    for frame in frames {
        out.extend_from_slice(&(frame.len() as u64).to_le_bytes());
    }
    out
}

/// Collects the WebSocket messages of one Dask message: the frame count, then a message a frame.
#[derive(Debug, Default)]
pub struct WebSocketReader {
    limits: Limits,
    expected: Option<usize>,
    bytes: u64,
    frames: Vec<Bytes>,
}

impl WebSocketReader {
    /// A reader with these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other bounds, for the messages that come after this one.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether the stream may end here without cutting a message.
    pub fn is_between_messages(&self) -> bool {
        self.expected.is_none()
    }

    /// Takes the next binary WebSocket message; gives the Dask message that it completes.
    ///
    /// # Errors
    /// The count is malformed or a limit is exceeded.
    pub fn push(&mut self, message: Bytes) -> Result<Option<Vec<Bytes>>, WireError> {
        match self.expected {
            None => {
                let count: [u8; 8] = message.as_ref().try_into().map_err(|_| WireError::NotDask {
                    found: format!(
                        "a WebSocket message of {} bytes where a frame count belongs",
                        message.len()
                    ),
                })?;
                let count = u64::from_le_bytes(count);
                if count > self.limits.frames as u64 {
                    return Err(WireError::TooLarge {
                        what: "a message in frames",
                        actual: count,
                        limit: self.limits.frames as u64,
                        name: "frames",
                    });
                }
                self.expected = usize::try_from(count).ok();
            }
            Some(_) => {
                self.bytes = self.bytes.saturating_add(message.len() as u64);
                self.limits.check_bytes(self.bytes)?;
                self.frames.push(message);
            }
        }
        if self.expected == Some(self.frames.len()) {
            self.expected = None;
            self.bytes = 0;
            return Ok(Some(std::mem::take(&mut self.frames)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(reader: &mut FrameReader, mut bytes: &[u8], step: usize) -> Result<Vec<Vec<Bytes>>, WireError> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let n = reader.put(&bytes[..step.min(bytes.len())]);
            bytes = &bytes[n..];
            while let Some(message) = reader.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn wire(framing: Framing, frames: &[Bytes]) -> Vec<u8> {
        let mut out = prelude(framing, frames);
        frames.iter().for_each(|frame| out.extend_from_slice(frame));
        out
    }

    #[test]
    fn the_first_bytes_tell_the_framing() {
        let bare = [Bytes::new(), Bytes::from_static(&[0x80; 45])];
        let prefixed = [Bytes::from_static(&[0x80; 42])];
        for (framing, frames) in [(Framing::Bare, &bare[..]), (Framing::Prefixed, &prefixed[..])] {
            for step in [1, 7, 1000] {
                let mut reader = FrameReader::new(Limits::default());
                let got = feed(&mut reader, &wire(framing, frames), step).unwrap();
                assert_eq!(got, vec![frames.to_vec()]);
                assert_eq!(reader.framing(), Some(framing));
                assert!(reader.is_between_messages());
            }
        }
    }

    #[test]
    fn frames_that_continue_each_other_share_a_buffer() {
        // The first three make a block of their own, the last two a buffer.
        let shard = (3 << 20) + 8;
        let frame = |length: usize, byte| Bytes::from(vec![byte; length]);
        let frames =
            [frame(10, 0), frame(shard, 1), frame(shard, 2), frame(5, 3), frame(shard, 4), frame(70_000, 5)];
        let alone = [frame(70_000, 6), frame(70_000, 7)];
        let bytes = [wire(Framing::Prefixed, &frames), wire(Framing::Prefixed, &alone)].concat();
        for step in [1 << 16, 1 << 30] {
            let mut reader = FrameReader::with_framing(Framing::Prefixed, Limits::default());
            reader.shard = 1 << 20;
            let (mut rest, mut seen) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                let n = reader.put(&rest[..step.min(rest.len())]);
                rest = &rest[n..];
                while let Some(message) = reader.next_message().unwrap() {
                    seen.push((message, reader.take_runs()));
                }
            }
            let [(first, runs), (second, none)] = &seen[..] else { panic!("{}", seen.len()) };
            assert_eq!((first, second), (&frames.to_vec(), &alone.to_vec()));
            assert!(none.is_empty());
            if step == 1 << 16 {
                let lengths: Vec<usize> = runs.iter().map(Bytes::len).collect();
                assert_eq!(lengths, [2 * shard + 5, shard + 70_000]);
                assert_eq!(runs[0].as_ptr(), first[1].as_ptr());
                assert_eq!(runs[0][shard..].as_ptr(), first[2].as_ptr());
            }
        }
    }

    #[test]
    fn results_of_one_size_do_not_keep_each_other_in_memory() {
        let frames = [Bytes::from(vec![1; 4 << 20]), Bytes::from(vec![2; 4 << 20])];
        let mut reader = FrameReader::with_framing(Framing::Prefixed, Limits::default());
        assert_eq!(feed(&mut reader, &wire(Framing::Prefixed, &frames), 1 << 16).unwrap(), [frames.to_vec()]);
        assert!(reader.take_runs().is_empty());
    }

    #[test]
    fn a_prefix_smaller_than_the_message_is_ignored() {
        let frames = [Bytes::from_static(b"head"), Bytes::from(vec![7; 300_000])];
        let mut bytes = wire(Framing::Prefixed, &frames);
        bytes[..8].copy_from_slice(&28u64.to_le_bytes());
        let mut reader = FrameReader::new(Limits::default());
        assert_eq!(feed(&mut reader, &bytes, 4096).unwrap(), vec![frames.to_vec()]);
    }

    #[test]
    fn other_protocols_are_named() {
        for (start, word) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
            (&[0x15, 3, 1, 0, 2, 2, 70], "tls://"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"220 mail.example ESMTP", "220 mail"),
        ] {
            let error = feed(&mut FrameReader::new(Limits::default()), start, 100).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn absurd_claims_cost_nothing() {
        let limits = Limits::default();
        let mut reader = FrameReader::with_framing(Framing::Prefixed, limits);
        let mut bytes = 24u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(1u64 << 63).to_le_bytes());
        assert!(matches!(feed(&mut reader, &bytes, 64), Err(WireError::TooLarge { name: "frames", .. })));

        let mut reader = FrameReader::with_framing(Framing::Bare, limits);
        let mut bytes = 1u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(1u64 << 63).to_le_bytes());
        assert!(matches!(
            feed(&mut reader, &bytes, 64),
            Err(WireError::TooLarge { name: "message_bytes", .. })
        ));

        // A server's first message is small, whatever its framing.
        let early = limits.before_handshake();
        let mut bytes = 2u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&(2u64 << 20).to_le_bytes());
        let error = feed(&mut FrameReader::new(early), &bytes, 64).unwrap_err();
        assert!(matches!(error, WireError::TooLarge { name: "handshake_bytes", .. }), "{error}");
        assert_eq!(feed(&mut FrameReader::new(limits), &bytes, 64).unwrap(), Vec::<Vec<Bytes>>::new());

        // Under the limit, but never sent: addresses are set aside and no memory.
        let mut reader = FrameReader::with_framing(Framing::Bare, limits);
        let mut bytes = 1u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(3u64 << 30).to_le_bytes());
        feed(&mut reader, &bytes, 64).unwrap();
        let State::Body { large: Some(large), .. } = &reader.state else { panic!("{:?}", reader.state) };
        match &large.memory {
            Filling::Buffer(buffer) => assert!(buffer.capacity() <= FIRST_ALLOCATION + CHUNK),
            Filling::Block(block) => assert!(block.resident().is_none_or(|bytes| bytes <= FIRST_ALLOCATION)),
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_messages(
            sizes in proptest::collection::vec(proptest::collection::vec(0usize..200_000, 1..5), 1..4),
            step in 1usize..150_000,
        ) {
            let messages: Vec<Vec<Bytes>> = sizes
                .iter()
                .map(|sizes| sizes.iter().map(|&size| Bytes::from(vec![0x5a; size])).collect())
                .collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|frames| wire(Framing::Prefixed, frames)).collect();
            let mut reader = FrameReader::with_framing(Framing::Prefixed, Limits::default());
            prop_assert_eq!(feed(&mut reader, &bytes, step).unwrap(), messages);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = feed(&mut FrameReader::new(Limits::default()), &bytes, 13);
            let _ = feed(&mut FrameReader::with_framing(Framing::Bare, Limits::default()), &bytes, 13);
        }
    }
}
