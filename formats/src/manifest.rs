//! `manifest.json`: what a bundle is, for which machines, and the digests that
//! tie everything else in it to the one signature.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::block::BLOCK_BYTES;
use crate::chunks::ChunkTable;
use crate::digest::Digest;
use crate::release::{DataSchema, Release};
use crate::text::{Product, Version};
use crate::uki_header::MAX_IMAGE_BYTES;

/// The format below. A reader that meets a higher one needs to be newer.
pub const FORMAT: u32 = 1;
/// A manifest larger than this is refused unread.
pub const MAX_BYTES: usize = 64 << 10;
/// No payload is larger; keeps every sum far from overflow.
const MAX_PAYLOAD_BYTES: u64 = 1 << 40;

/// One payload of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// bytes in the slot, a multiple of 4096
    pub size: u64,
    /// digest of those bytes
    pub sha256: Digest,
    /// entries of its chunk table
    pub chunks: u64,
    /// digest of the encoded chunk table
    pub table_sha256: Digest,
    /// bytes of its frames in the bundle
    pub frames_size: u64,
}

/// The payloads, in the order they lie in the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payloads {
    /// the PE image of the UKI
    pub uki: Payload,
    /// the root file system
    pub root: Payload,
    /// its verity tree
    pub verity: Payload,
}

impl Payloads {
    /// With the names they have in bundles and on disks.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Payload); 3] {
        [("uki", &self.uki), ("root", &self.root), ("verity", &self.verity)]
    }
}

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`]
    pub format: u32,
    /// the image's name, for people
    pub name: String,
    /// which machines it is for
    pub product: Product,
    /// processor architecture, as `uname -m` says it
    pub arch: String,
    /// for people
    pub version: Version,
    /// security epoch
    pub epoch: u32,
    /// boots it gets to prove itself, 1 to 7
    pub tries: u8,
    /// layouts of the data partition it works with
    pub data: DataSchema,
    /// dm-verity root hash of the root payload
    pub root_hash: Digest,
    /// what is installed
    pub payloads: Payloads,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not the expected JSON.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Made by something newer.
    #[error(
        "the manifest has format {0}, this program reads {FORMAT}: a newer installer is needed"
    )]
    Newer(u32),
    /// Fields that cannot be right.
    #[error("impossible manifest: {0}")]
    Impossible(&'static str),
}

impl Manifest {
    /// Reads the bytes of `manifest.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u32,
        }
        if bytes.len() > MAX_BYTES {
            return Err(BadManifest::Impossible("larger than 64 KiB"));
        }
        // the format first: a newer one may have fields this reader refuses
        let FormatOnly { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(BadManifest::Newer(format));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BadManifest> {
        if Release::decode(&self.release().encode()).is_err() || self.product.is_empty() {
            return Err(BadManifest::Impossible("its version, product, tries or data range"));
        }
        for (_, payload) in self.payloads.named() {
            let blocks = payload.size / BLOCK_BYTES as u64;
            let whole = payload.size.is_multiple_of(BLOCK_BYTES as u64) && payload.size > 0;
            if !whole || payload.size > MAX_PAYLOAD_BYTES || payload.frames_size > MAX_PAYLOAD_BYTES
            {
                return Err(BadManifest::Impossible("the size of a payload"));
            }
            if payload.chunks == 0 || payload.chunks > blocks {
                return Err(BadManifest::Impossible("the number of chunks of a payload"));
            }
        }
        if self.payloads.uki.size > MAX_IMAGE_BYTES {
            return Err(BadManifest::Impossible("a UKI too large to be loaded"));
        }
        Ok(())
    }

    /// The bytes of `manifest.json`, for people to read too.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self).unwrap_or_default();
        out.push(b'\n');
        out
    }

    /// What a slot holds after it was installed.
    #[must_use]
    pub fn release(&self) -> Release {
        Release {
            version: self.version,
            epoch: self.epoch,
            root_hash: self.root_hash,
            tries: self.tries,
            data: self.data,
        }
    }
}

impl Payload {
    /// Bytes of its encoded chunk table.
    #[must_use]
    pub fn table_len(&self) -> u64 {
        ChunkTable::encoded_len(self.chunks)
    }

    /// The table, if `bytes` are the ones the manifest means and fit it.
    #[must_use]
    pub fn table(&self, bytes: &[u8]) -> Option<ChunkTable> {
        if Digest::of(bytes) != self.table_sha256 {
            return None;
        }
        let table = ChunkTable::decode(bytes).ok()?;
        (table.raw_len() == self.size && table.frames_len() == self.frames_size).then_some(table)
    }
}
