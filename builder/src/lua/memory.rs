//! What a script makes its host hold, beside the memory of Lua itself: its
//! variables and macros, the files it has open, what it puts into the tree. All
//! of it together is limited. Past the limit calls do nothing any more, and the
//! script has failed whatever else it does, as if Lua had run out of memory.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// All of it, in bytes; as much as Lua's own.
pub const MAX_BYTES: usize = super::MAX_MEMORY;

/// What an entry costs, of a list or of the tree, beside its texts.
pub const ENTRY_BYTES: usize = 256;

/// How much is left, shared by all that hold some.
#[derive(Debug, Clone)]
pub struct Memory(Rc<Left>);

#[derive(Debug)]
struct Left {
    bytes: Cell<usize>,
    exceeded: Cell<bool>,
}

impl Memory {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Rc::new(Left { bytes: Cell::new(bytes), exceeded: Cell::new(false) }))
    }

    /// Whether there was a time when it did not suffice.
    pub fn exceeded(&self) -> bool {
        self.0.exceeded.get()
    }

    /// Nothing yet.
    pub fn hold(&self) -> Held {
        Held { memory: self.clone(), bytes: 0 }
    }

    /// As much as that; none if there is not as much.
    pub fn take(&self, bytes: usize) -> Option<Held> {
        let mut held = self.hold();
        held.resize(bytes).then_some(held)
    }
}

/// A part of it, which is given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    memory: Memory,
    bytes: usize,
}

impl Held {
    /// Holds that much from now on; says whether there is as much.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let left = &self.memory.0;
        match (left.bytes.get() + self.bytes).checked_sub(bytes) {
            Some(rest) => {
                left.bytes.set(rest);
                self.bytes = bytes;
                true
            }
            None => {
                left.exceeded.set(true);
                false
            }
        }
    }

    /// Holds so much more.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.resize(self.bytes.saturating_add(bytes))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let left = &self.memory.0.bytes;
        left.set(left.get() + self.bytes);
    }
}

/// Texts by their names: variables, or macros.
#[derive(Debug)]
pub struct Texts {
    texts: BTreeMap<String, String>,
    held: Held,
}

impl Texts {
    /// With those that are there before the script begins.
    pub fn new(memory: &Memory, texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = Self { texts: BTreeMap::new(), held: memory.hold() };
        texts.into_iter().for_each(|(name, text)| all.insert(name, text));
        all
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// Puts one, in place of that of the same name.
    pub fn insert(&mut self, name: String, text: String) {
        self.remove(&name);
        if self.held.grow(cost(&name, &text)) {
            self.texts.insert(name, text);
        }
    }

    /// Removes one, if there is one of the name.
    pub fn remove(&mut self, name: &str) {
        if let Some(text) = self.texts.remove(name) {
            let _ = self.held.resize(self.held.bytes - cost(name, &text));
        }
    }
}

fn cost(name: &str, text: &str) -> usize {
    name.len() + text.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_held_again() {
        let memory = Memory::new(2 * ENTRY_BYTES);
        let mut texts = Texts::new(&memory, [("a".to_owned(), "1".to_owned())]);
        for _ in 0..9 {
            texts.insert("a".to_owned(), "22".to_owned());
            texts.remove("a");
            texts.remove("none");
            drop(memory.take(2 * ENTRY_BYTES));
        }
        assert!(!memory.exceeded());
        texts.insert("a".to_owned(), "x".repeat(ENTRY_BYTES));
        assert!(memory.exceeded());
        assert!(texts.all().is_empty());
        assert!(memory.take(2 * ENTRY_BYTES).is_some());
    }
}
