//! File-system calls on a tree, as Linux' root would see them: mkdir(2),
//! rename(2), stat(2) and so on, with a current directory and a umask.

use std::collections::BTreeMap;

use super::errno::Errno;
use super::memory::{ENTRY_BYTES, Held, Memory};
use crate::tree::{Content, Inode, InodeId, Metadata, Node, Tree, TreePath};

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// Longest path that Linux takes, in bytes.
const MAX_PATH: usize = 4095;

/// A script has no business with larger files.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What a call gives.
pub type Result<T> = std::result::Result<T, Errno>;

/// Where a path leads: a directory, a name in it, and what has that name.
struct Place {
    directory: InodeId,
    /// free of links; the root for `/`, `.` and `..`
    path: TreePath,
    /// none where the path ends in `/`, `.` or `..`, which name no entry
    name: Option<String>,
    found: Option<InodeId>,
    /// the path ended in a slash, so only a directory will do
    slash: bool,
}

/// A tree with a process' view of it.
pub struct Files {
    pub tree: Tree,
    directory: TreePath,
    /// bits that new files do not get
    pub umask: u16,
    pub memory: Memory,
    /// for entries and inodes that are new
    entries: Held,
    /// for the bytes of files that were written
    written: BTreeMap<InodeId, Held>,
}

impl Files {
    /// In `/`, with rpm's umask.
    pub fn new(tree: Tree, memory: &Memory) -> Self {
        let (directory, umask) = (TreePath::root(), 0o022);
        let (memory, entries, written) = (memory.clone(), memory.hold(), BTreeMap::new());
        Self { tree, directory, umask, memory, entries, written }
    }

    /// The current directory.
    pub fn current(&self) -> &TreePath {
        &self.directory
    }

