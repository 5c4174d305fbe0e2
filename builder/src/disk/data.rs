//! The parts of a sparse file that are not zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Calls `each` with the offset and bytes of every `unit_bytes` of the file that
/// hold anything but zeros, in order. The last may be shorter.
///
/// Holes are passed over without reading them, but only what is read decides:
/// where a file system keeps its holes must not show in what is made of it.
pub fn for_each(
    file: &File,
    unit_bytes: usize,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (len, unit) = (file.metadata()?.len(), unit_bytes as u64);
    let mut buffer = vec![0; unit_bytes];
    let mut at = 0;
    while let Some((start, end)) = next_data(file, at, len)? {
        at = start / unit * unit;
        while at < end {
            let piece = usize::try_from((len - at).min(unit)).unwrap_or(unit_bytes);
            file.read_exact_at(&mut buffer[..piece], at)?;
            if !is_zero(&buffer[..piece]) {
                each(at, &buffer[..piece])?;
            }
            at += unit;
        }
    }
    Ok(())
}

/// Where data begins at or after `from`, and where it ends. A file system that
/// knows no holes calls everything data.
fn next_data(file: &File, from: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= len {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(from)) {
        Ok(start) => Ok(Some((start, seek(file, SeekFrom::Hole(start))?.min(len)))),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((from, len))),
        Err(error) => Err(error.into()),
    }
}

/// Whether all of `bytes` are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // compared in pieces that the compiler turns into vector instructions
    bytes.chunks(64).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_zero_is_seen_and_holes_do_not_decide() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len((1 << 40) + 100).expect("sparse");
        file.write_all_at(&[0; 8192], 4096).expect("zeros that are no hole");
        file.write_all_at(b"x", 20_000).expect("written");
        file.write_all_at(b"y", (1 << 40) + 99).expect("written");
        let mut seen = Vec::new();
        let each = |offset, bytes: &[u8]| {
            seen.push((offset, bytes.len()));
            Ok(())
        };
        for_each(&file, 4096, each).expect("read");
        assert_eq!(seen, [(16_384, 4096), (1 << 40, 100)]);
    }
}
