//! The project's own chores. `ci repository` makes what the builder is tried on:
//!
//! ```text
//! demo-packages.toml ─apt─▶ .deb ─convert─▶ RpmPackage ─sign─▶ Packages/ ─▶ repodata/ ─judge─▶ rpm, dnf
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apt;
pub mod bad_input;
pub mod bench;
pub mod bench_lock;
pub mod cache;
pub mod cases;
pub mod changed;
pub mod checks;
pub mod convert;
pub mod deb;
pub mod demo;
pub mod demo_list;
pub mod dependency;
pub mod elf;
pub mod format_boots;
pub mod fuzz;
pub mod image_judges;
pub mod images;
pub mod judge;
pub mod mariner;
pub mod merged_usr;
pub mod metadata;
pub mod pgp_key;
pub mod process;
pub mod proof;
pub mod repository;
pub mod reproducible;
pub mod rpm_package;
pub mod setup;
pub mod small_repository;
pub mod solve_judge;
pub mod synthetic;
pub mod tools;
pub mod tree_judge;
pub mod tuf_judge;
pub mod vm;
