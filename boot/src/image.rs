//! Reads a slot's UKI into memory and checks that it is the one its header
//! describes. Whether it may run is the firmware's business, not this module's.

use formats::Hasher;
use formats::block::{BLOCK_BYTES, BlockDevice, read_block};
use formats::uki_header::{BadUkiHeader, IMAGE_OFFSET_BYTES, UkiHeader};

use crate::pages::{NoMemory, PageBuffer};

/// Read in pieces of this size: some firmware drivers mishandle very long
/// transfers, and below this the calls begin to cost.
const PIECE_BYTES: usize = 1 << 20;

/// Why a slot's image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadImage<E: core::fmt::Debug + core::fmt::Display> {
    /// The disk has no such partition.
    #[error("the disk has no partition for it")]
    NoPartition,
    /// The slot was never written, or its install did not finish.
    #[error("no UKI header")]
    NoHeader,
    /// The header's checksum or a field is wrong.
    #[error("the UKI header is damaged")]
    Header,
    /// The header promises more than the partition has.
    #[error("the UKI header gives {0} bytes, more than the partition has")]
    TooLong(u64),
    /// The image is larger than memory.
    #[error(transparent)]
    Memory(NoMemory),
    /// The disk failed.
    #[error("cannot be read: {0}")]
    Device(E),
    /// The image is not the one that was installed.
    #[error("the UKI is damaged: wrong SHA-256")]
    Digest,
}

impl<E: core::fmt::Debug + core::fmt::Display> From<BadUkiHeader> for BadImage<E> {
    fn from(bad: BadUkiHeader) -> Self {
        match bad {
            BadUkiHeader::Absent => Self::NoHeader,
            BadUkiHeader::Damaged => Self::Header,
        }
    }
}

/// A UKI whose digest is right.
pub struct Image {
    buffer: PageBuffer,
    len: usize,
}

impl Image {
    /// The PE image.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.len]
    }
}

/// Reads the header of a `uki-a` or `uki-b` partition.
pub fn header<D: BlockDevice + ?Sized>(partition: &mut D) -> Result<UkiHeader, BadImage<D::Error>> {
    let block = read_block(partition, 0).map_err(BadImage::Device)?;
    Ok(UkiHeader::decode(&block)?)
}

/// Reads the whole image of a `uki-a` or `uki-b` partition and checks it.
pub fn read<D: BlockDevice + ?Sized>(partition: &mut D) -> Result<Image, BadImage<D::Error>> {
    let header = header(partition)?;
    let on_disk = header.image_len.next_multiple_of(BLOCK_BYTES as u64);
    let room = partition.len_bytes().saturating_sub(IMAGE_OFFSET_BYTES);
    if on_disk > room {
        return Err(BadImage::TooLong(header.image_len));
    }
    let mut buffer = PageBuffer::new(on_disk).map_err(BadImage::Memory)?;
    let mut left = usize::try_from(header.image_len)
        .map_err(|_| BadImage::Memory(NoMemory(header.image_len)))?;
    let len = left;
    let mut offset = IMAGE_OFFSET_BYTES;
    let mut hasher = Hasher::new();
    for piece in buffer.bytes_mut().chunks_mut(PIECE_BYTES) {
        partition.read_at(offset, piece).map_err(BadImage::Device)?;
        let used = left.min(piece.len());
        hasher.update(&piece[..used]);
        offset += piece.len() as u64;
        left -= used;
    }
    if hasher.finish() != header.image_sha256 {
        return Err(BadImage::Digest);
    }
    Ok(Image { buffer, len })
}
