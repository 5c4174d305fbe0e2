//! The headers of an RPM file as bytes: read with every length checked before
//! memory is set aside for it, and the entries looked up without copying.
//! Nothing here is vouched for: who signed it is checked elsewhere, and what a
//! package is made of is read elsewhere too.
//!
//! Format: rpm's `docs/manual/format_v4.md` and `lib/header.c`.

use std::io::{self, Read};
use std::ops::Range;

const LEAD_BYTES: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// Size of a header's introduction: magic, reserved, entries, data size.
const INTRO_BYTES: usize = 16;
/// Of which the first half is no part of the header where rpm's database keeps
/// it.
const MAGIC_BYTES: usize = 8;
/// Size of an entry of the index: tag, type, offset, count.
const ENTRY_BYTES: usize = 16;
/// rpm's own limit, `HEADER_TAGS_MAX`.
const MAX_ENTRIES: usize = 0xffff;
/// rpm allows 256 MiB; no distribution's package comes near this: those of
/// kernels have 3 MB, one of 100,000 files has 15. Reading a header takes three
/// times its size.
const MAX_DATA_BYTES: usize = 32 << 20;

/// Tags below are of regions, which span other entries (`HEADER_I18NTABLE`).
const FIRST_PLAIN_TAG: u32 = 100;

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
    /// An entry's data are another entry's too, which rpm refuses.
    #[error("tag {tag} overlaps another one")]
    Overlap {
        /// Number of the tag.
        tag: u32,
    },
}

/// Lead, signature header and header of an RPM file: everything before its
/// payload. All entries point inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHeaders {
    bytes: Vec<u8>,
    signature: Extent,
    header: Extent,
}

/// Where in the file a header's parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extent {
    whole: Range<usize>,
    data_at: usize,
}

impl RawHeaders {
    /// Reads them, and leaves `input` at the payload.
    ///
    /// # Errors
    /// If `input` is not an RPM file, or its headers contradict themselves.
    pub fn read(input: &mut impl Read) -> Result<Self, HeaderError> {
        let mut bytes = Vec::new();
        let lead = take(input, LEAD_BYTES, &mut bytes);
        if !bytes.starts_with(&LEAD_MAGIC) {
            return Err(HeaderError::NotAnRpm);
        }
        lead?;
        let signature = take_header(input, &mut bytes)?;
        let padding = bytes.len().next_multiple_of(8) - bytes.len();
        take(input, padding, &mut bytes)?;
        let header = take_header(input, &mut bytes)?;
        Ok(Self { bytes, signature, header })
    }

    /// All their bytes, the lead's first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the header, which a signature covers: introduction, index
    /// and data.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes[self.header.whole.clone()]
    }

    /// What the package is.
    #[must_use]
    pub fn header(&self) -> Header<'_> {
        self.part(&self.header)
    }

    /// What vouches for it.
    #[must_use]
    pub fn signature(&self) -> Header<'_> {
        self.part(&self.signature)
    }

    fn part(&self, extent: &Extent) -> Header<'_> {
        let Range { start, end } = extent.whole;
        Header {
            index: &self.bytes[start + INTRO_BYTES..extent.data_at],
            data: &self.bytes[extent.data_at..end],
        }
    }
}

