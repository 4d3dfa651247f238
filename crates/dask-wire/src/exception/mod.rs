//! Exceptions that Python raised, read without Python.

mod inner;
mod plain;
mod print;
mod read;
mod repr;
mod text;

use dask_pickle::Value as Python;

use crate::payload::Payload;
use crate::value::Value;

/// An exception raised by a task or by a server.
///
/// Its `Display` is what Python prints for an uncaught one, without source lines: causes and contexts first, each with
/// its traceback; the exceptions of a group as a tree.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PythonError {
    /// Name of the class, qualified within its module: `ZeroDivisionError`, `Outer.Inner`.
    pub class: String,
    /// Module of the class: `builtins`, `__main__`, `distributed.scheduler`.
    pub module: String,
    /// What `str(e)` gives. A class with its own `__str__` may say it differently in Python.
    pub message: String,
    /// The arguments it was pickled with, as far as they could be read: its `args` in Python, unless its class has a
    /// `__reduce__` of its own, which may give others.
    pub args: Vec<Python>,
    /// Notes added to it.
    pub notes: Vec<String>,
    /// Where it was raised, outermost call first. Empty if that is not known.
    pub traceback: Vec<TraceFrame>,
    /// The exception that it was raised from.
    pub cause: Option<Box<PythonError>>,
    /// The exception that was being handled when it was raised.
    pub context: Option<Box<PythonError>>,
    /// The exceptions of a group, in the order of the group.
    pub exceptions: Vec<PythonError>,
    /// Whether the context is not shown, as with `raise ... from ...`.
    pub suppress_context: bool,
    /// Whether it could not be read, and class and message are only the best that can be said.
    pub opaque: bool,
}

/// One call in a traceback.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceFrame {
    /// The source file.
    pub file: String,
    /// The line in it.
    pub line: u32,
    /// The function.
    pub function: String,
}

/// The sorts of exception that a client treats in a way of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The workers that ran the task kept dying.
    KilledWorker {
        /// The task's key.
        task: String,
        /// Address of the last worker.
        last_worker: Option<String>,
        /// How many workers may die before a task is given up (from 2022.10 on).
        allowed_failures: Option<u64>,
    },
    /// A future was cancelled.
    Cancelled,
    /// Something took too long.
    Timeout,
    /// The scheduler gave the task up because no worker could run it for too long.
    NoWorker,
    /// A module or name cannot be imported where the task or its graph was read.
    Import {
        /// The module, where Python says which.
        name: Option<String>,
    },
    /// The scheduler could not read the graph.
    DeserializationOnScheduler,
    /// Any other.
    Other,
}

