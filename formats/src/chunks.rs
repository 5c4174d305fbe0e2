//! The chunk table of a payload: where it may be cut, and what each piece must
//! be, both as it travels (a zstd frame) and as it lies in the slot.
//!
//! The frames lie back to back in the payload's member of the bundle, in the
//! order of the table; a chunk of zeros has no frame.

use alloc::vec::Vec;

use crate::block::BLOCK_BYTES;
use crate::digest::Digest;
use crate::field;

const MAGIC: [u8; 8] = *b"SLIPCHNK";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 72;
/// No chunk is longer. Bounds what the installer holds in memory.
pub const MAX_CHUNK_BYTES: u32 = 4 << 20;
/// A frame may be this much longer than what it holds.
const FRAME_SLACK_BYTES: u32 = 64 << 10;

/// One piece of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// bytes in the slot; a multiple of 4096, at most [`MAX_CHUNK_BYTES`]
    pub raw_len: u32,
    /// bytes of its frame; 0 for a chunk of zeros
    pub frame_len: u32,
    /// digest of the bytes in the slot
    pub raw_sha256: Digest,
    /// digest of the frame
    pub frame_sha256: Digest,
}

impl Chunk {
    /// Whether it is all zeros and has no frame.
    #[must_use]
    pub fn is_zeros(&self) -> bool {
        self.frame_len == 0
    }
}

/// A payload's chunks, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkTable {
    chunks: Vec<Chunk>,
    raw_len: u64,
    frames_len: u64,
}

/// The table contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("impossible chunk table: {0}")]
pub struct BadTable(&'static str);

impl ChunkTable {
    /// A table of `chunks`, with all its rules checked.
    pub fn new(chunks: Vec<Chunk>) -> Result<Self, BadTable> {
        let (mut raw_len, mut frames_len) = (0u64, 0u64);
        for chunk in &chunks {
            let whole = chunk.raw_len > 0 && (chunk.raw_len as usize).is_multiple_of(BLOCK_BYTES);
            if !whole || chunk.raw_len > MAX_CHUNK_BYTES {
                return Err(BadTable("a chunk has an impossible length"));
            }
            if chunk.frame_len > chunk.raw_len + FRAME_SLACK_BYTES {
                return Err(BadTable("a frame is longer than it can be"));
            }
            if chunk.is_zeros() && chunk.frame_sha256 != Digest::ZERO {
                return Err(BadTable("a chunk of zeros has a frame's digest"));
            }
            raw_len += u64::from(chunk.raw_len);
            frames_len += u64::from(chunk.frame_len);
        }
        Ok(Self { chunks, raw_len, frames_len })
    }

    /// The chunks in order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Bytes of the payload in the slot.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.raw_len
    }

    /// Bytes of all frames together.
    #[must_use]
    pub fn frames_len(&self) -> u64 {
        self.frames_len
    }

    /// Bytes of the encoded table of `count` chunks.
    #[must_use]
    pub fn encoded_len(count: u64) -> u64 {
        HEADER_BYTES as u64 + count * ENTRY_BYTES as u64
    }

    /// Encodes: magic 0..8, count 8..12, zero 12..16; then for each chunk its
    /// raw length 0..4, frame length 4..8, raw SHA-256 8..40, frame SHA-256
    /// 40..72.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.chunks.len() * ENTRY_BYTES);
        out.extend_from_slice(&MAGIC);
        let count = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.raw_len.to_le_bytes());
            out.extend_from_slice(&chunk.frame_len.to_le_bytes());
            out.extend_from_slice(&chunk.raw_sha256.0);
            out.extend_from_slice(&chunk.frame_sha256.0);
        }
        out
    }

    /// Reads a whole encoded table.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadTable> {
        let header = bytes.get(..HEADER_BYTES).ok_or(BadTable("it is cut off"))?;
        if header[..8] != MAGIC || header[12..] != [0; 4] {
            return Err(BadTable("it does not begin as one"));
        }
        let entries = &bytes[HEADER_BYTES..];
        let fits = entries.len().is_multiple_of(ENTRY_BYTES)
            && entries.len() / ENTRY_BYTES == field::u32(header, 8) as usize;
        if !fits {
            return Err(BadTable("its length is not that of its entries"));
        }
        let chunks = entries.chunks_exact(ENTRY_BYTES).map(|entry| Chunk {
            raw_len: field::u32(entry, 0),
            frame_len: field::u32(entry, 4),
            raw_sha256: Digest(field::bytes(entry, 8)),
            frame_sha256: Digest(field::bytes(entry, 40)),
        });
        Self::new(chunks.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn round_trip_and_refusals() {
        let zeros = Chunk {
            raw_len: 4096,
            frame_len: 0,
            raw_sha256: Digest::of(&[0; 4096]),
            frame_sha256: Digest::ZERO,
        };
        let data = Chunk { raw_len: MAX_CHUNK_BYTES, frame_len: 5, ..zeros };
        let table = ChunkTable::new(vec![zeros, data]).expect("sound");
        assert_eq!(table.raw_len(), 4096 + u64::from(MAX_CHUNK_BYTES));
        let bytes = table.encode();
        assert_eq!(bytes.len() as u64, ChunkTable::encoded_len(2));
        assert_eq!(ChunkTable::decode(&bytes), Ok(table));
        assert!(ChunkTable::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(ChunkTable::decode(&bytes[..20]).is_err());
        for bad in [
            Chunk { raw_len: 0, ..data },
            Chunk { raw_len: 4097, ..data },
            Chunk { raw_len: MAX_CHUNK_BYTES + 4096, ..data },
            Chunk { frame_len: u32::MAX, ..data },
            Chunk { frame_sha256: Digest::of(b""), ..zeros },
        ] {
            assert!(ChunkTable::new(vec![bad]).is_err(), "{bad:?}");
        }
    }
}
