//! What is in a store: a walk over its folders that tells blobs, derived
//! files, remembered checks and leftovers apart.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use formats::Digest;

use super::{BLOBS, CHECKS, PARTIAL, PAYLOADS, StoreError, TEMPORARY, failed};

/// A file in a folder of a kind that begins with a dot is being written beside
/// its place. Nothing takes this long.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// What a file of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Left behind by a process that was killed.
    Leftover,
    /// A download that may go on.
    Partial,
    /// A note that a blob passed a check.
    Check,
    /// Made from blobs, and can be made again.
    Derived,
    /// Named by its own SHA-256.
    Blob,
}

/// A file of the store.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub kind: Kind,
    /// Relative to the store.
    pub path: PathBuf,
    pub size_bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
    pub inode: u64,
    /// The digest its name begins with.
    pub digest: Option<Digest>,
}

impl Item {
    /// Whether it is of use only together with its blob.
    pub fn needs_blob(&self) -> bool {
        self.kind == Kind::Check || self.path.starts_with(PAYLOADS)
    }
}

/// Every file of the store in `root`, except locks, leases and settings. What
/// vanishes meanwhile is left out.
pub(super) fn take(root: &Path) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    for (folder, is_folder) in entries(root)? {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        match name {
            _ if !is_folder => {}
            super::lease::FOLDER => {}
            TEMPORARY => {
                for (path, _) in entries(&folder)? {
                    let partial = path.to_string_lossy().ends_with(PARTIAL);
                    let kind = if partial { Kind::Partial } else { Kind::Leftover };
                    items.extend(look(root, &path, kind)?);
                }
            }
            BLOBS => shards(root, &folder, Kind::Blob, &mut items)?,
            CHECKS => shards(root, &folder, Kind::Check, &mut items)?,
            _ => shards(root, &folder, Kind::Derived, &mut items)?,
        }
    }
    Ok(items)
}

fn shards(root: &Path, folder: &Path, kind: Kind, items: &mut Vec<Item>) -> Result<(), StoreError> {
    for (shard, is_folder) in entries(folder)? {
        let name = shard.file_name().map(|name| name.to_string_lossy().into_owned());
        // Whatever else somebody keeps here is none of ours.
        if !is_folder || name.is_none_or(|name| name.len() != 2) {
            continue;
        }
        for (path, is_folder) in entries(&shard)? {
            if is_folder {
                continue;
            }
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            let item = look(root, &path, if hidden { Kind::Leftover } else { kind })?;
            let old = |item: &Item| item.used.elapsed().is_ok_and(|age| age > ABANDONED_AFTER);
            items.extend(item.filter(|item| !hidden || old(item)));
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, StoreError> {
    let read = || -> io::Result<Vec<(PathBuf, bool)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            found.push((entry.path(), entry.file_type()?.is_dir()));
        }
        found.sort();
        Ok(found)
    };
    read().map_err(failed("read", folder))
}

fn look(root: &Path, path: &Path, kind: Kind) -> Result<Option<Item>, StoreError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed("read", path))?,
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(Some(Item {
        kind,
        path: path.strip_prefix(root).unwrap_or(path).to_owned(),
        size_bytes: found.len(),
        used: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        inode: found.ino(),
        digest: name.get(..64).and_then(|digits| digits.parse().ok()),
    }))
}
