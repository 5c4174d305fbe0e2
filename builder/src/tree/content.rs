//! The bytes of a regular file: in memory when the builder made them, else a
//! range of a file on disk, so that memory does not grow with the image.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Here. For small generated files only.
    Bytes(Arc<[u8]>),
    /// In a file on disk: an unpacked payload, or a file of an overlay folder.
    Range {
        /// The file on disk.
        file: Arc<Path>,
        /// First byte.
        offset_bytes: u64,
        /// How many bytes.
        size_bytes: u64,
    },
}

/// Why a file's bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The file on disk cannot be read.
    #[error("cannot read {size_bytes} bytes at {offset_bytes} of {file}")]
    Read {
        /// The file on disk.
        file: PathBuf,
        /// First byte wanted.
        offset_bytes: u64,
        /// How many were wanted.
        size_bytes: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// More bytes than the reader is ready to hold.
    #[error("{size_bytes} bytes, where at most {limit_bytes} make sense")]
    TooLarge {
        /// Size of the file.
        size_bytes: u64,
        /// What the reader would hold.
        limit_bytes: u64,
    },
}

impl Content {
    /// Content held in memory.
    #[must_use]
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// Number of bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range { size_bytes, .. } => *size_bytes,
        }
    }

    /// All bytes, if they are no more than `limit_bytes`.
    ///
    /// # Errors
    /// If there are more, or the source cannot be read.
    pub fn read(&self, limit_bytes: u64) -> Result<Vec<u8>, ContentError> {
        let size_bytes = self.size_bytes();
        let len = usize::try_from(size_bytes).ok().filter(|_| size_bytes <= limit_bytes);
        let len = len.ok_or(ContentError::TooLarge { size_bytes, limit_bytes })?;
        let mut bytes = vec![0; len];
        ContentReader::default().read_at(self, 0, &mut bytes)?;
        Ok(bytes)
    }
}

/// Reads contents, keeping the file it read last open: neighbours in a tree
/// often come from one package.
#[derive(Debug, Default)]
pub struct ContentReader {
    open: Option<(Arc<Path>, File)>,
}

impl ContentReader {
    /// Fills `buffer` from `position` bytes into the content.
    ///
    /// # Errors
    /// If the content ends before the buffer is full, or cannot be read.
    pub fn read_at(
        &mut self,
        content: &Content,
        position: u64,
        buffer: &mut [u8],
    ) -> Result<(), ContentError> {
        match content {
            Content::Bytes(bytes) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX);
                let part = bytes.get(from..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or_else(|| short(content, position, buffer))?);
                Ok(())
            }
            Content::Range { file, offset_bytes, size_bytes } => {
                if position.saturating_add(buffer.len() as u64) > *size_bytes {
                    return Err(short(content, position, buffer));
                }
                let at = offset_bytes.saturating_add(position);
                self.file(file)
                    .and_then(|open| open.read_exact_at(buffer, at))
                    .map_err(|source| read_error(content, position, buffer, source))
            }
        }
    }

    fn file(&mut self, path: &Arc<Path>) -> io::Result<&File> {
        let same = matches!(&self.open, Some((open, _)) if open == path);
        if !same {
            self.open = Some((path.clone(), File::open(path)?));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn short(content: &Content, position: u64, buffer: &[u8]) -> ContentError {
    read_error(content, position, buffer, io::ErrorKind::UnexpectedEof.into())
}

fn read_error(content: &Content, position: u64, buffer: &[u8], source: io::Error) -> ContentError {
    let (file, offset) = match content {
        Content::Bytes(_) => (PathBuf::from("memory"), 0),
        Content::Range { file, offset_bytes, .. } => (file.to_path_buf(), *offset_bytes),
    };
    let offset_bytes = offset.saturating_add(position);
    ContentError::Read { file, offset_bytes, size_bytes: buffer.len() as u64, source }
}

/// A content as a [`Read`] stream.
#[derive(Debug)]
pub struct ContentStream<'a> {
    content: &'a Content,
    position: u64,
    reader: ContentReader,
}

impl<'a> ContentStream<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(content: &'a Content) -> Self {
        Self { content, position: 0, reader: ContentReader::default() }
    }
}

impl Read for ContentStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.size_bytes().saturating_sub(self.position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.reader
            .read_at(self.content, self.position, &mut buffer[..len])
            .map_err(io::Error::other)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for ContentStream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(step) => self.content.size_bytes().checked_add_signed(step),
            SeekFrom::Current(step) => self.position.checked_add_signed(step),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
