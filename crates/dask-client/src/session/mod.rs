//! The connection to the scheduler: how it is made, what is said on it, and its life.

pub(crate) mod exchange;
pub(crate) mod greet;
pub(crate) mod known;
pub(crate) mod life;
pub(crate) mod reply;
pub(crate) mod stream;
pub(crate) mod trace;
