//! GNU tar, skopeo and umoci judge the archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::tree::judging::{TIME, compare, hard_tree, have};

const NAMED: Named<'_> = Named { name: "demo", version: "1.0.0", arch: "x86_64", time: TIME };

fn write(archive: Archive, folder: &Path, tree: &Tree) -> PathBuf {
    let path = folder.join(archive.file_name());
    archive.write(tree, &NAMED, folder, &path).unwrap();
    path
}

/// Runs it; its output.
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip::because("only root can make owners and devices");
    }
    root
}

/// GNU tar's extraction with all that it can restore.
fn extract(tar: &Path, target: &Path) {
    fs::create_dir(target).unwrap();
    let options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-x", "-C"];
    run(Command::new("tar").args(options).arg(target).arg("-f").arg(tar));
}

#[test]
fn gnu_tar_restores_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let tar = write(Archive::Tar, folder.path(), &tree);
    let listed = run(Command::new("tar").arg("-tf").arg(&tar));
    assert_eq!(listed.lines().count(), tree.entries().len());
    if root() {
        let target = folder.path().join("out");
        extract(&tar, &target);
        compare(&tree, &target, true);
    }
}

#[test]
fn the_same_tree_gives_the_same_archives() {
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    for archive in Archive::ALL {
        let [one, two] = [0, 1].map(|number| {
            let folder = folder.path().join(format!("{archive}-{number}"));
            fs::create_dir(&folder).unwrap();
            fs::read(write(archive, &folder, &tree)).unwrap()
        });
        assert!(one == two, "{archive}");
    }
}

#[test]
fn skopeo_copies_the_image_and_its_layer_is_the_tar() {
    if !have("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let tar = write(Archive::Tar, folder.path(), &tree);
    let oci = write(Archive::Oci, folder.path(), &tree);
    let source = format!("oci-archive:{}", oci.display());
    let inspected: serde_json::Value =
        serde_json::from_str(&run(Command::new("skopeo").arg("inspect").arg(&source))).unwrap();
    assert_eq!(inspected["Architecture"], "amd64");
    assert_eq!(inspected["Created"], "2023-11-14T22:13:20Z");
    assert_eq!(inspected["Labels"]["org.opencontainers.image.version"], "1.0.0");
    let copy = folder.path().join("copy");
    // it checks every digest on the way
    let insecure = ["--insecure-policy", "copy", "-q", &source];
    run(Command::new("skopeo").args(insecure).arg(format!("dir:{}", copy.display())));
    let layer = inspected["Layers"][0].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    // gzip wants its suffix, unless it reads from standard input
    let layer = fs::File::open(copy.join(layer)).unwrap();
    let done = Command::new("gzip").arg("-dc").stdin(layer).output().unwrap();
    assert!(done.status.success() && done.stdout == fs::read(tar).unwrap());
}

#[test]
fn umoci_unpacks_the_image() {
    if !have("umoci") || !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let oci = write(Archive::Oci, folder.path(), &tree);
    let layout = folder.path().join("layout");
    extract(&oci, &layout);
    let bundle = folder.path().join("bundle");
    let image = format!("{}:1.0.0", layout.display());
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    compare(&tree, &bundle.join("rootfs"), true);
}
