//! One line, carried out in the tree.

use super::line::{Item, Kind, fits};
use super::{MAX_FILE_BYTES, TmpfilesError, copy, in_the_way, pattern};
use crate::acl;
use crate::compose::CAPABILITY;
use crate::tree::{Content, Inode, InodeId, Metadata, Node, Tree, TreePath};

/// How a line ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    Done,
    /// What is there is another thing than the line wants.
    Refused,
}

/// Carries out a line. What it copies is taken from `copies`.
pub(super) fn apply(
    tree: &mut Tree,
    item: &Item,
    copies: &mut usize,
) -> Result<Applied, TmpfilesError> {
    match item.kind {
        Kind::Nothing | Kind::Device => Ok(Applied::Done),
        Kind::Directory | Kind::File | Kind::Link | Kind::Fifo | Kind::Copy => {
            make(tree, item, copies)
        }
        Kind::Existing
        | Kind::Write
        | Kind::Permissions
        | Kind::PermissionsBelow
        | Kind::Lists
        | Kind::Attributes => {
            for path in pattern::find(tree, &item.path)? {
                safe(tree, &path)?;
                adjust(tree, item, &path)?;
            }
            Ok(Applied::Done)
        }
    }
}

fn make(tree: &mut Tree, item: &Item, copies: &mut usize) -> Result<Applied, TmpfilesError> {
    let path = TreePath::new(&item.path)?;
    let Some((parent, _)) = path.split() else {
        return Ok(Applied::Refused);
    };
    if item.kind == Kind::Copy && tree.resolve(&copy::source(item)).is_none() {
        return Ok(Applied::Done);
    }
    if tree.resolve(parent.as_str()).is_none() && dangles(tree, &parent) {
        return Err(in_the_way(parent.as_str(), "a link leads nowhere"));
    }
    tree.make_directories(&parent)?;
    safe(tree, parent.as_str())?;
    let above = tree.resolve(parent.as_str()).map(|id| &tree.inode(id).meta);
    if above.is_some_and(|meta| meta.xattrs.contains_key(acl::DEFAULT)) {
        return Err(in_the_way(parent.as_str(), "what is made there gets an access list"));
    }
    if item.kind == Kind::Copy {
        return copy::copy(tree, item, &path, copies);
    }
    match tree.locate(&item.path) {
        Some(id) => change(tree, item, &path, id),
        None => {
            let node = new_node(item);
            let mode = if item.kind == Kind::Link { 0o777 } else { item.new_mode() };
            let meta = Metadata::root(mode, tree.default_mtime());
            tree.insert(&path, Inode { node, meta })?;
            permit(tree, item, &item.path, true);
            Ok(Applied::Done)
        }
    }
}

fn new_node(item: &Item) -> Node {
    match item.kind {
        Kind::Directory => Node::directory(),
        Kind::Link => Node::Symlink(target(item)),
        Kind::Fifo => Node::Fifo,
        _ => Node::File(Content::bytes(text(item))),
    }
}

fn text(item: &Item) -> Vec<u8> {
    item.argument.clone().unwrap_or_default().into_bytes()
}

fn target(item: &Item) -> String {
    item.argument.clone().unwrap_or_else(|| format!("/usr/share/factory{}", item.path))
}

/// For what is there already.
fn change(
    tree: &mut Tree,
    item: &Item,
    path: &TreePath,
    id: InodeId,
) -> Result<Applied, TmpfilesError> {
    let there = &tree.inode(id).node;
    let good = match there {
        Node::Symlink(there) if item.kind == Kind::Link => *there == target(item),
        _ => fits(there, item.kind),
    };
    match item.kind {
        // Whoever wants a directory or link there takes what there is.
        Kind::Directory if !good => return Ok(Applied::Done),
        Kind::Link if !good && !item.force => return Ok(Applied::Done),
        Kind::Link if !good => {
            tree.remove(path);
            tree.symlink(path, &target(item))?;
            permit(tree, item, path.as_str(), true);
            return Ok(Applied::Done);
        }
        _ if !good => return Ok(Applied::Refused),
        Kind::File if item.force => rewrite(tree, id, text(item)),
        _ => {}
    }
    permit(tree, item, path.as_str(), false);
    Ok(Applied::Done)
}

fn rewrite(tree: &mut Tree, id: InodeId, bytes: Vec<u8>) {
    let mtime = tree.default_mtime();
    let inode = tree.inode_mut(id);
    inode.node = Node::File(Content::bytes(bytes));
    inode.meta.mtime = mtime;
    // The kernel takes capabilities from what is written to.
    inode.meta.xattrs.remove(CAPABILITY);
}

