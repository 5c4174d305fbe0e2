//! `C`: a file, link or folder, copied where nothing is yet.

use super::apply::{Applied, permit};
use super::line::Item;
use super::{TmpfilesError, in_the_way};
use crate::compose::CAPABILITY;
use crate::tree::{Inode, Node, Tree, TreePath};

/// What is copied.
pub(super) fn source(item: &Item) -> String {
    item.argument.clone().unwrap_or_else(|| format!("/usr/share/factory{}", item.path))
}

/// Copies, and gives owner and mode to what is there then.
pub(super) fn copy(tree: &mut Tree, item: &Item, to: &TreePath) -> Result<Applied, TmpfilesError> {
    let from = source(item);
    let Some(source) = tree.get(&from).cloned() else {
        return Ok(Applied::Done);
    };
    if matches!(source.node, Node::Symlink(_)) {
        return Err(in_the_way(&from, "a link is to be copied"));
    }
    let there = tree.get(to.as_str()).map(|inode| match &inode.node {
        Node::Directory(entries) if entries.is_empty() => None,
        node => Some(std::mem::discriminant(node) == std::mem::discriminant(&source.node)),
    });
    match there {
        // Whether it is filled differs between versions.
        Some(None) => return Err(in_the_way(to.as_str(), "an empty folder is there")),
        Some(Some(false)) => return Ok(Applied::Done),
        Some(Some(true)) => {}
        None => below(tree, item, &from, to)?,
    }
    permit(tree, item, to.as_str(), true);
    Ok(Applied::Done)
}

fn below(tree: &mut Tree, item: &Item, from: &str, to: &TreePath) -> Result<(), TmpfilesError> {
    let Some(source) = tree.get(from) else {
        return Ok(());
    };
    let Inode { node, mut meta } = source.clone();
    meta.uid = item.uid.unwrap_or(meta.uid);
    meta.gid = item.gid.unwrap_or(meta.gid);
    meta.xattrs.remove(CAPABILITY);
    let node = match node {
        Node::Directory(_) => Node::directory(),
        node @ (Node::File(_) | Node::Symlink(_)) => node,
        _ => return Err(in_the_way(from, "a device is to be copied")),
    };
    let is_directory = node.is_directory();
    tree.insert(to, Inode { node, meta })?;
    if is_directory {
        let names: Vec<String> = tree.children(from).map(|(name, _)| name.to_owned()).collect();
        for name in names {
            below(tree, item, &format!("{from}/{name}"), &to.join(&name)?)?;
        }
    }
    Ok(())
}
