//! What a script has changed in the mirror: every name is looked at before and
//! after. An inode that anything was done to has another time of change
//! (`st_ctime`), which no program can set.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use super::disk::{self, Disk};
use super::message::{Change, Failure, Found};
use super::mounts::MOUNT_POINTS;

/// Directories in the root below which nothing a script leaves is kept.
const NOT_KEPT: &str = "run";

/// Names in the mirror: an image has at most 250,000 files.
const MAX_NAMES: usize = 1 << 20;

/// What is taken over of one script: the bytes of files that are new or changed,
/// as much as one of them can have, and those of extended attributes. Holes cost
/// a script nothing, and are bytes here.
const MOST: Room = Room { files: 8 << 30, attributes: 64 << 20 };

/// Longest wait for the clock to pass the last change; a tick has 10 ms at most.
const MAX_WAITS: u32 = 50;

/// Seconds and nanoseconds since 1970.
type Time = (i64, i64);

/// Every name and what is behind it, at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// sorted, so parents before what is in them
    names: Vec<(String, u64)>,
    changed: HashMap<u64, Time>,
}

impl Snapshot {
    /// Looks at everything in the mirror.
    pub fn take(disk: &Disk) -> Result<Self, Failure> {
        Self::take_within(disk, MAX_NAMES)
    }

    fn take_within(disk: &Disk, most: usize) -> Result<Self, Failure> {
        let mut snapshot = Self::default();
        let place = disk.place("/");
        let root = fs::symlink_metadata(&place).map_err(|e| Failure::new("read the root", e))?;
        snapshot.add("/".to_owned(), &root);
        snapshot.level(&place, "", most)?;
        snapshot.names.sort_unstable();
        Ok(snapshot)
    }

    fn add(&mut self, path: String, found: &fs::Metadata) {
        self.changed.insert(found.ino(), (found.ctime(), found.ctime_nsec()));
        self.names.push((path, found.ino()));
    }

