//! The GUID partition table (UEFI specification 2.10, chapter 5): reading one
//! with all its checks, making one for a new disk, and moving its end when the
//! disk has grown. No update ever touches it.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::block::BlockDevice;
use crate::field;
use crate::guid::{Guid, guid};

/// Partitions start at multiples of this many bytes.
pub const ALIGN_BYTES: u64 = 1 << 20;
/// Entries in every table we make; firmware insists on at least 128.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
/// No table read from a disk may have more entries than this.
const MAX_ENTRIES: u32 = 1024;
const SIGNATURE: [u8; 8] = *b"EFI PART";
const HEADER_BYTES: usize = 92;

/// Partition types: the Discoverable Partitions Specification's where it has
/// one, our own otherwise.
pub mod kind {
    use super::{Guid, guid};

    /// EFI system partition
    pub const ESP: Guid = guid(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0_c93e_c93b);
    /// root file system, x86-64
    pub const ROOT: Guid = guid(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7, 0xfbca_f984_b709);
    /// its verity tree
    pub const ROOT_VERITY: Guid = guid(0x2c73_57ed, 0xebd2, 0x46d9, 0xaec1, 0x23d4_37ec_2bf5);
    /// generic Linux data
    pub const DATA: Guid = guid(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79, 0x3d69_d847_7de4);
    /// the boot state record
    pub const STATE: Guid = guid(0x9d1f_6c2e, 0x5b0a, 0x4e53, 0x8d27, 0x51f0_7a3c_be01);
    /// per-node settings
    pub const SEED: Guid = guid(0x9d1f_6c2e, 0x5b0a, 0x4e53, 0x8d27, 0x51f0_7a3c_be02);
    /// a raw UKI behind its header
    pub const UKI: Guid = guid(0x9d1f_6c2e, 0x5b0a, 0x4e53, 0x8d27, 0x51f0_7a3c_be03);
}

/// One partition. Positions in bytes; both are multiples of the sector size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// what it is for
    pub kind: Guid,
    /// its own identity
    pub id: Guid,
    /// its first byte
    pub start_bytes: u64,
    /// its size
    pub len_bytes: u64,
    /// attribute bits
    pub attributes: u64,
    /// at most 36 UTF-16 units
    pub name: String,
}

impl Partition {
    fn end_bytes(&self) -> u64 {
        self.start_bytes + self.len_bytes
    }
}

