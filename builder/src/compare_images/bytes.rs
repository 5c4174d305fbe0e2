//! Windows of files, and where two of them differ.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use formats::BlockDevice;

/// Differences are found in blocks of this size.
const BLOCK: usize = 4096;
const PIECE: usize = 1 << 20;
/// Past this many there is no use in telling them apart.
const MAX_RANGES: usize = 100_000;

/// Part of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'f> {
    file: &'f File,
    start: u64,
    /// How many.
    pub len: u64,
}

impl<'f> Bytes<'f> {
    pub fn of(file: &'f File) -> io::Result<Self> {
        Ok(Self { file, start: 0, len: file.metadata()?.len() })
    }

    /// A part of it, cut off at its end.
    pub fn window(&self, start: u64, len: u64) -> Self {
        let start = start.min(self.len);
        Self { file: self.file, start: self.start + start, len: len.min(self.len - start) }
    }

    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, self.start + at)
    }

    /// From front to back.
    pub fn reader(&self) -> impl Read + use<'f> {
        Reader(*self, 0)
    }

    /// All of it, if it is not larger than `limit`.
    pub fn all(&self, limit: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(self.len).ok().filter(|_| self.len <= limit)?;
        let mut bytes = vec![0; len];
        self.read_at(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    /// The blocks in which two windows differ, neighbours as one range; bytes
    /// that only one has differ.
    pub fn differing(&self, other: &Self) -> io::Result<Vec<Range<u64>>> {
        let both = self.len.min(other.len);
        let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < both {
            let count = PIECE.min(usize::try_from(both - at).unwrap_or(PIECE));
            self.read_at(&mut left[..count], at)?;
            other.read_at(&mut right[..count], at)?;
            if left[..count] != right[..count] {
                let blocks = left[..count].chunks(BLOCK).zip(right[..count].chunks(BLOCK));
                for (number, (a, b)) in blocks.enumerate() {
                    if a != b {
                        let begin = at + (number * BLOCK) as u64;
                        extend(&mut ranges, begin..begin + a.len() as u64);
                    }
                }
            }
            at += count as u64;
        }
        if self.len != other.len {
            extend(&mut ranges, both..self.len.max(other.len));
        }
        Ok(ranges)
    }

    /// The first byte that differs, which lies in the first of `ranges`.
    pub fn first_difference(&self, other: &Self, ranges: &[Range<u64>]) -> Option<u64> {
        let begin = ranges.first()?.start;
        let (mut left, mut right) = ([0; BLOCK], [0; BLOCK]);
        let count = BLOCK.min(usize::try_from(self.len.min(other.len).checked_sub(begin)?).ok()?);
        self.read_at(&mut left[..count], begin).ok()?;
        other.read_at(&mut right[..count], begin).ok()?;
        let at = left[..count].iter().zip(&right[..count]).position(|(a, b)| a != b);
        Some(begin + at.unwrap_or(count) as u64)
    }
}

/// A window, and how much of it was read.
struct Reader<'f>(Bytes<'f>, u64);

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self(bytes, at) = self;
        let count = buffer.len().min(usize::try_from(bytes.len - *at).unwrap_or(usize::MAX));
        bytes.read_at(&mut buffer[..count], *at)?;
        *at += count as u64;
        Ok(count)
    }
}

fn extend(ranges: &mut Vec<Range<u64>>, next: Range<u64>) {
    let full = ranges.len() >= MAX_RANGES;
    match ranges.last_mut() {
        Some(last) if last.end == next.start || full => last.end = next.end,
        _ => ranges.push(next),
    }
}

/// A window as a disk that is only read.
pub(super) struct DiskFile<'b, 'f>(pub &'b Bytes<'f>);

impl BlockDevice for DiskFile<'_, '_> {
    type Error = io::Error;

    fn len_bytes(&self) -> u64 {
        self.0.len
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(buffer, offset_bytes)
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
