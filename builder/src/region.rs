//! A run of bytes of a file, such as a partition of the disk that is being
//! made: written from front to back, read anywhere.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Something that is read at any place.
pub trait ReadAt {
    /// How many bytes there are.
    fn len_bytes(&self) -> u64;

    /// Fills `buffer` from `at` bytes on.
    ///
    /// # Errors
    /// If it ends before the buffer is full, or cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let from = from.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A run of bytes of a file.
#[derive(Debug, Clone, Copy)]
pub struct Region<'f> {
    file: &'f File,
    start_bytes: u64,
    len_bytes: u64,
}

impl<'f> Region<'f> {
    /// `len_bytes` of `file` from `start_bytes` on.
    #[must_use]
    pub fn new(file: &'f File, start_bytes: u64, len_bytes: u64) -> Self {
        Self { file, start_bytes, len_bytes }
    }

    /// The first `len_bytes` of it.
    #[must_use]
    pub fn first(self, len_bytes: u64) -> Self {
        Self { len_bytes: len_bytes.min(self.len_bytes), ..self }
    }

    /// Writes from its first byte on.
    #[must_use]
    pub fn writer(self) -> RegionWriter<'f> {
        RegionWriter { region: self, written_bytes: 0 }
    }
}

impl ReadAt for Region<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if at.saturating_add(buffer.len() as u64) > self.len_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, self.start_bytes + at)
    }
}

/// Writes a region. What has no room is only counted, so that its size can be
/// told; nothing after the region is touched.
#[derive(Debug)]
pub struct RegionWriter<'f> {
    region: Region<'f>,
    written_bytes: u64,
}

impl Write for RegionWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.region.len_bytes.saturating_sub(self.written_bytes);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let at = self.region.start_bytes + self.written_bytes;
        self.region.file.write_all_at(&bytes[..fits], at)?;
        self.written_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beside_a_region_is_read_or_written() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"0123456789", 0).expect("written");
        let region = Region::new(&file, 2, 4);
        region.writer().write_all(b"abcdef").expect("counted");
        let mut all = [0; 10];
        file.read_exact_at(&mut all, 0).expect("read");
        assert_eq!(&all, b"01abcd6789");
        let mut part = [0; 3];
        region.read_exact_at(&mut part, 1).expect("read");
        assert_eq!(&part, b"bcd");
        assert!(region.read_exact_at(&mut part, 2).is_err());
        assert!(region.first(2).read_exact_at(&mut part, 0).is_err());
        assert!(b"abc".read_exact_at(&mut part, u64::MAX).is_err());
    }
}
