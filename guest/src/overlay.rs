//! Writable /etc, /home and /root: overlays over the read-only root with their
//! upper folders on data.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::copy;
use crate::error::{At, During};

/// Uppers must stay readable when the image below them changes with the next
/// release: nothing in them may refer to inodes of the lower folder.
const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=off";

/// Mounts over `folder` of the root: below it what the image has there, above
/// it `store/upper`, with `store/work` beside.
pub fn mount_over(folder: &Path, store: &Path) -> Result<(), At> {
    let show = Path::display;
    let options = format!(
        "lowerdir={},upperdir={}/upper,workdir={}/work,{OPTIONS}",
        show(folder),
        show(store),
        show(store)
    );
    let options = CString::new(options)
        .map_err(std::io::Error::other)
        .during("mount an overlay on", folder)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mount("overlay", folder, "overlay", flags, options.as_c_str())
        .during("mount an overlay on", folder)
}

/// The same for a folder that every release shares: makes `store` first, with
/// an upper that has the image's owner and mode. An image without the folder
/// gets no overlay.
pub fn mount_shared(folder: &Path, store: &Path) -> Result<(), At> {
    let Ok(like) = fs::symlink_metadata(folder) else {
        return Ok(());
    };
    if !like.is_dir() {
        return Ok(());
    }
    for part in [store.to_path_buf(), store.join("work")] {
        fs::create_dir_all(&part).during("make", &part)?;
    }
    let upper = store.join("upper");
    if !upper.is_dir() {
        let unfinished = store.join(".upper");
        copy::remove_all(&unfinished)?;
        copy::folder(&unfinished, &like)?;
        fs::rename(&unfinished, &upper).during("make", &upper)?;
    }
    mount_over(folder, store)
}
