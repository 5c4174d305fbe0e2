//! The store: every byte a lock names, addressed by its SHA-256, and what was
//! derived from it. Many processes may use one store; a file appears in it
//! complete and checked or not at all, whatever is killed when.
//!
//! ```text
//! sha256/ab/<digest>     blobs        verified/ab/<digest>-<by>   checks that were made
//! <kind>/ab/<digest>     derived      tmp/<pid>-<random>          being written
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use formats::{Digest, Hasher};

use crate::unfinished::{Unfinished, remove_abandoned};

/// The folder of blobs.
const BLOBS: &str = "sha256";
/// The folder of remembered checks.
const CHECKS: &str = "verified";
/// The folder of what is being written.
const TEMPORARY: &str = "tmp";

/// Something is wrong with the store or with what was to be put into it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes could not be read from where they come from.
    #[error("the transfer broke off after {received} bytes")]
    Source {
        /// How many bytes had come.
        received: u64,
        /// What the other side said.
        source: io::Error,
    },
    /// Fewer or more bytes came than were announced.
    #[error("{received} bytes received, {expected} expected")]
    Size {
        /// How many should have come.
        expected: u64,
        /// How many came; if too many, those that were read.
        received: u64,
    },
    /// Other bytes came than were announced.
    #[error("the SHA-256 is {found}, {expected} expected")]
    Digest {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// There is no home folder to put a store into.
    #[error("no place for the store: set SLIPWAY_STORE, XDG_CACHE_HOME or HOME")]
    NoHome,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

/// A folder of checked files.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `root`, making it if there is none, and removes
    /// what killed processes left half-written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let temporary = root.join(TEMPORARY);
        fs::create_dir_all(&temporary).map_err(failed("make", &temporary))?;
        let store = Self { root };
        store.remove_abandoned();
        Ok(store)
    }

    /// `SLIPWAY_STORE`, or `slipway/store` in the user's cache folder.
    pub fn default_path() -> Result<PathBuf, StoreError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = variable("SLIPWAY_STORE") {
            return Ok(path.into());
        }
        let cache = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
        Ok(cache.ok_or(StoreError::NoHome)?.join("slipway/store"))
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob `digest` lies, if it is there.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path(BLOBS, &digest.to_string())
    }

    /// Whether the blob `digest` is there with `size` bytes.
    #[must_use]
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob_path(digest))
            .is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Takes a blob from `reader`, hashing while writing. Nothing stays
    /// behind if it is not exactly what was announced.
    pub fn insert(
        &self,
        reader: impl Read,
        size: u64,
        expected: &Digest,
    ) -> Result<PathBuf, StoreError> {
        self.receive(reader, size, expected, |_| {})?.keep()
    }

    /// Like [`Store::insert`], but leaves to the caller whether the blob is
    /// kept: dropped, it is gone. `advance` is told of every piece received.
    pub fn receive(
        &self,
        mut reader: impl Read,
        size: u64,
        expected: &Digest,
        mut advance: impl FnMut(u64),
    ) -> Result<Received, StoreError> {
        let mut pending = self.pending()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 128 * 1024];
        let mut received = 0;
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(StoreError::Source { received, source }),
            };
            received += count as u64;
            if received > size {
                return Err(StoreError::Size { expected: size, received });
            }
            hasher.update(&buffer[..count]);
            let written = pending.0.as_file().write_all(&buffer[..count]);
            written.map_err(failed("write", pending.path()))?;
            advance(count as u64);
        }
        if received < size {
            return Err(StoreError::Size { expected: size, received });
        }
        let found = hasher.finish();
        if found != *expected {
            return Err(StoreError::Digest { expected: *expected, found });
        }
        Ok(Received { pending, target: self.blob_path(expected) })
    }

    /// The file of kind `kind` derived from the blob `source`, made by `make`
    /// if it is not there yet. Two processes may make it at the same time;
    /// whichever ends last wins, and readers of the other one notice nothing.
    pub fn derived<E: From<StoreError>>(
        &self,
        source: &Digest,
        kind: &str,
        make: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let target = self.path(kind, &source.to_string());
        if !target.is_file() {
            let mut pending = self.pending()?;
            make(pending.0.as_file())?;
            pending.persist(&target)?;
        }
        Ok(target)
    }

    /// Whether it was noted that the blob `digest` passed the check `by`.
    #[must_use]
    pub fn is_checked(&self, digest: &Digest, by: &Digest) -> bool {
        self.check_path(digest, by).is_file()
    }

    /// Notes that the blob `digest` passed the check `by`.
    pub fn note_checked(&self, digest: &Digest, by: &Digest) -> Result<(), StoreError> {
        self.pending()?.persist(&self.check_path(digest, by))
    }

    /// Where the unpacked payload of the package `digest` lies or will lie.
    #[must_use]
    pub fn payload_path(&self, digest: &Digest) -> PathBuf {
        self.path("payload", &digest.to_string())
    }

    fn check_path(&self, digest: &Digest, by: &Digest) -> PathBuf {
        self.path(CHECKS, &format!("{digest}-{by}"))
    }

    fn path(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(&name[..2]).join(name)
    }

    /// A new file that goes away unless it is persisted.
    fn pending(&self) -> Result<Pending, StoreError> {
        let mut random = [0; 8];
        let folder = self.root.join(TEMPORARY);
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| failed("draw a name in", &folder)(error.into()))?;
        let name = format!("{}-{:016x}", std::process::id(), u64::from_ne_bytes(random));
        let path = folder.join(name);
        Ok(Pending(Unfinished::file(path.clone()).map_err(failed("make", &path))?))
    }

    /// Failing to clean up is no reason not to work.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(TEMPORARY)) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            remove_abandoned(&path);
        }
    }
}

