//! Files: `cp`, `ln`, `mkdir`, `rm`, `touch`, `chmod`, `chown`, `grep -q`, and
//! output that goes to a file, as coreutils do them for root with the mask 022.
//!
//! Only absolute paths are taken, and only files of one kind where a command
//! could mean several; what is left over is for the sandbox.

use super::super::shell::{NotUnderstood, Output};
use super::World;
use crate::acl;
use crate::tree::{Content, Inode, InodeId, Metadata, Node, Tree, TreeError, TreePath};
use crate::users::Accounts;

/// Files that are read are lists and settings.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A call that is understood.
#[derive(Debug)]
pub(super) enum FileCall {
    Copy {
        from: String,
        to: String,
    },
    Link {
        target: String,
        name: String,
        force: bool,
        no_follow: bool,
    },
    MakeDirectory {
        paths: Vec<String>,
        parents: bool,
        mode: Option<u16>,
    },
    Remove {
        paths: Vec<String>,
        force: bool,
        recursive: bool,
    },
    Touch(Vec<String>),
    Mode {
        mode: u16,
        paths: Vec<String>,
    },
    Owner {
        user: Option<String>,
        group: Option<String>,
        paths: Vec<String>,
    },
    /// `grep -q`
    Search {
        pattern: Pattern,
        path: String,
    },
}

impl FileCall {
    /// Reads a call; none if it is not understood.
    pub fn parse(name: &str, words: &[&str]) -> Option<Self> {
        let (options, words) = options(words)?;
        let only = |known: &str| options.chars().all(|option| known.contains(option));
        let has = |option: char| options.contains(option);
        let paths = || absolute(&words);
        Some(match (name, &words[..]) {
            ("cp", [from, to]) if only("f") && from.starts_with('/') && to.starts_with('/') => {
                Self::Copy { from: (*from).to_owned(), to: (*to).to_owned() }
            }
            ("ln", [target, name]) if only("sfn") && has('s') && name.starts_with('/') => {
                let (target, name) = ((*target).to_owned(), (*name).to_owned());
                Self::Link { target, name, force: has('f'), no_follow: has('n') }
            }
            ("mkdir", _) if only("p") => {
                Self::MakeDirectory { paths: paths()?, parents: has('p'), mode: None }
            }
            ("mkdir", [mode, _, ..]) if only("pm") && options.ends_with('m') => {
                let mode = Some(octal(mode)?);
                Self::MakeDirectory { paths: absolute(&words[1..])?, parents: has('p'), mode }
            }
            ("rm", _) if only("rRf") => {
                let recursive = has('r') || has('R');
                Self::Remove { paths: paths()?, force: has('f'), recursive }
            }
            ("touch", _) if only("") => Self::Touch(paths()?),
            ("chmod", [mode, _, ..]) if only("") => {
                Self::Mode { mode: octal(mode)?, paths: absolute(&words[1..])? }
            }
            ("chown", [owner, _, ..]) if only("") => {
                let (user, group) = match owner.split_once(':') {
                    Some((user, group)) => (user, (!group.is_empty()).then(|| group.to_owned())),
                    None => (*owner, None),
                };
                let user = (!user.is_empty()).then(|| user.to_owned());
                Self::Owner { user, group, paths: absolute(&words[1..])? }
            }
            ("chgrp", [group, _, ..]) if only("") => {
                let paths = absolute(&words[1..])?;
                Self::Owner { user: None, group: Some((*group).to_owned()), paths }
            }
            ("grep", [pattern, path]) if has('q') && only("qFx") && path.starts_with('/') => {
                let pattern = Pattern::parse(pattern, has('F'), has('x'))?;
                Self::Search { pattern, path: (*path).to_owned() }
            }
            _ => return None,
        })
    }

    /// Does it; gives the exit status.
    pub fn run(&self, world: &mut World<'_>) -> Result<i32, NotUnderstood> {
        let tree = &mut *world.tree;
        let done = match self {
            Self::Copy { from, to } => copy(tree, from, to)?,
            Self::Link { target, name, force, no_follow } => {
                link(tree, target, name, *force, *no_follow)?
            }
            Self::MakeDirectory { paths, parents, mode } => {
                each(paths, |path| make_directory(tree, path, *parents, *mode))?
            }
            Self::Remove { paths, force, recursive } => {
                each(paths, |path| remove(tree, path, *force, *recursive))?
            }
            Self::Touch(paths) => each(paths, |path| touch(tree, path))?,
            Self::Mode { mode, paths } => each(paths, |path| {
                let id = tree.resolve(path);
                Ok(id.map(|id| acl::change_mode(&mut tree.inode_mut(id).meta, *mode)).is_some())
            })?,
            Self::Owner { user, group, paths } => {
                let owner = owner(tree, user.as_deref(), group.as_deref())?;
                let Some(owner) = owner else { return Ok(1) };
                each(paths, |path| Ok(set_owner(tree, path, owner)))?
            }
            Self::Search { pattern, path } => return search(tree, pattern, path),
        };
        if !done {
            world.complain(format!("{self:?} failed"));
        }
        Ok(i32::from(!done))
    }
}

