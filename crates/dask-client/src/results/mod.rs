//! Results and other data: fetched, sent, and where they lie on the cluster.

pub(crate) mod data;
pub(crate) mod direct;
pub(crate) mod gather;
pub(crate) mod placement;
pub(crate) mod scatter;
#[cfg(feature = "arrow")]
pub(crate) mod table;
