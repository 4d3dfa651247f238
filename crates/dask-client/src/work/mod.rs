//! Tasks: what is called, with what, and the futures of it.

pub(crate) mod arguments;
pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod cancel;
pub(crate) mod future;
pub(crate) mod graph;
pub(crate) mod keep;
pub(crate) mod map;
pub(crate) mod python;
pub(crate) mod remote;
pub(crate) mod submit;
