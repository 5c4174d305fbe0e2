//! VHDX as MS-VHDX (revision 9) has it: the disk file of Hyper-V. Here are its
//! structures as values, to bytes and back; whoever has the file does the
//! reading and writing.
//!
//! ```text
//! 0          64 KiB    128 KiB   192 KiB  256 KiB  1 MiB
//! | identity | header 1| header 2| regions| regions| log | BAT | metadata | blocks … |
//!                                     └── say where BAT and metadata are ──┘
//! ```
//!
//! Of the two headers the valid one with the higher sequence number counts. A
//! log GUID that is not zero says that the log must be replayed before anything
//! else is believed; a file we write never needs that. Differencing disks, which
//! have a parent, are told apart and refused.

pub mod bat;
pub mod header;
pub mod metadata;
pub mod region;

pub use bat::{BatEntry, BlockState, Geometry};
pub use header::Header;
pub use metadata::Metadata;
pub use region::RegionTable;

/// Everything of the file but the first MiB lies at multiples of this.
pub const ALIGN_BYTES: u64 = 1 << 20;
/// Where the file type identifier lies.
pub const IDENTIFIER_OFFSET: u64 = 0;
/// Where the two headers lie.
pub const HEADER_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
/// Where the two copies of the region table lie.
pub const REGION_TABLE_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
/// End of what lies at fixed offsets; the log, the regions and the blocks are
/// behind it.
pub const FIXED_BYTES: u64 = 1 << 20;
/// A file of several MiB whose header names a shorter log is refused by Hyper-V.
pub const MIN_LOG_BYTES: u32 = 1 << 20;

/// Why bytes are no VHDX that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VhdxError {
    /// Something else altogether.
    #[error("not a VHDX file")]
    NotVhdx,
    /// A structure is damaged.
    #[error("the {what} of the VHDX file is damaged")]
    Damaged {
        /// which structure
        what: &'static str,
    },
    /// A value that the specification does not allow.
    #[error("{what} of the VHDX file is {value}, which is not possible")]
    Value {
        /// which value
        what: &'static str,
        /// what was read
        value: u64,
    },
    /// Written by something newer: the specification says not to touch it.
    #[error("the VHDX file needs a {what} that is not known here")]
    Unknown {
        /// what kind of thing
        what: &'static str,
    },
    /// Not closed properly.
    #[error("the VHDX file was not closed: its log must be replayed first")]
    NeedsReplay,
    /// A checkpoint or another child.
    #[error("the VHDX file is a differencing disk, which is only part of one")]
    HasParent,
}

/// The file type identifier, as it lies at the file's start; `creator` is at
/// most 255 UTF-16 units (section 2.2.1).
#[must_use]
pub fn identifier(creator: &str) -> alloc::vec::Vec<u8> {
    let mut bytes = b"vhdxfile".to_vec();
    let units = creator.encode_utf16().take(255);
    bytes.extend(units.flat_map(u16::to_le_bytes));
    bytes
}

/// Whether a file that begins like this is VHDX.
#[must_use]
pub fn is_vhdx(start: &[u8]) -> bool {
    start.starts_with(b"vhdxfile")
}

#[cfg(test)]
mod tests;
