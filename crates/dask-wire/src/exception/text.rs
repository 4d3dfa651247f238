//! What exceptions say, and what can be read out of such text.

use dask_pickle::Value as Python;

use super::repr::{repr, str_of, tuple};
use super::{PythonError, TraceFrame};

/// What `str` gives for an exception.
pub(super) fn message<'a>(
    module: &str,
    class: &str,
    args: &'a [Python],
    attribute: &dyn Fn(&str) -> Option<&'a Python>,
) -> String {
    let special = if module == "builtins" || class.ends_with("ExceptionGroup") {
        builtin(class, args, attribute)
    } else if module == "distributed" || module.starts_with("distributed.") {
        distributed(class, args, attribute)
    } else {
        standard(module, class, args, attribute)
    };
    special.unwrap_or_else(|| plain(args))
}

/// `BaseException.__str__`
fn plain(args: &[Python]) -> String {
    match args {
        [] => String::new(),
        [one] => str_of(one),
        args => tuple(args),
    }
}

/// Classes of Python's own whose `str` is not that of `BaseException`.
fn builtin<'a>(
    class: &str,
    args: &'a [Python],
    attribute: &dyn Fn(&str) -> Option<&'a Python>,
) -> Option<String> {
    match class {
        "KeyError" => match args {
            [key] => Some(repr(key)),
            _ => None,
        },
        class if is_os_error("builtins", class) => os_error(args, attribute),
        "UnicodeDecodeError" => {
            let [encoding, Python::Bytes(bytes), start, end, reason, ..] = args else { return None };
            let (start, end) = (start.as_i64()?, end.as_i64()?);
            let (encoding, reason) = (str_of(encoding), str_of(reason));
            let byte = usize::try_from(start).ok().and_then(|at| bytes.get(at));
            Some(match byte {
                Some(byte) if end.checked_sub(1) == Some(start) => {
                    format!("'{encoding}' codec can't decode byte 0x{byte:02x} in position {start}: {reason}")
                }
                _ => {
                    let last = end.saturating_sub(1);
                    format!("'{encoding}' codec can't decode bytes in position {start}-{last}: {reason}")
                }
            })
        }
        "UnicodeEncodeError" => {
            let [encoding, Python::Str(text), start, end, reason, ..] = args else { return None };
            let (start, end) = (start.as_i64()?, end.as_i64()?);
            let (encoding, reason) = (str_of(encoding), str_of(reason));
            let char = usize::try_from(start).ok().and_then(|at| text.chars().nth(at)).map(u32::from);
            Some(match char {
                Some(char) if end.checked_sub(1) == Some(start) => {
                    let char = match char {
                        0..=0xff => format!("\\x{char:02x}"),
                        0x100..=0xffff => format!("\\u{char:04x}"),
                        _ => format!("\\U{char:08x}"),
                    };
                    format!(
                        "'{encoding}' codec can't encode character '{char}' in position {start}: {reason}"
                    )
                }
                _ => {
                    let last = end.saturating_sub(1);
                    format!("'{encoding}' codec can't encode characters in position {start}-{last}: {reason}")
                }
            })
        }
        "SyntaxError" | "IndentationError" | "TabError" => {
            let [message, details, ..] = args else { return None };
            let details = details.items()?;
            let file = details.first()?.as_str().map(|path| path.rsplit('/').next().unwrap_or(path));
            let line = details.get(1)?.as_i64();
            let message = str_of(message);
            Some(match (file, line) {
                (Some(file), Some(line)) => format!("{message} ({file}, line {line})"),
                (Some(file), None) => format!("{message} ({file})"),
                (None, Some(line)) => format!("{message} (line {line})"),
                (None, None) => message,
            })
        }
        class if class.ends_with("ExceptionGroup") => {
            let [message, inner, ..] = args else { return None };
            let count = inner.items()?.len();
            let s = if count == 1 { "" } else { "s" };
            Some(format!("{} ({count} sub-exception{s})", str_of(message)))
        }
        "ImportError" | "ModuleNotFoundError" => args.first().map(str_of).filter(|_| args.len() == 1),
        _ => None,
    }
}

