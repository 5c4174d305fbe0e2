//! Packages that are not what the lock says, or not signed by whom they should
//! be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::place::{Base, Place};
use crate::process::output;
use crate::synthetic;

/// A small package of the image.
const PACKAGE: &str = "dash";

/// Other bytes of the same length.
pub(super) fn replaced(base: &Base<'_>) -> Result<()> {
    let place = base.cold_place("replaced")?;
    let package = own_package(&place)?;
    let good = fs::read(&package)?;
    let mut bad = good.clone();
    // in the payload, far behind everything that is signed directly
    let last = bad.last_mut().context("an empty package")?;
    *last ^= 1;
    fault(&place, &package, &bad, &["is not the file that was locked", "SHA-256"])?;
    fs::write(&package, &good)?;
    place.builds()
}

/// Half a package.
pub(super) fn truncated(base: &Base<'_>) -> Result<()> {
    let place = base.cold_place("truncated")?;
    let package = own_package(&place)?;
    let good = fs::read(&package)?;
    let half = good.len() / 2;
    let counts = format!("{half} of {} bytes", good.len());
    fault(&place, &package, &good[..half], &["cut off", &counts])?;
    fs::remove_file(&package)?;
    place.refuses(&mut place.build_command(), 1, &[&package.to_string_lossy(), "gone"])?;
    fs::write(&package, &good)?;
    place.builds()
}

/// Whole and as the metadata says, but nobody vouches for them; and those whose
/// faults the metadata shows. All are named in one go.
pub(super) fn badly_signed(base: &Base<'_>) -> Result<()> {
    let place = base.place("badly-signed")?;
    synthetic::write(&place.folder.join("synthetic"))?;
    let recipe = |repository: &str, packages: &str| {
        format!(
            "\n[[repository]]\nid = \"synthetic\"\nurl = \"{repository}\"\n\
             keys = [\"../synthetic/RPM-GPG-KEY-demo\"]\n\n[packages]\ninstall = [{packages}]\n"
        )
    };
    let names = ["other-key", "truncated", "unsigned", "wrong-digest"];
    place.write_recipe(&recipe("../synthetic/bad", &format!("\"{}\"", names.join("\", \""))))?;
    // Locking reads their scripts, so it is locking that refuses them.
    let said = place.refuses(&mut place.lock_command(), 1, &[])?;
    let reasons = [
        "its signature is not accepted",
        "cut off",
        "its signature is not accepted",
        "not the file that was locked",
    ];
    for (name, reason) in names.iter().zip(reasons) {
        let line = said.lines().find(|line| line.contains(&format!("{name}-1.0-1.noarch from ")));
        let line = line.with_context(|| format!("{name} is not named:\n{said}"))?;
        ensure!(line.contains(reason), "{name} was to be refused as {reason:?}: {line}");
    }
    place.write_recipe(&recipe("../synthetic/forged", "\"basic\""))?;
    place.refuses(
        &mut place.lock_command(),
        1,
        &["synthetic/forged", "repodata/repomd.xml", "signed by key"],
    )?;
    place.write_recipe(&recipe("../synthetic", "\"basic\""))?;
    output(&mut place.lock_command())?;
    place.builds()
}

/// The package in the case's own repository, there to be replaced.
fn own_package(place: &Place<'_>) -> Result<PathBuf> {
    let packages = place.own_repository()?.join("Packages");
    let begin = format!("{PACKAGE}-");
    for entry in fs::read_dir(&packages)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&begin) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("no package {PACKAGE} in {}", packages.display())
}

fn fault(place: &Place<'_>, package: &Path, bytes: &[u8], mentions: &[&str]) -> Result<()> {
    fs::write(package, bytes)?;
    let named = format!("{PACKAGE}-");
    let path = package.file_name().context("a file has a name")?.to_string_lossy();
    let all = [&[named.as_str(), &path], mentions].concat();
    place.refuses(&mut place.build_command(), 1, &all)?;
    Ok(())
}
