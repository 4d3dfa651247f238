//! What clients share through the scheduler.

pub(crate) mod datasets;
pub(crate) mod detach;
pub(crate) mod event;
pub(crate) mod guard;
pub(crate) mod item;
pub(crate) mod lock;
pub(crate) mod metadata;
pub(crate) mod multi_lock;
pub(crate) mod plain;
pub(crate) mod queue;
pub(crate) mod semaphore;
pub(crate) mod topics;
pub(crate) mod variable;
