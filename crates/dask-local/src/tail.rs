//! Reads what a process has added to its log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::error::last_lines;

/// How often a log is read while something is awaited in it.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// A point in time by which something must be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    pub(crate) after: Duration,
}

impl Deadline {
    pub(crate) fn new(after: Duration) -> Self {
        // A duration beyond the clock's end means: no matter how long.
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        Self { at: Instant::now() + after.min(far), after }
    }

    /// The earlier of this one and `after` from now.
    pub(crate) fn within(self, after: Duration) -> Self {
        let other = Self::new(after);
        if other.at < self.at { other } else { self }
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// A log file and how much of it was read.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    read: usize,
}

impl Tail {
    /// Starts at what the file holds now.
    pub(crate) fn at_end(path: &Path) -> Self {
        Self { path: path.to_owned(), read: read(path).len() }
    }

    /// The lines that were completed since the last call.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let data = std::fs::read(&self.path).unwrap_or_default();
        let new = data.get(self.read..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let text = String::from_utf8_lossy(new.get(..whole).unwrap_or_default()).into_owned();
        self.read += whole;
        text.lines().map(str::to_owned).collect()
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

/// The whole text of a log; what is not UTF-8 is replaced.
pub(crate) fn text(path: &Path) -> String {
    String::from_utf8_lossy(&read(path)).into_owned()
}

/// The end of a log, for an error.
pub(crate) fn end(path: &Path) -> String {
    last_lines(&text(path), 25)
}

/// A directory that only this user can look into, removed by whoever owns it.
pub(crate) fn private_directory() -> Result<tempfile::TempDir, Error> {
    let directory = tempfile::Builder::new().prefix("dask-local-").tempdir();
    directory.map_err(Error::io(format!("create a directory in {}", std::env::temp_dir().display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_whole_new_lines_are_given() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"old\n").unwrap();
        let mut tail = Tail::at_end(file.path());
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.lines(), ["one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(tail.lines(), ["two"]);
        assert!(tail.lines().is_empty());
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let long = Deadline::new(Duration::MAX);
        let short = long.within(Duration::ZERO);
        assert!(short.passed() && !long.passed());
        assert_eq!(short.after, Duration::ZERO);
    }
}
