//! What the exit code says.

use dask_client::ErrorKind;

/// Bad arguments or configuration; nothing was attempted.
pub(crate) const CONFIG: u8 = 1;
/// The server cannot be reached: name, TCP, TLS or a timeout while connecting.
pub(crate) const CONNECT: u8 = 2;
/// Connected, but not usable: not Dask, a protocol error, a failed or late request.
pub(crate) const UNUSABLE: u8 = 3;
/// Answered, but not healthy.
pub(crate) const UNHEALTHY: u8 = 4;
/// A threshold of a measurement was crossed.
pub(crate) const THRESHOLD: u8 = 5;
/// The task failed in Python.
pub(crate) const TASK: u8 = 6;

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(CONFIG, message)
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn print(&self) {
        use owo_colors::OwoColorize;
        crate::output::words(&format!("{} {}", "error:".red().bold(), self.message));
    }
}

/// The exit code of an error of the client.
pub(crate) fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Config | ErrorKind::Graph | ErrorKind::Encode => CONFIG,
        ErrorKind::Connect => CONNECT,
        ErrorKind::Task
        | ErrorKind::TaskTimeout
        | ErrorKind::TaskImport
        | ErrorKind::SchedulerImport
        | ErrorKind::KilledWorker
        | ErrorKind::NoWorker
        | ErrorKind::LostDependencies
        | ErrorKind::Cancelled => TASK,
        _ => UNUSABLE,
    }
}

impl From<dask_client::Error> for Failure {
    fn from(error: dask_client::Error) -> Self {
        Self::new(code_of(error.kind()), error.to_string())
    }
}

impl From<dask_local::Error> for Failure {
    fn from(error: dask_local::Error) -> Self {
        use dask_local::Error;
        let code = match &error {
            Error::BadRelease { .. }
            | Error::BadSetting { .. }
            | Error::UnknownRelease { .. }
            | Error::NoPython { .. }
            | Error::PortTaken { .. } => CONFIG,
            Error::NoNetwork { .. } => CONNECT,
            // Something was started, and did not get well.
            _ => UNUSABLE,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cluster_that_was_started_and_does_not_run_is_no_mistake_of_the_caller() {
        use dask_local::Error;
        let code = |error: Error| Failure::from(error).code();
        let (release, after) = ("2026.8.0".to_owned(), Duration::from_secs(1));
        assert_eq!(code(Error::BadRelease { release: "soon".to_owned(), reason: String::new() }), CONFIG);
        assert_eq!(code(Error::PortTaken { port: 8786 }), CONFIG);
        assert_eq!(code(Error::NoNetwork { release: release.clone(), tried: Vec::new() }), CONNECT);
        let what = "the scheduler".to_owned();
        assert_eq!(code(Error::StartTimeout { what, release, after, log: String::new() }), UNUSABLE);
        assert_eq!(code(Error::Supervisor { what: String::new(), log: String::new() }), UNUSABLE);
    }

    #[test]
    fn every_way_in_which_a_task_can_fail_is_code_6() {
        for kind in [
            ErrorKind::Task,
            ErrorKind::TaskTimeout,
            ErrorKind::KilledWorker,
            ErrorKind::NoWorker,
            ErrorKind::LostDependencies,
            ErrorKind::Cancelled,
        ] {
            assert_eq!(code_of(kind), TASK, "{kind:?}");
        }
        assert_eq!([ErrorKind::Config, ErrorKind::Graph].map(code_of), [CONFIG; 2]);
        assert_eq!([ErrorKind::Timeout, ErrorKind::Rpc, ErrorKind::NotDask].map(code_of), [UNUSABLE; 3]);
        assert_eq!(code_of(ErrorKind::Connect), CONNECT);
    }
}
