//! CRC-32C (Castagnoli's polynomial, RFC 3720): the checksum of VHDX, erofs and
//! ext4. CRC-32 of the GPT is another polynomial.

/// The polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// One step for each value of a byte.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// Goes on from `crc` with `bytes`, with no inversion at either end: Linux'
/// `crc32c(crc, …)`, which erofs and ext4 use as it is.
#[must_use]
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

/// The checksum as RFC 3720 defines it, which is what VHDX stores.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_the_check_value_of_rfc_3720() {
        assert_eq!(super::checksum(b"123456789"), 0xe306_9283);
    }
}
