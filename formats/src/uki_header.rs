//! The 4 KiB before the PE image in a `uki-a` or `uki-b` partition.
//!
//! It is written last of an install, so its presence says the slot is whole;
//! and it says enough for slipway-boot to rebuild a lost state record.

use crate::block::BLOCK_BYTES;
use crate::digest::Digest;
use crate::field;
use crate::release::Release;
use crate::text::Product;

/// First bytes of the header; the last is the format version.
pub const MAGIC: [u8; 8] = *b"SLIPUKI\x01";
/// The PE image starts here.
pub const IMAGE_OFFSET_BYTES: u64 = BLOCK_BYTES as u64;
/// No UKI is larger; it is loaded into memory whole.
pub const MAX_IMAGE_BYTES: u64 = 512 << 20;
const CRC_AT: usize = 508;

/// What a UKI partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UkiHeader {
    /// bytes of the PE image
    pub image_len: u64,
    /// digest of those bytes
    pub image_sha256: Digest,
    /// the machine's product
    pub product: Product,
    /// the release in this slot
    pub release: Release,
    /// counts installs on this disk, so that the newer slot can be told
    pub generation: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUkiHeader {
    /// The slot was never written, or its install did not finish.
    #[error("no UKI header: the slot is empty or its install did not finish")]
    Absent,
    /// A checksum or field is wrong.
    #[error("the UKI header is damaged")]
    Damaged,
}

impl UkiHeader {
    /// Encodes: magic 0..8, generation 8..16, image length 16..24, image
    /// SHA-256 24..56, product 56..88, release 88..168, zero, CRC-32 of the
    /// 508 bytes before it at 508..512, zero to the block's end.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut out = [0; BLOCK_BYTES];
        field::put(&mut out, 0, &MAGIC);
        field::put(&mut out, 8, &self.generation.to_le_bytes());
        field::put(&mut out, 16, &self.image_len.to_le_bytes());
        field::put(&mut out, 24, &self.image_sha256.0);
        field::put(&mut out, 56, self.product.padded());
        field::put(&mut out, 88, &self.release.encode());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        field::put(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// Reads the first 512 bytes of a header.
    pub fn decode(block: &[u8]) -> Result<Self, BadUkiHeader> {
        let block = block.get(..512).ok_or(BadUkiHeader::Damaged)?;
        if block[..8] != MAGIC {
            return Err(BadUkiHeader::Absent);
        }
        if crc32fast::hash(&block[..CRC_AT]) != field::u32(block, CRC_AT) {
            return Err(BadUkiHeader::Damaged);
        }
        let header = Self {
            generation: field::u64(block, 8),
            image_len: field::u64(block, 16),
            image_sha256: Digest(field::bytes(block, 24)),
            product: Product::from_padded(field::bytes(block, 56))
                .map_err(|_| BadUkiHeader::Damaged)?,
            release: Release::decode(&field::bytes(block, 88))
                .map_err(|_| BadUkiHeader::Damaged)?,
        };
        if header.image_len == 0 || header.image_len > MAX_IMAGE_BYTES {
            return Err(BadUkiHeader::Damaged);
        }
        Ok(header)
    }
}
