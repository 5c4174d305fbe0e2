//! GUIDs as GPT stores them (UEFI specification 2.10, appendix A): the first
//! three groups little-endian, the rest as written.

use core::fmt;
use core::str::FromStr;

use crate::digest::{Digest, from_hex};

/// A GUID in its 16-byte on-disk form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

/// Where each pair of digits of the text goes, group by group.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// "No partition here".
    pub const ZERO: Self = Self([0; 16]);

    /// A version 4 GUID from 16 bytes of randomness.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        let mut bytes = random;
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The GUID that follows from `parts`, the same each time: what a
    /// reproducible build uses in place of randomness.
    #[must_use]
    pub fn derived(parts: &[&[u8]]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Digest::of_parts(parts).0[..16]);
        Self::from_random(half)
    }

    /// The GUID whose [`Self::uuid_bytes`] these are.
    #[must_use]
    pub fn from_uuid_bytes(uuid: [u8; 16]) -> Self {
        Self(ORDER.map(|at| uuid[at]))
    }

    /// The bytes in the order of the text, as RFC 9562 has them and as
    /// file-system superblocks store a UUID.
    #[must_use]
    pub fn uuid_bytes(&self) -> [u8; 16] {
        ORDER.map(|at| self.0[at])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.uuid_bytes().iter().enumerate() {
            if [4, 6, 8, 10].contains(&place) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID")]
pub struct NotAGuid;

impl FromStr for Guid {
    type Err = NotAGuid;

    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        let dashes = [8, 13, 18, 23];
        let placed = text.len() == 36 && dashes.iter().all(|at| text.as_bytes()[*at] == b'-');
        let digits: alloc::string::String = text.chars().filter(|c| *c != '-').collect();
        let mut uuid = [0; 16];
        if !placed || from_hex(&digits.to_ascii_lowercase(), &mut uuid).is_none() {
            return Err(NotAGuid);
        }
        Ok(Self::from_uuid_bytes(uuid))
    }
}

/// A GUID constant from its text's groups.
#[must_use]
pub const fn guid(a: u32, b: u16, c: u16, d: u16, e: u64) -> Guid {
    let (a, b, c, d, e) =
        (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes(), e.to_be_bytes());
    Guid([
        a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], e[2], e[3], e[4], e[5], e[6],
        e[7],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_and_disk_order() {
        let esp = guid(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0_c93e_c93b);
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(esp.0[..4], [0x28, 0x73, 0x2a, 0xc1]);
        assert_eq!("C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse(), Ok(esp));
        assert!("c12a7328-f81f-11d2-ba4b-00a0c93ec93".parse::<Guid>().is_err());
        assert!("c12a7328-f81f-11d2-ba4b-00a0cé3ec9b".parse::<Guid>().is_err());
    }
}
