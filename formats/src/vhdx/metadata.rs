//! The metadata region (MS-VHDX section 2.6): a table of items, and the items.
//! Those of a disk without a parent are here; others are kept out of a file we
//! write, and in one we read they must not be required.

use alloc::vec;
use alloc::vec::Vec;

use super::{Geometry, VhdxError};
use crate::field;
use crate::guid::{Guid, guid};

/// Bytes of the region that we write.
pub const METADATA_REGION_BYTES: u32 = 1 << 20;
/// Bytes of the table at the region's start.
const TABLE_BYTES: usize = 64 << 10;
const SIGNATURE: &[u8; 8] = b"metadata";
const MAX_ENTRIES: u16 = 2047;
const ENTRY_BYTES: usize = 32;

const IS_VIRTUAL_DISK: u32 = 2;
const IS_REQUIRED: u32 = 4;

const FILE_PARAMETERS: Guid = guid(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6, 0x33f0_aa44_e76b);
const DISK_SIZE: Guid = guid(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211, 0x5dbe_d83b_f4b8);
const DISK_ID: Guid = guid(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef, 0xc309_e000_c746);
const LOGICAL_SECTOR: Guid = guid(0x8141_bf1d, 0xa96f, 0x4709, 0xba47, 0xf233_a8fa_ab5f);
const PHYSICAL_SECTOR: Guid = guid(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9, 0xe988_5251_c556);

const LEAVE_BLOCKS_ALLOCATED: u32 = 1;
const HAS_PARENT: u32 = 2;

/// What the metadata says of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// sizes of disk, blocks and logical sectors
    pub geometry: Geometry,
    /// 512 or 4096
    pub physical_sector_bytes: u32,
    /// whether every block has its place for good: a fixed disk
    pub fixed: bool,
    /// what SCSI inquiry page 83h shows; kept when the file is copied
    pub disk_id: Guid,
}

impl Metadata {
    /// The region, [`METADATA_REGION_BYTES`] long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.fixed { LEAVE_BLOCKS_ALLOCATED } else { 0 };
        let parameters = [self.geometry.block_bytes.to_le_bytes(), flags.to_le_bytes()].concat();
        let of_disk = IS_REQUIRED | IS_VIRTUAL_DISK;
        let items: [(Guid, u32, &[u8]); 5] = [
            (FILE_PARAMETERS, IS_REQUIRED, &parameters),
            (DISK_SIZE, of_disk, &self.geometry.disk_bytes.to_le_bytes()),
            (DISK_ID, of_disk, &self.disk_id.0),
            (LOGICAL_SECTOR, of_disk, &self.geometry.sector_bytes.to_le_bytes()),
            (PHYSICAL_SECTOR, of_disk, &self.physical_sector_bytes.to_le_bytes()),
        ];
        let mut region = vec![0; METADATA_REGION_BYTES as usize];
        field::put(&mut region, 0, SIGNATURE);
        field::put(&mut region, 10, &5_u16.to_le_bytes());
        let (mut entry, mut item) = (ENTRY_BYTES, TABLE_BYTES);
        for (id, flags, value) in items {
            // both stay below the region's size
            let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            field::put(&mut region, entry, &id.0);
            field::put(&mut region, entry + 16, &narrow(item));
            field::put(&mut region, entry + 20, &narrow(value.len()));
            field::put(&mut region, entry + 24, &flags.to_le_bytes());
            field::put(&mut region, item, value);
            entry += ENTRY_BYTES;
            item += value.len();
        }
        region
    }

    /// Reads a region, as much of it as the items reach: what lies past `region`
    /// counts as damaged.
    pub fn decode(region: &[u8]) -> Result<Self, VhdxError> {
        let items = Items::read(region)?;
        let parameters: [u8; 8] = items.value(FILE_PARAMETERS)?;
        let flags = field::u32(&parameters, 4);
        if flags & HAS_PARENT != 0 {
            return Err(VhdxError::HasParent);
        }
        let physical = u32::from_le_bytes(items.value(PHYSICAL_SECTOR)?);
        if ![512, 4096].contains(&physical) {
            let what = "the physical sector size";
            return Err(VhdxError::Value { what, value: physical.into() });
        }
        Ok(Self {
            geometry: Geometry::new(
                u64::from_le_bytes(items.value(DISK_SIZE)?),
                field::u32(&parameters, 0),
                u32::from_le_bytes(items.value(LOGICAL_SECTOR)?),
            )?,
            physical_sector_bytes: physical,
            fixed: flags & LEAVE_BLOCKS_ALLOCATED != 0,
            disk_id: Guid(items.value(DISK_ID)?),
        })
    }
}

/// The known items of a region: at most one of each.
struct Items<'r> {
    found: Vec<(Guid, &'r [u8])>,
}

impl<'r> Items<'r> {
    fn read(region: &'r [u8]) -> Result<Self, VhdxError> {
        let table = region.get(..TABLE_BYTES).filter(|table| table.starts_with(SIGNATURE));
        let table = table.ok_or_else(damaged)?;
        let count = field::u16(table, 10);
        if count > MAX_ENTRIES {
            let what = "the number of metadata items";
            return Err(VhdxError::Value { what, value: count.into() });
        }
        let known = [FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR];
        let mut found: Vec<(Guid, &[u8])> = Vec::new();
        for entry in table[ENTRY_BYTES..].chunks_exact(ENTRY_BYTES).take(count.into()) {
            let id = Guid(field::bytes(entry, 0));
            if !known.contains(&id) {
                if field::u32(entry, 24) & IS_REQUIRED != 0 {
                    return Err(VhdxError::Unknown { what: "metadata item" });
                }
                continue;
            }
            let (offset, len) = (field::u32(entry, 16) as usize, field::u32(entry, 20) as usize);
            let value = region.get(offset..).and_then(|rest| rest.get(..len));
            let again = found.iter().any(|(other, _)| *other == id);
            match value.filter(|_| offset >= TABLE_BYTES && !again) {
                Some(value) => found.push((id, value)),
                None => return Err(damaged()),
            }
        }
        Ok(Self { found })
    }

    fn value<const N: usize>(&self, id: Guid) -> Result<[u8; N], VhdxError> {
        let found = self.found.iter().find(|(other, _)| *other == id);
        found.and_then(|(_, value)| (*value).try_into().ok()).ok_or_else(damaged)
    }
}

fn damaged() -> VhdxError {
    VhdxError::Damaged { what: "metadata" }
}