/// `> FILE` or `>> FILE`: replaces or continues it; gives the exit status.
pub(super) fn write(
    world: &mut World<'_>,
    output: &Output,
    text: &str,
) -> Result<i32, NotUnderstood> {
    let tree = &mut *world.tree;
    let mut bytes = match tree.resolve(&output.path) {
        Some(_) if output.append => tree.read(&output.path, MAX_FILE_BYTES).map_err(refuse)?,
        Some(_) => Vec::new(),
        None if parent_is_there(tree, &output.path) => Vec::new(),
        None => {
            world.complain(format!("{}: no such folder", output.path));
            return Ok(1);
        }
    };
    bytes.extend_from_slice(text.as_bytes());
    tree.rewrite(&path(&output.path)?, 0o644, bytes).map_err(refuse)?;
    Ok(0)
}

fn refuse(error: impl Into<TreeError>) -> NotUnderstood {
    NotUnderstood(error.into().to_string())
}

fn path(text: &str) -> Result<TreePath, NotUnderstood> {
    TreePath::new(text).map_err(refuse)
}

/// Short options, joined, and the other words.
fn options<'w>(words: &[&'w str]) -> Option<(String, Vec<&'w str>)> {
    let (mut options, mut rest) = (String::new(), Vec::new());
    for word in words {
        match word.strip_prefix('-') {
            Some(long) if long.starts_with('-') || long.is_empty() => return None,
            Some(_) if !rest.is_empty() => return None,
            Some(short) => options.push_str(short),
            None => rest.push(*word),
        }
    }
    Some((options, rest))
}

fn absolute(words: &[&str]) -> Option<Vec<String>> {
    let fine = !words.is_empty() && words.iter().all(|word| TreePath::new(word).is_ok());
    fine.then(|| words.iter().map(|word| (*word).to_owned()).collect())
}

