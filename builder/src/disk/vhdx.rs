//! Writes a disk as VHDX: the structures of [`formats::vhdx`] at the places
//! below, then the blocks. A dynamic file has those that are not zero, one
//! behind the other; a fixed one has a place for each, and is sparse.
//!
//! ```text
//! 0                1 MiB  2 MiB               whole MiB
//! | fixed places   | log  | allocation table | metadata | blocks … |
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use formats::guid::Guid;
use formats::vhdx::bat::BLOCK_BYTES;
use formats::vhdx::metadata::METADATA_REGION_BYTES;
use formats::vhdx::region::Region;
use formats::vhdx::{
    BatEntry, FIXED_BYTES, Geometry, HEADER_OFFSETS, Header, IDENTIFIER_OFFSET, MIN_LOG_BYTES,
    Metadata, REGION_TABLE_OFFSETS, RegionTable, identifier,
};

use super::SECTOR_BYTES;
use super::data;

/// What the file says made it.
const CREATOR: &str = "Slipway";
/// What the guest aligns to. Every disk of today has 4096, and Hyper-V says so
/// of the disks it makes.
const PHYSICAL_SECTOR_BYTES: u32 = 4096;

/// Writes the disk in `raw` to the empty file `out`.
pub fn write(raw: &File, fixed: bool, seed: &[u8], out: &File) -> io::Result<()> {
    let geometry = Geometry::new(raw.metadata()?.len(), BLOCK_BYTES, SECTOR_BYTES)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let regions = regions(&geometry);
    write_tables(&geometry, &regions, fixed, seed, out)?;
    let first = regions.metadata.offset_bytes + u64::from(regions.metadata.len_bytes);
    let bat = if fixed {
        in_place(raw, &geometry, first, out)
    } else {
        packed(raw, &geometry, first, out)
    }?;
    out.write_all_at(&bat, regions.bat.offset_bytes)
}

fn regions(geometry: &Geometry) -> RegionTable {
    let bat = Region {
        offset_bytes: FIXED_BYTES + u64::from(MIN_LOG_BYTES),
        len_bytes: geometry.bat_bytes(),
    };
    let metadata = Region {
        offset_bytes: bat.offset_bytes + u64::from(bat.len_bytes),
        len_bytes: METADATA_REGION_BYTES,
    };
    RegionTable { bat, metadata }
}

/// Everything but the allocation table and the blocks. The second header is the
/// newer one, as after a first update.
fn write_tables(
    geometry: &Geometry,
    regions: &RegionTable,
    fixed: bool,
    seed: &[u8],
    out: &File,
) -> io::Result<()> {
    out.write_all_at(&identifier(CREATOR), IDENTIFIER_OFFSET)?;
    let kind: &[u8] = if fixed { b"vhdx fixed" } else { b"vhdx dynamic" };
    for (sequence, offset) in (1..).zip(HEADER_OFFSETS) {
        let header = Header {
            sequence,
            file_write: Guid::derived(&[seed, kind, b"file"]),
            data_write: Guid::derived(&[seed, b"vhdx data"]),
            log: Guid::ZERO,
            log_offset_bytes: FIXED_BYTES,
            log_len_bytes: MIN_LOG_BYTES,
        };
        out.write_all_at(&header.encode(), offset)?;
    }
    for offset in REGION_TABLE_OFFSETS {
        out.write_all_at(&regions.encode(), offset)?;
    }
    let metadata = Metadata {
        geometry: *geometry,
        physical_sector_bytes: PHYSICAL_SECTOR_BYTES,
        fixed,
        disk_id: Guid::derived(&[seed, b"vhdx disk"]),
    };
    out.write_all_at(&metadata.encode(), regions.metadata.offset_bytes)
}

/// An allocation table in which every block is `entry` of its number.
fn table(geometry: &Geometry, entry: impl Fn(u64) -> BatEntry) -> Vec<u8> {
    let mut bat = Vec::new();
    for block in 0..geometry.blocks() {
        let at = usize::try_from(geometry.bat_index(block) * 8).unwrap_or(usize::MAX);
        // passes over the entries of sector bitmaps, of which there are none
        bat.resize(at, 0);
        bat.extend(entry(block).encode());
    }
    bat
}

/// Every block at its place from `first` on.
fn in_place(raw: &File, geometry: &Geometry, first: u64, out: &File) -> io::Result<Vec<u8>> {
    let block_bytes = u64::from(geometry.block_bytes);
    out.set_len(first + geometry.blocks() * block_bytes)?;
    data::for_each(raw, BLOCK_BYTES as usize, |offset, bytes| {
        out.write_all_at(bytes, first + offset)
    })?;
    Ok(table(geometry, |block| BatEntry::present(first + block * block_bytes)))
}

/// The blocks that are not zero, one behind the other from `first` on.
fn packed(raw: &File, geometry: &Geometry, first: u64, out: &File) -> io::Result<Vec<u8>> {
    let block_bytes = u64::from(geometry.block_bytes);
    let mut bat = table(geometry, |_| BatEntry::ZERO);
    let mut next = first;
    data::for_each(raw, BLOCK_BYTES as usize, |offset, bytes| {
        out.write_all_at(bytes, next)?;
        let index = geometry.bat_index(offset / block_bytes);
        let at = usize::try_from(index * 8).map_err(io::Error::other)?;
        bat[at..at + 8].copy_from_slice(&BatEntry::present(next).encode());
        next += block_bytes;
        Ok(())
    })?;
    out.set_len(next)?;
    Ok(bat)
}
