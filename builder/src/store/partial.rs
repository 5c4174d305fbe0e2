//! A download that may take several attempts, in one process or in several one
//! after the other. Its file is named after the digest it should get, and
//! locked by whoever writes it: a second process waits, and then finds the blob
//! or goes on where the first one broke off.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use formats::{Digest, Hasher};

use super::{Arrived, PARTIAL, Received, Store, StoreError, TEMPORARY, failed, make_final, place};

/// A blob of which some bytes are there.
pub struct Partial {
    store: Store,
    file: File,
    path: PathBuf,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    received: u64,
    /// Whether all of it came with one answer.
    whole: bool,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partial({}, {} of {})", self.digest, self.received, self.size)
    }
}

impl Store {
    /// The download of the blob `digest`, begun or gone on with. `None` if
    /// another process has brought it in meanwhile.
    pub fn partial(&self, digest: &Digest, size: u64) -> Result<Option<Partial>, StoreError> {
        let path = self.root.join(TEMPORARY).join(format!("{digest}{PARTIAL}"));
        loop {
            let found = locked(&path);
            let there = self.has(digest, size);
            let Some(file) = (if there { found.unwrap_or(None) } else { found? }) else {
                if there {
                    return Ok(None);
                }
                continue;
            };
            // Read-only it was whole, and its process killed just before it was
            // renamed: not worth a case of its own.
            let stat = file.metadata().map_err(failed("read", &path))?;
            let whole = stat.permissions().readonly();
            if there || whole {
                // As it is locked, nobody is about to rename it.
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
            if there {
                return Ok(None);
            }
            if !whole {
                let store = self.clone();
                return Partial::resume(store, file, path, *digest, size).map(Some);
            }
        }
    }
}

/// The file at `path`, made if there is none, when nobody else has it any more.
/// `None` if whoever had it has given it its final name, or up.
fn locked(path: &Path) -> Result<Option<File>, StoreError> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).or_else(|error| match error.kind() {
        // Whole, and so read-only: it can be locked all the same.
        io::ErrorKind::PermissionDenied => File::open(path).map_err(|_| error),
        _ => Err(error),
    });
    let file = file.map_err(failed("open", path))?;
    file.lock().map_err(failed("lock", path))?;
    let here = fs::metadata(path).map(|found| found.ino()).ok();
    let ours = here == Some(file.metadata().map_err(failed("read", path))?.ino());
    Ok(ours.then_some(file))
}

impl Partial {
    fn resume(
        store: Store,
        file: File,
        path: PathBuf,
        digest: Digest,
        size: u64,
    ) -> Result<Self, StoreError> {
        let hasher = Hasher::new();
        let (received, whole) = (0, true);
        let mut partial = Self { store, file, path, digest, size, hasher, received, whole };
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = partial.file.read(&mut buffer).map_err(failed("read", &partial.path))?;
            if count == 0 {
                break;
            }
            partial.hasher.update(&buffer[..count]);
            partial.received += count as u64;
            partial.whole = false;
        }
        if partial.received > size {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Bytes that are there.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether all that is there came in one piece.
    #[must_use]
    pub fn is_of_one_piece(&self) -> bool {
        self.whole
    }

    /// Where it can be read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(failed("empty", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(failed("empty", &self.path))?;
        (self.hasher, self.received, self.whole) = (Hasher::new(), 0, true);
        Ok(())
    }

    /// Takes what follows from `reader` until it ends or fails; what came
    /// stays. `advance` is told of every piece.
    pub fn append(
        &mut self,
        mut reader: impl Read,
        mut advance: impl FnMut(u64),
    ) -> Result<(), StoreError> {
        self.whole &= self.received == 0;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(StoreError::Source { received: self.received, source });
                }
            };
            let received = self.received + count as u64;
            if received > self.size {
                return Err(StoreError::Size { expected: self.size, received });
            }
            self.file.write_all(&buffer[..count]).map_err(failed("write", &self.path))?;
            self.hasher.update(&buffer[..count]);
            self.received = received;
            advance(count as u64);
        }
    }

    /// The blob, if it is what was announced.
    pub fn finish(self) -> Result<Received, (Box<Self>, StoreError)> {
        if self.received < self.size {
            let error = StoreError::Size { expected: self.size, received: self.received };
            return Err((Box::new(self), error));
        }
        let found = self.hasher.clone().finish();
        if found != self.digest {
            let error = StoreError::Digest { expected: self.digest, found };
            return Err((Box::new(self), error));
        }
        let (store, digest) = (self.store.clone(), self.digest);
        Ok(Received { file: Arrived::InParts(Box::new(self)), store, digest })
    }

    /// Removes it.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn persist(self, target: &Path) -> Result<(), StoreError> {
        make_final(&self.file, &self.path)?;
        place(&self.store.lease, target, || fs::rename(&self.path, target))
    }
}
