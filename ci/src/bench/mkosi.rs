//! mkosi as a contender: a tree of tools from Debian 13, made once and cached,
//! in which it builds a verity disk of the same packages from the same
//! repository. It takes the demo repository for Azure Linux', whose shape it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::apt::trixie_sources;
use crate::cache;
use crate::metadata::PUBLIC_KEY_NAME;
use crate::process::{output, output_retrying};

/// What the tree of tools is made of.
const TOOLS: &str = "mkosi,dnf,rpm,erofs-utils,systemd-repart,cryptsetup-bin,e2fsprogs,\
                     dosfstools,mtools,fdisk";
/// Where mkosi looks for the key of Azure Linux' packages.
const KEY: &str = "usr/share/distribution-gpg-keys/azure-linux/MICROSOFT-RPM-GPG-KEY";
/// Installing the tools may meet a busy mirror.
const TRIES: u32 = 3;

/// The tools, entered with bubblewrap.
pub struct Mkosi {
    tree: PathBuf,
}

impl Mkosi {
    /// Makes the tree of tools, or finds it in the cache.
    pub fn new() -> Result<Self> {
        let folder = cache::cache_folder()?.join("mkosi");
        fs::create_dir_all(&folder)?;
        let key = Sha256::digest(TOOLS);
        let tree = folder.join(format!("tools-{}", &crate::metadata::hex(&key)[..16]));
        let _lock = cache::lock(&folder)?;
        if !tree.join("usr/bin/mkosi").exists() {
            let staged = folder.join("staged");
            let sources = folder.join("trixie.sources");
            fs::write(&sources, trixie_sources(Path::new("/etc/apt"))?)?;
            let make = || {
                let _ = fs::remove_dir_all(&staged);
                let mut command = Command::new("mmdebstrap");
                command.args(["--quiet", "--variant=apt"]).arg(format!("--include={TOOLS}"));
                command.arg("trixie").arg(&staged).arg(&sources);
                command
            };
            output_retrying(TRIES, make).context("mmdebstrap cannot make the tools mkosi needs")?;
            fs::rename(&staged, &tree)?;
        }
        Ok(Self { tree })
    }

    /// A program in the tree, with `shared` at its own path in there.
    pub fn enter(&self, shared: &[&Path], program: &str) -> Command {
        let mut command = Command::new("bwrap");
        command.arg("--bind").arg(&self.tree).arg("/");
        command.args([
            "--dev-bind",
            "/dev",
            "/dev",
            "--proc",
            "/proc",
            "--ro-bind",
            "/sys",
            "/sys",
        ]);
        command.args(["--tmpfs", "/run", "--tmpfs", "/tmp", "--chdir", "/"]);
        for folder in shared {
            command.arg("--bind").arg(folder).arg(folder);
        }
        command.args(["--setenv", "PATH", "/usr/sbin:/usr/bin", "--setenv", "HOME", "/root"]);
        command.arg(program);
        command
    }

    /// Writes a configuration to `folder` that builds `packages` of
    /// `repository`, and gives the command that does.
    pub fn build(&self, folder: &Path, repository: &Path, packages: &[String]) -> Result<Command> {
        let key = self.tree.join(KEY);
        fs::create_dir_all(key.parent().context("a key has a folder")?)?;
        fs::copy(repository.join(PUBLIC_KEY_NAME), &key)?;
        let repart = folder.join("mkosi.repart");
        fs::create_dir_all(&repart)?;
        let list: String = packages.iter().map(|name| format!("    {name}\n")).collect();
        fs::write(
            folder.join("mkosi.conf"),
            format!(
                "[Distribution]\nDistribution=azure\nRelease=3.0\nLocalMirror=file://{}\n\
                 [Output]\nFormat=disk\nOutput=image\nOutputDirectory={}\n\
                 [Build]\nBuildSources=\nWorkspaceDirectory={}\nPackageCacheDirectory={}\n\
                 [Content]\nBootable=no\nPackages=\n{list}",
                repository.display(),
                folder.join("out").display(),
                folder.display(),
                folder.join("cache").display(),
            ),
        )?;
        fs::write(
            repart.join("10-root.conf"),
            "[Partition]\nType=root\nFormat=erofs\nCompression=lz4\nCopyFiles=/\nVerity=data\n\
             VerityMatchKey=root\nMinimize=best\n",
        )?;
        fs::write(
            repart.join("20-verity.conf"),
            "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n",
        )?;
        for made in ["out", "cache"] {
            fs::create_dir_all(folder.join(made))?;
        }
        let mut command = self.enter(&[folder, repository], "mkosi");
        command.arg("--directory").arg(folder).args(["--force", "build"]);
        Ok(command)
    }
}

/// Removes what a build made, so that the next one begins from nothing.
pub fn clean(folder: &Path) -> Result<()> {
    for made in ["out", "cache"] {
        let path = folder.join(made);
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
    }
    // a stray workspace of a build that was cut off
    let left = output(Command::new("find").arg(folder).args([
        "-maxdepth",
        "1",
        "-name",
        "mkosi-workspace*",
    ]))?;
    left.lines().try_for_each(|path| Ok(fs::remove_dir_all(path)?))
}
