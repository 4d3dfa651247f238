//! `dask-rs call`

use std::io::Read;
use std::path::Path;

use dask_client::{Call, ErrorKind, Gathered, PythonError, py, python_module};

use super::Context;
use crate::cli;
use crate::failure::{Failure, TASK, code_of};
use crate::json::{self, Argument};
use crate::{output, progress};

pub(super) async fn run(context: Context, options: &cli::Call) -> Result<u8, Failure> {
    let source = options.source.as_deref().map(Source::read).transpose()?;
    let mut call = match &source {
        Some(source) => source.call(&options.callable)?,
        None => py(&options.callable),
    };
    for arg in &options.args {
        // A text that is no JSON is the text itself.
        let value = json::parse(arg).unwrap_or_else(|_| serde_json::Value::from(arg.as_str()));
        call = call.arg(Argument::plain(&value));
    }
    if let Some(kwargs) = &options.kwargs {
        let kwargs: serde_json::Map<String, serde_json::Value> = json::parse(kwargs)
            .map_err(|error| Failure::config(format!("--kwargs is not a JSON object: {error}")))?;
        call = call.kwargs(kwargs.iter().map(|(name, value)| (name.as_str(), Argument::plain(value))));
    }
    call.check()?;
    let client = options.cluster.connect(context).await?;
    let words = format!("{} on {}", options.callable, client.address());
    let calling = client.call::<Gathered>(call).deadline(options.cluster.left(context));
    let outcome = progress::patient(context.quiet, &words, calling).await;
    let code = match outcome {
        Ok(result) => {
            show(context, &json::of_result(&result));
            Ok(0)
        }
        Err(error) => task_failure(&error, source.as_ref()),
    };
    client.close().await;
    code
}

pub(super) fn show(context: Context, result: &serde_json::Value) {
    match result {
        serde_json::Value::String(text) if !context.json() => output::data(text),
        result if context.json() => output::line(result),
        result => output::data(&serde_json::to_string_pretty(result).unwrap_or_default()),
    }
}

/// Prints a failed task as Python prints an exception, and as data; other errors are passed on.
pub(super) fn task_failure(error: &dask_client::Error, source: Option<&Source>) -> Result<u8, Failure> {
    if code_of(error.kind()) != TASK {
        return Err(error.clone().into());
    }
    let Some(python) = error.python() else {
        // The task did not get to raise anything: this is what Python's client raises then.
        let class = match error.kind() {
            ErrorKind::KilledWorker => "KilledWorker",
            ErrorKind::NoWorker => "NoValidWorkerError",
            _ => "CancelledError",
        };
        output::line(&json::error(class, &error.to_string(), &[]));
        return Err(error.clone().into());
    };
    let python = source.map_or_else(|| python.clone(), |source| source.named(python));
    output::words(python.to_string().trim_end());
    if let Some(key) = error.key() {
        output::words(&format!("\nthe task failed on the cluster; key {key}"));
    }
    output::line(&json::of_error(&python));
    Ok(TASK)
}

/// A Python file that goes along with a call.
pub(super) struct Source {
    text: String,
    shown: String,
}

impl Source {
    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let text = if shown == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(path)
        };
        let text =
            text.map_err(|error| Failure::config(format!("cannot read the source {shown}: {error}")))?;
        Ok(Self { text, shown })
    }

    /// A call of what stands behind the colon.
    fn call(&self, callable: &str) -> Result<Call, Failure> {
        // The same rules for names as without a source.
        py(callable).check()?;
        let name = callable.split_once(':').or_else(|| callable.rsplit_once('.')).map(|(_, name)| name);
        Ok(python_module(&self.text, name.unwrap_or_default()))
    }

    /// An exception with the file's own name where the cluster only knows its text.
    fn named(&self, python: &PythonError) -> PythonError {
        let known_as = dask_wire::source::file_name(&self.text);
        let mut python = python.clone();
        let mut exceptions = vec![&mut python];
        while let Some(exception) = exceptions.pop() {
            exception.message = exception.message.replace(&known_as, &self.shown);
            for frame in &mut exception.traceback {
                frame.file = frame.file.replace(&known_as, &self.shown);
            }
            exceptions.extend(exception.cause.as_deref_mut());
            exceptions.extend(exception.context.as_deref_mut());
        }
        python
    }
}
