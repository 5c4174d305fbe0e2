//! `fsck.erofs` and the kernel judge what is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::tree::{Content, Inode, Metadata, Node};

const TIME: u64 = 1_700_000_000;
/// `cap_net_raw=ep` as `setcap` writes it; the kernel refuses a malformed one.
const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251 + seed).to_le_bytes()[0]).collect()
}

fn put(tree: &mut Tree, name: &str, node: Node, meta: Metadata) {
    tree.insert(&path(name), Inode { node, meta }).unwrap();
}

/// Sizes around everything that decides where data goes.
fn edge_sizes() -> Vec<usize> {
    let around = |middle: usize| (middle - 3)..=(middle + 3);
    let inline = [4096 - 32, 4096 - 64, 4096 - 1152 - 32];
    let mut sizes: Vec<usize> = inline.into_iter().flat_map(around).collect();
    sizes.extend([0, 1, 31, 32, 33, 4095, 4096, 4097, 8191, 8192, 8193, 3 << 20, (1 << 20) + 5]);
    sizes
}

fn hard_tree(folder: &Path) -> Tree {
    let mut tree = Tree::new(TIME);
    for (seed, size) in edge_sizes().into_iter().enumerate() {
        for (kind, mtime) in [("compact", TIME), ("extended", TIME - 5)] {
            let node = Node::File(Content::bytes(pattern(size, seed)));
            put(&mut tree, &format!("/sizes/{kind}-{size}"), node, Metadata::root(0o640, mtime));
        }
    }
    for number in 0..5000 {
        let node = Node::File(Content::bytes(Vec::new()));
        let name = format!("/many/entry-{number}-{}", "x".repeat(number % 40));
        put(&mut tree, &name, node, Metadata::root(0o600, TIME));
    }
    for first in ['!', '-', '.', '/', 'a', '~', 'é'].into_iter().filter(|c| *c != '/') {
        let name = format!("/names/{first}{}", "n".repeat(255 - first.len_utf8()));
        put(&mut tree, &name, Node::directory(), Metadata::root(0o755, TIME));
    }
    let deep = (0..200).map(|level| format!("/d{level}")).collect::<String>();
    put(&mut tree, &format!("{deep}/end"), Node::Fifo, Metadata::root(0o622, TIME));
    put(&mut tree, "/dev/null", Node::CharDevice(1, 3), Metadata::root(0o666, TIME));
    put(&mut tree, "/dev/far", Node::BlockDevice(4095, 0xf_fff1), Metadata::root(0o660, TIME));
    for len in [1, 64, 4000, 4031, 4032, 4033, 4064, 4065, 4095] {
        tree.symlink(&path(&format!("/links/{len}")), &"t".repeat(len)).unwrap();
    }
    let mut owned = Metadata { mode: 0o4755, uid: 70_000, gid: 12, ..Metadata::root(0, 17) };
    owned.xattrs.insert("security.capability".into(), CAP_NET_RAW.to_vec());
    owned.xattrs.insert("user.note".into(), b"hello".to_vec());
    put(&mut tree, "/a/setuid", Node::File(Content::bytes(pattern(5000, 1))), owned.clone());
    put(&mut tree, "/a/small", Node::File(Content::bytes(pattern(50, 1))), owned.clone());
    put(&mut tree, "/a/folder", Node::directory(), owned);
    let id = tree.locate("/a/setuid").unwrap();
    tree.hard_link(&path("/z/other"), id).unwrap();
    sparse_file(&mut tree, folder);
    tree
}

/// 9 MiB in the middle of a sparse file of a TiB, with one byte set.
fn sparse_file(tree: &mut Tree, folder: &Path) {
    let source = folder.join("sparse");
    let mut file = fs::File::create(&source).unwrap();
    file.set_len(1 << 40).unwrap();
    let offset_bytes = (1 << 39) + 7;
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", offset_bytes + (8 << 20)).unwrap();
    file.flush().unwrap();
    let content = Content::Range { file: source.into(), offset_bytes, size_bytes: (9 << 20) + 1 };
    put(tree, "/sparse", Node::File(content), Metadata::root(0o644, TIME));
}

fn image(tree: &Tree) -> (tempfile::NamedTempFile, ErofsImage) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let image = write(tree, [7; 16], TIME, &mut file).unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), image.size_bytes);
    (file, image)
}

