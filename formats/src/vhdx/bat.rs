//! The block allocation table (MS-VHDX section 2.5): where in the file each
//! block of the disk is. Between the entries of blocks there is one for a
//! sector bitmap after every [`Geometry::chunk_ratio`] of them; only
//! differencing disks use those.

use super::{ALIGN_BYTES, VhdxError};

/// Size of a block of a new disk. Linux' ext4 spreads its metadata, so a larger
/// one would grow a dynamic file for a few KiB each; Microsoft advises 1 MiB for
/// Linux guests.
pub const BLOCK_BYTES: u32 = 1 << 20;
/// "The disk must be at most 64 TB."
const MAX_DISK_BYTES: u64 = 64 << 40;
const MAX_BLOCK_BYTES: u32 = 256 << 20;
/// Sectors that one block of sector bitmaps covers.
const BITMAP_SECTORS: u64 = 1 << 23;
/// Where the offset begins in an entry; it counts MiB.
const OFFSET_SHIFT: u32 = 20;

/// The sizes that decide how the table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// size of the virtual disk, a multiple of the sector size, 64 TiB at most
    pub disk_bytes: u64,
    /// a power of two, 1 to 256 MiB
    pub block_bytes: u32,
    /// size of a logical sector: 512 or 4096
    pub sector_bytes: u32,
}

impl Geometry {
    /// A geometry within the limits of the specification.
    pub fn new(disk_bytes: u64, block_bytes: u32, sector_bytes: u32) -> Result<Self, VhdxError> {
        let refuse = |what, value| Err(VhdxError::Value { what, value });
        if ![512, 4096].contains(&sector_bytes) {
            return refuse("the logical sector size", sector_bytes.into());
        }
        let blocks = u64::from(block_bytes);
        if !block_bytes.is_power_of_two() || blocks < ALIGN_BYTES || block_bytes > MAX_BLOCK_BYTES {
            return refuse("the block size", blocks);
        }
        let whole = disk_bytes.is_multiple_of(sector_bytes.into());
        if disk_bytes == 0 || disk_bytes > MAX_DISK_BYTES || !whole {
            return refuse("the disk's size", disk_bytes);
        }
        Ok(Self { disk_bytes, block_bytes, sector_bytes })
    }

    /// Blocks whose sector bitmaps fill one block.
    #[must_use]
    pub fn chunk_ratio(&self) -> u64 {
        BITMAP_SECTORS * u64::from(self.sector_bytes) / u64::from(self.block_bytes)
    }

    /// Blocks of the disk; the last may be used in part.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.disk_bytes.div_ceil(self.block_bytes.into())
    }

    /// Entries of the table of a disk without a parent.
    #[must_use]
    pub fn bat_entries(&self) -> u64 {
        let blocks = self.blocks();
        blocks + blocks.saturating_sub(1) / self.chunk_ratio()
    }

    /// Bytes of the table in the file, up to whole MiB: at most 513 MiB.
    #[must_use]
    pub fn bat_bytes(&self) -> u32 {
        let bytes = (self.bat_entries() * 8).next_multiple_of(ALIGN_BYTES);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Index of a block's entry.
    #[must_use]
    pub fn bat_index(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio()
    }
}

/// What an entry says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// never written: any bytes, in practice zeros
    NotPresent = 0,
    /// any bytes
    Undefined = 1,
    /// zeros
    Zero = 2,
    /// discarded by the guest: the old bytes or zeros
    Unmapped = 3,
    /// in the file
    FullyPresent = 6,
    /// partly in the file, partly in the parent's
    PartiallyPresent = 7,
}

/// The entry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatEntry {
    /// what there is
    pub state: BlockState,
    /// where, a multiple of 1 MiB; 0 for nowhere
    pub offset_bytes: u64,
}

impl BatEntry {
    /// A block of zeros that takes no room.
    pub const ZERO: Self = Self { state: BlockState::Zero, offset_bytes: 0 };

    /// A block that lies at `offset_bytes`, a multiple of 1 MiB.
    #[must_use]
    pub fn present(offset_bytes: u64) -> Self {
        debug_assert!(offset_bytes.is_multiple_of(ALIGN_BYTES));
        Self { state: BlockState::FullyPresent, offset_bytes }
    }

    /// As it lies on disk.
    #[must_use]
    pub fn encode(self) -> [u8; 8] {
        let offset = (self.offset_bytes / ALIGN_BYTES) << OFFSET_SHIFT;
        (offset | self.state as u64).to_le_bytes()
    }

    /// Reads an entry.
    pub fn decode(bytes: [u8; 8]) -> Result<Self, VhdxError> {
        let raw = u64::from_le_bytes(bytes);
        let state = match raw & 7 {
            0 => BlockState::NotPresent,
            1 => BlockState::Undefined,
            2 => BlockState::Zero,
            3 => BlockState::Unmapped,
            6 => BlockState::FullyPresent,
            7 => BlockState::PartiallyPresent,
            value => return Err(VhdxError::Value { what: "a block's state", value }),
        };
        // the offset counts MiB from the same bit that bytes do
        Ok(Self { state, offset_bytes: raw >> OFFSET_SHIFT << 20 })
    }
}