fn octal(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

fn each(
    paths: &[String],
    mut act: impl FnMut(&str) -> Result<bool, NotUnderstood>,
) -> Result<bool, NotUnderstood> {
    let mut all = true;
    for path in paths {
        all &= act(path)?;
    }
    Ok(all)
}

fn parent_is_there(tree: &Tree, path: &str) -> bool {
    let parent = path.trim_end_matches('/').rsplit_once('/').map_or("/", |(parent, _)| parent);
    let parent = if parent.is_empty() { "/" } else { parent };
    tree.resolve(parent).is_some_and(|id| tree.inode(id).node.is_directory())
}

fn is_directory(tree: &Tree, path: &str) -> bool {
    tree.resolve(path).is_some_and(|id| tree.inode(id).node.is_directory())
}

/// A path inside the folder `to`, if it is one.
fn inside(tree: &Tree, to: &str, name_of: &str) -> String {
    let name = name_of.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match is_directory(tree, to) {
        true => format!("{}/{name}", to.trim_end_matches('/')),
        false => to.to_owned(),
    }
}

fn copy(tree: &mut Tree, from: &str, to: &str) -> Result<bool, NotUnderstood> {
    let Some(source) = tree.resolve(from).map(|id| tree.inode(id)) else {
        return Ok(false);
    };
    let Node::File(content) = &source.node else {
        return Err(NotUnderstood(format!("a copy of {from}, which is no file")));
    };
    let (content, mode) = (content.clone(), source.meta.mode & 0o755);
    let to = inside(tree, to, from);
    if !parent_is_there(tree, &to) {
        return Ok(false);
    }
    put(tree, &to, content, mode)?;
    Ok(true)
}

/// Writes over what `path` leads to, or makes a file of root's.
fn put(tree: &mut Tree, to: &str, content: Content, mode: u16) -> Result<(), NotUnderstood> {
    let mtime = tree.default_mtime();
    match tree.resolve(to) {
        Some(id) => {
            let inode = tree.inode_mut(id);
            if !matches!(inode.node, Node::File(_)) {
                return Err(NotUnderstood(format!("{to} is no file")));
            }
            inode.node = Node::File(content);
            inode.meta.mtime = mtime;
            written(&mut inode.meta);
        }
        None => {
            let inode = Inode { node: Node::File(content), meta: Metadata::root(mode, mtime) };
            tree.insert(&path(to)?, inode).map_err(refuse)?;
        }
    }
    Ok(())
}

/// The kernel takes capabilities from what is written to.
fn written(meta: &mut Metadata) {
    meta.xattrs.remove(super::super::capability::XATTR);
}

fn link(
    tree: &mut Tree,
    target: &str,
    name: &str,
    force: bool,
    no_follow: bool,
) -> Result<bool, NotUnderstood> {
    let is_link = tree.get(name).is_some_and(|inode| matches!(inode.node, Node::Symlink(_)));
    let name = if no_follow && is_link { name.to_owned() } else { inside(tree, name, target) };
    if !parent_is_there(tree, &name) {
        return Ok(false);
    }
    match tree.get(&name) {
        Some(there) if !force || there.node.is_directory() => Ok(false),
        _ => tree.symlink(&path(&name)?, target).map(|()| true).map_err(refuse),
    }
}

fn make_directory(
    tree: &mut Tree,
    name: &str,
    parents: bool,
    mode: Option<u16>,
) -> Result<bool, NotUnderstood> {
    if tree.locate(name).is_some() {
        return Ok(parents && is_directory(tree, name));
    }
    if !parents && !parent_is_there(tree, name) {
        return Ok(false);
    }
    let meta = Metadata::root(mode.unwrap_or(0o755), tree.default_mtime());
    let inode = Inode { node: Node::directory(), meta };
    Ok(tree.insert(&path(name)?, inode).is_ok())
}

fn remove(
    tree: &mut Tree,
    name: &str,
    force: bool,
    recursive: bool,
) -> Result<bool, NotUnderstood> {
    match tree.get(name) {
        None => Ok(force),
        Some(there) if there.node.is_directory() && !recursive => Ok(false),
        Some(_) => Ok(tree.remove(&path(name)?)),
    }
}

fn touch(tree: &mut Tree, name: &str) -> Result<bool, NotUnderstood> {
    let mtime = tree.default_mtime();
    if let Some(id) = tree.resolve(name) {
        tree.inode_mut(id).meta.mtime = mtime;
        return Ok(true);
    }
    if !parent_is_there(tree, name) {
        return Ok(false);
    }
    tree.write(&path(name)?, 0o644, Vec::new()).map(|()| true).map_err(refuse)
}

/// Numbers of user and group, where they change.
type NewOwner = (Option<u32>, Option<u32>);

/// Numbers of an owner and group; none if one does not exist.
fn owner(
    tree: &Tree,
    user: Option<&str>,
    group: Option<&str>,
) -> Result<Option<NewOwner>, NotUnderstood> {
    let accounts = Accounts::read(tree, 0).map_err(|error| NotUnderstood(error.to_string()))?;
    let uid = user.map(|name| accounts.uid(name).or_else(|| name.parse().ok()));
    let gid = group.map(|name| accounts.gid(name).or_else(|| name.parse().ok()));
    if uid == Some(None) || gid == Some(None) {
        return Ok(None);
    }
    Ok(Some((uid.flatten(), gid.flatten())))
}

/// Changing an owner takes setuid, setgid and capabilities from a file.
fn set_owner(tree: &mut Tree, path: &str, (uid, gid): NewOwner) -> bool {
    let Some(id): Option<InodeId> = tree.resolve(path) else {
        return false;
    };
    let inode = tree.inode_mut(id);
    inode.meta.uid = uid.unwrap_or(inode.meta.uid);
    inode.meta.gid = gid.unwrap_or(inode.meta.gid);
    if matches!(inode.node, Node::File(_)) {
        let group_runs = inode.meta.mode & 0o010 != 0;
        inode.meta.mode &= if group_runs { 0o1777 } else { 0o3777 };
        written(&mut inode.meta);
    }
    true
}

/// 0 if a line matches, 1 if none does, 2 without a file.
fn search(tree: &Tree, pattern: &Pattern, path: &str) -> Result<i32, NotUnderstood> {
    if tree.resolve(path).is_none() {
        return Ok(2);
    }
    let bytes = tree.read(path, MAX_FILE_BYTES).map_err(refuse)?;
    let found = String::from_utf8_lossy(&bytes).lines().any(|line| pattern.fits(line));
    Ok(i32::from(!found))
}

/// A text to look for in a line, as a whole or anchored at its ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    at_start: bool,
    at_end: bool,
}

impl Pattern {
    /// Reads a basic regular expression, if it has nothing but anchors.
    fn parse(text: &str, fixed: bool, whole: bool) -> Option<Self> {
        if fixed {
            return Some(Self { text: text.to_owned(), at_start: whole, at_end: whole });
        }
        let (text, at_start) = match text.strip_prefix('^') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (text, at_end) = match text.strip_suffix('$') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let plain = !text.contains(['.', '*', '[', ']', '\\', '^', '$']);
        let (at_start, at_end) = (at_start || whole, at_end || whole);
        plain.then(|| Self { text: text.to_owned(), at_start, at_end })
    }

    fn fits(&self, line: &str) -> bool {
        match (self.at_start, self.at_end) {
            (true, true) => line == self.text,
            (true, false) => line.starts_with(&self.text),
            (false, true) => line.ends_with(&self.text),
            (false, false) => line.contains(&self.text),
        }
    }
}