    fn level(&mut self, folder: &Path, path: &str, most: usize) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::new(format!("read {path}/ after a script"), e);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = disk::text(&name) else {
                let error = io::Error::other("its name is not UTF-8");
                return Err(Failure::new(format!("keep {path}/{}", name.display()), error));
            };
            if path.is_empty() && (MOUNT_POINTS.contains(&name) || name == NOT_KEPT) {
                continue;
            }
            let found = entry.metadata().map_err(failed)?;
            let path = format!("{path}/{name}");
            if found.is_dir() {
                self.level(&entry.path(), &path, most)?;
            }
            if self.names.len() >= most {
                let error = io::Error::other(format!("there are more than {most} files"));
                return Err(Failure::new(format!("keep {path}"), error));
            }
            self.add(path, &found);
        }
        Ok(())
    }

    /// The inode behind a name.
    fn inode(&self, path: &str) -> Option<u64> {
        let at = self.names.binary_search_by(|(name, _)| name.as_str().cmp(path)).ok()?;
        self.names.get(at).map(|(_, inode)| *inode)
    }

    /// Waits until whatever is changed from now on has a later time than what
    /// was changed before: the clock of file systems moves in steps.
    pub fn settle(&self) {
        let last = self.changed.values().max().copied().unwrap_or_default();
        for _ in 0..MAX_WAITS {
            let now = clock_gettime(ClockId::RealtimeCoarse);
            if (now.tv_sec, now.tv_nsec) > last {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// What is different in `after`. Contents that are new are copied into the
    /// folder `kept`, under names from `number` on.
    pub fn changes(
        &self,
        after: &Self,
        disk: &Disk,
        kept: &Path,
        number: &mut u64,
    ) -> Result<Vec<Change>, Failure> {
        self.changes_within(after, disk, kept, number, MOST)
    }

    fn changes_within(
        &self,
        after: &Self,
        disk: &Disk,
        kept: &Path,
        number: &mut u64,
        mut room: Room,
    ) -> Result<Vec<Change>, Failure> {
        let mut changes: Vec<Change> = self
            .names
            .iter()
            .filter(|(path, _)| after.inode(path).is_none())
            // with the topmost, all below it is gone
            .filter(|(path, _)| parent(path).is_none_or(|up| after.inode(up).is_some()))
            .map(|(path, _)| Change::Removed(path.clone()))
            .collect();
        let mut first: HashMap<u64, &str> = HashMap::new();
        for (path, inode) in &after.names {
            let primary = *first.entry(*inode).or_insert(path);
            let same = self.inode(path) == Some(*inode)
                && self.changed.get(inode) == after.changed.get(inode);
            if same {
                continue;
            }
            changes.extend(match primary == path {
                true => found(path, disk, kept, number, &mut room)?,
                false => Some(Change::Link { path: path.clone(), target: primary.to_owned() }),
            });
        }
        Ok(changes)
    }
}

fn parent(path: &str) -> Option<&str> {
    let (up, name) = path.rsplit_once('/')?;
    match (up, name) {
        ("", "") => None,
        ("", _) => Some("/"),
        _ => Some(up),
    }
}

/// How much may still be taken over.
#[derive(Clone, Copy)]
struct Room {
    files: u64,
    attributes: u64,
}

impl Room {
    fn take(&mut self, path: &str, file: u64, attributes: u64) -> Result<(), Failure> {
        let rest = self.files.checked_sub(file).zip(self.attributes.checked_sub(attributes));
        let (files, attributes) = rest.ok_or_else(|| {
            let error = io::Error::other("with it the script has left more than is taken over");
            Failure::new(format!("keep {path}"), error)
        })?;
        (self.files, self.attributes) = (files, attributes);
        Ok(())
    }
}

/// One new or changed name. A socket is none: nobody listens any more.
fn found(
    path: &str,
    disk: &Disk,
    kept: &Path,
    number: &mut u64,
    room: &mut Room,
) -> Result<Option<Change>, Failure> {
    use std::os::unix::fs::FileTypeExt;
    let place = disk.place(path);
    let failed = |e: io::Error| Failure::new(format!("read {path} after a script"), e);
    let found = fs::symlink_metadata(&place).map_err(failed)?;
    let attributes = disk::read(&place, &found).map_err(failed)?;
    let kind = found.file_type();
    let attribute_bytes = attributes.xattrs.iter().map(|(name, value)| name.len() + value.len());
    let file_bytes = if kind.is_file() { found.len() } else { 0 };
    room.take(path, file_bytes, attribute_bytes.sum::<usize>() as u64)?;
    let kind = if kind.is_dir() {
        Found::Directory
    } else if kind.is_file() {
        let name = number.to_string();
        *number += 1;
        let size_bytes = keep(&place, &kept.join(&name)).map_err(failed)?;
        Found::File { kept: name, size_bytes }
    } else if kind.is_symlink() {
        let target = fs::read_link(&place).map_err(failed)?;
        let text = disk::text(target.as_os_str()).map(str::to_owned);
        Found::Symlink(text.ok_or_else(|| failed(io::Error::other("its target is not UTF-8")))?)
    } else if kind.is_fifo() {
        Found::Fifo
    } else if kind.is_socket() {
        return Ok(None);
    } else {
        return Err(failed(io::Error::other("a device, which no user namespace can make")));
    };
    Ok(Some(Change::Found { path: path.to_owned(), kind, attributes }))
}

/// Copies a file's bytes to where slipway can read them, whoever owns the file.
fn keep(place: &Path, kept: &Path) -> io::Result<u64> {
    let mut from = fs::File::open(place)?;
    let mut to = fs::File::options().write(true).create_new(true).open(kept)?;
    io::copy(&mut from, &mut to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(folder: &Path, most: usize) -> Result<Snapshot, String> {
        let disk = Disk::new(folder.to_str().unwrap());
        Snapshot::take_within(&disk, most).map_err(|failure| failure.step + ": " + &failure.reason)
    }

    #[test]
    fn what_a_script_leaves_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mirror, kept) = (folder.path().join("mirror"), folder.path().join("kept"));
        fs::create_dir_all(&mirror).unwrap();
        fs::create_dir(&kept).unwrap();
        let before = snapshot(&mirror, 9).unwrap();
        // Nothing but a hole.
        fs::File::create(mirror.join("a")).unwrap().set_len(1000).unwrap();
        fs::write(mirror.join("b"), "b").unwrap();
        let after = snapshot(&mirror, 3).unwrap();
        assert!(snapshot(&mirror, 2).err().unwrap().contains("more than 2 files"));
        let disk = Disk::new(mirror.to_str().unwrap());
        let changes = |files, number| {
            let room = Room { files, attributes: 1 << 20 };
            let changes = before.changes_within(&after, &disk, &kept, &mut { number }, room);
            changes.map(|changes| changes.len()).map_err(|failure| failure.step)
        };
        // The root, whose time has changed, and both.
        assert_eq!(changes(1001, 0), Ok(3));
        assert_eq!(changes(1000, 10), Err("keep /b".to_owned()));
        assert_eq!(changes(999, 20), Err("keep /a".to_owned()));
        assert!(!kept.join("20").exists());
    }

    #[test]
    fn parents() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
    }
}
