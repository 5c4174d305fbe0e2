//! CRC-32C as EROFS' superblock wants it.

/// Castagnoli's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// CRC-32C of `bytes`, started from all ones and *not* inverted at the end,
/// which is how the kernel's `crc32c(~0, …)` gives it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_the_check_value_of_rfc_3720() {
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283);
    }
}
