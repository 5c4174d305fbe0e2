//! The parsers of packages as functions of bytes, for `fuzz/targets` alone: no
//! part of what this crate offers.

use std::io::{self, Write};

use super::{Problem, describe, header, payload};

/// Unpacking stops here: how long a large payload takes is no finding.
const ROOM_BYTES: usize = 32 << 20;

/// Takes `bytes` as the headers of a package.
pub fn headers(bytes: &[u8]) {
    let _ = header::read(&mut &bytes[..]).and_then(|metadata| describe(&metadata));
}

/// Takes `bytes` as a package and unpacks it, into nothing.
pub fn package(mut bytes: &[u8]) {
    let _ = unpack(&mut bytes);
}

fn unpack(input: &mut &[u8]) -> Result<(), Problem> {
    let metadata = header::read(input)?;
    let package = describe(&metadata)?;
    payload::check_size(input.len() as u64, &package.files)?;
    let compression = payload::Compression::of(&metadata)?;
    payload::unpack(compression, *input, &mut Room(ROOM_BYTES), &package.files)?;
    Ok(())
}

/// Swallows so many bytes, then it is full.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
