//! kmod's binary indexes: a trie whose nodes share prefixes, written children
//! first (kmod's `libkmod/libkmod-index.c`).

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
/// Flags in the offset of a node: what the node has.
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// Keys with their values. A key is found in one walk.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<Vec<u8>, Vec<(usize, String)>>,
}

impl Index {
    /// Adds a value; those of lower priority numbers come first, and the later
    /// of equals. Keys that are not ASCII cannot be stored and are left out.
    pub fn insert(&mut self, key: &str, value: &str, priority: usize) {
        if !key.is_ascii() || !value.is_ascii() || key.contains('\0') || value.contains('\0') {
            return;
        }
        let values = self.entries.entry(key.as_bytes().to_vec()).or_default();
        let at = values.partition_point(|(other, _)| *other < priority);
        values.insert(at, (priority, value.to_owned()));
    }

    /// The index as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries: Vec<_> = self.entries.iter().map(|(key, values)| (&key[..], values)).collect();
        let mut bytes = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
        let root = write_node(&mut bytes, b"", &entries, 0);
        bytes[8..12].copy_from_slice(&root.to_be_bytes());
        bytes
    }
}

type Entry<'a> = (&'a [u8], &'a Vec<(usize, String)>);

/// Writes the node for `entries`, which all have the same first `depth` bytes,
/// `prefix` being the last of those, and gives its offset with flags.
fn write_node(bytes: &mut Vec<u8>, prefix: &[u8], entries: &[Entry<'_>], depth: usize) -> u32 {
    let (own, below) = match entries.split_first() {
        Some(((key, values), rest)) if key.len() == depth => (Some(*values), rest),
        _ => (None, entries),
    };
    let groups: Vec<&[Entry<'_>]> = below.chunk_by(|a, b| a.0[depth] == b.0[depth]).collect();
    let mut children = BTreeMap::new();
    for group in &groups {
        // A child swallows what all of its keys share after the first byte.
        let (first, last) = (group[0].0, group[group.len() - 1].0);
        let shared = first[depth + 1..].iter().zip(&last[depth + 1..]);
        let shared = shared.take_while(|(a, b)| a == b).count();
        let end = depth + 1 + shared;
        let offset = write_node(bytes, &first[depth + 1..end], group, end);
        children.insert(first[depth], offset);
    }
    // Offsets past the flags cannot be, with indexes of a few hundred KiB.
    let mut offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX) & !(0xe000_0000);
    if !prefix.is_empty() {
        bytes.extend(prefix);
        bytes.push(0);
        offset |= HAS_PREFIX;
    }
    if let (Some((first, _)), Some((last, _))) =
        (children.first_key_value(), children.last_key_value())
    {
        bytes.extend([*first, *last]);
        for byte in *first..=*last {
            bytes.extend(children.get(&byte).copied().unwrap_or(0).to_be_bytes());
        }
        offset |= HAS_CHILDREN;
    }
    if let Some(values) = own {
        bytes.extend(u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (priority, value) in values {
            bytes.extend(u32::try_from(*priority).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(value.bytes());
            bytes.push(0);
        }
        offset |= HAS_VALUES;
    }
    offset
}

/// `-` is `_` outside of brackets; none if brackets do not match.
pub fn normalize_alias(alias: &str) -> Option<String> {
    let mut inside = false;
    let mut result = String::with_capacity(alias.len());
    for letter in alias.chars() {
        match letter {
            ']' if !inside => return None,
            ']' => inside = false,
            '[' => inside = true,
            _ => {}
        }
        result.push(if letter == '-' && !inside { '_' } else { letter });
    }
    (!inside).then_some(result)
}
