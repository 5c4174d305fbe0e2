//! What a script sees: the mirror as `/`, a `/proc` of its own processes, a
//! `/dev` of six devices, and nothing of the host. Runs in the mount namespace
//! of one script, in which all of it ends.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::message::Failure;

/// Those whose content is the same on every machine, and the script's terminal
/// (it has none, so opening it fails as it would without a terminal).
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of `/proc` through which root changes the machine rather than its own
/// processes. Where root is mapped to root, only these mounts protect them.
const KERNEL_SETTINGS: [&str; 7] =
    ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs", "proc/acpi", "proc/scsi"];

/// Directories that are not the tree's: below them a script sees ours.
pub const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

/// Makes `mirror`, a folder in the current one, the root. Nothing of the old
/// root stays mounted.
pub fn enter(mirror: &str) -> Result<(), Failure> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| Failure::new("make mounts private", e))?;
    mount_bind(mirror, mirror).map_err(|e| Failure::new("mount the root", e))?;
    chdir(mirror).map_err(|e| Failure::new("enter the root", e))?;
    proc()?;
    devices()?;
    // The old root comes to lie over the new one, and goes (pivot_root(2)).
    pivot_root(".", ".").map_err(|e| Failure::new("change the root", e))?;
    unmount(".", UnmountFlags::DETACH).map_err(|e| Failure::new("unmount the old root", e))?;
    chdir("/").map_err(|e| Failure::new("enter the new root", e))
}

fn proc() -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "proc", "proc", flags, None).map_err(|e| Failure::new("mount /proc", e))?;
    // In a further user namespace a script would have every capability again.
    // Not every kernel has the limit, and what matters holds without it.
    let _ = fs::write("proc/sys/user/max_user_namespaces", "0");
    for path in KERNEL_SETTINGS.iter().filter(|path| Path::new(path).exists()) {
        let failed = |e| Failure::new(format!("protect /{path}"), e);
        mount_bind(*path, *path).map_err(failed)?;
        read_only(path).map_err(failed)?;
    }
    Ok(())
}

fn devices() -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let failed = |e: rustix::io::Errno| Failure::new("mount /dev", e);
    mount("tmpfs", "dev", "tmpfs", flags, c"mode=755,size=64m").map_err(failed)?;
    for name in DEVICES {
        let (source, target) = (format!("/dev/{name}"), format!("dev/{name}"));
        if !Path::new(&source).exists() {
            continue;
        }
        let step = || format!("make /dev/{name}");
        File::create(&target).map_err(|e| Failure::new(step(), e))?;
        mount_bind(&source, &target).map_err(|e| Failure::new(step(), e))?;
        // The device can still be written to; its owner and mode are the host's.
        read_only(&target).map_err(|e| Failure::new(step(), e))?;
    }
    let links = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, descriptor) in links {
        symlink(format!("/proc/self/fd{descriptor}"), format!("dev/{name}"))
            .map_err(|e| Failure::new(format!("make /dev/{name}"), e))?;
    }
    fs::create_dir("dev/shm").map_err(|e| Failure::new("make /dev/shm", e))
}

/// Makes the mount at `path` read-only, and keeps its other flags: in a user
/// namespace they cannot be taken off.
fn read_only(path: &str) -> rustix::io::Result<()> {
    const KEPT: [(StatVfsMountFlags, MountFlags); 5] = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let has = statvfs(path)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (_, keep) in KEPT.iter().filter(|(flag, _)| has.contains(*flag)) {
        flags |= *keep;
    }
    mount_remount(path, flags, "")
}
