//! Writing in pieces that are filled in place: what is read from a file is then
//! where it is written from, without being copied in between.

use std::io::{self, Write};

/// Something that is filled from front to back.
pub trait Pieces {
    /// Where the next bytes go: at least one of them.
    fn room(&mut self) -> &mut [u8];

    /// Takes the first `len` bytes of the room, at most all of it.
    ///
    /// # Errors
    /// If they cannot be passed on.
    fn filled(&mut self, len: usize) -> io::Result<()>;
}

/// Copies `bytes` into `out`.
pub fn put(out: &mut impl Pieces, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let room = out.room();
        let (now, later) = bytes.split_at(bytes.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        out.filled(now.len())?;
        bytes = later;
    }
    Ok(())
}

/// Anything that can be written to, in pieces. What was not flushed is lost.
#[derive(Debug)]
pub struct Buffered<W> {
    out: W,
    piece: Vec<u8>,
    filled: usize,
}

impl<W: Write> Buffered<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, piece: vec![0; 1 << 17], filled: 0 }
    }

    /// Writes what is left.
    pub fn flush(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        self.out.write_all(&self.piece[..filled])?;
        self.out.flush()
    }
}

impl<W: Write> Pieces for Buffered<W> {
    fn room(&mut self) -> &mut [u8] {
        &mut self.piece[self.filled..]
    }

    fn filled(&mut self, len: usize) -> io::Result<()> {
        self.filled += len;
        if self.filled == self.piece.len() { self.flush() } else { Ok(()) }
    }
}

/// Has whoever writes fill [`Pieces`].
pub struct AsWrite<'p, P>(pub &'p mut P);

impl<P: Pieces> Write for AsWrite<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        put(self.0, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
