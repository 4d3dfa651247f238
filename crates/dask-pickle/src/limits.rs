//! How much a pickle may ask for.

/// What reading and converting a pickle may cost.
///
/// Sizes that a pickle declares are checked against what is left of the input before anything is allocated, so the
/// limits bound what many small opcodes can add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nesting that a conversion (serde, [`Value`](crate::Value)) follows. Reading does not recurse and
    /// has no such limit. Every level takes some stack of the calling thread. Default 200.
    pub depth: usize,
    /// Nodes and container entries that reading may make, and nodes that one conversion may visit; a shared value
    /// counts each time it is visited. Default 20,000,000.
    pub items: usize,
    /// Bytes of the pickle, out-of-band buffers not counted. Default: no limit, as strings and bytes are slices of
    /// an input that is already in memory.
    pub bytes: usize,
    /// Entries of the memo. Default 10,000,000.
    pub memo: usize,
    /// Decimal digits of one integer in protocols 0 and 1, where parsing takes quadratic time. Default 10,000;
    /// Python itself stops at 4,300.
    pub digits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 200, items: 20_000_000, bytes: usize::MAX, memo: 10_000_000, digits: 10_000 }
    }
}
