//! The frame of a bundle: strict ustar (POSIX.1-1988), members in a fixed
//! order, so that any `tar` can open it and no two readers see different
//! things. A header is a pure function of name and size, and a reader accepts
//! exactly those bytes.
//!
//! ```text
//! slipway-bundle    "1\n"
//! manifest.json     what everything below is tied to
//! signatures.json   DSSE, over the bytes of manifest.json
//! root/1.json …     the trust root's chain
//! chunks/uki        chunk tables
//! chunks/root
//! chunks/verity
//! data/uki          frames
//! data/root
//! data/verity
//! two zero blocks
//! ```

/// Unit of a tar archive in bytes.
pub const RECORD_BYTES: usize = 512;
/// Name of the first member.
pub const MARKER: &str = "slipway-bundle";
/// Content of the first member: the format of the archive.
pub const MARKER_CONTENT: &[u8] = b"1\n";
/// Zeros at the end.
pub const END_BYTES: u64 = 2 * RECORD_BYTES as u64;
/// ustar has eleven octal digits for a size.
pub const MAX_MEMBER_BYTES: u64 = (1 << 33) - 1;

/// The header of a regular file of mode 0644, owner 0:0, time 0. `None` when
/// the name has more than 100 bytes or the size more than eleven octal digits.
#[must_use]
pub fn header(name: &str, size_bytes: u64) -> Option<[u8; RECORD_BYTES]> {
    let mut out = [0; RECORD_BYTES];
    out.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    if name.len() > 100 || size_bytes > MAX_MEMBER_BYTES {
        return None;
    }
    put_octal(&mut out[100..108], 0o644);
    put_octal(&mut out[108..116], 0);
    put_octal(&mut out[116..124], 0);
    put_octal(&mut out[124..136], size_bytes);
    put_octal(&mut out[136..148], 0);
    out[148..156].fill(b' ');
    out[156] = b'0';
    out[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut out[329..337], 0);
    put_octal(&mut out[337..345], 0);
    let sum: u64 = out.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut out[148..155], sum);
    out[155] = b' ';
    Some(out)
}

/// The name and size of a header, if its bytes are exactly what [`header`]
/// makes of them.
#[must_use]
pub fn parse_header(record: &[u8; RECORD_BYTES]) -> Option<(&str, u64)> {
    let len = record[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
    let name = core::str::from_utf8(&record[..len]).ok()?;
    let digits = core::str::from_utf8(&record[124..135]).ok()?;
    let size = u64::from_str_radix(digits, 8).ok()?;
    (header(name, size)? == *record).then_some((name, size))
}

/// Zeros after a member of `size_bytes`.
#[must_use]
pub fn padding(size_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(RECORD_BYTES as u64) - size_bytes
}

/// Zero-padded octal digits and a NUL, filling `field`.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let mut rest = value;
    for place in field[..digits].iter_mut().rev() {
        *place = b'0' + (rest % 8) as u8;
        rest /= 8;
    }
    field[digits] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_headers_are_read() {
        let ours = header("data/root", 1 << 30).expect("short");
        assert_eq!(parse_header(&ours), Some(("data/root", 1 << 30)));
        for at in 0..RECORD_BYTES {
            for bit in 0..8 {
                let mut other = ours;
                other[at] ^= 1 << bit;
                assert_eq!(parse_header(&other), None, "byte {at} bit {bit}");
            }
        }
        assert_eq!(header(&"x".repeat(101), 0), None);
        assert_eq!(header("x", MAX_MEMBER_BYTES + 1), None);
    }
}
