//! Making one file-system entry like another: contents, owner, mode and
//! modification time. Extended attributes are not copied.

use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use crate::error::{At, During};

/// Makes the file `to`, which must not be there, with what `from` holds.
pub fn file(from: &Path, to: &Path, like: &Metadata) -> Result<(), At> {
    let mut source = File::open(from).during("open", from)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        // closed until it has its owner
        .mode(0o600)
        .open(to)
        .during("make", to)?;
    std::io::copy(&mut source, &mut target).during("write", to)?;
    drop(target);
    owner_and_mode(to, like)?;
    let modified = like.modified().during("read the time of", from)?;
    let file = File::open(to).during("open", to)?;
    file.set_modified(modified).during("set the time of", to)
}

/// Makes the empty folder `to`, which must not be there.
pub fn folder(to: &Path, like: &Metadata) -> Result<(), At> {
    fs::create_dir(to).during("make", to)?;
    owner_and_mode(to, like)
}

/// Makes the symbolic link `to`, which must not be there.
pub fn link(from: &Path, to: &Path, like: &Metadata) -> Result<(), At> {
    let target = fs::read_link(from).during("read", from)?;
    symlink(target, to).during("make", to)?;
    owner(to, like)
}

/// Gives `path`, which is not a link, another's owner and mode.
pub fn owner_and_mode(path: &Path, like: &Metadata) -> Result<(), At> {
    // the owner first: changing it clears set-user-ID
    owner(path, like)?;
    let mode = fs::Permissions::from_mode(like.mode() & 0o7777);
    fs::set_permissions(path, mode).during("set the mode of", path)
}

fn owner(path: &Path, like: &Metadata) -> Result<(), At> {
    lchown(path, Some(like.uid()), Some(like.gid())).during("set the owner of", path)
}

/// Writes a whole file so that a power cut leaves the old one or the new one.
pub fn replace_file(path: &Path, text: &str) -> Result<(), At> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).during("make", &temporary)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).during("write", &temporary)?;
    file.sync_all().during("write", &temporary)?;
    fs::rename(&temporary, path).during("rename", &temporary)
}

/// Removes whatever is at `path`; nothing there is fine.
pub fn remove_all(path: &Path) -> Result<(), At> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).during("remove", path),
        Ok(_) => fs::remove_file(path).during("remove", path),
    }
}

/// Returns once everything on the file system of `path` is on its disk.
pub fn sync_file_system(path: &Path) -> Result<(), At> {
    let file = File::open(path).during("open", path)?;
    rustix::fs::syncfs(file).during("sync", path)
}
