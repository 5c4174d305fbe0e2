//! dm-verity, hash format 1 (cryptsetup's on-disk superblock, kernel
//! documentation admin-guide/device-mapper/verity): SHA-256, 4 KiB data and
//! hash blocks, one salt before each block.
//!
//! A verity partition is the superblock's block, then the levels from the top
//! one down; the top one is a single block, whose salted digest is the root
//! hash.

use alloc::vec::Vec;
use core::mem::take;

use crate::block::BLOCK_BYTES;
use crate::digest::Digest;
use crate::field;
use crate::guid::Guid;

/// Digests in one hash block.
const FANOUT: usize = BLOCK_BYTES / Digest::LEN;
/// Bytes of salt we use; the format allows 256.
pub const SALT_BYTES: usize = 32;
const SIGNATURE: [u8; 8] = *b"verity\0\0";

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// of the tree; not the partition's
    pub uuid: Guid,
    /// data blocks covered
    pub data_blocks: u64,
    /// put before each block as it is hashed
    pub salt: [u8; SALT_BYTES],
}

/// Not a verity superblock of the kind we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no verity superblock with SHA-256 and 4 KiB blocks")]
pub struct BadSuperblock;

impl Superblock {
    /// Encodes one block.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut out = [0; BLOCK_BYTES];
        field::put(&mut out, 0, &SIGNATURE);
        field::put(&mut out, 8, &1u32.to_le_bytes()); // superblock version
        field::put(&mut out, 12, &1u32.to_le_bytes()); // hash type: normal
        field::put(&mut out, 16, &self.uuid.uuid_bytes());
        field::put(&mut out, 32, &algorithm());
        field::put(&mut out, 64, &4096u32.to_le_bytes());
        field::put(&mut out, 68, &4096u32.to_le_bytes());
        field::put(&mut out, 72, &self.data_blocks.to_le_bytes());
        field::put(&mut out, 80, &32u16.to_le_bytes());
        field::put(&mut out, 88, &self.salt);
        out
    }

    /// Reads a superblock; anything but our parameters is refused.
    pub fn decode(block: &[u8]) -> Result<Self, BadSuperblock> {
        let block = block.get(..512).ok_or(BadSuperblock)?;
        let ours = block[..8] == SIGNATURE
            && field::u32(block, 8) == 1
            && field::u32(block, 12) == 1
            && block[32..64] == algorithm()
            && field::u32(block, 64) == 4096
            && field::u32(block, 68) == 4096
            && usize::from(field::u16(block, 80)) == SALT_BYTES;
        let uuid = Guid::from_uuid_bytes(field::bytes(block, 16));
        let superblock =
            Self { uuid, data_blocks: field::u64(block, 72), salt: field::bytes(block, 88) };
        // 2^40 blocks are 4 PiB: far beyond any slot, and far from overflow; a
        // single block would have no tree above it
        if ours && superblock.data_blocks > 1 && superblock.data_blocks < 1 << 40 {
            Ok(superblock)
        } else {
            Err(BadSuperblock)
        }
    }

    /// Digest of one block under this salt.
    #[must_use]
    pub fn block_digest(&self, block: &[u8]) -> Digest {
        Digest::of_parts(&[&self.salt, block])
    }

    /// Blocks of each level, the lowest first.
    #[must_use]
    pub fn level_blocks(&self) -> Vec<u64> {
        let mut levels = Vec::new();
        let mut below = self.data_blocks;
        loop {
            below = below.div_ceil(FANOUT as u64);
            levels.push(below);
            if below <= 1 {
                return levels;
            }
        }
    }

    /// Where in the partition each level begins, in blocks, the lowest first.
    #[must_use]
    pub fn level_starts(&self) -> Vec<u64> {
        let levels = self.level_blocks();
        let above = |level| levels[level + 1..].iter().sum::<u64>();
        (0..levels.len()).map(|level| 1 + above(level)).collect()
    }

    /// Bytes of the whole verity partition's contents.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        (1 + self.level_blocks().iter().sum::<u64>()) * BLOCK_BYTES as u64
    }
}

