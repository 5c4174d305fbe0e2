//! How large a store may become: sizes as people write them, and where the
//! limit is said.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::{Store, StoreError, failed};

/// The variable that says it for every store of a user.
const VARIABLE: &str = "SLIPWAY_STORE_MAX";
/// The file that says it for one store.
const SETTINGS: &str = "settings.toml";
/// Nothing else is in it.
const MAX_SETTINGS_BYTES: u64 = 64 << 10;

/// A number of bytes, as in `20GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write 20GiB, 500MB or a number of bytes")]
pub struct BadSize(String);

/// What may follow the number, in any case; without it, bytes are meant.
const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
];

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim_start().to_ascii_lowercase();
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // Three digits of a fraction are as fine as anybody writes them.
        if whole.is_empty() || fraction.len() > 3 || (number.contains('.') && fraction.is_empty()) {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let thousandths: u64 = format!("{fraction:0<3}").parse().map_err(|_| bad())?;
        let bytes = u128::from(whole) * u128::from(factor)
            + u128::from(thousandths) * u128::from(factor) / 1000;
        u64::try_from(bytes).map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::progress::bytes(self.0))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    max_size: Option<String>,
}

impl Store {
    /// The limit that applies without any being asked for:
    /// `SLIPWAY_STORE_MAX`, else `max_size` in `settings.toml` of the store.
    pub fn limit(&self) -> Result<Option<Size>, StoreError> {
        if let Some(text) = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
            let wrong = |source| StoreError::Limit { from: VARIABLE.to_owned(), source };
            return text.parse().map(Some).map_err(wrong);
        }
        let path = self.settings_path();
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed("read", &path))?.len(),
        };
        let text = match length {
            0..=MAX_SETTINGS_BYTES => fs::read_to_string(&path).map_err(failed("read", &path))?,
            _ => return Err(failed("read", &path)(io::Error::other("it is too long"))),
        };
        let settings: Settings = toml::from_str(&text)
            .map_err(|error| failed("understand", &path)(io::Error::other(error.to_string())))?;
        let wrong = |source| StoreError::Limit { from: path.display().to_string(), source };
        settings.max_size.map(|text| text.parse()).transpose().map_err(wrong)
    }

    fn settings_path(&self) -> PathBuf {
        self.root.join(SETTINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("20GiB", 20 << 30),
            ("20 gib", 20 << 30),
            ("1.5GiB", 3 << 29),
            ("500MB", 500_000_000),
            ("0.001kb", 1),
            ("2T", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1.", ".5G", "1..2", "1e9", "20 apples", "99999999999999TiB"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_store_has_a_setting() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("store");
        if std::env::var_os(VARIABLE).is_some() {
            return skip::because(format_args!("{VARIABLE} is set"));
        }
        assert_eq!(store.limit().expect("none"), None);
        fs::write(store.settings_path(), "max_size = \"2GiB\"\n").expect("written");
        assert_eq!(store.limit().expect("readable"), Some(Size(2 << 30)));
        for bad in ["max_size = \"much\"", "max_size = 3", "min_size = \"1\"", "="] {
            fs::write(store.settings_path(), bad).expect("written");
            assert!(store.limit().is_err(), "{bad}");
        }
    }
}
