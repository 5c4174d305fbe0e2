//! The small types of a recipe and what may be written for each. Reading is
//! the only way to make one, so whoever holds one need not check again.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use crate::package::Phase;

/// Says what is wrong and, after a line break, what to do about it.
pub(super) type Refusal = String;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Refusal;

            fn from_str(text: &str) -> Result<Self, Refusal> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// Name of an image: `[a-z0-9][a-z0-9-]{0,31}`. Used in file names.
    ImageName, check_name
);
word!(
    /// What an update must match to be taken: like a name, at most 31
    /// characters, because the state record has 32 bytes for it.
    Product, check_product
);
word!(
    /// Version of an image: 1 to 31 of `[A-Za-z0-9._~+-]`.
    ImageVersion, check_version
);
word!(
    /// Short name of a repository, shown in messages and in the lock.
    RepositoryId, check_name
);
word!(
    /// An absolute path inside the image, without `.` and `..`.
    ImagePath, check_image_path
);
word!(
    /// Name of a kernel module, without `.ko`.
    ModuleName, check_module
);
word!(
    /// A package name, something a package provides, or a path; with a version
    /// as in `bash >= 5`.
    Requirement, check_requirement
);

/// A language as `%lang` of a spec file has it: `de`, `pt_BR`, `sr@latin`.
pub(super) fn language(text: &str) -> Result<String, Refusal> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '.' | '-');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fine) {
        return Err(format!("`{text}` is no language\nwrite one such as \"en\" or \"pt_BR\""));
    }
    Ok(text.to_owned())
}

/// A package's script: `NAME %PHASE`.
pub(super) fn script(text: &str) -> Result<(String, Phase), Refusal> {
    let (name, phase) = text.split_once(' ').unwrap_or((text, ""));
    check_requirement(name)?;
    let phases = Phase::ALL.map(Phase::name).join(", ");
    let unknown =
        || format!("`{text}` names no script\nwrite a package's name and one of {phases}");
    Ok((name.to_owned(), Phase::from_name(phase.trim()).ok_or_else(unknown)?))
}

fn check_name(text: &str) -> Result<(), Refusal> {
    check_short(text, 32, "-", false)?;
    if text.starts_with('-') {
        return Err(format!("`{text}` begins with a hyphen\nbegin with a letter or digit"));
    }
    Ok(())
}

fn check_product(text: &str) -> Result<(), Refusal> {
    check_name(text)?;
    check_short(text, 31, "-", false)
}

fn check_version(text: &str) -> Result<(), Refusal> {
    check_short(text, 31, "._~+-", true)
}

fn check_short(text: &str, longest: usize, others: &str, capitals: bool) -> Result<(), Refusal> {
    let allowed = |c: char| {
        c.is_ascii_lowercase()
            || c.is_ascii_digit()
            || (capitals && c.is_ascii_uppercase())
            || others.contains(c)
    };
    if text.is_empty() {
        return Err("an empty text".to_owned());
    }
    if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
        let letters = if capitals { "letters" } else { "small letters" };
        let hint = format!("{letters}, digits and {others} are possible");
        return Err(format!("{wrong:?} is not possible here\n{hint}"));
    }
    if text.len() > longest {
        return Err(format!("longer than {longest} characters\nshorten it"));
    }
    Ok(())
}

fn check_image_path(text: &str) -> Result<(), Refusal> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!("`{text}` is not an absolute path\nbegin with /"));
    }
    let plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if !plain || text.contains("//") || text.contains("/./") || text.ends_with("/.") {
        return Err(format!("`{text}` has an empty part, `.` or `..`\nwrite it without"));
    }
    if text.len() > 4095 || text.contains('\0') || text.ends_with('/') {
        return Err(format!("`{text}` does not name a file\nwrite a path like /etc/hostname"));
    }
    Ok(())
}

fn check_module(text: &str) -> Result<(), Refusal> {
    if text.ends_with(".ko") {
        return Err(format!("`{text}` is a file name\nleave .ko away"));
    }
    check_short(text, 64, "_-", true)
}

fn check_requirement(text: &str) -> Result<(), Refusal> {
    let hint = match text.split(' ').collect::<Vec<_>>()[..] {
        [_] | [_, "<" | "<=" | "=" | ">=" | ">", _] if is_requirement(text) => return Ok(()),
        [_, _, _] => "a version is asked for like `bash = 5.2.15` or `bash >= 5`",
        _ => "write a package's name, what it provides, or a path, and maybe a version",
    };
    Err(format!("`{text}` does not name a package\n{hint}"))
}

fn is_requirement(text: &str) -> bool {
    let is_word = |word: &str| {
        let wrong = |c: char| c.is_whitespace() || c.is_control() || "<>=".contains(c);
        // A sign glued to a name is a name to rpm, and never meant.
        !word.is_empty() && !word.ends_with(wrong) && !word.contains(char::is_whitespace)
    };
    let mut words = text.split(' ').filter(|word| !matches!(*word, "<" | "<=" | "=" | ">=" | ">"));
    text.len() <= 4096 && words.all(is_word) && !text.contains(char::is_control)
}

impl Requirement {
    /// The name, the sign and the version, as far as they are there.
    #[must_use]
    pub fn parts(&self) -> (&str, Option<(&str, &str)>) {
        match self.0.split(' ').collect::<Vec<_>>()[..] {
            [name, sign, version] => (name, Some((sign, version))),
            _ => (&self.0, None),
        }
    }
}

/// The processor an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM: can be locked, not yet built.
    Aarch64,
}

impl Arch {
    /// As rpm calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

impl FromStr for Arch {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(format!("`{other}` is not supported\nwrite x86_64 or aarch64")),
        }
    }
}

/// A glob over paths of the image: `*` stops at `/`, `**` does not.
#[derive(Debug, Clone)]
pub struct Pattern(globset::GlobMatcher);

impl Pattern {
    /// Whether the absolute `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl FromStr for Pattern {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` is not an absolute path\nbegin with / or /**/"));
        }
        globset::GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map(|glob| Self(glob.compile_matcher()))
            .map_err(|error| format!("`{text}` is not a glob: {}", error.kind()))
    }
}

/// Permission bits of a file, written as octal text (`"0644"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(u16);

impl Mode {
    /// What a file has when the recipe says nothing.
    pub const DEFAULT: Self = Self(0o644);

    /// The twelve permission bits.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match u16::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o7777 && (3..=4).contains(&text.len()) => Ok(Self(bits)),
            _ => Err(format!("`{text}` is not a mode\nwrite four octal digits like \"0644\"")),
        }
    }
}

/// Fingerprint of an OpenPGP key: 40 or 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Upper-case hexadecimal digits without spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let digits: String = text.chars().filter(|c| *c != ' ').collect();
        if !matches!(digits.len(), 40 | 64) || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            let hint = "write the 40 digits that `gpg --show-keys` prints";
            return Err(format!("`{text}` is not the fingerprint of a key\n{hint}"));
        }
        Ok(Self(digits.to_ascii_uppercase()))
    }
}
