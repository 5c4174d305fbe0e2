//! `/run/slipway/boot`: what slipway-init found out about this boot, for the
//! agent, the installer's `--self` and people. Written once, before the root
//! is switched.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::{Digest, Slot};

use crate::error::{At, During};
use crate::paths;
use crate::settings::{KeyValues, seconds};

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFacts {
    /// `DISK`: the whole disk
    pub disk: PathBuf,
    /// `SLOT`: the slot that runs
    pub slot: Slot,
    /// `STATE`: partition with the state record
    pub state: PathBuf,
    /// `DATA`: partition under /var
    pub data: PathBuf,
    /// `ROOTHASH`: of the root that runs
    pub root_hash: Digest,
    /// `VERSION`: from the slot's header; empty when that is unreadable
    pub version: String,
    /// `HEALTH_TIMEOUT_SECONDS`
    pub health_timeout: Duration,
    /// `NAME_MONOTONIC_MS`: when stages were reached, in milliseconds since
    /// the kernel started
    pub times: Vec<(&'static str, u64)>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadFacts {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] At),
    /// A key is missing or its value is not one.
    #[error("the boot facts in /run/slipway/boot have no usable {0}")]
    Key(&'static str),
}

impl BootFacts {
    /// As the file has them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{key}={value}").expect("a String takes everything");
        };
        line("DISK", &self.disk.display());
        line("SLOT", &self.slot);
        line("STATE", &self.state.display());
        line("DATA", &self.data.display());
        line("ROOTHASH", &self.root_hash);
        line("VERSION", &self.version);
        line("HEALTH_TIMEOUT_SECONDS", &self.health_timeout.as_secs());
        for (stage, milliseconds) in &self.times {
            line(&format!("{stage}_MONOTONIC_MS"), milliseconds);
        }
        text
    }

    /// Reads the file's text; the times are for people and are not read.
    pub fn parse(text: &str) -> Result<Self, BadFacts> {
        let values = KeyValues::parse(text).map_err(|_| BadFacts::Key("KEY=VALUE lines"))?;
        let value = |key: &'static str| values.value(key).ok_or(BadFacts::Key(key));
        Ok(Self {
            disk: value("DISK")?.into(),
            slot: match value("SLOT")? {
                "a" => Slot::A,
                "b" => Slot::B,
                _ => return Err(BadFacts::Key("SLOT")),
            },
            state: value("STATE")?.into(),
            data: value("DATA")?.into(),
            root_hash: value("ROOTHASH")?.parse().map_err(|_| BadFacts::Key("ROOTHASH"))?,
            version: value("VERSION")?.to_owned(),
            health_timeout: seconds(&values, "HEALTH_TIMEOUT_SECONDS", 60)
                .map_err(|_| BadFacts::Key("HEALTH_TIMEOUT_SECONDS"))?,
            times: Vec::new(),
        })
    }

    /// Reads the running system's.
    pub fn read() -> Result<Self, BadFacts> {
        let path = Path::new(paths::BOOT_FACTS);
        let text = std::fs::read_to_string(path).during("read", path)?;
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let facts = BootFacts {
            disk: "/dev/vda".into(),
            slot: Slot::B,
            state: "/dev/vda2".into(),
            data: "/dev/vda10".into(),
            root_hash: Digest::of(b"root"),
            version: "2.0.0".to_owned(),
            health_timeout: Duration::from_secs(60),
            times: Vec::new(),
        };
        assert_eq!(BootFacts::parse(&facts.to_text()).expect("whole"), facts);
        let timed = BootFacts { times: vec![("INIT", 1200)], ..facts.clone() };
        assert!(timed.to_text().ends_with("INIT_MONOTONIC_MS=1200\n"));
        let cut = facts.to_text().replace("SLOT=b", "SLOT=c");
        assert!(matches!(BootFacts::parse(&cut), Err(BadFacts::Key("SLOT"))));
    }
}
