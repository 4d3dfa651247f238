//! What a peer may make this client hold in memory.

/// Bounds on one incoming message. Everything is checked before memory is set aside for it, and space for a frame
/// grows with the bytes that have really arrived, so a peer that only claims a size costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one message, all frames together. Default 8 GiB.
    pub message_bytes: u64,
    /// Bytes of one message after decompression. Default 8 GiB.
    pub decompressed_bytes: u64,
    /// Frames of one message. Default 4,194,304 (a gathered result takes two or more).
    pub frames: usize,
    /// Nesting of arrays and maps inside a message. Default 200.
    pub depth: usize,
    /// Values inside a message (each element, key and value counts). Default 50,000,000.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 8 << 30,
            decompressed_bytes: 8 << 30,
            frames: 1 << 22,
            depth: 200,
            items: 50_000_000,
        }
    }
}
