//! The metadata of repositories as it was last seen, so that a lagging mirror
//! is noticed and `--offline` can lock. The only files of a store that change.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use formats::Digest;

use super::{Store, StoreError, failed};

/// The folder of it, a file for each address.
const FOLDER: &str = "metadata";
/// A `repomd.xml` and its signature are far smaller.
const MAX_BYTES: u64 = 2 << 20;

/// A file and its detached signature, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMetadata {
    /// The file.
    pub bytes: Vec<u8>,
    /// The signature; empty if there is none.
    pub signature: Vec<u8>,
}

impl Store {
    /// What [`Store::note_metadata`] was last given for this address. What
    /// cannot be read was never seen.
    #[must_use]
    pub fn seen_metadata(&self, url: &str) -> Option<SignedMetadata> {
        let path = self.metadata_path(url);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let mut bytes = self.lease.using(&path, read).ok()?;
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let end = usize::try_from(length).ok()?.checked_add(4)?;
        let signature = bytes.get(4..end)?.to_vec();
        bytes.drain(..end);
        Some(SignedMetadata { bytes, signature })
    }

    /// Remembers what the repository at `url` has said.
    pub fn note_metadata(&self, url: &str, seen: &SignedMetadata) -> Result<(), StoreError> {
        let path = self.metadata_path(url);
        let mut pending = self.pending()?;
        let length = u32::try_from(seen.signature.len())
            .map_err(|error| failed("write", &path)(io::Error::other(error)))?;
        let parts = [&length.to_le_bytes()[..], &seen.signature, &seen.bytes].concat();
        pending.0.as_file().write_all(&parts).map_err(failed("write", &path))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
        }
        pending.persist(&self.lease, &path)
    }

    fn metadata_path(&self, url: &str) -> PathBuf {
        self.path(FOLDER, &Digest::of(url.as_bytes()).to_string())
    }
}
