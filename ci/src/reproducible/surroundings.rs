//! Where and by whom an image is built: a plain user of this machine, who is
//! made if there is none, with nothing of root's environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::images::Workshop;
use crate::process::output;

/// A user to build as; the tests of the sandbox have the same.
pub(super) struct User {
    pub name: &'static str,
    /// ids in `/etc/subuid` and `/etc/subgid`
    sub_ids: Option<&'static str>,
}

pub(super) const WITH_SUB_IDS: User = User { name: "slipway-test", sub_ids: Some("700000-765535") };
pub(super) const ALONE: User = User { name: "slipway-alone", sub_ids: None };

impl User {
    fn exists(&self) -> Result<()> {
        let known = Command::new("id").arg(self.name).stderr(Stdio::null()).output()?;
        if known.status.success() {
            return Ok(());
        }
        output(Command::new("useradd").args(["--system", self.name]))?;
        if let Some(ids) = self.sub_ids {
            let mut give = Command::new("usermod");
            give.args(["--add-subuids", ids, "--add-subgids", ids, self.name]);
            output(&mut give)?;
        }
        Ok(())
    }
}

/// A folder of the user's own with all that a build needs. Removed when it is
/// dropped.
pub(super) struct Surroundings {
    user: &'static User,
    folder: PathBuf,
}

impl Surroundings {
    /// Gives the user program, keys and a copy of the vendored store, from which
    /// nothing was ever built.
    pub fn new(
        workshop: &Workshop,
        parent: &Path,
        user: &'static User,
        vendor: &Path,
    ) -> Result<Self> {
        user.exists()?;
        let made = Self { user, folder: parent.join(user.name) };
        fs::create_dir_all(made.folder.join("tmp"))?;
        let copy = |from: &Path, name: &str| {
            output(Command::new("cp").arg("-r").arg(from).arg(made.folder.join(name)))
        };
        copy(&workshop.programs.slipway, "slipway")?;
        copy(&workshop.keys()?, "keys")?;
        made.mount_store()?;
        copy(&vendor.join("."), "store")?;
        let owner = format!("{0}:{0}", user.name);
        output(Command::new("chown").args(["-R", &owner]).arg(&made.folder))?;
        output(Command::new("chmod").args(["-R", "go-rwx"]).arg(&made.folder))?;
        Ok(made)
    }

    /// The store is to lie on a tmpfs, which lists the files of a folder the
    /// newest first: no other file system here does.
    fn mount_store(&self) -> Result<()> {
        let store = self.store();
        fs::create_dir(&store)?;
        let mut mount = Command::new("mount");
        output(mount.args(["-t", "tmpfs", "-o", "size=2g", "store"]).arg(store)).map(drop)
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Builds an image of the vendored store; gives its folder.
    pub fn build(&self, name: &str, more: &[&str]) -> Result<PathBuf> {
        output(self.command(name).args(more))?;
        Ok(self.folder.join(format!("images/{name}-1.0.0")))
    }

    /// What is said where that must fail, and leave nothing.
    pub fn refused(&self, name: &str) -> Result<String> {
        let done = self.command(name).arg("--disk-only").stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        ensure!(done.status.code() == Some(1), "it was to be refused ({}):\n{said}", done.status);
        let images = self.folder.join("images");
        let left = images.is_dir() && fs::read_dir(&images)?.next().is_some();
        ensure!(!left, "a refusal has left something in {}", images.display());
        Ok(said)
    }

    /// `slipway build`, far from everything that root has.
    fn command(&self, name: &str) -> Command {
        let path = |name: &str| self.folder.join(name);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", self.user.name, "--regid", self.user.name, "--init-groups"]);
        command.args(["--inh-caps=-all", "--", "taskset", "-c", "0", "env", "-i"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=Asia/Kathmandu"]);
        command.args(["LC_ALL=tr_TR.UTF-8", "LANGUAGE=tr"]);
        command.arg(format!("HOME={}", path("home").display()));
        command.arg(format!("TMPDIR={}", path("tmp").display()));
        command.args(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        command.arg(path("slipway")).arg("build");
        command.arg(self.store().join("images").join(name).join("recipe.toml"));
        command.arg("--offline").arg("--store").arg(self.store());
        command.arg("--keys").arg(path("keys")).arg("--out").arg(path("images"));
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        // What stays goes with the folder around it.
        let _ = output(Command::new("umount").arg(self.store()));
        let _ = fs::remove_dir_all(&self.folder);
    }
}
