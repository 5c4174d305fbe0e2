//! Removing from a store what was not used for longest, until it is no larger
//! than it may be. Safe beside running builds and under `kill -9`: what they
//! use is named by their leases, and each removal is one `unlink`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use formats::Digest;

use super::inventory::{self, Item, Kind};
use super::lease::ClosedGate;
use super::{Size, Store, StoreError, failed};

/// A download nobody has gone on with for this long is given up.
const PARTIAL_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is to be removed.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    /// Blobs that stay, with all that was derived from them.
    pub keep: HashSet<Digest>,
    /// How large the store may be; without it only what is of no use goes.
    pub max: Option<Size>,
    /// Only says what would be removed.
    pub dry_run: bool,
}

/// A file that was removed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Removed {
    /// Relative to the store.
    pub path: PathBuf,
    /// What it was.
    pub kind: Kind,
    /// Its length.
    pub size_bytes: u64,
}

/// What a collection has done.
#[derive(Debug, Default, serde::Serialize)]
pub struct Collected {
    /// What was removed, in that order.
    pub removed: Vec<Removed>,
    /// Bytes of it.
    pub removed_bytes: u64,
    /// Bytes that are left.
    pub left_bytes: u64,
    /// Files that are left.
    pub left_files: usize,
    /// Bytes of what is left because a running process uses it.
    pub in_use_bytes: u64,
    /// Bytes of what is left because a lock names it.
    pub kept_bytes: u64,
}

impl Store {
    /// Removes what is of no use, then what was not used for longest, derived
    /// files before blobs of the same age, until the limit is kept. Nothing of
    /// what a running process uses goes, nor what is to be kept, even if that
    /// alone is past the limit.
    pub fn collect(&self, wanted: &Collection) -> Result<Collected, StoreError> {
        let gate = ClosedGate::close(&self.root).map_err(failed("lock", &self.root))?;
        let mut items = inventory::take(&self.root)?;
        let blobs: HashSet<Digest> = items
            .iter()
            .filter(|item| item.kind == Kind::Blob)
            .filter_map(|item| item.digest)
            .collect();
        items.sort_by_key(|item| (item.used, item.kind));
        let mut run = Run { store: self, gate, wanted, done: Collected::default() };
        let useless = |item: &Item| match item.kind {
            Kind::Leftover => true,
            Kind::Partial => item.used.elapsed().is_ok_and(|age| age > PARTIAL_KEPT),
            _ => item.needs_blob() && item.digest.is_none_or(|digest| !blobs.contains(&digest)),
        };
        let mut left: u64 = items.iter().map(|item| item.size_bytes).sum();
        let (first, rest): (Vec<Item>, Vec<Item>) = items.into_iter().partition(useless);
        for item in first {
            left -= if run.remove(&item)? { item.size_bytes } else { 0 };
        }
        let mut stays = Vec::new();
        for item in rest {
            let over = wanted.max.is_some_and(|max| left > max.0);
            if over && item.kind != Kind::Check && run.remove(&item)? {
                left -= item.size_bytes;
            } else {
                stays.push(item);
            }
        }
        left -= run.remove_companions(&mut stays)?;
        run.done.left_files = stays.len();
        run.done.left_bytes = left;
        run.count_protected(&stays);
        Ok(run.done)
    }
}

struct Run<'r> {
    store: &'r Store,
    gate: ClosedGate,
    wanted: &'r Collection,
    done: Collected,
}

impl Run<'_> {
    fn is_kept(&self, item: &Item) -> bool {
        item.digest.is_some_and(|digest| self.wanted.keep.contains(&digest))
    }

    /// Removes `item` unless somebody needs it; says whether it is gone.
    fn remove(&mut self, item: &Item) -> Result<bool, StoreError> {
        if self.gate.in_use.contains(&item.path) || self.is_kept(item) {
            return Ok(false);
        }
        let path = self.store.root.join(&item.path);
        if matches!(item.kind, Kind::Partial | Kind::Leftover) && is_locked(&path) {
            return Ok(false);
        }
        if !self.wanted.dry_run {
            let removed = match item.kind {
                // An unpacking that was killed leaves a folder.
                Kind::Leftover if path.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(failed("remove", &path))?,
            }
        }
        self.done.removed_bytes += item.size_bytes;
        self.done.removed.push(Removed {
            path: item.path.clone(),
            kind: item.kind,
            size_bytes: item.size_bytes,
        });
        Ok(true)
    }

    /// Removes what has just lost its blob. Returns the bytes.
    fn remove_companions(&mut self, stays: &mut Vec<Item>) -> Result<u64, StoreError> {
        let gone: HashSet<PathBuf> =
            self.done.removed.iter().map(|removed| removed.path.clone()).collect();
        let lost = |item: &Item| {
            let blob = item.digest.map(|digest| self.store.blob_path(&digest));
            let blob =
                blob.and_then(|path| path.strip_prefix(&self.store.root).map(Into::into).ok());
            item.needs_blob() && blob.is_some_and(|blob: PathBuf| gone.contains(&blob))
        };
        let (lost, rest): (Vec<Item>, Vec<Item>) =
            std::mem::take(stays).into_iter().partition(lost);
        *stays = rest;
        let mut bytes = 0;
        for item in lost {
            match self.remove(&item)? {
                true => bytes += item.size_bytes,
                false => stays.push(item),
            }
        }
        Ok(bytes)
    }

    fn count_protected(&mut self, stays: &[Item]) {
        let in_use = stays.iter().filter(|item| self.gate.in_use.contains(&item.path));
        let in_use_bytes = in_use.map(|item| item.size_bytes).sum();
        let kept = stays.iter().filter(|item| self.is_kept(item));
        let kept_bytes = kept.map(|item| item.size_bytes).sum();
        (self.done.in_use_bytes, self.done.kept_bytes) = (in_use_bytes, kept_bytes);
    }
}

/// Whether a living process writes it.
fn is_locked(path: &std::path::Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_err())
}
