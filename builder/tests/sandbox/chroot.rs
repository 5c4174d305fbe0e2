//! The same script, by `chroot` as root on a real copy of the tree: the
//! judge of what it should have done.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use slipway::sandbox::Status;
use slipway::tree::{Node, Tree};

use crate::fixture::{Place, is_root, listing, tree};

const SCRIPTS: [&str; 7] = [
    "mkdir -p /a/b/c; chmod 2775 /a/b; chown 0:43 /a/b; echo x > /a/b/file; mkdir /a/b/d",
    "mv /srv/a/deep /srv/moved; ln /srv/moved/two /srv/link; chmod 0600 /srv/link; rmdir /srv/private",
    "rm -r /srv; ln -s /etc /srv; echo x > /srv/here; cp -a /etc/passwd /srv/copy",
    "cp -al /srv/a /srv/b; echo y >> /srv/b/one; rm /srv/a/deep/two; chown -h 42 /bin",
    "setcap cap_chown,cap_kill=ep /srv/suid; cp -p /srv/suid /srv/s2; mv /srv/suid /srv/s3; mkfifo /p; chmod 600 /p",
    "echo half > /srv/half; rm /srv/suid; false; exit 3",
    "truncate -s 100000 /srv/sparse; echo 'rename q(/srv), q(/opt) or die; chmod 0, q(/opt)' > /x; perl /x",
];

#[test]
fn as_chroot_does() {
    if !is_root() {
        return skip::because("chroot is root's");
    }
    for script in SCRIPTS {
        let mut tree = tree();
        let copy = tempfile::tempdir().unwrap();
        materialise(&tree, copy.path());
        let said = Command::new("/usr/sbin/chroot")
            .arg(copy.path())
            .env_clear()
            .env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin")
            .args(["/bin/sh", "-c", &format!("umask 022\n{script}")])
            .output()
            .unwrap();
        let mut place = Place::new();
        let ran = place.shell(&mut tree, script);
        let code = said.status.code().unwrap();
        let theirs = String::from_utf8_lossy(&said.stderr);
        assert_eq!(ran.status, Status::Exit(code), "{script}: {} {theirs}", ran.last_lines);
        let (ours, theirs) = (listing(&tree), read(copy.path()));
        assert_eq!(ours, theirs, "{script}");
    }
}

fn materialise(tree: &Tree, root: &Path) {
    let mut first = BTreeMap::new();
    for (path, id) in tree.entries() {
        let disk = root.join(path.as_str().trim_start_matches('/'));
        let inode = tree.inode(id);
        if let Some(other) = first.insert(id, disk.clone()) {
            fs::hard_link(other, &disk).unwrap();
            continue;
        }
        match &inode.node {
            Node::Directory(_) => fs::create_dir_all(&disk).unwrap(),
            Node::File(content) => fs::write(&disk, content.read(1 << 30).unwrap()).unwrap(),
            Node::Symlink(target) => symlink(target, &disk).unwrap(),
            _ => panic!("{path} is none of the test's kinds"),
        }
        lchown(&disk, Some(inode.meta.uid), Some(inode.meta.gid)).unwrap();
        if !matches!(inode.node, Node::Symlink(_)) {
            let mode = fs::Permissions::from_mode(inode.meta.mode.into());
            fs::set_permissions(&disk, mode).unwrap();
        }
    }
}

/// A folder as [`listing`] shows a tree.
fn read(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    level(root, "", &mut BTreeMap::new(), &mut lines);
    lines
}

fn level(at: &Path, path: &str, first: &mut BTreeMap<u64, String>, lines: &mut Vec<String>) {
    let found = fs::symlink_metadata(at).unwrap();
    let kind = found.file_type();
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        format!("link {}", fs::read_link(at).unwrap().display())
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        format!("file {:?}", String::from_utf8_lossy(&fs::read(at).unwrap()))
    };
    let name = if path.is_empty() { "/" } else { path };
    let same = first.entry(found.ino()).or_insert_with(|| name.to_owned()).clone();
    let mut value = [0; 64];
    let capability = rustix::fs::lgetxattr(at, "security.capability", &mut value);
    let xattrs = capability.map(|len| format!(" security.capability={:02x?}", &value[..len]));
    let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
    let xattrs = xattrs.unwrap_or_default();
    if !path.starts_with("/usr/") {
        lines.push(format!("{name} {mode:04o} {uid}:{gid} {what}{xattrs} as {same}"));
    }
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            level(&at.join(&name), &format!("{path}/{}", name.display()), first, lines);
        }
    }
}
