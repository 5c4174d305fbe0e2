//! The payload of an RPM: a compressed cpio archive, unpacked once, with every
//! file's size and digest held against the header.
//!
//! Both kinds of entries are read: `newc`, and rpm's own without metadata
//! (`07070X`) for packages with files past 4 GiB. Of hard links only one
//! carries the bytes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufWriter, Read, Seek, Write};

use rpm::{CompressionType, PackageMetadata};
use sha2::{Digest as _, Sha256, Sha512};

use super::{FileDigest, FileKind, PackageFile};

/// `newc` header after the magic: 13 fields of 8 hexadecimal digits.
const NEWC_FIELDS: usize = 13;
const FIELD_FILESIZE: usize = 6;
const FIELD_NAMESIZE: usize = 11;
/// Longer than any path, so that a damaged length cannot ask for memory.
const MAX_NAME: u64 = 4096 + 2;
const TRAILER: &[u8] = b"TRAILER!!!";
/// 128 MiB, what `zstd` itself allows without being told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;
/// What `xz -9` needs, and some.
const XZ_MEMORY_BYTES: u64 = 128 << 20;

/// What is unpacked at once. A whole one passes the buffer before the archive by.
const PIECE_BYTES: usize = 1 << 17;

/// A payload may always become this large.
const SMALL_BYTES: u64 = 4 << 30;
/// A larger one may become so many times as large: more than text or zeroed
/// pages compress to, and far less than a stream that is made for it.
const MOST_TIMES: u64 = 1000;

/// What is wrong with a payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The archive cannot be read to its end.
    #[error("at offset {offset_bytes}")]
    Read {
        /// Offset in the unpacked archive.
        offset_bytes: u64,
        /// What went wrong: a damaged stream, or its end.
        source: io::Error,
    },
    /// The unpacked archive cannot be written.
    #[error("writing the unpacked archive")]
    Write(#[source] io::Error),
    /// It would fill a disk.
    #[error(
        "its files have {unpacked_bytes} bytes, packed into {packed_bytes}: this is no honest package"
    )]
    Bomb {
        /// Bytes of its files, as the header has them.
        unpacked_bytes: u64,
        /// Bytes of the payload.
        packed_bytes: u64,
    },
    /// A kind of compression that is not read.
    #[error("compressed with {0}")]
    Compression(String),
    /// Something that is no cpio entry.
    #[error("no cpio entry at offset {offset_bytes}")]
    NoEntry {
        /// Offset in the unpacked archive.
        offset_bytes: u64,
    },
    /// An entry the header does not have, or a second one for the same file.
    #[error("{name:?} is not a file of the header, or comes twice")]
    Unexpected {
        /// Name or number of the entry.
        name: String,
    },
    /// An entry of another size than the header's.
    #[error("{file}: {found_bytes} bytes, where the header has {wanted_bytes}")]
    Size {
        /// The file.
        file: String,
        /// Bytes in the archive.
        found_bytes: u64,
        /// Bytes in the header.
        wanted_bytes: u64,
    },
    /// A file whose bytes are not those of the header's digest, or a link that
    /// leads elsewhere.
    #[error("{file}: its bytes are not what the header says")]
    Digest {
        /// The file.
        file: String,
    },
    /// A file the header has and the archive has not.
    #[error("{file}: missing from the archive")]
    Missing {
        /// The file.
        file: String,
    },
}

/// Where a file's bytes are in the unpacked archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset_bytes: u64,
    /// How many.
    pub size_bytes: u64,
}

