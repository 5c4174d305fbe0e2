//! Outside judges of a repository: rpm checks every signature and the whole set,
//! dnf installs from it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::metadata::PUBLIC_KEY_NAME;
use crate::process::{output, output_and_errors};

/// Asks rpm about every package, and about all of them together.
pub fn judge_with_rpm(repository: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let database = format!("_dbpath {}", scratch.path().join("db").display());
    let key = repository.join(PUBLIC_KEY_NAME);
    output(Command::new("rpmkeys").args(["--define", &database, "--import"]).arg(&key))?;
    let packages = packages(repository)?;
    let checked = output(
        Command::new("rpmkeys")
            .args(["--define", &database, "--checksig", "--verbose"])
            .args(&packages),
    )?;
    let signed = checked.lines().filter(|line| line.contains("Signature") && line.ends_with("OK"));
    let signed = signed.count();
    if signed < packages.len() {
        bail!("rpm finds {signed} good signatures on {} packages", packages.len());
    }
    let root = scratch.path().join("root");
    fs::create_dir(&root).with_context(|| format!("cannot create {}", root.display()))?;
    // `rpm` on Debian keeps its database in the home folder unless told otherwise.
    let database = ["--define", "_dbpath /var/lib/rpm"];
    output(Command::new("rpm").arg("--root").arg(&root).args(database).arg("--import").arg(&key))?;
    output(
        Command::new("rpm")
            .arg("--root")
            .arg(&root)
            .args(database)
            .args(["--test", "-i"])
            .args(&packages),
    )?;
    println!("rpm: {} packages signed and checked, the set is complete", packages.len());
    Ok(())
}

fn packages(repository: &Path) -> Result<Vec<PathBuf>> {
    let folder = repository.join("Packages");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// What rpm says, only as a warning, when a package is installed too early.
const COMPLAINTS: [&str; 4] =
    ["scriptlet failed", "does not exist - using root", "Error in ", "Failed:"];

/// Has dnf install `names` from the repository into an empty root at `root`, with
/// signatures of packages and metadata required. A scriptlet that fails, or an
/// owner that does not exist, is an error here. Needs the rights of root.
pub fn install_with_dnf(repository: &Path, names: &[String], root: &Path) -> Result<()> {
    let _proc = Mounted::proc(root)?;
    let said = dnf_install(repository, names, root, &[])?;
    let complaint = said.lines().find(|line| COMPLAINTS.iter().any(|word| line.contains(word)));
    complaint.map_or(Ok(()), |line| bail!("dnf installs it, but: {line}"))
}

/// `/proc` of a root that packages are installed into. systemd-tmpfiles reaches
/// files through it, and makes nothing where it is missing.
struct Mounted(PathBuf);

impl Mounted {
    fn proc(root: &Path) -> Result<Self> {
        let at = root.join("proc");
        fs::create_dir_all(&at).with_context(|| format!("cannot create {}", at.display()))?;
        // What the package that owns it says; rpm says it to what is mounted.
        fs::set_permissions(&at, fs::Permissions::from_mode(0o555))?;
        output(Command::new("mount").args(["-t", "proc", "proc"]).arg(&at))?;
        Ok(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = output(Command::new("umount").arg(&self.0)) {
            eprintln!("{error:#}");
        }
    }
}

/// The same for packages whose programs are no programs: no scriptlet is run.
/// The package database is where rpm has it, not where Debian's rpm does.
pub fn install_without_scripts(repository: &Path, names: &[String], root: &Path) -> Result<()> {
    dnf_install(repository, names, root, &["--setopt=tsflags=noscripts,notriggers"]).map(drop)
}

/// Gives what dnf said.
fn dnf_install(repository: &Path, names: &[String], root: &Path, more: &[&str]) -> Result<String> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let repository = repository.canonicalize()?;
    let url = format!("file://{}", repository.display());
    let definition = format!(
        "[demo]\nname=demo\nbaseurl={url}\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\n\
         gpgkey={url}/{PUBLIC_KEY_NAME}\n"
    );
    for name in ["repos", "log"] {
        fs::create_dir(scratch.path().join(name))?;
    }
    let definitions = scratch.path().join("repos");
    fs::write(definitions.join("demo.repo"), definition)?;
    let folder = scratch.path().display();
    let settings = [
        format!("--installroot={}", root.display()),
        format!("--setopt=reposdir={folder}/repos"),
        format!("--setopt=cachedir={folder}/cache"),
        format!("--setopt=logdir={folder}/log"),
        format!("--setopt=persistdir={folder}/persist"),
        "--setopt=install_weak_deps=0".into(),
        "--setopt=gpgcheck=1".into(),
        "--releasever=3.0".into(),
    ];
    let mut dnf = Command::new("dnf");
    if !more.is_empty() {
        // Debian's rpm has its database in the home folder unless told otherwise.
        fs::write(scratch.path().join(".rpmmacros"), "%_dbpath /var/lib/rpm\n")?;
        dnf.env("HOME", scratch.path());
    }
    dnf.arg("-y").args(settings).args(more).arg("install").args(names);
    output_and_errors(&mut dnf)
}

/// The names of all packages, as rpm reads them.
fn names(repository: &Path) -> Result<Vec<String>> {
    let query = ["-qp", "--nosignature", "--queryformat", "%{NAME}\n"];
    let text = output(Command::new("rpm").args(query).args(packages(repository)?))?;
    Ok(text.lines().map(str::to_string).collect())
}

/// All judges; the whole demo set is installed and a few of its facts are looked at.
pub fn judge_demo(repository: &Path) -> Result<()> {
    judge_with_rpm(repository)?;
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let root = scratch.path().join("root");
    fs::create_dir(&root)?;
    install_with_dnf(repository, &names(repository)?, &root)?;
    for path in ["usr/lib/systemd/systemd", "usr/bin/sh", "etc/ld.so.cache", "etc/passwd"] {
        if !root.join(path).exists() {
            bail!("dnf's root has no /{path}");
        }
    }
    println!("dnf: installs the set with package and metadata signatures checked");
    Ok(())
}
