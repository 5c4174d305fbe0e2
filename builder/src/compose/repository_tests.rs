//! A whole repository of real packages: composed, written as an image, and
//! held against what `dnf --installroot` made of the same packages.
//!
//! `SLIPWAY_DEMO_REPOSITORY` names the repository; without it nothing is tested.
//! Only root can let dnf install.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::tree::{Inode, Node};

const TIME: u64 = 1_704_067_200;

fn packages_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            packages_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rpm") {
            found.push(path);
        }
    }
}

fn composed(repository: &Path, scratch: &Path) -> Composed {
    let mut rpms = Vec::new();
    packages_below(repository, &mut rpms);
    let started = Instant::now();
    let open = |rpm: &PathBuf| {
        let archive = scratch.join(rpm.file_name().unwrap()).with_extension("cpio");
        Package::open(rpm, &archive).unwrap()
    };
    rpms.iter().for_each(|rpm| drop(open(rpm)));
    println!("{} packages unpacked in {:?}", rpms.len(), started.elapsed());
    let started = Instant::now();
    let packages: Vec<Package> = rpms.iter().map(open).collect();
    println!("indexed again in {:?}", started.elapsed());
    let started = Instant::now();
    let composed = compose(&packages, &Options::new(TIME), Runners::default()).unwrap();
    println!("composed in {:?}", started.elapsed());
    composed
}

#[test]
#[ignore = "needs a repository, named by SLIPWAY_DEMO_REPOSITORY"]
fn a_real_repository_makes_the_tree_dnf_makes() {
    let Some(repository) = std::env::var_os("SLIPWAY_DEMO_REPOSITORY") else {
        println!("skipped: SLIPWAY_DEMO_REPOSITORY is not set");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let composed = composed(Path::new(&repository), scratch.path());
    let report = &composed.report;
    println!("{} scripts handled, failed: {:#?}", report.handled.len(), report.failed);
    println!("native scripts {:?}, sandboxed {:?}", report.native, report.sandboxed);
    println!("accounts: {:?} {:?}", report.accounts, report.skipped_accounts);
    println!("unknown owners: {:?}", report.unknown_owners);
    println!("presets: {:#?}", report.presets);
    check_image(&composed.tree, scratch.path());
    if !install(Path::new(&repository), scratch.path()) {
        println!("skipped: dnf cannot install here");
        return;
    }
    let differences = compare(&composed.tree, &scratch.path().join("root"));
    let strange: Vec<&String> = differences.iter().filter(|line| !expected(line)).collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

/// Lets dnf install every package of the repository into `scratch/root`.
fn install(repository: &Path, scratch: &Path) -> bool {
    let text = format!("[demo]\nname=demo\nbaseurl=file://{}\n", repository.display());
    fs::create_dir(scratch.join("repos")).unwrap();
    fs::write(scratch.join("repos/demo.repo"), text).unwrap();
    let option = |name: &str, value: &Path| format!("--setopt={name}={}", value.display());
    let out = Command::new("dnf")
        .arg("-y")
        .arg(format!("--installroot={}", scratch.join("root").display()))
        .args(["--releasever=3.0", "--setopt=install_weak_deps=0", "--setopt=gpgcheck=0"])
        .arg(option("reposdir", &scratch.join("repos")))
        .arg(option("cachedir", Path::new("/cache")))
        .args(["install", "*"])
        .env("SOURCE_DATE_EPOCH", TIME.to_string())
        .output();
    let log = out.as_ref().map(|out| String::from_utf8_lossy(&out.stderr).into_owned());
    println!("dnf: {log:?}");
    out.is_ok_and(|out| out.status.success())
}

/// What dnf leaves behind that no image wants, and what is another text for the
/// same thing.
fn expected(difference: &str) -> bool {
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

fn check_image(tree: &Tree, scratch: &Path) {
    let path = scratch.join("root.erofs");
    let started = Instant::now();
    let mut file = fs::File::create(&path).unwrap();
    let image = crate::erofs::write(tree, [1; 16], TIME, &mut file).unwrap();
    println!("{} bytes written in {:?}", image.size_bytes, started.elapsed());
    let fsck = Command::new("fsck.erofs").arg("--extract").arg(&path).output();
    match fsck {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => println!("skipped: fsck.erofs is not installed"),
    }
}

fn describe(inode: &Inode) -> String {
    let meta = &inode.meta;
    let owner = format!("{:04o} {}:{}", meta.mode, meta.uid, meta.gid);
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

fn compare(tree: &Tree, root: &Path) -> Vec<String> {
    let mut theirs = BTreeMap::new();
    disk_names(root, "/", &mut theirs);
    let mut differences = Vec::new();
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
