//! The real `ldconfig -r` judges cache and links.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::tree::testing::materialise;
use crate::tree::{Content, Inode, Metadata};

fn put(tree: &mut Tree, path: &str, file: &Path) {
    let size_bytes = fs::metadata(file).unwrap().len();
    let content = Content::Range { file: file.into(), offset_bytes: 0, size_bytes };
    let inode = Inode { node: Node::File(content), meta: Metadata::root(0o644, 1) };
    tree.insert(&TreePath::new(path).unwrap(), inode).unwrap();
}

/// Some of this machine's own libraries, in awkward places.
fn libraries() -> Option<Tree> {
    let here = Path::new("/usr/lib/x86_64-linux-gnu");
    let mut files: Vec<PathBuf> = fs::read_dir(here).ok()?.map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.is_file() && file.to_str().is_some_and(|name| name.contains(".so")));
    // Small ones will do, and are copied quickly.
    files.retain(|file| fs::metadata(file).unwrap().len() < 100_000);
    files.sort();
    let mut tree = Tree::new(1_600_000_000);
    tree.symlink(&TreePath::new("/lib").unwrap(), "usr/lib").unwrap();
    tree.symlink(&TreePath::new("/lib64").unwrap(), "usr/lib64").unwrap();
    for (at, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let real = fs::canonicalize(file).unwrap();
        let target = real.file_name().unwrap().to_str().unwrap();
        let path = format!("/usr/lib/x86_64-linux-gnu/{name}");
        if target == name {
            put(&mut tree, &path, file);
            match at % 9 {
                0 => put(&mut tree, &format!("/usr/local/lib/{name}"), file),
                1 => put(&mut tree, &format!("{}.1", path), file),
                2 => put(&mut tree, &format!("/usr/lib/glibc-hwcaps/x86-64-v3/{name}"), file),
                3 => put(&mut tree, &format!("/usr/lib/glibc-hwcaps/x86-64-v2/{name}"), file),
                _ => {}
            }
        } else if at % 5 > 0 {
            tree.symlink(&TreePath::new(&path).unwrap(), target).unwrap();
        }
    }
    let write = |tree: &mut Tree, path: &str, text: &str| {
        tree.write(&TreePath::new(path).unwrap(), 0o644, text.as_bytes().to_vec()).unwrap();
    };
    write(&mut tree, "/etc/ld.so.conf", "# all\ninclude /etc/ld.so.conf.d/*.conf\n/opt/none\n");
    write(&mut tree, "/etc/ld.so.conf.d/b.conf", "/usr/lib/x86_64-linux-gnu/  \n");
    write(&mut tree, "/etc/ld.so.conf.d/a.conf", "/usr/local/lib # first\nhwcap 1 x\n");
    write(&mut tree, "/usr/lib/libscript.so", "GROUP ( libc.so.6 )\n");
    write(&mut tree, "/usr/lib/libcut.so.1", "\x7fELF\u{2}\u{1}");
    let stale = TreePath::new("/usr/lib/libgone.so.7").unwrap();
    tree.symlink(&stale, "libgone.so.7.1").unwrap();
    Some(tree)
}

fn listing(root: &Path, below: &str, all: &mut Vec<String>) {
    let mut names: Vec<_> = fs::read_dir(root.join(below)).unwrap().map(|e| e.unwrap()).collect();
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let path = format!("{below}/{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            all.push(format!("{path} -> {}", fs::read_link(entry.path()).unwrap().display()));
        } else {
            all.push(path.clone());
        }
        if kind.is_dir() {
            listing(root, &path, all);
        }
    }
}

/// The tool's name as a cache keeps it, which is at the end.
fn generator(cache: &[u8]) -> String {
    let at = cache.windows(9).rposition(|window| window == b"ldconfig ").unwrap();
    String::from_utf8(cache[at..].to_vec()).unwrap()
}

#[test]
fn the_cache_is_ldconfigs_byte_for_byte() {
    let Some(mut tree) = libraries() else {
        skip::because("no libraries in Debian's place");
        return;
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    materialise(&tree, folders[0].path());
    let tool = Command::new("/sbin/ldconfig").arg("-r").arg(folders[0].path()).output();
    if !tool.is_ok_and(|out| out.status.success()) {
        skip::because("ldconfig cannot be run");
        return;
    }
    let theirs = fs::read(folders[0].path().join("etc/ld.so.cache")).unwrap();
    put(&mut tree, PROGRAM, Path::new(PROGRAM));
    let options = Options { generator: generator(&theirs), ..Options::of(&tree) };
    tree.remove(&TreePath::new(PROGRAM).unwrap());
    run(&mut tree, &options).unwrap();
    let ours = tree.read(CACHE, 1 << 24).unwrap();
    materialise(&tree, folders[1].path());
    let lists = folders.each_ref().map(|folder| {
        let mut all = Vec::new();
        listing(folder.path(), "usr", &mut all);
        all
    });
    assert_eq!(lists[1], lists[0]);
    if ours != theirs {
        let show = |folder: &Path| {
            let cache = folder.join("etc/ld.so.cache");
            let out = Command::new("/sbin/ldconfig").arg("-p").arg("-C").arg(cache).output();
            String::from_utf8(out.unwrap().stdout).unwrap()
        };
        let shown = folders.each_ref().map(|folder| show(folder.path()));
        let mut pairs = shown[1].lines().skip(1).zip(shown[0].lines().skip(1));
        let differ = pairs.find(|(ours, theirs)| ours != theirs);
        panic!("{} and {} bytes; first difference: {differ:#?}", ours.len(), theirs.len());
    }
}

#[test]
fn versions_compare_as_numbers() {
    let sorted = ["liba.so", "liba.so.1", "liba.so.2", "liba.so.10", "liba1.so", "libb.so"];
    for (at, a) in sorted.iter().enumerate() {
        for (other, b) in sorted.iter().enumerate() {
            assert_eq!(cache::compare_versions(a, b), at.cmp(&other), "{a} {b}");
        }
    }
}
