//! What a script changed, back into the tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ids::Ids;
use super::message::{Attributes, Change, Found};
use super::mirror::shown;
use crate::tree::{Content, Inode, Metadata, Node, Tree, TreeError, TreePath};

/// Contents up to this size go into memory: small files are read more often
/// than they are worth a file of their own.
const INLINE_BYTES: u64 = 4096;

/// Why a change does not fit the tree.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The tree does not take it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A kept content cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Where it is kept.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the changes in a copy of `tree`. Contents were kept in `contents`.
pub fn apply(
    tree: &Tree,
    changes: Vec<Change>,
    ids: &Ids,
    contents: &Path,
) -> Result<Tree, ChangeError> {
    let mut next = tree.clone();
    for change in changes {
        match change {
            Change::Removed(path) => {
                next.remove(&checked(&path)?);
            }
            Change::Link { path, target } => {
                let path = checked(&path)?;
                let missing = || TreeError::Missing { path: target.clone() };
                let target = next.locate(&target).ok_or_else(missing)?;
                make_room(&mut next, &path, false);
                next.hard_link(&path, target)?;
            }
            Change::Found { path, kind, attributes } => {
                let path = checked(&path)?;
                let meta = metadata(tree, &path, attributes, ids);
                put(&mut next, tree, &path, kind, meta, contents)?;
            }
        }
    }
    Ok(next)
}

fn checked(path: &str) -> Result<TreePath, TreeError> {
    Ok(TreePath::new(path)?)
}

/// A directory cannot replace anything else, nor the other way round.
fn make_room(tree: &mut Tree, path: &TreePath, directory: bool) {
    if tree.get(path.as_str()).is_some_and(|inode| inode.node.is_directory() != directory) {
        tree.remove(path);
    }
}

/// What a script could not see or change stays as it was.
fn metadata(tree: &Tree, path: &TreePath, found: Attributes, ids: &Ids) -> Metadata {
    let Attributes { mode, uid, gid, mtime, xattrs } = found;
    let mut meta = Metadata { mode, uid, gid, mtime, xattrs };
    let Some(before) = tree.get(path.as_str()).map(|inode| &inode.meta) else {
        return meta;
    };
    let seen = shown(before, ids);
    if meta.uid == seen.uid {
        meta.uid = before.uid;
    }
    if meta.gid == seen.gid {
        meta.gid = before.gid;
    }
    let hidden = before.xattrs.iter().filter(|(name, _)| !seen.xattrs.contains_key(*name));
    meta.xattrs.extend(hidden.map(|(name, value)| (name.clone(), value.clone())));
    meta
}

fn put(
    next: &mut Tree,
    before: &Tree,
    path: &TreePath,
    kind: Found,
    meta: Metadata,
    contents: &Path,
) -> Result<(), ChangeError> {
    let node = match kind {
        Found::Directory => {
            make_room(next, path, true);
            if let Some(id) = next.locate(path.as_str()) {
                // not `insert`: it would no longer count as made for its entries
                next.inode_mut(id).meta = meta;
                return Ok(());
            }
            Node::directory()
        }
        Found::File { kept, size_bytes } => {
            let had = before.get(path.as_str()).map(|inode| &inode.node);
            Node::File(content(had, &contents.join(kept), size_bytes)?)
        }
        Found::Symlink(target) => Node::Symlink(target),
        Found::Fifo => Node::Fifo,
    };
    make_room(next, path, node.is_directory());
    next.insert(path, Inode { node, meta })?;
    Ok(())
}

/// The tree's own content if the bytes are the same; otherwise the kept file.
fn content(had: Option<&Node>, kept: &Path, size_bytes: u64) -> Result<Content, ChangeError> {
    let failed = |source| ChangeError::Read { path: kept.to_owned(), source };
    let now = Content::Range { file: Arc::from(kept), offset_bytes: 0, size_bytes };
    if let Some(Node::File(had)) = had
        && had.size_bytes() == size_bytes
        && same(had, &now).map_err(failed)?
    {
        fs::remove_file(kept).map_err(failed)?;
        return Ok(had.clone());
    }
    if size_bytes > INLINE_BYTES {
        return Ok(now);
    }
    let bytes = fs::read(kept).map_err(failed)?;
    fs::remove_file(kept).map_err(failed)?;
    Ok(Content::bytes(bytes))
}

fn same(one: &Content, other: &Content) -> io::Result<bool> {
    use crate::tree::ContentReader;
    let (mut first, mut second) = (ContentReader::default(), ContentReader::default());
    let mut pieces = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < one.size_bytes() {
        let left = usize::try_from(one.size_bytes() - at).unwrap_or(usize::MAX);
        let len = left.min(pieces.0.len());
        first.read_at(one, at, &mut pieces.0[..len]).map_err(io::Error::other)?;
        second.read_at(other, at, &mut pieces.1[..len]).map_err(io::Error::other)?;
        if pieces.0[..len] != pieces.1[..len] {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}
