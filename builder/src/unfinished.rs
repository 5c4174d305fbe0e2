//! Files and folders that are being filled: removed when they are dropped, and
//! when Ctrl-C ends the process, unless they have got their final name before.
//! Each is locked, so that another process can tell it from one that a killed
//! process left behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};

/// A file created in a folder while it is removed makes that fail; its maker
/// gets no further than that, so a few attempts are enough.
const ATTEMPTS: usize = 100;

/// What is there at the moment.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<PathBuf>> {
    // a panic elsewhere leaves the list as it was: still right
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes everything unfinished and ends the process: for a signal handler's
/// thread. The other threads can neither begin nor give up anything meanwhile.
pub fn end_process(code: i32) -> ! {
    let open = open();
    for path in open.iter() {
        for _ in 0..ATTEMPTS {
            if remove(path).is_ok() {
                break;
            }
        }
    }
    std::process::exit(code)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// One of them.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    /// A new, empty file.
    pub fn file(path: PathBuf) -> io::Result<Self> {
        Self::make(path, |path| File::options().read(true).write(true).create_new(true).open(path))
    }

    /// A new, empty folder.
    pub fn folder(path: PathBuf) -> io::Result<Self> {
        Self::make(path, |path| fs::create_dir(path).and_then(|()| File::open(path)))
    }

    /// A new, empty folder in `parent`, of a name of its own.
    pub fn scratch(parent: &Path) -> io::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(".slipway-")
            // it removes itself
            .disable_cleanup(true)
            .make_in(parent, |path| Self::folder(path.to_owned()))?;
        Ok(made.into_parts().0)
    }

    fn make(path: PathBuf, make: impl Fn(&Path) -> io::Result<File>) -> io::Result<Self> {
        loop {
            let mut open = open();
            let file = make(&path)?;
            open.push(path.clone());
            drop(open);
            let made = Self { path: path.clone(), file };
            made.file.lock()?;
            // Another process may have taken it for abandoned just before it
            // was locked; then its name is gone, and free again.
            let here = fs::metadata(&made.path).map(|found| found.ino()).ok();
            if here == Some(made.file.metadata()?.ino()) {
                return Ok(made);
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name by `rename`. Not while it is being removed:
    /// what is removed is no longer found by its name by then, so it would be
    /// emptied under the final one.
    pub fn finish<T>(&self, rename: impl FnOnce(&Path) -> T) -> T {
        let _open = open();
        rename(&self.path)
    }

    /// The file, or the folder as one.
    #[must_use]
    pub fn as_file(&mut self) -> &mut File {
        &mut self.file
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut open = open();
        // after it was renamed there is nothing of this name any more
        let _ = remove(&self.path);
        // A process that another thread is just starting holds a copy of the
        // file until it runs its program: closing ours would not unlock it.
        let _ = self.file.unlock();
        open.retain(|path| *path != self.path);
    }
}

/// Removes `path` if whoever made it is gone. Failing to is no reason not to
/// work.
pub fn remove_abandoned(path: &Path) {
    // Whoever else may write here could have left a link to anything.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else { return };
    if file.try_lock().is_err() {
        return;
    }
    let denied = remove(path).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    // Files of install scripts may belong to the user's sub-ids.
    let ours = file
        .metadata()
        .is_ok_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw());
    if let (true, true, Ok(program)) = (denied, ours, std::env::current_exe()) {
        let _ = crate::sandbox::remove_left(path, &file, &program);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_goes_and_what_was_renamed_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let file = Unfinished::file(path("file")).expect("made");
        let filling = Unfinished::folder(path("folder")).expect("made");
        fs::write(path("folder/inside"), "1").expect("written");
        for living in ["file", "folder"] {
            remove_abandoned(&path(living));
            assert!(path(living).exists(), "{living} is locked");
        }
        assert!(Unfinished::file(path("file")).is_err());
        fs::rename(filling.path(), path("done")).expect("renamed");
        drop((file, filling));
        let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
        assert_eq!(names.len(), 1);
        remove_abandoned(&path("done"));
        assert!(!path("done").exists());
    }
}
