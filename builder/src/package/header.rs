//! Lead and headers of an RPM file, bounded before they are parsed.
//!
//! The `rpm` crate trusts the offsets and counts it finds. Those are checked
//! here first, so that a damaged file is an error and nothing worse. Format:
//! rpm's `docs/manual/format_v4.md`.

use std::io::{self, Read};

use super::Problem;

const LEAD_BYTES: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
const INTRO_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
/// rpm's own limit, `HEADER_TAGS_MAX`.
const MAX_ENTRIES: usize = 0xffff;
/// rpm allows 256 MiB; no distribution's package comes near this.
const MAX_DATA_BYTES: usize = 64 << 20;

/// What is wrong with the headers of an RPM file.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It does not begin as an RPM file does.
    #[error("not an RPM package")]
    NotAnRpm,
    /// It ends within the headers.
    #[error("ends within its header")]
    Truncated(#[source] io::Error),
    /// A header does not begin as one does.
    #[error("no header at offset {offset_bytes}")]
    NoHeader {
        /// Where it should be.
        offset_bytes: usize,
    },
    /// More entries or data than any package has.
    #[error("header of {entries} entries and {data_bytes} bytes is too large")]
    TooLarge {
        /// Number of entries it claims.
        entries: usize,
        /// Bytes of data it claims.
        data_bytes: usize,
    },
    /// An entry points outside of the header's data.
    #[error("tag {tag} points outside of its header")]
    EntryOutside {
        /// Number of the tag.
        tag: u32,
    },
}

/// Reads lead, signature header and header, and leaves `input` at the payload.
pub fn read(input: &mut impl Read) -> Result<rpm::PackageMetadata, Problem> {
    let mut bytes = Vec::new();
    take(input, LEAD_BYTES, &mut bytes)?;
    if bytes[..4] != LEAD_MAGIC {
        return Err(HeaderError::NotAnRpm.into());
    }
    take_header(input, &mut bytes)?;
    let padding = bytes.len().next_multiple_of(8) - bytes.len();
    take(input, padding, &mut bytes)?;
    take_header(input, &mut bytes)?;
    Ok(rpm::PackageMetadata::parse(&mut bytes.as_slice())?)
}

/// Appends `count` bytes of `input`.
fn take(input: &mut impl Read, count: usize, bytes: &mut Vec<u8>) -> Result<(), HeaderError> {
    let before = bytes.len();
    let got = input.take(count as u64).read_to_end(bytes).map_err(HeaderError::Truncated)?;
    if got < count {
        bytes.truncate(before);
        return Err(HeaderError::Truncated(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Appends a whole header, checked.
fn take_header(input: &mut impl Read, bytes: &mut Vec<u8>) -> Result<(), HeaderError> {
    let start = bytes.len();
    take(input, INTRO_BYTES, bytes)?;
    if bytes[start..start + 4] != HEADER_MAGIC {
        return Err(HeaderError::NoHeader { offset_bytes: start });
    }
    let entries = number(&bytes[start + 8..]);
    let data_bytes = number(&bytes[start + 12..]);
    if entries > MAX_ENTRIES || data_bytes > MAX_DATA_BYTES {
        return Err(HeaderError::TooLarge { entries, data_bytes });
    }
    take(input, entries * ENTRY_BYTES, bytes)?;
    take(input, data_bytes, bytes)?;
    let (index, data) = bytes[start + INTRO_BYTES..].split_at(entries * ENTRY_BYTES);
    index.chunks_exact(ENTRY_BYTES).try_for_each(|entry| check_entry(entry, data))
}

/// An index entry is tag, type, offset and count, 32 bits each.
fn check_entry(entry: &[u8], data: &[u8]) -> Result<(), HeaderError> {
    let tag = u32::try_from(number(entry)).unwrap_or(u32::MAX);
    let outside = || HeaderError::EntryOutside { tag };
    let (kind, offset, count) = (number(&entry[4..]), number(&entry[8..]), number(&entry[12..]));
    let rest = data.get(offset..).ok_or_else(outside)?;
    let fits = match kind {
        0 => true,
        1 | 2 | 7 => count <= rest.len(),
        3 => count <= rest.len() / 2,
        4 => count <= rest.len() / 4,
        5 => count <= rest.len() / 8,
        // strings: as many ends as there are strings
        6 | 8 | 9 => rest.iter().filter(|byte| **byte == 0).take(count).count() == count,
        _ => false,
    };
    fits.then_some(()).ok_or_else(outside)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | usize::from(*byte))
}
