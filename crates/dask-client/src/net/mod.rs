//! Connections: addresses, TLS, and comms that carry whole messages.

pub(crate) mod address;
#[cfg(feature = "tls")]
pub(crate) mod certificate;
pub(crate) mod comm;
pub(crate) mod dial;
pub(crate) mod moving;
pub(crate) mod pool;
#[cfg(feature = "tls")]
pub(crate) mod renewal;
#[cfg(feature = "tls")]
pub(crate) mod tls;
