//! Printing: data on stdout, words on stderr.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use crate::progress;
pub(crate) use crate::progress::spinner;

/// Prints one JSON value as one line of data.
pub(crate) fn line(value: &Json) {
    data(&value.to_string());
}

/// Nobody reads the data any more.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Prints a line of data. A reader that has gone away is no error, but an end to what has none: see [`is_read`].
pub(crate) fn data(text: &str) {
    progress::hide();
    let mut out = anstream::stdout();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        UNREAD.store(true, Ordering::Relaxed);
    }
}

/// Whether somebody may still read the data: `dask-rs events x --follow | head` is to end.
pub(crate) fn is_read() -> bool {
    !UNREAD.load(Ordering::Relaxed)
}

/// Says something on stderr, unless asked to be quiet.
pub(crate) fn say(quiet: bool, text: &str) {
    if !quiet {
        words(text);
    }
}

/// Says something on stderr in any case. A reader or a terminal that has gone away is no error.
pub(crate) fn words(text: &str) {
    progress::hide();
    drop(writeln!(anstream::stderr(), "{text}"));
}

/// Asks on stderr: the answer is typed on the same line.
pub(crate) fn ask(question: &str) {
    progress::hide();
    let mut err = anstream::stderr();
    drop(write!(err, "{question}"));
    drop(err.flush());
}

/// A duration for people: three significant digits.
pub(crate) fn pretty(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.0} us", seconds * 1e6)
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let count = count as f64;
    for (unit, size) in [("GiB", 1024f64.powi(3)), ("MiB", 1024f64.powi(2)), ("KiB", 1024.0)] {
        if count >= size {
            return format!("{:.1} {unit}", count / size);
        }
    }
    format!("{count:.0} B")
}

/// A duration in nanoseconds for JSON.
pub(crate) fn nanos(duration: Duration) -> Json {
    Json::from(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// A table without lines, as column headers and rows.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    table.add_rows(rows);
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
