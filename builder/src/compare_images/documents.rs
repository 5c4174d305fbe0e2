//! What two documents say differently: lines of texts, fields of manifests,
//! members of archives. `None` where a document cannot be read as one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufReader, Read};

use formats::Hasher;
use serde_json::Value;

use super::bytes::Bytes;

/// No document is larger.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Fields are named by all that they are in, which may be named at length.
const MAX_NAMES_BYTES: usize = 128 << 20;
/// A line that is longer is cut off.
const SHOWN: usize = 120;

/// The first line that differs: after a line that one has more, all others do.
pub(super) fn text(one: &Bytes<'_>, other: &Bytes<'_>) -> Option<Vec<String>> {
    let left = String::from_utf8(one.all(MAX_DOCUMENT_BYTES)?).ok()?;
    let right = String::from_utf8(other.all(MAX_DOCUMENT_BYTES)?).ok()?;
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (left.next(), right.next()) {
            // Only the ends of lines differ.
            (None, None) => return None,
            (one, other) if one != other => {
                let (one, other) = (shown(one), shown(other));
                return Some(vec![format!("line {number}: {one} here, {other} there")]);
            }
            _ => {}
        }
    }
}

fn shown(line: Option<&str>) -> String {
    match line {
        None => "nothing".to_owned(),
        Some(line) if line.chars().count() > SHOWN => {
            format!("{:?}…", line.chars().take(SHOWN).collect::<String>())
        }
        Some(line) => format!("{line:?}"),
    }
}

/// The fields that differ; lines where it is no JSON any more.
pub(super) fn json(one: &Bytes<'_>, other: &Bytes<'_>) -> Option<Vec<String>> {
    let read = |bytes: &Bytes<'_>| fields(&bytes.all(MAX_DOCUMENT_BYTES)?);
    match (read(one), read(other)) {
        (Some(left), Some(right)) => Some(differences(&left, &right)),
        _ => text(one, other),
    }
}

fn fields(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    fields_within(bytes, MAX_NAMES_BYTES)
}

/// None if the names of fields have more than `most` bytes.
fn fields_within(bytes: &[u8], mut most: usize) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    add_fields("", &serde_json::from_slice(bytes).ok()?, &mut found, &mut most)?;
    Some(found)
}

/// serde_json limits how deep a document may be.
fn add_fields(
    at: &str,
    value: &Value,
    found: &mut BTreeMap<String, String>,
    left: &mut usize,
) -> Option<()> {
    *left = left.checked_sub(at.len())?;
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.try_for_each(|(key, value)| add_fields(&below(key), value, found, left))
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items
                .try_for_each(|(at, value)| add_fields(&below(&at.to_string()), value, found, left))
        }
        value => {
            found.insert(at.to_owned(), value.to_string());
            Some(())
        }
    }
}

/// The members that differ.
pub(super) fn archive(one: &Bytes<'_>, other: &Bytes<'_>) -> Option<Vec<String>> {
    Some(differences(&members(one)?, &members(other)?))
}

/// No more is read of an archive than it has bytes: a sparse member may claim
/// to have any size.
fn members(bytes: &Bytes<'_>) -> Option<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(BufReader::new(bytes.reader()));
    let (mut found, mut left) = (BTreeMap::new(), bytes.len);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let name = entry.path().ok()?.display().to_string();
        let (size, mut hasher) = (entry.size(), Hasher::new());
        left = left.checked_sub(size)?;
        let mut buffer = [0; 1 << 14];
        loop {
            match entry.read(&mut buffer).ok()? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        let mut what =
            format!("{:?} {:o}", entry.header().entry_type(), entry.header().mode().ok()?);
        if let Some(link) = entry.link_name().ok()? {
            let _ = write!(what, " to {}", link.display());
        }
        let _ = write!(what, ", {size} bytes, {}", hasher.finish());
        found.insert(name, what);
    }
    Some(found)
}

/// What two lists of named things say differently.
pub(super) fn differences(
    left: &BTreeMap<String, String>,
    right: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
    names.sort();
    names.dedup();
    let of = |list: &BTreeMap<String, String>, name: &str| {
        list.get(name).cloned().unwrap_or_else(|| "nothing".to_owned())
    };
    names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .map(|name| {
            let (left, right) = unlike(&of(left, name), &of(right, name));
            format!("{name}: {left} here, {right} there")
        })
        .collect()
}

/// Of two descriptions, the parts between commas that are not the same.
fn unlike(left: &str, right: &str) -> (String, String) {
    let (one, other): (Vec<_>, Vec<_>) = (left.split(", ").collect(), right.split(", ").collect());
    if one.len() != other.len() {
        return (left.to_owned(), right.to_owned());
    }
    let pairs = one.into_iter().zip(other).filter(|(one, other)| one != other);
    let (one, other): (Vec<_>, Vec<_>) = pairs.unzip();
    (one.join(", "), other.join(", "))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn names_of_fields_are_bounded() {
        let long = format!("{{\"{}\": {{\"a\": 1, \"b\": [2]}}}}", "n".repeat(100));
        let found = fields_within(long.as_bytes(), 1000).unwrap();
        assert_eq!(found.len(), 2);
        assert!(fields_within(long.as_bytes(), 300).is_none());
    }

    #[test]
    fn a_sparse_member_is_not_read_to_its_end() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_path("hole").unwrap();
        let digits = format!("{:011o}", 1_u64 << 30);
        header.as_gnu_mut().unwrap().realsize[..11].copy_from_slice(digits.as_bytes());
        header.set_cksum();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(&[0; 1024]).unwrap();
        assert!(members(&Bytes::of(&file).unwrap()).is_none());
    }
}
