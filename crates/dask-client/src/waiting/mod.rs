//! Waiting for tasks, and what is said when they do not end.

pub(crate) mod as_completed;
pub(crate) mod diagnose;
pub(crate) mod diagnosis;
pub(crate) mod limit;
pub(crate) mod limited;
pub(crate) mod progress;
pub(crate) mod wait;
pub(crate) mod wait_many;
pub(crate) mod watch;
