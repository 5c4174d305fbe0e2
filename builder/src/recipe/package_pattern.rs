//! Which packages an `exclude` or `only` means: by name, or by as much of
//! name, version, release and architecture as is written, with globs.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::words::Refusal;
use crate::evr::Nevra;

/// A package's name, or as much of `name-[epoch:]version-release.arch` as
/// wanted; `*`, `?` and `[…]` match as in a shell.
#[derive(Debug, Clone)]
pub struct PackagePattern {
    text: String,
    /// Only where there is something to match.
    glob: Option<globset::GlobMatcher>,
}

impl PackagePattern {
    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the package is meant.
    #[must_use]
    pub fn matches(&self, nevra: &Nevra) -> bool {
        self.is(&nevra.name) || self.matches_more(nevra)
    }

    /// The longer forms, for which texts must be made.
    fn matches_more(&self, nevra: &Nevra) -> bool {
        let Nevra { name, evr, arch } = nevra;
        // Nearly always the pattern is about another package.
        if self.glob.is_none() && !self.text.starts_with(name.as_str()) {
            return false;
        }
        let (version, release) = (&evr.version, &evr.release);
        let epoch = evr.epoch;
        let versions = [
            format!("{version}-{release}"),
            format!("{epoch}:{version}-{release}"),
            version.clone(),
            format!("{epoch}:{version}"),
        ];
        self.is(&format!("{name}.{arch}"))
            || versions[..2].iter().any(|evr| self.is(&format!("{name}-{evr}.{arch}")))
            || versions.iter().any(|evr| self.is(&format!("{name}-{evr}")))
    }

    fn is(&self, text: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(text),
            None => self.text == text,
        }
    }
}

impl FromStr for PackagePattern {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if text.is_empty() || text.len() > 4096 || text.contains(wrong) {
            let hint = "write a name like `foo`, a glob like `foo-*`, or `foo-1.0-1.x86_64`";
            return Err(format!("`{text}` does not name packages\n{hint}"));
        }
        let glob = text.contains(['*', '?', '[']).then(|| globset::Glob::new(text)).transpose();
        let glob = glob.map_err(|error| format!("`{text}` is not a glob: {}", error.kind()))?;
        Ok(Self { text: text.to_owned(), glob: glob.map(|glob| glob.compile_matcher()) })
    }
}

impl PartialEq for PackagePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PackagePattern {}

impl Ord for PackagePattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl PartialOrd for PackagePattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PackagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evr::Evr;

    #[test]
    fn as_much_as_is_written_must_match() {
        let evr = Evr { epoch: 1, version: "2.0".into(), release: "3.azl".into() };
        let nevra = Nevra { name: "lib-foo".into(), evr, arch: "noarch".into() };
        for text in [
            "lib-foo",
            "lib-*",
            "*",
            "lib-foo.noarch",
            "*.noarch",
            "lib-foo-2.0",
            "lib-foo-2.0-3.azl",
            "lib-foo-1:2.0-3.azl.noarch",
            "lib-fo[ox]-2.*",
        ] {
            assert!(text.parse::<PackagePattern>().expect("pattern").matches(&nevra), "{text}");
        }
        for text in ["lib", "foo", "lib-foo-2", "lib-foo-3.azl", "*.x86_64", "lib-?"] {
            assert!(!text.parse::<PackagePattern>().expect("pattern").matches(&nevra), "{text}");
        }
        for text in ["", "a b", "/usr/bin/sh", "[a"] {
            assert!(text.parse::<PackagePattern>().is_err(), "{text}");
        }
    }
}
