//! Versions of packages and how they compare, exactly as rpm does it
//! (`rpmio/rpmvercmp.c`, `lib/rpmds.c`), and the names built from them.

use std::cmp::Ordering;
use std::fmt;

/// Compares two version or release strings as `rpmvercmp()` does: runs of
/// digits and runs of letters in turn, `~` before everything even the end,
/// `^` after the end but before anything else.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip_separators(a);
        b = skip_separators(b);
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => (a, b) = (&a[1..], &b[1..]),
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), other) => {
                return if other.is_none() { Ordering::Greater } else { Ordering::Less };
            }
            (other, Some(b'^')) => {
                return if other.is_none() { Ordering::Less } else { Ordering::Greater };
            }
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(first), Some(_)) => {
                let numeric = first.is_ascii_digit();
                let (segment_a, rest_a) = split_segment(a, numeric);
                let (segment_b, rest_b) = split_segment(b, numeric);
                if segment_b.is_empty() {
                    // A number is newer than letters.
                    return if numeric { Ordering::Greater } else { Ordering::Less };
                }
                match compare_segments(segment_a, segment_b, numeric) {
                    Ordering::Equal => (a, b) = (rest_a, rest_b),
                    unequal => return unequal,
                }
            }
        }
    }
}

fn skip_separators(text: &[u8]) -> &[u8] {
    let is_kept = |c: &u8| c.is_ascii_alphanumeric() || *c == b'~' || *c == b'^';
    &text[text.iter().position(is_kept).unwrap_or(text.len())..]
}

fn split_segment(text: &[u8], numeric: bool) -> (&[u8], &[u8]) {
    let belongs = |c: &u8| {
        if numeric { c.is_ascii_digit() } else { c.is_ascii_alphabetic() }
    };
    text.split_at(text.iter().position(|c| !belongs(c)).unwrap_or(text.len()))
}

fn compare_segments(a: &[u8], b: &[u8], numeric: bool) -> Ordering {
    if !numeric {
        return a.cmp(b);
    }
    let (a, b) = (strip_zeros(a), strip_zeros(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|c| *c != b'0').unwrap_or(digits.len())..]
}

/// Epoch, version and release of a package. Two that rpm takes for the same
/// (`1.0` and `1.00`) are equal.
#[derive(Debug, Clone)]
pub struct Evr {
    /// 0 where a package has none.
    pub epoch: u32,
    /// The upstream version.
    pub version: String,
    /// The packaging release.
    pub release: String,
}

impl Ord for Evr {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_versions(&self.version, &other.version))
            .then_with(|| compare_versions(&self.release, &other.release))
    }
}

impl PartialOrd for Evr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Evr {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Evr {}

/// `[epoch:]version-release`, the epoch only where it is not 0.
impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}

/// Name, EVR and architecture: what identifies a package among others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nevra {
    /// The package's name.
    pub name: String,
    /// Its epoch, version and release.
    pub evr: Evr,
    /// `x86_64`, `noarch`, …
    pub arch: String,
}

/// `name-[epoch:]version-release.arch`
impl fmt::Display for Nevra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", self.name, self.evr, self.arch)
    }
}

/// How a dependency's version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterEqual,
    /// `>`
    Greater,
}

impl Sense {
    /// Reads the sign of a rich dependency (`>=`).
    #[must_use]
    pub fn from_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "<" => Self::Less,
            "<=" | "=<" => Self::LessEqual,
            "=" | "==" => Self::Equal,
            ">=" | "=>" => Self::GreaterEqual,
            ">" => Self::Greater,
            _ => return None,
        })
    }

    fn less(self) -> bool {
        matches!(self, Self::Less | Self::LessEqual)
    }

    fn greater(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterEqual)
    }

    fn equal(self) -> bool {
        matches!(self, Self::LessEqual | Self::Equal | Self::GreaterEqual)
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Equal => "=",
            Self::GreaterEqual => ">=",
            Self::Greater => ">",
        })
    }
}

/// The version half of a dependency: a half-open or exact range.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bound {
    /// Which side of the version is meant.
    pub sense: Sense,
    /// 0 where none was given.
    pub epoch: u32,
    /// The version.
    pub version: String,
    /// Where missing, any release is meant.
    pub release: Option<String>,
}

impl Bound {
    /// The exact version `evr`.
    #[must_use]
    pub fn exactly(evr: &Evr) -> Self {
        Self {
            sense: Sense::Equal,
            epoch: evr.epoch,
            version: evr.version.clone(),
            release: Some(evr.release.clone()),
        }
    }

