//! Values as Python's `repr` and `str` show them.

use std::fmt::Write;

use dask_pickle::Value as Python;

use super::inner::Inner;
use super::plain::Plain;

/// Nesting that is shown.
const MAX_DEPTH: usize = 20;

/// Bytes after which no more is added.
const MAX_LEN: usize = 1 << 20;

pub(super) fn repr(value: &Python) -> String {
    let mut out = String::new();
    write_repr(&mut out, value, MAX_DEPTH);
    out
}

/// What `str(value)` gives.
pub(super) fn str_of(value: &Python) -> String {
    match value {
        Python::Str(text) => text.clone(),
        Python::Surrogates(text) => String::from_utf8_lossy(text).into_owned(),
        Python::Object(object) => match (Inner::of(value), Plain::of(object)) {
            (Some(inner), _) => inner.message(),
            (None, Some(plain)) => plain.str.unwrap_or(plain.repr),
            (None, None) => repr(value),
        },
        value => repr(value),
    }
}

/// What `repr` gives for a tuple of these.
pub(super) fn tuple(items: &[Python]) -> String {
    let mut out = String::new();
    write_tuple(&mut out, items, MAX_DEPTH);
    out
}

fn write_all(out: &mut String, items: &[Python], room: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_repr(out, item, room);
    }
}

fn write_tuple(out: &mut String, items: &[Python], room: usize) {
    out.push('(');
    write_all(out, items, room);
    out.push_str(if items.len() == 1 { ",)" } else { ")" });
}

fn write_repr(out: &mut String, value: &Python, room: usize) {
    let Some(room) = room.checked_sub(1).filter(|_| out.len() < MAX_LEN) else {
        out.push_str("...");
        return;
    };
    match value {
        Python::None => out.push_str("None"),
        Python::Bool(true) => out.push_str("True"),
        Python::Bool(false) => out.push_str("False"),
        Python::Int(value) => _ = write!(out, "{value}"),
        Python::BigInt(value) if value.bits() > 16_384 => _ = write!(out, "<int of {} bits>", value.bits()),
        Python::BigInt(value) => _ = write!(out, "{value}"),
        Python::Float(value) => out.push_str(&float(*value)),
        Python::Str(text) => text_repr(out, text),
        Python::Surrogates(text) => text_repr(out, &String::from_utf8_lossy(text)),
        Python::Bytes(bytes) => bytes_repr(out, bytes),
        Python::ByteArray(bytes) => {
            out.push_str("bytearray(");
            bytes_repr(out, bytes);
            out.push(')');
        }
        Python::List(items) => {
            out.push('[');
            write_all(out, items, room);
            out.push(']');
        }
        Python::Tuple(items) => write_tuple(out, items, room),
        Python::Set(items) if items.is_empty() => out.push_str("set()"),
        Python::Set(items) => {
            out.push('{');
            write_all(out, items, room);
            out.push('}');
        }
        Python::FrozenSet(items) if items.is_empty() => out.push_str("frozenset()"),
        Python::FrozenSet(items) => {
            out.push_str("frozenset({");
            write_all(out, items, room);
            out.push_str("})");
        }
        Python::Dict(pairs) => {
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_repr(out, key, room);
                out.push_str(": ");
                write_repr(out, value, room);
            }
            out.push('}');
        }
        Python::Global { module, qualname } => {
            let class = qualname.rsplit('.').next().is_some_and(|name| name.starts_with(char::is_uppercase));
            let builtin = ["int", "float", "str", "bytes", "bool", "list", "tuple", "dict", "set", "object"];
            match module.as_str() {
                "builtins" if class || builtin.contains(&qualname.as_str()) => {
                    _ = write!(out, "<class '{qualname}'>");
                }
                "builtins" => _ = write!(out, "<built-in function {qualname}>"),
                _ if class => _ = write!(out, "<class '{module}.{qualname}'>"),
                _ => _ = write!(out, "<function {qualname}>"),
            }
        }
        Python::Object(object) => match super::text::worker_address(value) {
            Some(address) => {
                out.push_str("<WorkerState ");
                text_repr(out, &address);
                out.push('>');
            }
            None => {
                if let Some(inner) = Inner::of(value) {
                    out.push_str(inner.name());
                    out.push('(');
                    write_all(out, inner.args(), room);
                    out.push(')');
                    return;
                }
                if let Some(plain) = Plain::of(object) {
                    out.push_str(&plain.repr);
                    return;
                }
                let class = if object.class.is_empty() { "unknown" } else { &object.class };
                _ = write!(out, "<{class} object>");
            }
        },
    }
}

/// The shortest digits that give the same float, as Python writes them.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let exponential = format!("{value:e}");
    let (digits, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

fn text_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) || c == '\u{ad}' => {
                _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            // Other space and invisible characters are not printable for Python either.
            '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}'
            | '\u{3000}'
            | '\u{feff}' => {
                _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn bytes_repr(out: &mut String, bytes: &[u8]) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    out.push('b');
    out.push(quote);
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte if char::from(*byte) == quote => {
                out.push('\\');
                out.push(quote);
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => _ = write!(out, "\\x{byte:02x}"),
        }
    }
    out.push(quote);
}
