//! numpy scalars: a dtype and the bytes of one element.

use std::borrow::Cow;

use crate::plain::{Plain, bytes_of};
use crate::time::{Date, DateTime, Time, TimeDelta};
use crate::view::View;

fn fixed<const N: usize>(bytes: &[u8], big: bool) -> Option<[u8; N]> {
    let mut le: [u8; N] = bytes.try_into().ok()?;
    if big {
        le.reverse();
    }
    Some(le)
}

/// The value of a half-precision float.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    }
}

fn float(bytes: &[u8], big: bool) -> Option<f64> {
    match bytes.len() {
        2 => fixed(bytes, big).map(|le| half(u16::from_le_bytes(le))),
        4 => fixed(bytes, big).map(|le| f64::from(f32::from_le_bytes(le))),
        8 => fixed(bytes, big).map(f64::from_le_bytes),
        _ => None,
    }
}

fn integer(bytes: &[u8], big: bool, signed: bool) -> Option<i128> {
    let high = if big { bytes.first()? } else { bytes.last()? };
    let mut wide = if signed && high & 0x80 != 0 { [0xff; 16] } else { [0; 16] };
    let low = wide.get_mut(..bytes.len()).filter(|_| bytes.len() <= 8)?;
    low.copy_from_slice(bytes);
    if big {
        low.reverse();
    }
    Some(i128::from_le_bytes(wide))
}

/// The class of what NumPy's functions make, with its module: scalars by their data type, arrays by their first
/// argument.
pub(crate) fn class_made(module: &str, maker: &str, args: View<'_>) -> Option<String> {
    let named = |view: View<'_>| {
        let (module, name) = view.as_global()?;
        // Where a class is said to be from, and where it is known to be from.
        let module = if module == "numpy.ma.core" { "numpy.ma" } else { module };
        Some(format!("{module}.{name}"))
    };
    match (module, maker) {
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") | (_, "_mareconstruct") => {
            named(args.item(0)?)
        }
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Some("numpy.ndarray".to_owned()),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => {
            let code = args.item(0)?.object()?.args().item(0)?;
            let Some(code) = code.as_str() else { return named(code) };
            let code = code.trim_start_matches(['<', '>', '|', '=']);
            let (kind, size) = code.split_at_checked(1)?;
            let bits = size.parse::<u32>().ok().and_then(|size| size.checked_mul(8));
            let name = match (kind, bits) {
                ("b", _) if module == "numpy._core.multiarray" => "bool",
                ("b", _) => "bool_",
                ("f", Some(96 | 128)) => "longdouble",
                ("c", Some(192 | 256)) => "clongdouble",
                ("i", Some(bits)) => return Some(format!("numpy.int{bits}")),
                ("u", Some(bits)) => return Some(format!("numpy.uint{bits}")),
                ("f", Some(bits)) => return Some(format!("numpy.float{bits}")),
                ("c", Some(bits)) => return Some(format!("numpy.complex{bits}")),
                ("U", _) => "str_",
                ("S", _) => "bytes_",
                ("M", _) => "datetime64",
                ("m", _) => "timedelta64",
                ("V", _) => "void",
                _ => return None,
            };
            Some(format!("numpy.{name}"))
        }
        _ => None,
    }
}

/// A data type whose elements have a plain meaning.
#[derive(Debug)]
pub(crate) struct Type<'t> {
    /// The letter of its kind.
    kind: char,
    big: bool,
    /// Bytes of one element.
    pub(crate) size: usize,
    dtype: View<'t>,
}

impl<'t> Type<'t> {
    /// A pickled `dtype`. `None` for records, objects, and floats that are wider than Rust's.
    pub(crate) fn of(dtype: View<'t>) -> Option<Self> {
        let object = dtype.object()?;
        let (_, "dtype") = object.class_name()? else { return None };
        let state = |index| object.state().and_then(|state| state.item(index));
        let big = state(1).and_then(View::as_str) == Some(">");
        let code = object.args().item(0)?.as_str()?.trim_start_matches(['<', '>', '|', '=']);
        let kind = code.chars().next()?;
        let size: usize = code.get(kind.len_utf8()..)?.parse().ok()?;
        // Types of arrays, and records, say more in their state.
        if [2, 3].into_iter().filter_map(state).any(|part| !part.is_none()) {
            return None;
        }
        let (size, known) = match kind {
            'b' => (size, size == 1),
            'i' | 'u' => (size, matches!(size, 1 | 2 | 4 | 8)),
            'f' => (size, matches!(size, 2 | 4 | 8)),
            'c' => (size, matches!(size, 8 | 16)),
            'M' | 'm' => (size, size == 8),
            'U' => (size.checked_mul(4)?, true),
            'S' | 'V' => (size, true),
            _ => return None,
        };
        known.then_some(Self { kind, big, size, dtype })
    }

    /// Of a time the count of its unit, or `None` if it is "not a time".
    pub(crate) fn count(&self, bytes: &[u8]) -> Option<Option<i64>> {
        if !matches!(self.kind, 'M' | 'm') {
            return None;
        }
        let count = fixed(bytes, self.big).map(i64::from_le_bytes)?;
        Some((count != i64::MIN).then_some(count))
    }