/// A file of the store that is being written; removed when dropped.
#[derive(Debug)]
struct Pending(Unfinished);

impl Pending {
    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives the file its final, read-only place.
    fn persist(mut self, target: &Path) -> Result<(), StoreError> {
        let folder = target.parent().unwrap_or(target);
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        let read_only = fs::Permissions::from_mode(0o444);
        let file = self.0.as_file();
        let protected = file.set_permissions(read_only);
        // Without this a power cut could leave the name with empty blocks.
        let synced = file.sync_data();
        protected.map_err(failed("protect", self.path()))?;
        synced.map_err(failed("write", self.path()))?;
        self.0.finish(|path| fs::rename(path, target)).map_err(failed("make", target))
    }
}

/// A blob that came in as announced, and may still be refused.
#[derive(Debug)]
pub struct Received {
    pending: Pending,
    target: PathBuf,
}

impl Received {
    /// Where it can be read meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.pending.path()
    }

    /// Puts it into the store.
    pub fn keep(self) -> Result<PathBuf, StoreError> {
        self.pending.persist(&self.target)?;
        Ok(self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(store: &Store) -> Vec<String> {
        crate::fixture::files_below(store.root())
    }

    #[test]
    fn only_what_was_announced_is_kept() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("store");
        let digest = Digest::of(b"abc");
        let error = store.insert(b"ab".as_slice(), 3, &digest).expect_err("too short");
        assert!(matches!(error, StoreError::Size { expected: 3, received: 2 }));
        let error = store.insert(b"abcd".as_slice(), 3, &digest).expect_err("too long");
        assert!(matches!(error, StoreError::Size { expected: 3, .. }));
        let error = store.insert(b"abd".as_slice(), 3, &digest).expect_err("other bytes");
        assert!(matches!(error, StoreError::Digest { .. }));
        drop(store.receive(b"abc".as_slice(), 3, &digest, |_| {}).expect("received, not kept"));
        assert!(files(&store).is_empty());
        let path = store.insert(b"abc".as_slice(), 3, &digest).expect("right");
        assert_eq!(fs::read(&path).expect("readable"), b"abc");
        assert!(store.has(&digest, 3) && !store.has(&digest, 4));
        assert_eq!(files(&store), [format!("sha256/ba/{digest}")]);
    }

    #[test]
    fn what_is_derived_is_made_once_or_not_at_all() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("store");
        let source = Digest::of(b"source");
        let broken = store.derived(&source, "payload", |file| {
            file.write_all(b"half").expect("written");
            Err(StoreError::NoHome)
        });
        assert!(broken.is_err() && files(&store).is_empty());
        let make = |file: &mut File| {
            file.write_all(b"whole").expect("written");
            Ok::<(), StoreError>(())
        };
        let path = store.derived(&source, "payload", make).expect("made");
        let again = store.derived(&source, "payload", |_| -> Result<(), StoreError> {
            panic!("it is there already")
        });
        assert_eq!(again.expect("there"), path);
        assert_eq!(fs::read(path).expect("readable"), b"whole");
    }

    #[test]
    fn leftovers_of_the_dead_are_removed_and_work_of_the_living_is_not() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("store");
        fs::write(folder.path().join("tmp/1-dead"), "half").expect("leftover");
        let living = store.pending().expect("pending");
        Store::open(folder.path()).expect("opened by another");
        let left = files(&store);
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(living.path().exists());
        drop(living);
        assert!(files(&store).is_empty());
    }

    #[test]
    fn checks_are_remembered_by_whom_they_were_made() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("store");
        let (blob, one, other) = (Digest::of(b"blob"), Digest::of(b"one"), Digest::of(b"other"));
        store.note_checked(&blob, &one).expect("noted");
        assert!(store.is_checked(&blob, &one));
        assert!(!store.is_checked(&blob, &other));
    }
}
