//! What has to be done to the mirror so that it is what the tree is: the
//! differences between the tree that it was made from and the one that a script
//! is to see.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use super::disk::is_shown;
use super::ids::Ids;
use super::message::{Attributes, Operation, Source};
use super::mounts::MOUNT_POINTS;
use crate::tree::{Content, InodeId, Metadata, Node, Tree, TreePath};

/// Contents that are in memory, written where the keeper can read them.
pub struct Spool {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl Spool {
    /// An empty one.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create(&path)?;
        Ok(Self { path, file, size_bytes: 0 })
    }

    fn source(&mut self, content: &Content) -> io::Result<Option<Source>> {
        Ok(match content {
            _ if content.size_bytes() == 0 => None,
            Content::Range { file, offset_bytes, size_bytes } => Some(Source {
                file: std::path::absolute(file)?,
                offset_bytes: *offset_bytes,
                size_bytes: *size_bytes,
            }),
            Content::Bytes(bytes) => {
                self.file.write_all(bytes)?;
                let offset_bytes = self.size_bytes;
                self.size_bytes += bytes.len() as u64;
                let size_bytes = bytes.len() as u64;
                Some(Source { file: self.path.clone(), offset_bytes, size_bytes })
            }
        })
    }
}

/// Whether a script sees our own in place of what the tree has at `path`.
pub fn is_hidden(path: &str) -> bool {
    let top = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    MOUNT_POINTS.contains(&top)
}

/// What a script sees of an inode's metadata. Owners that it cannot know are
/// root to it.
pub fn shown(meta: &Metadata, ids: &Ids) -> Attributes {
    let xattrs = meta.xattrs.iter().filter(|(name, _)| is_shown(name));
    Attributes {
        mode: meta.mode,
        uid: if ids.has_user(meta.uid) { meta.uid } else { 0 },
        gid: if ids.has_group(meta.gid) { meta.gid } else { 0 },
        mtime: meta.mtime,
        xattrs: xattrs.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// A tree by its paths.
struct View<'a> {
    tree: &'a Tree,
    entries: Vec<(TreePath, InodeId)>,
}

impl<'a> View<'a> {
    fn new(tree: &'a Tree) -> Self {
        let mut entries = Vec::new();
        tree.visit(|path, id| {
            let node = &tree.inode(id).node;
            let device = matches!(node, Node::CharDevice(..) | Node::BlockDevice(..));
            if !device && !is_hidden(path.as_str()) {
                entries.push((path.clone(), id));
            }
        });
        Self { tree, entries }
    }

    fn by_path(&self) -> HashMap<&str, InodeId> {
        self.entries.iter().map(|(path, id)| (path.as_str(), *id)).collect()
    }

    /// All names of each inode that has several.
    fn groups(&self) -> HashMap<InodeId, Vec<&str>> {
        let mut first: HashMap<InodeId, &str> = HashMap::new();
        let mut groups: HashMap<InodeId, Vec<&str>> = HashMap::new();
        for (path, id) in &self.entries {
            match first.get(id) {
                None => drop(first.insert(*id, path.as_str())),
                Some(first) => {
                    groups.entry(*id).or_insert_with(|| vec![first]).push(path.as_str());
                }
            }
        }
        groups
    }
}

/// The steps from `held`, which the mirror is, to `wanted`; from nothing if the
/// mirror is not there.
///
/// # Errors
/// If contents cannot be written to the spool.
pub fn operations(
    held: Option<&Tree>,
    wanted: &Tree,
    ids: &Ids,
    spool: &mut Spool,
) -> io::Result<Vec<Operation>> {
    let empty = Tree::new(0);
    let (old, new) = (View::new(held.unwrap_or(&empty)), View::new(wanted));
    let (old_paths, new_paths) = (old.by_path(), new.by_path());
    let (old_groups, new_groups) = (old.groups(), new.groups());
    let mut steps = Steps { ids, spool, list: Vec::new(), directories: HashSet::new() };
    for (path, _) in &old.entries {
        let up = path.split().map(|(up, _)| up);
        let up_stays = up.is_none_or(|up| new_paths.contains_key(up.as_str()));
        if up_stays && !new_paths.contains_key(path.as_str()) {
            steps.touch_parent(path);
            steps.list.push(Operation::Remove(path.to_string()));
        }
    }
    if held.is_none() {
        steps.directories.insert(TreePath::root());
    }
    for (path, id) in &new.entries {
        let before = old_paths.get(path.as_str());
        let group = new_groups.get(id);
        let same_group = before.and_then(|id| old_groups.get(id)) == group;
        let inode = wanted.inode(*id);
        let unlike = match before.map(|id| old.tree.inode(*id)) {
            Some(had) if same_group && alike(&had.node, &inode.node) => {
                // Further names share their metadata with the first.
                let first = group.is_none_or(|names| names.first() == Some(&path.as_str()));
                match had.meta != inode.meta && first {
                    true if inode.node.is_directory() => {
                        steps.directories.insert(path.clone());
                    }
                    true => steps.attributes(path, &inode.meta),
                    false => {}
                }
                continue;
            }
            had => had,
        };
        if !unlike.is_some_and(|had| had.node.is_directory() && inode.node.is_directory()) {
            steps.touch_parent(path);
        }
        match group.and_then(|names| names.first()) {
            Some(first) if *first != path.as_str() => steps
                .list
                .push(Operation::Link { path: path.to_string(), target: (*first).to_owned() }),
            _ => steps.make(path, &inode.node, &inode.meta)?,
        }
    }
    steps.finish(wanted);
    Ok(steps.list)
}

/// Whether nothing but metadata has to change.
fn alike(had: &Node, wants: &Node) -> bool {
    match (had, wants) {
        (Node::Directory(_), Node::Directory(_)) => true,
        (had, wants) => had == wants,
    }
}

struct Steps<'a> {
    ids: &'a Ids,
    spool: &'a mut Spool,
    list: Vec<Operation>,
    /// whose attributes are set at the end, since making entries changes the time
    directories: HashSet<TreePath>,
}

