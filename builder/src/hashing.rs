//! Writes a root file system while another thread computes the dm-verity tree
//! over it: both take about as long, and neither has to read it again.
//!
//! Nothing of the tree but its upper levels is held: the lowest, which is 8 MiB
//! for each GiB of data, goes to an unnamed file, since it lies behind the others
//! and only the end of the data tells how large those are.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use formats::Digest;
use formats::block::BLOCK_BYTES;
use formats::guid::Guid;
use formats::verity::{SALT_BYTES, Superblock, TreeHasher};

use crate::pieces::Pieces;
use crate::region::ReadAt;
use crate::worker::Worker;

/// What is handed over at once: many blocks, and small enough for the caches.
const PIECE_BYTES: usize = 1 << 19;
/// Pieces that may wait; together with their size this bounds memory.
const WAITING: usize = 8;

/// Passes whole pieces on to `out` and to the hashing thread.
#[derive(Debug)]
pub struct HashingWriter<W> {
    out: W,
    /// [`PIECE_BYTES`] long, the first `filled` of them written
    piece: Vec<u8>,
    filled: usize,
    used: Receiver<Vec<u8>>,
    hashing: Worker<Vec<u8>, Levels>,
    written_bytes: u64,
    salt: [u8; SALT_BYTES],
}

impl<W: Write> HashingWriter<W> {
    /// Writes to `out`, hashing with `salt`; the unnamed file is in `scratch`.
    pub fn new(out: W, salt: [u8; SALT_BYTES], scratch: &Path) -> io::Result<Self> {
        let mut levels = Levels::new(salt, tempfile::tempfile_in(scratch)?);
        let (give_back, used) = channel();
        let work = move |pieces: Receiver<Vec<u8>>| {
            let mut done = Ok(());
            for piece in pieces {
                done = done.and_then(|()| levels.update(&piece));
                // nobody needs it any more at the end
                let _ = give_back.send(piece);
            }
            done.map(|()| levels)
        };
        let hashing = Worker::start("verity", WAITING, work)?;
        let piece = vec![0; PIECE_BYTES];
        Ok(Self { out, piece, filled: 0, used, hashing, written_bytes: 0, salt })
    }

    /// Writes what is left, and gives the size in bytes and the tree, whose
    /// superblock has `uuid`. Zeros fill the last block.
    pub fn finish(mut self, uuid: Guid) -> io::Result<(u64, HashTree)> {
        let whole = self.filled.next_multiple_of(BLOCK_BYTES);
        self.piece[self.filled..whole].fill(0);
        self.filled = whole;
        self.pass_on()?;
        let levels = self.hashing.finish()?;
        Ok((self.written_bytes, levels.finish(uuid, self.salt)?))
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.piece[..self.filled])?;
        self.written_bytes += self.filled as u64;
        let next = self.used.try_recv().unwrap_or_default();
        let mut piece = std::mem::replace(&mut self.piece, next);
        // only the last piece is shorter
        piece.truncate(self.filled);
        self.piece.resize(PIECE_BYTES, 0);
        self.filled = 0;
        self.hashing.hand_over(piece)
    }
}

impl<W: Write> Pieces for HashingWriter<W> {
    fn room(&mut self) -> &mut [u8] {
        &mut self.piece[self.filled..]
    }

    fn filled(&mut self, len: usize) -> io::Result<()> {
        self.filled += len;
        if self.filled == PIECE_BYTES { self.pass_on() } else { Ok(()) }
    }
}

/// The hash blocks so far.
#[derive(Debug)]
struct Levels {
    hasher: TreeHasher,
    lowest: BufWriter<File>,
    lowest_bytes: u64,
    /// Those above, the lower first: together an eight-thousandth of the data.
    upper: Vec<Vec<u8>>,
}

impl Levels {
    fn new(salt: [u8; SALT_BYTES], lowest: File) -> Self {
        let lowest = BufWriter::with_capacity(1 << 17, lowest);
        Self { hasher: TreeHasher::new(salt), lowest, lowest_bytes: 0, upper: Vec::new() }
    }

    fn update(&mut self, blocks: &[u8]) -> io::Result<()> {
        let Self { hasher, lowest, lowest_bytes, upper } = self;
        hasher.update(blocks, &mut |level, block| keep(lowest, lowest_bytes, upper, level, block))
    }

    fn finish(self, uuid: Guid, salt: [u8; SALT_BYTES]) -> io::Result<HashTree> {
        let Self { hasher, mut lowest, mut lowest_bytes, mut upper } = self;
        let data_blocks = hasher.data_blocks();
        let root_hash = hasher.finish(&mut |level, block| {
            keep(&mut lowest, &mut lowest_bytes, &mut upper, level, block)
        })?;
        let mut head = Superblock { uuid, data_blocks, salt }.encode().to_vec();
        upper.iter().rev().for_each(|level| head.extend_from_slice(level));
        let lowest = lowest.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(HashTree { root_hash, head, lowest, lowest_bytes })
    }
}

fn keep(
    lowest: &mut impl Write,
    lowest_bytes: &mut u64,
    upper: &mut Vec<Vec<u8>>,
    level: usize,
    block: &[u8],
) -> io::Result<()> {
    let Some(above) = level.checked_sub(1) else {
        *lowest_bytes += block.len() as u64;
        return lowest.write_all(block);
    };
    upper.resize_with(upper.len().max(level), Vec::new);
    upper[above].extend_from_slice(block);
    Ok(())
}

/// What goes into a verity partition.
#[derive(Debug)]
pub struct HashTree {
    /// dm-verity root hash
    pub root_hash: Digest,
    /// superblock and the upper levels
    head: Vec<u8>,
    /// the level behind them
    lowest: File,
    lowest_bytes: u64,
}

impl ReadAt for HashTree {
    fn len_bytes(&self) -> u64 {
        self.head.len() as u64 + self.lowest_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let head = self.head.len() as u64;
        let of_head = usize::try_from(head.saturating_sub(at)).unwrap_or(usize::MAX);
        let (first, rest) = buffer.split_at_mut(of_head.min(buffer.len()));
        self.head.as_slice().read_exact_at(first, at.min(head))?;
        self.lowest.read_exact_at(rest, at.max(head) - head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces;

    #[test]
    fn what_is_hashed_is_what_is_written() {
        let salt = [7; SALT_BYTES];
        let scratch = tempfile::tempdir().expect("a folder");
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES + 5000).collect();
        let mut out = Vec::new();
        let mut writer = HashingWriter::new(&mut out, salt, scratch.path()).expect("a thread");
        for part in bytes.chunks(70_001) {
            pieces::put(&mut writer, part).expect("written");
        }
        let uuid = Guid::derived(&[b"x"]);
        let (size, tree) = writer.finish(uuid).expect("written");
        assert_eq!((size, size % 4096), (out.len() as u64, 0));
        assert_eq!(out[..bytes.len()], bytes);
        let superblock = Superblock { uuid, data_blocks: size / 4096, salt };
        let (root_hash, expected) = formats::verity::tree(&superblock, &out);
        assert_eq!(tree.root_hash, root_hash);
        let mut all = vec![0; usize::try_from(tree.len_bytes()).expect("small")];
        tree.read_exact_at(&mut all, 0).expect("read");
        assert!(all == expected);
        for at in [1, 4095, 8192, 8193, all.len() - 1] {
            let mut part = vec![0; all.len() - at];
            tree.read_exact_at(&mut part, at as u64).expect("read");
            assert!(part == expected[at..], "from {at}");
        }
        assert!(tree.read_exact_at(&mut [0; 2], all.len() as u64 - 1).is_err());
    }
}