/// For what a pattern has found.
fn adjust(tree: &mut Tree, item: &Item, path: &str) -> Result<(), TmpfilesError> {
    match item.kind {
        Kind::Attributes => return Err(in_the_way(path, "it is to have attributes")),
        Kind::Existing | Kind::Write => {
            let Some(place) = tree.canonical(path) else {
                return Ok(());
            };
            let id = tree.resolve(path).filter(|id| fits(&tree.inode(*id).node, item.kind));
            let id = match id {
                Some(id) => id,
                None if item.kind == Kind::Existing => return Ok(()),
                None => return Err(in_the_way(path, "it is no file")),
            };
            if item.kind == Kind::Write {
                let mut bytes = tree.read(path, MAX_FILE_BYTES)?;
                write_into(&mut bytes, &text(item), item.force);
                rewrite(tree, id, bytes);
            }
            permit(tree, item, place.as_str(), false);
        }
        Kind::PermissionsBelow => below(tree, item, path),
        Kind::Lists => lists(tree, item, path)?,
        _ => permit(tree, item, path, false),
    }
    Ok(())
}

/// Writes over the beginning, or at the end; what is longer stays.
fn write_into(bytes: &mut Vec<u8>, text: &[u8], append: bool) {
    if append {
        bytes.extend_from_slice(text);
    } else {
        let kept = bytes.split_off(text.len().min(bytes.len()));
        *bytes = [text, &kept].concat();
    }
}

fn below(tree: &mut Tree, item: &Item, path: &str) {
    permit(tree, item, path, false);
    let is_directory = tree.get(path).is_some_and(|inode| inode.node.is_directory());
    if !is_directory {
        return;
    }
    let names: Vec<String> =
        tree.children(path).map(|(name, _)| format!("{path}/{name}")).collect();
    names.iter().for_each(|name| below(tree, item, name));
}

/// Gives access lists to the thing at `path`, and for `A` to what is below.
fn lists(tree: &mut Tree, item: &Item, path: &str) -> Result<(), TmpfilesError> {
    let Some(id) = tree.locate(path) else {
        return Ok(());
    };
    let inode = tree.inode_mut(id);
    let is_directory = inode.node.is_directory();
    // A link has no lists of its own.
    if matches!(inode.node, Node::Symlink(_)) {
        return Ok(());
    }
    let done = acl::set(&mut inode.meta, &item.lists, item.force, is_directory);
    done.ok_or_else(|| in_the_way(path, "its access list is malformed"))?;
    if item.letter != 'A' || !is_directory {
        return Ok(());
    }
    let names: Vec<String> =
        tree.children(path).map(|(name, _)| format!("{path}/{name}")).collect();
    names.iter().try_for_each(|name| lists(tree, item, name))
}

/// Gives the thing at `path`, which may be a link itself, owner and mode.
pub(super) fn permit(tree: &mut Tree, item: &Item, path: &str, new: bool) {
    let Some(id) = tree.locate(path) else {
        return;
    };
    let [mode_once, user_once, group_once] = item.only_new;
    let inode = tree.inode(id);
    let (before, is_link) = (inode.meta.mode, matches!(inode.node, Node::Symlink(_)));
    let is_directory = inode.node.is_directory();
    let counts = |once: bool| new || !once;
    let uid = item.uid.filter(|_| counts(user_once)).unwrap_or(inode.meta.uid);
    let gid = item.gid.filter(|_| counts(group_once)).unwrap_or(inode.meta.gid);
    let asked = item.mode.filter(|_| counts(mode_once));
    let mode = match asked {
        Some(mode) if item.masked => masked(mode, before, is_directory),
        asked => asked.unwrap_or(before),
    };
    let moves = (uid, gid) != (inode.meta.uid, inode.meta.gid);
    let meta = &mut tree.inode_mut(id).meta;
    (meta.uid, meta.gid) = (uid, gid);
    if !is_link && mode != before {
        acl::change_mode(meta, mode);
    }
    if moves && !is_directory {
        meta.xattrs.remove(CAPABILITY);
    }
}

/// Only what somebody could do before, somebody can do after.
fn masked(mut mode: u16, before: u16, is_directory: bool) -> u16 {
    for bits in [0o111, 0o222, 0o444] {
        if before & bits == 0 {
            mode &= !bits;
        }
    }
    if is_directory { mode } else { mode & 0o777 }
}

/// Whether a name on the way is there and leads nowhere.
fn dangles(tree: &Tree, path: &TreePath) -> bool {
    let mut at = String::new();
    path.components().any(|name| {
        at = format!("{at}/{name}");
        tree.locate(&at).is_some() && tree.resolve(&at).is_none()
    })
}

/// systemd does not go from what is a user's into what is another's.
fn safe(tree: &Tree, path: &str) -> Result<(), TmpfilesError> {
    let place = tree.canonical(path).map(|place| place.to_string());
    let (mut at, mut owner) = (String::new(), 0);
    for name in place.as_deref().unwrap_or(path).split('/').filter(|name| !name.is_empty()) {
        at = format!("{at}/{name}");
        let Some(inode) = tree.get(&at) else { break };
        if owner != 0 && owner != inode.meta.uid {
            return Err(in_the_way(path, "the way leads from one owner to another"));
        }
        owner = inode.meta.uid;
    }
    Ok(())
}