impl Steps<'_> {
    fn touch_parent(&mut self, path: &TreePath) {
        self.directories.extend(path.split().map(|(up, _)| up));
    }

    fn attributes(&mut self, path: &TreePath, meta: &Metadata) {
        let attributes = shown(meta, self.ids);
        self.list.push(Operation::Attributes { path: path.to_string(), attributes });
    }

    fn make(&mut self, path: &TreePath, node: &Node, meta: &Metadata) -> io::Result<()> {
        let attributes = shown(meta, self.ids);
        let path_text = path.to_string();
        self.list.push(match node {
            Node::Directory(_) => {
                self.directories.insert(path.clone());
                Operation::Directory(path_text)
            }
            Node::File(content) => {
                let source = self.spool.source(content)?;
                Operation::File { path: path_text, source, attributes }
            }
            Node::Symlink(target) => {
                Operation::Symlink { path: path_text, target: target.clone(), attributes }
            }
            Node::Fifo => Operation::Fifo { path: path_text, attributes },
            Node::CharDevice(..) | Node::BlockDevice(..) => return Ok(()),
        });
        Ok(())
    }

    /// Sets attributes of directories, those deepest in the tree first.
    fn finish(&mut self, wanted: &Tree) {
        let mut directories: Vec<TreePath> = self.directories.drain().collect();
        directories.sort_unstable_by(|a, b| b.cmp(a));
        for path in directories {
            if let Some(inode) = wanted.get(path.as_str()).filter(|inode| inode.node.is_directory())
            {
                self.attributes(&path, &inode.meta);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Inode;
    use crate::tree::testing::{directory, tree};

    fn steps(held: Option<&Tree>, wanted: &Tree) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(folder.path().join("spool")).unwrap();
        let ids = Ids::single(String::new());
        let all = operations(held, wanted, &ids, &mut spool).unwrap();
        let text = |step: &Operation| match step {
            Operation::Remove(path) => format!("remove {path}"),
            Operation::Directory(path) => format!("directory {path}"),
            Operation::File { path, source, .. } => {
                format!("file {path} {}", source.as_ref().map_or(0, |source| source.size_bytes))
            }
            Operation::Symlink { path, target, .. } => format!("symlink {path} {target}"),
            Operation::Fifo { path, .. } => format!("fifo {path}"),
            Operation::Link { path, target } => format!("link {path} {target}"),
            Operation::Attributes { path, attributes } => {
                format!("attributes {path} {:o}", attributes.mode)
            }
        };
        all.iter().map(text).collect()
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn a_new_mirror_has_all_but_what_is_hidden() {
        let mut tree = tree(&[("/a/f", "12"), ("/dev/x", ""), ("/proc/y", ""), ("/l", "-> a/f")]);
        let id = tree.locate("/a/f").unwrap();
        tree.hard_link(&path("/z"), id).unwrap();
        let node = Node::CharDevice(1, 3);
        let device = Inode { node, meta: Metadata::root(0o666, 0) };
        tree.insert(&path("/a/null"), device).unwrap();
        let expected = [
            "directory /a",
            "file /a/f 2",
            "symlink /l a/f",
            "link /z /a/f",
            "attributes /a 755",
            "attributes / 755",
        ];
        assert_eq!(steps(None, &tree), expected);
        assert!(steps(Some(&tree), &tree.clone()).is_empty());
    }

    #[test]
    fn only_differences_are_made() {
        let held = tree(&[("/a/f", "1"), ("/a/g", "2"), ("/b/c/d", ""), ("/e", ""), ("/h", "3")]);
        let mut wanted = held.clone();
        wanted.rewrite(&path("/a/f"), 0o644, b"123".to_vec()).unwrap();
        let id = wanted.locate("/a/g").unwrap();
        wanted.inode_mut(id).meta.mode = 0o600;
        wanted.remove(&path("/b"));
        wanted.remove(&path("/e"));
        directory(&mut wanted, "/e");
        let id = wanted.locate("/h").unwrap();
        wanted.hard_link(&path("/i"), id).unwrap();
        let expected = [
            "remove /b",
            "file /a/f 3",
            "attributes /a/g 600",
            "directory /e",
            "file /h 1",
            "link /i /h",
            "attributes /e 755",
            "attributes /a 755",
            "attributes / 755",
        ];
        assert_eq!(steps(Some(&held), &wanted), expected);
        let back = steps(Some(&wanted), &held);
        assert!(back.contains(&"remove /i".to_owned()) && back.contains(&"file /h 1".to_owned()));
    }
}
