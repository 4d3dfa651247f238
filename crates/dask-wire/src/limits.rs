//! What a peer may make this client hold in memory.

use crate::error::WireError;

/// Bounds on one incoming message.
///
/// Everything is checked before memory is set aside for it, and space grows with the bytes that have really arrived, so a
/// peer that only claims a size costs nothing; but on a WebSocket, space for a frame of its own is reserved once the frame
/// is announced ([`Limits::websocket_bytes`]). What one message can cost at most is the sum of: its bytes
/// ([`Limits::message_bytes`]), what they expand to ([`Limits::decompressed_bytes`]), 40 bytes a frame
/// ([`Limits::frames`]), and up to 64 bytes a value ([`Limits::items`]; of these only as many as the message has bytes).
/// With the defaults that is 8 GiB for data that a cluster really sends, and never more than 1 GiB beside the data itself.
///
/// One message is in memory at a time for each connection that receives. Results stay in memory until their
/// owner drops them, which is not counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a server's first message, before which nothing is known of it. Default 1 MiB; Dask's takes 50 bytes.
    /// On a WebSocket it counts once a WebSocket message has arrived, which is bounded by
    /// `websocket_bytes`.
    pub handshake_bytes: u64,
    /// Bytes of one message, all frames together. Default 4 GiB.
    pub message_bytes: u64,
    /// Bytes of one WebSocket message, each of which carries one frame; never more than `message_bytes`. Default 64 MiB;
    /// Dask cuts data into frames of 8 MiB there (its `distributed.comm.websockets.shard`).
    pub websocket_bytes: u64,
    /// Bytes of one message after decompression, beside those that came uncompressed. Default 4 GiB.
    pub decompressed_bytes: u64,
    /// Frames of one message. Default 1,048,576 (a gathered result takes two or more, and many results are gathered in
    /// parts).
    pub frames: usize,
    /// Nesting of arrays and maps inside a message. Default 200.
    pub depth: usize,
    /// Values inside a message and its headers together (each element, key and value counts; up to 2021.03.0 each step
    /// of a path that no other path has counts as eight more). Default 16,000,000.
    pub items: usize,
    /// Whether these are the bounds of a handshake.
    pub(crate) early: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_bytes: 1 << 20,
            message_bytes: 4 << 30,
            websocket_bytes: 64 << 20,
            decompressed_bytes: 4 << 30,
            frames: 1 << 20,
            depth: 200,
            items: 16_000_000,
            early: false,
        }
    }
}

impl Limits {
    /// The bounds for a peer that has not shown yet what it is: those of the handshake, where they are narrower.
    pub fn before_handshake(self) -> Self {
        let bytes = self.handshake_bytes;
        Self {
            message_bytes: self.message_bytes.min(bytes),
            decompressed_bytes: self.decompressed_bytes.min(bytes),
            frames: self.frames.min(16),
            items: self.items.min(1000),
            early: true,
            ..self
        }
    }

    /// An error for a message of more bytes than allowed.
    pub(crate) fn check_bytes(&self, actual: u64) -> Result<(), WireError> {
        if actual <= self.message_bytes {
            return Ok(());
        }
        let (what, name) = if self.early {
            ("a first message in bytes", "handshake_bytes")
        } else {
            ("a message in bytes", "message_bytes")
        };
        Err(WireError::TooLarge { what, actual, limit: self.message_bytes, name })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_value_takes_what_the_documentation_says() {
        // Twice that, since a vector's capacity may be twice its length.
        assert!(size_of::<crate::value::Value<'_>>() <= 32);
    }
}
