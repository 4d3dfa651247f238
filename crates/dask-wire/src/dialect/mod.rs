//! Every difference between Dask releases, and nothing else.
//!
//! | file | what it says |
//! | --- | --- |
//! | [`release`] | how release numbers are read and compared |
//! | `signatures` | op by op, the fields each release's servers accept |
//! | [`ops`] | requests checked against that table |
//! | `features` | what is not one op: from which release to which |
//! | [`encoding`] | the three ways a message became frames |
//! | `submit/` | the three ways to submit a graph, one file each |
//!
//! **Teaching a new release.** Run the drift check against it: `cargo run -p dask-live-tests --bin drift -- RELEASE`.
//! What it prints is a line to add in `signatures` or `features`; a new way to submit is a new file in `submit/` and a
//! line in [`Dialect::submission`]. Then set [`NEWEST_KNOWN`], and record the release in `protocol-fixtures/`.

pub mod encoding;
mod features;
pub mod ops;
pub mod release;
mod signatures;
mod submit;

pub use encoding::Encoding;
pub use features::Feature;
pub use ops::{Life, NotAvailable, Peer, Request};
pub use release::Release;
pub use submit::SubmitError;

use std::fmt;

use crate::graph::Submission;
use crate::value::Value;

/// The newest release whose protocol these tables were checked against.
pub const NEWEST_KNOWN: Release = Release::new(2026, 8, 0);
/// The oldest release these tables speak of.
pub const OLDEST_KNOWN: Release = Release::new(2, 30, 0);

/// How to speak to the servers of one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    release: Release,
    known: bool,
}

/// How a graph reaches the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubmissionForm {
    /// One pickle a task, never unpickled by the scheduler (up to 2023.3.2.1).
    Tasks,
    /// A pickled `HighLevelGraph` (2023.4.0 to 2025.3.1).
    Graph,
    /// A pickled `LLGExpr` (from 2025.4.0 on).
    Expr,
}

impl SubmissionForm {
    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            SubmissionForm::Tasks => "tasks",
            SubmissionForm::Graph => "graph",
            SubmissionForm::Expr => "expr",
        }
    }
}

impl Dialect {
    /// The dialect of a release. A release newer than any known one is spoken to as the newest known.
    pub fn of(release: Release) -> Self {
        Self { release, known: (OLDEST_KNOWN..=NEWEST_KNOWN).contains(&release) }
    }

    /// The dialect of a server, by the version of `distributed` that its `versions` names.
    ///
    /// Builds between two releases are spoken to as the release they grew from. Those whose version is no release number
    /// at all (`0+unknown`, `0.1.dev1+gabc`: no tag was found), and those after the newest known release, are not known,
    /// and are spoken to as the newest.
    ///
    /// # Errors
    /// The release is older than [`OLDEST_KNOWN`].
    pub fn of_version(version: &str) -> Result<Self, NotAvailable> {
        match version.parse::<Release>() {
            Ok(release) if release >= Release::new(1, 0, 0) => {
                let dialect = Self::of(release);
                if release < OLDEST_KNOWN {
                    return Err(NotAvailable::TooOld { release });
                }
                let after = release == NEWEST_KNOWN && version.contains('+');
                Ok(Self { known: dialect.known && !after, ..dialect })
            }
            // No release begins with 0.
            _ => Ok(Self { release: NEWEST_KNOWN, known: false }),
        }
    }

    /// The release.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Whether the release lies within what these tables were checked against.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// How graphs are submitted.
    pub fn submission(&self) -> SubmissionForm {
        if self.release < Release::new(2023, 4, 0) {
            SubmissionForm::Tasks
        } else if self.release < Release::new(2025, 4, 0) {
            SubmissionForm::Graph
        } else {
            SubmissionForm::Expr
        }
    }

    /// Whether the release has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        feature.exists_in(self.release)
    }

    /// An error unless the release has a feature.
    pub fn need(&self, feature: Feature) -> Result<(), NotAvailable> {
        if self.has(feature) {
            return Ok(());
        }
        Err(NotAvailable::Feature { feature: feature.name(), release: self.release, life: feature.life() })
    }

    /// Starts a request to a server; an error if the release has no such op.
    pub fn request(&self, peer: Peer, op: &str) -> Result<Request, NotAvailable> {
        Request::new(peer, op, self.release)
    }

    /// The message that submits a graph: one element of a batch on the client's stream.
    pub fn submit(&self, submission: &Submission) -> Result<Value<'static>, SubmitError> {
        submit::encode(self, submission)
    }
}

/// The release, or what it is taken for.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.known && self.release == NEWEST_KNOWN {
            f.write_str("a development version, taken for ")?;
        }
        write!(f, "release {}", self.release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submission_changes_where_the_releases_did() {
        for (release, form) in [
            ("2.30.1", SubmissionForm::Tasks),
            ("2023.3.2.1", SubmissionForm::Tasks),
            ("2023.4.0", SubmissionForm::Graph),
            ("2025.3.1", SubmissionForm::Graph),
            ("2025.4.0", SubmissionForm::Expr),
            ("2026.8.0", SubmissionForm::Expr),
            ("2031.1.0.dev2", SubmissionForm::Expr),
        ] {
            let dialect = Dialect::of(release.parse().unwrap());
            assert_eq!(dialect.submission(), form, "{release}");
        }
        assert!(!Dialect::of("2031.1.0".parse().unwrap()).is_known());
        assert!(Dialect::of("2.30.0".parse().unwrap()).is_known());
    }

    #[test]
    fn builds_without_a_release_number_are_spoken_to_as_the_newest() {
        let of = |version: &str| Dialect::of_version(version).unwrap();
        for (version, release, known) in [
            ("2021.8.1", "2021.8.1", true),
            ("2021.8.1+40.gabc.dirty", "2021.8.1", true),
            ("2026.8.0", "2026.8.0", true),
            ("2026.8.0.dev3", "2026.8.0", true),
            ("2026.8.0+12.gabc", "2026.8.0", false),
            ("2026.9.0.dev12+gabc", "2026.9.0", false),
            ("0+unknown", "2026.8.0", false),
            ("0+untagged.1.g3d2a", "2026.8.0", false),
            ("0.1.dev1+gabc", "2026.8.0", false),
            ("unknown", "2026.8.0", false),
            ("", "2026.8.0", false),
        ] {
            assert_eq!(of(version).release(), release.parse().unwrap(), "{version}");
            assert_eq!(of(version).is_known(), known, "{version}");
        }
        assert_eq!(of("0+unknown").to_string(), "a development version, taken for release 2026.8.0");
        assert_eq!(of("2031.1.0").to_string(), "release 2031.1.0");
    }

    #[test]
    fn what_is_too_old_is_refused() {
        assert!(Dialect::of_version("2.30.0").is_ok());
        for version in ["2.29.0", "2.20.0", "1.28.1"] {
            let error = Dialect::of_version(version).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("Dask {version} is older than 2.30.0, the oldest that this client speaks")
            );
        }
    }
}
