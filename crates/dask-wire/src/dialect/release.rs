//! A Dask release number, as the `versions` RPC reports it.

use std::fmt;
use std::str::FromStr;

/// A release of `distributed`: `2.30.1`, `2021.03.0`, `2023.3.2.1`, `2026.8.0+12.gabc`.
///
/// Zero padding does not matter and anything after the numbers (`.dev3`, `rc1`, `+local`) is dropped: a development
/// version speaks the dialect of the release it grew from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    numbers: [u16; 4],
}

impl Release {
    /// A release of three numbers.
    pub const fn new(major: u16, minor: u16, micro: u16) -> Self {
        Self { numbers: [major, minor, micro, 0] }
    }

    /// A release with a fourth number, such as `2023.3.2.1`.
    pub const fn with_patch(major: u16, minor: u16, micro: u16, patch: u16) -> Self {
        Self { numbers: [major, minor, micro, patch] }
    }
}

impl FromStr for Release {
    type Err = NotARelease;

    fn from_str(text: &str) -> Result<Self, NotARelease> {
        let refuse = || NotARelease { text: text.chars().take(80).collect() };
        let mut numbers = [0u16; 4];
        let mut filled = 0;
        let trimmed = text.trim().trim_start_matches('v');
        for part in trimmed.split('.') {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = part.split_at(digits);
            if number.is_empty() {
                break;
            }
            let (Some(slot), Ok(number)) = (numbers.get_mut(filled), number.parse()) else {
                break;
            };
            *slot = number;
            filled += 1;
            if !rest.is_empty() {
                break;
            }
        }
        if filled < 2 { Err(refuse()) } else { Ok(Self { numbers }) }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro, patch] = self.numbers;
        write!(f, "{major}.{minor}.{micro}")?;
        if patch != 0 { write!(f, ".{patch}") } else { Ok(()) }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that does not start like a release number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a Dask release number (expected something like 2024.8.2)")]
pub struct NotARelease {
    /// The text, cut to 80 characters.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_suffixes_and_fourth_numbers_parse() {
        let of = |text: &str| text.parse::<Release>().unwrap();
        assert_eq!(of("2021.03.0"), Release::new(2021, 3, 0));
        assert_eq!(of("2.30.1"), Release::new(2, 30, 1));
        assert_eq!(of("2023.3.2.1"), Release::with_patch(2023, 3, 2, 1));
        assert_eq!(of("2026.8.0+12.gabc.dirty"), Release::new(2026, 8, 0));
        assert_eq!(of("2026.9.1.dev4"), Release::new(2026, 9, 1));
        assert_eq!(of("2024.11.0rc1"), Release::new(2024, 11, 0));
        assert_eq!(of("2024.8"), Release::new(2024, 8, 0));
        assert!(of("2023.3.2") < of("2023.3.2.1") && of("2023.3.2.1") < of("2023.4.0"));
        assert_eq!(of("2023.3.2.1").to_string(), "2023.3.2.1");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "unknown", "dask", "7", "99999999.1", ".."] {
            assert!(text.parse::<Release>().is_err(), "{text}");
        }
    }
}