/// Whether a tool is there; says so if not.
fn have(tool: &str) -> bool {
    let there = Command::new(tool).arg("--help").output().is_ok();
    if !there {
        println!("skipped: {tool} is not installed");
    }
    there
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_extents_cover_them() {
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let (first, image_one) = image(&tree);
    let (second, image_two) = image(&tree.clone());
    assert_eq!(fs::read(first.path()).unwrap(), fs::read(second.path()).unwrap());
    assert_eq!(image_one, image_two);
    let end = image_one.layout.iter().fold(0, |at, extent| {
        assert_eq!(extent.offset_bytes, at);
        assert!(extent.len_bytes > 0 && extent.len_bytes % BLOCK_BYTES == 0);
        at + extent.len_bytes
    });
    assert_eq!(end, image_one.size_bytes);
}

#[test]
fn fsck_and_extraction_agree() {
    if !have("fsck.erofs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let (file, _) = image(&tree);
    let target = folder.path().join("out");
    let extract = format!("--extract={}", target.display());
    let out = Command::new("fsck.erofs").arg(extract).arg(file.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = [out.stdout, out.stderr].concat();
    assert!(!String::from_utf8_lossy(&text).contains("<E>"), "{}", String::from_utf8_lossy(&text));
    compare(&tree, &target, false);
}

#[test]
fn the_kernel_mounts_it() {
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let (file, _) = image(&tree);
    let target = folder.path().join("mnt");
    fs::create_dir(&target).unwrap();
    let options = ["-t", "erofs", "-o", "loop,ro"];
    let mount = Command::new("mount").args(options).arg(file.path()).arg(&target).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        println!("skipped: no right or no loop device to mount with");
        return;
    }
    let result = std::panic::catch_unwind(|| compare(&tree, &target, true));
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    result.unwrap();
}

/// Compares every name below `root` with the tree; with `all`, also what an
/// extraction does not restore.
fn compare(tree: &Tree, root: &Path, all: bool) {
    let mut seen = BTreeMap::new();
    let entries = tree.entries();
    for (path, id) in &entries {
        let inode = tree.inode(*id);
        let disk = root.join(path.as_str().trim_start_matches('/'));
        let stat = fs::symlink_metadata(&disk).unwrap_or_else(|error| panic!("{path}: {error}"));
        compare_node(inode, &disk, &stat);
        let mask = if all { 0o7777 } else { 0o777 };
        if all || !stat.is_symlink() {
            assert_eq!(stat.mode() & mask, u32::from(inode.meta.mode) & mask, "{path}");
        }
        if !all {
            continue;
        }
        assert_eq!((stat.uid(), stat.gid()), (inode.meta.uid, inode.meta.gid), "{path}");
        assert_eq!(stat.mtime(), i64::try_from(inode.meta.mtime).unwrap(), "{path}");
        assert_eq!(*seen.entry(*id).or_insert(stat.ino()), stat.ino(), "{path}");
        let names = entries.iter().filter(|(_, other)| other == id).count() as u64;
        if !inode.node.is_directory() {
            assert_eq!(stat.nlink(), names, "{path}");
        }
        compare_xattrs(inode, &disk);
    }
    assert_eq!(entries.len(), count(root));
}

fn compare_node(inode: &Inode, disk: &Path, stat: &fs::Metadata) {
    let device = |major: u32, minor: u32| {
        (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev())) == (major, minor)
    };
    match &inode.node {
        Node::Directory(_) => assert!(stat.is_dir()),
        Node::File(content) => {
            let limit = content.size_bytes();
            assert!(fs::read(disk).unwrap() == content.read(limit).unwrap(), "{disk:?}");
        }
        Node::Symlink(target) => assert_eq!(fs::read_link(disk).unwrap(), Path::new(target)),
        Node::CharDevice(major, minor) => {
            assert!(stat.file_type().is_char_device() && device(*major, *minor));
        }
        Node::BlockDevice(major, minor) => {
            assert!(stat.file_type().is_block_device() && device(*major, *minor));
        }
        Node::Fifo => assert!(stat.file_type().is_fifo()),
    }
}

fn compare_xattrs(inode: &Inode, disk: &Path) {
    for (name, value) in &inode.meta.xattrs {
        let mut buffer = vec![0; 256];
        let len = rustix::fs::lgetxattr(disk, name.as_str(), &mut buffer).unwrap();
        assert_eq!(&buffer[..len], value, "{disk:?} {name}");
    }
}

fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    1 + entries
        .map(|entry| if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 1 })
        .sum::<usize>()
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let refused = |node: Node, meta: Metadata| {
        let mut tree = Tree::new(TIME);
        put(&mut tree, "/x", node, meta);
        write(&tree, [0; 16], TIME, &mut std::io::sink()).is_err()
    };
    let plain = Metadata::root(0o644, TIME);
    assert!(refused(Node::Symlink("t".repeat(4096)), plain.clone()));
    assert!(refused(Node::Symlink(String::new()), plain.clone()));
    assert!(refused(Node::CharDevice(4096, 0), plain.clone()));
    let missing = Path::new("/nonexistent/file").into();
    let content = Content::Range { file: missing, offset_bytes: 0, size_bytes: 1 };
    assert!(refused(Node::File(content), plain.clone()));
    let huge = Content::Range {
        file: Path::new("/dev/zero").into(),
        offset_bytes: 0,
        size_bytes: u64::MAX,
    };
    assert!(refused(Node::File(huge), plain.clone()));
    let mut attributes = plain;
    attributes.xattrs.insert("odd.name".into(), vec![]);
    assert!(refused(Node::Fifo, attributes));
}