/// Classes of Python's standard library.
fn standard<'a>(
    module: &str,
    class: &str,
    args: &'a [Python],
    attribute: &dyn Fn(&str) -> Option<&'a Python>,
) -> Option<String> {
    match (module, class) {
        ("subprocess", "CalledProcessError") => {
            let code = attribute("returncode").or(args.first())?;
            let command = str_of(attribute("cmd").or(args.get(1))?);
            let Some(signal) = code.as_i64().filter(|code| *code < 0).map(i64::unsigned_abs) else {
                return Some(format!("Command '{command}' returned non-zero exit status {}.", str_of(code)));
            };
            let name = usize::try_from(signal).ok().and_then(|signal| SIGNALS.get(signal.checked_sub(1)?));
            Some(match name {
                Some(name) => format!("Command '{command}' died with <Signals.SIG{name}: {signal}>."),
                None => format!("Command '{command}' died with unknown signal {signal}."),
            })
        }
        ("subprocess", "TimeoutExpired") => {
            let command = str_of(attribute("cmd").or(args.first())?);
            let timeout = str_of(attribute("timeout").or(args.get(1))?);
            Some(format!("Command '{command}' timed out after {timeout} seconds"))
        }
        ("json.decoder", "JSONDecodeError") => {
            let [message, Python::Str(document), Python::Int(at)] = args else { return None };
            let before = document.chars().take(usize::try_from(*at).ok()?);
            let (line, column) = before.fold((1usize, 1usize), |(line, column), c| match c {
                '\n' => (line.saturating_add(1), 1),
                _ => (line, column.saturating_add(1)),
            });
            Some(format!("{}: line {line} column {column} (char {at})", str_of(message)))
        }
        ("ssl", _) => match args {
            [_, text @ Python::Str(_)] => Some(str_of(text)),
            _ => None,
        },
        _ if is_os_error(module, class) => os_error(args, attribute),
        _ => None,
    }
}

/// The signals of Linux, from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Python's own classes of errors of the system.
const OS_ERRORS: &[&str] = &[
    "OSError",
    "IOError",
    "EnvironmentError",
    "BlockingIOError",
    "ChildProcessError",
    "ConnectionError",
    "BrokenPipeError",
    "ConnectionAbortedError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "FileExistsError",
    "FileNotFoundError",
    "InterruptedError",
    "IsADirectoryError",
    "NotADirectoryError",
    "PermissionError",
    "ProcessLookupError",
    "TimeoutError",
];

/// Whether `str` of a class is that of errors of the system.
pub(super) fn is_os_error(module: &str, class: &str) -> bool {
    match module {
        "builtins" => OS_ERRORS.contains(&class),
        "socket" | "_socket" => matches!(class, "gaierror" | "herror" | "timeout" | "error"),
        "ssl" => true,
        _ => false,
    }
}

/// Errors of the system: `[Errno 2] No such file or directory: 'x'`.
fn os_error<'a>(args: &'a [Python], attribute: &dyn Fn(&str) -> Option<&'a Python>) -> Option<String> {
    let (number, text, files) = match args {
        [number, text] => (number, text, &[][..]),
        [number, text, files @ ..] if files.len() <= 3 => (number, text, files),
        _ => return None,
    };
    let said = format!("[Errno {}] {}", str_of(number), str_of(text));
    let file = files.first().or(attribute("filename")).filter(|file| **file != Python::None);
    // The second of them is an error number of Windows.
    let second = files.get(2).or(attribute("filename2")).filter(|file| **file != Python::None);
    Some(match (file, second) {
        (Some(file), Some(second)) => format!("{said}: {} -> {}", repr(file), repr(second)),
        (Some(file), None) => format!("{said}: {}", repr(file)),
        _ => said,
    })
}

/// Classes of Dask's own that say more than their arguments.
fn distributed<'a>(
    class: &str,
    args: &'a [Python],
    attribute: &dyn Fn(&str) -> Option<&'a Python>,
) -> Option<String> {
    match class {
        "KilledWorker" => {
            let task = args.first()?;
            let last = worker_address(args.get(1)?)?;
            let Some(allowed) = args.get(2).and_then(Python::as_i64) else {
                return Some(format!("({}, <WorkerState {}>)", repr(task), repr(&Python::Str(last))));
            };
            Some(format!(
                "Attempted to run task {} on {} different workers, but all those workers died while running it. The \
                 last worker that attempt to run the task was {last}. Inspecting worker logs is often a good next step \
                 to diagnose what went wrong. For more information see \
                 https://distributed.dask.org/en/stable/killed.html.",
                repr(task),
                allowed.saturating_add(1),
            ))
        }
        "FutureCancelledError" => {
            let key = attribute("key").or(args.first())?;
            let reason = attribute("reason").or(args.get(1)).filter(|reason| **reason != Python::None);
            let message = attribute("msg").or(args.get(2)).and_then(Python::as_str);
            let reason = reason.map_or_else(|| "unknown".to_owned(), str_of);
            let said = format!("{} cancelled for reason: {reason}.", str_of(key));
            Some(match message.filter(|message| !message.is_empty()) {
                Some(message) => format!("{said}\n{message}"),
                None => said,
            })
        }
        "NoWorkerError" | "NoValidWorkerError" => {
            let seconds = match args.last()? {
                Python::Float(seconds) => *seconds,
                #[expect(clippy::cast_precision_loss, reason = "seconds")]
                Python::Int(seconds) => *seconds as f64,
                _ => return None,
            };
            let what = match class {
                "NoWorkerError" => "worker to be available",
                _ => "valid worker matching all restrictions",
            };
            let task = repr(args.first()?);
            Some(format!(
                "Attempted to run task {task} but timed out after {seconds:.2} s waiting for a {what}."
            ))
        }
        "WorkerStartTimeoutError" => match args {
            [available, expected, timeout] => Some(format!(
                "Only {}/{} workers arrived after {}",
                str_of(available),
                str_of(expected),
                str_of(timeout)
            )),
            _ => None,
        },
        _ => None,
    }
}

