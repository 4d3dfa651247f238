//! Exceptions that are arguments of others.

use dask_pickle::Value as Python;

use super::text;

/// What one consists of, whichever way it was pickled.
pub(super) struct Inner<'a> {
    module: &'a str,
    qualname: &'a str,
    args: &'a [Python],
    /// Dicts of what the instance has.
    attributes: Vec<&'a Python>,
}

impl<'a> Inner<'a> {
    /// `None` if the value is no exception.
    pub(super) fn of(value: &'a Python) -> Option<Self> {
        let Python::Object(object) = value else { return None };
        let state = object.state.iter().filter(|state| matches!(state, Python::Dict(_)));
        let parts = object.args.items().unwrap_or_default();
        let (module, maker) = class(&object.callable)?;
        if module != "tblib.pickling_support" {
            let (args, attributes) = (parts, state.collect());
            return is_exception(module, maker).then_some(Self { module, qualname: maker, args, attributes });
        }
        // tblib's functions have the class and what it is made of among their own arguments.
        let (module, qualname) = class(parts.first()?)?;
        let second = parts.get(1)?;
        let (args, attributes) = match maker {
            "unpickle_exception" => (Some(second), state.collect()),
            "unpickle_exception_with_attrs" => (
                second.get("args").or(parts.get(7)),
                second.get("__dict__").into_iter().chain([second]).collect(),
            ),
            _ => return None,
        };
        let args = args.and_then(Python::items).unwrap_or_default();
        Some(Self { module, qualname, args, attributes })
    }

    /// The name that `repr` gives it.
    pub(super) fn name(&self) -> &'a str {
        self.qualname.rsplit('.').next().unwrap_or(self.qualname)
    }

    /// Its `args`.
    pub(super) fn args(&self) -> &'a [Python] {
        match self.args {
            // Errors of the system keep the names of files elsewhere.
            [number, text, _, ..] if text::is_os_error(self.module, self.qualname) => {
                self.args.get(..2).filter(|_| number.as_i64().is_some() && text.as_str().is_some())
            }
            _ => None,
        }
        .unwrap_or(self.args)
    }

    /// What `str` gives for it.
    pub(super) fn message(&self) -> String {
        let attribute = |name: &str| self.attributes.iter().find_map(|attributes| attributes.get(name));
        text::message(self.module, self.qualname, self.args, &attribute)
    }
}

fn qualname_of(value: &Python) -> &str {
    match value {
        Python::Global { qualname, .. } => qualname,
        _ => "",
    }
}

/// Module and name of a class, by name or by value.
fn class(value: &Python) -> Option<(&str, &str)> {
    match value {
        Python::Global { module, qualname } => Some((module, qualname)),
        // cloudpickle's skeleton: (metaclass, name, bases, attributes, ...).
        Python::Object(maker) if qualname_of(&maker.callable) == "_make_skeleton_class" => {
            let parts = maker.args.items()?;
            let module = parts.get(3).and_then(|attributes| attributes.get("__module__"));
            Some((module.and_then(Python::as_str).unwrap_or("__main__"), parts.get(1)?.as_str()?))
        }
        _ => None,
    }
}

/// Whether a class is an exception, as far as its name tells.
fn is_exception(module: &str, name: &str) -> bool {
    const ENDS: [&str; 8] =
        ["Error", "error", "Exception", "ExceptionGroup", "Warning", "Exit", "Interrupt", "StopIteration"];
    ENDS.iter().any(|end| name.ends_with(end)) || (module, name) == ("subprocess", "TimeoutExpired")
}
