//! A file's compressed data as erofs maps it. The data is a row of extents: each
//! is a run of the file's bytes, kept in a number of blocks. Behind the inode is
//! an index for each 4 KiB of the file, which says either that an extent begins
//! there, where, and at which block; or how far away the extent's beginning is.
//!
//! Compressed bytes lie at the end of their blocks, with zeros before them. All
//! this is `struct z_erofs_map_header` and `z_erofs_lcluster_index` of Linux'
//! `fs/erofs/erofs_fs.h`, in the form without compaction, which costs eight bytes
//! for each 4 KiB of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{BLOCK, BLOCK_BYTES, ErofsError};
use crate::tree::InodeId;

/// `available_compr_algs`: LZ4, whose number is 0.
pub const ALGORITHMS: u16 = 1;
/// Blocks that an extent's compressed bytes take at most: 64 KiB. Larger ones
/// win next to nothing with LZ4, which looks back as far, and cost more memory
/// at each page that is read.
pub const MAX_EXTENT_BLOCKS: usize = MAX_EXTENT_BLOCKS_U16 as usize;
const MAX_EXTENT_BLOCKS_U16: u16 = 16;
/// Where a map may begin.
pub const MAP_ALIGN_BYTES: u64 = 8;
/// How far back LZ4 reaches.
const MAX_DISTANCE: u16 = u16::MAX;

/// `sizeof(struct z_erofs_map_header)`, and the empty index behind it.
const MAP_HEADER_BYTES: u64 = 8 + 8;
/// `sizeof(struct z_erofs_lcluster_index)`.
const INDEX_BYTES: u64 = 8;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1`: extents may take more than one block.
const BIG_EXTENTS: u16 = 2;
/// `Z_EROFS_LCLUSTER_TYPE_PLAIN`, `_HEAD1` and `_NONHEAD`.
const PLAIN: u16 = 0;
const HEAD: u16 = 1;
const WITHIN: u16 = 2;
/// `Z_EROFS_LI_D0_CBLKCNT`: the number is a count of blocks. A distance must stay
/// below; from further away the kernel gets there in several steps.
const IS_BLOCK_COUNT: u64 = 1 << 11;

/// A run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedExtent {
    /// bytes of the file
    pub len_bytes: u32,
    /// blocks in the image
    pub blocks: u16,
    /// whether it is not compressed: one block at most
    pub plain: bool,
}

/// A piece of compressed data, as it lies in a scratch file.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// which of the scratch files
    pub file: usize,
    /// first byte
    pub offset_bytes: u64,
    /// whole blocks
    pub len_bytes: u64,
}

/// A file's compressed data.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// extents in order
    pub extents: Vec<PackedExtent>,
    /// where their blocks are
    pub places: Vec<Place>,
}

impl Packed {
    /// Blocks of data.
    pub fn blocks(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.blocks)).sum()
    }

    /// The map of a file of `size_bytes` whose data begins at `first_block`:
    /// [`map_bytes`] long.
    pub fn map(&self, size_bytes: u64, first_block: u32) -> Vec<u8> {
        let mut map = Map { bytes: vec![0; 4] };
        map.bytes.extend(BIG_EXTENTS.to_le_bytes());
        map.bytes.extend([0; 2]); // LZ4; an index for each block
        map.bytes.extend([0; 8]);
        let (mut at, mut block) = (0_u64, first_block);
        for extent in &self.extents {
            map.add_extent(extent, at, block);
            at += u64::from(extent.len_bytes);
            block += u32::from(extent.blocks);
        }
        if (map.bytes.len() as u64) < map_bytes(size_bytes) {
            // the last extent began in an earlier block: here is where it ends
            map.index(PLAIN, at % BLOCK_BYTES, [0; 4]);
        }
        debug_assert_eq!(map.bytes.len() as u64, map_bytes(size_bytes));
        map.bytes
    }
}

/// Bytes of the map of a file of `size_bytes`.
pub fn map_bytes(size_bytes: u64) -> u64 {
    MAP_HEADER_BYTES + size_bytes.div_ceil(BLOCK_BYTES) * INDEX_BYTES
}

/// A map while it is made.
struct Map {
    bytes: Vec<u8>,
}

impl Map {
    /// The indexes of an extent that begins at byte `at` of the file.
    fn add_extent(&mut self, extent: &PackedExtent, at: u64, block: u32) {
        let offset = at % BLOCK_BYTES;
        let kind = if extent.plain { PLAIN } else { HEAD };
        self.index(kind, offset, block.to_le_bytes());
        // blocks of the file up to the one in which the next extent begins
        let count = (offset + u64::from(extent.len_bytes)) / BLOCK_BYTES;
        for distance in 1..count {
            let back = match distance {
                1 => u64::from(extent.blocks) | IS_BLOCK_COUNT,
                _ => distance.min(IS_BLOCK_COUNT - 1),
            };
            let ahead = (count - distance).min(u64::from(u16::MAX));
            let [b0, b1, ..] = back.to_le_bytes();
            let [a0, a1, ..] = ahead.to_le_bytes();
            self.index(WITHIN, 0, [b0, b1, a0, a1]);
        }
    }

    fn index(&mut self, kind: u16, offset: u64, rest: [u8; 4]) {
        let [low, high, ..] = offset.to_le_bytes();
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend([low, high]);
        self.bytes.extend(rest);
    }
}

/// What follows the superblock: `struct z_erofs_lz4_cfgs` behind its length.
pub fn settings() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&14_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&MAX_DISTANCE.to_le_bytes());
    bytes[4..6].copy_from_slice(&MAX_EXTENT_BLOCKS_U16.to_le_bytes());
    bytes
}

/// All files that compression made smaller.
#[derive(Debug, Default)]
pub struct PackedFiles {
    /// by inode
    pub files: BTreeMap<InodeId, Packed>,
    /// what [`Place`] counts
    pub scratch: Vec<File>,
}

impl PackedFiles {
    /// A file's compressed data, if it has any.
    pub fn packed(&self, id: InodeId) -> Option<&Packed> {
        self.files.get(&id)
    }

    /// Calls `each` with all blocks of `packed`, some at a time.
    pub fn for_each_piece(
        &self,
        packed: &Packed,
        mut each: impl FnMut(&[u8]) -> Result<(), ErofsError>,
    ) -> Result<(), ErofsError> {
        let mut buffer = vec![0; MAX_EXTENT_BLOCKS * BLOCK];
        for place in &packed.places {
            let mut at = 0;
            while at < place.len_bytes {
                let left = usize::try_from(place.len_bytes - at).unwrap_or(usize::MAX);
                let piece = &mut buffer[..left.min(MAX_EXTENT_BLOCKS * BLOCK)];
                let file = &self.scratch[place.file];
                file.read_exact_at(piece, place.offset_bytes + at).map_err(ErofsError::Scratch)?;
                each(piece)?;
                at += piece.len() as u64;
            }
        }
        Ok(())
    }
}
