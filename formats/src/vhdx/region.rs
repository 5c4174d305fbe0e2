//! The region table (MS-VHDX section 2.2.3), of which there are two copies: it
//! says where the block allocation table and the metadata are.

use alloc::vec;
use alloc::vec::Vec;

use super::header::sum_is_right;
use super::{ALIGN_BYTES, FIXED_BYTES, VhdxError};
use crate::crc32c::checksum;
use crate::field;
use crate::guid::{Guid, guid};

/// Bytes of a table that its checksum covers.
pub const REGION_TABLE_BYTES: usize = 64 << 10;
const SIGNATURE: &[u8; 4] = b"regi";
/// As many as the table has room for.
const MAX_ENTRIES: u32 = 2047;
const ENTRIES_OFFSET: usize = 16;
const ENTRY_BYTES: usize = 32;

const BAT: Guid = guid(0x2dc2_7766, 0xf623, 0x4200, 0x9d64, 0x115e_9bfd_4a08);
const METADATA: Guid = guid(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe, 0x575f_050f_886e);

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// a multiple of 1 MiB, 1 MiB or more
    pub offset_bytes: u64,
    /// a multiple of 1 MiB
    pub len_bytes: u32,
}

/// Both regions that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionTable {
    /// the block allocation table
    pub bat: Region,
    /// the metadata
    pub metadata: Region,
}

impl RegionTable {
    /// As it lies on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; REGION_TABLE_BYTES];
        field::put(&mut bytes, 0, SIGNATURE);
        field::put(&mut bytes, 8, &2_u32.to_le_bytes());
        for (number, (id, region)) in
            [(BAT, self.bat), (METADATA, self.metadata)].iter().enumerate()
        {
            let at = ENTRIES_OFFSET + number * ENTRY_BYTES;
            field::put(&mut bytes, at, &id.0);
            field::put(&mut bytes, at + 16, &region.offset_bytes.to_le_bytes());
            field::put(&mut bytes, at + 24, &region.len_bytes.to_le_bytes());
            field::put(&mut bytes, at + 28, &1_u32.to_le_bytes()); // required
        }
        let sum = checksum(&bytes);
        field::put(&mut bytes, 4, &sum.to_le_bytes());
        bytes
    }

    /// Reads a table, the first [`REGION_TABLE_BYTES`] of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, VhdxError> {
        let damaged = || VhdxError::Damaged { what: "region table" };
        let table = bytes.get(..REGION_TABLE_BYTES).filter(|b| b.starts_with(SIGNATURE));
        let bytes = table.filter(|bytes| sum_is_right(bytes)).ok_or_else(damaged)?;
        let count = field::u32(bytes, 8);
        if count > MAX_ENTRIES {
            return Err(VhdxError::Value { what: "the number of regions", value: count.into() });
        }
        let (mut bat, mut metadata) = (None, None);
        let entries = bytes[ENTRIES_OFFSET..].chunks_exact(ENTRY_BYTES).take(count as usize);
        for entry in entries {
            let place = match Guid(field::bytes(entry, 0)) {
                BAT => &mut bat,
                METADATA => &mut metadata,
                _ if field::u32(entry, 28) & 1 == 0 => continue,
                _ => return Err(VhdxError::Unknown { what: "region" }),
            };
            if place.replace(region(entry)?).is_some() {
                return Err(damaged());
            }
        }
        let table = Self { bat: bat.ok_or_else(damaged)?, metadata: metadata.ok_or_else(damaged)? };
        if overlap(table.bat, table.metadata) { Err(damaged()) } else { Ok(table) }
    }
}

fn region(entry: &[u8]) -> Result<Region, VhdxError> {
    let (offset, len) = (field::u64(entry, 16), field::u32(entry, 24));
    if offset < FIXED_BYTES || !offset.is_multiple_of(ALIGN_BYTES) {
        return Err(VhdxError::Value { what: "a region's offset", value: offset });
    }
    if len == 0 || !u64::from(len).is_multiple_of(ALIGN_BYTES) {
        return Err(VhdxError::Value { what: "a region's length", value: len.into() });
    }
    Ok(Region { offset_bytes: offset, len_bytes: len })
}

fn overlap(one: Region, other: Region) -> bool {
    let end = |region: Region| region.offset_bytes.saturating_add(region.len_bytes.into());
    one.offset_bytes < end(other) && other.offset_bytes < end(one)
}
