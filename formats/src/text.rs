//! Short texts of fixed room in on-disk records: versions, product names.

use core::fmt;
use core::str::FromStr;

/// At most `ROOM - 1` bytes of printable ASCII without spaces, padded with NUL.
/// Being this plain, it can go to a console, a path and a record unescaped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<const ROOM: usize>([u8; ROOM]);

/// A version such as `1.2.0` or `2026.11`.
pub type Version = Text<32>;
/// What an update must match to be for this machine.
pub type Product = Text<32>;

/// Not a short printable text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a short text: at most {0} printable ASCII characters and no space")]
pub struct NotAText(usize);

impl<const ROOM: usize> Text<ROOM> {
    /// No text.
    pub const EMPTY: Self = Self([0; ROOM]);

    /// Reads the NUL-padded form; anything after the first NUL must be NUL.
    pub fn from_padded(bytes: [u8; ROOM]) -> Result<Self, NotAText> {
        let len = bytes.iter().position(|b| *b == 0).ok_or(NotAText(ROOM - 1))?;
        let printable = bytes[..len].iter().all(u8::is_ascii_graphic);
        let padded = bytes[len..].iter().all(|b| *b == 0);
        if printable && padded { Ok(Self(bytes)) } else { Err(NotAText(ROOM - 1)) }
    }

    /// The NUL-padded form.
    #[must_use]
    pub fn padded(&self) -> &[u8; ROOM] {
        &self.0
    }

    /// The text without its padding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(ROOM);
        core::str::from_utf8(&self.0[..len]).unwrap_or("")
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

impl<const ROOM: usize> FromStr for Text<ROOM> {
    type Err = NotAText;

    fn from_str(text: &str) -> Result<Self, NotAText> {
        let mut bytes = [0; ROOM];
        let room = bytes.get_mut(..text.len()).ok_or(NotAText(ROOM - 1))?;
        room.copy_from_slice(text.as_bytes());
        Self::from_padded(bytes)
    }
}

impl<const ROOM: usize> fmt::Display for Text<ROOM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const ROOM: usize> fmt::Debug for Text<ROOM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "bundle")]
impl<const ROOM: usize> serde::Serialize for Text<ROOM> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "bundle")]
impl<'de, const ROOM: usize> serde::Deserialize<'de> for Text<ROOM> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_text_passes() {
        assert_eq!("1.2.0~rc1".parse::<Text<16>>().map(|t| t.is_empty()), Ok(false));
        assert!("".parse::<Text<4>>().is_ok_and(|t| t.is_empty()));
        for bad in ["abcd", "a b", "é", "a\n"] {
            assert!(bad.parse::<Text<4>>().is_err(), "{bad:?}");
        }
        assert!(Text::<4>::from_padded(*b"a\0b\0").is_err());
        assert!(Text::<4>::from_padded(*b"abcd").is_err());
    }
}
