//! The compiled form: a radix tree of what is matched, nodes first, from the
//! leaves up, and then all texts, which nodes name by their offsets.

use std::slice;

use crate::shared_tails::SharedTails;

const SIGNATURE: &[u8; 8] = b"KSLPHHRH";
const HEADER_BYTES: usize = 80;
const NODE_BYTES: usize = 24;
const CHILD_BYTES: usize = 16;
const VALUE_BYTES: usize = 32;

/// Where a property was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a [u8],
    /// Which file, from 1.
    pub priority: u16,
    /// Which line, from 1.
    pub line: u32,
}

#[derive(Debug, Default)]
struct TrieNode {
    /// Offset of what all below have in common.
    prefix: usize,
    /// Sorted, as are the values by the texts of their keys: most nodes have one
    /// or none, of which a map would take ten times the memory.
    children: Vec<(u8, usize)>,
    values: Vec<Value>,
}

/// Offsets have 32 bits: the limits on lines and their number keep all texts
/// far below that.
#[derive(Debug)]
struct Value {
    key: u32,
    value: u32,
    path: u32,
    line: u32,
    priority: u16,
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("half a million lines of a kilobyte")
}

/// Room for one, where there is none: a list of its own accord begins with four.
fn begin<T>(list: &mut Vec<T>) -> &mut Vec<T> {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list
}

/// All properties by what they are for.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<TrieNode>,
    texts: SharedTails,
    /// What the property before had, which most have again.
    key: Repeated,
    path: Repeated,
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            nodes: vec![TrieNode::default()],
            texts: SharedTails::default(),
            key: Repeated::default(),
            path: Repeated::default(),
        }
    }
}

/// A text, and where it is: adding it again would only find it there.
#[derive(Debug, Default)]
struct Repeated {
    text: Vec<u8>,
    offset: usize,
}

impl Repeated {
    fn add(&mut self, texts: &mut SharedTails, text: &[u8]) -> usize {
        if self.text != text {
            *self = Self { text: text.to_vec(), offset: texts.add(text) };
        }
        self.offset
    }
}

impl Trie {
    /// Adds a property for what `pattern` matches; a later one of the same key
    /// replaces it.
    pub fn insert(&mut self, pattern: &[u8], key: &[u8], value: &[u8], source: &Source<'_>) {
        let (mut at, mut rest) = (0, pattern);
        loop {
            let prefix = self.texts.text(self.nodes[at].prefix);
            let same = prefix.iter().zip(rest).take_while(|(one, other)| one == other).count();
            if same < prefix.len() {
                self.split(at, same);
            }
            rest = &rest[same..];
            let Some((first, after)) = rest.split_first() else {
                return self.put(at, key, value, source);
            };
            match self.child(at, *first) {
                Ok(place) => (at, rest) = (self.nodes[at].children[place].1, after),
                Err(place) => {
                    let prefix = self.texts.add(after);
                    let child = self.push(TrieNode { prefix, ..TrieNode::default() });
                    begin(&mut self.nodes[at].children).insert(place, (*first, child));
                    return self.put(child, key, value, source);
                }
            }
        }
    }

    fn child(&self, at: usize, byte: u8) -> Result<usize, usize> {
        self.nodes[at].children.binary_search_by_key(&byte, |(first, _)| *first)
    }

    fn push(&mut self, node: TrieNode) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Puts a node in between that has the first `same` bytes of the prefix.
    fn split(&mut self, at: usize, same: usize) {
        let prefix = self.texts.text(self.nodes[at].prefix).to_vec();
        let shorter = TrieNode { prefix: self.texts.add(&prefix[..same]), ..TrieNode::default() };
        let mut rest = std::mem::replace(&mut self.nodes[at], shorter);
        rest.prefix += same + 1;
        let child = self.push(rest);
        begin(&mut self.nodes[at].children).push((prefix[same], child));
    }

