//! One message: its frames, and the value they mean.

use bytes::Bytes;

use crate::dialect::Encoding;
use crate::error::WireError;
use crate::limits::Limits;
use crate::value::Value;

/// A message as it was received. Its [`Message::value`] borrows from it, so nothing is copied that is only looked at.
#[derive(Clone, Debug)]
pub struct Message {
    frames: Vec<Bytes>,
    encoding: Encoding,
    limits: Limits,
    runs: Vec<Bytes>,
}

impl Message {
    /// Takes frames for a message in this encoding.
    ///
    /// # Errors
    /// There is no frame at all, or a compressed first part cannot be expanded.
    pub fn new(frames: Vec<Bytes>, encoding: Encoding, limits: Limits) -> Result<Self, WireError> {
        let frames = encoding.unpack_first(frames, &limits)?;
        Ok(Self { frames, encoding, limits, runs: Vec::new() })
    }

    /// Adds the buffers in which frames lie one after the other
    /// ([`FrameReader::take_runs`](crate::frame::FrameReader::take_runs)): values that were cut into such frames are put
    /// together there, without a copy.
    pub fn with_runs(self, runs: Vec<Bytes>) -> Self {
        Self { runs, ..self }
    }

    /// What the message says, with every out-of-band value in its place.
    ///
    /// # Errors
    /// The frames are malformed, not all of them are used, or a limit is exceeded.
    pub fn value(&self) -> Result<Value<'_>, WireError> {
        self.encoding.decode(&self.frames, &self.runs, &self.limits)
    }

    /// Bytes of all frames.
    pub fn len(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte in any frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