    /// Reads `[epoch:]version[-release]`.
    #[must_use]
    pub fn parse(sense: Sense, text: &str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|c| c.is_ascii_digit()) => {
                (epoch.parse().unwrap_or(0), rest)
            }
            _ => (0, text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release.to_owned())),
            None => (rest, None),
        };
        Self { sense, epoch, version: version.to_owned(), release }
    }

    /// How the versions compare, whatever the senses: releases count only
    /// where both have one.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_versions(&self.version, &other.version))
            .then_with(|| match (&self.release, &other.release) {
                (Some(a), Some(b)) => compare_versions(a, b),
                _ => Ordering::Equal,
            })
    }

    /// Whether some version lies in both ranges (`rpmdsCompare()`): releases
    /// count only where both have one.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let order = self.compare(other);
        let (a, b) = (self.sense, other.sense);
        match order {
            Ordering::Less => a.greater() || b.less(),
            Ordering::Greater => a.less() || b.greater(),
            Ordering::Equal => {
                (a.equal() && b.equal()) || (a.less() && b.less()) || (a.greater() && b.greater())
            }
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.sense)?;
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        f.write_str(&self.version)?;
        self.release.iter().try_for_each(|release| write!(f, "-{release}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rpm's own cases, `tests/rpmvercmp.at` of rpm 4.18.
    const PUBLISHED: &[(&str, &str, i8)] = &[
        ("1.0", "1.0", 0),
        ("1.0", "2.0", -1),
        ("2.0", "1.0", 1),
        ("2.0.1", "2.0.1", 0),
        ("2.0", "2.0.1", -1),
        ("2.0.1", "2.0", 1),
        ("2.0.1a", "2.0.1a", 0),
        ("2.0.1a", "2.0.1", 1),
        ("2.0.1", "2.0.1a", -1),
        ("5.5p1", "5.5p1", 0),
        ("5.5p1", "5.5p2", -1),
        ("5.5p2", "5.5p1", 1),
        ("5.5p10", "5.5p10", 0),
        ("5.5p1", "5.5p10", -1),
        ("5.5p10", "5.5p1", 1),
        ("10xyz", "10.1xyz", -1),
        ("10.1xyz", "10xyz", 1),
        ("xyz10", "xyz10", 0),
        ("xyz10", "xyz10.1", -1),
        ("xyz10.1", "xyz10", 1),
        ("xyz.4", "xyz.4", 0),
        ("xyz.4", "8", -1),
        ("8", "xyz.4", 1),
        ("xyz.4", "2", -1),
        ("2", "xyz.4", 1),
        ("5.5p2", "5.6p1", -1),
        ("5.6p1", "5.5p2", 1),
        ("5.6p1", "6.5p1", -1),
        ("6.5p1", "5.6p1", 1),
        ("6.0.rc1", "6.0", 1),
        ("6.0", "6.0.rc1", -1),
        ("10b2", "10a1", 1),
        ("10a2", "10b2", -1),
        ("1.0aa", "1.0aa", 0),
        ("1.0a", "1.0aa", -1),
        ("1.0aa", "1.0a", 1),
        ("10.0001", "10.0001", 0),
        ("10.0001", "10.1", 0),
        ("10.1", "10.0001", 0),
        ("10.0001", "10.0039", -1),
        ("10.0039", "10.0001", 1),
        ("4.999.9", "5.0", -1),
        ("5.0", "4.999.9", 1),
        ("20101121", "20101121", 0),
        ("20101121", "20101122", -1),
        ("20101122", "20101121", 1),
        ("2_0", "2_0", 0),
        ("2.0", "2_0", 0),
        ("2_0", "2.0", 0),
        ("a", "a", 0),
        ("a+", "a+", 0),
        ("a+", "a_", 0),
        ("a_", "a+", 0),
        ("+a", "+a", 0),
        ("+a", "_a", 0),
        ("_a", "+a", 0),
        ("+_", "+_", 0),
        ("_+", "+_", 0),
        ("_+", "_+", 0),
        ("+", "_", 0),
        ("_", "+", 0),
        ("1.0~rc1", "1.0~rc1", 0),
        ("1.0~rc1", "1.0", -1),
        ("1.0", "1.0~rc1", 1),
        ("1.0~rc1", "1.0~rc2", -1),
        ("1.0~rc2", "1.0~rc1", 1),
        ("1.0~rc1~git123", "1.0~rc1~git123", 0),
        ("1.0~rc1~git123", "1.0~rc1", -1),
        ("1.0~rc1", "1.0~rc1~git123", 1),
        ("1.0^", "1.0^", 0),
        ("1.0^", "1.0", 1),
        ("1.0", "1.0^", -1),
        ("1.0^git1", "1.0^git1", 0),
        ("1.0^git1", "1.0", 1),
        ("1.0", "1.0^git1", -1),
        ("1.0^git1", "1.0^git2", -1),
        ("1.0^git2", "1.0^git1", 1),
        ("1.0^git1", "1.01", -1),
        ("1.01", "1.0^git1", 1),
        ("1.0^20160101", "1.0^20160101", 0),
        ("1.0^20160101", "1.0.1", -1),
        ("1.0.1", "1.0^20160101", 1),
        ("1.0^20160101^git1", "1.0^20160101^git1", 0),
        ("1.0^20160102", "1.0^20160101^git1", 1),
        ("1.0^20160101^git1", "1.0^20160102", -1),
        ("1.0~rc1^git1", "1.0~rc1^git1", 0),
        ("1.0~rc1^git1", "1.0~rc1", 1),
        ("1.0~rc1", "1.0~rc1^git1", -1),
        ("1.0^git1~pre", "1.0^git1~pre", 0),
        ("1.0^git1", "1.0^git1~pre", 1),
        ("1.0^git1~pre", "1.0^git1", -1),
        ("1b.fc17", "1b.fc17", 0),
        ("1b.fc17", "1.fc17", -1),
        ("1.fc17", "1b.fc17", 1),
        ("1g.fc17", "1g.fc17", 0),
        ("1g.fc17", "1.fc17", 1),
        ("1.fc17", "1g.fc17", -1),
        ("1.1.α", "1.1.α", 0),
        ("1.1.α", "1.1.β", 0),
        ("1.1.β", "1.1.α", 0),
        ("1.1.αα", "1.1.α", 0),
        ("1.1.α", "1.1.ββ", 0),
        ("1.1.ββ", "1.1.αα", 0),
    ];

    #[test]
    fn versions_compare_as_rpm_publishes() {
        for (a, b, expected) in PUBLISHED {
            assert_eq!(compare_versions(a, b) as i8, *expected, "{a} against {b}");
        }
    }

    #[test]
    fn versions_compare_as_rpm_does() {
        let parts = ["1", "01", "a", ".", "~", "^", "10", "b", "_", "~a", "^2", "A"];
        let versions: Vec<String> =
            parts.iter().flat_map(|a| parts.map(|b| format!("1{a}{b}"))).collect();
        let mut script = String::new();
        for (a, b) in versions.iter().zip(versions.iter().cycle().skip(37)) {
            script += &format!("print(rpm.vercmp('{a}','{b}')..' ')");
        }
        let run = std::process::Command::new("rpm")
            .args(["--eval", &format!("%{{lua:{script}}}")])
            .output();
        let Ok(output) = run else {
            skip::because("there is no rpm");
            return;
        };
        let text = String::from_utf8(output.stdout).expect("numbers");
        let mut theirs =
            text.split_whitespace().map(|number| number.parse::<i8>().expect("number"));
        for (a, b) in versions.iter().zip(versions.iter().cycle().skip(37)) {
            assert_eq!(Some(compare_versions(a, b) as i8), theirs.next(), "{a} against {b}");
        }
    }

    #[test]
    fn epochs_come_first() {
        let evr =
            |epoch, version: &str| Evr { epoch, version: version.into(), release: "1".into() };
        assert!(evr(1, "1.0") > evr(0, "9.0"));
        assert_eq!(evr(1, "1.0").to_string(), "1:1.0-1");
        assert_eq!(evr(0, "1.0").to_string(), "1.0-1");
    }

    #[test]
    fn ranges_overlap_as_rpm_says() {
        let bound = |text: &str| {
            let (sign, version) = text.split_once(' ').expect("sign and version");
            Bound::parse(Sense::from_sign(sign).expect("sign"), version)
        };
        for (provided, wanted, expected) in [
            ("= 1.0-1", ">= 1.0", true),
            ("= 1.0-1", "= 1.0", true),
            ("= 1.0-1", "= 1.0-2", false),
            ("= 1.0-1", "> 1.0", false),
            ("= 1.0-1", "< 1.0-2", true),
            ("= 2:1.0-1", ">= 9.0", true),
            ("= 1.0", ">= 1:0.5", false),
            ("< 2.0", "> 1.0", true),
            ("< 2.0", "> 2.0", false),
            ("<= 2.0", ">= 2.0", true),
            ("= 2.0~rc1-1", "< 2.0", true),
        ] {
            assert_eq!(
                bound(provided).overlaps(&bound(wanted)),
                expected,
                "{provided} for {wanted}"
            );
        }
    }
}
