//! `C`: a file, link or folder, copied where nothing is yet.

use super::apply::{Applied, permit};
use super::line::Item;
use super::{TmpfilesError, in_the_way, is_below};
use crate::compose::CAPABILITY;
use crate::tree::{Inode, Node, Tree, TreePath};

/// What is copied.
pub(super) fn source(item: &Item) -> String {
    item.argument.clone().unwrap_or_else(|| format!("/usr/share/factory{}", item.path))
}

/// Copies, and gives owner and mode to what is there then. Each file is taken
/// from `left`.
pub(super) fn copy(
    tree: &mut Tree,
    item: &Item,
    to: &TreePath,
    left: &mut usize,
) -> Result<Applied, TmpfilesError> {
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
        None => all(tree, item, &from, to, left)?,
    }
    permit(tree, item, to.as_str(), true);
    Ok(Applied::Done)
}

/// Copies what is at `from` and below.
fn all(
    tree: &mut Tree,
    item: &Item,
    from: &str,
    to: &TreePath,
    left: &mut usize,
) -> Result<(), TmpfilesError> {
    let parent = to.split().and_then(|(parent, _)| tree.canonical(parent.as_str()));
    let into_itself = parent.zip(tree.canonical(from));
    if into_itself.is_some_and(|(parent, from)| is_below(parent.as_str(), from.as_str())) {
        return Err(in_the_way(to.as_str(), "a folder is to be copied into itself"));
    }
    let mut todo = vec![(from.to_owned(), to.clone())];
    while let Some((from, to)) = todo.pop() {
        let rest = left.checked_sub(1);
        *left = rest.ok_or_else(|| in_the_way(to.as_str(), "there is too much to copy"))?;
        if !one(tree, item, &from, &to)? {
            continue;
        }
        for (name, _) in tree.children(&from) {
            todo.push((format!("{from}/{name}"), to.join(name)?));
        }
    }
    Ok(())
}

/// Copies one thing; says whether it is a folder.
fn one(tree: &mut Tree, item: &Item, from: &str, to: &TreePath) -> Result<bool, TmpfilesError> {
    let Some(source) = tree.get(from) else {
        return Ok(false);
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
    Ok(is_directory)
}
