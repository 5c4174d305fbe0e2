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
pub mod parallel;
pub mod progress;
pub mod recipe;
pub mod repository;
pub mod signature;
pub mod solve;
pub mod store;
pub mod unfinished;
pub mod vendor;
// the tree: packages to a root file system
mod acl;
pub mod alternatives;
pub mod ca_trust;
pub mod catalog;
pub mod certificates;
pub mod compose;
mod der;
pub mod erofs;
pub mod header;
pub mod hwdb;
pub mod ldconfig;
pub mod lua;
pub mod package;
pub mod presets;
pub mod rpmdb;
pub mod sandbox;
pub mod shared_tails;
mod sqlite;
pub mod tmpfiles;
pub mod tree;
pub mod users;
// the image: boot, disk, bundle
pub mod archive;
pub mod bundle;
pub mod compare_images;
pub mod disk;
pub mod engines;
pub mod esp;
pub mod flushing;
pub mod guest;
pub mod hashing;
pub mod image;
pub mod initrd;
pub mod inputs;
pub mod kernel;
pub mod keys;
mod memory;
pub mod modules;
pub mod outputs;
pub mod pieces;
pub mod rebuild;
pub mod region;
pub mod report;
pub mod rootfs;
pub mod staging;
pub mod uki;
pub mod unchanged;
pub mod worker;
