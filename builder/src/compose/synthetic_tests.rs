//! Small packages made for the purpose, on top of real ones: composed, and held
//! against what `rpm -i` makes of the same packages, in which order too.
//!
//! `SLIPWAY_DEMO_REPOSITORY` and `SLIPWAY_SYNTHETIC_REPOSITORY` name the
//! repositories, and `SLIPWAY_PROGRAM` the slipway whose sandbox scripts run in;
//! without them nothing is tested. Only root can let rpm install.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::judge::{compare, packages_below, states, states_by_rpm, strange, with_proc};
use super::*;
use crate::engines::{LazySandbox, Lua};
use crate::sandbox::{Sandbox, Settings};

const TIME: u64 = 1_704_067_200;
/// What is too large to be of use here.
const UNUSED: [&str; 5] = ["linux-image", "containerd", "runc", "systemd-boot", "ca-certificates"];
/// What no set can hold: each has a file of another, or is replaced by it.
const APART: [&str; 2] = ["file-clash", "old-name"];

struct Judged {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    rpms: Vec<PathBuf>,
    packages: Vec<Package>,
}

/// The packages, in the order that rpm is given them in.
fn judged(synthetic_only: bool) -> Option<Judged> {
    let (Some(real), Some(synthetic)) = (
        std::env::var_os("SLIPWAY_DEMO_REPOSITORY"),
        std::env::var_os("SLIPWAY_SYNTHETIC_REPOSITORY"),
    ) else {
        skip::because("the repositories are not named");
        return None;
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut rpms = Vec::new();
    packages_below(&Path::new(&synthetic).join("Packages"), &mut rpms);
    if !synthetic_only {
        packages_below(Path::new(&real), &mut rpms);
    }
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    rpms.retain(|rpm| !UNUSED.iter().chain(&APART).any(|out| name(rpm).starts_with(out)));
    let open = |rpm: &PathBuf| {
        Package::open(rpm, &scratch.path().join(name(rpm)).with_extension("cpio")).unwrap()
    };
    let mut both: Vec<_> = rpms.iter().map(|rpm| (rpm.clone(), open(rpm))).collect();
    // Those that come first where rpm has the choice are given last.
    both.sort_by_key(|(_, package)| {
        let identity = package.identity.clone();
        (identity.name == "filesystem", identity.name == "setup", identity)
    });
    let (rpms, packages) = both.into_iter().unzip();
    Some(Judged { root: scratch.path().join("root"), _scratch: scratch, rpms, packages })
}

impl Judged {
    /// Lets rpm install; gives the order it took.
    fn install(&self, options: &[&str]) -> Option<Vec<String>> {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root")
            .arg(&self.root)
            .args(["--define", "_dbpath /var/lib/rpm", "-i", "-vv", "--nodeps", "--nosignature"])
            .args(options)
            .args(&self.rpms)
            .env("SOURCE_DATE_EPOCH", TIME.to_string());
        std::fs::create_dir(&self.root).unwrap();
        let runs_scripts = !options.contains(&"--noscripts");
        let out = if runs_scripts { with_proc(&self.root, || rpm.output()) } else { rpm.output() };
        let Ok(out) = out else {
            skip::because("rpm is not installed");
            return None;
        };
        let said = String::from_utf8_lossy(&out.stderr);
        let plain = |line: &&str| !line.starts_with("D: ") && !line.starts_with("Header ");
        said.lines().filter(plain).for_each(|line| println!("rpm: {line}"));
        assert!(out.status.success());
        let taken = said.lines().filter_map(|line| line.strip_prefix("D: ========== +++ "));
        Some(taken.map(|line| line.split(' ').next().unwrap().to_owned()).collect())
    }

    fn order(&self, composed: &Composed) -> Vec<String> {
        let name = |one: &InstalledPackage| {
            let identity = &self.packages[one.package].identity;
            let epoch = match identity.epoch {
                0 => String::new(),
                epoch => format!("{epoch}:"),
            };
            format!("{}-{epoch}{}-{}", identity.name, identity.version, identity.release)
        };
        composed.installed.iter().map(name).collect()
    }

    fn check(&self, composed: &Composed) {
        let differences = compare(&composed.tree, &self.root);
        let strange = strange(&differences);
        assert!(strange.is_empty(), "{strange:#?}");
    }
}

#[test]
#[ignore = "needs repositories, named by SLIPWAY_DEMO_REPOSITORY and SLIPWAY_SYNTHETIC_REPOSITORY"]
fn synthetic_packages_make_the_tree_rpm_makes() {
    let Some(judged) = judged(false) else { return };
    let Some(program) = std::env::var_os("SLIPWAY_PROGRAM") else {
        return skip::because("SLIPWAY_PROGRAM is not set");
    };
    let settings = Settings { program: program.into(), ..Settings::new(TIME).unwrap() };
    let scratch = tempfile::tempdir().unwrap();
    let mut sandbox = LazySandbox::of(Sandbox::new(scratch.path(), settings).unwrap());
    let mut lua = Lua;
    let runners = Runners { lua: Some(&mut lua), sandbox: Some(&mut sandbox) };
    let started = Instant::now();
    let composed = compose(&judged.packages, &Options::new(TIME), runners).unwrap();
    println!("composed in {:?}", started.elapsed());
    println!("failed: {:#?}", composed.report.failed);
    for by in [Handling::Native, Handling::Lua, Handling::Sandbox] {
        let count = composed.report.handled.iter().filter(|script| script.by == by).count();
        println!("{count} scripts by {}", by.name());
        assert!(count >= 10, "{} is hardly judged", by.name());
    }
    println!("unknown owners: {:?}", composed.report.unknown_owners);
    let started = Instant::now();
    let Some(order) = judged.install(&[]) else { return };
    println!("rpm: installed in {:?}", started.elapsed());
    let log = composed.tree.read("/usr/share/synthetic/log", 1 << 20).unwrap();
    let theirs = std::fs::read(judged.root.join("usr/share/synthetic/log")).unwrap();
    let (log, theirs) = (String::from_utf8_lossy(&log), String::from_utf8_lossy(&theirs));
    let mut lines = log.lines().zip(theirs.lines()).enumerate();
    let differ = lines.find(|(_, (ours, theirs))| ours != theirs);
    assert_eq!(differ, None, "scripts did not do the same in the same order:\n{log}");
    assert_eq!(log.len(), theirs.len());
    assert_eq!(judged.order(&composed), order);
    judged.check(&composed);
}

#[test]
#[ignore = "needs repositories, named by SLIPWAY_DEMO_REPOSITORY and SLIPWAY_SYNTHETIC_REPOSITORY"]
fn what_is_left_out_is_what_rpm_leaves_out() {
    let Some(mut judged) = judged(true) else { return };
    judged.packages.iter_mut().for_each(|package| package.scriptlets.clear());
    let options = Options {
        docs: false,
        languages: Some(vec!["en".to_owned(), "pt_BR".to_owned()]),
        ..Options::new(TIME)
    };
    let composed = compose(&judged.packages, &options, Runners::default()).unwrap();
    let policy =
        ["--noscripts", "--notriggers", "--excludedocs", "--define", "_install_langs en:pt_BR"];
    let Some(order) = judged.install(&policy) else { return };
    assert_eq!(judged.order(&composed), order);
    judged.check(&composed);
    let ours = states(&judged.packages, &composed);
    assert_eq!(ours, states_by_rpm(&judged.root, "/var/lib/rpm"));
}