/// How a payload is compressed.
#[derive(Debug, Clone, Copy)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// As the header says.
    pub fn of(metadata: &PackageMetadata) -> Result<Self, PayloadError> {
        match metadata.get_payload_compressor() {
            Ok(CompressionType::None) => Ok(Self::None),
            Ok(CompressionType::Gzip) => Ok(Self::Gzip),
            Ok(CompressionType::Xz) => Ok(Self::Xz),
            Ok(CompressionType::Zstd) => Ok(Self::Zstd),
            Ok(other) => Err(PayloadError::Compression(format!("{other:?}"))),
            Err(error) => Err(PayloadError::Compression(error.to_string())),
        }
    }

    fn reader<'r>(self, input: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_auto_decoder(XZ_MEMORY_BYTES, 0)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Refuses a payload of `packed_bytes` whose files are out of all proportion. As
/// each file must have the size that the header has, this bounds what is written.
pub fn check_size(packed_bytes: u64, files: &[PackageFile]) -> Result<(), PayloadError> {
    let sizes = files.iter().filter(|file| !file.ghost).map(|file| file.size_bytes);
    let unpacked_bytes = sizes.fold(0, u64::saturating_add);
    match packed_bytes.saturating_mul(MOST_TIMES).max(SMALL_BYTES) {
        most if unpacked_bytes > most => Err(PayloadError::Bomb { unpacked_bytes, packed_bytes }),
        _ => Ok(()),
    }
}

/// Unpacks the payload `input` into `archive`, checks it against `files`, and
/// says where each one's bytes are.
pub fn unpack(
    compression: Compression,
    input: impl BufRead,
    archive: &mut impl Write,
    files: &[PackageFile],
) -> Result<Vec<Option<Range>>, PayloadError> {
    let start = |source| PayloadError::Read { offset_bytes: 0, source };
    let input = compression.reader(input).map_err(start)?;
    let archive = BufWriter::with_capacity(PIECE_BYTES, archive);
    let mut source = Unpacking { input, archive, buffer: vec![0; PIECE_BYTES] };
    let ranges = Walk::new(&mut source, files).run()?;
    source.archive.flush().map_err(PayloadError::Write)?;
    Ok(ranges)
}

/// Finds each file's bytes in an `archive` that [`unpack`] wrote. Structure and
/// sizes are checked again, contents are not read.
pub fn index(
    archive: impl Read + Seek,
    files: &[PackageFile],
) -> Result<Vec<Option<Range>>, PayloadError> {
    Walk::new(&mut Unpacked(archive), files).run()
}

/// An archive that is walked from front to back.
trait Source {
    /// Fills `buffer` with the next bytes.
    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Failure>;
    /// Passes the contents of a file by, and checks them if they are new.
    fn contents(&mut self, file: &PackageFile, size_bytes: u64) -> Result<(), Failure>;
}

enum Failure {
    Read(io::Error),
    Write(io::Error),
    Digest,
}

/// From a compressed stream into an archive.
struct Unpacking<R, W: Write> {
    input: R,
    archive: BufWriter<W>,
    /// of [`PIECE_BYTES`]
    buffer: Vec<u8>,
}

impl<R: Read, W: Write> Source for Unpacking<R, W> {
    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        self.input.read_exact(buffer).map_err(Failure::Read)?;
        self.archive.write_all(buffer).map_err(Failure::Write)
    }

    fn contents(&mut self, file: &PackageFile, size_bytes: u64) -> Result<(), Failure> {
        let mut hash = Hash::of(file);
        let mut left = size_bytes;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let piece = &mut self.buffer[..len];
            self.input.read_exact(piece).map_err(Failure::Read)?;
            hash.update(piece);
            self.archive.write_all(piece).map_err(Failure::Write)?;
            left -= len as u64;
        }
        if hash.agrees() { Ok(()) } else { Err(Failure::Digest) }
    }
}

/// An archive on disk.
struct Unpacked<R>(R);

impl<R: Read + Seek> Source for Unpacked<R> {
    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        self.0.read_exact(buffer).map_err(Failure::Read)
    }

    fn contents(&mut self, _: &PackageFile, size_bytes: u64) -> Result<(), Failure> {
        let step = i64::try_from(size_bytes).map_err(|_| Failure::Digest)?;
        self.0.seek_relative(step).map_err(Failure::Read)
    }
}

