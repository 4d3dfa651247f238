//! Calls of Python that is given as text.

use std::borrow::Cow;

use dask_pickle::Callable;
use dask_wire::source;

use crate::work::call::{Call, Target};

/// A call of a function whose body is this text: it may `return`, and its keyword arguments are its parameters.
///
/// ```no_run
/// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
/// use dask_client::python;
///
/// let area: f64 = client.call(python("import math\nreturn math.pi * r ** 2").kwarg("r", 2.0)).await?;
/// # Ok(())
/// # }
/// ```
///
/// Positional arguments are there as the tuple `args`. The text goes along with each task and is compiled once per
/// process of a worker (again if 256 other texts were used there since); nothing needs to be installed on workers or scheduler. Indentation that all lines share is
/// taken away. In tracebacks the file is called `<source …>`, with a number of the text's own; lines count from 1.
///
/// Works on every release: it is an ordinary task.
pub fn python(body: &str) -> Call {
    Call::new(Ok(Target::Body(dedent(body).into_owned())))
}

/// A call of a function or class that this text of a Python module defines: `python_module("def f(x): …", "f")`.
///
/// What the module does at its top level is done once per process of a worker, unless 256 other texts are used there
/// before it is used again. Otherwise as [`python`].
pub fn python_module(source: &str, function: &str) -> Call {
    let pickle = source::object(&dedent(source), function);
    let name = function.rsplit('.').next().unwrap_or(function).to_owned();
    Call::new(Ok(Target::Callable { callable: Callable::Pickled(pickle), name }))
}

/// Takes away the indentation of the first line with content from every line that has it, if all with content do.
pub(crate) fn dedent(text: &str) -> Cow<'_, str> {
    let mut content = text.lines().filter(|line| !line.trim().is_empty());
    let Some(first) = content.next() else { return Cow::Borrowed(text) };
    let indent = first.get(..first.len() - first.trim_start().len()).unwrap_or_default();
    if indent.is_empty() || !content.all(|line| line.starts_with(indent)) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> = text.split('\n').map(|line| line.strip_prefix(indent).unwrap_or(line)).collect();
    Cow::Owned(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_indentation_is_taken_away() {
        assert_eq!(dedent("\n    if x:\n        y\n\n    z"), "\nif x:\n    y\n\nz");
        assert_eq!(dedent("a\n  b"), "a\n  b");
        assert_eq!(dedent("  a\nb"), "  a\nb");
        assert_eq!(dedent(" \n"), " \n");
    }
}
