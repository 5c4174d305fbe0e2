//! That every format boots: the small demo image from each kind of disk file,
//! with each kind of root file system, to the health gate and the commit. The
//! formats are paired, so that three boots show all.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use formats::Slot;
use serde_json::Value;

use crate::cases::{self, Case};
use crate::images::{Image, Workshop};
use crate::process::output;
use crate::vm::Machine;

/// A boot on a busy machine may take this long before it is called dead.
const BOOT: Duration = Duration::from_secs(300);
const SMALL: &str = "demo-small.toml";
const MEMORY_MIB: u32 = 512;

/// What one case tries.
struct Trial {
    version: &'static str,
    /// the recipe's word for the disk file
    disk: &'static str,
    /// what QEMU calls it
    driver: &'static str,
    filesystem: &'static str,
}

/// All cases.
#[must_use]
pub fn all_cases() -> [Case<Workshop>; 3] {
    [
        ("format: dynamic VHDX with erofs and LZ4", |workshop| {
            let disk = "vhdx";
            Trial { version: "1.0.1", disk, driver: disk, filesystem: "erofs-lz4" }.run(workshop)
        }),
        ("format: qcow2 with squashfs", |workshop| {
            let disk = "qcow2";
            Trial { version: "1.0.2", disk, driver: disk, filesystem: "squashfs" }.run(workshop)
        }),
        ("format: fixed VHDX with ext4", |workshop| {
            let disk = "vhdx-fixed";
            Trial { version: "1.0.3", disk, driver: "vhdx", filesystem: "ext4" }.run(workshop)
        }),
    ]
}

impl Trial {
    fn run(&self, workshop: &Workshop) -> Result<()> {
        let changes = format!(
            "[root]\nfilesystem = \"{}\"\n[disk]\nformats = [\"raw\", \"{}\"]\n",
            self.filesystem, self.disk
        );
        let image = workshop.variant(SMALL, self.version, &changes)?;
        let disk = self.disk_of(&image)?;
        self.qemu_img(&["check", "-f", self.driver], &[&disk])?;
        self.qemu_img(&["compare", "-f", "raw", "-F", self.driver], &[&image.disk, &disk])?;

        let folder = workshop.out().join("proof").join(format!("format-{}", self.disk));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let copy = folder.join("disk");
        output(Command::new("cp").arg("--sparse=always").arg(&disk).arg(&copy))?;
        let mut machine = Machine::new(&copy, &folder, MEMORY_MIB)?.of_format(self.driver);
        let mut running = machine.power_on("first")?;
        let slot = Slot::A;
        let committed = format!("slipway-agent: committed slot {slot} version {}", self.version);
        running.wait_for(&committed, BOOT)?;
        running.cut_power();
        self.is_committed(workshop, &copy, &folder)
    }

    fn disk_of(&self, image: &Image) -> Result<std::path::PathBuf> {
        let file = match self.disk {
            "vhdx-fixed" => "disk-fixed.vhdx".to_owned(),
            disk => format!("disk.{disk}"),
        };
        let path = image.folder.join(file);
        ensure!(path.exists(), "the build made no {}", path.display());
        Ok(path)
    }

    fn qemu_img(&self, arguments: &[&str], files: &[&Path]) -> Result<()> {
        output(Command::new("qemu-img").args(arguments).args(files))
            .map(drop)
            .with_context(|| format!("qemu-img does not accept the {} file", self.disk))
    }

    /// What the machine wrote through the format is there too.
    fn is_committed(&self, workshop: &Workshop, disk: &Path, folder: &Path) -> Result<()> {
        let raw = folder.join("after.raw");
        self.qemu_img(&["convert", "-f", self.driver, "-O", "raw"], &[disk, &raw])?;
        let status: Value = workshop.installer(&["status"], Some(&raw))?;
        let held = &status["slots"][Slot::A.index()];
        ensure!(
            held["status"] == "committed" && held["version"] == self.version,
            "slot a was to be committed: {status:#}"
        );
        fs::remove_file(&raw)?;
        Ok(())
    }
}

/// Runs the cases whose name contains `only`.
pub fn run(workshop: &Workshop, only: Option<&str>) -> Result<()> {
    cases::run("format boots", &all_cases(), only, workshop)
}