/// The name field, padded.
fn algorithm() -> [u8; 32] {
    let mut name = [0; 32];
    field::put(&mut name, 0, b"sha256");
    name
}

/// Computes the tree over data blocks in order, and hands out each hash block as
/// soon as it is full: what is held is one block of each level.
#[derive(Debug, Clone)]
pub struct TreeHasher {
    salt: [u8; SALT_BYTES],
    data_blocks: u64,
    /// The lowest first. None is empty.
    levels: Vec<Level>,
}

#[derive(Debug, Clone)]
struct Level {
    /// Digests of the block that is being filled.
    open: Vec<u8>,
    /// Whether blocks of this level came before it.
    has_more: bool,
}

impl TreeHasher {
    /// A tree over blocks still to come.
    #[must_use]
    pub fn new(salt: [u8; SALT_BYTES]) -> Self {
        Self { salt, data_blocks: 0, levels: Vec::new() }
    }

    /// Takes the next data blocks, of which only the very last may be cut
    /// short. `each` gets every hash block that is full, with the number of its
    /// level; the blocks of a level come in order, and the lowest level is 0.
    ///
    /// # Errors
    /// Whatever `each` gives.
    pub fn update<E>(
        &mut self,
        blocks: &[u8],
        each: &mut impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for block in blocks.chunks(BLOCK_BYTES) {
            self.data_blocks += 1;
            self.push(0, self.digest(block), each)?;
        }
        Ok(())
    }

