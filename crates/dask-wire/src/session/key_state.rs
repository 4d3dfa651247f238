//! The states of a key that a client holds.

use std::fmt;
use std::sync::Arc;

use crate::payload::Payload;

/// Where a key's task stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum KeyState {
    /// The outcome is open.
    Pending,
    /// The result lies on a worker and can be gathered.
    Finished,
    /// The task raised an exception.
    Erred(Arc<Failure>),
    /// The task was cancelled, or what it depends on was lost.
    Cancelled {
        /// A short reason; empty where the release gives none.
        reason: Arc<str>,
        /// An explanation; empty where the release gives none.
        message: Arc<str>,
    },
    /// The result is gone.
    Lost(LostReason),
}

/// What a failed task left.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// The pickled exception, once or twice wrapped.
    pub exception: Option<Payload>,
    /// The pickled traceback.
    pub traceback: Option<Payload>,
}

/// Why a result is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The workers that held it are gone and it cannot be computed again.
    Data,
    /// The scheduler was restarted.
    Restart,
    /// The connection broke, for this cause; the scheduler then releases a client's keys.
    Disconnected(Arc<str>),
    /// It was lost with its scheduler and cannot be submitted to the next one, for this reason.
    NotAgain(Arc<str>),
    /// This client was closed.
    Closed,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LostReason::Data => {
                f.write_str("the workers that held it are gone and it cannot be computed again")
            }
            LostReason::Restart => f.write_str("the cluster was restarted"),
            LostReason::Disconnected(cause) => write!(f, "the connection to the scheduler was lost: {cause}"),
            LostReason::NotAgain(why) => {
                write!(f, "it went with its scheduler and cannot be computed again: {why}")
            }
            LostReason::Closed => f.write_str("the client was closed"),
        }
    }
}

impl KeyState {
    /// Whether the outcome is open.
    pub fn is_pending(&self) -> bool {
        matches!(self, KeyState::Pending)
    }

    /// One word, as Python's `Future.status` has it.
    pub fn name(&self) -> &'static str {
        match self {
            KeyState::Pending => "pending",
            KeyState::Finished => "finished",
            KeyState::Erred(_) => "error",
            KeyState::Cancelled { .. } => "cancelled",
            KeyState::Lost(_) => "lost",
        }
    }

    /// Whether an outcome may follow this one. What was cancelled stays so, and nothing outlives its client or its
    /// connection; data that was lost may be computed again, and a failed task may be retried.
    pub(super) fn may_become(&self, next: &KeyState) -> bool {
        match (self, next) {
            (KeyState::Cancelled { .. }, _) => false,
            (
                KeyState::Lost(
                    LostReason::Closed
                    | LostReason::Restart
                    | LostReason::Disconnected(_)
                    | LostReason::NotAgain(_),
                ),
                _,
            ) => false,
            (KeyState::Erred(_), KeyState::Lost(_) | KeyState::Erred(_)) => false,
            (before, after) => before != after,
        }
    }
}
