//! kmod's binary indexes: a trie whose nodes share prefixes, written children
//! first (kmod's `libkmod/libkmod-index.c`).

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
/// Flags in the offset of a node: what the node has.
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// The largest index of Debian's cloud kernel, with 1,121 modules, has 0.3 MB.
pub const MAX_BYTES: usize = 64 << 20;

/// Keys with their values. A key is found in one walk.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<Vec<u8>, Vec<Value>>,
}

/// Its priority, and itself.
type Value = (usize, String);

impl Index {
    /// Adds a value; those of lower priority numbers come first, and the later
    /// of equals. Keys that are not ASCII cannot be stored and are left out.
    pub fn insert(&mut self, key: &str, value: &str, priority: usize) {
        if !key.is_ascii() || !value.is_ascii() || key.contains('\0') || value.contains('\0') {
            return;
        }
        let values = self.entries.entry(key.as_bytes().to_vec()).or_default();
        values.push((priority, value.to_owned()));
    }

    /// The index as a file; none if it had more than `most` bytes, as nodes
    /// with few children may be a hundred times as large as their keys.
    pub fn into_bytes(mut self, most: usize) -> Option<Vec<u8>> {
        for values in self.entries.values_mut() {
            values.reverse();
            values.sort_by_key(|(priority, _)| *priority);
        }
        let entries: Vec<_> = self.entries.iter().map(|(key, values)| (&key[..], values)).collect();
        let mut bytes = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
        let root = write_nodes(&mut bytes, &entries, most)?;
        bytes[8..12].copy_from_slice(&root.to_be_bytes());
        Some(bytes)
    }
}

type Entry<'a> = (&'a [u8], &'a Vec<Value>);

/// A node whose children are being written. All of its entries have the same
/// first `depth` bytes.
struct Open<'a> {
    /// The last of those: what comes after the byte its parent knows it by.
    prefix: &'a [u8],
    depth: usize,
    own: Option<&'a Vec<Value>>,
    /// Entries of children that are not written yet.
    below: &'a [Entry<'a>],
    /// Offsets of those that are, by their first bytes.
    children: BTreeMap<u8, u32>,
}

impl<'a> Open<'a> {
    fn new(prefix: &'a [u8], depth: usize, entries: &'a [Entry<'a>]) -> Self {
        let (own, below) = match entries.split_first() {
            Some(((key, values), rest)) if key.len() == depth => (Some(*values), rest),
            _ => (None, entries),
        };
        Self { prefix, depth, own, below, children: BTreeMap::new() }
    }

    /// The next child with its first byte; it swallows what all of its keys
    /// share after that.
    fn next_child(&mut self) -> Option<(u8, Self)> {
        let depth = self.depth;
        let first = self.below.first()?.0;
        let count = self.below.partition_point(|(key, _)| key[depth] == first[depth]);
        let (group, rest) = self.below.split_at(count);
        self.below = rest;
        let last = group[count - 1].0;
        let shared = first[depth + 1..].iter().zip(&last[depth + 1..]);
        let end = depth + 1 + shared.take_while(|(a, b)| a == b).count();
        Some((first[depth], Self::new(&first[depth + 1..end], end, group)))
    }

    /// Writes it behind its children; gives its offset with flags.
    fn write(&self, bytes: &mut Vec<u8>) -> u32 {
        // Offsets past the flags cannot be: that is beyond the limit.
        let mut offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX) & !(0xe000_0000);
        if !self.prefix.is_empty() {
            bytes.extend(self.prefix);
            bytes.push(0);
            offset |= HAS_PREFIX;
        }
        if let (Some((first, _)), Some((last, _))) =
            (self.children.first_key_value(), self.children.last_key_value())
        {
            bytes.extend([*first, *last]);
            for byte in *first..=*last {
                bytes.extend(self.children.get(&byte).copied().unwrap_or(0).to_be_bytes());
            }
            offset |= HAS_CHILDREN;
        }
        if let Some(values) = self.own {
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
}

/// Writes the nodes for `entries`, children first; gives the root's offset. How
/// deep they go is up to the keys, so it is no recursion.
fn write_nodes(bytes: &mut Vec<u8>, entries: &[Entry<'_>], most: usize) -> Option<u32> {
    let mut open = vec![(0, Open::new(b"", 0, entries))];
    while let Some((byte, node)) = open.last_mut() {
        if let Some(child) = node.next_child() {
            open.push(child);
            continue;
        }
        let (byte, offset) = (*byte, node.write(bytes));
        open.pop();
        if bytes.len() > most {
            return None;
        }
        match open.last_mut() {
            Some((_, parent)) => drop(parent.children.insert(byte, offset)),
            None => return Some(offset),
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_deep_as_they_are_long_need_no_stack() {
        let mut index = Index::default();
        for len in 1..3000 {
            index.insert(&"a".repeat(len), "m", 0);
        }
        let small = std::thread::Builder::new().stack_size(64 << 10);
        let bytes = small.spawn(move || index.into_bytes(MAX_BYTES)).unwrap().join().unwrap();
        assert!(bytes.is_some_and(|bytes| bytes.len() > 3000 * 8));
    }

    #[test]
    fn an_index_is_no_larger_than_it_may_be() {
        let index = || {
            let mut index = Index::default();
            for byte in b'!'..=b'~' {
                let first = char::from(byte);
                index.insert(&format!("{first}!"), "m", 0);
                index.insert(&format!("{first}~"), "m", 0);
            }
            index
        };
        let whole = index().into_bytes(MAX_BYTES).unwrap().len();
        assert!(whole > 94 * 94 * 4, "a few keys make much: {whole}");
        assert!(index().into_bytes(whole).is_some());
        assert!(index().into_bytes(whole - 1).is_none());
    }

    #[test]
    fn values_are_in_the_order_of_their_priorities() {
        let mut index = Index::default();
        for (value, priority) in [("c", 1), ("b", 0), ("a", 0)] {
            index.insert("k", value, priority);
        }
        let bytes = index.into_bytes(MAX_BYTES).unwrap();
        let at = |text: &[u8]| bytes.windows(text.len()).position(|found| found == text).unwrap();
        assert!(at(b"a\0") < at(b"b\0") && at(b"b\0") < at(b"c\0"));
    }
}
