//! The documents beside an image: what it is, what is in it, how its disk is
//! laid out. Text, sorted, for review and for `diff`.

use formats::gpt::Gpt;

use crate::disk;
use crate::lock::Lock;

/// The manifest as it was signed.
pub const MANIFEST_FILE: &str = "manifest.json";
/// One package a line.
pub const PACKAGES_FILE: &str = "packages.txt";
/// One partition a line.
pub const LAYOUT_FILE: &str = "layout.txt";

/// The lock it was built from.
pub const LOCK_FILE: &str = "lock.toml";
/// All it was built from, to build it again.
pub const INPUTS_FILE: &str = "inputs.tar";

/// Names and contents of the documents; the manifest is there if it was signed.
#[must_use]
pub fn documents(manifest: Option<&[u8]>, lock: &Lock, gpt: &Gpt) -> Vec<(&'static str, Vec<u8>)> {
    let packages: String = lock
        .packages
        .iter()
        .map(|package| format!("{} {} {}\n", package.nevra(), package.repository, package.sha256))
        .collect();
    let mut all = vec![
        (PACKAGES_FILE, packages.into_bytes()),
        (LOCK_FILE, lock.to_string().into_bytes()),
        (LAYOUT_FILE, disk::describe(gpt).into_bytes()),
    ];
    all.extend(manifest.map(|bytes| (MANIFEST_FILE, bytes.to_vec())));
    all
}
