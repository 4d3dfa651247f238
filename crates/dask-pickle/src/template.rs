//! One pickled object with holes: made where the value lives, placed where the Dask release is known.

use std::cell::RefCell;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::magic;
use crate::op;
use crate::ser::{DEPTH, Ser};
use crate::{Error, Pickler};

/// What stands at a hole of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hole {
    /// An importable object, passed by name.
    Global {
        /// Its module.
        module: Box<str>,
        /// Its name in the module, possibly dotted.
        qualname: Box<str>,
    },
    /// The result of another task, by key.
    Reference(Box<str>),
    /// A call that a worker evaluates in place.
    Call(Box<CallTemplate>),
}

/// What a [`CallTemplate`] calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Callable {
    /// An importable object.
    Name {
        /// Its module.
        module: String,
        /// Its name in the module, possibly dotted.
        qualname: String,
    },
    /// A pickle that yields the callable.
    Pickled(Bytes),
}

/// A call whose arguments are templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTemplate {
    /// What is called.
    pub callable: Callable,
    /// Positional arguments.
    pub args: Vec<Template>,
    /// Keyword arguments.
    pub kwargs: Vec<(String, Template)>,
}

/// Writes what only the caller knows how to write: references and nested calls.
pub trait FillHoles {
    /// Pushes whatever stands for the result of task `key`.
    fn reference(&mut self, out: &mut Pickler, key: &str) -> Result<(), Error>;
    /// Pushes whatever stands for a nested call.
    fn call(&mut self, out: &mut Pickler, call: &CallTemplate) -> Result<(), Error>;
}

/// One object already pickled, except for its holes.
///
/// Its code uses no memo, so templates can be placed into any pickle in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    pub(crate) code: Vec<u8>,
    holes: Vec<(usize, Hole)>,
    /// Levels of containers, nested calls included.
    pub(crate) depth: usize,
    pub(crate) text: bool,
}

impl Template {
    /// Pickles `value`, leaving holes for the names, references and calls in it.
    ///
    /// A value nested deeper than 200 levels is an error; see [`Template::with_depth`].
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Self::with_depth(value, DEPTH)
    }

    /// As [`Template::of`] with another depth limit. Every level takes some stack of the calling thread.
    pub fn with_depth<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Self, Error> {
        let mut template = Template::default();
        value.serialize(Ser::new(&mut template, limit))?;
        Ok(template)
    }

    /// The template of one call.
    pub fn of_call(call: CallTemplate) -> Result<Self, Error> {
        let mut template = Template::default();
        template.add_call(call, 0, DEPTH)?;
        Ok(template)
    }

    /// The template of one reference.
    pub fn of_reference(key: &str) -> Self {
        let mut template = Template::default();
        template.hole(Hole::Reference(key.into()));
        template
    }

    /// The holes, in the order in which they stand.
    pub fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.holes.iter().map(|(_, hole)| hole)
    }

    /// Whether it can be pickled on its own: no reference and no nested call.
    pub fn is_plain(&self) -> bool {
        self.holes().all(|hole| matches!(hole, Hole::Global { .. }))
    }

    /// Whether it contains any literal str, which could look like a task's key. Nested calls are not searched:
    /// their arguments answer for themselves.
    pub fn has_text(&self) -> bool {
        self.text
    }

    /// Whether it passes any importable object by name. Nested calls are not searched.
    pub fn has_globals(&self) -> bool {
        self.holes().any(|hole| matches!(hole, Hole::Global { .. }))
    }

    /// Whether it is exactly one None, bool, int, float or bytes.
    pub fn is_scalar(&self) -> bool {
        self.holes.is_empty()
            && op::single(&self.code)
                .is_some_and(|(op, _)| !matches!(op, op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8))
    }

    /// The text, if it is exactly one str.
    pub fn as_str(&self) -> Option<&str> {
        match op::single(&self.code)? {
            (op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8, text) if self.holes.is_empty() => {
                std::str::from_utf8(text).ok()
            }
            _ => None,
        }
    }

    /// The key, if it is exactly one reference.
    pub fn as_reference(&self) -> Option<&str> {
        match self.holes.as_slice() {
            [(_, Hole::Reference(key))] if self.code.is_empty() => Some(key),
            _ => None,
        }
    }

    /// The call, if it is exactly one nested call.
    pub fn as_call(&self) -> Option<&CallTemplate> {
        match self.holes.as_slice() {
            [(_, Hole::Call(call))] if self.code.is_empty() => Some(call),
            _ => None,
        }
    }

    /// Whether it is exactly one list, not empty, of nothing but references.
    pub fn is_list_of_references(&self) -> bool {
        self.code == [op::EMPTY_LIST, op::MARK, op::APPENDS]
            && self.holes.iter().all(|(offset, hole)| *offset == 2 && matches!(hole, Hole::Reference(_)))
    }

    /// The keys of all references, through nested calls too. A key used twice comes twice.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let mut pending: Vec<&Hole> = self.holes().collect();
        pending.reverse();
        std::iter::from_fn(move || {
            loop {
                match pending.pop()? {
                    Hole::Reference(key) => return Some(&**key),
                    Hole::Global { .. } => {}
                    Hole::Call(call) => {
                        let from = pending.len();
                        let templates = call.args.iter().chain(call.kwargs.iter().map(|(_, value)| value));
                        pending.extend(templates.flat_map(Template::holes));
                        if let Some(added) = pending.get_mut(from..) {
                            added.reverse();
                        }
                    }
                }
            }
        })
    }

    /// Every literal text, dict keys included. Nested calls are not searched: their arguments answer for themselves.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        op::texts(if self.text { &self.code } else { &[] })
    }

    /// Bytes of code, holes not counted.
    pub fn code_len(&self) -> usize {
        self.code.len()
    }

    /// Places the object into a pickle: afterwards it is on top of the stack.
    pub fn write_into(&self, out: &mut Pickler, fill: &mut dyn FillHoles) -> Result<(), Error> {
        let mut from = 0;
        for (offset, hole) in &self.holes {
            out.fragment(self.code.get(from..*offset).unwrap_or_default());
            from = *offset;
            match hole {
                Hole::Global { module, qualname } => {
                    out.global(module, qualname);
                }
                Hole::Reference(key) => fill.reference(out, key)?,
                Hole::Call(call) => fill.call(out, call)?,
            }
        }
        out.fragment(self.code.get(from..).unwrap_or_default());
        Ok(())
    }

    /// The object as a pickle of its own. An error if it has a reference or a nested call.
    pub fn to_pickle(&self) -> Result<Vec<u8>, Error> {
        struct Refuse;
        impl FillHoles for Refuse {
            fn reference(&mut self, _: &mut Pickler, key: &str) -> Result<(), Error> {
                Err(Error::Reference { key: key.to_owned() })
            }
            fn call(&mut self, _: &mut Pickler, call: &CallTemplate) -> Result<(), Error> {
                Err(Error::Call { callable: call.callable.to_string() })
            }
        }
        let mut out = Pickler::new();
        self.write_into(&mut out, &mut Refuse)?;
        Ok(out.finish())
    }

    pub(crate) fn hole(&mut self, hole: Hole) {
        self.holes.push((self.code.len(), hole));
    }

    pub(crate) fn reached(&mut self, depth: usize, limit: usize) -> Result<(), Error> {
        if depth > limit {
            return Err(Error::Depth { limit });
        }
        self.depth = self.depth.max(depth);
        Ok(())
    }

    pub(crate) fn add(&mut self, other: &Template, level: usize, limit: usize) -> Result<(), Error> {
        self.reached(level.saturating_add(other.depth), limit)?;
        let base = self.code.len();
        self.code.extend_from_slice(&other.code);
        self.holes.extend(other.holes.iter().map(|(offset, hole)| (offset + base, hole.clone())));
        self.text |= other.text;
        Ok(())
    }

    fn add_call(&mut self, call: CallTemplate, level: usize, limit: usize) -> Result<(), Error> {
        let inner = call.args.iter().chain(call.kwargs.iter().map(|(_, value)| value));
        let depth = inner.map(|value| value.depth).max().unwrap_or(0);
        self.reached(level.saturating_add(depth).saturating_add(1), limit)?;
        self.hole(Hole::Call(Box::new(call)));
        Ok(())
    }
}

