//! An image without rpm's database, and its root as archives: GNU tar's
//! extraction has to be the tree that the kernel mounts.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Mounted, compare, read_tree};
use crate::images::Workshop;
use crate::process::output;

/// What the small demo's recipe does not say.
const CHANGES: &str = "\
[packages]
database = false
[root]
archives = [\"oci\", \"tar\"]
";
/// Where rpm's database would be, or a link to it.
const DATABASES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];

/// Builds it and compares.
pub(super) fn judge(workshop: &Workshop) -> Result<()> {
    let image = workshop.variant("demo-small.toml", "1.1.0", CHANGES)?;
    let folder = tempfile::tempdir_in(workshop.out())?;
    let mounted = Mounted::root_of(&image.disk, folder.path())?;
    for database in DATABASES {
        let there = fs::symlink_metadata(mounted.at.join(database)).is_ok();
        ensure!(!there, "/{database} is there, though no database was wanted");
    }
    let extracted = folder.path().join("extracted");
    extract(&image.folder.join("root.tar"), &extracted)?;
    let (ours, theirs) = (read_tree(&mounted.at)?, read_tree(&extracted)?);
    let differences = compare((&mounted.at, &ours), (&extracted, &theirs))?;
    ensure!(differences.is_empty(), "the tar is not the tree: {differences:#?}");
    println!("GNU tar: the archive has the {} names of the tree", ours.len());
    let oci = image.folder.join("root.oci.tar");
    output(Command::new("skopeo").arg("inspect").arg(format!("oci-archive:{}", oci.display())))?;
    Ok(())
}

fn extract(archive: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-x", "-C"]);
    output(tar.arg(to).arg("-f").arg(archive)).map(drop)
}