/// A task's key as text.
pub(super) fn key(value: &Python) -> String {
    str_of(value)
}

/// The address of a pickled `WorkerState`, or of a worker given by address.
pub(super) fn worker_address(value: &Python) -> Option<String> {
    match value {
        Python::Str(address) => Some(address.clone()),
        Python::Object(object) if object.class.ends_with(".WorkerState") => {
            let state = object.state.as_ref()?;
            // Attributes and slots come as a pair.
            let parts = match state {
                Python::Tuple(parts) => parts.as_slice(),
                state => std::slice::from_ref(state),
            };
            let named = ["address", "_address"];
            let address = parts.iter().find_map(|part| named.iter().find_map(|name| part.get(name)));
            match address {
                Some(address) => address.as_str().map(str::to_owned),
                None => object
                    .args
                    .items()?
                    .iter()
                    .find_map(|arg| arg.as_str().filter(|text| text.contains("://")).map(str::to_owned)),
            }
        }
        _ => None,
    }
}

/// The module of an import that failed, out of its message.
pub(super) fn module(error: &PythonError) -> Option<String> {
    let quoted = |after: &str| {
        let (_, rest) = error.message.split_once(after)?;
        let (name, _) = rest.split_once('\'')?;
        Some(name.to_owned())
    };
    quoted("No module named '").or_else(|| quoted(" from '"))
}

/// An exception out of its `repr`: `ValueError('nope')`.
pub(super) fn of_repr(text: &str) -> PythonError {
    let mut error = PythonError::new("Exception", text);
    error.opaque = true;
    if let Some((class, args)) = text.split_once('(')
        && let Some(args) = args.strip_suffix(')')
        && !class.is_empty()
        && class.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
    {
        // The module is not part of it.
        class.clone_into(&mut error.class);
        error.module = if is_builtin(class) { "builtins" } else { "" }.to_owned();
        error.message = unquote(args).filter(|_| class != "KeyError").unwrap_or_else(|| args.to_owned());
        error.args = Vec::new();
    }
    error
}

fn is_builtin(class: &str) -> bool {
    const OWN: &[&str] = &[
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "BaseException",
        "EOFError",
        "Exception",
        "FileNotFoundError",
        "FloatingPointError",
        "ImportError",
        "IndexError",
        "KeyError",
        "KeyboardInterrupt",
        "LookupError",
        "MemoryError",
        "ModuleNotFoundError",
        "NameError",
        "NotImplementedError",
        "OSError",
        "OverflowError",
        "PermissionError",
        "RecursionError",
        "RuntimeError",
        "StopIteration",
        "SyntaxError",
        "SystemError",
        "SystemExit",
        "TimeoutError",
        "TypeError",
        "UnboundLocalError",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "ValueError",
        "ZeroDivisionError",
    ];
    OWN.contains(&class)
}

/// The text of one Python string literal; `None` if it is more or less than that.
fn unquote(literal: &str) -> Option<String> {
    // Exceptions of one argument ended in a comma before Python 3.7.
    let literal = literal.strip_suffix(',').unwrap_or(literal);
    let quote = literal.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == quote {
            return None;
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let digits = match chars.next()? {
            'n' => {
                out.push('\n');
                continue;
            }
            'r' => {
                out.push('\r');
                continue;
            }
            't' => {
                out.push('\t');
                continue;
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            other => {
                out.push(other);
                continue;
            }
        };
        let hex: String = chars.by_ref().take(digits).collect();
        out.push(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32)?);
    }
    Some(out)
}

/// The frames of a printed traceback.
pub(super) fn frames(text: &str) -> Vec<TraceFrame> {
    text.lines()
        .filter_map(|line| {
            let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
            let (number, function) = rest.split_once(", in ").unwrap_or((rest, "?"));
            Some(TraceFrame {
                file: file.to_owned(),
                line: number.trim().parse().ok()?,
                function: function.to_owned(),
            })
        })
        .collect()
}
