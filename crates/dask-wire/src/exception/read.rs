//! Exceptions and tracebacks out of pickles.

use std::collections::HashSet;

use bytes::Bytes;
use dask_pickle::{Kind, Limits, NodeId, Value as Python, View};

use super::{PythonError, TraceFrame, text};
use crate::family::{Decoded, count_values, decode};
use crate::payload::Payload;

/// Exceptions in a chain that are followed.
const MAX_CHAIN: usize = 50;

/// Frames of a traceback that are read.
const MAX_FRAMES: usize = 10_000;

/// Attributes of an instance that are looked at.
const MAX_ATTRIBUTES: usize = 1_000;

/// Values inside of arguments that are copied.
const MAX_VALUES: usize = 1_000_000;

/// Pickles inside of pickles: from 2021.10.0 on there are two.
const MAX_WRAPS: usize = 4;

fn limits() -> Limits {
    Limits { items: 2_000_000, ..Limits::default() }
}

/// What is in a payload or pickle once all wrappings are off.
enum Unwrapped {
    Tree(dask_pickle::Tree),
    /// Python could not serialize it, or it cannot be read.
    Unreadable(String),
}

fn unwrap_payload(payload: &Payload) -> Unwrapped {
    match decode(payload, &limits()) {
        Ok(Decoded::Pickle(tree)) => unwrap_tree(tree),
        Ok(Decoded::Bytes(pickle) | Decoded::ByteArray(pickle)) => unwrap_bytes(pickle),
        Ok(Decoded::Unserializable(text)) => Unwrapped::Unreadable(text),
        Ok(other) => Unwrapped::Unreadable(format!("{} where an exception belongs", other.describe())),
        Err(error) => Unwrapped::Unreadable(error.to_string()),
    }
}

fn unwrap_bytes(pickle: Bytes) -> Unwrapped {
    match dask_pickle::read(pickle, Vec::new(), &limits()) {
        Ok(tree) => unwrap_tree(tree),
        Err(error) => Unwrapped::Unreadable(format!("the pickled exception cannot be read: {error}")),
    }
}

fn unwrap_tree(mut tree: dask_pickle::Tree) -> Unwrapped {
    for _ in 0..MAX_WRAPS {
        let root = tree.root();
        let Some(inner) =
            matches!(root.kind(), Kind::Bytes | Kind::ByteArray).then(|| root.to_bytes()).flatten()
        else {
            break;
        };
        match dask_pickle::read(inner, Vec::new(), &limits()) {
            Ok(inner) => tree = inner,
            Err(error) => {
                return Unwrapped::Unreadable(format!("the pickled exception cannot be read: {error}"));
            }
        }
    }
    Unwrapped::Tree(tree)
}

pub(super) fn exception(payload: &Payload) -> PythonError {
    of_unwrapped(unwrap_payload(payload))
}

pub(super) fn pickled(pickle: Bytes) -> PythonError {
    of_unwrapped(unwrap_bytes(pickle))
}

fn of_unwrapped(unwrapped: Unwrapped) -> PythonError {
    let tree = match unwrapped {
        Unwrapped::Tree(tree) => tree,
        Unwrapped::Unreadable(reason) => return PythonError::unknown(reason),
    };
    let root = tree.root();
    if let Some(text) = root.as_str() {
        return PythonError::new("Exception", text);
    }
    Reader { path: HashSet::new(), left: MAX_CHAIN, values: MAX_VALUES }
        .exception(root)
        .unwrap_or_else(|| PythonError::unknown(format!("{root:?} where an exception belongs")))
}

pub(super) fn traceback(payload: &Payload) -> Option<Vec<TraceFrame>> {
    frames_of(unwrap_payload(payload))
}

pub(super) fn pickled_traceback(pickle: Bytes) -> Option<Vec<TraceFrame>> {
    frames_of(unwrap_bytes(pickle))
}

