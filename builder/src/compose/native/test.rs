//! `[` and `test`: what a script asks before it does anything.

use super::super::shell::NotUnderstood;
use super::World;
use super::command::Known;
use crate::tree::{Content, Inode, Node};

/// Reads the question; none if it is not understood.
pub(super) fn known(name: &str, arguments: &[String]) -> Option<Known> {
    let words = match name {
        "[" => arguments.strip_suffix(&["]".to_owned()])?,
        _ => arguments,
    };
    let plain = words.strip_prefix(&["!".to_owned()]).unwrap_or(words);
    let texts: Vec<&str> = plain.iter().map(String::as_str).collect();
    let understood = match texts[..] {
        [_] => true,
        [option, path] if is_file_test(option) => path.starts_with('/'),
        ["-n" | "-z", _] => true,
        [first, operator, second] => compare(first, operator, second).is_some(),
        _ => false,
    };
    understood.then(|| Known::Test(words.to_vec()))
}

fn is_file_test(option: &str) -> bool {
    matches!(
        option,
        "-e" | "-f" | "-d" | "-x" | "-p" | "-L" | "-h" | "-r" | "-w" | "-s" | "-S" | "-b" | "-c"
    )
}

/// Answers it: 0 for yes, 1 for no.
pub(super) fn run(world: &World<'_>, words: &[String]) -> Result<i32, NotUnderstood> {
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    let (texts, positive) = match texts.strip_prefix(&["!"]) {
        Some(rest) => (rest, false),
        None => (&texts[..], true),
    };
    let found = match texts {
        [text] => !text.is_empty(),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [option, path] => file(world, option, path),
        [first, operator, second] => {
            let unknown = || NotUnderstood(format!("test {texts:?}"));
            compare(first, operator, second).ok_or_else(unknown)?
        }
        _ => return Err(NotUnderstood(format!("test {texts:?}"))),
    };
    Ok(i32::from(found != positive))
}

fn file(world: &World<'_>, option: &str, path: &str) -> bool {
    let tree = &*world.tree;
    if matches!(option, "-L" | "-h") {
        return tree.get(path).is_some_and(|inode| matches!(inode.node, Node::Symlink(_)));
    }
    let Some(inode) = tree.resolve(path).map(|id| tree.inode(id)) else {
        return false;
    };
    let Inode { node, meta } = inode;
    match option {
        "-f" => matches!(node, Node::File(_)),
        "-d" => node.is_directory(),
        "-p" => matches!(node, Node::Fifo),
        "-b" => matches!(node, Node::BlockDevice(..)),
        "-c" => matches!(node, Node::CharDevice(..)),
        // No tree holds a socket.
        "-S" => false,
        "-s" => node.is_directory() || matches!(node, Node::File(content) if !is_empty(content)),
        // Root may enter any folder, but runs only what somebody may run.
        "-x" => node.is_directory() || meta.mode & 0o111 != 0,
        // `-e`, and what root may read and write: everything.
        _ => true,
    }
}

fn is_empty(content: &Content) -> bool {
    content.size_bytes() == 0
}

fn compare(first: &str, operator: &str, second: &str) -> Option<bool> {
    let numbers = || Some((first.parse::<i64>().ok()?, second.parse::<i64>().ok()?));
    Some(match operator {
        "=" | "==" => first == second,
        "!=" => first != second,
        "-eq" => numbers().map(|(a, b)| a == b)?,
        "-ne" => numbers().map(|(a, b)| a != b)?,
        "-gt" => numbers().map(|(a, b)| a > b)?,
        "-ge" => numbers().map(|(a, b)| a >= b)?,
        "-lt" => numbers().map(|(a, b)| a < b)?,
        "-le" => numbers().map(|(a, b)| a <= b)?,
        _ => return None,
    })
}
