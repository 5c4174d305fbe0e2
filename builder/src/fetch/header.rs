//! The few tags of an RPM header that decide whether a file is taken, and the
//! encoding of rpm 6's signatures.

/// Signature of the header by a DSA or EdDSA key (`RPMSIGTAG_DSA`).
pub(super) const SIGNATURE_DSA: u32 = 267;
/// Signature of the header by an RSA key (`RPMSIGTAG_RSA`).
pub(super) const SIGNATURE_RSA: u32 = 268;
/// Signatures of the header in base64, since rpm 6 (`RPMSIGTAG_OPENPGP`).
pub(super) const SIGNATURE_OPENPGP: u32 = 278;
pub(super) const NAME: u32 = 1000;
pub(super) const VERSION: u32 = 1001;
pub(super) const RELEASE: u32 = 1002;
pub(super) const EPOCH: u32 = 1003;
pub(super) const ARCH: u32 = 1022;
/// SHA-256 of the payload as it is in the file, since rpm 4.14.
pub(super) const PAYLOAD_SHA256: u32 = 5092;

/// Decodes base64 (RFC 4648, section 4), as rpm 6 writes signatures.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for c in text.trim_end().trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_be_bytes()[3]);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(base64("Zm9*"), None);
    }
}
