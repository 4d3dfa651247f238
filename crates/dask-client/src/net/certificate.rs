//! When a certificate expires: the one thing about it that is worth a warning before it is an error.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tags of DER that are looked for.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The end of the time in which a DER certificate is valid; `None` if that cannot be found.
pub(crate) fn expires(certificate: &[u8]) -> Option<SystemTime> {
    let mut fields = of(SEQUENCE, of(SEQUENCE, certificate)?.0)?.0;
    // Version (if it is not the first), serial number, signature algorithm, issuer, validity.
    if let Some((_, rest)) = of(VERSION, fields) {
        fields = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        fields = of(tag, fields)?.1;
    }
    let (validity, _) = of(SEQUENCE, fields)?;
    let (_, _, after) = any(validity)?;
    let (tag, time, _) = any(after)?;
    time_of(tag, std::str::from_utf8(time).ok()?)
}

/// The content of a value with this tag, and what follows it.
fn of(expected: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(input)?;
    (tag == expected).then_some((content, rest))
}

/// The first value: its tag, its content and what follows it.
fn any(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time_of(tag: u8, text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let seconds = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    let days = days_since_1970(year, month, day)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + seconds))
}

/// Days of the Gregorian calendar; `None` before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.checked_sub(1)?;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        time_of(tag, text).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn times_of_certificates_are_read() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "240229235959Z"), Some(1_709_251_199));
        assert_eq!(seconds(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        for bad in ["", "Z", "2402Z", "24022923595Z", "2402292359xxZ", "240229235959", "690101000000Z0"] {
            assert_eq!(seconds(UTC_TIME, bad), None, "{bad}");
        }
        assert_eq!(seconds(INTEGER, "240229235959Z"), None);
    }

    #[test]
    fn the_end_of_validity_is_found_and_nonsense_is_nothing() {
        let value =
            |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let validity = [value(UTC_TIME, b"230101000000Z"), value(UTC_TIME, b"240229235959Z")].concat();
        let fields = [
            value(VERSION, &value(INTEGER, &[2])),
            value(INTEGER, &[1]),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &validity),
        ];
        let certificate = value(SEQUENCE, &value(SEQUENCE, &fields.concat()));
        let found = expires(&certificate).unwrap();
        assert_eq!(found, UNIX_EPOCH + Duration::from_secs(1_709_251_199));
        for length in 0..certificate.len() {
            assert_eq!(expires(&certificate[..length]), None);
        }
        for at in 0..certificate.len() {
            let mut broken = certificate.clone();
            broken[at] = 0xff;
            let _ = expires(&broken);
        }
    }
}
