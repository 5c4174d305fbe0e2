//! Reading and writing little-endian fields at fixed offsets of a block.
//! The offsets come from layouts in this crate, never from outside bytes.

/// The `N` bytes at `at`.
#[must_use]
pub fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[at..at + N]);
    out
}

/// The `u16` at `at`.
#[must_use]
pub fn u16(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(block, at))
}

/// The `u32` at `at`.
#[must_use]
pub fn u32(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(block, at))
}

/// The `u64` at `at`.
#[must_use]
pub fn u64(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(block, at))
}

/// Writes `value` at `at`.
pub fn put(block: &mut [u8], at: usize, value: &[u8]) {
    block[at..at + value.len()].copy_from_slice(value);
}
