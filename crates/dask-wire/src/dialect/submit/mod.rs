//! Submitting a graph, one file for each form that releases take.

mod expr;
mod graph;
mod inline;
mod legacy;
mod options;
mod tasks;

use dask_pickle::Pickler;

use super::{Dialect, NotAvailable, SubmissionForm};
use crate::graph::Submission;
use crate::value::Value;

/// A graph cannot be put into a message for this release. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The release lacks something the graph needs.
    #[error(transparent)]
    NotAvailable(#[from] NotAvailable),
    /// An argument cannot be pickled.
    #[error("an argument of task {task:?} cannot be pickled")]
    Pickle {
        /// The task's key.
        task: String,
        /// What is wrong.
        source: dask_pickle::Error,
    },
}

pub(super) fn encode(dialect: &Dialect, submission: &Submission) -> Result<Value<'static>, SubmitError> {
    match dialect.submission() {
        SubmissionForm::Tasks => tasks::encode(dialect, submission),
        SubmissionForm::Graph => graph::encode(dialect, submission),
        SubmissionForm::Expr => expr::encode(dialect, submission),
    }
}

/// Writes one complete pickle.
fn pickle(write: impl FnOnce(&mut Pickler)) -> Vec<u8> {
    let mut out = Pickler::new();
    write(&mut out);
    out.finish()
}
