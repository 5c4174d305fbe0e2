//! Holding a composed tree against a root that rpm or dnf has made. For tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::acl;
use crate::package::Identity;
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

/// What rpm and dnf leave that no image wants, and why: paths of theirs that
/// begin so.
const LEFT_BEHIND: [(&str, &str); 16] = [
    ("/cache", "what dnf has downloaded"),
    ("/var/lib/dnf", "dnf's own notes"),
    ("/var/log/dnf", "dnf's own log"),
    ("/var/log/hawkey", "dnf's own log"),
    ("/etc/dnf", "dnf's own notes"),
    ("/var/lib/rpm", "the database is judged by itself"),
    ("/root/.rpmdb", "where Debian's rpm keeps its database"),
    ("/.rpmdb", "where the test has rpm keep its database"),
    // shadow keeps the file as it was before its last change
    ("/etc/group-:", "a back-up nobody restores"),
    ("/etc/gshadow-:", "a back-up nobody restores"),
    ("/etc/passwd-:", "a back-up nobody restores"),
    ("/etc/shadow-:", "a back-up nobody restores"),
    ("/etc/.pwd.lock:", "a lock nobody holds"),
    ("/var/cache/ldconfig", "ldconfig's aux-cache has inode numbers"),
    // if rpm is to say what it does, as here
    ("/var/tmp/rpm-tmp.", "scripts that rpm has kept"),
    ("/dev/null:", "output was thrown away where there is no device"),
];

/// The differences that nothing explains; says how often each reason was one.
pub fn strange(differences: &[String]) -> Vec<&String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut strange = Vec::new();
    for difference in differences {
        match reason(difference) {
            Some(why) => *counts.entry(why).or_default() += 1,
            None => strange.push(difference),
        }
    }
    counts.iter().for_each(|(why, count)| println!("{count:5}  {why}"));
    strange
}

fn reason(difference: &str) -> Option<&'static str> {
    if let Some(path) = difference.strip_prefix("only theirs ") {
        return LEFT_BEHIND
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix))
            .map(|(_, why)| *why);
    }
    let unit = difference.replace("-> /usr/lib/", "-> /lib/");
    let same_unit = unit.split_once(" | ").is_some_and(|(ours, theirs)| ours.ends_with(theirs));
    same_unit.then_some("Debian's systemctl writes the old name of the folder of units")
}

/// Whether two files that are not the same bytes say the same.
fn same_meaning(path: &str, ours: &[u8], theirs: &[u8]) -> bool {
    match path.rsplit('/').next() {
        // it names the tool that wrote it
        Some("ld.so.cache") => libraries(ours) == libraries(theirs),
        // depmod orders it by a hash table
        Some("modules.symbols") => lines(ours) == lines(theirs),
        _ => false,
    }
}

/// What the linker finds in a cache.
fn libraries(cache: &[u8]) -> Vec<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(cache).unwrap();
    let out = Command::new("/sbin/ldconfig").arg("-p").arg("-C").arg(file.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let said = text.lines().filter(|line| line.starts_with('\t')).map(str::to_owned);
    let found: Vec<String> = said.collect();
    assert!(!found.is_empty(), "ldconfig finds nothing in a cache: {text}");
    found
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

fn describe(inode: &Inode) -> String {
    let meta = &inode.meta;
    let owner = format!("{:04o} {}:{}", meta.mode, meta.uid, meta.gid);
    let xattrs = meta.xattrs.iter().map(|(name, value)| attribute(name, value));
    let owner = format!("{owner}{}", xattrs.collect::<String>());
    match &inode.node {
        Node::Directory(_) => format!("dir {owner}"),
        Node::File(_) => format!("file {owner}"),
        Node::Symlink(target) => format!("link {}:{} -> {target}", meta.uid, meta.gid),
        Node::CharDevice(major, minor) => format!("character device {major}:{minor} {owner}"),
        Node::BlockDevice(major, minor) => format!("block device {major}:{minor} {owner}"),
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
    let number = format!("{}:{}", rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
    let kind = stat.file_type();
    match () {
        () if kind.is_dir() => format!("dir {owner}"),
        () if kind.is_file() => format!("file {owner}"),
        () if kind.is_fifo() => format!("fifo {owner}"),
        () if kind.is_char_device() => format!("character device {number} {owner}"),
        () if kind.is_block_device() => format!("block device {number} {owner}"),
        () => format!("socket {owner}"),
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
                if let Node::File(content) = &inode.node {
                    let (ours, theirs) = (content.read(1 << 30).unwrap(), fs::read(&disk).unwrap());
                    if ours != theirs && !same_meaning(path.as_str(), &ours, &theirs) {
                        let sizes = format!("{} and {} bytes", ours.len(), theirs.len());
                        differences.push(format!("bytes       {path}: {sizes}"));
                    }
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

/// What our package database says of every file: package, path and state.
pub fn states(packages: &[Package], composed: &Composed) -> Vec<String> {
    let mut all = Vec::new();
    for one in &composed.installed {
        let package = &packages[one.package];
        for (file, state) in package.files.iter().zip(&one.states) {
            let Identity { name, version, .. } = &package.identity;
            all.push(format!("{name}-{version} {} {}", file.path, *state as u8));
        }
    }
    all.sort();
    all
}

/// What rpm's database below `root` says of the same, in that order.
pub fn states_by_rpm(root: &Path, database: &str) -> Vec<String> {
    let query = "[%{=NAME}-%{=VERSION} %{FILENAMES} %{FILESTATES}\\n]";
    let out = Command::new("rpm")
        .arg("--root")
        .arg(root)
        .args(["--define", &format!("_dbpath {database}"), "-qa", "--queryformat", query])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    all.sort();
    all
}
