//! What can be wrong with bytes that a peer sent.

use crate::value::Mismatch;

/// A peer's bytes do not follow the protocol, or exceed a limit. The connection they came over is of no further use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first bytes are those of another protocol.
    #[error("the peer does not speak Dask's protocol: {found}")]
    NotDask {
        /// What the first bytes look like.
        found: String,
    },
    /// A message is larger than the limit.
    #[error("the peer announces {what} of {actual}, over the limit of {limit} (see Limits::{name})")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The size announced or reached.
        actual: u64,
        /// The limit.
        limit: u64,
        /// The field of [`crate::Limits`] that sets it.
        name: &'static str,
    },
    /// The bytes are not what this place of the protocol allows.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A frame is compressed in a way this client cannot undo.
    #[error("a frame cannot be decompressed: {0}")]
    Compression(String),
}

impl WireError {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        WireError::Malformed(text.into())
    }
}

impl From<Mismatch> for WireError {
    fn from(error: Mismatch) -> Self {
        WireError::Malformed(error.to_string())
    }
}