/// What a file's bytes must come to.
enum Hash<'a> {
    Sha256(Sha256, &'a [u8; 32]),
    Sha512(Sha512, &'a [u8; 64]),
    /// What is left of a link's target, if all before was as it should be.
    Exactly(Option<&'a [u8]>),
    Nothing,
}

impl<'a> Hash<'a> {
    fn of(file: &'a PackageFile) -> Self {
        match (&file.kind, &file.digest) {
            (FileKind::Symlink(target), _) => Self::Exactly(Some(target.as_bytes())),
            (_, Some(FileDigest::Sha256(wanted))) => Self::Sha256(Sha256::new(), wanted),
            (_, Some(FileDigest::Sha512(wanted))) => Self::Sha512(Sha512::new(), wanted),
            (_, None) => Self::Nothing,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash, _) => hash.update(bytes),
            Self::Sha512(hash, _) => hash.update(bytes),
            Self::Exactly(left) => *left = left.and_then(|left| left.strip_prefix(bytes)),
            Self::Nothing => {}
        }
    }

    fn agrees(self) -> bool {
        match self {
            Self::Sha256(hash, wanted) => hash.finalize()[..] == wanted[..],
            Self::Sha512(hash, wanted) => hash.finalize()[..] == wanted[..],
            Self::Exactly(left) => left.is_some_and(<[u8]>::is_empty),
            Self::Nothing => true,
        }
    }
}

/// A walk over an archive's entries.
struct Walk<'a, S> {
    source: &'a mut S,
    files: &'a [PackageFile],
    by_name: BTreeMap<&'a str, usize>,
    link_sets: BTreeMap<u32, Vec<usize>>,
    ranges: Vec<Option<Range>>,
    seen: Vec<bool>,
    position: u64,
}

