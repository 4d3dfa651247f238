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
        Self { release }
    }

    /// The release.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Whether the release lies within what these tables were checked against.
    pub fn is_known(&self) -> bool {
        (OLDEST_KNOWN..=NEWEST_KNOWN).contains(&self.release)
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
}