    fn put(&mut self, at: usize, key: &[u8], value: &[u8], source: &Source<'_>) {
        let key_at = self.key.add(&mut self.texts, key);
        let value = self.texts.add(value);
        let path = self.path.add(&mut self.texts, source.path);
        let Source { priority, line, .. } = *source;
        let (key_at, value, path) = (narrow(key_at), narrow(value), narrow(path));
        let new = Value { key: key_at, value, path, line, priority };
        let texts = &self.texts;
        let values = &mut self.nodes[at].values;
        match values.binary_search_by(|known| texts.text(known.key as usize).cmp(key)) {
            Ok(known) => values[known] = new,
            Err(place) => begin(values).insert(place, new),
        }
    }

    /// The file, as that version of systemd writes it.
    pub fn to_bytes(&self, version: u64) -> Vec<u8> {
        let children: usize = self.nodes.iter().map(|node| node.children.len()).sum();
        let values: usize = self.nodes.iter().map(|node| node.values.len()).sum();
        let nodes = self.nodes.len() * NODE_BYTES + children * CHILD_BYTES + values * VALUE_BYTES;
        let texts = self.texts.bytes();
        let mut out = Vec::with_capacity(HEADER_BYTES + nodes + texts.len());
        out.extend_from_slice(SIGNATURE);
        out.resize(HEADER_BYTES, 0);
        let root = self.write_nodes(HEADER_BYTES + nodes, &mut out);
        out.extend_from_slice(texts);
        let sizes = [HEADER_BYTES, NODE_BYTES, CHILD_BYTES, VALUE_BYTES];
        let fields = [out.len()].into_iter().chain(sizes).chain([root, nodes, texts.len()]);
        let fields = std::iter::once(version).chain(fields.map(|field| field as u64));
        for (field, place) in fields.zip(out[SIGNATURE.len()..].chunks_exact_mut(8)) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        out
    }

    /// Writes what is below each node, then the node; gives the root's offset.
    /// They go as deep as one match begins with another, so it is no recursion.
    fn write_nodes(&self, texts: usize, out: &mut Vec<u8>) -> usize {
        let mut open = vec![Open::new(0, &self.nodes[0])];
        let mut root = 0;
        while let Some(Open { byte, node, below, children }) = open.last_mut() {
            if let Some((first, child)) = below.next() {
                open.push(Open::new(*first, &self.nodes[*child]));
                continue;
            }
            let (byte, offset) = (*byte, out.len());
            write_node(node, children, texts, out);
            open.pop();
            match open.last_mut() {
                Some(parent) => parent.children.push((byte, offset)),
                None => root = offset,
            }
        }
        root
    }
}

/// A node of which some children are written.
struct Open<'t> {
    /// What its parent knows it by.
    byte: u8,
    node: &'t TrieNode,
    /// Those that are not.
    below: slice::Iter<'t, (u8, usize)>,
    /// Offsets of those that are.
    children: Vec<(u8, usize)>,
}

impl<'t> Open<'t> {
    fn new(byte: u8, node: &'t TrieNode) -> Self {
        Self { byte, node, below: node.children.iter(), children: Vec::new() }
    }
}

/// `texts` is where texts will begin.
fn write_node(node: &TrieNode, children: &[(u8, usize)], texts: usize, out: &mut Vec<u8>) {
    let mut number = |number: usize| out.extend_from_slice(&(number as u64).to_le_bytes());
    number(texts + node.prefix);
    // One byte of count, at most 255 as no text has a zero byte, and padding.
    number(children.len());
    number(node.values.len());
    for (byte, child) in children {
        number((*byte).into());
        number(*child);
    }
    for value in &node.values {
        number(texts + value.key as usize);
        number(texts + value.value as usize);
        number(texts + value.path as usize);
        // A number of four bytes, one of two, and padding.
        number(value.line as usize | usize::from(value.priority) << 32);
    }
}
