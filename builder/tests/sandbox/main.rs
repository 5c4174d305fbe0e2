//! Install scripts in the sandbox: as root, as a plain user with sub-ids and
//! without, and beside `chroot` on a real copy of the tree.
//!
//! The cases of a plain user are run by this same program, started again as
//! that user: see [`plain`].

#![allow(clippy::unwrap_used)]

mod bounds;
mod changes;
mod chroot;
mod fixture;
mod lifetime;
mod plain;
mod size;
