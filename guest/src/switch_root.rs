//! Leaving the initrd: its mounts move into the root, its files go, the root
//! becomes `/`, and the image's init becomes PID 1.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

use crate::error::{At, During};

/// What is mounted in the initrd and needed after it.
const MOVED: [&str; 4] = ["dev", "proc", "sys", "run"];

/// Moves the initrd's mounts to the folders of the same name in `root`.
pub fn move_mounts(root: &Path) -> Result<(), At> {
    for name in MOVED {
        let target = root.join(name);
        mount_move(Path::new("/").join(name), &target).during("move a mount to", target)?;
    }
    Ok(())
}

/// Makes `root` the root and runs `init` in this process.
pub fn become_init(root: &Path, init: &Path) -> Result<Infallible, At> {
    free_initrd();
    chdir(root).during("enter", root)?;
    mount_move(".", "/").during("switch to", root)?;
    chroot(".").during("switch to", root)?;
    chdir("/").during("enter", "/")?;
    Err(Command::new(init).exec()).during("run", init)
}

/// Frees the initrd's memory: removes every file on its own file system. The
/// mounts above it are other file systems and are not entered.
fn free_initrd() {
    let Ok(root) = fs::symlink_metadata("/") else {
        return;
    };
    // a left-over file costs memory and nothing else
    let _ = remove_below(Path::new("/"), root.dev());
}

fn remove_below(folder: &Path, device: u64) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let found = fs::symlink_metadata(&path)?;
        if found.dev() != device {
            continue;
        }
        if found.is_dir() {
            remove_below(&path, device)?;
            // fails on the folders that still hold a mount
            let _ = fs::remove_dir(&path);
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