fn frames_of(unwrapped: Unwrapped) -> Option<Vec<TraceFrame>> {
    let Unwrapped::Tree(tree) = unwrapped else { return None };
    let root = tree.root();
    let frames = match root.as_str() {
        Some(text) => text::frames(text),
        None => frames(root),
    };
    (!frames.is_empty()).then_some(frames)
}

struct Reader {
    /// Exceptions that are being read: one of them inside of itself is a cycle.
    path: HashSet<NodeId>,
    left: usize,
    /// Values inside of arguments that may still be copied.
    values: usize,
}

/// What an exception consists of, whichever way it was pickled.
struct Parts<'t> {
    class: View<'t>,
    args: Vec<View<'t>>,
    /// Dicts of what the instance has.
    attributes: Vec<View<'t>>,
    cause: Option<View<'t>>,
    traceback: Option<View<'t>>,
    context: Option<View<'t>>,
    suppress_context: bool,
    notes: Option<View<'t>>,
}

fn parts<'t>(view: View<'t>) -> Option<Parts<'t>> {
    let object = view.object()?;
    let item = |index: usize| object.args().item(index).filter(|item| !item.is_none());
    let maker = match object.callable().as_global() {
        Some(("tblib.pickling_support", maker)) => maker,
        _ => "",
    };
    let tail = |class, args, attributes: Vec<View<'t>>| {
        let noted = attributes.first().and_then(|attributes| attributes.get("__notes__"));
        Parts {
            class,
            args,
            attributes,
            cause: item(2),
            traceback: item(3),
            context: item(4),
            suppress_context: item(5).and_then(View::as_bool).unwrap_or(false),
            // Older releases of tblib know of no notes, but they are attributes, too.
            notes: item(6).or(noted),
        }
    };
    let state = |state: Option<View<'t>>| {
        state.into_iter().filter(|state| state.kind() == Kind::Dict).collect::<Vec<_>>()
    };
    match maker {
        // (class, args, cause, traceback, context, suppress_context, notes); the state is what the class adds.
        "unpickle_exception" => {
            let class = item(0)?;
            Some(tail(class, item(1)?.items().collect(), state(object.state())))
        }
        // (class, attributes, cause, ..., notes, arguments of `__new__`)
        "unpickle_exception_with_attrs" => {
            let attributes = item(1)?;
            let args = match attributes.get("args") {
                Some(args) => args.items().collect(),
                None => item(7).map(|args| args.items().collect()).unwrap_or_default(),
            };
            Some(tail(item(0)?, args, attributes.get("__dict__").into_iter().chain([attributes]).collect()))
        }
        "unpickle_traceback" => None,
        _ => {
            let attributes = state(object.state());
            let notes = attributes.first().and_then(|attributes| attributes.get("__notes__"));
            Some(Parts {
                class: object.class(),
                args: object.arguments().collect(),
                attributes,
                cause: None,
                traceback: None,
                context: None,
                suppress_context: false,
                notes,
            })
        }
    }
}

/// Module and qualified name of a class, by name or by value.
fn class_name(view: View<'_>) -> Option<(String, String)> {
    let owned = |(module, name): (&str, &str)| (module.to_owned(), name.to_owned());
    if let Some(global) = view.as_global() {
        let (module, name) = owned(global);
        // Protocols before 3 use the names of Python 2.
        let module = match module.as_str() {
            "exceptions" | "__builtin__" => "builtins".to_owned(),
            _ => module,
        };
        return Some((module, name));
    }
    // A class that was pickled by value: a skeleton, and its attributes as a state.
    let maker = view.object()?;
    let (_, function) = maker.callable().as_global()?;
    if function != "_make_skeleton_class" {
        return None;
    }
    let name = maker.args().item(1)?.as_str()?;
    let attributes = [maker.args().item(3), maker.state().and_then(|state| state.item(0)), maker.state()];
    let attribute = |name: &str| {
        attributes
            .iter()
            .flatten()
            .filter(|of| of.len() <= 10_000)
            .find_map(|attributes| attributes.get(name))
            .and_then(View::as_str)
    };
    let module = attribute("__module__").unwrap_or("__main__");
    let name = attribute("__qualname__").unwrap_or(name);
    Some((module.to_owned(), name.to_owned()))
}

