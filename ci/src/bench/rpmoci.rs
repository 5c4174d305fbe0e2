//! rpmoci as a contender: built once from its published source and cached. It
//! makes an OCI image out of dnf's tree, not a disk: no erofs, no verity.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;
use crate::metadata::PUBLIC_KEY_NAME;
use crate::process::{output, output_retrying};
use crate::setup;

const VERSION: &str = "0.4.5";
/// What building it takes, from Debian.
const NEEDED: &[&str] = &["libsqlite3-dev", "libssl-dev", "pkg-config", "python3-dev"];
/// Fetching its sources may meet a busy registry.
const TRIES: u32 = 3;
/// rpmoci asks the machine's own package database which release it is on, and
/// Debian's has no answer: another is laid over it, for this process only.
const ENTER: &str = "mount --bind \"$0\" /var/lib/rpm && exec \"$@\"";

/// The program, and the package database it is shown.
pub struct Rpmoci {
    program: PathBuf,
    database: PathBuf,
}

impl Rpmoci {
    /// Builds the program, or finds it in the cache; `release` is the package
    /// that says which release the packages are of.
    pub fn new(folder: &Path, release: &Path) -> Result<Self> {
        let cached = cache::cache_folder()?.join(format!("rpmoci-{VERSION}"));
        let program = cached.join("bin/rpmoci");
        if !program.exists() {
            setup::ensure_packages(NEEDED)?;
            eprintln!("building rpmoci {VERSION}, once");
            let make = || {
                let mut cargo = Command::new("cargo");
                cargo.args(["install", "-q", "--locked", "rpmoci", "--version", VERSION]);
                cargo.arg("--root").arg(&cached);
                cargo
            };
            output_retrying(TRIES, make).context("rpmoci cannot be built")?;
        }
        let root = folder.join("rpmoci-release");
        fs::create_dir(&root)?;
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(&root).args(["--define", "_dbpath /var/lib/rpm"]);
        rpm.args(["-i", "--justdb", "--nodeps", "--nosignature"]).arg(release);
        output(&mut rpm)?;
        fs::create_dir_all("/var/lib/rpm")?;
        Ok(Self { program, database: root.join("var/lib/rpm") })
    }

    /// Locks `packages` of `repository` in `folder`, and gives the command that
    /// builds from the lock.
    pub fn build(&self, folder: &Path, repository: &Path, packages: &[String]) -> Result<Command> {
        let url = format!("file://{}", repository.display());
        let mut contents = toml::Table::new();
        contents.insert("repositories".to_owned(), vec![url.clone()].into());
        contents.insert("gpgkeys".to_owned(), vec![format!("{url}/{PUBLIC_KEY_NAME}")].into());
        contents.insert("packages".to_owned(), packages.to_vec().into());
        contents.insert("docs".to_owned(), true.into());
        contents.insert("os_release".to_owned(), false.into());
        let contents = toml::Table::from_iter([("contents".to_owned(), contents.into())]);
        fs::write(folder.join("rpmoci.toml"), contents.to_string())?;
        output(self.enter(folder).arg("update"))?;
        let mut build = self.enter(folder);
        build.args(["build", "--locked", "--image", "image", "--tag", "bench"]);
        Ok(build)
    }

    fn enter(&self, folder: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "env", "-C"]).arg(folder).args(["sh", "-euc", ENTER]);
        command.arg(&self.database).arg(&self.program);
        command
    }
}
