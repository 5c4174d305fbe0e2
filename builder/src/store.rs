//! The store: every byte a lock names, addressed by its SHA-256, and what was
//! derived from it. Many processes may use one store; a file appears in it
//! complete and checked or not at all, whatever is killed when.
//!
//! ```text
//! sha256/ab/<digest>     blobs        verified/ab/<digest>-<by>   checks that were made
//! <kind>/ab/<digest>     derived      tmp/<pid>-<random>          being written
//! leases/<pid>-<random>  in use       tmp/<digest>.part           downloads that go on later
//! gate                   locked       settings.toml               the limit
//! damaged                a list of what was found damaged and removed
//! ```

mod collect;
mod inventory;
mod lease;
mod limit;
mod metadata;
mod partial;
#[cfg(test)]
mod tests;
mod verify;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats::{Digest, Hasher};

pub use collect::{Collected, Collection, Removed};
pub use inventory::Kind;
pub use limit::{BadSize, Size};
pub use metadata::SignedMetadata;
pub use partial::Partial;
pub use verify::{Damage, Verification};

use crate::unfinished::{Unfinished, remove_abandoned};
use lease::Lease;

/// The folder of blobs.
const BLOBS: &str = "sha256";
/// The folder of unpacked payloads, named after their packages.
const PAYLOADS: &str = "payload";
/// The folder of remembered checks.
const CHECKS: &str = "verified";
/// The list of what [`Store::verify`] has removed.
const DAMAGED: &str = "damaged";
/// The folder of what is being written.
const TEMPORARY: &str = "tmp";
/// Ends the name of a download that goes on later.
const PARTIAL: &str = ".part";

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
    /// The setting of the limit says something else.
    #[error("cannot use the size limit of {from}")]
    Limit {
        /// The file or variable.
        from: String,
        /// What is wrong with it.
        source: BadSize,
    },
    /// There is no home folder to put a store into.
    #[error("no place for the store: set SLIPWAY_STORE, XDG_CACHE_HOME or HOME")]
    NoHome,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

/// A folder of checked files. What is used of it, in any of its clones, is
/// safe from [`Store::collect`] until the last of them is gone.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    lease: Arc<Lease>,
}

impl Store {
    /// Opens the store in `root`, making it if there is none, and removes
    /// what killed processes left half-written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let temporary = root.join(TEMPORARY);
        fs::create_dir_all(&temporary).map_err(failed("make", &temporary))?;
        let lease = Arc::new(Lease::new(&root));
        let store = Self { root, lease };
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

