//! A folder that becomes the result all at once, or leaves nothing behind:
//! not after an error, and not after Ctrl-C. What was there before stays whole
//! until then.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::parallel;
use crate::unfinished::{Unfinished, remove_abandoned};

/// Random letters at the end of a folder's temporary name.
const LETTERS: usize = 6;

/// The folder while it is being filled.
#[derive(Debug)]
pub struct Staging {
    folder: Unfinished,
    target: PathBuf,
    /// files that are needed while building and are no part of the result
    scratch: PathBuf,
}

impl Staging {
    /// A folder that will become `out/name`. Removes what killed processes have
    /// left of such folders.
    pub fn new(out: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(out)?;
        let prefix = format!(".{name}.");
        remove_leftovers(out, &prefix)?;
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .rand_bytes(LETTERS)
            // it removes itself
            .disable_cleanup(true)
            .make_in(out, |path| Unfinished::folder(path.to_owned()))?
            .into_parts()
            .0;
        let target = out.join(name);
        let staging = Self { scratch: folder.path().join("scratch"), target, folder };
        fs::create_dir(&staging.scratch)?;
        Ok(staging)
    }

    /// Where to write a file of the result.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Where to write a file that is needed only while building.
    #[must_use]
    pub fn scratch(&self, file: &str) -> PathBuf {
        self.scratch.join(file)
    }

    /// Moves the folder to its place, over what an earlier build left there.
    pub fn publish(self) -> io::Result<PathBuf> {
        fs::remove_dir_all(&self.scratch)?;
        let files = fs::read_dir(self.folder.path())?.map(|entry| Ok(entry?.path()));
        let files = files.collect::<io::Result<Vec<PathBuf>>>()?;
        // Side by side, since the file system then commits once for all of them.
        let synced = parallel::map_on(files.len(), &files, |path| File::open(path)?.sync_all());
        synced.into_iter().collect::<io::Result<()>>()?;
        self.folder.finish(|folder| replace(folder, &self.target))?;
        if let Some(parent) = self.target.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(self.target)
    }
}

/// Renames `new` to `target`. What was there gets the name `new`, in the same
/// moment: at no time is there nothing, whoever else does the same.
fn replace(new: &Path, target: &Path) -> io::Result<()> {
    loop {
        match renameat_with(CWD, new, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(Errno::INVAL | Errno::NOSYS) => return replace_in_two_steps(new, target),
            Err(error) => return Err(error.into()),
        }
        match renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(()),
            // somebody has just removed it
            Err(Errno::NOENT) => {}
            Err(Errno::INVAL | Errno::NOSYS) => return replace_in_two_steps(new, target),
            Err(error) => return Err(error.into()),
        }
    }
}

/// For file systems that cannot exchange two names, such as NFS.
fn replace_in_two_steps(new: &Path, target: &Path) -> io::Result<()> {
    let earlier = new.with_added_extension("earlier");
    match fs::rename(target, &earlier) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    if let Err(error) = fs::rename(new, target) {
        let _ = fs::rename(&earlier, target);
        return Err(error);
    }
    match fs::remove_dir_all(&earlier) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes folders of this prefix that nobody fills any more.
fn remove_leftovers(out: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name();
        let letters = name.to_str().and_then(|name| name.strip_prefix(prefix));
        let ours = letters.is_some_and(|letters| {
            letters.len() == LETTERS && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if ours {
            remove_abandoned(&entry.path());
        }
    }
    Ok(())
}

/// Calls `each` with the whole file, a MiB at a time.
pub fn for_each_piece(file: &File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let piece = buffer.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..piece], at)?;
        each(&buffer[..piece]);
        at += piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        let out = tempfile::tempdir().expect("a folder");
        let names = || -> Vec<String> {
            let entries = fs::read_dir(out.path()).expect("a folder");
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into()).collect()
        };
        let staging = Staging::new(out.path(), "demo-1").expect("a folder");
        fs::write(staging.path("disk.raw"), b"1").expect("written");
        drop(staging);
        assert!(names().is_empty());
        for content in [b"1", b"2"] {
            let staging = Staging::new(out.path(), "demo-1").expect("a folder");
            fs::write(staging.path("disk.raw"), content).expect("written");
            fs::write(staging.scratch("root"), content).expect("written");
            let folder = staging.publish().expect("moved");
            assert_eq!(fs::read(folder.join("disk.raw")).expect("there"), content);
            assert_eq!(names(), ["demo-1"]);
        }
    }

    #[test]
    fn the_earlier_folder_is_replaced_where_names_cannot_be_exchanged_too() {
        let out = tempfile::tempdir().expect("a folder");
        let path = |name: &str| out.path().join(name);
        for content in [b"1", b"2"] {
            fs::create_dir(path("new")).expect("made");
            fs::write(path("new/file"), content).expect("written");
            replace_in_two_steps(&path("new"), &path("target")).expect("moved");
            assert_eq!(fs::read(path("target/file")).expect("there"), content);
            assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 1);
        }
        assert!(replace_in_two_steps(&path("nothing"), &path("target")).is_err());
        assert_eq!(fs::read(path("target/file")).expect("there again"), b"2");
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let out = tempfile::tempdir().expect("a folder");
        for name in [".demo-1.abcDEF", ".demo-1.notes", ".demo-2.abcDEF"] {
            fs::create_dir(out.path().join(name)).expect("made");
        }
        let living = Staging::new(out.path(), "demo-1").expect("a folder");
        let other = Staging::new(out.path(), "demo-1").expect("a folder");
        assert!(living.scratch("").exists() && other.scratch("").exists());
        drop((living, other));
        let entries = fs::read_dir(out.path()).expect("a folder").flatten();
        let mut left: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [".demo-1.notes", ".demo-2.abcDEF"]);
    }
}
