//! What slipway-boot does, apart from the firmware it does it with: pure code
//! that is tested on the host. The EFI program around it is `main.rs` and `efi/`.
//!
//! ```text
//! state record ─▶ begin_boot ─▶ store ─▶ read UKI ─▶ load ─▶ start ─▶ (running)
//!      ▲              ▲           │          │         │       │
//!      │ lost:        │           └──────────┴────┬────┴───────┘
//!   rebuilt from      │                           ▼ refused or returned
//!   the slots' headers└────────────────── mark bad, store, other slot
//! ```
//!
//! A try is counted before it is made, so an image that never comes back
//! cannot be tried for ever; whatever comes back gives way in the same boot.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod chooser;
pub mod device_path;
pub mod image;
pub mod pages;

pub use chooser::{Firmware, choose};
