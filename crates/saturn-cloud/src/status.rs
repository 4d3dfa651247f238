//! What a cluster is doing, in Saturn's words and in Dask's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a cluster is doing. Words come from Saturn and from Dask's own cluster objects; unknown ones are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum Status {
    /// It waits for a machine.
    Pending,
    /// Its processes were created.
    Created,
    /// Its processes start.
    Starting,
    /// The scheduler can be connected to (older servers).
    Ready,
    /// The scheduler can be connected to.
    Running,
    /// It is going down.
    Stopping,
    /// It is down and can be started again.
    Stopped,
    /// It is down for good.
    Closed,
    /// Its work is done.
    Completed,
    /// It could not start or broke down.
    Error,
    /// A word that this crate does not know.
    Other(String),
}

impl Status {
    /// The word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Closed => "closed",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Other(word) => word,
        }
    }

    /// Whether the scheduler can be connected to.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }

    /// Whether it does not run and will not by itself.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Stopped | Self::Closed | Self::Completed | Self::Error)
    }

    /// Whether it is not surely gone: it runs, may run, or can be started again.
    pub(crate) fn may_exist(&self) -> bool {
        !matches!(self, Self::Closed | Self::Completed)
    }

    /// Whether it costs, or may cost: everything but what is surely over.
    pub fn may_cost(&self) -> bool {
        !self.is_over() || *self == Self::Error
    }
}

impl From<String> for Status {
    fn from(word: String) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "pending" => Self::Pending,
            "created" => Self::Created,
            "starting" => Self::Starting,
            "ready" => Self::Ready,
            "running" => Self::Running,
            "stopping" | "closing" => Self::Stopping,
            "stopped" => Self::Stopped,
            "closed" => Self::Closed,
            "completed" => Self::Completed,
            "error" | "failed" => Self::Error,
            _ => Self::Other(word),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_life_cycle_is_known_and_others_are_kept() {
        let words = [
            "pending",
            "created",
            "starting",
            "ready",
            "running",
            "stopping",
            "stopped",
            "closed",
            "completed",
            "error",
        ];
        for word in words {
            let status = Status::from(word.to_owned());
            assert!(!matches!(status, Status::Other(_)));
            assert_eq!(status.as_str(), word);
        }
        assert_eq!(Status::from("closing".to_owned()), Status::Stopping);
        let other = Status::from("Hibernating".to_owned());
        assert_eq!(other.as_str(), "Hibernating");
        assert!(!other.is_ready() && !other.is_over() && other.may_cost());
        assert!(Status::Error.is_over() && Status::Error.may_cost() && !Status::Closed.may_cost());
        assert_eq!(serde_json::from_str::<Status>("\"ready\"").unwrap(), Status::Ready);
    }
}
