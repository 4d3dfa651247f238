//! What came and went between releases and is not the signature of one op.

use super::ops::Life;
use super::release::Release;

macro_rules! features {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $since:expr, $until:expr;)+) => {
        /// Something that only some releases have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Feature {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Feature {
            /// Every feature of the table.
            pub const ALL: &'static [Feature] = &[$(Feature::$variant),+];

            /// Its name, in words.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$variant => $name,)+ }
            }

            /// From which release to which it exists.
            pub fn life(self) -> Life {
                match self { $(Feature::$variant => Life { since: $since, until: $until },)+ }
            }
        }
    };
}

const fn at(major: u16, minor: u16, micro: u16) -> Option<Release> {
    Some(Release::new(major, minor, micro))
}

features! {
    /// `ws://` and `wss://` addresses.
    WebSockets = "WebSocket comms", at(2021, 4, 0), None;
    /// Results pushed by topic over the client's stream.
    Topics = "topic subscriptions", at(2021, 9, 1), None;
    /// The scheduler unpickles graphs, so what they name must be importable there.
    SchedulerUnpickles = "unpickling of graphs by the scheduler", at(2023, 4, 0), None;
    /// References to tasks are `distributed.utils_comm.WrappedKey`.
    WrappedKey = "WrappedKey references", at(2023, 4, 0), Some(Release::new(2024, 10, 0));
    /// References to tasks are `dask._task_spec.TaskRef`.
    TaskRef = "TaskRef references", at(2024, 11, 0), None;
    /// Keys need not be text.
    TupleKeys = "keys other than text", at(2023, 9, 0), None;
    /// Cancelling is an op of the stream (before, an RPC).
    CancelOnStream = "cancelling over the stream", at(2023, 3, 1), None;
    /// Cancelling a task on which another depends that nobody wants ends the stream of whoever asks for it.
    CancelStumbles = "cancelling tasks with dependents that nobody wants", at(2023, 12, 0), None;
    /// A number of lines asked of a log means the latest (before, where lines have times, the oldest).
    LatestLogLines = "a count of the latest log lines", at(2023, 3, 2), None;
    /// Restarting is an RPC (before, an op of the stream).
    RestartRpc = "restart as an RPC", at(2022, 7, 1), None;
    /// `Lock` is a semaphore of one lease (before, it had ops of its own).
    LockIsSemaphore = "locks made of semaphores", at(2024, 7, 1), None;
    /// A `Variable` that hands out a future waits until the receiver confirms it.
    VariableConfirm = "confirmed futures in variables", at(2024, 8, 2), None;
    /// Datasets are published in batches, ordered behind the stream by a flush message.
    PublishBatches = "publishing in batches", at(2026, 6, 0), None;
    /// A pickled `Future` is a call of its class (before, an instance that is given its key and scheduler).
    FutureByCall = "futures pickled as calls", at(2023, 3, 2), None;
    /// Files are uploaded by a worker plugin, so that workers that come later get them, too (before, by an op).
    UploadFilePlugin = "uploads by a worker plugin", at(2020, 12, 0), None;
    /// Files are uploaded to the scheduler, too, by a plugin.
    SchedulerUploadFile = "uploads to the scheduler", at(2023, 5, 0), None;
}

impl Feature {
    pub(super) fn exists_in(self, release: Release) -> bool {
        let Life { since, until } = self.life();
        since.is_some_and(|since| since <= release) && until.is_none_or(|until| release <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_exactly_one_form_from_2023_4_on() {
        for release in ["2023.4.0", "2024.10.0", "2024.11.0", "2026.8.0", "2030.1.0"] {
            let release = release.parse().unwrap();
            assert_ne!(
                Feature::WrappedKey.exists_in(release),
                Feature::TaskRef.exists_in(release),
                "{release}"
            );
        }
    }
}
