//! Looking at a cluster.

pub(crate) mod cluster;
pub(crate) mod info;
pub(crate) mod logs;
pub(crate) mod profile;
pub(crate) mod skew;
pub(crate) mod story;
pub(crate) mod versions;
pub(crate) mod worker_changes;
