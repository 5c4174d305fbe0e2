//! The kernel and each file system's checker judge what is made.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::pieces::Buffered;
use crate::tree::judging::{TIME, compare, hard_tree, have};

fn options(scratch: &Path) -> Options<'_> {
    Options { id: Guid::derived(&[b"root"]), time: TIME, scratch }
}

/// Whether the tools of `kind` are there.
fn can_make(kind: FileSystem) -> bool {
    match kind {
        FileSystem::Erofs | FileSystem::ErofsLz4 => true,
        FileSystem::Squashfs => have("sqfstar"),
        FileSystem::Ext4 => have("/usr/sbin/mke2fs"),
    }
}

fn check(kind: FileSystem, image: &Path) {
    let (tool, arguments): (&str, &[&str]) = match kind {
        FileSystem::Erofs | FileSystem::ErofsLz4 => ("fsck.erofs", &[]),
        FileSystem::Squashfs => ("unsquashfs", &["-s"]),
        FileSystem::Ext4 => ("/usr/sbin/e2fsck", &["-fn"]),
    };
    if have(tool) {
        let done = Command::new(tool).args(arguments).arg(image).output().unwrap();
        assert!(done.status.success(), "{kind}: {}", String::from_utf8_lossy(&done.stdout));
    }
}

/// Mounts `image` and compares all of it with `tree`.
fn mount_and_compare(kind: FileSystem, tree: &Tree, image: &Path, folder: &Path) {
    let target = folder.join("mnt");
    let _ = fs::create_dir(&target);
    let options = ["-t", kind.module(), "-o", "loop,ro"];
    let mount = Command::new("mount").args(options).arg(image).arg(&target).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        skip::because(format_args!("no right or no loop device to mount {kind} with"));
        return;
    }
    let result = std::panic::catch_unwind(|| compare(tree, &target, true));
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    result.unwrap();
}

#[test]
fn each_kind_holds_the_tree_and_is_the_same_each_time() {
    for kind in FileSystem::ALL.into_iter().filter(|kind| can_make(*kind)) {
        let folder = tempfile::tempdir().unwrap();
        let tree = hard_tree(folder.path());
        let image = |name: &str| {
            let path = folder.path().join(name);
            let mut out = Buffered::new(File::create(&path).unwrap());
            write(kind, &tree, &options(folder.path()), &mut out).unwrap();
            out.flush().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len() % erofs::BLOCK_BYTES, 0, "{kind}");
            path
        };
        let path = image("one");
        check(kind, &path);
        mount_and_compare(kind, &tree, &path, folder.path());
        let bytes = fs::read(path).unwrap();
        assert!(bytes == fs::read(image("two")).unwrap(), "{kind}");
        // the same as whoever runs it
        println!("{kind} {}", formats::Digest::of(&bytes));
    }
}

#[test]
fn a_missing_tool_is_named_with_its_package() {
    let error = RootError::NoTool {
        tool: "sqfstar",
        package: "squashfs-tools",
        source: io::ErrorKind::NotFound.into(),
    };
    assert_eq!(
        error.to_string(),
        "sqfstar cannot be run; it comes with the package squashfs-tools"
    );
}
