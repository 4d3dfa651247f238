//! Names of Dask releases.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The newest release this crate knows; what `latest` and `newest` mean.
pub const NEWEST: &str = "2026.8.0";

/// The oldest release this crate starts.
pub const OLDEST: &str = "2.30.0";

/// Releases that were started and spoken to, oldest first.
const KNOWN: [&str; 38] = [
    "2.30.1",
    "2020.12.0",
    "2021.2.0",
    "2021.3.0",
    "2021.3.1",
    "2021.4.1",
    "2021.6.2",
    "2021.10.0",
    "2021.12.0",
    "2022.2.1",
    "2022.5.0",
    "2022.7.1",
    "2022.10.0",
    "2022.12.1",
    "2023.1.0",
    "2023.3.2",
    "2023.4.0",
    "2023.8.0",
    "2023.8.1",
    "2023.9.0",
    "2023.11.0",
    "2023.12.1",
    "2024.4.2",
    "2024.5.1",
    "2024.5.2",
    "2024.8.2",
    "2024.10.0",
    "2024.11.0",
    "2024.12.1",
    "2025.1.0",
    "2025.3.0",
    "2025.3.1",
    "2025.4.0",
    "2025.5.0",
    "2025.12.0",
    "2026.3.0",
    "2026.6.0",
    "2026.8.0",
];

/// The releases that were started and spoken to, oldest first. Others between
/// [`OLDEST`] and [`NEWEST`], and newer ones, start as well.
pub fn known_releases() -> &'static [&'static str] {
    &KNOWN
}

/// A release of Dask (of its `distributed` package), such as `2021.8.1`.
///
/// Zeros in front do not matter: `2021.03.0` is `2021.3.0`. What comes before a release, such as `2026.9.0rc1` or
/// `2026.9.0.dev3`, is one, too, if the package index has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    parts: Vec<u32>,
    /// `rc1`, `.dev3`; empty for a final release.
    before: String,
}

impl Release {
    /// The newest release known.
    pub fn newest() -> Self {
        Self { parts: vec![2026, 8, 0], before: String::new() }
    }

    /// Year and month (`(2, 30)` for 2.30.x), the grain at which recipes change.
    pub(crate) fn key(&self) -> (u32, u32) {
        (self.part(0), self.part(1))
    }

    /// How near to final it is. The kinds are in the order of their names: `.dev`, `a`, `b`, `rc`.
    fn stage(&self) -> (bool, &str, u64) {
        let kind = self.before.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = self.before.strip_prefix(kind).and_then(|number| number.parse().ok());
        (self.before.is_empty(), kind, number.unwrap_or(0))
    }

    pub(crate) fn part(&self, index: usize) -> u32 {
        self.parts.get(index).copied().unwrap_or(0)
    }

    /// The first three parts: a fourth is a repair of `distributed` alone.
    pub(crate) fn month_release(&self) -> String {
        format!("{}.{}.{}{}", self.part(0), self.part(1), self.part(2), self.before)
    }

    /// The release of the `dask` package that goes with this release of `distributed`,
    /// where `distributed` itself does not pin it.
    pub(crate) fn dask(&self) -> Option<String> {
        match self.key() {
            // There is a distributed 2.30.1, but no dask of that number.
            (2, 30) => Some("2.30.0".to_owned()),
            key if key < (2021, 6) => Some(self.to_string()),
            _ => None,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{part}")?;
        }
        f.write_str(&self.before)
    }
}

impl Ord for Release {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts).then_with(|| self.stage().cmp(&other.stage()))
    }
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Splits what says that a release is not final yet off its numbers: `rc1`, `a2`, `.dev3`.
fn split_before(name: &str) -> (&str, &str) {
    let numbers = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let found = [".dev", "rc", "a", "b"].into_iter().find_map(|kind| numbers.strip_suffix(kind));
    match found {
        Some(start) if numbers.len() < name.len() => name.split_at(start.len()),
        _ => (name, ""),
    }
}

impl FromStr for Release {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::BadRelease { release: text.to_owned(), reason: reason.to_owned() };
        let name = text.trim();
        if matches!(name, "latest" | "newest") {
            return Ok(Self::newest());
        }
        let name = name.strip_prefix('v').unwrap_or(name);
        let (numbers, before) = split_before(name);
        let parts = numbers
            .split('.')
            .map(|part| match part.bytes().all(|byte| byte.is_ascii_digit()) {
                true => part.parse::<u32>().map_err(|_| bad("its parts are not all numbers")),
                false => Err(bad("its parts are not all numbers")),
            })
            .collect::<Result<Vec<u32>, Error>>()?;
        if !(3..=4).contains(&parts.len()) {
            return Err(bad("it does not have three parts"));
        }
        let release = Self { parts, before: before.to_owned() };
        match release.key() {
            (2, 30) | (2020.., 1..=12) if release.key() == (2, 30) || release.key() >= (2020, 12) => {
                Ok(release)
            }
            (2020.., _) if release.key() > (2020, 12) => Err(bad("its second part is not a month")),
            _ => Err(bad("the oldest that is supported is 2.30.0, followed by 2020.12.0")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        text.parse().unwrap()
    }

    #[test]
    fn zeros_in_front_do_not_matter() {
        assert_eq!(release("2021.03.0"), release("2021.3.0"));
        assert_eq!(release("2021.03.0").to_string(), "2021.3.0");
        assert_eq!(release(" v2023.3.2.1 ").to_string(), "2023.3.2.1");
    }

    #[test]
    fn releases_are_in_order() {
        let all: Vec<Release> = known_releases().iter().map(|name| release(name)).collect();
        assert_eq!(all.len(), 38);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(release("2.30.1") < release("2020.12.0"));
    }

    #[test]
    fn what_comes_before_a_release_has_its_recipe() {
        for name in ["2026.9.0rc1", "2026.9.0a2", "2026.9.0.dev3"] {
            assert_eq!(release(name).to_string(), name);
            assert_eq!(release(name).key(), (2026, 9));
            assert_eq!(release(name).month_release(), name);
            assert!(release("2026.8.0") < release(name) && release(name) < release("2026.9.0"), "{name}");
        }
    }

    #[test]
    fn what_comes_before_a_release_is_in_order() {
        let names = ["2026.9.0.dev3", "2026.9.0a2", "2026.9.0b1", "2026.9.0rc9", "2026.9.0rc10", "2026.9.0"];
        let all = names.map(release);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    }

    #[test]
    fn newest_has_names() {
        assert_eq!(release("latest"), release(NEWEST));
        assert_eq!(release("newest"), Release::newest());
        assert_eq!(known_releases().last(), Some(&NEWEST));
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for text in [
            "",
            "2021",
            "2021.3",
            "2021.3.x",
            "2021.3.0rc",
            "2021.3.0x1",
            "2021.3rc1",
            "2021.3.0+local",
            "2.29.0",
            "2.31.0",
            "2020.11.0",
            "2022.13.0",
            "1.2.3.4.5",
        ] {
            assert!(text.parse::<Release>().is_err(), "{text}");
        }
        assert!("2099.1.0".parse::<Release>().is_ok());
    }

    #[test]
    fn the_dask_package_goes_with_distributed() {
        assert_eq!(release("2.30.1").dask().as_deref(), Some("2.30.0"));
        assert_eq!(release("2021.3.1").dask().as_deref(), Some("2021.3.1"));
        assert_eq!(release("2023.3.2.1").dask(), None);
        assert_eq!(release("2023.3.2.1").month_release(), "2023.3.2");
    }
}