    /// Whether the blob `digest` is there with `size` bytes. If so, it stays.
    #[must_use]
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        let path = self.blob_path(digest);
        self.lease.using(&path, || {
            fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == size)
        })
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
        Ok(Received { file: Arrived::Now(pending), store: self.clone(), digest: *expected })
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
        if !self.lease.using(&target, || target.is_file()) {
            let mut pending = self.pending()?;
            make(pending.0.as_file())?;
            pending.persist(&self.lease, &target)?;
        }
        Ok(target)
    }

    /// Whether it was noted that the blob `digest` passed the check `by`.
    #[must_use]
    pub fn is_checked(&self, digest: &Digest, by: &Digest) -> bool {
        self.check_path(digest, by).is_file()
    }

    /// Notes that the blob `digest` passed the check `by`. The note is an empty
    /// file, of which a power cut can leave nothing half, so nothing is synced.
    pub fn note_checked(&self, digest: &Digest, by: &Digest) -> Result<(), StoreError> {
        let path = self.check_path(digest, by);
        place(&self.lease, &path, || {
            let mut note = File::options();
            match note.write(true).create_new(true).mode(0o444).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made.map(drop),
            }
        })
    }

    /// Where the unpacked payload of the package `digest` lies or will lie. If
    /// it is there, it stays.
    #[must_use]
    pub fn payload_path(&self, digest: &Digest) -> PathBuf {
        let path = self.path(PAYLOADS, &digest.to_string());
        self.lease.using(&path, || ());
        path
    }

    /// Changes whenever damage is found: what was made of the store before may
    /// be made of damaged files.
    pub fn damage_seen(&self) -> Result<Digest, StoreError> {
        let path = self.root.join(DAMAGED);
        let read = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Digest::of(b"")),
            file => file.and_then(|file| {
                let mut hasher = Hasher::new();
                crate::staging::for_each_piece(&file, |piece| hasher.update(piece))?;
                Ok(hasher.finish())
            }),
        };
        read.map_err(failed("read", &path))
    }

    fn check_path(&self, digest: &Digest, by: &Digest) -> PathBuf {
        self.path(CHECKS, &format!("{digest}-{by}"))
    }

    fn path(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(&name[..2]).join(name)
    }

    /// A new file that goes away unless it is persisted.
    fn pending(&self) -> Result<Pending, StoreError> {
        let folder = self.root.join(TEMPORARY);
        let path = folder.join(own_name().map_err(failed("draw a name in", &folder))?);
        Ok(Pending(Unfinished::file(path.clone()).map_err(failed("make", &path))?))
    }

    /// Failing to clean up is no reason not to work. Downloads that broke off
    /// are no rubbish: the next one begins where they ended.
    fn remove_abandoned(&self) {
        for folder in [TEMPORARY, lease::FOLDER] {
            let Ok(entries) = fs::read_dir(self.root.join(folder)) else {
                continue;
            };
            for path in entries.flatten().map(|entry| entry.path()) {
                if !path.to_string_lossy().ends_with(PARTIAL) {
                    remove_abandoned(&path);
                }
            }
        }
    }
}

/// A name that no other process and no other thread has.
fn own_name() -> io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{}-{:016x}", std::process::id(), u64::from_ne_bytes(random)))
}

/// A file of the store that is being written; removed when dropped.
#[derive(Debug)]
struct Pending(Unfinished);

impl Pending {
    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives the file its final, read-only place.
    fn persist(mut self, lease: &Lease, target: &Path) -> Result<(), StoreError> {
        let path = self.path().to_owned();
        make_final(self.0.as_file(), &path)?;
        place(lease, target, || self.0.finish(|path| fs::rename(path, target)))
    }
}

/// Read-only and on the disk.
fn make_final(file: &File, path: &Path) -> Result<(), StoreError> {
    file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(failed("protect", path))?;
    // Without this a power cut could leave the name with empty blocks.
    file.sync_data().map_err(failed("write", path))
}

/// Renames to `target`, which is in use from then on.
fn place(
    lease: &Lease,
    target: &Path,
    rename: impl FnOnce() -> io::Result<()>,
) -> Result<(), StoreError> {
    let folder = target.parent().unwrap_or(target);
    lease.using(target, || {
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        rename().map_err(failed("make", target))
    })
}

/// A blob that came in as announced, and may still be refused.
#[derive(Debug)]
pub struct Received {
    file: Arrived,
    store: Store,
    digest: Digest,
}

/// How it came.
#[derive(Debug)]
enum Arrived {
    /// In one go.
    Now(Pending),
    /// Perhaps in several.
    InParts(Box<Partial>),
}

impl Received {
    /// Where it can be read meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.file {
            Arrived::Now(pending) => pending.path(),
            Arrived::InParts(partial) => partial.path(),
        }
    }

    /// Puts it into the store.
    pub fn keep(self) -> Result<PathBuf, StoreError> {
        let target = self.store.blob_path(&self.digest);
        match self.file {
            Arrived::Now(pending) => pending.persist(&self.store.lease, &target)?,
            Arrived::InParts(partial) => partial.persist(&target)?,
        }
        Ok(target)
    }

    /// Leaves nothing of it behind: it is not what it should be. (Of what came
    /// in one go nothing stays anyway.)
    pub fn refuse(self) {
        if let Arrived::InParts(partial) = self.file {
            partial.discard();
        }
    }
}
