//! Reading a store again, to the last byte: a blob must have the digest it is
//! named by, an unpacked payload must be what its package gives when it is
//! unpacked anew. What is damaged is removed, so that the next build brings it
//! in again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use formats::{Digest, Hasher};

use super::inventory::{self, Item, Kind};
use super::lease::ClosedGate;
use super::{DAMAGED, PAYLOADS, Store, StoreError, TEMPORARY, failed, own_name};
use crate::package::Package;
use crate::parallel;
use crate::progress::{Progress, Step, Unit};
use crate::unfinished::Unfinished;

/// A file of the store that is not what it should be.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Damage {
    /// Relative to the store.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What is wrong.
    pub why: String,
}

/// What reading everything has shown.
#[derive(Debug, Default, serde::Serialize)]
pub struct Verification {
    /// Files that were read and are right.
    pub good: usize,
    /// Bytes of them.
    pub good_bytes: u64,
    /// Files that are not, by path.
    pub damaged: Vec<Damage>,
    /// Whether those were removed.
    pub removed: bool,
    /// Derived files that nothing here can be held against: their package is
    /// not in the store, or another slipway made them. They are derived anew
    /// once they are removed.
    pub unchecked: Vec<PathBuf>,
}

impl Store {
    /// Reads every blob and derived file with `threads` threads, and removes
    /// those that are damaged if `remove` says so. Builds may run meanwhile.
    pub fn verify(
        &self,
        threads: usize,
        remove: bool,
        progress: &Progress,
    ) -> Result<Verification, StoreError> {
        let items = inventory::take(&self.root)?;
        let wanted = |item: &&Item| matches!(item.kind, Kind::Blob | Kind::Derived);
        let queue: Vec<&Item> = items.iter().filter(wanted).collect();
        let total = queue.iter().map(|item| item.size_bytes).sum();
        let step = progress.step("verify", total, Unit::Bytes);
        let (mut done, mut damaged) = (Verification::default(), Vec::new());
        let found = parallel::map_on(threads, &queue, |item| self.check(item, &step));
        for (item, found) in queue.into_iter().zip(found) {
            note(&mut done, &mut damaged, item, found);
        }
        damaged.sort_by(|a: &(&Item, String), b| a.0.path.cmp(&b.0.path));
        done.unchecked.sort();
        done.removed = remove && !damaged.is_empty();
        if done.removed {
            self.remove_damaged(&damaged)?;
        }
        let damage =
            |(item, why): (&Item, String)| Damage { path: item.path.clone(), kind: item.kind, why };
        done.damaged = damaged.into_iter().map(damage).collect();
        Ok(done)
    }

    fn check(&self, item: &Item, step: &Step) -> Found {
        let path = self.root.join(&item.path);
        let found = match (item.kind, item.digest) {
            (Kind::Blob, digest) => check_blob(&path, digest),
            (_, Some(digest)) if item.path.starts_with(PAYLOADS) => {
                self.check_payload(&path, &digest)
            }
            _ => Ok(Found::Unchecked),
        };
        step.advance(item.size_bytes);
        match found {
            // Removed by somebody else meanwhile: nothing to say about it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Gone,
            Err(error) => Found::Damaged(format!("cannot be read: {error}")),
            Ok(found) => found,
        }
    }

    /// Unpacks the package again and compares.
    fn check_payload(&self, path: &Path, digest: &Digest) -> io::Result<Found> {
        let blob = self.blob_path(digest);
        if !blob.is_file() {
            return Ok(Found::Unchecked);
        }
        let scratch = Unfinished::folder(self.root.join(TEMPORARY).join(own_name()?))?;
        let again = scratch.path().join("payload");
        // A damaged package is reported itself.
        if Package::open(&blob, &again).is_err() {
            return Ok(Found::Unchecked);
        }
        Ok(match same_bytes(path, &again)? {
            None => Found::Good,
            Some(at) => Found::Damaged(format!("differs at byte {at} from what its package gives")),
        })
    }

    /// Before it is removed, so that there is no moment at which neither the
    /// damage nor the note is there.
    fn note_damage(&self, damaged: &[(&Item, String)]) -> Result<(), StoreError> {
        let path = self.root.join(DAMAGED);
        let lines = damaged.iter().map(|(item, why)| format!("{}: {why}\n", item.path.display()));
        let lines: String = lines.collect();
        let write = || {
            let mut list = File::options().append(true).create(true).open(&path)?;
            list.write_all(lines.as_bytes())?;
            list.sync_all()
        };
        write().map_err(failed("write", &path))
    }

    /// A file that was replaced since it was read stays.
    fn remove_damaged(&self, damaged: &[(&Item, String)]) -> Result<(), StoreError> {
        let _gate = ClosedGate::close(&self.root).map_err(failed("lock", &self.root))?;
        self.note_damage(damaged)?;
        for (item, _) in damaged {
            let path = self.root.join(&item.path);
            if fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == item.inode) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }
}

enum Found {
    Good,
    Damaged(String),
    Unchecked,
    Gone,
}

fn note<'i>(
    done: &mut Verification,
    damaged: &mut Vec<(&'i Item, String)>,
    item: &'i Item,
    found: Found,
) {
    match found {
        Found::Good => {
            done.good += 1;
            done.good_bytes += item.size_bytes;
        }
        Found::Damaged(why) => damaged.push((item, why)),
        Found::Unchecked => done.unchecked.push(item.path.clone()),
        Found::Gone => {}
    }
}

fn check_blob(path: &Path, digest: Option<Digest>) -> io::Result<Found> {
    let Some(digest) = digest.filter(|digest| path.ends_with(digest.to_string())) else {
        return Ok(Found::Damaged("its name is no SHA-256".to_owned()));
    };
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(match hasher.finish() {
        found if found == digest => Found::Good,
        found => Found::Damaged(format!("its SHA-256 is {found}")),
    })
}

/// The first byte in which two files differ.
fn same_bytes(one: &Path, other: &Path) -> io::Result<Option<u64>> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 128 * 1024], vec![0; 128 * 1024]);
    let mut at = 0;
    loop {
        let (count, count_other) = (fill(&mut one, &mut left)?, fill(&mut other, &mut right)?);
        let differs = left[..count].iter().zip(&right[..count_other]).position(|(a, b)| a != b);
        match differs {
            Some(position) => return Ok(Some(at + position as u64)),
            None if count != count_other => return Ok(Some(at + count.min(count_other) as u64)),
            None if count == 0 => return Ok(None),
            None => at += count as u64,
        }
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