impl PythonError {
    /// An exception of a class of Python's own, with nothing but a message.
    pub fn new(class: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            class: class.into(),
            module: "builtins".to_owned(),
            args: if message.is_empty() { Vec::new() } else { vec![Python::Str(message.clone())] },
            message,
            notes: Vec::new(),
            traceback: Vec::new(),
            cause: None,
            context: None,
            exceptions: Vec::new(),
            suppress_context: false,
            opaque: false,
        }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self { args: Vec::new(), opaque: true, ..Self::new("UnknownError", reason) }
    }

    /// Reads the exception and traceback of a failed task or of a reply.
    ///
    /// This never fails: an exception that cannot be read becomes an `UnknownError` that says why.
    pub fn from_payloads(exception: Option<&Payload>, traceback: Option<&Payload>) -> Self {
        let mut error = match exception {
            Some(exception) => read::exception(exception),
            None => Self::unknown("the exception was not sent"),
        };
        if let Some(frames) = traceback.and_then(read::traceback) {
            error.traceback = frames;
        }
        error
    }

    /// Reads the exception of a reply of the form `{"status": "uncaught-error", "exception": .., "traceback": ..}`, by
    /// its text fields where the exception itself cannot be read. `None` if the reply reports no error.
    pub fn from_reply(reply: &Value<'_>) -> Option<Self> {
        if !matches!(reply.get("status")?.as_str()?, "uncaught-error" | "error") {
            return None;
        }
        let text = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| reply.get(name).and_then(Value::as_str))
                .filter(|text| !text.is_empty())
        };
        let exception = match reply.get("exception") {
            None | Some(Value::Nil) => None,
            Some(Value::Payload(payload)) => Some(Self::from_payloads(Some(payload), None)),
            Some(Value::Bin(pickle)) => Some(read::pickled(pickle.to_vec().into())),
            Some(Value::Str(text)) => Some(Self::new("Exception", text.as_ref())),
            Some(other) => Some(Self::unknown(format!("{} where an exception belongs", other.kind()))),
        };
        let mut error = match (exception, text(&["exception_text"])) {
            (Some(error), None) => error,
            (Some(error), Some(_)) if !error.opaque => error,
            (_, Some(repr)) => text::of_repr(repr),
            // An error without an exception is one of the operation, not of Python.
            (None, None) => match text(&["text"]) {
                Some(message) => Self { opaque: true, ..Self::new("Exception", message) },
                None if reply.get("exception").is_some() || reply.get("traceback").is_some() => {
                    Self::unknown("the exception was not sent")
                }
                None => return None,
            },
        };
        if let Some(message) = text(&["text"]) {
            error.message = message.to_owned();
        }
        let frames = match reply.get("traceback") {
            Some(Value::Payload(payload)) => read::traceback(payload),
            Some(Value::Bin(pickle)) => read::pickled_traceback(pickle.to_vec().into()),
            Some(Value::Str(text)) => Some(text::frames(text)),
            _ => None,
        };
        if let Some(frames) = frames.filter(|frames| !frames.is_empty()) {
            error.traceback = frames;
        } else if error.traceback.is_empty()
            && let Some(text) = text(&["traceback_text"])
        {
            error.traceback = text::frames(text);
        }
        Some(error)
    }

    /// The class as Python prints it: with its module unless that is `builtins` or `__main__`.
    pub fn qualified_class(&self) -> String {
        match self.module.as_str() {
            "" | "builtins" | "__main__" => self.class.clone(),
            module => format!("{module}.{}", self.class),
        }
    }

    /// Class and message on one line or more, without traceback: `ValueError: nope`.
    pub fn title(&self) -> String {
        let class = self.qualified_class();
        if self.message.is_empty() { class } else { format!("{class}: {}", self.message) }
    }

    /// The sort of exception it is.
    pub fn kind(&self) -> Kind {
        let dask = matches!(self.module.split('.').next(), Some("distributed" | "dask"));
        // Where only text came, there is no module.
        let dask = dask || self.module.is_empty();
        // Timeouts and cancellation of other libraries say nothing of Dask's.
        let waiting = dask
            || matches!(
                self.module.split('.').next(),
                Some("builtins" | "asyncio" | "concurrent" | "tornado" | "socket")
            );
        match (self.module.as_str(), self.class.as_str()) {
            (_, "KilledWorker") if dask => Kind::KilledWorker {
                task: self.args.first().map(text::key).unwrap_or_default(),
                last_worker: self.args.get(1).and_then(text::worker_address),
                allowed_failures: self
                    .args
                    .get(2)
                    .and_then(Python::as_i64)
                    .and_then(|count| u64::try_from(count).ok()),
            },
            (_, "CancelledError" | "FutureCancelledError" | "FuturesCancelledError") if waiting => {
                Kind::Cancelled
            }
            (_, "NoValidWorkerError" | "NoWorkerError") if dask => Kind::NoWorker,
            (_, "TimeoutError" | "WorkerStartTimeoutError") if waiting => Kind::Timeout,
            // Its name until Python 3.10.
            ("socket", "timeout") => Kind::Timeout,
            ("builtins", "ModuleNotFoundError" | "ImportError") => Kind::Import { name: text::module(self) },
            ("builtins", "RuntimeError")
                if self.message.starts_with("Error during deserialization of the task graph") =>
            {
                Kind::DeserializationOnScheduler
            }
            _ => Kind::Other,
        }
    }

    /// This exception and those it was raised from or while handling, the outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &PythonError> {
        std::iter::successors(Some(self), |error| error.previous().map(|(previous, _)| previous))
    }

    /// The exception that is shown before this one, and the words between them.
    fn previous(&self) -> Option<(&PythonError, &'static str)> {
        const CAUSE: &str = "The above exception was the direct cause of the following exception:";
        const CONTEXT: &str = "During handling of the above exception, another exception occurred:";
        match (&self.cause, &self.context) {
            (Some(cause), _) => Some((cause, CAUSE)),
            (None, Some(context)) if !self.suppress_context => Some((context, CONTEXT)),
            _ => None,
        }
    }
}

impl std::error::Error for PythonError {}

#[cfg(test)]
mod tests;
