//! Recipe to signed image.
//!
//! ```text
//! recipe ─lock─▶ lock ─fetch─▶ store ─compose─▶ tree ─erofs─▶ root ─verity─▶ UKI ─▶ disk, bundle
//! ```

// what is wanted: recipe, repositories, lock
pub mod diagnose;
pub mod evr;
pub mod fetch;
#[cfg(test)]
mod fixture;
pub mod location;
pub mod lock;
pub mod progress;
pub mod recipe;
pub mod repository;
pub mod signature;
pub mod solve;
pub mod store;
pub mod unfinished;
// the tree: packages to a root file system
pub mod compose;
pub mod erofs;
pub mod header;
pub mod ldconfig;
pub mod package;
pub mod presets;
pub mod rpmdb;
mod sqlite;
pub mod tree;
pub mod users;
// the image: boot, disk, bundle
pub mod bundle;
pub mod disk;
pub mod esp;
pub mod guest;
pub mod image;
pub mod initrd;
pub mod kernel;
pub mod keys;
pub mod modules;
pub mod report;
pub mod staging;
pub mod uki;
