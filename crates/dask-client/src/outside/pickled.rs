//! Pickles of calls: of what they are made of, and of what they return where they are unpickled.

use dask_pickle::{CallTemplate, Callable, FillHoles, Pickler, Template};

use crate::error::{Error, Result};

/// Calls with keyword arguments, which pickle's own opcodes cannot.
const CALL: &str = "make(*args, **kwargs)";

/// Pushes the callable.
fn write_callable(out: &mut Pickler, callable: &Callable) {
    match callable {
        Callable::Name { module, qualname } => {
            out.global(module, qualname);
        }
        // A pickle inside a pickle, since the two number their memos alike.
        Callable::Pickled(pickle) => {
            out.global("pickle", "loads").bytes(pickle).tuple1().reduce();
        }
    }
}

/// A pickle of what a callable returns for these arguments, called where it is unpickled.
pub(crate) fn pickle_result(call: &CallTemplate) -> Result<Vec<u8>> {
    let mut out = Pickler::new();
    if call.kwargs.is_empty() {
        write_callable(&mut out, &call.callable);
        write_args(&mut out, &call.args)?;
        out.reduce();
    } else {
        out.global("builtins", "eval").str(CALL).empty_dict().mark().str("make");
        write_callable(&mut out, &call.callable);
        out.str("args");
        write_args(&mut out, &call.args)?;
        out.str("kwargs");
        write_kwargs(&mut out, &call.kwargs)?;
        out.setitems_from_mark().tuple2().reduce();
    }
    Ok(out.finish())
}

/// The pickles of a call's function, positional and keyword arguments, as the ops that run functions take them.
pub(crate) fn pickle_parts(call: &CallTemplate) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let function = match &call.callable {
        Callable::Name { .. } => {
            let mut out = Pickler::new();
            write_callable(&mut out, &call.callable);
            out.finish()
        }
        Callable::Pickled(pickle) => pickle.to_vec(),
    };
    let mut args = Pickler::new();
    write_args(&mut args, &call.args)?;
    let mut kwargs = Pickler::new();
    write_kwargs(&mut kwargs, &call.kwargs)?;
    Ok((function, args.finish(), kwargs.finish()))
}

fn write_args(out: &mut Pickler, args: &[Template]) -> Result<()> {
    out.mark();
    for arg in args {
        arg.write_into(out, &mut OnlyValues).map_err(Error::encode)?;
    }
    out.tuple_from_mark();
    Ok(())
}

fn write_kwargs(out: &mut Pickler, kwargs: &[(String, Template)]) -> Result<()> {
    out.empty_dict().mark();
    for (name, value) in kwargs {
        out.str(name);
        value.write_into(out, &mut OnlyValues).map_err(Error::encode)?;
    }
    out.setitems_from_mark();
    Ok(())
}

/// Outside of tasks nobody puts results in place of futures.
struct OnlyValues;

impl FillHoles for OnlyValues {
    fn reference(&mut self, _: &mut Pickler, key: &str) -> Result<(), dask_pickle::Error> {
        Err(dask_pickle::Error::Reference { key: dask_wire::Key::from_reference(key).to_string() })
    }

    fn call(&mut self, _: &mut Pickler, call: &CallTemplate) -> Result<(), dask_pickle::Error> {
        Err(dask_pickle::Error::Call { callable: call.callable.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unpickles with a real Python and gives the `repr` of the value; `None` without a Python.
    fn unpickle(pickle: &[u8]) -> Option<String> {
        let hex: String = pickle.iter().map(|byte| format!("{byte:02x}")).collect();
        let code = format!("import pickle; print(repr(pickle.loads(bytes.fromhex('{hex}'))))");
        let output = std::process::Command::new("python3").args(["-c", &code]).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn call(callable: Callable, args: Vec<Template>) -> CallTemplate {
        CallTemplate { callable, args, kwargs: Vec::new() }
    }

    fn named(qualname: &str) -> Callable {
        Callable::Name { module: "builtins".to_owned(), qualname: qualname.to_owned() }
    }

    #[test]
    fn calls_of_names_and_of_source_do_what_they_say() {
        let plain = call(named("sorted"), vec![Template::of(&[2, 3, 1]).unwrap()]);
        let mut reversed = plain.clone();
        reversed.kwargs.push(("reverse".to_owned(), Template::of(&true).unwrap()));
        let text = "import math\ndef area(r, n=0):\n    return round(math.pi * r * r, n)\n";
        let pickled = Callable::Pickled(dask_wire::source::object(text, "area"));
        let mut source = call(pickled, vec![Template::of(&2).unwrap()]);
        source.kwargs.push(("n".to_owned(), Template::of(&2).unwrap()));
        for (call, expected) in [(plain, "[1, 2, 3]"), (reversed, "[3, 2, 1]"), (source, "12.57")] {
            if let Some(found) = unpickle(&pickle_result(&call).unwrap()) {
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn futures_are_refused() {
        let error = pickle_result(&call(named("print"), vec![Template::of_reference("x")])).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Encode);
    }
}
