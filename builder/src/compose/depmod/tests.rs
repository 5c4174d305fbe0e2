//! The real `depmod` judges, with the modules of a real kernel.

use std::fs;
use std::process::Command;

use super::*;
use crate::compose::judge::packages_below;
use crate::package::{Package, PackageFile};
use crate::tree::testing::{materialise, tree};
use crate::tree::{Inode, Metadata};

/// The modules of the first kernel in a repository, and its version.
fn kernel(repository: &std::path::Path, scratch: &std::path::Path) -> (Tree, String) {
    let mut rpms = Vec::new();
    packages_below(repository, &mut rpms);
    let folder = "/usr/lib/modules/";
    let has_modules = |rpm: &&std::path::PathBuf| {
        let files = Package::open_header(rpm).unwrap().files;
        files.iter().any(|file| {
            file.path.as_str().starts_with(folder) && file.path.as_str().contains("/kernel/")
        })
    };
    let rpm = rpms.iter().find(has_modules).expect("a kernel in the repository");
    let package = Package::open(rpm, &scratch.join("kernel.cpio")).unwrap();
    let mut made = tree(&[("/lib", "-> usr/lib")]);
    let modules = |file: &&PackageFile| file.path.as_str().starts_with(folder);
    for PackageFile { path, content, .. } in package.files.iter().filter(modules) {
        if let Some(content) = content {
            let node = Node::File(content.clone());
            made.insert(path, Inode { node, meta: Metadata::root(0o644, 1) }).unwrap();
        }
    }
    let version = made.children(folder.trim_end_matches('/')).next().unwrap().0.to_owned();
    (made, version)
}

#[test]
#[ignore = "needs a repository with a kernel, named by SLIPWAY_DEMO_REPOSITORY"]
fn indexes_are_depmods_byte_for_byte() {
    let Some(repository) = std::env::var_os("SLIPWAY_DEMO_REPOSITORY") else {
        return skip::because("SLIPWAY_DEMO_REPOSITORY is not set");
    };
    let scratch = tempfile::tempdir().unwrap();
    let (mut tree, version) = kernel(repository.as_ref(), scratch.path());
    let base = scratch.path().join("root");
    materialise(&tree, &base);
    let tool = Command::new("/sbin/depmod").arg("-b").arg(&base).args(["-a", &version]).output();
    let Ok(said) = tool else {
        return skip::because("depmod is not installed");
    };
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    run(&mut tree, &version).unwrap();
    let folder = format!("/usr/lib/modules/{version}");
    let copy = base.join(&folder[1..]);
    let names = [
        "dep",
        "dep.bin",
        "alias",
        "alias.bin",
        "softdep",
        "symbols.bin",
        "builtin.bin",
        "builtin.alias.bin",
        "devname",
    ];
    for name in names {
        let ours = tree.read(&format!("{folder}/modules.{name}"), 1 << 24).unwrap();
        let theirs = fs::read(copy.join(format!("modules.{name}"))).unwrap();
        assert!(ours == theirs, "modules.{name}: {} and {} bytes", ours.len(), theirs.len());
    }
    let sorted = |bytes: Vec<u8>| {
        let mut lines: Vec<String> =
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let ours = tree.read(&format!("{folder}/modules.symbols"), 1 << 24).unwrap();
    assert!(sorted(ours) == sorted(fs::read(copy.join("modules.symbols")).unwrap()));
}

#[test]
fn a_kernel_without_modules_is_no_error_and_a_broken_module_is() {
    let mut empty = tree(&[("/usr/lib/x", "")]);
    run(&mut empty, "6.6").unwrap();
    let mut broken = tree(&[("/lib/modules/6.6/kernel/x.ko", "not an object")]);
    assert!(matches!(run(&mut broken, "6.6"), Err(DepmodError::NotAModule { .. })));
    let mut cut = tree(&[("/lib/modules/6.6/kernel/x.ko.xz", "not compressed")]);
    assert!(run(&mut cut, "6.6").is_err());
}
