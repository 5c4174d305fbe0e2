//! Puts one package's files into the tree as rpm does at that moment: with the
//! accounts there are by then, through the links there are by then
//! (`rpmPackageFilesInstall` in rpm's `lib/fsm.c`).

use std::collections::BTreeMap;
use std::fmt;

use super::ComposeError;
use super::capability;
use super::plan::Action;
use crate::package::{FileKind, Package, PackageFile};
use crate::tree::{Content, Inode, InodeId, Metadata, Node, Tree, TreeError, TreePath};
use crate::users::{Accounts, UsersError};

/// A file that wants an owner or group that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOwner {
    /// Where the file is.
    pub path: TreePath,
    /// Name of the user or group.
    pub name: String,
}

impl fmt::Display for UnknownOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: there is no {}", self.path, self.name)
    }
}

/// Places the files of `package`; gives those whose owner does not exist.
///
/// # Errors
/// If one does not fit the tree as it is.
pub fn place(
    tree: &mut Tree,
    package: &Package,
    actions: &[Action],
) -> Result<Vec<UnknownOwner>, ComposeError> {
    let mut place =
        Place { owners: Owners::default(), unknown: Vec::new(), links: BTreeMap::new() };
    for (file, action) in package.files.iter().zip(actions) {
        if file.ghost || action.skips() {
            continue;
        }
        place.file(tree, package, file, *action)?;
    }
    Ok(place.unknown)
}

struct Place {
    owners: Owners,
    unknown: Vec<UnknownOwner>,
    /// Where the first name of each set of hard links is.
    links: BTreeMap<u32, InodeId>,
}

impl Place {
    fn file(
        &mut self,
        tree: &mut Tree,
        package: &Package,
        file: &PackageFile,
        action: Action,
    ) -> Result<(), ComposeError> {
        let name = || package.identity.to_string();
        let failed = |source| ComposeError::File { package: name(), source };
        let meta = self.metadata(tree, package, file)?;
        if file.kind == FileKind::Directory {
            return directory(tree, &file.path, meta).map_err(failed);
        }
        let path = target(tree, &file.path, action).map_err(failed)?;
        if tree.get(path.as_str()).is_some_and(|there| there.node.is_directory()) {
            let kind = file.kind.name();
            return Err(ComposeError::InTheWay { package: name(), path, kind });
        }
        if let Some(first) = file.link_set.and_then(|set| self.links.get(&set)) {
            return tree.hard_link(&path, *first).map(drop).map_err(failed);
        }
        let node = node(file);
        tree.insert(&path, Inode { node, meta }).map_err(failed)?;
        if let (Some(set), Some(id)) = (file.link_set, tree.locate(path.as_str())) {
            self.links.insert(set, id);
        }
        Ok(())
    }

    /// Where there is no such user or group the file becomes root's and loses
    /// setuid or setgid.
    fn metadata(
        &mut self,
        tree: &Tree,
        package: &Package,
        file: &PackageFile,
    ) -> Result<Metadata, ComposeError> {
        let mut meta = Metadata::root(file.mode, file.mtime);
        let (uid, gid) = self.owners.of(tree, file)?;
        let mut unknown = |name: &str| {
            self.unknown.push(UnknownOwner { path: file.path.clone(), name: name.to_owned() });
        };
        match uid {
            Some(uid) => meta.uid = uid,
            None => {
                meta.mode &= !0o4000;
                unknown(&file.user);
            }
        }
        match gid {
            Some(gid) => meta.gid = gid,
            None => {
                meta.mode &= !0o2000;
                unknown(&file.group);
            }
        }
        if let (Some(text), FileKind::File) = (&file.capabilities, &file.kind) {
            let value = capability::encode(text).ok_or_else(|| ComposeError::Capabilities {
                package: package.identity.to_string(),
                path: file.path.to_string(),
                text: text.clone(),
            })?;
            meta.xattrs.extend(value.map(|value| (capability::XATTR.to_owned(), value)));
        }
        Ok(meta)
    }
}

/// The accounts of the moment, read only if a file is not root's.
#[derive(Default)]
struct Owners {
    accounts: Option<Accounts>,
}

impl Owners {
    fn of(
        &mut self,
        tree: &Tree,
        file: &PackageFile,
    ) -> Result<(Option<u32>, Option<u32>), UsersError> {
        if &*file.user == "root" && &*file.group == "root" {
            return Ok((Some(0), Some(0)));
        }
        if self.accounts.is_none() {
            self.accounts = Some(Accounts::read(tree, 0)?);
        }
        Ok(match &self.accounts {
            Some(accounts) => (accounts.uid(&file.user), accounts.gid(&file.group)),
            None => (None, None),
        })
    }
}

fn node(file: &PackageFile) -> Node {
    match &file.kind {
        FileKind::Directory => Node::directory(),
        FileKind::File => {
            Node::File(file.content.clone().unwrap_or_else(|| Content::bytes(Vec::new())))
        }
        FileKind::Symlink(target) => Node::Symlink(target.clone()),
        FileKind::CharDevice(major, minor) => Node::CharDevice(*major, *minor),
        FileKind::BlockDevice(major, minor) => Node::BlockDevice(*major, *minor),
        FileKind::Fifo => Node::Fifo,
    }
}

/// Makes a directory, or gives one that is there its metadata. A link of
/// root's that leads to a directory stands for it (`fsmVerify`); anything else
/// makes room.
fn directory(tree: &mut Tree, path: &TreePath, meta: Metadata) -> Result<(), TreeError> {
    let place = placed(tree, path)?;
    let there = tree.locate(place.as_str()).map(|id| (id, tree.inode(id)));
    if let Some((_, inode)) = there
        && !inode.node.is_directory()
    {
        let leads_to = match &inode.node {
            Node::Symlink(_) => tree.resolve(place.as_str()),
            _ => None,
        };
        let target = leads_to.map(|id| (id, tree.inode(id)));
        let safe = target.filter(|(_, target)| {
            let owner = inode.meta.uid;
            target.node.is_directory() && (owner == 0 || owner == target.meta.uid)
        });
        if let Some(id) = safe.map(|(id, _)| id) {
            tree.inode_mut(id).meta = meta;
            return Ok(());
        }
        tree.remove(&place);
    }
    tree.insert(&place, Inode { node: Node::directory(), meta }).map(drop)
}

/// Where a file is written; one that is there may have to move first.
fn target(tree: &mut Tree, path: &TreePath, action: Action) -> Result<TreePath, TreeError> {
    let place = placed(tree, path)?;
    let (Some((parent, name)), Action::AltName | Action::Backup) = (place.split(), action) else {
        return Ok(place);
    };
    if action == Action::AltName {
        return Ok(parent.join(&format!("{name}.rpmnew"))?);
    }
    if let Some(id) = tree.locate(place.as_str()) {
        let inode = tree.inode(id).clone();
        tree.remove(&place);
        tree.insert(&parent.join(&format!("{name}.rpmorig"))?, inode)?;
    }
    Ok(place)
}

/// The path with the links among its parents followed and missing ones made.
fn placed(tree: &mut Tree, path: &TreePath) -> Result<TreePath, TreeError> {
    let Some((parent, name)) = path.split() else {
        return Ok(path.clone());
    };
    let (_, parent) = tree.make_directories(&parent)?;
    Ok(parent.join(name)?)
}
