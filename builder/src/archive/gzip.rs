//! gzip on every core: the stream is cut into pieces of a fixed size, and each
//! becomes a member of its own (RFC 1952, section 2.2: members follow each other
//! and decompress to one stream). So the bytes do not depend on how many cores
//! there are.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

use crate::parallel;

/// Uncompressed bytes of a member. What repeats across its end is stored twice,
/// which costs a thousandth at this size.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces for each core that are gathered before work begins.
const PIECES_A_CORE: usize = 4;
/// And for all of them, which bounds memory.
const MAX_BATCH: usize = 64;

/// Compresses what is written to it into `W`.
pub struct Gzip<W> {
    out: W,
    pieces: Vec<Vec<u8>>,
    /// how many are gathered
    batch: usize,
}

impl<W: Write> Gzip<W> {
    pub fn new(out: W) -> Self {
        let batch = (parallel::cores() * PIECES_A_CORE).min(MAX_BATCH);
        Self { out, pieces: Vec::new(), batch }
    }

    /// Compresses the rest and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.compress()?;
        Ok(self.out)
    }

    fn compress(&mut self) -> io::Result<()> {
        let pieces = std::mem::take(&mut self.pieces);
        for member in parallel::map(&pieces, |piece| member(piece)) {
            self.out.write_all(&member?)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE_BYTES) {
            if self.pieces.len() == self.batch {
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

/// No time and no name; "unknown" as the system that made it.
fn member(piece: &[u8]) -> io::Result<Vec<u8>> {
    let builder = GzBuilder::new().operating_system(255);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(piece)?;
    encoder.finish()
}
