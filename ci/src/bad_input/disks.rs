//! Disks that are not ours, damaged, in use, or not to be written.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::place::{
    Base, READ_ONLY, digest, installs, mounted, partition, refused, slot_a_is_kept,
};
use crate::process::output;

/// Every command that opens a disk refuses this one with exit code 1, naming
/// it and `mention`, and leaves it as it is.
fn all_refuse(base: &Base<'_>, disk: &Path, commands: &[&str], mention: &str) -> Result<()> {
    let before = disk.is_file().then(|| digest(disk)).transpose()?;
    for command in commands {
        let mut command = installer(base, command, disk)?;
        refused(&mut command, 1, &[&disk.to_string_lossy(), mention])?;
    }
    let after = disk.is_file().then(|| digest(disk)).transpose()?;
    ensure!(before == after, "{} was changed", disk.display());
    Ok(())
}

fn installer(base: &Base<'_>, command: &str, disk: &Path) -> Result<Command> {
    let mut installer = Command::new(&base.workshop.programs.installer);
    installer.arg(command);
    if command == "install" || command == "plan" {
        installer.arg(base.bundle());
    }
    installer.arg("--disk").arg(disk).arg("--root").arg(base.workshop.root()?);
    Ok(installer)
}

const ALL: [&str; 4] = ["status", "plan", "install", "rollback"];

/// Files of all kinds, and one of ours whose end is missing.
pub(super) fn not_ours(base: &Base<'_>) -> Result<()> {
    let ours = base.committed_disk("not-ours")?;
    let file = |name: &str| ours.with_file_name(name);
    File::create(file("zeros"))?.set_len(64 << 20)?;
    fs::write(file("empty"), "")?;
    fs::write(file("text"), "This is no disk, but a letter.\n".repeat(1000))?;
    File::create(file("other"))?.set_len(64 << 20)?;
    output(Command::new("sgdisk").args(["-n", "1:0:+16M", "-c", "1:root-a"]).arg(file("other")))?;
    for name in ["zeros", "empty", "text", "other"] {
        all_refuse(base, &file(name), &ALL, "not a Slipway disk")?;
    }
    all_refuse(base, &file("nothing"), &ALL, "No such file or directory")?;
    fs::create_dir(file("folder"))?;
    all_refuse(base, &file("folder"), &ALL, "")?;
    let short = File::options().write(true).open(&ours)?;
    let whole = short.metadata()?.len();
    short.set_len(whole / 2)?;
    all_refuse(base, &ours, &ALL, "")?;
    fs::remove_file(&ours)?;
    let ours = base.committed_disk("not-ours")?;
    installs(base, &ours)
}

/// One copy, then both, then also what the slots say.
pub(super) fn destroyed_state(base: &Base<'_>) -> Result<()> {
    let disk = base.committed_disk("destroyed-state")?;
    let file = File::options().read(true).write(true).open(&disk)?;
    let (state, _) = partition(&file, "state")?;
    let copies = |count: u64, rebuilt: bool| -> Result<()> {
        let status = base.workshop.installer(&["status"], Some(&disk))?;
        let right = status["state_copies"] == count && status["rebuilt"] == rebuilt;
        ensure!(right, "{count} copies were to be found: {status:#}");
        Ok(())
    };
    // the committed record is in the second copy, the first is out of date
    copies(2, false)?;
    file.write_all_at(&[0x55; 4096], state)?;
    copies(1, false)?;
    slot_a_is_kept(base.workshop, &disk)?;
    file.write_all_at(&[0x55; 4096], state + 4096)?;
    copies(0, true)?;
    let text = output(&mut installer(base, "status", &disk)?)?;
    ensure!(text.contains("both copies of the state record are lost"), "not said: {text}");
    installs(base, &disk)?;
    copies(2, false)?;
    file.write_all_at(&[0; 8192], state)?;
    for slot in ["uki-a", "uki-b"] {
        file.write_all_at(&[0; 4096], partition(&file, slot)?.0)?;
    }
    all_refuse(base, &disk, &ALL, "write the disk anew")
}

/// A machine that is on, even if it is paused.
pub(super) fn in_use(base: &Base<'_>) -> Result<()> {
    let disk = base.committed_disk("in-use")?;
    let mut machine = Paused::start(&disk)?;
    all_refuse(base, &disk, &["install", "rollback"], "is in use")?;
    slot_a_is_kept(base.workshop, &disk)?;
    machine.stop()?;
    installs(base, &disk)
}

/// A machine that has its disk open and does nothing.
struct Paused(Child);

impl Paused {
    fn start(disk: &Path) -> Result<Self> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-qmp", "stdio"])
            .arg("-drive")
            .arg(format!("if=none,id=disk,format=raw,file={}", disk.display()))
            .args(["-device", "virtio-blk-pci,drive=disk"])
            // open as long as the machine is to be there
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut machine = Self(qemu.spawn().context("cannot start qemu-system-x86_64")?);
        let console = machine.0.stdout.as_mut().context("qemu has no standard output")?;
        let mut greeting = String::new();
        BufReader::new(console).read_line(&mut greeting)?;
        ensure!(greeting.contains("\"QMP\""), "qemu did not start: {greeting}");
        Ok(machine)
    }

    fn stop(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// On a read-only mount; it can still be looked at.
pub(super) fn not_writable(base: &Base<'_>) -> Result<()> {
    let disk = base.committed_disk("not-writable")?;
    let before = digest(&disk)?;
    let shown = disk.to_string_lossy().into_owned();
    for command in ["install", "rollback"] {
        let installer = installer(base, command, &disk)?;
        let mut command = mounted(&disk, READ_ONLY, &installer, ":");
        refused(&mut command, 1, &[&shown, "Read-only file system"])?;
    }
    let status = installer(base, "status", &disk)?;
    output(&mut mounted(&disk, READ_ONLY, &status, ":"))?;
    ensure!(digest(&disk)? == before, "a read-only disk was changed");
    installs(base, &disk)
}
