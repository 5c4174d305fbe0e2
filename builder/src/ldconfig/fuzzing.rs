//! Reading an ELF file as a function of bytes, for `fuzz/targets` alone: no part
//! of what this crate offers.

use super::elf;
use crate::tree::Content;

/// Takes `bytes` as a shared library; gives its soname.
pub fn library(bytes: &[u8]) -> Option<String> {
    elf::read(&Content::bytes(bytes.to_vec()))?.soname
}
