//! Folders that are full or cannot be written.

use std::fs;

use anyhow::{Result, ensure};

use super::place::{Base, READ_ONLY, mounted, refused};

/// Less than the root file system and less than the kernel's package.
const SMALL_DISK: &str = "mount -t tmpfs -o size=8m tmpfs \"$AT\"";
/// What is left on the disk, while it is mounted.
const LEFT: &str = "echo \"left: $(cd \"$AT\" && find . -type f | wc -l) files\"";

/// The output folder's disk, then the store's.
pub(super) fn full_disk(base: &Base<'_>) -> Result<()> {
    let place = base.place("full-output")?;
    let full = "No space left on device";
    let shown = place.out.display().to_string();
    let mut build = mounted(&place.out, SMALL_DISK, &place.build_command(), LEFT);
    place.refuses(&mut build, 1, &[&shown, full, "left: 0 files"])?;
    place.builds()?;

    let place = base.cold_place("full-store")?;
    fs::create_dir(&place.store)?;
    let shown = place.store.display().to_string();
    let unfinished = "echo \"unfinished: $(ls \"$AT/tmp\" | wc -l)\"";
    let mut build = mounted(&place.store, SMALL_DISK, &place.build_command(), unfinished);
    // Packages arrive side by side: which ones meet the end of the disk is open.
    place.refuses(&mut build, 1, &[".x86_64", &shown, full, "unfinished: 0"])?;
    place.builds()
}

/// An output folder, and a file in its place.
pub(super) fn read_only_output(base: &Base<'_>) -> Result<()> {
    let place = base.place("read-only-output")?;
    let shown = place.out.display().to_string();
    let mut build = mounted(&place.out, READ_ONLY, &place.build_command(), ":");
    place.refuses(&mut build, 1, &[&shown, "Read-only file system"])?;
    fs::remove_dir(&place.out)?;
    fs::write(&place.out, "not a folder")?;
    refused(&mut place.build_command(), 1, &[&shown])?;
    ensure!(fs::read(&place.out)? == b"not a folder", "the file was replaced");
    fs::remove_file(&place.out)?;
    place.builds()
}