impl<'a, S: Source> Walk<'a, S> {
    fn new(source: &'a mut S, files: &'a [PackageFile]) -> Self {
        let name = |file: &'a PackageFile| file.path.as_str().trim_start_matches('/');
        let by_name = files.iter().enumerate().map(|(at, file)| (name(file), at)).collect();
        let mut link_sets: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            if let Some(set) = file.link_set {
                link_sets.entry(set).or_default().push(at);
            }
        }
        let (ranges, seen) = (vec![None; files.len()], vec![false; files.len()]);
        Self { source, files, by_name, link_sets, ranges, seen, position: 0 }
    }

    fn run(mut self) -> Result<Vec<Option<Range>>, PayloadError> {
        while let Some((at, stored_bytes)) = self.entry()? {
            let file = &self.files[at];
            if std::mem::replace(&mut self.seen[at], true) {
                return Err(PayloadError::Unexpected { name: file.path.to_string() });
            }
            self.take_contents(at, stored_bytes)?;
        }
        self.finish()
    }

    /// The next entry's file and size in the archive; none at the trailer.
    fn entry(&mut self) -> Result<Option<(usize, u64)>, PayloadError> {
        let start = self.position;
        let mut magic = [0; 6];
        self.exact(&mut magic)?;
        match &magic {
            b"070701" | b"070702" => self.newc(start),
            b"07070X" => self.stripped(start),
            _ => Err(PayloadError::NoEntry { offset_bytes: start }),
        }
    }

    fn newc(&mut self, start: u64) -> Result<Option<(usize, u64)>, PayloadError> {
        let mut fields = [0; NEWC_FIELDS * 8];
        self.exact(&mut fields)?;
        let damaged = || PayloadError::NoEntry { offset_bytes: start };
        let field = |at: usize| hexadecimal(&fields[at * 8..][..8]).ok_or_else(damaged);
        let (stored_bytes, name_bytes) = (field(FIELD_FILESIZE)?, field(FIELD_NAMESIZE)?);
        if name_bytes == 0 || name_bytes > MAX_NAME {
            return Err(damaged());
        }
        let mut name = vec![0; usize::try_from(name_bytes).map_err(|_| damaged())?];
        self.exact(&mut name)?;
        self.align()?;
        let name = name.strip_suffix(b"\0").ok_or_else(damaged)?;
        if name == TRAILER {
            return Ok(None);
        }
        let shown = String::from_utf8_lossy(name).into_owned();
        let plain = shown.strip_prefix('.').unwrap_or(&shown).trim_start_matches('/');
        let at = self.by_name.get(plain).copied();
        at.map(|at| Some((at, stored_bytes))).ok_or(PayloadError::Unexpected { name: shown })
    }

    /// An entry that is only the file's number in the header. Of hard links the
    /// last one carries the bytes.
    fn stripped(&mut self, start: u64) -> Result<Option<(usize, u64)>, PayloadError> {
        let mut number = [0; 8];
        self.exact(&mut number)?;
        self.align()?;
        let damaged = || PayloadError::NoEntry { offset_bytes: start };
        let at = usize::try_from(hexadecimal(&number).ok_or_else(damaged)?).ok();
        let at = at.filter(|at| *at < self.files.len()).ok_or_else(damaged)?;
        let file = &self.files[at];
        let last = file.link_set.is_none_or(|set| self.link_sets[&set].last() == Some(&at));
        let carries = matches!(file.kind, FileKind::File | FileKind::Symlink(_)) && last;
        Ok(Some((at, if carries { file.size_bytes } else { 0 })))
    }

    fn take_contents(&mut self, at: usize, stored_bytes: u64) -> Result<(), PayloadError> {
        let file = &self.files[at];
        let wanted_bytes = match file.kind {
            FileKind::File | FileKind::Symlink(_) => file.size_bytes,
            _ => 0,
        };
        let other_link = file.link_set.is_some() && stored_bytes == 0;
        if stored_bytes != wanted_bytes && !other_link {
            let file = file.path.to_string();
            return Err(PayloadError::Size { file, found_bytes: stored_bytes, wanted_bytes });
        }
        let range = Range { offset_bytes: self.position, size_bytes: stored_bytes };
        if stored_bytes > 0 || !other_link {
            let result = self.source.contents(file, stored_bytes);
            result.map_err(|failure| self.failed(failure, Some(file)))?;
        }
        self.position += stored_bytes;
        self.align()?;
        match file.link_set {
            Some(set) if stored_bytes == wanted_bytes && self.ranges[at].is_none() => {
                self.link_sets[&set].iter().for_each(|at| self.ranges[*at] = Some(range));
            }
            None if file.kind == FileKind::File => self.ranges[at] = Some(range),
            _ => {}
        }
        Ok(())
    }

    /// Every file but ghosts must have come.
    fn finish(mut self) -> Result<Vec<Option<Range>>, PayloadError> {
        for (at, file) in self.files.iter().enumerate() {
            if file.ghost {
                self.ranges[at] = None;
            } else if file.kind == FileKind::File && self.ranges[at].is_none() {
                return Err(PayloadError::Missing { file: file.path.to_string() });
            }
        }
        Ok(self.ranges)
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), PayloadError> {
        self.source.exact(buffer).map_err(|failure| self.failed(failure, None))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// Entries and contents begin at multiples of four.
    fn align(&mut self) -> Result<(), PayloadError> {
        let mut padding = [0; 3];
        let len = usize::try_from(self.position.next_multiple_of(4) - self.position).unwrap_or(0);
        self.exact(&mut padding[..len])
    }

    fn failed(&self, failure: Failure, file: Option<&PackageFile>) -> PayloadError {
        match failure {
            Failure::Read(source) => PayloadError::Read { offset_bytes: self.position, source },
            Failure::Write(source) => PayloadError::Write(source),
            Failure::Digest => PayloadError::Digest {
                file: file.map(|file| file.path.to_string()).unwrap_or_default(),
            },
        }
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(value))
    })
}
