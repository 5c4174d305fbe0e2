//! Mounts: what PID 1 needs first, then the root and the data partition.

use std::ffi::CStr;
use std::fs::create_dir_all;
use std::path::Path;

use formats::{BlockDevice, field};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::device::FileDevice;
use crate::efi::EFIVARS;
use crate::error::{At, During};

/// proc, sys, devtmpfs and run. What the kernel has mounted already is fine.
pub fn mount_kernel_views() -> Result<(), At> {
    let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let private = MountFlags::NOSUID | MountFlags::NODEV;
    make("proc", "/proc", closed, None)?;
    make("sysfs", "/sys", closed, None)?;
    make("devtmpfs", "/dev", MountFlags::NOSUID, Some(c"mode=0755"))?;
    make("tmpfs", "/run", private, Some(c"mode=0755,size=20%"))
}

/// efivarfs, after modules are loaded; a machine without EFI has none.
pub fn mount_efivars() -> Result<(), At> {
    if !Path::new(EFIVARS).is_dir() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    make("efivarfs", EFIVARS, flags, None)
}

fn make(kind: &str, target: &str, flags: MountFlags, data: Option<&CStr>) -> Result<(), At> {
    if !Path::new(target).is_dir() {
        create_dir_all(target).during("make", target)?;
    }
    match mount(kind, target, kind, flags, data) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error).during("mount", target),
    }
}

/// A root that cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] At),
    /// Not one of the file systems a slot may hold.
    #[error("the root is neither erofs nor squashfs nor ext4")]
    Unknown,
}

/// Mounts the root read-only; its first bytes tell the file system.
pub fn mount_root(node: &Path, target: &Path) -> Result<&'static str, RootError> {
    let mut start = [0; 4096];
    let mut device = FileDevice::open(node)?;
    device.read_at(0, &mut start).during("read", node)?;
    let kind = file_system(&start).ok_or(RootError::Unknown)?;
    create_dir_all(target).during("make", target)?;
    mount(node, target, kind, MountFlags::RDONLY, None).during("mount", node)?;
    Ok(kind)
}

fn file_system(start: &[u8; 4096]) -> Option<&'static str> {
    if field::u32(start, 1024) == 0xe0f5_e1e2 {
        Some("erofs")
    } else if start[..4] == *b"hsqs" {
        Some("squashfs")
    } else if field::u16(start, 1024 + 56) == 0xef53 {
        Some("ext4")
    } else {
        None
    }
}

/// Mounts the data partition, which replays its journal.
pub fn mount_data(node: &Path, target: &Path) -> Result<(), At> {
    create_dir_all(target).during("make", target)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    mount(node, target, "ext4", flags, None).during("mount", node)
}

/// A tmpfs on the root's /tmp, if it has one: nothing else could write there.
pub fn mount_tmp(root: &Path) -> Result<(), At> {
    let target = root.join("tmp");
    if !target.is_dir() {
        return Ok(());
    }
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mount("tmpfs", &target, "tmpfs", flags, c"mode=1777").during("mount", target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_by_their_magic() {
        let with = |at: usize, magic: &[u8]| {
            let mut start = [0; 4096];
            field::put(&mut start, at, magic);
            file_system(&start)
        };
        assert_eq!(with(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), Some("erofs"));
        assert_eq!(with(0, b"hsqs"), Some("squashfs"));
        assert_eq!(with(1080, &[0x53, 0xef]), Some("ext4"));
        assert_eq!(with(0, b"XFSB"), None);
    }
}
