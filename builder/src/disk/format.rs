//! The files a disk can be handed over as. Each is written natively from the raw
//! disk, in one pass that reads nothing of its holes: time and memory go with
//! the bytes that are not zero. The same disk gives the same file.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use super::{qcow2, vhdx};

/// A kind of disk file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskFormat {
    /// The disk, byte by byte; a sparse file.
    Raw,
    /// Hyper-V's, which grows with what is written.
    Vhdx,
    /// Hyper-V's, with a place for every block.
    VhdxFixed,
    /// QEMU's.
    Qcow2,
}

impl DiskFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Vhdx, Self::VhdxFixed, Self::Qcow2];

    /// As a recipe calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Vhdx => "vhdx",
            Self::VhdxFixed => "vhdx-fixed",
            Self::Qcow2 => "qcow2",
        }
    }

    /// Name of the file in the image's folder.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Raw => "disk.raw",
            Self::Vhdx => "disk.vhdx",
            Self::VhdxFixed => "disk-fixed.vhdx",
            Self::Qcow2 => "disk.qcow2",
        }
    }

    /// Writes the disk in `raw`, whose length is a multiple of 512, to `path`.
    /// Identifiers follow from `seed`.
    pub fn write(self, raw: &File, seed: &[u8], path: &Path) -> io::Result<()> {
        let create = || File::options().read(true).write(true).create_new(true).open(path);
        match self {
            Self::Raw => {
                let out = create()?;
                out.set_len(raw.metadata()?.len())?;
                super::data::for_each(raw, 1 << 20, |offset, bytes| {
                    std::os::unix::fs::FileExt::write_all_at(&out, bytes, offset)
                })
            }
            Self::Vhdx => vhdx::write(raw, false, seed, &create()?),
            Self::VhdxFixed => vhdx::write(raw, true, seed, &create()?),
            Self::Qcow2 => qcow2::write(raw, &create()?),
        }
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DiskFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no disk format\npossible are {all}")
        })
    }
}

#[cfg(test)]
mod tests;
