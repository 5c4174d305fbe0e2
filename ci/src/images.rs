//! The images of the proof: the demo itself, and small ones that differ in one
//! thing each, made by recipes that extend the project's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::output;
use crate::tools::Programs;

/// Where everything lies.
pub struct Workshop {
    /// top of the project
    pub top: PathBuf,
    /// what was built
    pub programs: Programs,
}

/// An image that was built.
#[derive(Clone, Debug)]
pub struct Image {
    /// its folder
    pub folder: PathBuf,
    /// the disk of a new machine
    pub disk: PathBuf,
    /// the update bundle
    pub bundle: PathBuf,
}

impl Workshop {
    /// Folder of everything that is made.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.top.join("out")
    }

    /// Folder of the signing keys, made on first use.
    pub fn keys(&self) -> Result<PathBuf> {
        let keys = self.out().join("keys");
        if !keys.join("root.json").exists() {
            output(Command::new(&self.programs.slipway).arg("keys").arg("new").arg(&keys))?;
        }
        Ok(keys)
    }

    /// The trust root that bundles are checked against.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(self.keys()?.join("root.json"))
    }

    fn slipway(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.programs.slipway);
        command.arg(subcommand).arg("--tools").arg(&self.programs.tools);
        command
    }

    /// Locks a recipe. An earlier run may have left a lock with other scripts,
    /// which nobody is here to read.
    pub fn lock(&self, recipe: &Path, lock: &Path) -> Result<()> {
        let mut command = self.slipway("lock");
        output(command.arg(recipe).args(["--accept", "all"]).arg("--lock").arg(lock)).map(drop)
    }

    /// Locks and builds a recipe.
    pub fn build(&self, recipe: &Path, lock: &Path) -> Result<Image> {
        self.lock(recipe, lock)?;
        let keys = self.keys()?;
        let images = self.out().join("images");
        let mut build = self.slipway("build");
        build.arg(recipe).arg("--lock").arg(lock).arg("--keys").arg(keys).arg("--out").arg(images);
        let built: Value = serde_json::from_str(&output(build.arg("--json"))?)?;
        let path = |key: &str| {
            built[key].as_str().map(PathBuf::from).with_context(|| format!("build said no {key}"))
        };
        Ok(Image { folder: path("folder")?, disk: path("disk")?, bundle: path("bundle")? })
    }

    /// The demo image itself.
    pub fn demo(&self) -> Result<Image> {
        let lock = self.out().join("images/demo.lock.toml");
        self.build(&self.top.join("recipes/demo.toml"), &lock)
    }

    /// A small image of this version, with `changes` (TOML) to the recipe it
    /// extends.
    pub fn variant(&self, extends: &str, version: &str, changes: &str) -> Result<Image> {
        let folder = self.out().join("proof/recipes");
        fs::create_dir_all(&folder)?;
        let name = extends.trim_end_matches(".toml");
        let recipe = folder.join(format!("{name}-{version}.toml"));
        let text = format!(
            "schema = 1\nextends = [\"../../../recipes/{extends}\"]\nversion = \"{version}\"\n{changes}"
        );
        fs::write(&recipe, text)?;
        self.build(&recipe, &folder.join(format!("{name}.lock.toml")))
    }

    /// Runs the installer and returns its JSON. With `refused`, it must fail.
    pub fn installer(&self, arguments: &[&str], disk: Option<&Path>) -> Result<Value> {
        let mut command = self.installer_command(arguments, disk)?;
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    /// Runs the installer, which must refuse, and returns its error.
    pub fn installer_refuses(&self, arguments: &[&str], disk: Option<&Path>) -> Result<String> {
        let mut command = self.installer_command(arguments, disk)?;
        let done = command.output()?;
        if done.status.success() {
            bail!("slipway-installer {} was to be refused and was not", arguments.join(" "));
        }
        let said: Value = serde_json::from_slice(&done.stdout)?;
        Ok(said["error"].as_str().unwrap_or_default().to_owned())
    }

    fn installer_command(&self, arguments: &[&str], disk: Option<&Path>) -> Result<Command> {
        let mut command = Command::new(&self.programs.installer);
        command.args(arguments).arg("--json").arg("--root").arg(self.root()?);
        if let Some(disk) = disk {
            command.arg("--disk").arg(disk);
        }
        Ok(command)
    }
}
