//! A tree with everything that file systems and archives get wrong, and the
//! comparison of a tree with what somebody else made of its image.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use super::{Content, Inode, Metadata, Node, Tree, TreePath};

/// Seconds since 1970 of most files.
pub const TIME: u64 = 1_700_000_000;
/// `cap_net_raw=ep` as `setcap` writes it; the kernel refuses a malformed one.
const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `text` as a path of a tree.
pub fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

/// Bytes that repeat late, others for each seed.
pub fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251 + seed).to_le_bytes()[0]).collect()
}

/// Puts a node at `name`.
pub fn put(tree: &mut Tree, name: &str, node: Node, meta: Metadata) {
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

/// A tree of everything; its sparse file is in `folder`.
pub fn hard_tree(folder: &Path) -> Tree {
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

/// Whether a tool is there; says so if not.
pub fn have(tool: &str) -> bool {
    let there = Command::new(tool).arg("--help").output().is_ok();
    if !there {
        skip::because(format_args!("{tool} is not installed"));
    }
    there
}

/// Compares every name below `root` with the tree; with `all`, also what an
/// extraction does not restore.
pub fn compare(tree: &Tree, root: &Path, all: bool) {
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