/// Appends `count` bytes of `input`.
fn take(input: &mut impl Read, count: usize, bytes: &mut Vec<u8>) -> Result<(), HeaderError> {
    let got = input.take(count as u64).read_to_end(bytes).map_err(HeaderError::Truncated)?;
    if got < count {
        return Err(HeaderError::Truncated(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Appends a whole header, checked.
fn take_header(input: &mut impl Read, bytes: &mut Vec<u8>) -> Result<Extent, HeaderError> {
    let start = bytes.len();
    take(input, INTRO_BYTES, bytes)?;
    if bytes[start..start + 4] != HEADER_MAGIC {
        return Err(HeaderError::NoHeader { offset_bytes: start });
    }
    let entries = length(bytes, start + 8);
    let data_bytes = length(bytes, start + 12);
    if entries > MAX_ENTRIES || data_bytes > MAX_DATA_BYTES {
        return Err(HeaderError::TooLarge { entries, data_bytes });
    }
    take(input, entries * ENTRY_BYTES + data_bytes, bytes)?;
    let data_at = start + INTRO_BYTES + entries * ENTRY_BYTES;
    let header = Header { index: &bytes[start + INTRO_BYTES..data_at], data: &bytes[data_at..] };
    header.check()?;
    Ok(Extent { whole: start..bytes.len(), data_at })
}

/// A length that cannot be told is one that is too long.
fn length(bytes: &[u8], at: usize) -> usize {
    number(bytes, at).and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX)
}

/// The types of rpm's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are rpm's")]
pub enum Type {
    Null = 0,
    Char = 1,
    Int8 = 2,
    Int16 = 3,
    Int32 = 4,
    Int64 = 5,
    String = 6,
    Binary = 7,
    StringArray = 8,
    I18nString = 9,
}

impl Type {
    fn of(number: u32) -> Option<Self> {
        const ALL: [Type; 10] = [
            Type::Null,
            Type::Char,
            Type::Int8,
            Type::Int16,
            Type::Int32,
            Type::Int64,
            Type::String,
            Type::Binary,
            Type::StringArray,
            Type::I18nString,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Size of one value, also what it is aligned to; none for texts.
    #[must_use]
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Null => Some(0),
            Self::Char | Self::Int8 | Self::Binary => Some(1),
            Self::Int16 => Some(2),
            Self::Int32 => Some(4),
            Self::Int64 => Some(8),
            Self::String | Self::StringArray | Self::I18nString => None,
        }
    }
}

/// A header: an index of entries and the data they point into.
#[derive(Debug, Clone, Copy, Default)]
pub struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

/// One entry of a header.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What it is about.
    pub tag: u32,
    /// Type of its values.
    pub kind: Type,
    /// How many values, or bytes if it is binary.
    pub count: u32,
    /// The values, as they are in the header.
    pub data: &'a [u8],
}

impl<'a> Header<'a> {
    /// Takes a header as rpm's database keeps it: without the magic number.
    #[must_use]
    pub fn parse_stored(bytes: &'a [u8]) -> Option<Self> {
        let entries = length(bytes, 0);
        let data_at = (INTRO_BYTES - MAGIC_BYTES).checked_add(entries.checked_mul(ENTRY_BYTES)?)?;
        let end = data_at.checked_add(length(bytes, 4))?;
        let index = bytes.get(INTRO_BYTES - MAGIC_BYTES..data_at)?;
        Some(Self { index, data: bytes.get(data_at..end)? })
    }

    /// The index as it is.
    #[must_use]
    pub fn index(&self) -> &'a [u8] {
        self.index
    }

    /// The data as it is.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Entries are in the order of their data, as rpm wants them; the region's,
    /// whose data are last, is before them all. That they do not overlap also
    /// bounds the time this takes.
    fn check(&self) -> Result<(), HeaderError> {
        let mut end = 0;
        for (at, raw) in self.index.chunks_exact(ENTRY_BYTES).enumerate() {
            let tag = number(raw, 0).unwrap_or(u32::MAX);
            let offset = length(raw, 8);
            let is_region = at == 0 && tag < FIRST_PLAIN_TAG;
            if offset < end && !is_region {
                return Err(HeaderError::Overlap { tag });
            }
            let entry = self.entry_of(raw).ok_or(HeaderError::EntryOutside { tag })?;
            if !is_region {
                end = offset + entry.data.len();
            }
        }
        Ok(())
    }

    /// All entries that point inside, in the order of the index.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        self.index.chunks_exact(ENTRY_BYTES).filter_map(|entry| self.entry_of(entry))
    }

    /// The first entry of this tag.
    #[must_use]
    pub fn entry(&self, tag: u32) -> Option<Entry<'a>> {
        let entry =
            self.index.chunks_exact(ENTRY_BYTES).find(|entry| number(entry, 0) == Some(tag))?;
        self.entry_of(entry)
    }

    fn entry_of(&self, entry: &[u8]) -> Option<Entry<'a>> {
        let (tag, kind) = (number(entry, 0)?, Type::of(number(entry, 4)?)?);
        let count = number(entry, 12)?;
        let rest = self.data.get(usize::try_from(number(entry, 8)?).ok()?..)?;
        let values = usize::try_from(count).ok()?;
        let length = match kind.width() {
            Some(width) => values.checked_mul(width)?,
            None => length_of_texts(rest, values)?,
        };
        Some(Entry { tag, kind, count, data: rest.get(..length)? })
    }

    /// The bytes of `tag`.
    #[must_use]
    pub fn binary(&self, tag: u32) -> Option<&'a [u8]> {
        self.entry(tag).filter(|entry| entry.kind == Type::Binary).map(|entry| entry.data)
    }

    /// The number of `tag`, the first one if there are several.
    #[must_use]
    pub fn number(&self, tag: u32) -> Option<u32> {
        self.numbers(tag).next()
    }

    /// The numbers of `tag`.
    pub fn numbers(&self, tag: u32) -> impl Iterator<Item = u32> + use<'a> {
        let entry = self.entry(tag).filter(|entry| entry.kind == Type::Int32);
        let data = entry.map_or(&[][..], |entry| entry.data);
        data.chunks_exact(4).filter_map(|four| number(four, 0))
    }

    /// The text of `tag`, the first one if there are several.
    #[must_use]
    pub fn text(&self, tag: u32) -> Option<&'a str> {
        self.texts(tag).next()
    }

    /// The texts of `tag`, up to one that is not UTF-8.
    pub fn texts(&self, tag: u32) -> impl Iterator<Item = &'a str> + use<'a> {
        self.strings(tag).map_while(|text| std::str::from_utf8(text).ok())
    }

    /// The texts of `tag`, in whatever encoding, without their final zero.
    pub fn strings(&self, tag: u32) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let entry = self.entry(tag).filter(|entry| entry.kind.width().is_none());
        let data = entry.map_or(&[][..], |entry| entry.data);
        data.split_inclusive(|byte| *byte == 0).map(|text| &text[..text.len() - 1])
    }
}

