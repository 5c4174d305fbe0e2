//! The cache folder: where it is, a lock for those who change it, and folders
//! that appear whole or not at all.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `$XDG_CACHE_HOME/slipway`, or `~/.cache/slipway`.
pub fn cache_folder() -> Result<PathBuf> {
    let named = env::var_os("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute());
    let base = match named {
        Some(path) => PathBuf::from(path),
        None => env::home_dir().context("no home folder to keep a cache in")?.join(".cache"),
    };
    let folder = base.join("slipway");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Waits until no other process works in `folder`; the lock is held as long as
/// the result lives.
pub fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// A folder that is filled under a temporary name and then renamed; dropped
/// before that, it disappears.
pub struct StagedFolder {
    staging: tempfile::TempDir,
}

impl StagedFolder {
    /// An empty folder beside the final one, so that renaming is atomic.
    pub fn new_in(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let staging = tempfile::Builder::new()
            .prefix(".staging-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot create a folder in {}", parent.display()))?;
        Ok(StagedFolder { staging })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Gives the folder its final name; what was there goes away.
    pub fn publish(self, target: &Path) -> Result<()> {
        if target.exists() {
            fs::remove_dir_all(target)
                .with_context(|| format!("cannot replace {}", target.display()))?;
        }
        readable(self.path())?;
        fs::rename(self.path(), target)
            .with_context(|| format!("cannot create {}", target.display()))?;
        // Renamed away: there is nothing left to delete.
        let _ = self.staging.keep();
        Ok(())
    }
}

/// Temporary folders are private; a published one is like any other.
fn readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot change the mode of {}", folder.display()))
}

/// Writes a small file so that readers see the old or the new text, never half.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().context("a file without a folder")?;
    let temporary = tempfile::NamedTempFile::new_in(parent)
        .with_context(|| format!("cannot create a file in {}", parent.display()))?;
    fs::write(temporary.path(), text)
        .with_context(|| format!("cannot write {}", temporary.path().display()))?;
    temporary.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Makes `link` a symbolic link to `target`; only a link is ever replaced.
pub fn point(link: &Path, target: &Path) -> Result<()> {
    if let Some(parent) = link.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    if fs::symlink_metadata(link).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(link).with_context(|| format!("cannot replace {}", link.display()))?;
    }
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("cannot make the link {}", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_folder_appears_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("done");
        let staged = StagedFolder::new_in(parent.path()).unwrap();
        fs::write(staged.path().join("a"), "1").unwrap();
        drop(staged);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let staged = StagedFolder::new_in(parent.path()).unwrap();
        fs::write(staged.path().join("a"), "2").unwrap();
        staged.publish(&target).unwrap();
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "2");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_links_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("deep/link");
        point(&link, Path::new("/one")).unwrap();
        point(&link, Path::new("/two")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/two"));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(point(&folder.path().join("file"), Path::new("/one")).is_err());
    }
}
