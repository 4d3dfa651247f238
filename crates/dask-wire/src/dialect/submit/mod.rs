//! Submitting a graph, one file for each form that releases take.

mod expr;
mod graph;
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
    /// A text inside an argument equals a task's key, and Dask would silently put that task's result in its place.
    #[error(
        "task {task:?} passes the text {text:?} inside a structure that also holds a reference, and a task has that \
         very key: Dask would put that task's result there; give the task another key"
    )]
    AmbiguousText {
        /// The task whose argument it is.
        task: String,
        /// The text.
        text: String,
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
