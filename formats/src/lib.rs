//! The bytes that more than one side of Slipway must agree on.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "bundle")]
pub mod archive;
pub mod block;
#[cfg(feature = "bundle")]
pub mod chunks;
pub mod crc32c;
pub mod digest;
#[cfg(feature = "bundle")]
pub mod dsse;
pub mod field;
pub mod gpt;
pub mod guid;
#[cfg(feature = "bundle")]
pub mod json;
#[cfg(feature = "bundle")]
pub mod manifest;
pub mod release;
pub mod state;
pub mod text;
pub mod transition;
#[cfg(feature = "bundle")]
pub mod trust;
pub mod uki_header;
pub mod verity;
pub mod vhdx;

pub use block::BlockDevice;
pub use digest::{Digest, Hasher};
pub use release::{DataSchema, Release, Slot};