/// Length of `count` texts with the zero after each, if there are so many.
fn length_of_texts(data: &[u8], count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    let ends = data.iter().enumerate().filter(|(_, byte)| **byte == 0);
    ends.map(|(at, _)| at + 1).nth(count - 1)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u32, kind: u32, offset: u32, count: u32) -> Vec<u8> {
        [tag, kind, offset, count].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// A file whose both headers are this one.
    fn file(index: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; LEAD_BYTES];
        bytes[..4].copy_from_slice(&LEAD_MAGIC);
        for _ in 0..2 {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend(HEADER_MAGIC);
            bytes.extend([0; 4]);
            bytes.extend(u32::try_from(index.len()).unwrap().to_be_bytes());
            bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(index.concat());
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn entries_are_found_where_the_index_says() {
        let index = [entry(1000, 8, 0, 2), entry(1001, 4, 4, 1), entry(1002, 7, 8, 2)];
        let bytes = file(&index, b"a\0b\0\0\0\x01\x02xy");
        let headers = RawHeaders::read(&mut [&bytes[..], b"payload"].concat().as_slice()).unwrap();
        let header = headers.header();
        assert_eq!(header.texts(1000).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(header.number(1001), Some(0x102));
        assert_eq!(header.binary(1002), Some(&b"xy"[..]));
        assert_eq!((header.text(1001), header.number(1000)), (None, None));
        assert_eq!(headers.signature().entries().count(), 3);
        assert_eq!(headers.bytes(), bytes);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let lies = [
            entry(1000, 8, 0, u32::MAX),
            entry(1000, 8, 0, 2),
            entry(1000, 6, u32::MAX, 1),
            entry(1000, 4, 0, 1),
            entry(1000, 5, 0, u32::MAX),
            entry(1000, 10, 0, 1),
        ];
        for lie in lies {
            let bytes = file(&[lie], b"a\0b");
            let error = RawHeaders::read(&mut bytes.as_slice()).unwrap_err();
            assert!(matches!(error, HeaderError::EntryOutside { tag: 1000 }), "{error}");
        }
        let bytes = file(&[entry(1000, 7, 0, 2), entry(1001, 7, 1, 2)], b"abc");
        let error = RawHeaders::read(&mut bytes.as_slice()).unwrap_err();
        assert!(matches!(error, HeaderError::Overlap { tag: 1001 }), "{error}");
        let mut bytes = file(&[], b"");
        bytes[LEAD_BYTES + 8..LEAD_BYTES + 16].fill(0xff);
        let error = RawHeaders::read(&mut bytes.as_slice()).unwrap_err();
        assert!(matches!(error, HeaderError::TooLarge { .. }), "{error}");
        let mut stored = vec![0xff; 8];
        assert!(Header::parse_stored(&stored).is_none());
        stored = vec![0; 8];
        assert_eq!(Header::parse_stored(&stored).unwrap().entries().count(), 0);
    }
}
