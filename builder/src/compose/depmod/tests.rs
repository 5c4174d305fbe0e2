//! The real `depmod` judges, where a kernel with modules is at hand.

use std::fs;
use std::process::Command;

use super::*;
use crate::tree::testing::tree;
use crate::tree::{Content, Inode, Metadata};

/// `SLIPWAY_DEMO_MODULES` names a kernel's folder below `lib/modules`, else one
/// of this machine's is taken.
fn kernel() -> Option<std::path::PathBuf> {
    if let Some(path) = std::env::var_os("SLIPWAY_DEMO_MODULES") {
        return Some(path.into());
    }
    let mut all = fs::read_dir("/usr/lib/modules").ok()?;
    all.find_map(|entry| Some(entry.ok()?.path()).filter(|path| path.join("kernel").is_dir()))
}

fn add(tree: &mut Tree, disk: &std::path::Path, at: &TreePath) {
    for entry in fs::read_dir(disk).unwrap() {
        let entry = entry.unwrap();
        let path = at.join(entry.file_name().to_str().unwrap()).unwrap();
        let stat = entry.metadata().unwrap();
        if stat.is_dir() {
            add(tree, &entry.path(), &path);
        } else if stat.is_file() {
            let content = Content::Range {
                file: entry.path().into(),
                offset_bytes: 0,
                size_bytes: stat.len(),
            };
            let inode = Inode { node: Node::File(content), meta: Metadata::root(0o644, 1) };
            tree.insert(&path, inode).unwrap();
        }
    }
}

#[test]
fn indexes_are_depmods_byte_for_byte() {
    let Some(kernel) = kernel() else {
        skip::because("no kernel modules on this machine");
        return;
    };
    let base = tempfile::tempdir().unwrap();
    let copy = base.path().join("lib/modules/1.2.3");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-r").arg(&kernel).arg(&copy).status().unwrap();
    assert!(copied.success());
    let tool = Command::new("depmod").arg("-b").arg(base.path()).args(["-a", "1.2.3"]).output();
    // Without the tool, what it left where the kernel was installed will do.
    if !tool.is_ok_and(|out| out.status.success()) && !copy.join("modules.dep.bin").exists() {
        skip::because("depmod is not installed");
        return;
    }
    let mut tree = tree(&[("/lib", "-> usr/lib")]);
    let folder = TreePath::new("/usr/lib/modules/1.2.3").unwrap();
    add(&mut tree, &kernel, &folder);
    run(&mut tree, "1.2.3").unwrap();
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
