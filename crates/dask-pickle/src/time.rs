//! Wrapper types for Python's `datetime` module. Their text is ISO 8601.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::kinds::{AsCall, Raw, Reduce, calls};
use crate::{Error, Global};

/// A `datetime.date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Year, 1 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

/// A `datetime.time`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Time {
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Microsecond, 0 to 999999.
    pub microsecond: u32,
    /// Offset from UTC in seconds; `None` for a naive time.
    pub offset_seconds: Option<i32>,
    /// Whether it is the second of two equal wall clock times.
    pub fold: bool,
}

/// A `datetime.datetime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Year, 1 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Microsecond, 0 to 999999.
    pub microsecond: u32,
    /// Offset from UTC in seconds; `None` for a naive datetime.
    pub offset_seconds: Option<i32>,
    /// Whether it is the second of two equal wall clock times.
    pub fold: bool,
}

/// A `datetime.timedelta`, in Python's normal form or any other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TimeDelta {
    /// Days; negative for a negative difference.
    pub days: i32,
    /// Seconds, 0 to 86399 in normal form.
    pub seconds: i32,
    /// Microseconds, 0 to 999999 in normal form.
    pub microseconds: i32,
}

fn timezone(offset_seconds: Option<i32>) -> Option<Reduce<Global<'static>, (TimeDelta,)>> {
    let seconds = offset_seconds?;
    let delta =
        TimeDelta { days: seconds.div_euclid(86_400), seconds: seconds.rem_euclid(86_400), microseconds: 0 };
    Some(Reduce { callable: Global::new("datetime:timezone"), args: (delta,) })
}

fn write_clock(f: &mut fmt::Formatter<'_>, time: &Time) -> fmt::Result {
    write!(f, "{:02}:{:02}:{:02}", time.hour, time.minute, time.second)?;
    if time.microsecond != 0 {
        write!(f, ".{:06}", time.microsecond)?;
    }
    if let Some(offset) = time.offset_seconds {
        let size = offset.unsigned_abs();
        let sign = if offset < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", size / 3600, size / 60 % 60)?;
        if size % 60 != 0 {
            write!(f, ":{:02}", size % 60)?;
        }
    }
    Ok(())
}

impl DateTime {
    /// Its date.
    pub fn date(&self) -> Date {
        Date { year: self.year, month: self.month, day: self.day }
    }

    /// Its time of day, with the offset.
    pub fn time(&self) -> Time {
        Time {
            hour: self.hour,
            minute: self.minute,
            second: self.second,
            microsecond: self.microsecond,
            offset_seconds: self.offset_seconds,
            fold: self.fold,
        }
    }

    /// A date and a time of day together.
    pub fn new(date: Date, time: Time) -> Self {
        Self {
            year: date.year,
            month: date.month,
            day: date.day,
            hour: time.hour,
            minute: time.minute,
            second: time.second,
            microsecond: time.microsecond,
            offset_seconds: time.offset_seconds,
            fold: time.fold,
        }
    }
}

impl TimeDelta {
    /// The whole difference in microseconds.
    pub fn total_microseconds(&self) -> i64 {
        (i64::from(self.days) * 86_400 + i64::from(self.seconds)) * 1_000_000 + i64::from(self.microseconds)
    }

    /// The difference of so many microseconds, in Python's normal form. `None` beyond what Python can hold.
    pub fn from_microseconds(total: i64) -> Option<Self> {
        const DAY: i64 = 86_400_000_000;
        let rest = total.rem_euclid(DAY);
        Some(Self {
            days: i32::try_from(total.div_euclid(DAY)).ok()?,
            seconds: i32::try_from(rest / 1_000_000).ok()?,
            microseconds: i32::try_from(rest % 1_000_000).ok()?,
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_clock(f, self)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T", self.date())?;
        write_clock(f, &self.time())
    }
}

/// As an ISO 8601 duration: `P1DT2H3M4.5S`, with a leading minus sign if negative.
impl fmt::Display for TimeDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total_microseconds();
        let size = total.unsigned_abs();
        let (seconds, micros) = (size / 1_000_000, size % 1_000_000);
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        f.write_str(if total < 0 { "-P" } else { "P" })?;
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if days == 0 || !size.is_multiple_of(86_400_000_000) {
            f.write_str("T")?;
            if hours > 0 {
                write!(f, "{hours}H")?;
            }
            if minutes > 0 {
                write!(f, "{minutes}M")?;
            }
            if micros > 0 {
                let fraction = format!("{micros:06}");
                write!(f, "{}.{}S", seconds % 60, fraction.trim_end_matches('0'))?;
            } else if seconds % 60 > 0 || seconds % 86_400 == 0 {
                write!(f, "{}S", seconds % 60)?;
            }
        }
        Ok(())
    }
}

fn bad(expected: &str, text: &str) -> Error {
    Error::Kind { expected: format!("{expected} as ISO 8601"), found: format!("{text:?}") }
}

