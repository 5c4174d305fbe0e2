//! Writes a root file system while another thread computes the dm-verity tree
//! over it: both take about as long, and neither has to read it again.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use formats::verity::{SALT_BYTES, TreeBuilder};

/// What is handed over at once: many blocks, and small enough for the caches.
const PIECE_BYTES: usize = 1 << 19;
/// Pieces that may wait; together with their size this bounds memory.
const WAITING: usize = 8;

/// Passes whole pieces on to `out` and to the hashing thread.
#[derive(Debug)]
pub struct HashingWriter<W> {
    out: W,
    piece: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
    thread: JoinHandle<TreeBuilder>,
    written_bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Writes to `out`, hashing with `salt`.
    pub fn new(out: W, salt: [u8; SALT_BYTES]) -> io::Result<Self> {
        let (full, pieces) = sync_channel::<Vec<u8>>(WAITING);
        let (give_back, used) = channel();
        let work = move || {
            let mut builder = TreeBuilder::new(salt);
            for mut piece in pieces {
                builder.update(&piece);
                piece.clear();
                // nobody needs it any more at the end
                let _ = give_back.send(piece);
            }
            builder
        };
        let thread = std::thread::Builder::new().name("verity".into()).spawn(work)?;
        let piece = Vec::with_capacity(PIECE_BYTES);
        Ok(Self { out, piece, full, used, thread, written_bytes: 0 })
    }

    /// Writes what is left, and gives the size in bytes and the tree's digests.
    /// Zeros fill the last block.
    pub fn finish(mut self) -> io::Result<(u64, TreeBuilder)> {
        let whole = self.piece.len().next_multiple_of(formats::block::BLOCK_BYTES);
        self.piece.resize(whole, 0);
        self.pass_on()?;
        drop(self.full);
        let builder = self.thread.join().map_err(|_| broken())?;
        Ok((self.written_bytes, builder))
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.piece)?;
        self.written_bytes += self.piece.len() as u64;
        let next = self.used.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE_BYTES));
        let piece = std::mem::replace(&mut self.piece, next);
        self.full.send(piece).map_err(|_| broken())
    }
}

fn broken() -> io::Error {
    io::Error::other("the hashing thread panicked")
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..now]);
        if self.piece.len() == PIECE_BYTES {
            self.pass_on()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hashed_is_what_is_written() {
        let salt = [7; SALT_BYTES];
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES + 5000).collect();
        let mut out = Vec::new();
        let mut writer = HashingWriter::new(&mut out, salt).expect("a thread");
        for part in bytes.chunks(70_001) {
            writer.write_all(part).expect("written");
        }
        let (size, builder) = writer.finish().expect("written");
        assert_eq!((size, size % 4096), (out.len() as u64, 0));
        assert_eq!(out[..bytes.len()], bytes);
        let mut again = TreeBuilder::new(salt);
        again.update(&out);
        let superblock = formats::verity::Superblock {
            uuid: formats::guid::Guid::derived(&[b"x"]),
            data_blocks: again.data_blocks(),
            salt,
        };
        assert_eq!(builder.finish(&superblock), again.finish(&superblock));
    }
}
