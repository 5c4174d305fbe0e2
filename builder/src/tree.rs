//! The root file system as a value: names to inodes, with owners, modes and
//! extended attributes as plain data.
//!
//! Nothing here touches the real file system. File contents are references
//! into files on disk (see [`Content`]), so a tree is as small as its list of
//! names. Paths are followed the way a kernel would after `chroot`, so a link
//! can never lead out of the tree.

use std::collections::{BTreeMap, BTreeSet};

pub use content::{Content, ContentError, ContentReader, ContentStream};
pub use path::{PathError, TreePath};

mod content;
mod journal;
mod overlay;
mod path;

pub use overlay::OverlayError;

/// As many links as Linux follows before it says `ELOOP`.
const MAX_LINKS: usize = 40;

/// Index of an inode in its tree. Names that share one are hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self(0);

    /// A number that no other inode of the tree has.
    #[must_use]
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// Who owns an inode, who may use it, and when it last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky (`0o7777`), without the type.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change, seconds since 1970.
    pub mtime: u64,
    /// Extended attributes by full name, such as `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// Root's, with these permission bits and this time.
    #[must_use]
    pub fn root(mode: u16, mtime: u64) -> Self {
        Self { mode: mode & 0o7777, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Names to inodes, sorted by byte value.
    Directory(BTreeMap<String, InodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, unchanged.
    Symlink(String),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Node {
    /// A directory with nothing in it.
    #[must_use]
    pub fn directory() -> Self {
        Self::Directory(BTreeMap::new())
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// One inode: what it is and its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub node: Node,
    /// Owner, mode, time, attributes.
    pub meta: Metadata,
}

/// What can go wrong with a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The path is not one a tree can hold.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A parent of the path is there, and is no directory.
    #[error("{path}: a parent is not a directory")]
    ParentNotDirectory {
        /// The path that was asked for.
        path: String,
    },
    /// Links that lead to each other.
    #[error("{path}: too many levels of symbolic links")]
    LinkLoop {
        /// The path that was asked for.
        path: String,
    },
    /// A directory cannot be put in place of something else, nor the other way round.
    #[error("{path}: a directory and something else want the same name")]
    KindClash {
        /// The path in question.
        path: String,
    },
    /// Nothing of that name.
    #[error("{path}: no such file in the tree")]
    Missing {
        /// The path in question.
        path: String,
    },
    /// A regular file was needed.
    #[error("{path}: not a regular file")]
    NotAFile {
        /// The path in question.
        path: String,
    },
    /// A file's bytes could not be had.
    #[error("{path}: its bytes cannot be had")]
    Content {
        /// The path in question.
        path: String,
        /// Why not.
        source: ContentError,
    },
}

/// Where following a path led.
enum Walk {
    /// To an inode, whose path without links is this.
    Found(InodeId, TreePath),
    /// To a directory that has no such name.
    Missing(InodeId, String),
}

/// A root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    inodes: Vec<Inode>,
    implicit: BTreeSet<InodeId>,
    default_mtime: u64,
    journal: Option<journal::Journal>,
}

impl Tree {
    /// An empty tree. `default_mtime` (seconds since 1970) is the time of
    /// everything that the builder makes itself.
    #[must_use]
    pub fn new(default_mtime: u64) -> Self {
        let root = Inode { node: Node::directory(), meta: Metadata::root(0o755, default_mtime) };
        let implicit = BTreeSet::from([InodeId::ROOT]);
        Self { inodes: vec![root], implicit, default_mtime, journal: None }
    }

    /// The inode behind an id of this tree.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.number()]
    }

    /// The inode behind an id of this tree, to change it.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        let inode = &mut self.inodes[id.number()];
        if let Some(journal) = &mut self.journal {
            journal.note(id, inode);
        }
        inode
    }

    /// Seconds since 1970 for files that the builder makes itself.
    #[must_use]
    pub fn default_mtime(&self) -> u64 {
        self.default_mtime
    }

    /// Whether a directory is there only because something lies below it.
    #[must_use]
    pub fn is_implicit(&self, id: InodeId) -> bool {
        self.implicit.contains(&id)
    }

    /// The inode at `path`; a link in the last place is not followed.
    #[must_use]
    pub fn locate(&self, path: &str) -> Option<InodeId> {
        self.found(path, false).map(|(id, _)| id)
    }

    /// The inode that opening `path` would reach.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<InodeId> {
        self.found(path, true).map(|(id, _)| id)
    }

    /// What is at `path`; a link in the last place is not followed.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Inode> {
        self.locate(path).map(|id| self.inode(id))
    }

    /// The path that opening `path` would reach, free of links.
    #[must_use]
    pub fn canonical(&self, path: &str) -> Option<TreePath> {
        self.found(path, true).map(|(_, path)| path)
    }

    /// Whether `path` leads to a file that somebody may run.
    #[must_use]
    pub fn is_program(&self, path: &str) -> bool {
        let inode = self.resolve(path).map(|id| self.inode(id));
        inode.is_some_and(|inode| {
            matches!(inode.node, Node::File(_)) && inode.meta.mode & 0o111 != 0
        })
    }

    /// Names in the directory that `path` leads to, sorted; none if it is no directory.
    pub fn children(&self, path: &str) -> impl Iterator<Item = (&str, InodeId)> {
        let entries = self.resolve(path).and_then(|id| match &self.inode(id).node {
            Node::Directory(entries) => Some(entries),
            _ => None,
        });
        entries.into_iter().flatten().map(|(name, id)| (name.as_str(), *id))
    }

    /// Bytes of the regular file that `path` leads to, which may be at most
    /// `limit_bytes` long.
    ///
    /// # Errors
    /// If there is no such file, it is longer, or its source cannot be read.
    pub fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let missing = || TreeError::Missing { path: path.to_owned() };
        let id = self.resolve(path).ok_or_else(missing)?;
        let Node::File(content) = &self.inode(id).node else {
            return Err(TreeError::NotAFile { path: path.to_owned() });
        };
        let failed = |source| TreeError::Content { path: path.to_owned(), source };
        content.read(limit_bytes).map_err(failed)
    }

    /// Every name in path order, parents before children, names compared byte
    /// by byte within a directory. The root comes first.
    pub fn visit(&self, mut visit: impl FnMut(&TreePath, InodeId)) {
        let entries = |id| match &self.inode(id).node {
            Node::Directory(entries) => Some(entries.iter()),
            _ => None,
        };
        visit(&TreePath::root(), InodeId::ROOT);
        let root = entries(InodeId::ROOT).map(|entries| (TreePath::root(), entries));
        let mut open = Vec::from_iter(root);
        while let Some((folder, names)) = open.last_mut() {
            let Some((name, id)) = names.next() else {
                open.pop();
                continue;
            };
            // A path past the limit can only be reached in steps, by no path of
            // its own: `insert` refuses to make one.
            let Ok(path) = folder.join(name) else { continue };
            visit(&path, *id);
            open.extend(entries(*id).map(|entries| (path, entries)));
        }
    }

    /// Every name with its inode, in the order of [`Tree::visit`].
    #[must_use]
    pub fn entries(&self) -> Vec<(TreePath, InodeId)> {
        let mut entries = Vec::new();
        self.visit(|path, id| entries.push((path.clone(), id)));
        entries
    }

    /// Puts an inode at `path`, in place of any that is there. Links among the
    /// parents are followed, missing parents are made. A directory put over a
    /// directory keeps the entries and takes the new metadata. Gives back where
    /// it came to lie.
    ///
    /// # Errors
    /// If a parent is no directory, or a directory meets something else.
    pub fn insert(&mut self, path: &TreePath, inode: Inode) -> Result<TreePath, TreeError> {
        let Some((parent, name)) = path.split() else {
            self.replace(InodeId::ROOT, path, inode)?;
            return Ok(path.clone());
        };
        let (parent_id, parent_path) = self.make_directories(&parent)?;
        let place = parent_path.join(name)?;
        match self.child(parent_id, name) {
            Some(id) if inode.node.is_directory() => self.replace(id, &place, inode)?,
            Some(id) if self.inode(id).node.is_directory() => {
                return Err(TreeError::KindClash { path: place.to_string() });
            }
            _ => {
                let id = self.push(inode);
                self.link_child(parent_id, name, id);
            }
        }
        Ok(place)
    }

    /// Gives the inode at `target` a further name.
    ///
    /// # Errors
    /// If `target` is a directory, or the new name cannot be made.
    pub fn hard_link(&mut self, path: &TreePath, target: InodeId) -> Result<TreePath, TreeError> {
        let clash = || TreeError::KindClash { path: path.to_string() };
        let (parent, name) = path.split().ok_or_else(clash)?;
        let (parent_id, parent_path) = self.make_directories(&parent)?;
        let replaces = self.child(parent_id, name).unwrap_or(target);
        if self.inode(target).node.is_directory() || self.inode(replaces).node.is_directory() {
            return Err(clash());
        }
        self.link_child(parent_id, name, target);
        Ok(parent_path.join(name)?)
    }

    /// Removes what `path` names, with all below it; a link in the last place
    /// is removed itself. Says whether there was anything.
    pub fn remove(&mut self, path: &TreePath) -> bool {
        let Some((parent, name)) = path.split() else {
            return false;
        };
        let Some(parent_id) = self.resolve(parent.as_str()) else {
            return false;
        };
        match &mut self.inode_mut(parent_id).node {
            Node::Directory(entries) => entries.remove(name).is_some(),
            _ => false,
        }
    }

    /// Puts a generated regular file at `path`, owned by root.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn write(&mut self, path: &TreePath, mode: u16, bytes: Vec<u8>) -> Result<(), TreeError> {
        let meta = Metadata::root(mode, self.default_mtime);
        self.insert(path, Inode { node: Node::File(Content::bytes(bytes)), meta }).map(drop)
    }

    /// Replaces the bytes of the file that `path` leads to, with owner and mode
    /// kept; makes it with `mode` if it is not there.
    ///
    /// # Errors
    /// As [`Tree::insert`], or if it is no regular file.
    pub fn rewrite(&mut self, path: &TreePath, mode: u16, bytes: Vec<u8>) -> Result<(), TreeError> {
        let Some(id) = self.resolve(path.as_str()) else {
            return self.write(path, mode, bytes);
        };
        let mtime = self.default_mtime;
        let inode = self.inode_mut(id);
        if !matches!(inode.node, Node::File(_)) {
            return Err(TreeError::NotAFile { path: path.to_string() });
        }
        inode.node = Node::File(Content::bytes(bytes));
        inode.meta.mtime = mtime;
        Ok(())
    }

    /// Puts a symbolic link at `path`, owned by root.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn symlink(&mut self, path: &TreePath, target: &str) -> Result<(), TreeError> {
        let meta = Metadata::root(0o777, self.default_mtime);
        self.insert(path, Inode { node: Node::Symlink(target.to_owned()), meta }).map(drop)
    }

    /// Makes the directory `path` and its parents where they are missing, as
    /// `mkdir -p` does; gives its id and its path without links.
    ///
    /// # Errors
    /// If something on the way is no directory.
    pub fn make_directories(&mut self, path: &TreePath) -> Result<(InodeId, TreePath), TreeError> {
        loop {
            match self.walk(path.as_str(), true)? {
                Walk::Found(id, place) if self.inode(id).node.is_directory() => {
                    return Ok((id, place));
                }
                Walk::Found(..) => {
                    return Err(TreeError::ParentNotDirectory { path: path.to_string() });
                }
                Walk::Missing(parent, name) => {
                    let meta = Metadata::root(0o755, self.default_mtime);
                    let id = self.push(Inode { node: Node::directory(), meta });
                    self.implicit.insert(id);
                    self.link_child(parent, &name, id);
                }
            }
        }
    }

    /// Sets every time later than `limit` (seconds since 1970) to `limit`.
    pub fn clamp_mtimes(&mut self, limit: u64) {
        for inode in &mut self.inodes {
            inode.meta.mtime = inode.meta.mtime.min(limit);
        }
    }

    fn found(&self, path: &str, follow_last: bool) -> Option<(InodeId, TreePath)> {
        match self.walk(path, follow_last) {
            Ok(Walk::Found(id, path)) => Some((id, path)),
            _ => None,
        }
    }

    /// Follows `path` from the root, links and all. `..` stops at the root, as
    /// it does after `chroot`.
    fn walk(&self, path: &str, follow_last: bool) -> Result<Walk, TreeError> {
        let mut at: Vec<(InodeId, String)> = Vec::new();
        let mut todo: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let here = at.last().map_or(InodeId::ROOT, |(id, _)| *id);
            if !self.inode(here).node.is_directory() {
                return Err(TreeError::ParentNotDirectory { path: path.to_owned() });
            }
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => {}
            }
            let Some(child) = self.child(here, &name) else {
                return missing(here, name, &todo, path);
            };
            let last = todo.iter().all(String::is_empty);
            match &self.inode(child).node {
                Node::Symlink(target) if follow_last || !last => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(TreeError::LinkLoop { path: path.to_owned() });
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    todo.extend(target.rsplit('/').map(str::to_owned));
                }
                _ => at.push((child, name)),
            }
        }
        let id = at.last().map_or(InodeId::ROOT, |(id, _)| *id);
        let mut place = TreePath::root();
        for (_, name) in &at {
            place = place.join(name)?;
        }
        Ok(Walk::Found(id, place))
    }

    fn child(&self, directory: InodeId, name: &str) -> Option<InodeId> {
        match &self.inode(directory).node {
            Node::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn link_child(&mut self, directory: InodeId, name: &str, child: InodeId) {
        if let Node::Directory(entries) = &mut self.inode_mut(directory).node {
            entries.insert(name.to_owned(), child);
        }
    }

    fn push(&mut self, inode: Inode) -> InodeId {
        self.inodes.push(inode);
        let last = u32::try_from(self.inodes.len() - 1);
        InodeId(last.expect("so many inodes do not fit into memory"))
    }

    /// Puts a directory's metadata over an existing directory's.
    fn replace(&mut self, id: InodeId, place: &TreePath, inode: Inode) -> Result<(), TreeError> {
        if !inode.node.is_directory() || !self.inode(id).node.is_directory() {
            return Err(TreeError::KindClash { path: place.to_string() });
        }
        self.implicit.remove(&id);
        self.inode_mut(id).meta = inode.meta;
        Ok(())
    }
}

/// A name that is not there: to be made, unless `..` comes after it, where
/// making it would not mean what it says.
fn missing(here: InodeId, name: String, todo: &[String], path: &str) -> Result<Walk, TreeError> {
    if todo.iter().any(|later| later == "..") {
        return Err(TreeError::Missing { path: path.to_owned() });
    }
    Ok(Walk::Missing(here, name))
}

#[cfg(test)]
pub mod judging;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
