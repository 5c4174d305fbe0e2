//! Which release a slot holds: what the state record, the UKI header and the
//! manifest all say of it, in one type and one byte layout.

use crate::digest::Digest;
use crate::field;
use crate::text::Version;

/// One of the two places a release can live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "bundle", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "bundle", serde(rename_all = "lowercase"))]
pub enum Slot {
    /// `uki-a`, `root-a`, `root-a-verity`
    A,
    /// `uki-b`, `root-b`, `root-b-verity`
    B,
}

impl Slot {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one that is not this one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// `a` or `b`, as in partition names.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl core::fmt::Display for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.letter())
    }
}

/// Which layouts of the data partition a release can work with. A machine
/// whose data has moved past `max` must not fall back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "bundle", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "bundle", serde(deny_unknown_fields))]
pub struct DataSchema {
    /// oldest layout it reads
    pub min: u32,
    /// layout it leaves behind once it is committed
    pub max: u32,
}

impl DataSchema {
    /// Whether data of layout `schema` can be used.
    #[must_use]
    pub fn reads(self, schema: u32) -> bool {
        (self.min..=self.max).contains(&schema)
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// for people
    pub version: Version,
    /// security epoch: never below a machine's floor
    pub epoch: u32,
    /// dm-verity root hash of the root partition
    pub root_hash: Digest,
    /// boots a pending slot gets, 1 to 7
    pub tries: u8,
    /// layouts of the data partition it works with
    pub data: DataSchema,
}

/// The release's fields cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a release record with impossible fields")]
pub struct BadRelease;

impl Release {
    /// Bytes of its encoded form.
    pub const LEN: usize = 80;
    /// No release gets more boots than this to prove itself.
    pub const MAX_TRIES: u8 = 7;

    /// Encodes: version 0..32, root hash 32..64, epoch 64..68, data min
    /// 68..72, data max 72..76, tries 76, zero 77..80.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        field::put(&mut out, 0, self.version.padded());
        field::put(&mut out, 32, &self.root_hash.0);
        field::put(&mut out, 64, &self.epoch.to_le_bytes());
        field::put(&mut out, 68, &self.data.min.to_le_bytes());
        field::put(&mut out, 72, &self.data.max.to_le_bytes());
        out[76] = self.tries;
        out
    }

    /// Reads the encoded form.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, BadRelease> {
        let release = Self {
            version: Version::from_padded(field::bytes(bytes, 0)).map_err(|_| BadRelease)?,
            root_hash: Digest(field::bytes(bytes, 32)),
            epoch: field::u32(bytes, 64),
            data: DataSchema { min: field::u32(bytes, 68), max: field::u32(bytes, 72) },
            tries: bytes[76],
        };
        let sane = (1..=Self::MAX_TRIES).contains(&release.tries)
            && release.data.min <= release.data.max
            && !release.version.is_empty();
        if sane { Ok(release) } else { Err(BadRelease) }
    }
}

/// A release for the tests of this crate.
#[cfg(test)]
pub(crate) fn sample(version: &str, epoch: u32) -> Release {
    Release {
        version: version.parse().expect("short"),
        epoch,
        root_hash: Digest::of(version.as_bytes()),
        tries: 3,
        data: DataSchema { min: 1, max: 1 },
    }
}
