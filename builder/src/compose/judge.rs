//! Holding a composed tree against a root that rpm or dnf has made. For tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::acl;
use crate::tree::{Inode, Node};

/// Every package file below a folder.
pub fn packages_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            packages_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rpm") {
            found.push(path);
        }
    }
}

/// What dnf leaves behind that no image wants, and what is another text for the
/// same thing.
pub fn expected(difference: &str) -> bool {
    let left_behind = [
        "/cache",
        "/dev/null:",
        "/etc/.pwd.lock:",
        "/etc/dnf",
        "/etc/group-:",
        "/etc/gshadow-:",
        "/etc/passwd-:",
        "/etc/shadow-:",
        "/root/.rpmdb",
        "/tmp/",
        "/var/cache/ldconfig",
        // Scripts stay there if rpm is to say what it does.
        "/var/tmp/rpm-tmp.",
        "/var/lib/dnf",
        "/var/lib/rpm",
        "/var/log/dnf",
        "/var/log/hawkey",
        "/var/cache/dnf",
    ];
    if let Some(path) = difference.strip_prefix("only theirs ") {
        return left_behind.iter().any(|prefix| path.starts_with(prefix));
    }
    let path = difference.split_ascii_whitespace().nth(1).unwrap_or_default();
    // Debian's systemctl writes the old name of the folder of units.
    let unit = difference.replace("-> /usr/lib/", "-> /lib/");
    let same_unit = unit.split_once(" | ").is_some_and(|(ours, theirs)| ours.ends_with(theirs));
    // The tool's name in the one, the order of lines in the other.
    path == "/etc/ld.so.cache:" || path.ends_with("/modules.symbols") || same_unit
}

fn describe(inode: &Inode) -> String {
    let meta = &inode.meta;
    let owner = format!("{:04o} {}:{}", meta.mode, meta.uid, meta.gid);
    let xattrs = meta.xattrs.iter().map(|(name, value)| attribute(name, value));
    let owner = format!("{owner}{}", xattrs.collect::<String>());
    match &inode.node {
        Node::Directory(_) => format!("dir {owner}"),
        Node::File(content) => format!("file {owner} {} bytes", content.size_bytes()),
        Node::Symlink(target) => format!("link {}:{} -> {target}", meta.uid, meta.gid),
        Node::CharDevice(..) | Node::BlockDevice(..) => format!("device {owner}"),
        Node::Fifo => format!("fifo {owner}"),
    }
}

fn describe_disk(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap();
    let owner = format!("{:04o} {}:{}", stat.mode() & 0o7777, stat.uid(), stat.gid());
    if stat.is_symlink() {
        let target = fs::read_link(path).unwrap();
        return format!("link {}:{} -> {}", stat.uid(), stat.gid(), target.display());
    }
    let owner = format!("{owner}{}", attributes_of(path));
    match (stat.is_dir(), stat.is_file()) {
        (true, _) => format!("dir {owner}"),
        (_, true) => format!("file {owner} {} bytes", stat.len()),
        _ => format!("other {owner}"),
    }
}

fn disk_names(root: &Path, below: &str, names: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(below.trim_start_matches('/'))).unwrap() {
        let entry = entry.unwrap();
        let path =
            format!("{}/{}", below.trim_end_matches('/'), entry.file_name().to_str().unwrap());
        names.insert(path.clone(), describe_disk(&entry.path()));
        if entry.file_type().unwrap().is_dir() {
            disk_names(root, &path, names);
        }
    }
}

fn attribute(name: &str, value: &[u8]) -> String {
    let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(" {name}={value}")
}

fn attributes_of(path: &Path) -> String {
    let mut buffer = [0; 256];
    let mut shown = |name: &str| {
        let length = rustix::fs::lgetxattr(path, name, &mut buffer[..]);
        length.map_or(String::new(), |length| attribute(name, &buffer[..length]))
    };
    [capability::XATTR, acl::ACCESS, acl::DEFAULT].map(&mut shown).concat()
}

/// Names that are one file, by the first of them.
fn links<T: Ord>(names: impl Iterator<Item = (String, T)>) -> BTreeMap<String, String> {
    let (mut first, mut links) = (BTreeMap::new(), BTreeMap::new());
    for (path, id) in names {
        let first = first.entry(id).or_insert_with(|| path.clone());
        if *first != path {
            links.insert(path, first.clone());
        }
    }
    links
}

fn compare_links(tree: &Tree, root: &Path, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let files = tree.entries().into_iter().map(|(path, id)| (path.to_string(), id));
    let mut files: Vec<_> = files.filter(|(path, _)| theirs.contains_key(path)).collect();
    files.sort();
    let ours = links(files.into_iter());
    let inode = |path: &String| {
        let stat = fs::symlink_metadata(root.join(path.trim_start_matches('/'))).unwrap();
        (stat.is_file() && stat.nlink() > 1).then(|| (path.clone(), (stat.dev(), stat.ino())))
    };
    let there = theirs.keys().filter(|path| tree.get(path).is_some());
    let theirs = links(there.filter_map(inode));
    let all: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    all.into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path))
        .map(|path| format!("linked      {path}: {:?} | {:?}", ours.get(path), theirs.get(path)))
        .collect()
}

/// In what a tree and a root on disk differ, a line each.
pub fn compare(tree: &Tree, root: &Path) -> Vec<String> {
    let mut theirs = BTreeMap::new();
    disk_names(root, "/", &mut theirs);
    let mut differences = compare_links(tree, root, &theirs);
    for (path, id) in tree.entries().into_iter().skip(1) {
        let inode = tree.inode(id);
        let ours = describe(inode);
        let disk = root.join(path.as_str().trim_start_matches('/'));
        match theirs.remove(path.as_str()) {
            None => differences.push(format!("only ours   {path}: {ours}")),
            Some(other) if other != ours => {
                differences.push(format!("differs     {path}: {ours} | {other}"));
            }
            Some(_) => {
                if let Node::File(content) = &inode.node
                    && content.read(1 << 30).unwrap() != fs::read(&disk).unwrap()
                {
                    differences.push(format!("bytes       {path}"));
                }
            }
        }
    }
    differences.extend(theirs.iter().map(|(path, what)| format!("only theirs {path}: {what}")));
    differences
}

/// Runs something while `root`, which is made if need be, has a `/proc`, by which
/// systemd-tmpfiles reaches files. Needs root.
pub fn with_proc<T>(root: &Path, run: impl FnOnce() -> T) -> T {
    let proc = root.join("proc");
    fs::create_dir_all(&proc).unwrap();
    fs::set_permissions(&proc, fs::Permissions::from_mode(0o555)).unwrap();
    let mount = Command::new("mount").args(["-t", "proc", "proc"]).arg(&proc).status();
    assert!(mount.unwrap().success(), "cannot mount {}", proc.display());
    let done = run();
    assert!(Command::new("umount").arg(&proc).status().unwrap().success());
    done
}
