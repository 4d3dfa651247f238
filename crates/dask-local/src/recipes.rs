//! Which Pythons run which release, and which packages go with it.
//!
//! The table holds what was seen to start, so that a machine with a single Python can run as
//! many releases as possible. A release between two rows takes the row below it.

use crate::release::Release;

/// Changes whenever a recipe changes what an existing environment should hold.
pub(crate) const RECIPE: u32 = 1;

/// One row: everything from `from` on, up to the next row.
struct Row {
    from: (u32, u32),
    /// Minor versions of Python 3, the best first.
    pythons: &'static [u32],
    /// Requirements beside Dask itself.
    pins: &'static [&'static str],
}

const ROWS: [Row; 12] = [
    Row {
        from: (2, 30),
        pythons: &[7, 8, 9, 6, 10, 11, 12, 13],
        pins: &["click<8", "tornado<6.2", "msgpack<1.1", "setuptools<70", "numpy<2"],
    },
    Row {
        from: (2021, 1),
        pythons: &[8, 7, 9, 10, 11, 12, 13],
        pins: &["click<8", "tornado<6.2", "msgpack<1.1", "setuptools<70", "numpy<2"],
    },
    Row {
        from: (2021, 5),
        pythons: &[8, 9, 7, 10, 11, 12, 13],
        pins: &["click<8.1", "tornado<6.2", "msgpack<1.1", "setuptools<70", "numpy<2"],
    },
    Row {
        from: (2021, 10),
        pythons: &[9, 8, 10, 7, 11, 12, 13],
        pins: &["click<8.1", "tornado<6.2", "setuptools<70", "numpy<2"],
    },
    Row {
        from: (2022, 3),
        pythons: &[9, 8, 10, 11, 12, 13],
        pins: &["click<8.1", "tornado<6.2", "setuptools<70", "numpy<2"],
    },
    Row { from: (2022, 6), pythons: &[9, 10, 8, 11, 12, 13], pins: &["setuptools<70", "numpy<2"] },
    Row { from: (2022, 11), pythons: &[10, 9, 11, 8, 12, 13], pins: &["setuptools<70", "numpy<2"] },
    Row { from: (2023, 4), pythons: &[10, 11, 9, 12, 13, 8], pins: &["numpy<2"] },
    Row { from: (2023, 11), pythons: &[11, 10, 12, 9, 13], pins: &["numpy<2"] },
    Row { from: (2024, 8), pythons: &[11, 10, 12, 13], pins: &["numpy<2"] },
    Row { from: (2024, 9), pythons: &[12, 11, 10, 13, 14], pins: &["numpy"] },
    Row { from: (2025, 4), pythons: &[13, 12, 11, 10, 14, 15], pins: &["numpy"] },
];

fn row(release: &Release) -> &'static Row {
    let key = release.key();
    let [first, ..] = &ROWS;
    ROWS.iter().rev().find(|row| row.from <= key).unwrap_or(first)
}

/// The minor versions of Python 3 that run a release, the best first.
pub(crate) fn pythons(release: &Release) -> &'static [u32] {
    row(release).pythons
}

/// Those versions as a text: `3.13, 3.12, 3.11`.
pub(crate) fn wanted(release: &Release) -> String {
    pythons(release).iter().map(|minor| format!("3.{minor}")).collect::<Vec<_>>().join(", ")
}

/// Everything that is installed for a release on Python 3.`minor`, as requirements for pip.
pub(crate) fn requirements(release: &Release, minor: u32, extras: &[String], dashboard: bool) -> Vec<String> {
    let mut list = vec![format!("distributed=={release}")];
    list.extend(release.dask().map(|dask| format!("dask=={dask}")));
    for pin in row(release).pins {
        list.push(match *pin {
            // No build of the older ones exists for these Pythons.
            "numpy<2" if minor >= 13 => "numpy".to_owned(),
            "msgpack<1.1" if minor >= 13 => "msgpack".to_owned(),
            pin => pin.to_owned(),
        });
    }
    list.push("lz4".to_owned());
    if dashboard {
        list.push(if release.key() < (2023, 1) { "bokeh<3".to_owned() } else { "bokeh>=3.1".to_owned() });
        if release.key() < (2021, 10) {
            list.push("jinja2<3.1".to_owned());
        }
    }
    list.extend(extras.iter().cloned());
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::known_releases;

    fn release(text: &str) -> Release {
        text.parse().unwrap()
    }

    #[test]
    fn every_known_release_has_a_recipe() {
        for name in known_releases() {
            let release = release(name);
            let pythons = pythons(&release);
            assert!(pythons.len() >= 4, "{name}");
            let first = pythons[0];
            let list = requirements(&release, first, &[], false);
            assert_eq!(list[0], format!("distributed=={name}"));
            assert!(list.iter().any(|item| item.starts_with("numpy")), "{name}");
            assert!(list.contains(&"lz4".to_owned()), "{name}");
        }
    }

    #[test]
    fn the_first_python_is_the_one_the_release_was_started_with() {
        for (name, minor) in [
            ("2.30.1", 7),
            ("2020.12.0", 7),
            ("2021.2.0", 8),
            ("2021.4.1", 8),
            ("2021.6.2", 8),
            ("2021.8.1", 8),
            ("2021.10.0", 9),
            ("2022.2.1", 9),
            ("2022.5.0", 9),
            ("2022.10.0", 9),
            ("2022.12.1", 10),
            ("2023.3.2", 10),
            ("2023.9.0", 10),
            ("2023.12.1", 11),
            ("2024.8.2", 11),
            ("2024.11.0", 12),
            ("2025.3.1", 12),
            ("2025.4.0", 13),
            ("2026.8.0", 13),
            ("2099.1.0", 13),
        ] {
            assert_eq!(pythons(&release(name))[0], minor, "{name}");
        }
    }

    #[test]
    fn rows_are_in_order_and_name_no_python_twice() {
        assert!(ROWS.windows(2).all(|pair| pair[0].from < pair[1].from));
        for row in &ROWS {
            let mut seen = row.pythons.to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), row.pythons.len());
        }
    }

    #[test]
    fn extras_come_last_and_new_pythons_lose_old_pins() {
        let extras = ["pandas".to_owned()];
        let list = requirements(&release("2.30.1"), 13, &extras, false);
        assert_eq!(list.last().map(String::as_str), Some("pandas"));
        assert!(list.contains(&"numpy".to_owned()) && list.contains(&"msgpack".to_owned()));
        assert!(requirements(&release("2.30.1"), 7, &[], true).contains(&"bokeh<3".to_owned()));
    }
}
