//! Numbers, dates and the like, which are objects in pickles, as Python's `repr` and `str` show them.

use std::fmt::Write;

use dask_pickle::{
    Complex, Date, DateTime, Decimal, Fraction, Limits, Object, Time, TimeDelta, Uuid, Value as Python,
};
use serde::de::DeserializeOwned;

use super::repr::{float, repr};

/// Largest integer of a fraction that is written: that takes quadratic time.
const MAX_BITS: u64 = 16_384;

/// What both show of a value: `repr`, and `str` where that is another text.
pub(super) struct Plain {
    pub(super) repr: String,
    pub(super) str: Option<String>,
}

impl Plain {
    fn new(repr: impl Into<String>, str: impl Into<String>) -> Option<Self> {
        Some(Self { repr: repr.into(), str: Some(str.into()) })
    }

    fn of_repr(repr: String) -> Option<Self> {
        Some(Self { repr, str: None })
    }

    /// `None` for anything else.
    pub(super) fn of(object: &Object) -> Option<Self> {
        match object.class.as_str() {
            "builtins.complex" => Self::of_repr(complex(meaning(object)?)),
            "builtins.range" => {
                let [start, stop, step] = object.args.items()? else { return None };
                let step = if *step == Python::Int(1) { String::new() } else { format!(", {}", repr(step)) };
                Self::of_repr(format!("range({}, {}{step})", repr(start), repr(stop)))
            }
            "builtins.slice" => {
                let [start, stop, step] = object.args.items()? else { return None };
                Self::of_repr(format!("slice({}, {}, {})", repr(start), repr(stop), repr(step)))
            }
            "decimal.Decimal" => {
                let Decimal(text) = meaning(object)?;
                Self::new(format!("Decimal('{text}')"), text)
            }
            "fractions.Fraction" => {
                let fraction: Fraction = meaning(object)?;
                if fraction.num.0.bits().max(fraction.den.0.bits()) > MAX_BITS {
                    return None;
                }
                let text = fraction.to_string();
                let (num, den) = text.split_once('/').unwrap_or((&text, "1"));
                let shown = if den == "1" { num } else { &text };
                Self::new(format!("Fraction({num}, {den})"), shown)
            }
            "uuid.UUID" => {
                let uuid: Uuid = meaning(object)?;
                Self::new(format!("UUID('{uuid}')"), uuid.to_string())
            }
            "datetime.date" => {
                let date: Date = meaning(object)?;
                Self::new(
                    format!("datetime.date({}, {}, {})", date.year, date.month, date.day),
                    date.to_string(),
                )
            }
            "datetime.time" => {
                let time: Time = meaning(object)?;
                Self::new(format!("datetime.time({})", clock(&time)), time.to_string())
            }
            "datetime.datetime" => {
                let at: DateTime = meaning(object)?;
                let Date { year, month, day } = at.date();
                let clock = clock(&at.time());
                Self::new(
                    format!("datetime.datetime({year}, {month}, {day}, {clock})"),
                    at.to_string().replacen('T', " ", 1),
                )
            }
            "datetime.timedelta" => {
                let delta: TimeDelta = meaning(object)?;
                Self::new(timedelta(delta), days_and_clock(delta))
            }
            _ => None,
        }
    }
}

/// An object as the type that reads it from a pickle.
fn meaning<T: DeserializeOwned>(object: &Object) -> Option<T> {
    let pickle = dask_pickle::to_vec(object).ok()?;
    dask_pickle::from_tree(&dask_pickle::read(pickle, Vec::new(), &Limits::default()).ok()?).ok()
}

fn complex(Complex { re, im }: Complex) -> String {
    let part = |value| {
        let text = float(value);
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    if re == 0.0 && re.is_sign_positive() {
        return format!("{}j", part(im));
    }
    let sign = if im.is_sign_negative() && !im.is_nan() { "" } else { "+" };
    format!("({}{sign}{}j)", part(re), part(im))
}

/// The arguments for the time of a day.
fn clock(time: &Time) -> String {
    let mut out = format!("{}, {}", time.hour, time.minute);
    if time.second != 0 || time.microsecond != 0 {
        _ = write!(out, ", {}", time.second);
    }
    if time.microsecond != 0 {
        _ = write!(out, ", {}", time.microsecond);
    }
    if time.fold {
        out.push_str(", fold=1");
    }
    match time.offset_seconds {
        None => {}
        Some(0) => out.push_str(", tzinfo=datetime.timezone.utc"),
        Some(offset) => {
            let (days, seconds) = (offset.div_euclid(86_400), offset.rem_euclid(86_400));
            let offset = TimeDelta { days, seconds, microseconds: 0 };
            _ = write!(out, ", tzinfo=datetime.timezone({})", timedelta(offset));
        }
    }
    out
}

fn timedelta(delta: TimeDelta) -> String {
    let parts = [("days", delta.days), ("seconds", delta.seconds), ("microseconds", delta.microseconds)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, n)| *n != 0).map(|(name, n)| format!("{name}={n}")).collect();
    let parts = if parts.is_empty() { "0".to_owned() } else { parts.join(", ") };
    format!("datetime.timedelta({parts})")
}

fn days_and_clock(delta: TimeDelta) -> String {
    let mut out = String::new();
    if delta.days != 0 {
        let s = if delta.days.abs() == 1 { "" } else { "s" };
        _ = write!(out, "{} day{s}, ", delta.days);
    }
    let (minutes, seconds) = (delta.seconds / 60, delta.seconds % 60);
    _ = write!(out, "{}:{:02}:{seconds:02}", minutes / 60, minutes % 60);
    if delta.microseconds != 0 {
        _ = write!(out, ".{:06}", delta.microseconds);
    }
    out
}
