//! Every way in which starting or steering a cluster fails.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What one interpreter was tried for, and why it did not do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// The interpreter, by absolute path.
    pub python: PathBuf,
    /// Its version.
    pub version: String,
    /// Why it failed, in one line.
    pub reason: String,
    /// The last lines of what the failing step printed.
    pub output: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  Python {} ({}): {}", self.version, self.python.display(), self.reason)?;
        for line in self.output.lines() {
            write!(f, "\n    | {line}")?;
        }
        Ok(())
    }
}

/// Several attempts, one under the other.
fn attempts(list: &[Attempt]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn indented(text: &str) -> String {
    if text.trim().is_empty() {
        return "  (nothing)".to_owned();
    }
    text.lines().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

/// Why a cluster did not start, or did not do what it was told.
///
/// Each message says what was tried and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not name a release of Dask that this crate can start.
    #[error(
        "`{release}` is no release of Dask that can be started: {reason}; \
         give a release such as `2026.8.0` or `2.30.1`, or `latest`"
    )]
    BadRelease {
        /// What was given.
        release: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting of the builder cannot be used.
    #[error("the setting `{setting}` cannot be used: {reason}")]
    BadSetting {
        /// Which.
        setting: &'static str,
        /// What is wrong, and what would do.
        reason: String,
    },
    /// No interpreter on this machine runs the release.
    #[error(
        "no Python on this machine can run Dask {release}, which wants Python {wanted}\nfound:\n{found}\n\
         Install one of those versions (with its venv module, or with uv), or name one: \
         DASK_LOCAL_PYTHON=/path/to/python"
    )]
    NoPython {
        /// The release.
        release: String,
        /// The versions that would do, the best first.
        wanted: String,
        /// The interpreters found and why each does not do, one a line.
        found: String,
    },
    /// Every suitable interpreter was tried, and none became a working environment.
    #[error(
        "no environment for Dask {release} could be made\n{}\n\
         Try another Python (DASK_LOCAL_PYTHON=/path/to/python; wanted: {wanted}) or another release",
        attempts(tried)
    )]
    Environment {
        /// The release.
        release: String,
        /// The versions that would do, the best first.
        wanted: String,
        /// What was tried.
        tried: Vec<Attempt>,
    },
    /// The package index could not be reached.
    #[error(
        "the Python package index cannot be reached to install Dask {release}\n{}\n\
         Check the network, HTTPS_PROXY and PIP_INDEX_URL (or UV_DEFAULT_INDEX); \
         an environment made once is used again without any network",
        attempts(tried)
    )]
    NoNetwork {
        /// The release.
        release: String,
        /// What was tried.
        tried: Vec<Attempt>,
    },
    /// The package index has no such release.
    #[error(
        "the package index has no Dask {release} for the Pythons tried\n{}\n\
         See https://pypi.org/project/distributed/#history; the newest that this crate knows is {newest}",
        attempts(tried)
    )]
    UnknownRelease {
        /// The release.
        release: String,
        /// The newest release known.
        newest: &'static str,
        /// What was tried.
        tried: Vec<Attempt>,
    },
    /// Making the environment took longer than allowed.
    #[error(
        "making the environment for Dask {release} took longer than {after:.0?}\nlast output:\n{}\n\
         Try again (what was downloaded is cached) or allow more time with `deadline`",
        indented(output)
    )]
    InstallTimeout {
        /// The release.
        release: String,
        /// The time allowed.
        after: Duration,
        /// The last lines of the installer.
        output: String,
    },
    /// The scheduler's port belongs to another process.
    #[error("port {port} on 127.0.0.1 is taken by another process; choose another port, or 0 for a free one")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// A process did not become ready in time.
    #[error(
        "{what} of Dask {release} was not ready after {after:.0?}\nlast lines of its log:\n{}\n\
         If this machine is slow, allow more time with `process_deadline`",
        indented(log)
    )]
    StartTimeout {
        /// Which process.
        what: String,
        /// The release.
        release: String,
        /// The time allowed.
        after: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// A process ended before it was ready.
    #[error(
        "{what} of Dask {release} ended with status {code} before it was ready\nlast lines of its log:\n{}\n\
         The environment may be broken: remove {} and start again",
        indented(log), environment.display()
    )]
    Exited {
        /// Which process.
        what: String,
        /// The release.
        release: String,
        /// Its exit status; negative: the number of the signal.
        code: i32,
        /// The last lines of its log.
        log: String,
        /// The environment it ran in.
        environment: PathBuf,
    },
    /// The process that looks after the cluster's processes is gone or does not answer.
    #[error("the supervisor of the cluster's processes {what}\n{}\nStart the cluster anew", indented(log))]
    Supervisor {
        /// What happened.
        what: String,
        /// What it printed.
        log: String,
    },
    /// There is no such worker.
    #[error("there is no worker {index}: the cluster has started {count}, counted from 0")]
    NoSuchWorker {
        /// The index asked for.
        index: usize,
        /// How many workers there are.
        count: usize,
    },
    /// The process has ended already.
    #[error("{what} is not running: it ended with status {code:?}; start it again first")]
    NotRunning {
        /// Which process.
        what: String,
        /// Its exit status, where known.
        code: Option<i32>,
    },
    /// A script run with `run_python` did not end in time.
    #[error(
        "the Python script did not end within {after:.0?} and was killed\nits last output:\n{}",
        indented(output)
    )]
    ScriptTimeout {
        /// The time allowed.
        after: Duration,
        /// The last lines of its standard error and output.
        output: String,
    },
    /// A script run with `run_python` ended with an error.
    #[error("the Python script ended with status {code}\nits last output:\n{}", indented(output))]
    ScriptFailed {
        /// Its exit status; negative: the number of the signal.
        code: i32,
        /// The last lines of its standard error and output.
        output: String,
    },
    /// The certificates for TLS could not be made.
    #[error("the certificates for TLS could not be made: {0}")]
    Certificates(#[from] rcgen::Error),
    /// A file, directory or process could not be used.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(count);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_those_with_something_on_them() {
        assert_eq!(last_lines("a\nb\n\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_message_tells_what_was_tried_and_what_to_do() {
        let tried = vec![Attempt {
            python: PathBuf::from("/opt/python3.8"),
            version: "3.8.18".to_owned(),
            reason: "pip failed".to_owned(),
            output: "one\ntwo".to_owned(),
        }];
        let error = Error::Environment { release: "2021.3.0".into(), wanted: "3.8".into(), tried };
        let text = error.to_string();
        assert!(text.contains("/opt/python3.8"), "{text}");
        assert!(text.contains("    | two"), "{text}");
        assert!(text.contains("DASK_LOCAL_PYTHON"), "{text}");
    }
}
