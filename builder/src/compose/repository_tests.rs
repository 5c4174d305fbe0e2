//! A whole repository of real packages: composed, written as an image, and
//! held against what `dnf --installroot` made of the same packages.
//!
//! `SLIPWAY_DEMO_REPOSITORY` names the repository; without it nothing is tested.
//! Only root can let dnf install.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::judge::{compare, packages_below, strange, with_proc};
use super::*;

const TIME: u64 = 1_704_067_200;

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
        skip::because("SLIPWAY_DEMO_REPOSITORY is not set");
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
    if !rustix::process::geteuid().is_root()
        || Command::new("dnf").arg("--version").output().is_err()
    {
        return skip::because("dnf --installroot is root's, and dnf has to be installed");
    }
    assert!(install(Path::new(&repository), scratch.path()), "dnf cannot install the set");
    let differences = compare(&composed.tree, &scratch.path().join("root"));
    let strange = strange(&differences);
    assert!(strange.is_empty(), "{strange:#?}");
}

/// Lets dnf install every package of the repository into `scratch/root`.
fn install(repository: &Path, scratch: &Path) -> bool {
    let text = format!("[demo]\nname=demo\nbaseurl=file://{}\n", repository.display());
    fs::create_dir(scratch.join("repos")).unwrap();
    fs::write(scratch.join("repos/demo.repo"), text).unwrap();
    let option = |name: &str, value: &Path| format!("--setopt={name}={}", value.display());
    let root = scratch.join("root");
    let mut dnf = Command::new("dnf");
    dnf.arg("-y")
        .arg(format!("--installroot={}", root.display()))
        .args(["--releasever=3.0", "--setopt=install_weak_deps=0", "--setopt=gpgcheck=0"])
        .arg(option("reposdir", &scratch.join("repos")))
        .arg(option("cachedir", Path::new("/cache")))
        .args(["install", "*"])
        .env("SOURCE_DATE_EPOCH", TIME.to_string());
    let out = with_proc(&root, || dnf.output());
    let log = out.as_ref().map(|out| String::from_utf8_lossy(&out.stderr).into_owned());
    println!("dnf: {log:?}");
    out.is_ok_and(|out| out.status.success())
}

fn check_image(tree: &Tree, scratch: &Path) {
    let path = scratch.join("root.erofs");
    let started = Instant::now();
    let mut file = fs::File::create(&path).unwrap();
    let mut out = crate::pieces::Buffered::new(&mut file);
    let image = crate::erofs::write(tree, [1; 16], TIME, &mut out).unwrap();
    out.flush().unwrap();
    println!("{} bytes written in {:?}", image.size_bytes, started.elapsed());
    let fsck = Command::new("fsck.erofs").arg("--extract").arg(&path).output();
    match fsck {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => skip::because("fsck.erofs is not installed"),
    }
}