    /// chdir(2)
    pub fn change_directory(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, true)?;
        self.directory_at(&place)?;
        self.directory = place.path;
        Ok(())
    }

    /// What opening `path` would reach.
    pub fn resolve(&self, path: &str) -> Result<InodeId> {
        self.walk(path, true)?.found.ok_or(Errno::Missing)
    }

    /// What `path` names; a link in the last place is not followed.
    pub fn locate(&self, path: &str) -> Result<InodeId> {
        self.walk(path, false)?.found.ok_or(Errno::Missing)
    }

    /// Whether root may: only executing depends on the mode.
    pub fn access(&self, path: &str, execute: bool) -> Result<()> {
        let inode = self.tree.inode(self.resolve(path)?);
        let may = !execute || inode.node.is_directory() || inode.meta.mode & 0o111 != 0;
        may.then_some(()).ok_or(Errno::Access)
    }

    /// Names in a directory, with `.` and `..`.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let id = self.resolve(path)?;
        let Node::Directory(entries) = &self.tree.inode(id).node else {
            return Err(Errno::NotDirectory);
        };
        let dots = [".", ".."].map(str::to_owned);
        Ok(dots.into_iter().chain(entries.keys().cloned()).collect())
    }

    /// readlink(2)
    pub fn read_link(&self, path: &str) -> Result<String> {
        match &self.tree.inode(self.locate(path)?).node {
            Node::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::Invalid),
        }
    }

    /// How many names an inode has; directories have one in each that is in them.
    pub fn links(&self, id: InodeId) -> usize {
        if let Node::Directory(entries) = &self.tree.inode(id).node {
            return 2 + entries.values().filter(|id| self.is_directory(**id)).count();
        }
        let (mut count, mut todo) = (0, vec![InodeId::ROOT]);
        while let Some(Node::Directory(entries)) = todo.pop().map(|id| &self.tree.inode(id).node) {
            count += entries.values().filter(|other| **other == id).count();
            todo.extend(entries.values().filter(|other| self.is_directory(**other)));
        }
        count
    }

    /// mkdir(2)
    pub fn make_directory(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, false)?;
        self.create(&place, Node::directory(), 0o777 & !self.umask).map(drop)
    }

    /// mkfifo(3)
    pub fn make_fifo(&mut self, path: &str) -> Result<()> {
        let place = self.walk_to_entry(path)?;
        self.create(&place, Node::Fifo, 0o777 & !self.umask).map(drop)
    }

    /// symlink(2)
    pub fn symlink(&mut self, target: &str, path: &str) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::Missing);
        }
        let place = self.walk_to_entry(path)?;
        self.create(&place, Node::Symlink(target.to_owned()), 0o777).map(drop)
    }

    /// link(2)
    pub fn hard_link(&mut self, target: &str, path: &str) -> Result<()> {
        let id = self.locate(target)?;
        let place = self.walk_to_entry(path)?;
        if place.found.is_some() {
            return Err(Errno::Exists);
        }
        if self.is_directory(id) {
            return Err(Errno::NotPermitted);
        }
        self.enter(&place, id)
    }

    /// unlink(2)
    pub fn unlink(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, false)?;
        let id = place.found.ok_or(Errno::Missing)?;
        if self.is_directory(id) {
            return Err(Errno::IsDirectory);
        }
        if place.slash {
            return Err(Errno::NotDirectory);
        }
        self.leave(&place);
        Ok(())
    }

    /// rmdir(2)
    pub fn remove_directory(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, false)?;
        let id = self.directory_at(&place)?;
        if id == InodeId::ROOT {
            return Err(Errno::Busy);
        }
        if place.name.is_none() {
            return Err(if path.ends_with("..") { Errno::NotEmpty } else { Errno::Invalid });
        }
        if self.entries(id)?.is_empty() {
            self.leave(&place);
            return Ok(());
        }
        Err(Errno::NotEmpty)
    }

    /// rename(2)
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.walk(from, false)?, self.walk(to, false)?);
        if source.name.is_none() || target.name.is_none() {
            return Err(Errno::Busy);
        }
        let id = source.found.ok_or(Errno::Missing)?;
        let directory = self.is_directory(id);
        if !directory && (source.slash || target.slash) {
            return Err(Errno::NotDirectory);
        }
        let inside = format!("{}/", source.path);
        if directory && target.path.as_str().starts_with(&inside) {
            return Err(Errno::Invalid);
        }
        match target.found {
            Some(same) if same == id => return Ok(()),
            Some(other) if directory != self.is_directory(other) => {
                return Err(if directory { Errno::NotDirectory } else { Errno::IsDirectory });
            }
            Some(other) if directory && !self.entries(other)?.is_empty() => {
                return Err(Errno::NotEmpty);
            }
            _ => {}
        }
        self.leave(&source);
        self.enter(&target, id)
    }

    /// chmod(2); `mode` is made from the old one.
    pub fn change_mode(&mut self, path: &str, mode: u16) -> Result<()> {
        let id = self.resolve(path)?;
        self.tree.inode_mut(id).meta.mode = mode & 0o7777;
        Ok(())
    }

    /// chown(2): an owner not given stays. Programs lose their privileges.
    pub fn change_owner(&mut self, path: &str, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let id = self.resolve(path)?;
        let inode = self.tree.inode_mut(id);
        inode.meta.uid = uid.unwrap_or(inode.meta.uid);
        inode.meta.gid = gid.unwrap_or(inode.meta.gid);
        if matches!(inode.node, Node::File(_)) {
            let group_may_run = inode.meta.mode & 0o010 != 0;
            inode.meta.mode &= if group_may_run { !0o6000 } else { !0o4000 };
            inode.meta.xattrs.remove("security.capability");
        }
        Ok(())
    }

    /// utime(2), of which only the time of the last change is kept.
    pub fn change_time(&mut self, path: &str, mtime: u64) -> Result<()> {
        let id = self.resolve(path)?;
        self.tree.inode_mut(id).meta.mtime = mtime;
        Ok(())
    }

    /// The bytes of a regular file.
    pub fn read(&self, id: InodeId) -> Result<Vec<u8>> {
        match &self.tree.inode(id).node {
            Node::File(content) => content.read(MAX_FILE_BYTES).map_err(|_| Errno::TooLarge),
            Node::Directory(_) => Err(Errno::IsDirectory),
            _ => Err(Errno::Invalid),
        }
    }

    /// Puts other bytes into a regular file, as far as memory goes.
    pub fn write(&mut self, id: InodeId, bytes: Vec<u8>) {
        let held = self.written.entry(id).or_insert_with(|| self.memory.hold());
        if !held.resize(bytes.len()) {
            return;
        }
        let now = self.tree.default_mtime();
        let inode = self.tree.inode_mut(id);
        if matches!(inode.node, Node::File(_)) {
            inode.node = Node::File(Content::bytes(bytes));
            inode.meta.mtime = now;
        }
    }

    /// open(2) for writing: the file that is there, or a new one.
    pub fn open_or_create(&mut self, path: &str) -> Result<InodeId> {
        let mut place = self.walk(path, true)?;
        // A link that leads nowhere yet: the file is made where it leads.
        for _ in 0..MAX_LINKS {
            match place.found {
                Some(id) if self.is_directory(id) => return Err(Errno::IsDirectory),
                Some(id) => return Ok(id),
                None if place.slash => return Err(Errno::IsDirectory),
                None => {}
            }
            let id = self.name_in(place.directory, place.name.as_deref());
            let Some(Node::Symlink(target)) = id.map(|id| self.tree.inode(id).node.clone()) else {
                break;
            };
            let base = place.path.split().map_or(TreePath::root(), |(up, _)| up);
            let absolute = target.starts_with('/');
            let next = if absolute { target } else { format!("{base}/{target}") };
            place = self.walk(&next, false)?;
        }
        let node = Node::File(Content::bytes(Vec::new()));
        self.create(&place, node, 0o666 & !self.umask)
    }

    fn is_directory(&self, id: InodeId) -> bool {
        self.tree.inode(id).node.is_directory()
    }

    fn entries(&self, id: InodeId) -> Result<&BTreeMap<String, InodeId>> {
        match &self.tree.inode(id).node {
            Node::Directory(entries) => Ok(entries),
            _ => Err(Errno::NotDirectory),
        }
    }

    fn name_in(&self, directory: InodeId, name: Option<&str>) -> Option<InodeId> {
        self.entries(directory).ok()?.get(name?).copied()
    }

    fn directory_at(&self, place: &Place) -> Result<InodeId> {
        let id = place.found.ok_or(Errno::Missing)?;
        self.is_directory(id).then_some(id).ok_or(Errno::NotDirectory)
    }

    /// Makes something new at a place where nothing is.
    fn create(&mut self, place: &Place, node: Node, mode: u16) -> Result<InodeId> {
        if place.found.is_some() || place.name.is_none() {
            return Err(Errno::Exists);
        }
        let target_bytes = if let Node::Symlink(target) = &node { target.len() } else { 0 };
        self.hold_entry(place, target_bytes)?;
        let above = &self.tree.inode(place.directory).meta;
        // A directory with setgid gives its group on, and itself to directories.
        let inherits = above.mode & 0o2000 != 0;
        let gid = if inherits { above.gid } else { 0 };
        let setgid = if inherits && node.is_directory() { 0o2000 } else { 0 };
        let now = self.tree.default_mtime();
        let meta = Metadata { gid, ..Metadata::root(mode | setgid, now) };
        self.tree.insert(&place.path, Inode { node, meta }).map_err(|_| Errno::NameTooLong)?;
        self.touch(place.directory);
        self.tree.locate(place.path.as_str()).ok_or(Errno::Missing)
    }

    /// What the tree gets with a new entry, whose name's folders it may get too.
    fn hold_entry(&mut self, place: &Place, more: usize) -> Result<()> {
        let bytes = place.path.as_str().len() + more + ENTRY_BYTES;
        self.entries.grow(bytes).then_some(()).ok_or(Errno::TooLarge)
    }

    fn enter(&mut self, place: &Place, id: InodeId) -> Result<()> {
        self.hold_entry(place, 0)?;
        let name = place.name.clone().ok_or(Errno::Exists)?;
        match &mut self.tree.inode_mut(place.directory).node {
            Node::Directory(entries) => entries.insert(name, id),
            _ => return Err(Errno::NotDirectory),
        };
        self.touch(place.directory);
        Ok(())
    }

    fn leave(&mut self, place: &Place) {
        if let (Node::Directory(entries), Some(name)) =
            (&mut self.tree.inode_mut(place.directory).node, &place.name)
        {
            entries.remove(name);
        }
        self.touch(place.directory);
    }

    fn touch(&mut self, directory: InodeId) {
        let now = self.tree.default_mtime();
        self.tree.inode_mut(directory).meta.mtime = now;
    }

    /// As [`Files::walk`], for calls that make something other than a directory.
    fn walk_to_entry(&self, path: &str) -> Result<Place> {
        let place = self.walk(path, false)?;
        match place.found {
            None if place.slash => Err(Errno::Missing),
            _ => Ok(place),
        }
    }

    /// Follows a path as path_resolution(7) has it; `..` ends at the root.
    fn walk(&self, path: &str, follow_last: bool) -> Result<Place> {
        if path.is_empty() {
            return Err(Errno::Missing);
        }
        if path.len() > MAX_PATH {
            return Err(Errno::NameTooLong);
        }
        let mut at = self.start(path)?;
        let mut todo: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let slash = path.ends_with('/');
        let (mut links, mut named) = (0, false);
        while let Some(name) = todo.pop() {
            if name.is_empty() {
                continue;
            }
            let here = at.last().map_or(InodeId::ROOT, |(id, _)| *id);
            let entries = self.entries(here)?;
            named = !matches!(name.as_str(), "." | "..");
            if name == ".." {
                at.pop();
            }
            if !named {
                continue;
            }
            let last = todo.iter().all(String::is_empty);
            let Some(found) = entries.get(&name).copied() else {
                let path = join(&at)?.join(&name).map_err(|_| Errno::NameTooLong)?;
                let missing = Place { directory: here, path, name: Some(name), found: None, slash };
                return if last { Ok(missing) } else { Err(Errno::Missing) };
            };
            let follow = follow_last || !last || slash;
            if let (Node::Symlink(target), true) = (&self.tree.inode(found).node, follow) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LinkLoop);
                }
                if target.starts_with('/') {
                    at.clear();
                }
                todo.extend(target.rsplit('/').map(str::to_owned));
                continue;
            }
            at.push((found, name));
        }
        let path = join(&at)?;
        let (found, name) = at.pop().unwrap_or((InodeId::ROOT, String::new()));
        if slash && !self.is_directory(found) {
            return Err(Errno::NotDirectory);
        }
        let directory = at.last().map_or(InodeId::ROOT, |(id, _)| *id);
        let name = Some(name).filter(|name| named && !name.is_empty());
        Ok(Place { directory, path, name, found: Some(found), slash })
    }

    fn start(&self, path: &str) -> Result<Vec<(InodeId, String)>> {
        let mut at: Vec<(InodeId, String)> = Vec::new();
        if !path.starts_with('/') {
            for name in self.directory.components() {
                let here = at.last().map_or(InodeId::ROOT, |(id, _)| *id);
                let id = self.entries(here)?.get(name).copied().ok_or(Errno::Missing)?;
                at.push((id, name.to_owned()));
            }
        }
        Ok(at)
    }
}

fn join(at: &[(InodeId, String)]) -> Result<TreePath> {
    at.iter().try_fold(TreePath::root(), |path, (_, name)| {
        path.join(name).map_err(|_| Errno::NameTooLong)
    })
}
