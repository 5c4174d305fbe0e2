//! gzip on every core: the stream is cut into pieces of a fixed size, and each
//! becomes a member of its own (RFC 1952, section 2.2: members follow each other
//! and decompress to one stream). So the bytes do not depend on how many cores
//! there are.

use std::io::{self, Write};
use std::sync::Mutex;

use flate2::{Compression, GzBuilder};

/// Uncompressed bytes of a member. What repeats across its end is stored twice,
/// which costs a thousandth at this size.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces for each core that are gathered before work begins.
const PIECES_A_CORE: usize = 4;

/// Compresses what is written to it into `W`.
pub struct Gzip<W> {
    out: W,
    pieces: Vec<Vec<u8>>,
    threads: usize,
}

impl<W: Write> Gzip<W> {
    pub fn new(out: W) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { out, pieces: Vec::new(), threads }
    }

    /// Compresses the rest and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.compress()?;
        Ok(self.out)
    }

    fn compress(&mut self) -> io::Result<()> {
        let pieces = std::mem::take(&mut self.pieces);
        for member in members(&pieces, self.threads)? {
            self.out.write_all(&member)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE_BYTES) {
            if self.pieces.len() == self.threads * PIECES_A_CORE {
                self.compress()?;
            }
            self.pieces.push(Vec::with_capacity(PIECE_BYTES));
        }
        let Some(piece) = self.pieces.last_mut() else {
            return Err(io::ErrorKind::WriteZero.into());
        };
        let taken = bytes.len().min(PIECE_BYTES - piece.len());
        piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // a piece is not cut short for it: that would show in the bytes
        Ok(())
    }
}

/// The compressed pieces, in order.
fn members(pieces: &[Vec<u8>], threads: usize) -> io::Result<Vec<Vec<u8>>> {
    let next = Mutex::new(pieces.iter().enumerate());
    let done = Mutex::new(vec![Vec::new(); pieces.len()]);
    let panicked = || io::Error::other("a compressing thread panicked");
    std::thread::scope(|scope| {
        let worker = || -> io::Result<()> {
            loop {
                let Some((number, piece)) = next.lock().map_err(|_| panicked())?.next() else {
                    return Ok(());
                };
                let member = member(piece)?;
                done.lock().map_err(|_| panicked())?[number] = member;
            }
        };
        let workers: Vec<_> = (0..threads.min(pieces.len())).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| panicked())?)
    })?;
    done.into_inner().map_err(|_| panicked())
}

/// No time and no name; "unknown" as the system that made it.
fn member(piece: &[u8]) -> io::Result<Vec<u8>> {
    let builder = GzBuilder::new().operating_system(255);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(piece)?;
    encoder.finish()
}
