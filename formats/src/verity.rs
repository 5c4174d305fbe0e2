//! dm-verity, hash format 1 (cryptsetup's on-disk superblock, kernel
//! documentation admin-guide/device-mapper/verity): SHA-256, 4 KiB data and
//! hash blocks, one salt before each block.
//!
//! A verity partition is the superblock's block, then the levels from the top
//! one down; the top one is a single block, whose salted digest is the root
//! hash.

use alloc::vec;
use alloc::vec::Vec;

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

/// Builds the tree from the data blocks in order. Holds 32 bytes per data
/// block: 8 MiB for each GiB.
pub struct TreeBuilder {
    salt: [u8; SALT_BYTES],
    lowest: Vec<u8>,
}

/// The number of data blocks was not that of the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the verity tree is for {expected} data blocks and got {got}")]
pub struct WrongLength {
    /// blocks
    pub expected: u64,
    /// blocks
    pub got: u64,
}

impl TreeBuilder {
    /// A tree over blocks still to come.
    #[must_use]
    pub fn new(salt: [u8; SALT_BYTES]) -> Self {
        Self { salt, lowest: Vec::new() }
    }

    /// Takes the next data blocks; a length that is not a whole number of
    /// blocks is a mistake of the caller and is noticed by [`Self::finish`].
    pub fn update(&mut self, blocks: &[u8]) {
        for block in blocks.chunks(BLOCK_BYTES) {
            self.lowest.extend_from_slice(&Digest::of_parts(&[&self.salt, block]).0);
        }
    }

    /// Blocks so far.
    #[must_use]
    pub fn data_blocks(&self) -> u64 {
        (self.lowest.len() / Digest::LEN) as u64
    }

    /// The root hash, and the contents of the partition with `superblock`, whose
    /// salt is the one the tree was begun with.
    pub fn finish(self, superblock: &Superblock) -> Result<(Digest, Vec<u8>), WrongLength> {
        let (got, expected) = (self.data_blocks(), superblock.data_blocks);
        if got != expected {
            return Err(WrongLength { expected, got });
        }
        let mut levels = Vec::new();
        let mut level = padded(self.lowest);
        while level.len() > BLOCK_BYTES {
            let above = level
                .chunks(BLOCK_BYTES)
                .flat_map(|block| superblock.block_digest(block).0)
                .collect();
            levels.push(level);
            level = padded(above);
        }
        let root = superblock.block_digest(&level);
        levels.push(level);
        let mut out = superblock.encode().to_vec();
        for level in levels.iter().rev() {
            out.extend_from_slice(level);
        }
        Ok((root, out))
    }
}

fn padded(mut level: Vec<u8>) -> Vec<u8> {
    let whole = level.len().next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES);
    level.extend_from_slice(&vec![0; whole - level.len()]);
    level
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

    fn tree(blocks: u64) -> (Superblock, Digest, Vec<u8>) {
        let superblock = Superblock {
            uuid: Guid::derived(&[b"tree"]),
            data_blocks: blocks,
            salt: [9; SALT_BYTES],
        };
        let mut builder = TreeBuilder::new(superblock.salt);
        for number in 0..blocks {
            let mut block = [0; BLOCK_BYTES];
            field::put(&mut block, 0, &number.to_le_bytes());
            builder.update(&block);
        }
        let (root, bytes) = builder.finish(&superblock).expect("as many as said");
        (superblock, root, bytes)
    }

    #[test]
    fn sizes_at_the_edges_of_a_level() {
        for (blocks, expected) in
            [(2, 2), (128, 2), (129, 4), (128 * 128, 130), (128 * 128 + 1, 133)]
        {
            let (superblock, root, bytes) = tree(blocks);
            assert_eq!(bytes.len(), expected * BLOCK_BYTES, "{blocks} data blocks");
            assert_eq!(superblock.len_bytes(), bytes.len() as u64);
            assert_eq!(belongs_to(&bytes, root), Some(superblock));
            assert_eq!(belongs_to(&bytes, Digest::ZERO), None);
        }
    }

    #[test]
    fn a_wrong_number_of_blocks_is_noticed() {
        let superblock = Superblock { uuid: Guid::ZERO, data_blocks: 2, salt: [0; SALT_BYTES] };
        let mut builder = TreeBuilder::new(superblock.salt);
        builder.update(&[0; BLOCK_BYTES]);
        assert_eq!(builder.finish(&superblock), Err(WrongLength { expected: 2, got: 1 }));
    }
}
