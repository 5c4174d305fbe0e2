//! The files of an initrd ("newc"), for naming the one that differs.

use std::collections::BTreeMap;

use formats::Digest;

/// Magic and thirteen fields of eight digits.
const HEADER_BYTES: usize = 6 + 13 * 8;

/// What each file is: mode and digest. Ends where it is no archive any more.
pub(super) fn list(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut at = 0;
    while let Some((name, what, next)) = entry(bytes, at) {
        if name == "TRAILER!!!" {
            break;
        }
        found.insert(name, what);
        at = next;
    }
    found
}

fn entry(bytes: &[u8], at: usize) -> Option<(String, String, usize)> {
    let header = bytes.get(at..at.checked_add(HEADER_BYTES)?)?;
    if !header.starts_with(b"070701") {
        return None;
    }
    let field = |index: usize| {
        let digits = std::str::from_utf8(header.get(6 + index * 8..14 + index * 8)?).ok()?;
        usize::from_str_radix(digits, 16).ok()
    };
    let (mode, size, name_len) = (field(1)?, field(6)?, field(11)?);
    let name_at = at + HEADER_BYTES;
    let name = bytes.get(name_at..name_at.checked_add(name_len.checked_sub(1)?)?)?;
    let content_at = name_at.checked_add(name_len)?.checked_next_multiple_of(4)?;
    let end = content_at.checked_add(size)?;
    let content = bytes.get(content_at..end)?;
    let what = format!("mode {mode:o}, {size} bytes, content {}", Digest::of(content));
    Some((String::from_utf8_lossy(name).into_owned(), what, end.checked_next_multiple_of(4)?))
}
