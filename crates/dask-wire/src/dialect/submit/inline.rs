//! Calls that Dask's own tasks cannot express on every release: with references or calls anywhere inside a dict, a
//! tuple or an object.
//!
//! Such a call travels as one opaque template, a pickle in which a persistent id stands for each reference and a
//! `REDUCE` for each nested call, beside the plain list of what it refers to. The worker unpickles it when the task runs.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use dask_pickle::{CallTemplate, Callable, Error, FillHoles, Pickler, PyBytes, Template};

use crate::source;

/// The call itself, or one that does the same and has references only where every release finds them.
pub(super) fn simplified(call: &CallTemplate) -> Result<Cow<'_, CallTemplate>, Error> {
    if is_simple(call) {
        return Ok(Cow::Borrowed(call));
    }
    let mut inline = Inline::default();
    let mut out = Pickler::new();
    inline.callable(&mut out, &call.callable);
    inline.arguments(&mut out, call)?;
    out.tuple3();
    let mut args = vec![Template::of(&PyBytes(out.finish().into()))?];
    args.extend(inline.keys.iter().map(|key| Template::of_reference(key)));
    Ok(Cow::Owned(CallTemplate { callable: Callable::Pickled(source::runner()), args, kwargs: Vec::new() }))
}

fn is_simple(call: &CallTemplate) -> bool {
    let mut values = call.args.iter().chain(call.kwargs.iter().map(|(_, value)| value));
    values.all(|value| {
        value.references().next().is_none()
            || value.as_reference().is_some()
            || value.is_list_of_references()
            || value.as_call().is_some_and(is_simple)
    })
}

/// A value without references as a pickle of its own; calls in it run as part of the unpickling.
pub(super) fn pickle_of(value: &Template) -> Result<Bytes, Error> {
    let mut out = Pickler::new();
    value.write_into(&mut out, &mut Inline::default())?;
    Ok(out.finish().into())
}

/// Writes nested calls as `REDUCE`s, so that whoever unpickles them gets the results, and references as persistent ids.
#[derive(Default)]
struct Inline {
    /// The keys by persistent id.
    keys: Vec<Box<str>>,
    ids: HashMap<Box<str>, i64>,
}

impl Inline {
    fn callable(&self, out: &mut Pickler, callable: &Callable) {
        match callable {
            Callable::Name { module, qualname } => out.global(module, qualname),
            Callable::Pickled(pickle) => out.global("_pickle", "loads").bytes_memo(pickle).tuple1().reduce(),
        };
    }

    /// Pushes the tuple and the dict of a call's arguments.
    fn arguments(&mut self, out: &mut Pickler, call: &CallTemplate) -> Result<(), Error> {
        out.mark();
        call.args.iter().try_for_each(|arg| arg.write_into(out, self))?;
        out.tuple_from_mark().empty_dict().mark();
        for (name, value) in &call.kwargs {
            out.str_memo(name);
            value.write_into(out, self)?;
        }
        out.setitems_from_mark();
        Ok(())
    }
}

impl FillHoles for Inline {
    fn reference(&mut self, out: &mut Pickler, key: &str) -> Result<(), Error> {
        let id = match self.ids.get(key) {
            Some(id) => *id,
            None => {
                let id = i64::try_from(self.keys.len()).unwrap_or(i64::MAX);
                self.ids.insert(key.into(), id);
                self.keys.push(key.into());
                id
            }
        };
        out.int(id).persistent();
        Ok(())
    }

    fn call(&mut self, out: &mut Pickler, call: &CallTemplate) -> Result<(), Error> {
        if call.kwargs.is_empty() {
            self.callable(out, &call.callable);
            out.mark();
            call.args.iter().try_for_each(|arg| arg.write_into(out, self))?;
            out.tuple_from_mark().reduce();
        } else {
            out.global("dask.utils", "apply").mark();
            self.callable(out, &call.callable);
            self.arguments(out, call)?;
            out.tuple_from_mark().reduce();
        }
        Ok(())
    }
}