/// A disk's partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt {
    /// 512 or 4096
    pub sector_bytes: u32,
    /// the disk's identity
    pub disk_id: Guid,
    /// size of the disk the table was made for
    pub disk_bytes: u64,
    /// in the order of their entries
    pub partitions: Vec<Partition>,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GptError<E: core::fmt::Debug + core::fmt::Display> {
    /// The disk failed.
    #[error("cannot read the partition table: {0}")]
    Device(E),
    /// Neither header is whole.
    #[error("no GPT on this disk")]
    Absent,
    /// The table contradicts itself or the disk.
    #[error("unusable GPT: {0}")]
    Unusable(&'static str),
    /// Partitions do not fit.
    #[error("the disk needs at least {needed} bytes for its partitions and has {has}")]
    TooSmall {
        /// bytes
        needed: u64,
        /// bytes
        has: u64,
    },
}

impl Gpt {
    /// Reads the table, trying 512- and 4096-byte sectors, the primary header
    /// and then the backup. Every check of chapter 5.3.2 is made, and
    /// partitions must lie on the disk and apart from each other.
    pub fn read<D: BlockDevice + ?Sized>(disk: &mut D) -> Result<Self, GptError<D::Error>> {
        let mut why = GptError::Absent;
        for sector in [512u32, 4096] {
            let last = (disk.len_bytes() / u64::from(sector)).saturating_sub(1);
            for lba in [1, last] {
                match Self::read_at(disk, sector, lba) {
                    Ok(gpt) => return Ok(gpt),
                    Err(GptError::Absent) => {}
                    Err(error) => why = error,
                }
            }
        }
        Err(why)
    }

    fn read_at<D: BlockDevice + ?Sized>(
        disk: &mut D,
        sector_bytes: u32,
        lba: u64,
    ) -> Result<Self, GptError<D::Error>> {
        let sector = u64::from(sector_bytes);
        let disk_bytes = disk.len_bytes();
        if disk_bytes < sector * 8 {
            return Err(GptError::Absent);
        }
        let mut header = vec![0; sector_bytes as usize];
        disk.read_at(lba * sector, &mut header).map_err(GptError::Device)?;
        if header[..8] != SIGNATURE
            || !header_crc_matches(&header)
            || field::u64(&header, 24) != lba
        {
            return Err(GptError::Absent);
        }
        let count = field::u32(&header, 80);
        if field::u32(&header, 84) != ENTRY_BYTES || count == 0 || count > MAX_ENTRIES {
            return Err(GptError::Unusable("its entries have an unusual size or number"));
        }
        let first_usable = field::u64(&header, 40);
        let last_usable = field::u64(&header, 48);
        if first_usable > last_usable || last_usable >= disk_bytes / sector {
            return Err(GptError::Unusable("it lies outside the disk"));
        }
        let entries_lba = field::u64(&header, 72);
        let table_bytes = u64::from(count * ENTRY_BYTES).next_multiple_of(sector);
        let start = entries_lba
            .checked_mul(sector)
            .filter(|start| start.checked_add(table_bytes).is_some_and(|end| end <= disk_bytes))
            .ok_or(GptError::Unusable("its entries lie outside the disk"))?;
        let len =
            usize::try_from(table_bytes).map_err(|_| GptError::Unusable("it is too large"))?;
        let mut table = vec![0; len];
        disk.read_at(start, &mut table).map_err(GptError::Device)?;
        table.truncate((count * ENTRY_BYTES) as usize);
        if crc32fast::hash(&table) != field::u32(&header, 88) {
            return Err(GptError::Absent);
        }
        let partitions = read_entries(&table, sector, first_usable, last_usable)?;
        let disk_id = Guid(field::bytes(&header, 56));
        // the backup header tells how large the disk was when the table was made
        let backup = if lba == 1 { field::u64(&header, 32) } else { lba };
        let disk_bytes = backup.saturating_add(1).saturating_mul(sector).min(disk_bytes);
        Ok(Self { sector_bytes, disk_id, disk_bytes, partitions })
    }

    /// The first partition of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// First byte that a partition may take.
    fn first_usable_bytes(&self) -> u64 {
        let sector = u64::from(self.sector_bytes);
        (2 * sector + self.table_bytes()).next_multiple_of(sector)
    }

    /// The byte after the last that a partition may take.
    fn usable_end_bytes(&self) -> u64 {
        self.disk_bytes.saturating_sub(u64::from(self.sector_bytes) + self.table_bytes())
    }

    fn table_bytes(&self) -> u64 {
        u64::from(ENTRIES * ENTRY_BYTES).next_multiple_of(u64::from(self.sector_bytes))
    }

    /// What to write, as (offset in bytes, bytes), in an order that keeps one
    /// valid table on the disk at every moment if flushed in between: first the
    /// backup entries and header, then the primary ones with the protective MBR.
    ///
    /// # Errors
    /// When a partition does not lie in the usable part of the disk.
    pub fn encode(&self) -> Result<Vec<(u64, Vec<u8>)>, GptError<core::convert::Infallible>> {
        let sector = u64::from(self.sector_bytes);
        let needed = self.partitions.iter().map(Partition::end_bytes).max().unwrap_or(0);
        if needed > self.usable_end_bytes() {
            let needed = needed + sector + self.table_bytes();
            return Err(GptError::TooSmall { needed, has: self.disk_bytes });
        }
        let mut table = vec![0; (ENTRIES * ENTRY_BYTES) as usize];
        for (entry, partition) in table.chunks_exact_mut(ENTRY_BYTES as usize).zip(&self.partitions)
        {
            write_entry(entry, partition, sector);
        }
        let table_crc = crc32fast::hash(&table);
        table.resize(usize::try_from(self.table_bytes()).unwrap_or(table.len()), 0);
        let last_lba = self.disk_bytes / sector - 1;
        let backup_table_lba = self.usable_end_bytes() / sector;
        let backup = self.header(last_lba, 1, backup_table_lba, table_crc);
        let primary = self.header(1, last_lba, 2, table_crc);
        let mut front = self.protective_mbr();
        front.extend_from_slice(&primary);
        front.extend_from_slice(&table);
        table.extend_from_slice(&backup);
        Ok(vec![(backup_table_lba * sector, table), (0, front)])
    }

    fn header(&self, own: u64, alternate: u64, entries: u64, table_crc: u32) -> Vec<u8> {
        let sector = u64::from(self.sector_bytes);
        let mut header = vec![0; self.sector_bytes as usize];
        field::put(&mut header, 0, &SIGNATURE);
        field::put(&mut header, 8, &0x0001_0000u32.to_le_bytes());
        field::put(&mut header, 12, &92u32.to_le_bytes());
        field::put(&mut header, 24, &own.to_le_bytes());
        field::put(&mut header, 32, &alternate.to_le_bytes());
        field::put(&mut header, 40, &(self.first_usable_bytes() / sector).to_le_bytes());
        field::put(&mut header, 48, &(self.usable_end_bytes() / sector - 1).to_le_bytes());
        field::put(&mut header, 56, &self.disk_id.0);
        field::put(&mut header, 72, &entries.to_le_bytes());
        field::put(&mut header, 80, &ENTRIES.to_le_bytes());
        field::put(&mut header, 84, &ENTRY_BYTES.to_le_bytes());
        field::put(&mut header, 88, &table_crc.to_le_bytes());
        let crc = crc32fast::hash(&header[..HEADER_BYTES]);
        field::put(&mut header, 16, &crc.to_le_bytes());
        header
    }

    /// One MBR partition of type EE over the whole disk (chapter 5.2.3).
    fn protective_mbr(&self) -> Vec<u8> {
        let sectors = self.disk_bytes / u64::from(self.sector_bytes) - 1;
        let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
        let mut mbr = vec![0; self.sector_bytes as usize];
        field::put(&mut mbr, 446, &[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        field::put(&mut mbr, 458, &sectors.to_le_bytes());
        field::put(&mut mbr, 510, &[0x55, 0xaa]);
        mbr
    }

    /// The same table for a disk that is now `disk_bytes` large, with its last
    /// partition reaching to the new end; `None` when nothing would change.
    #[must_use]
    pub fn grown(&self, disk_bytes: u64) -> Option<Self> {
        let mut grown = self.clone();
        grown.disk_bytes = disk_bytes / u64::from(self.sector_bytes) * u64::from(self.sector_bytes);
        let end = grown.usable_end_bytes() / ALIGN_BYTES * ALIGN_BYTES;
        let last = grown.partitions.iter_mut().max_by_key(|partition| partition.start_bytes)?;
        if grown.disk_bytes <= self.disk_bytes || end <= last.end_bytes() {
            return None;
        }
        last.len_bytes = end - last.start_bytes;
        Some(grown)
    }
}

fn header_crc_matches(header: &[u8]) -> bool {
    if field::u32(header, 12) as usize != HEADER_BYTES {
        return false;
    }
    let mut zeroed = header[..HEADER_BYTES].to_vec();
    field::put(&mut zeroed, 16, &[0; 4]);
    crc32fast::hash(&zeroed) == field::u32(header, 16)
}

fn read_entries<E: core::fmt::Debug + core::fmt::Display>(
    table: &[u8],
    sector: u64,
    first_usable: u64,
    last_usable: u64,
) -> Result<Vec<Partition>, GptError<E>> {
    let mut partitions: Vec<Partition> = Vec::new();
    for entry in table.chunks_exact(ENTRY_BYTES as usize) {
        let kind = Guid(field::bytes(entry, 0));
        if kind == Guid::ZERO {
            continue;
        }
        let (first, last) = (field::u64(entry, 32), field::u64(entry, 40));
        if first < first_usable || last > last_usable || first > last {
            return Err(GptError::Unusable("a partition lies outside the disk"));
        }
        let units: Vec<u16> = (56..128).step_by(2).map(|at| field::u16(entry, at)).collect();
        let name = units.split(|unit| *unit == 0).next().unwrap_or_default();
        partitions.push(Partition {
            kind,
            id: Guid(field::bytes(entry, 16)),
            start_bytes: first * sector,
            len_bytes: (last - first + 1) * sector,
            attributes: field::u64(entry, 48),
            name: String::from_utf16_lossy(name),
        });
    }
    let mut by_start: Vec<&Partition> = partitions.iter().collect();
    by_start.sort_by_key(|partition| partition.start_bytes);
    if by_start.windows(2).any(|pair| pair[0].end_bytes() > pair[1].start_bytes) {
        return Err(GptError::Unusable("partitions overlap"));
    }
    Ok(partitions)
}

fn write_entry(entry: &mut [u8], partition: &Partition, sector: u64) {
    field::put(entry, 0, &partition.kind.0);
    field::put(entry, 16, &partition.id.0);
    field::put(entry, 32, &(partition.start_bytes / sector).to_le_bytes());
    field::put(entry, 40, &(partition.end_bytes() / sector - 1).to_le_bytes());
    field::put(entry, 48, &partition.attributes.to_le_bytes());
    for (at, unit) in (56..128).step_by(2).zip(partition.name.encode_utf16()) {
        field::put(entry, at, &unit.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    fn partition(name: &str, start_mib: u64, len_mib: u64) -> Partition {
        Partition {
            kind: kind::DATA,
            id: Guid::derived(&[name.as_bytes()]),
            start_bytes: start_mib << 20,
            len_bytes: len_mib << 20,
            attributes: 0,
            name: name.into(),
        }
    }

    fn table(sector_bytes: u32) -> Gpt {
        Gpt {
            sector_bytes,
            disk_id: Guid::derived(&[b"disk"]),
            disk_bytes: 16 << 20,
            partitions: vec![partition("state", 1, 1), partition("data", 2, 13)],
        }
    }

    fn written(gpt: &Gpt, disk_bytes: usize) -> MemoryDisk {
        let mut disk = MemoryDisk(vec![0; disk_bytes]);
        for (offset, bytes) in gpt.encode().expect("fits") {
            disk.write_at(offset, &bytes).expect("on the disk");
        }
        disk
    }

    #[test]
    fn round_trip_with_either_sector_size_and_from_either_copy() {
        for sector in [512, 4096] {
            let gpt = table(sector);
            let mut disk = written(&gpt, 16 << 20);
            assert_eq!(Gpt::read(&mut disk).expect("whole"), gpt);
            disk.0[sector as usize + 60] ^= 1;
            assert_eq!(Gpt::read(&mut disk).expect("backup"), gpt);
        }
    }

    #[test]
    fn a_partition_that_does_not_fit_is_refused() {
        let mut gpt = table(512);
        gpt.partitions.push(partition("more", 15, 1));
        assert!(matches!(gpt.encode(), Err(GptError::TooSmall { .. })));
    }

    #[test]
    fn overlaps_and_partitions_outside_are_refused() {
        let mut gpt = table(512);
        gpt.partitions.push(partition("evil", 2, 1));
        let mut disk = written(&gpt, 16 << 20);
        assert!(matches!(Gpt::read(&mut disk), Err(GptError::Unusable("partitions overlap"))));
        let mut cut = written(&table(512), 16 << 20);
        cut.0.truncate(8 << 20);
        assert!(matches!(Gpt::read(&mut cut), Err(GptError::Unusable(_))));
    }

    #[test]
    fn growing_moves_the_backup_and_the_last_partition_only() {
        let gpt = table(512);
        assert_eq!(gpt.grown(16 << 20), None);
        let grown = gpt.grown(64 << 20).expect("larger");
        assert_eq!(grown.named("state"), gpt.named("state"));
        assert_eq!(grown.named("data").expect("there").len_bytes, 61 << 20);
        let mut disk = written(&gpt, 64 << 20);
        for (offset, bytes) in grown.encode().expect("fits") {
            disk.write_at(offset, &bytes).expect("on the disk");
            Gpt::read(&mut disk).expect("a table at every moment");
        }
        assert_eq!(Gpt::read(&mut disk).expect("whole"), grown);
    }
}
