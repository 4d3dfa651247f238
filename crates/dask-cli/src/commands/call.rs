//! `dask-rs call`

use dask_client::{Gathered, py};

use super::Context;
use crate::cli;
use crate::failure::{Failure, TASK, code_of};
use crate::json::{self, Argument};
use crate::output;

pub(super) async fn run(context: Context, options: &cli::Call) -> Result<u8, Failure> {
    let mut call = py(&options.callable);
    for arg in &options.args {
        // A text that is no JSON is the text itself.
        let value = serde_json::from_str(arg).unwrap_or_else(|_| serde_json::Value::from(arg.as_str()));
        call = call.arg(Argument::plain(&value));
    }
    if let Some(kwargs) = &options.kwargs {
        let kwargs: serde_json::Map<String, serde_json::Value> = serde_json::from_str(kwargs)
            .map_err(|error| Failure::config(format!("--kwargs is not a JSON object: {error}")))?;
        call = call.kwargs(kwargs.iter().map(|(name, value)| (name.as_str(), Argument::plain(value))));
    }
    let client = options.cluster.connect().await?;
    let spinner = output::spinner(context.quiet);
    spinner.set_message(format!("{} on {}", options.callable, client.address()));
    let outcome = client.call::<Gathered>(call).deadline(options.cluster.deadline()).await;
    spinner.finish_and_clear();
    let code = match outcome {
        Ok(result) => {
            show(context, &json::of_result(&result));
            Ok(0)
        }
        Err(error) => task_failure(&error),
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

/// Prints a task's exception as Python does, and as data; other errors are passed on.
pub(super) fn task_failure(error: &dask_client::Error) -> Result<u8, Failure> {
    let Some(python) = error.python().filter(|_| code_of(error.kind()) == TASK) else {
        return Err(error.clone().into());
    };
    anstream::eprintln!("{}", python.to_string().trim_end());
    if let Some(key) = error.key() {
        anstream::eprintln!("\nthe task failed on the cluster; key {key}");
    }
    output::line(&json::of_error(python));
    Ok(TASK)
}
