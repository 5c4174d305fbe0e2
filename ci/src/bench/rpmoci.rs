//! rpmoci as a contender: built once from its published source and cached. It
//! makes an OCI image out of dnf's tree, not a disk: no erofs, no verity.

use std::ffi::OsString;
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

/// The program, and a home folder for it. rpmoci asks the user's package
/// database (on Debian it is in the home folder) for the release it is on: this
/// one has the answer.
pub struct Rpmoci {
    program: PathBuf,
    home: PathBuf,
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
        let home = folder.join("rpmoci-home");
        fs::create_dir(&home)?;
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(&home).args(["--define", "_dbpath /.rpmdb"]);
        rpm.args(["-i", "--justdb", "--nodeps", "--nosignature"]).arg(release);
        output(&mut rpm)?;
        Ok(Self { program, home })
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
        output(self.command(folder).arg("update"))?;
        let mut build = self.command(folder);
        build.args(["build", "--locked", "--image", "image", "--tag", "bench"]);
        Ok(build)
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("env");
        let mut home = OsString::from("HOME=");
        home.push(&self.home);
        command.arg("-C").arg(folder).arg(home).arg(&self.program);
        command
    }
}
