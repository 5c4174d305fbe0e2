//! Puts the packages' files into one tree, and finds the conflicts that `rpm`
//! would find (`rpmfilesCompare` in rpm's `lib/rpmfi.c`).

use std::collections::BTreeMap;
use std::fmt;

use super::{ComposeError, Report, capability};
use crate::package::{FileKind, Package, PackageFile};
use crate::tree::{Content, Inode, InodeId, Metadata, Node, Tree, TreeError, TreePath};
use crate::users::Accounts;

/// One name, two different files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConflict {
    /// The name.
    pub path: TreePath,
    /// One owner.
    pub first: String,
    /// The other.
    pub second: String,
    /// In what they differ.
    pub difference: &'static str,
}

impl fmt::Display for FileConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, first, second, difference } = self;
        write!(f, "{path} is both of {first} and of {second}, with a different {difference}")
    }
}

/// A file that wants an owner or group that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOwner {
    /// Where the file is.
    pub path: TreePath,
    /// Name of the user or group.
    pub name: String,
}

/// Which package's file is at which place: indices of package and file.
pub type Owners = BTreeMap<TreePath, (usize, usize)>;

/// Puts every file of every package into `tree`; all are root's still.
pub fn merge(tree: &mut Tree, packages: &[&Package]) -> Result<Owners, ComposeError> {
    let mut merge = Merge { tree, packages, owners: Owners::new(), conflicts: Vec::new() };
    // Folders and links first, the shorter paths before the longer: so a file
    // lands behind a link to a folder whichever package brings that link.
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (package, contents) in packages.iter().enumerate() {
        let shipped = |file: &usize| !contents.files[*file].ghost;
        let files = (0..contents.files.len()).filter(shipped);
        order.extend(files.map(|file| (package, file)));
    }
    order.sort_by_key(|place| {
        let file = merge.file(*place);
        let leads = matches!(file.kind, FileKind::Directory | FileKind::Symlink(_));
        (!leads, file.path.components().count(), &file.path, *place)
    });
    let mut links: BTreeMap<(usize, u32), InodeId> = BTreeMap::new();
    for place in order {
        merge.put(place, &mut links)?;
    }
    match merge.conflicts.is_empty() {
        true => Ok(merge.owners),
        false => Err(ComposeError::Conflicts(merge.conflicts)),
    }
}

struct Merge<'a> {
    tree: &'a mut Tree,
    packages: &'a [&'a Package],
    owners: Owners,
    conflicts: Vec<FileConflict>,
}

impl<'a> Merge<'a> {
    fn file(&self, (package, file): (usize, usize)) -> &'a PackageFile {
        &self.packages[package].files[file]
    }

    fn put(
        &mut self,
        place: (usize, usize),
        links: &mut BTreeMap<(usize, u32), InodeId>,
    ) -> Result<(), ComposeError> {
        let file = self.file(place);
        let package = self.packages[place.0];
        let failed = |source| ComposeError::File { package: package.identity.to_string(), source };
        let target = self.place_of(&file.path).map_err(failed)?;
        if let Some(other) = self.owners.get(&target).copied() {
            if let Some(difference) = difference(self.file(other), file) {
                self.conflicts.push(FileConflict {
                    path: target,
                    first: self.packages[other.0].identity.to_string(),
                    second: package.identity.to_string(),
                    difference,
                });
            }
            return Ok(());
        }
        let key = file.link_set.map(|set| (place.0, set));
        match key.and_then(|key| links.get(&key)) {
            Some(first) => {
                self.tree.hard_link(&target, *first).map_err(failed)?;
            }
            None => {
                let inode = inode(package, file)?;
                self.tree.insert(&target, inode).map_err(failed)?;
                if let (Some(key), Some(id)) = (key, self.tree.locate(target.as_str())) {
                    links.insert(key, id);
                }
            }
        }
        self.owners.insert(target, place);
        Ok(())
    }

    /// Where a path comes to lie, with the links among its parents followed.
    fn place_of(&mut self, path: &TreePath) -> Result<TreePath, TreeError> {
        let Some((parent, name)) = path.split() else {
            return Ok(path.clone());
        };
        let (_, parent) = self.tree.make_directories(&parent)?;
        Ok(parent.join(name)?)
    }
}

fn inode(package: &Package, file: &PackageFile) -> Result<Inode, ComposeError> {
    let node = match &file.kind {
        FileKind::Directory => Node::directory(),
        FileKind::File => {
            Node::File(file.content.clone().unwrap_or_else(|| Content::bytes(Vec::new())))
        }
        FileKind::Symlink(target) => Node::Symlink(target.clone()),
        FileKind::CharDevice(major, minor) => Node::CharDevice(*major, *minor),
        FileKind::BlockDevice(major, minor) => Node::BlockDevice(*major, *minor),
        FileKind::Fifo => Node::Fifo,
    };
    let mut meta = Metadata::root(file.mode, file.mtime);
    if let Some(text) = &file.capabilities {
        let value = capability::encode(text).ok_or_else(|| ComposeError::Capabilities {
            package: package.identity.to_string(),
            path: file.path.to_string(),
            text: text.clone(),
        })?;
        meta.xattrs.extend(value.map(|value| (capability::XATTR.to_owned(), value)));
    }
    Ok(Inode { node, meta })
}

/// In what two packages' files of one name differ, if they do.
fn difference(a: &PackageFile, b: &PackageFile) -> Option<&'static str> {
    if a.kind != b.kind {
        return Some("kind");
    }
    // A link's own mode means nothing, and builders write different ones.
    let link = matches!(a.kind, FileKind::Symlink(_));
    if a.mode != b.mode && !link {
        return Some("mode");
    }
    if (&a.user, &a.group) != (&b.user, &b.group) {
        return Some("owner");
    }
    let same = a.kind != FileKind::File || (a.size_bytes == b.size_bytes && a.digest == b.digest);
    (!same).then_some("content")
}

/// Turns owners' names into numbers. Where there is no such user or group the
/// file becomes root's and loses setuid or setgid, as with `rpm`.
pub fn set_owners(
    tree: &mut Tree,
    packages: &[&Package],
    owners: &Owners,
    accounts: &Accounts,
    report: &mut Report,
) {
    for (path, (package, file)) in owners {
        let file = &packages[*package].files[*file];
        let Some(id) = tree.locate(path.as_str()) else {
            continue;
        };
        let meta = &mut tree.inode_mut(id).meta;
        let mut unknown = |name: &String| {
            report.unknown_owners.push(UnknownOwner { path: path.clone(), name: name.clone() });
        };
        match accounts.uid(&file.user) {
            Some(uid) => meta.uid = uid,
            None => {
                meta.mode &= !0o4000;
                unknown(&file.user);
            }
        }
        match accounts.gid(&file.group) {
            Some(gid) => meta.gid = gid,
            None => {
                meta.mode &= !0o2000;
                unknown(&file.group);
            }
        }
    }
}
