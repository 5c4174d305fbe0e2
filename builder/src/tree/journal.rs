//! Taking back what was done to a tree: while a journal is kept, every inode is
//! saved before its first change. That costs as much as what is changed, not as
//! much as the tree.

use std::collections::{BTreeMap, BTreeSet};

use super::{Inode, InodeId, Tree};

/// What a tree was when its journal began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    /// How many inodes there were; later ones are new.
    length: usize,
    saved: BTreeMap<InodeId, Inode>,
    implicit: BTreeSet<InodeId>,
}

impl Journal {
    pub(super) fn note(&mut self, id: InodeId, inode: &Inode) {
        if id.number() < self.length {
            self.saved.entry(id).or_insert_with(|| inode.clone());
        }
    }
}

impl Tree {
    /// Begins to note what changes. A journal that was begun before ends.
    pub fn begin(&mut self) {
        self.journal = Some(Journal {
            length: self.inodes.len(),
            saved: BTreeMap::new(),
            implicit: self.implicit.clone(),
        });
    }

    /// Ends the journal and keeps what was done since.
    pub fn keep(&mut self) {
        self.journal = None;
    }

    /// Ends the journal and takes back what was done since.
    pub fn take_back(&mut self) {
        let Some(journal) = self.journal.take() else {
            return;
        };
        self.inodes.truncate(journal.length);
        for (id, inode) in journal.saved {
            self.inodes[id.number()] = inode;
        }
        self.implicit = journal.implicit;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tree, TreePath};

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn what_was_done_is_taken_back_or_kept() {
        let mut tree = Tree::new(1);
        tree.write(&path("/etc/a"), 0o644, b"a".to_vec()).unwrap();
        let before = format!("{:?}", tree.entries());
        tree.begin();
        tree.rewrite(&path("/etc/a"), 0o644, b"changed".to_vec()).unwrap();
        tree.write(&path("/etc/deep/b"), 0o644, b"b".to_vec()).unwrap();
        tree.remove(&path("/etc/a"));
        tree.take_back();
        assert_eq!(format!("{:?}", tree.entries()), before);
        assert_eq!(tree.read("/etc/a", 9).unwrap(), b"a");
        tree.begin();
        tree.remove(&path("/etc/a"));
        tree.keep();
        tree.take_back();
        assert!(tree.get("/etc/a").is_none());
    }
}