fn number<T: FromStr>(text: &str, width: std::ops::RangeInclusive<usize>) -> Option<T> {
    (width.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn fraction(digits: &str) -> Option<u32> {
    let six: String = digits.chars().chain("000000".chars()).take(6).collect();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| six.parse().ok())
        .flatten()
}

fn offset(text: &str) -> Option<i32> {
    let mut parts = text.split(':');
    let hours: i32 = number(parts.next()?, 2..=2)?;
    let minutes: i32 = number(parts.next()?, 2..=2)?;
    let seconds: i32 = parts.next().map_or(Some(0), |part| number(part, 2..=2))?;
    (parts.next().is_none() && hours < 24 && minutes < 60 && seconds < 60)
        .then_some(hours * 3600 + minutes * 60 + seconds)
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let date = Date {
        year: number(parts.next()?, 4..=4)?,
        month: number(parts.next()?, 2..=2)?,
        day: number(parts.next()?, 2..=2)?,
    };
    (parts.next().is_none() && (1..=12).contains(&date.month) && (1..=31).contains(&date.day)).then_some(date)
}

fn parse_time(text: &str) -> Option<Time> {
    let (clock, offset_seconds) = if let Some(clock) = text.strip_suffix('Z') {
        (clock, Some(0))
    } else if let Some((clock, zone)) = text.split_once('+') {
        (clock, Some(offset(zone)?))
    } else if let Some((clock, zone)) = text.split_once('-') {
        (clock, Some(-offset(zone)?))
    } else {
        (text, None)
    };
    let (clock, microsecond) = match clock.split_once('.') {
        Some((clock, digits)) => (clock, fraction(digits)?),
        None => (clock, 0),
    };
    let mut parts = clock.split(':');
    let time = Time {
        hour: number(parts.next()?, 2..=2)?,
        minute: number(parts.next()?, 2..=2)?,
        second: parts.next().map_or(Some(0), |part| number(part, 2..=2))?,
        microsecond,
        offset_seconds,
        fold: false,
    };
    (parts.next().is_none() && time.hour < 24 && time.minute < 60 && time.second < 60).then_some(time)
}

fn parse_delta(text: &str) -> Option<TimeDelta> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (days, clock) = rest.strip_prefix('P')?.split_once('T').unwrap_or((rest.get(1..)?, ""));
    let mut total: i64 = 0;
    for (part, units) in [(days, "WD"), (clock, "HMS")] {
        let mut part = part;
        while !part.is_empty() {
            let end = part.find(|c: char| c.is_ascii_alphabetic())?;
            let (digits, unit) = (part.get(..end)?, part.get(end..end + 1)?);
            part = part.get(end + 1..)?;
            let scale: i64 = match unit {
                _ if !units.contains(unit) => return None,
                "W" => 604_800,
                "D" => 86_400,
                "H" => 3600,
                "M" => 60,
                _ => 1,
            };
            let (whole, micros) = match digits.split_once('.') {
                Some((whole, digits)) if scale == 1 => (whole, i64::from(fraction(digits)?)),
                _ => (digits, 0),
            };
            let whole: i64 = number(whole, 1..=15)?;
            let part_total = whole.checked_mul(scale)?.checked_mul(1_000_000)?.checked_add(micros)?;
            total = total.checked_add(part_total)?;
        }
    }
    TimeDelta::from_microseconds(if negative { -total } else { total })
}

impl FromStr for Date {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        parse_date(text).ok_or_else(|| bad("a date", text))
    }
}

impl FromStr for Time {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        parse_time(text).ok_or_else(|| bad("a time", text))
    }
}

impl FromStr for DateTime {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once(['T', ' '])
            .and_then(|(date, time)| Some(DateTime::new(parse_date(date)?, parse_time(time)?)))
            .ok_or_else(|| bad("a datetime", text))
    }
}

impl FromStr for TimeDelta {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        parse_delta(text).ok_or_else(|| bad("a duration", text))
    }
}

impl AsCall for Date {
    fn text(&self) -> String {
        self.to_string()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Global::new("datetime:date"), (self.year, self.month, self.day)).serialize(serializer)
    }
}

/// The clock part of Python's own pickled form: the only one whose constructor takes a fold by position.
fn packed_clock(time: &Time) -> [u8; 6] {
    let [_, high, middle, low] = time.microsecond.to_be_bytes();
    [time.hour, time.minute, time.second, high, middle, low]
}

impl AsCall for Time {
    fn text(&self) -> String {
        self.to_string()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let callable = Global::new("datetime:time");
        let zone = timezone(self.offset_seconds);
        if self.fold {
            let mut packed = packed_clock(self);
            packed[0] |= 0x80;
            return match zone {
                Some(zone) => (callable, (Raw(&packed), zone)).serialize(serializer),
                None => (callable, (Raw(&packed),)).serialize(serializer),
            };
        }
        (callable, (self.hour, self.minute, self.second, self.microsecond, zone)).serialize(serializer)
    }
}

impl AsCall for DateTime {
    fn text(&self) -> String {
        self.to_string()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let callable = Global::new("datetime:datetime");
        let zone = timezone(self.offset_seconds);
        if self.fold {
            let [year_high, year_low] = self.year.to_be_bytes();
            let mut packed = vec![year_high, year_low, self.month | 0x80, self.day];
            packed.extend_from_slice(&packed_clock(&self.time()));
            return match zone {
                Some(zone) => (callable, (Raw(&packed), zone)).serialize(serializer),
                None => (callable, (Raw(&packed),)).serialize(serializer),
            };
        }
        let date = (self.year, self.month, self.day);
        let clock = (self.hour, self.minute, self.second, self.microsecond);
        let args = (date.0, date.1, date.2, clock.0, clock.1, clock.2, clock.3, zone);
        (callable, args).serialize(serializer)
    }
}

impl AsCall for TimeDelta {
    fn text(&self) -> String {
        self.to_string()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Global::new("datetime:timedelta"), (self.days, self.seconds, self.microseconds))
            .serialize(serializer)
    }
}

calls!(Date, Time, DateTime, TimeDelta);
