//! Reading a bundle, top down: the signature over the manifest first, the chunk
//! tables by the manifest's digests next, and every frame by its table's digest
//! before it reaches the decompressor.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use formats::Digest;
use formats::archive;
use formats::chunks::{Chunk, ChunkTable};
use formats::dsse::{self, BadSignatures};
use formats::manifest::{self, BadManifest, Manifest};
use formats::trust::{MAX_ROOT_BYTES, Root, TrustError};

/// Bytes of a signatures document at most.
const MAX_SIGNATURES_BYTES: u64 = 64 << 10;
/// Versions of a trust root's chain at most.
const MAX_ROOTS: u32 = 1024;

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("cannot read it")]
    Read {
        /// the bundle
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// Not the frame of a bundle.
    #[error("not a whole Slipway bundle: {what} (byte {offset})")]
    Frame {
        /// what is wrong
        what: &'static str,
        /// where
        offset: u64,
    },
    /// The manifest is not believed.
    #[error("the bundle's signature is refused")]
    Signature(#[source] TrustError),
    /// The signatures cannot be read.
    #[error("the bundle's signatures cannot be read")]
    Signatures(#[source] BadSignatures),
    /// A link of the trust root's chain is not believed.
    #[error("the bundle's root/{version}.json is refused")]
    Root {
        /// its number
        version: u32,
        /// why
        source: TrustError,
    },
    /// The manifest cannot be used.
    #[error("the bundle's manifest is refused")]
    Manifest(#[source] BadManifest),
    /// A chunk table is not the manifest's.
    #[error("the chunk table of {0} is not the one that was signed")]
    Table(&'static str),
    /// A chunk is not what its table says.
    #[error("chunk {chunk} of {payload} is not what was signed ({stage})")]
    Chunk {
        /// which payload
        payload: &'static str,
        /// which chunk, from 0
        chunk: usize,
        /// which check failed
        stage: &'static str,
    },
}

/// A payload whose table belongs to the signed manifest.
#[derive(Debug)]
pub struct VerifiedPayload {
    /// `uki`, `root` or `verity`
    pub name: &'static str,
    /// its chunks
    pub table: ChunkTable,
    offset_bytes: u64,
}

/// A bundle whose manifest is signed and whose tables belong to it. Only
/// [`verify`] makes one. Its chunks are checked one by one as they are read.
#[derive(Debug)]
pub struct VerifiedBundle {
    file: File,
    path: PathBuf,
    /// the signed manifest
    pub manifest: Manifest,
    /// digest of the manifest's bytes
    pub manifest_sha256: Digest,
    /// version of the trust root that vouches for it
    pub root_version: u32,
    /// uki, root, verity
    pub payloads: [VerifiedPayload; 3],
}

/// Opens a bundle and checks everything but its data against `trusted`.
pub fn verify(path: &Path, trusted: Root) -> Result<VerifiedBundle, BundleError> {
    let failed = |source| BundleError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mut reader =
        Reader { file: &file, path, at: 0, len: file.metadata().map_err(failed)?.len() };

    reader.marker()?;
    let manifest_bytes = reader.named("manifest.json", manifest::MAX_BYTES as u64)?;
    let signatures = reader.named("signatures.json", MAX_SIGNATURES_BYTES)?;
    let (root, first_table_len) = reader.root_chain(trusted)?;
    let signatures = dsse::parse(&signatures).map_err(BundleError::Signatures)?;
    let message = dsse::pre_authentication_encoding(dsse::MANIFEST_TYPE, &manifest_bytes);
    root.verify_targets(&message, &signatures).map_err(BundleError::Signature)?;

    // from here on the manifest is believed, and says how long everything is
    let manifest = Manifest::parse(&manifest_bytes).map_err(BundleError::Manifest)?;
    let tables = reader.tables(&manifest, first_table_len)?;
    let payloads = reader.payloads(tables)?;
    reader.end()?;
    Ok(VerifiedBundle {
        manifest_sha256: Digest::of(&manifest_bytes),
        root_version: root.version(),
        path: path.into(),
        manifest,
        payloads,
        file,
    })
}

impl VerifiedBundle {
    /// Decodes one chunk into `raw`, which becomes exactly its bytes. The frame
    /// is checked before it is decoded and the result after.
    pub fn read_chunk(
        &self,
        payload: &VerifiedPayload,
        index: usize,
        offset_bytes: u64,
        raw: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        let chunk = &payload.table.chunks()[index];
        let refused = |stage| BundleError::Chunk { payload: payload.name, chunk: index, stage };
        raw.clear();
        if chunk.is_zeros() {
            raw.resize(chunk.raw_len as usize, 0);
        } else {
            let frame = self.frame(chunk, payload.offset_bytes + offset_bytes)?;
            if Digest::of(&frame) != chunk.frame_sha256 {
                return Err(refused("its compressed bytes"));
            }
            *raw = zstd::bulk::decompress(&frame, chunk.raw_len as usize)
                .map_err(|_| refused("it does not decompress within its size"))?;
        }
        let whole = raw.len() == chunk.raw_len as usize && Digest::of(raw) == chunk.raw_sha256;
        if whole { Ok(()) } else { Err(refused("its decompressed bytes")) }
    }

    fn frame(&self, chunk: &Chunk, offset_bytes: u64) -> Result<Vec<u8>, BundleError> {
        let mut frame = vec![0; chunk.frame_len as usize];
        self.file
            .read_exact_at(&mut frame, offset_bytes)
            .map_err(|source| BundleError::Read { path: self.path.clone(), source })?;
        Ok(frame)
    }

    /// Calls `each` with every chunk of every payload, checked, in order:
    /// payload, index, offset in the slot, bytes.
    pub fn for_each_chunk<E: From<BundleError>>(
        &self,
        mut wanted: impl FnMut(usize, usize) -> bool,
        mut each: impl FnMut(usize, usize, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut raw = Vec::new();
        for (number, payload) in self.payloads.iter().enumerate() {
            let (mut raw_at, mut frame_at) = (0, 0);
            for (index, chunk) in payload.table.chunks().iter().enumerate() {
                if wanted(number, index) {
                    self.read_chunk(payload, index, frame_at, &mut raw)?;
                    each(number, index, raw_at, &raw)?;
                }
                raw_at += u64::from(chunk.raw_len);
                frame_at += u64::from(chunk.frame_len);
            }
        }
        Ok(())
    }
}

/// Walks the members of the archive.
struct Reader<'f> {
    file: &'f File,
    path: &'f Path,
    at: u64,
    len: u64,
}

impl Reader<'_> {
    fn frame_error(&self, what: &'static str) -> BundleError {
        BundleError::Frame { what, offset: self.at }
    }

    /// The next `len` bytes; the file is known to have them before any room is
    /// made for them.
    fn take(&mut self, len: u64) -> Result<Vec<u8>, BundleError> {
        let room = usize::try_from(len).ok().filter(|_| len <= self.len - self.at);
        let Some(room) = room else {
            return Err(self.frame_error("it is cut off"));
        };
        let mut bytes = vec![0; room];
        self.file
            .read_exact_at(&mut bytes, self.at)
            .map_err(|source| BundleError::Read { path: self.path.into(), source })?;
        self.at += len;
        Ok(bytes)
    }

    fn zeros(&mut self, len: u64) -> Result<(), BundleError> {
        let bytes = self.take(len)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(self.frame_error("there is something between its members"));
        }
        Ok(())
    }

    fn header(&mut self) -> Result<(String, u64), BundleError> {
        let record = self.take(archive::RECORD_BYTES as u64)?;
        let record: &[u8; archive::RECORD_BYTES] =
            record.as_slice().try_into().map_err(|_| self.frame_error("it is cut off"))?;
        let (name, size) = archive::parse_header(record)
            .ok_or_else(|| self.frame_error("a member's header is not one of a bundle"))?;
        Ok((name.to_owned(), size))
    }

    fn content(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, BundleError> {
        if size > limit {
            return Err(self.frame_error("a member is too large"));
        }
        let bytes = self.take(size)?;
        self.zeros(archive::padding(size))?;
        Ok(bytes)
    }

    fn named(&mut self, expected: &str, limit: u64) -> Result<Vec<u8>, BundleError> {
        let (name, size) = self.header()?;
        if name != expected {
            return Err(self.frame_error("its members are not in the order of a bundle"));
        }
        self.content(size, limit)
    }

    fn marker(&mut self) -> Result<(), BundleError> {
        let content = self.named(archive::MARKER, archive::MARKER_CONTENT.len() as u64)?;
        if content != archive::MARKER_CONTENT {
            return Err(self.frame_error("its format is another one; a newer installer is needed"));
        }
        Ok(())
    }

    /// Follows the chain from the trusted root as far as it goes. Versions up
    /// to the trusted one are skipped: the machine knows better. Ends at the
    /// header of the first chunk table and returns that member's size.
    fn root_chain(&mut self, trusted: Root) -> Result<(Root, u64), BundleError> {
        let mut root = trusted;
        for version in 1..=MAX_ROOTS {
            let (name, size) = self.header()?;
            if name == "chunks/uki" {
                return Ok((root, size));
            }
            if name != format!("root/{version}.json") {
                return Err(self.frame_error("its members are not in the order of a bundle"));
            }
            let bytes = self.content(size, MAX_ROOT_BYTES as u64)?;
            if version > root.version() {
                root =
                    root.advance(&bytes).map_err(|source| BundleError::Root { version, source })?;
            }
        }
        Err(self.frame_error("its chain of trust roots is too long"))
    }

    fn tables(
        &mut self,
        manifest: &Manifest,
        first_len: u64,
    ) -> Result<[(&'static str, ChunkTable); 3], BundleError> {
        let mut header_read = Some(first_len);
        let mut read = |name: &'static str, payload: &manifest::Payload| {
            let size = match header_read.take() {
                Some(size) => size,
                None => self.size_of(&format!("chunks/{name}"))?,
            };
            if size != payload.table_len() {
                return Err(BundleError::Table(name));
            }
            let bytes = self.content(size, size)?;
            let table = payload.table(&bytes).ok_or(BundleError::Table(name))?;
            Ok((name, table))
        };
        let [uki, root, verity] = manifest.payloads.named();
        Ok([read(uki.0, uki.1)?, read(root.0, root.1)?, read(verity.0, verity.1)?])
    }

    fn payloads(
        &mut self,
        tables: [(&'static str, ChunkTable); 3],
    ) -> Result<[VerifiedPayload; 3], BundleError> {
        let mut read = |(name, table): (&'static str, ChunkTable)| {
            let size = self.size_of(&format!("data/{name}"))?;
            let offset_bytes = self.at;
            if size != table.frames_len() || size > self.len - self.at {
                return Err(self.frame_error("its data is cut off or of another length"));
            }
            self.at += size;
            self.zeros(archive::padding(size))?;
            Ok(VerifiedPayload { name, table, offset_bytes })
        };
        let [uki, root, verity] = tables;
        Ok([read(uki)?, read(root)?, read(verity)?])
    }

    fn size_of(&mut self, expected: &str) -> Result<u64, BundleError> {
        let (name, size) = self.header()?;
        if name != expected {
            return Err(self.frame_error("its members are not in the order of a bundle"));
        }
        Ok(size)
    }

    fn end(&mut self) -> Result<(), BundleError> {
        self.zeros(archive::END_BYTES)?;
        if self.at != self.len {
            return Err(self.frame_error("something follows its end"));
        }
        Ok(())
    }
}
