//! What two documents say differently: lines of texts, fields of manifests,
//! members of archives. `None` where a document cannot be read as one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, Read};

use formats::Digest;
use serde_json::Value;

use super::bytes::Bytes;

/// No document is larger.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Overlays may hold programs.
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;
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
    let mut found = BTreeMap::new();
    add_fields("", &serde_json::from_slice(bytes).ok()?, &mut found);
    Some(found)
}

/// serde_json limits how deep a document may be.
fn add_fields(at: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| add_fields(&below(key), value, found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| add_fields(&below(&index.to_string()), value, found));
        }
        value => drop(found.insert(at.to_owned(), value.to_string())),
    }
}

/// The members that differ.
pub(super) fn archive(one: &Bytes<'_>, other: &Bytes<'_>) -> Option<Vec<String>> {
    let left = members(one.all(MAX_ARCHIVE_BYTES)?)?;
    let right = members(other.all(MAX_ARCHIVE_BYTES)?)?;
    Some(differences(&left, &right))
}

fn members(bytes: Vec<u8>) -> Option<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let mut found = BTreeMap::new();
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let name = entry.path().ok()?.display().to_string();
        let mut content = Vec::new();
        // a sparse member may claim any size
        if entry.size() > MAX_ARCHIVE_BYTES {
            return None;
        }
        entry.read_to_end(&mut content).ok()?;
        let mut what =
            format!("{:?} {:o}", entry.header().entry_type(), entry.header().mode().ok()?);
        if let Some(link) = entry.link_name().ok()? {
            let _ = write!(what, " to {}", link.display());
        }
        let _ = write!(what, ", {} bytes, {}", content.len(), Digest::of(&content));
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
