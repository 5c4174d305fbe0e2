//! The two texts that steer a boot: `/slipway.conf` of the initrd and the
//! kernel's command line. Both are covered by the UKI's signature.

use std::path::PathBuf;
use std::time::Duration;

use formats::Digest;

/// `KEY=VALUE` lines; empty ones and those that begin with `#` are skipped.
/// Values are taken as they are, without quotes. The last of a key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues(Vec<(String, String)>);

/// A line is not `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number} is not KEY=VALUE: {line}")]
pub struct NotKeyValue {
    number: usize,
    line: String,
}

impl KeyValues {
    /// Reads the lines.
    pub fn parse(text: &str) -> Result<Self, NotKeyValue> {
        let mut pairs = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| NotKeyValue { number: index + 1, line: line.to_owned() })?;
            pairs.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Self(pairs))
    }

    /// The value of `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        let mut newest_first = self.0.iter().rev();
        newest_first.find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// What `/slipway.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `INIT`: the program in the image that becomes PID 1
    pub init: PathBuf,
    /// `HEALTH_TIMEOUT_SECONDS`: from the agent's start to the health gate
    pub health_timeout: Duration,
    /// `INIT_TIMEOUT_SECONDS`: how long the keeper waits for a sign of life of
    /// the agent, from the switch of the root and between two of them
    pub init_timeout: Duration,
    /// `DISK_TIMEOUT_SECONDS`: until the own disk has appeared
    pub disk_timeout: Duration,
}

/// `/slipway.conf` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    /// Not of the right form.
    #[error(transparent)]
    Form(#[from] NotKeyValue),
    /// A value is not one.
    #[error("{key} is not a number of seconds from 1 to 86400: {value}")]
    Seconds {
        /// the key
        key: &'static str,
        /// its value
        value: String,
    },
    /// The program must be found without a PATH.
    #[error("INIT is not an absolute path: {0}")]
    Init(String),
}

impl Settings {
    /// Reads the text. What is not said has a default: `/sbin/init`, 60 s to
    /// the health gate, a minute more to the agent's start, 30 s for the disk.
    pub fn parse(text: &str) -> Result<Self, BadSettings> {
        let values = KeyValues::parse(text)?;
        let init = values.value("INIT").unwrap_or("/sbin/init");
        if !init.starts_with('/') {
            return Err(BadSettings::Init(init.to_owned()));
        }
        let health_timeout = seconds(&values, "HEALTH_TIMEOUT_SECONDS", 60)?;
        let patience = health_timeout.as_secs() + 60;
        Ok(Self {
            init: init.into(),
            health_timeout,
            init_timeout: seconds(&values, "INIT_TIMEOUT_SECONDS", patience)?,
            disk_timeout: seconds(&values, "DISK_TIMEOUT_SECONDS", 30)?,
        })
    }
}

/// The seconds under `key`, which are at most a day.
pub fn seconds(
    values: &KeyValues,
    key: &'static str,
    default: u64,
) -> Result<Duration, BadSettings> {
    let Some(value) = values.value(key) else {
        return Ok(Duration::from_secs(default));
    };
    let number: u64 = value.parse().unwrap_or(0);
    if !(1..=86_400).contains(&number) {
        let value = value.to_owned();
        return Err(BadSettings::Seconds { key, value });
    }
    Ok(Duration::from_secs(number))
}

/// The command line does not say what to boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCmdline {
    /// There is none.
    #[error("no roothash= on the kernel command line")]
    Absent,
    /// It is not a digest.
    #[error("roothash={0} is not 64 lower-case hexadecimal digits")]
    NotADigest(String),
    /// Two of them: one was not meant to be there.
    #[error("more than one roothash= on the kernel command line")]
    Twice,
}

/// The root hash on the kernel's command line.
pub fn root_hash(cmdline: &str) -> Result<Digest, BadCmdline> {
    let mut found =
        cmdline.split_ascii_whitespace().filter_map(|word| word.strip_prefix("roothash="));
    let text = found.next().ok_or(BadCmdline::Absent)?;
    if found.next().is_some() {
        return Err(BadCmdline::Twice);
    }
    text.parse().map_err(|_| BadCmdline::NotADigest(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_with_defaults_and_without() {
        let plain = Settings::parse("# nothing said\n\n").expect("defaults");
        assert_eq!(plain.init, PathBuf::from("/sbin/init"));
        assert_eq!(plain.health_timeout, Duration::from_secs(60));
        assert_eq!(plain.init_timeout, Duration::from_secs(120));
        let said = Settings::parse("INIT=/bin/go\nHEALTH_TIMEOUT_SECONDS = 5\n").expect("whole");
        assert_eq!(said.init, PathBuf::from("/bin/go"));
        assert_eq!(said.health_timeout, Duration::from_secs(5));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| Settings::parse(text).expect_err("a mistake").to_string();
        assert_eq!(message("INIT=/a\noops"), "line 2 is not KEY=VALUE: oops");
        assert_eq!(message("INIT=init"), "INIT is not an absolute path: init");
        for bad in ["", "0", "-1", "86401", "1e3"] {
            assert!(Settings::parse(&format!("DISK_TIMEOUT_SECONDS={bad}")).is_err());
        }
    }

    #[test]
    fn the_root_hash_is_one_word_of_the_command_line() {
        let digest = Digest::of(b"root");
        let line = format!("console=ttyS0 roothash={digest} panic=10\n");
        assert_eq!(root_hash(&line), Ok(digest));
        assert_eq!(root_hash("quiet"), Err(BadCmdline::Absent));
        assert!(matches!(root_hash("roothash=12"), Err(BadCmdline::NotADigest(_))));
        assert_eq!(root_hash(&format!("roothash={digest} {line}")), Err(BadCmdline::Twice));
    }
}
