//! Reads the few tags of an RPM header that decide whether a file is taken.
//! It sees bytes nobody has vouched for yet, so it is strict and small; what
//! is in a package is read elsewhere, after the signature was checked.

/// Size of a header's introduction: magic, reserved, entries, data size.
const INTRO_BYTES: usize = 16;
/// Size of an entry of the index: tag, type, offset, count.
const ENTRY_BYTES: usize = 16;

const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;
const TYPE_BINARY: u32 = 7;
const TYPE_STRING_ARRAY: u32 = 8;

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

/// A header: an index of entries and the data they point into.
pub(super) struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

struct Entry {
    kind: u32,
    offset: usize,
    count: usize,
}

impl<'a> Header<'a> {
    /// Takes a whole header, introduction included.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let entries = usize::try_from(number(bytes, 8)?).ok()?;
        let data = usize::try_from(number(bytes, 12)?).ok()?;
        let index_end = INTRO_BYTES.checked_add(entries.checked_mul(ENTRY_BYTES)?)?;
        let end = index_end.checked_add(data)?;
        let index = bytes.get(INTRO_BYTES..index_end)?;
        Some(Self { index, data: bytes.get(index_end..end)? })
    }

    fn entry(&self, tag: u32) -> Option<Entry> {
        let entry =
            self.index.chunks_exact(ENTRY_BYTES).find(|entry| number(entry, 0) == Some(tag))?;
        Some(Entry {
            kind: number(entry, 4)?,
            offset: usize::try_from(number(entry, 8)?).ok()?,
            count: usize::try_from(number(entry, 12)?).ok()?,
        })
    }

    /// The bytes of `tag`.
    pub fn binary(&self, tag: u32) -> Option<&'a [u8]> {
        let entry = self.entry(tag).filter(|entry| entry.kind == TYPE_BINARY)?;
        self.data.get(entry.offset..entry.offset.checked_add(entry.count)?)
    }

    /// The number of `tag`.
    pub fn number(&self, tag: u32) -> Option<u32> {
        let entry = self.entry(tag).filter(|entry| entry.kind == TYPE_INT32)?;
        number(self.data, entry.offset)
    }

    /// The text of `tag`, the first one if there are several.
    pub fn text(&self, tag: u32) -> Option<&'a str> {
        self.texts(tag).next()
    }

    /// The texts of `tag`.
    pub fn texts(&self, tag: u32) -> impl Iterator<Item = &'a str> {
        let is_text = |entry: &Entry| matches!(entry.kind, TYPE_STRING | TYPE_STRING_ARRAY);
        let entry = self.entry(tag).filter(is_text);
        let count = entry.as_ref().map_or(0, |entry| entry.count);
        let data = entry.and_then(|entry| self.data.get(entry.offset..)).unwrap_or_default();
        // Whatever the count claims, there are no more texts than zero bytes.
        let ended = data.iter().filter(|byte| **byte == 0).count();
        let texts = data.split(|byte| *byte == 0).take(count.min(ended));
        texts.map_while(|text| std::str::from_utf8(text).ok())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_be_bytes)
}

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

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        bytes.extend([0xff; 8]);
        assert!(Header::parse(&bytes).is_none());
        // One text of four billion, and one that begins outside.
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([0, 0, 3, 0xe8, 0, 0, 0, 8, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        bytes.extend([0, 0, 3, 0xe9, 0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
        bytes.extend(*b"a\0b");
        let header = Header::parse(&bytes).expect("whole");
        assert_eq!(header.texts(NAME).collect::<Vec<_>>(), ["a"]);
        assert_eq!(header.text(VERSION), None);
    }
}