impl std::fmt::Display for Callable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Callable::Name { module, qualname } => write!(f, "{module}.{qualname}"),
            Callable::Pickled(pickle) => write!(f, "a pickled callable of {} bytes", pickle.len()),
        }
    }
}

/// A template being built, lent to the `Serialize` implementation of a template inside it: serde has no way to
/// pass code with holes through a [`Serializer`].
struct Lent {
    into: Template,
    level: usize,
    limit: usize,
    result: Result<(), Error>,
}

thread_local! {
    static LENT: RefCell<Option<Lent>> = const { RefCell::new(None) };
}

/// Lets `value`, announced as a template or a call, add itself to `into`.
pub(crate) fn embed<T: Serialize + ?Sized>(
    value: &T,
    into: &mut Template,
    level: usize,
    limit: usize,
) -> Result<(), Error> {
    let lent = Lent { into: std::mem::take(into), level, limit, result: Ok(()) };
    LENT.with(|slot| slot.replace(Some(lent)));
    let mut unused = Template::default();
    let outcome = value.serialize(Ser::new(&mut unused, 1));
    let Some(lent) = LENT.with(RefCell::take) else {
        return Err(Error::Message("a template changed hands".to_owned()));
    };
    *into = lent.into;
    outcome?;
    lent.result
}

/// Serializes by adding code to the template that is being built.
pub(crate) struct Embedded<F>(pub(crate) F);

impl<F: Fn(&mut Template, usize, usize) -> Result<(), Error>> Serialize for Embedded<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Taken out while it is in use: what is added may itself lend templates.
        let found = match LENT.with(RefCell::take) {
            Some(mut lent) => {
                lent.result = (self.0)(&mut lent.into, lent.level, lent.limit);
                LENT.with(|slot| slot.replace(Some(lent)));
                true
            }
            None => false,
        };
        if found {
            serializer.serialize_unit()
        } else {
            Err(serde::ser::Error::custom("a template or a call can only be written as a pickle"))
        }
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let add = |into: &mut Template, level, limit| into.add(self, level, limit);
        serializer.serialize_newtype_struct(magic::TEMPLATE, &Embedded(add))
    }
}

impl Serialize for CallTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let add = |into: &mut Template, level, limit| into.add_call(self.clone(), level, limit);
        serializer.serialize_newtype_struct(magic::TEMPLATE, &Embedded(add))
    }
}