    /// The value of one element.
    pub(crate) fn value(&self, bytes: Cow<'t, [u8]>) -> Option<Plain<'t>> {
        let big = self.big;
        Some(match self.kind {
            'b' => Plain::Bool(bytes.first()? != &0),
            kind @ ('i' | 'u') => {
                let value = integer(&bytes, big, kind == 'i')?;
                i64::try_from(value).map_or_else(|_| Plain::BigInt(value.into()), Plain::Int)
            }
            'f' => Plain::Float(float(&bytes, big)?),
            'c' => {
                let (re, im) = bytes.split_at_checked(bytes.len() / 2)?;
                Plain::Complex(float(re, big)?, float(im, big)?)
            }
            'U' => {
                let (chars, _) = bytes.as_chunks::<4>();
                let text: Option<String> = chars
                    .iter()
                    .map(|unit| {
                        char::from_u32(if big {
                            u32::from_be_bytes(*unit)
                        } else {
                            u32::from_le_bytes(*unit)
                        })
                    })
                    .collect();
                Plain::Text(text?.trim_end_matches('\0').to_owned())
            }
            'S' => {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                Plain::Bytes(Cow::Owned(bytes.get(..end)?.to_vec()))
            }
            'V' => Plain::Bytes(bytes),
            kind => {
                let count = i128::from(self.count(&bytes)??);
                let unit = self.dtype.object()?.state()?.item(8)?.item(1)?;
                let name = bytes_of(unit.item(0)?)?;
                let count = count.checked_mul(i128::from(unit.item(1)?.as_i64()?))?;
                if kind == 'M' { moment(count, &name)? } else { delta(count, &name)? }
            }
        })
    }
}

/// The value of `scalar(dtype, bytes)`.
pub(crate) fn scalar<'t>(args: View<'t>) -> Option<Plain<'t>> {
    Type::of(args.item(0)?)?.value(bytes_of(args.item(1)?)?)
}

const DAY: i128 = 86_400_000_000_000;

/// Nanoseconds of a unit of a fixed length.
fn nanoseconds(unit: &[u8]) -> Option<i128> {
    Some(match unit {
        b"W" => 7 * DAY,
        b"D" => DAY,
        b"h" => 3_600_000_000_000,
        b"m" => 60_000_000_000,
        b"s" => 1_000_000_000,
        b"ms" => 1_000_000,
        b"us" => 1_000,
        b"ns" => 1,
        _ => return None,
    })
}

/// The date of a day counted from 1970-01-01; in years that Python's dates have.
fn date(days: i128) -> Option<Date> {
    // Days since 0000-03-01, in eras of 400 years: leap days come last in such a year.
    let days = days.checked_add(719_468)?;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = u16::try_from(era.checked_mul(400)?.checked_add(year)? + i128::from(month <= 2)).ok()?;
    let in_python = (1..=9999).contains(&year);
    in_python.then_some(Date { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? })
}

/// A `datetime64`: a date if its unit is a day or more, text if it is finer than Python's microseconds.
fn moment<'t>(count: i128, unit: &[u8]) -> Option<Plain<'t>> {
    let first = |months: i128| {
        let year = u16::try_from(months.div_euclid(12).checked_add(1970)?).ok()?;
        let month = u8::try_from(months.rem_euclid(12) + 1).ok()?;
        (1..=9999).contains(&year).then_some(Plain::Date(Date { year, month, day: 1 }))
    };
    match unit {
        b"Y" => return first(count.checked_mul(12)?),
        b"M" => return first(count),
        b"W" | b"D" => return date(count.checked_mul(nanoseconds(unit)? / DAY)?).map(Plain::Date),
        _ => {}
    }
    let total = count.checked_mul(nanoseconds(unit)?)?;
    let day = date(total.div_euclid(DAY))?;
    let rest = u64::try_from(total.rem_euclid(DAY)).ok()?;
    let (seconds, nanos) = (rest / 1_000_000_000, rest % 1_000_000_000);
    let time = Time {
        hour: u8::try_from(seconds / 3600).ok()?,
        minute: u8::try_from(seconds / 60 % 60).ok()?,
        second: u8::try_from(seconds % 60).ok()?,
        microsecond: u32::try_from(nanos / 1_000).ok()?,
        offset_seconds: None,
        fold: false,
    };
    if nanos % 1_000 == 0 {
        return Some(Plain::DateTime(DateTime::new(day, time), None));
    }
    let whole = DateTime::new(day, Time { microsecond: 0, ..time });
    Some(Plain::Text(format!("{whole}.{nanos:09}")))
}

/// A `timedelta64`, if it is one of whole microseconds, or a plain count.
fn delta<'t>(count: i128, unit: &[u8]) -> Option<Plain<'t>> {
    if unit == b"generic" {
        return i64::try_from(count).ok().map(Plain::Int);
    }
    let total = count.checked_mul(nanoseconds(unit)?)?;
    let micros = i64::try_from(total / 1_000).ok().filter(|_| total % 1_000 == 0)?;
    TimeDelta::from_microseconds(micros).map(Plain::TimeDelta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (11_016, "2000-02-29"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (-719_162, "0001-01-01"),
            (2_932_896, "9999-12-31"),
        ] {
            assert_eq!(date(days).map(|date| date.to_string()).as_deref(), Some(text));
        }
        assert_eq!((date(-719_163), date(2_932_897), date(i128::MAX)), (None, None, None));
    }
}
