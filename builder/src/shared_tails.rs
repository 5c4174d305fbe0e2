//! A store of texts in which one that another ends with takes no space of its
//! own: what systemd's compiled databases end with (`src/basic/strbuf.c`). Where
//! a text comes to lie depends on what was added before it, and has to be the
//! same as there for the same bytes to come out.

#[derive(Debug, Default)]
struct Node {
    offset: usize,
    length: usize,
    /// By the byte before what both end with, in the order of that byte. Sorted
    /// rather than hashed: there are few, and no text makes it slow.
    children: Vec<(u8, usize)>,
}

impl Node {
    fn child(&self, byte: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&byte, |(byte, _)| *byte)
    }
}

/// Texts, each followed by a zero byte; the empty one is first.
#[derive(Debug)]
pub struct SharedTails {
    bytes: Vec<u8>,
    nodes: Vec<Node>,
}

impl Default for SharedTails {
    fn default() -> Self {
        Self { bytes: vec![0], nodes: vec![Node::default()] }
    }
}

impl SharedTails {
    /// Adds a text without zero bytes; gives its offset.
    pub fn add(&mut self, text: &[u8]) -> usize {
        let mut at = 0;
        for byte in text.iter().rev() {
            if let Some(offset) = self.tail(at, text) {
                return offset;
            }
            match self.nodes[at].child(*byte) {
                Ok(child) => at = self.nodes[at].children[child].1,
                Err(place) => {
                    let child = (*byte, self.nodes.len());
                    self.nodes[at].children.insert(place, child);
                    return self.append(text);
                }
            }
        }
        // All of it led here, so what is here ends with it.
        let node = &self.nodes[at];
        node.offset + node.length - text.len()
    }

    /// Where what a node has ends with `text`.
    fn tail(&self, at: usize, text: &[u8]) -> Option<usize> {
        let Node { offset, length, .. } = self.nodes[at];
        let start = offset + length.checked_sub(text.len())?;
        (self.bytes[start..offset + length] == *text).then_some(start)
    }

    fn append(&mut self, text: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        self.nodes.push(Node { offset, length: text.len(), children: Vec::new() });
        offset
    }

    /// The text at an offset that [`SharedTails::add`] gave, or within one.
    #[must_use]
    pub fn text(&self, offset: usize) -> &[u8] {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_shared() {
        let mut texts = SharedTails::default();
        let whole = texts.add(b"whole");
        assert_eq!(texts.add(b""), 0);
        assert_eq!(texts.add(b"whole"), whole);
        assert_eq!(texts.add(b"ole"), whole + 2);
        let other = texts.add(b"pole");
        assert_eq!(texts.add(b"pole"), other);
        assert_eq!(texts.text(whole + 1), b"hole");
        assert_eq!(texts.bytes(), b"\0whole\0pole\0");
    }
}
