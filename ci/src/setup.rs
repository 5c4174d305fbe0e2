//! Getting a fresh Debian 12 machine ready: the packages and Rust targets that
//! building, testing and judging need. Does nothing, quickly, when all is there.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::backports_source;
use crate::process;

/// From Debian 12 itself.
const PACKAGES: &[&str] = &[
    "bubblewrap",
    "busybox-static",
    "ca-certificates",
    "cpio",
    "createrepo-c",
    "cryptsetup-bin",
    "dnf",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "fish",
    "gdisk",
    "groff-base",
    "jq",
    "kmod",
    "libcap2-bin",
    "mmdebstrap",
    "mtools",
    "musl-tools",
    "openssl",
    "ovmf",
    "p11-kit",
    "python3-dnf",
    "python3-venv",
    "rpm",
    "skopeo",
    "sqlite3",
    "squashfs-tools",
    "systemd",
    "systemd-boot-efi",
    "time",
    "udev",
    "uidmap",
    "umoci",
    "xz-utils",
    "zsh",
    "zstd",
];

/// From the backports, both together: the plain emulator would remove the newer
/// `qemu-utils`.
const BACKPORTED: [&str; 2] = ["qemu-system-x86", "qemu-utils"];

/// What `boot` and `guest` are built for.
const RUST_TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "x86_64-unknown-uefi"];

/// Where dpkg keeps what is installed.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";

/// Another package manager may hold the lock for a while.
const TRIES: u32 = 5;

/// Installs what is missing; says so, or says what a person must run.
pub fn set_up() -> Result<()> {
    let installed = installed_packages(Path::new(DPKG_STATUS))?;
    let (plain, backported) = (missing(&installed, PACKAGES), missing(&installed, &BACKPORTED));
    let complete = plain.is_empty() && backported.is_empty();
    if !complete {
        install(&plain, &backported)?;
    }
    let targets = missing_targets()?;
    if complete && targets.is_empty() {
        println!("everything is installed");
    }
    add_targets(&targets)
}

/// Installs those of `names` that are missing: what one chore alone needs.
pub fn ensure_packages(names: &[&'static str]) -> Result<()> {
    let missing = missing(&installed_packages(Path::new(DPKG_STATUS))?, names);
    if missing.is_empty() { Ok(()) } else { install(&missing, &[]) }
}

/// Those of `names` that are not among `installed`.
fn missing(installed: &[String], names: &[&'static str]) -> Vec<&'static str> {
    names.iter().copied().filter(|name| !installed.iter().any(|one| one == name)).collect()
}

/// Names of the packages dpkg has installed. The file is read instead of asking
/// dpkg: it is stable (deb-control(5) paragraphs) and takes milliseconds.
fn installed_packages(status: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(status)
        .with_context(|| format!("cannot read {}: this is for Debian 12", status.display()))?;
    let installed = text.split("\n\n").filter(|one| one.contains("\nStatus: install ok installed"));
    Ok(installed
        .filter_map(|one| one.lines().find_map(|line| line.strip_prefix("Package: ")))
        .map(str::to_string)
        .collect())
}

fn missing_targets() -> Result<Vec<&'static str>> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))
        .context("a Rust toolchain is needed")?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let missing = |target: &&str| !libraries.join(target).join("lib").is_dir();
    Ok(RUST_TARGETS.into_iter().filter(missing).collect())
}

fn add_targets(targets: &[&str]) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let make = || {
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add"]).args(targets);
        rustup
    };
    process::output_retrying(TRIES, make)
        .with_context(|| format!("run `rustup target add {}`", targets.join(" ")))?;
    println!("Rust targets added: {}", targets.join(" "));
    Ok(())
}

fn install(plain: &[&str], backported: &[&str]) -> Result<()> {
    let all = [plain, backported].concat().join(" ");
    if !is_root()? {
        bail!(
            "these Debian packages are missing: {all}\n\
             run this command as root: {} setup",
            std::env::current_exe().map_or("ci".into(), |path| path.display().to_string())
        );
    }
    println!("installing {all}");
    // The machine's own sources with the backports beside them, in a folder of
    // our own, so that nothing of the machine's configuration changes.
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let sources = scratch.path().join("sources.list.d");
    fs::create_dir(&sources)?;
    let etc_apt = Path::new("/etc/apt");
    fs::write(sources.join("debian.sources"), backports_source(etc_apt)?)?;
    let parts = format!("Dir::Etc::sourceparts={}", sources.display());
    let apt = |arguments: &[&str], names: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "-o", &parts]);
        command.args(["-o", "Dir::Etc::sourcelist=/dev/null", "-o", "DPkg::Lock::Timeout=120"]);
        command.args(["-o", "Acquire::Retries=3", "-o", "APT::List-Cleanup=false"]);
        command.args(arguments).args(names);
        command
    };
    process::output_retrying(TRIES, || apt(&["update", "--error-on=any"], &[]))?;
    if !backported.is_empty() {
        let from = ["install", "--no-install-recommends", "-t", "bookworm-backports"];
        process::output_retrying(TRIES, || apt(&from, &BACKPORTED))?;
    }
    if !plain.is_empty() {
        process::output_retrying(TRIES, || apt(&["install", "--no-install-recommends"], plain))?;
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(process::output(Command::new("id").arg("-u"))?.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n\n\
                    Package: c\nEssential: yes\nStatus: install ok installed\n";
        fs::write(file.path(), text).unwrap();
        assert_eq!(installed_packages(file.path()).unwrap(), ["a", "c"]);
    }
}
