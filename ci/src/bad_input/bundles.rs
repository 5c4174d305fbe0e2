//! Bundles that are not whole.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use formats::archive;
use serde_json::Value;

use super::place::{Base, digest, digest_without, installs, slot_a_is_kept};

/// What an install may change before it is done.
const TARGET: [&str; 4] = ["state", "uki-b", "root-b", "root-b-verity"];

/// A member of a bundle.
struct Member {
    name: String,
    /// first byte of its content
    start_bytes: u64,
    len_bytes: u64,
}

fn members(bundle: &File) -> Result<Vec<Member>> {
    let end = bundle.metadata()?.len() - archive::END_BYTES;
    let (mut found, mut at) = (Vec::new(), 0);
    while at < end {
        let mut record = [0; archive::RECORD_BYTES];
        bundle.read_exact_at(&mut record, at)?;
        let (name, len_bytes) = archive::parse_header(&record).context("not a bundle")?;
        let start_bytes = at + archive::RECORD_BYTES as u64;
        found.push(Member { name: name.into(), start_bytes, len_bytes });
        at = start_bytes + len_bytes + archive::padding(len_bytes);
    }
    Ok(found)
}

/// Verify and install refuse the bundle, naming it and `mention`.
fn refused(base: &Base<'_>, bundle: &Path, disk: &Path, mention: &str) -> Result<()> {
    let path = bundle.to_string_lossy();
    for (command, disk) in [("verify", None), ("install", Some(disk))] {
        let said = base.workshop.installer_refuses(&[command, &path], disk)?;
        let named = said.contains(&*path) && said.contains(mention);
        ensure!(named, "{command} names not both {path} and {mention:?}: {said}");
    }
    Ok(())
}

/// In every member's header, in its content, and at the very end.
pub(super) fn cut_off(base: &Base<'_>) -> Result<()> {
    let disk = base.committed_disk("cut-off")?;
    let before = digest(&disk)?;
    let bundle = disk.with_file_name("cut.bundle");
    fs::copy(&base.image.bundle, &bundle)?;
    let file = File::options().read(true).write(true).open(&bundle)?;
    let whole = file.metadata()?.len();
    let mut cuts = vec![0, whole - archive::END_BYTES, whole - 1];
    for member in members(&file)? {
        cuts.extend([member.start_bytes - 100, member.start_bytes]);
        cuts.push(member.start_bytes + member.len_bytes / 2);
    }
    cuts.sort_unstable();
    for cut in cuts.into_iter().rev() {
        file.set_len(cut)?;
        refused(base, &bundle, &disk, "byte ").with_context(|| format!("cut off at {cut}"))?;
    }
    ensure!(digest(&disk)? == before, "a bundle that is cut off changed the disk");
    installs(base, &disk)
}

/// A byte of what is signed, of a table, and of each payload.
pub(super) fn changed(base: &Base<'_>) -> Result<()> {
    let disk = base.committed_disk("changed-bundle")?;
    let bundle = disk.with_file_name("changed.bundle");
    fs::copy(&base.image.bundle, &bundle)?;
    let file = File::options().read(true).write(true).open(&bundle)?;
    for member in members(&file)? {
        let at = member.start_bytes + member.len_bytes / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 1], at)?;
        member_changed(base, &bundle, &disk, &member.name)
            .with_context(|| format!("a changed byte in {}", member.name))?;
        file.write_all_at(&byte, at)?;
    }
    let other = disk.with_file_name("keys");
    let slipway = &base.workshop.programs.slipway;
    crate::process::output(std::process::Command::new(slipway).args(["keys", "new"]).arg(&other))?;
    stranger(base, &disk, &other.join("root.json"))?;
    installs(base, &disk)
}

fn member_changed(base: &Base<'_>, bundle: &Path, disk: &Path, member: &str) -> Result<()> {
    let before = digest(disk)?;
    let others = digest_without(disk, &TARGET)?;
    match member.split_once('/') {
        // the machine's own trust root is used, and that copy is not looked at
        Some(("root", _)) => return Ok(()),
        Some(("data", payload)) => {
            refused(base, bundle, disk, &format!("of {payload} is not what was signed"))?;
            slot_a_is_kept(base.workshop, disk)?;
        }
        Some(("chunks", payload)) => {
            refused(base, bundle, disk, &format!("the chunk table of {payload}"))?;
            ensure!(digest(disk)? == before, "it changed the disk");
        }
        _ => {
            refused(base, bundle, disk, "")?;
            ensure!(digest(disk)? == before, "it changed the disk");
        }
    }
    ensure!(digest_without(disk, &TARGET)? == others, "more than the inactive slot has changed");
    Ok(())
}

/// A bundle is as good as the trust root it is checked against.
fn stranger(base: &Base<'_>, disk: &Path, root: &Path) -> Result<()> {
    let before = digest(disk)?;
    let mut command = std::process::Command::new(&base.workshop.programs.installer);
    command.args(["install", &base.bundle(), "--json", "--disk"]).arg(disk);
    let done = command.arg("--root").arg(root).output()?;
    let said: Value = serde_json::from_slice(&done.stdout)?;
    let error = said["error"].as_str().unwrap_or_default();
    let refused = done.status.code() == Some(1) && error.contains("signature is refused");
    ensure!(refused, "a stranger's bundle was not refused: {said}");
    ensure!(digest(disk)? == before, "a stranger's bundle changed the disk");
    Ok(())
}
