//! What goes wrong, tried with the real programs: broken recipes, packages,
//! locks, bundles and disks, full and read-only folders, builds that are cut
//! off. Each case asks for the exit code, for a message that names the thing,
//! that nothing half-written stays, and that the same command works once the
//! fault is gone.

mod bundles;
mod disks;
mod hostile;
mod interruptions;
mod packages;
mod place;
mod recipes;
mod storage;
mod supply;

use anyhow::Result;

use crate::cases::{self, Case};
use crate::images::Workshop;
use place::Base;

/// The long ones first.
fn all_cases<'w>() -> [Case<Base<'w>>; 26] {
    [
        ("a build that is interrupted", interruptions::interrupted),
        ("a build that is killed", interruptions::killed),
        ("whatever is killed, at any moment", interruptions::killed_anywhere),
        ("two builds at once", interruptions::two_at_once),
        ("an image that is there already", interruptions::unchanged),
        ("a build that has no network", supply::without_network),
        ("an image that somebody builds again", supply::rebuilt),
        ("an image with a changed byte", supply::changed_image),
        ("a store that is damaged", supply::damaged_store),
        ("a store that is emptied", supply::collected_store),
        ("a full disk", storage::full_disk),
        ("a read-only output folder", storage::read_only_output),
        ("packages made to do harm", hostile::refused),
        ("a package replaced by other bytes", packages::replaced),
        ("a package cut off", packages::truncated),
        ("packages signed by another key, or by none", packages::badly_signed),
        ("a lock from a newer version", recipes::newer_lock),
        ("a lock that is out of date", recipes::stale_lock),
        ("a recipe with mistakes", recipes::mistakes),
        ("a package that is missing", recipes::missing_package),
        ("a bundle that is cut off", bundles::cut_off),
        ("a bundle with a changed byte", bundles::changed),
        ("disks that are not ours", disks::not_ours),
        ("a state record that is destroyed", disks::destroyed_state),
        ("a disk that is in use", disks::in_use),
        ("a disk that cannot be written", disks::not_writable),
    ]
}

/// Tries every case.
pub fn run(workshop: &Workshop) -> Result<()> {
    let base = Base::new(workshop)?;
    cases::run("bad inputs", &all_cases(), None, &base)?;
    base.remove()
}
