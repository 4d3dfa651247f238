//! From 2025.4.0 on: `expr_ser` holds the pickle of an `LLGExpr`, which the scheduler unpickles.
//!
//! The expression is rebuilt with a token of our own, as a pickled expression is by Python's client. Without it the
//! scheduler would hash the whole graph to name it.

use dask_pickle::Pickler;

use super::{SubmitError, graph};
use crate::dialect::{Dialect, Peer};
use crate::graph::Submission;
use crate::payload::Payload;
use crate::value::Value;

pub(super) fn encode(dialect: &Dialect, submission: &Submission) -> Result<Value<'static>, SubmitError> {
    let mut out = Pickler::new();
    out.global("dask._expr", "Expr._reconstruct").mark();
    out.global("dask._expr", "LLGExpr");
    graph::write_tasks(&mut out, dialect, submission)?;
    // Keys are unique on the scheduler, so the first one and the size tell this graph from any other.
    let first = submission.tasks.first().map(|task| task.key.to_string()).unwrap_or_default();
    out.str(&format!("{}-{first}", submission.tasks.len()));
    out.empty_dict().tuple_from_mark().reduce();
    let request =
        dialect.request(Peer::Stream, "update-graph")?.with("expr_ser", Payload::pickle(out.finish(), []))?;
    graph::finish(request, submission)
}