impl Reader {
    /// An argument as a value; one that is too large or refers to itself only as its kind.
    fn argument(&mut self, view: View<'_>) -> Python {
        let value = match self.values {
            0 => None,
            _ => Python::from_view(view).ok(),
        };
        let value = value.unwrap_or_else(|| Python::Str(format!("<{}>", view.kind().name())));
        self.values = self.values.saturating_sub(count_values(&value));
        value
    }

    fn exception(&mut self, view: View<'_>) -> Option<PythonError> {
        self.left = self.left.checked_sub(1)?;
        if !self.path.insert(view.id()) {
            return None;
        }
        let error = parts(view).and_then(|parts| self.of_parts(parts));
        self.path.remove(&view.id());
        error
    }

    fn of_parts(&mut self, parts: Parts<'_>) -> Option<PythonError> {
        let (module, class) = class_name(parts.class)?;
        // (message, exceptions); the class may be derived from that of groups.
        let exceptions = match parts.args.get(1) {
            Some(inner) if class.ends_with("Group") => {
                inner.items().map_while(|inner| self.exception(inner)).collect()
            }
            _ => Vec::new(),
        };
        let args: Vec<_> = parts.args.iter().map(|arg| self.argument(*arg)).collect();
        let attributes: Vec<(String, Python)> = parts
            .attributes
            .iter()
            .flat_map(|attributes| attributes.pairs().take(MAX_ATTRIBUTES))
            .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), self.argument(value))))
            .collect();
        let notes = parts.notes.map(|notes| {
            notes
                .items()
                .map(|note| note.as_str().map_or_else(|| format!("{note:?}"), str::to_owned))
                .collect()
        });
        let attribute = |name: &str| attributes.iter().find(|(of, _)| of == name).map(|(_, value)| value);
        Some(PythonError {
            message: text::message(&module, &class, &args, &attribute),
            module,
            class,
            args,
            notes: notes.unwrap_or_default(),
            traceback: parts.traceback.map(frames).unwrap_or_default(),
            cause: parts.cause.and_then(|cause| self.exception(cause)).map(Box::new),
            context: parts.context.and_then(|context| self.exception(context)).map(Box::new),
            exceptions,
            suppress_context: parts.suppress_context,
            opaque: false,
        })
    }
}

fn state_of(view: Option<View<'_>>) -> Option<View<'_>> {
    view?.object()?.state()
}

/// The frames of a pickled traceback: a chain of objects, each with the next inner one.
fn frames(view: View<'_>) -> Vec<TraceFrame> {
    let mut frames = Vec::new();
    let mut next = Some(view);
    while let Some(view) = next.filter(|view| !view.is_none() && frames.len() < MAX_FRAMES) {
        let Some(object) = view.object() else { break };
        let (frame, line, inner) = match object.state().filter(|state| state.kind() == Kind::Dict) {
            Some(state) => (state.get("tb_frame"), state.get("tb_lineno"), state.get("tb_next")),
            None => {
                let args = object.args();
                (args.item(0), args.item(1), args.item(2))
            }
        };
        let code = state_of(state_of(frame).and_then(|frame| frame.get("f_code")));
        let text = |name: &str| code.and_then(|code| code.get(name)).and_then(View::as_str).unwrap_or("?");
        frames.push(TraceFrame {
            file: text("co_filename").to_owned(),
            line: line.and_then(View::as_u64).and_then(|line| u32::try_from(line).ok()).unwrap_or_default(),
            function: text("co_name").to_owned(),
        });
        next = inner;
    }
    frames
}
