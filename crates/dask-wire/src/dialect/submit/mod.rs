//! Submitting a graph, one file for each form that releases take.

mod expr;
mod graph;
mod inline;
mod legacy;
mod options;
mod tasks;

use dask_pickle::Pickler;

use super::{Dialect, Feature, NotAvailable, SubmissionForm};
use crate::graph::Submission;
use crate::key::Key;
use crate::value::Value;

/// A graph cannot be put into a message for this release. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The release lacks something the graph needs.
    #[error(transparent)]
    NotAvailable(#[from] NotAvailable),
    /// A task's key is neither a text nor a tuple.
    #[error(
        "a task cannot have the key {key}: keys are texts or, from Dask 2023.9.0 on, tuples that are not empty"
    )]
    Key {
        /// The key.
        key: Key,
    },
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
    for task in &submission.tasks {
        check_key(dialect, &task.key)?;
    }
    match dialect.submission() {
        SubmissionForm::Tasks => tasks::encode(dialect, submission),
        SubmissionForm::Graph => graph::encode(dialect, submission),
        SubmissionForm::Expr => expr::encode(dialect, submission),
    }
}

/// What a task's key may be. Those of other tasks that it takes are keys of somebody's tasks already.
fn check_key(dialect: &Dialect, key: &Key) -> Result<(), SubmitError> {
    match key {
        Key::Str(_) => Ok(()),
        Key::Tuple(parts) if !parts.is_empty() => Ok(dialect.need(Feature::TupleKeys)?),
        key => Err(SubmitError::Key { key: key.clone() }),
    }
}

/// Writes one complete pickle.
fn pickle(write: impl FnOnce(&mut Pickler)) -> Vec<u8> {
    let mut out = Pickler::new();
    write(&mut out);
    out.finish()
}