    /// Data blocks so far.
    #[must_use]
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// The root hash. `each` gets what is left of every level, the lowest first,
    /// zeros filling the blocks; the last is the one of the top level.
    ///
    /// # Errors
    /// Whatever `each` gives.
    pub fn finish<E>(
        mut self,
        each: &mut impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<Digest, E> {
        let mut number = 0;
        loop {
            let level = self.levels.get_mut(number);
            let (mut block, has_more) =
                level.map(|level| (take(&mut level.open), level.has_more)).unwrap_or_default();
            block.resize(BLOCK_BYTES, 0);
            each(number, &block)?;
            let digest = self.digest(&block);
            if !has_more {
                return Ok(digest);
            }
            number += 1;
            self.push(number, digest, each)?;
        }
    }

    fn digest(&self, block: &[u8]) -> Digest {
        Digest::of_parts(&[&self.salt, block])
    }

    /// A full block goes out only when there is something to put into the next:
    /// the last one of a level may turn out to be the top of the tree.
    fn push<E>(
        &mut self,
        number: usize,
        digest: Digest,
        each: &mut impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if number == self.levels.len() {
            let open = Vec::with_capacity(BLOCK_BYTES);
            self.levels.push(Level { open, has_more: false });
        }
        let level = &mut self.levels[number];
        if level.open.len() == BLOCK_BYTES {
            let full = take(&mut level.open);
            level.has_more = true;
            each(number, &full)?;
            self.push(number + 1, self.digest(&full), each)?;
            let level = &mut self.levels[number];
            level.open = full;
            level.open.clear();
        }
        self.levels[number].open.extend_from_slice(&digest.0);
        Ok(())
    }
}

/// The root hash over `data` and the contents of its verity partition, all in
/// memory: for small things. The number of blocks in `superblock` must be that
/// of `data`.
#[must_use]
pub fn tree(superblock: &Superblock, data: &[u8]) -> (Digest, Vec<u8>) {
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut each = |level: usize, block: &[u8]| {
        levels.resize_with(levels.len().max(level + 1), Vec::new);
        levels[level].extend_from_slice(block);
        Ok::<_, core::convert::Infallible>(())
    };
    let mut hasher = TreeHasher::new(superblock.salt);
    let Ok(()) = hasher.update(data, &mut each);
    let Ok(root) = hasher.finish(&mut each);
    let mut out = superblock.encode().to_vec();
    levels.iter().rev().for_each(|level| out.extend_from_slice(level));
    (root, out)
}

/// Whether the first two blocks of a verity partition belong to `root_hash`.
/// The kernel checks everything below; this only tells which slot is meant.
#[must_use]
pub fn belongs_to(first_blocks: &[u8], root_hash: Digest) -> Option<Superblock> {
    let superblock = Superblock::decode(first_blocks).ok()?;
    let top = first_blocks.get(BLOCK_BYTES..2 * BLOCK_BYTES)?;
    (superblock.block_digest(top) == root_hash).then_some(superblock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn superblock(data_blocks: u64) -> Superblock {
        Superblock { uuid: Guid::derived(&[b"tree"]), data_blocks, salt: [9; SALT_BYTES] }
    }

    fn data(blocks: u64) -> Vec<u8> {
        let mut data = Vec::new();
        for number in 0..blocks {
            let mut block = [0; BLOCK_BYTES];
            field::put(&mut block, 0, &number.to_le_bytes());
            data.extend_from_slice(&block);
        }
        data
    }

    /// Level by level over the one below, all of it in memory.
    fn by_levels(superblock: &Superblock, data: &[u8]) -> (Digest, Vec<u8>) {
        let mut level = data.to_vec();
        let mut levels: Vec<Vec<u8>> = Vec::new();
        while levels.is_empty() || level.len() > BLOCK_BYTES {
            let digests =
                level.chunks(BLOCK_BYTES).flat_map(|block| superblock.block_digest(block).0);
            level = digests.collect();
            level.resize(level.len().next_multiple_of(BLOCK_BYTES), 0);
            levels.push(level.clone());
        }
        let mut out = superblock.encode().to_vec();
        levels.iter().rev().for_each(|level| out.extend_from_slice(level));
        (superblock.block_digest(&level), out)
    }

    #[test]
    fn sizes_at_the_edges_of_a_level() {
        for (blocks, expected) in
            [(2, 2), (127, 2), (128, 2), (129, 4), (128 * 128, 130), (128 * 128 + 1, 133)]
        {
            let superblock = superblock(blocks);
            let data = data(blocks);
            let (root, bytes) = tree(&superblock, &data);
            assert_eq!(bytes.len(), expected * BLOCK_BYTES, "{blocks} data blocks");
            assert_eq!(superblock.len_bytes(), bytes.len() as u64);
            assert_eq!(belongs_to(&bytes, root), Some(superblock));
            assert_eq!(belongs_to(&bytes, Digest::ZERO), None);
            assert!((root, bytes) == by_levels(&superblock, &data), "{blocks} data blocks");
        }
    }

    #[test]
    fn blocks_come_in_the_order_of_their_places_and_little_is_held() {
        let superblock = superblock(3 * 128 * 128 + 5);
        let data = data(superblock.data_blocks);
        let (_, expected) = tree(&superblock, &data);
        let starts = superblock.level_starts();
        let mut placed = vec![0; starts.len()];
        let mut out = vec![0; expected.len()];
        out[..BLOCK_BYTES].copy_from_slice(&superblock.encode());
        let mut each = |level: usize, block: &[u8]| {
            let at = usize::try_from(starts[level] + placed[level]).expect("small") * BLOCK_BYTES;
            out[at..][..BLOCK_BYTES].copy_from_slice(block);
            placed[level] += 1;
            Ok::<_, ()>(())
        };
        let mut hasher = TreeHasher::new(superblock.salt);
        for piece in data.chunks(7 * BLOCK_BYTES) {
            hasher.update(piece, &mut each).expect("placed");
            let held: usize = hasher.levels.iter().map(|level| level.open.capacity()).sum();
            assert!(held <= 3 * BLOCK_BYTES, "{held} bytes are held");
        }
        assert_eq!(hasher.data_blocks(), superblock.data_blocks);
        hasher.finish(&mut each).expect("placed");
        assert!(out == expected);
    }
}
