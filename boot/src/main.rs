//! `slipway-boot.efi`, installed as `EFI/BOOT/BOOTX64.EFI`: the program the
//! firmware starts. On any other target it only says that it is none.
#![cfg_attr(target_os = "uefi", no_std, no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod efi;

#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("slipway-boot runs from UEFI firmware: build it for x86_64-unknown-uefi");
}
