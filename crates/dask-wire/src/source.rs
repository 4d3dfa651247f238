//! Python objects made from source text where they are unpickled.
//!
//! Nothing has to be installed on the cluster for that: the pickles made here bring a small module along (`source.py`),
//! which whoever unpickles the first of them puts into its `sys.modules`. It keeps what it has compiled, so a source
//! is compiled once per process (again only when 256 others have been used since), and gives its text to `linecache`, so
//! that tracebacks show it.

use std::sync::LazyLock;

use bytes::Bytes;
use dask_pickle::Pickler;

const MODULE: &str = include_str!("source.py");

/// Finds the module `n` or makes it of the text `s`. Of two threads that make it at once, both get the first's.
const FIND_OR_MAKE: &str = "(lambda m:m.get(n)or(lambda t:exec(compile(s,n,'exec'),t.__dict__)or m.setdefault(n,t))\
                            (type(m['sys'])(n)))(__import__('sys').modules)";

/// Differs whenever the module does, so that clients of different versions do not meet in one.
static MODULE_NAME: LazyLock<String> = LazyLock::new(|| format!("_dask_rs_source_{:016x}", hash(MODULE)));

/// FNV-1a: the same in every build, which std's hashers do not promise.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Pushes a function of the module.
fn function(out: &mut Pickler, name: &str) {
    out.global("builtins", "getattr").global("builtins", "eval").str(FIND_OR_MAKE);
    out.empty_dict().mark().str("s").str(MODULE).str("n").str(&MODULE_NAME).setitems_from_mark();
    out.tuple2().reduce().str(name).tuple2().reduce();
}

fn load(source: &str, params: Option<&[&str]>, name: &str) -> Bytes {
    let mut out = Pickler::new();
    function(&mut out, "load");
    out.mark().str(source).str(&file_name(source));
    match params {
        None => out.none(),
        Some(params) => {
            out.mark();
            params.iter().for_each(|name| {
                out.str(name);
            });
            out.tuple_from_mark()
        }
    };
    out.str(name).tuple_from_mark().reduce();
    out.finish().into()
}

/// The file name by which tracebacks show a source.
pub fn file_name(source: &str) -> String {
    format!("<source {:016x}>", hash(source))
}

/// A pickle of what a module's source defines under this name (which may be dotted): a function, a class, a value.
///
/// Unpickling runs the source, once per process; a syntax error or a name that it does not define is raised there.
pub fn object(source: &str, name: &str) -> Bytes {
    load(source, None, name)
}

/// A pickle of a function with this body, which may `return`. It takes the named parameters as keyword arguments, and
/// positional arguments as `args` (unless a parameter is called so).
pub fn body(source: &str, params: &[&str]) -> Bytes {
    let mut names = params.to_vec();
    names.sort_unstable();
    names.dedup();
    names.insert(0, if names.contains(&"args") { "*" } else { "*args" });
    load(source, Some(&names), "python")
}

/// A pickle of `run(template, *values)`, which unpickles a template, with the values for its persistent ids 0, 1, …, and
/// calls what it holds: `(function, args, kwargs)`.
pub(crate) fn runner() -> Bytes {
    static RUNNER: LazyLock<Bytes> = LazyLock::new(|| {
        let mut out = Pickler::new();
        function(&mut out, "run");
        out.finish().into()
    });
    RUNNER.clone()
}
