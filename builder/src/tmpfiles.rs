//! `tmpfiles.d`: directories, files, links and permissions that packages
//! declare, made as `systemd-tmpfiles --create` makes them (systemd's
//! `tmpfiles.d(5)` and `src/tmpfiles/tmpfiles.c`).
//!
//! What is below `/dev`, `/proc` and `/sys` is left alone: when the real program
//! runs, those are not the image's. What is below `/run` and `/tmp` is made, as
//! it is in a root that packages are installed into.

use std::collections::BTreeMap;

use crate::tree::{ContentError, PathError, Tree, TreeError};
use crate::users::{Accounts, UsersError};
use apply::Applied;
use items::Items;
use line::Read;

mod apply;
mod copy;
mod items;
mod line;
mod pattern;

/// Folders with declarations; of two files of one name the first counts.
const FOLDERS: [&str; 4] =
    ["/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d"];
/// What other file systems are mounted on, also while scripts run.
const FOREIGN: [&str; 3] = ["/dev", "/proc", "/sys"];
/// What `-E` leaves out.
const VOLATILE: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];
/// Declarations, and files that they add to, are short texts.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Lines that ask for something: all packages of a distribution have some
/// hundreds.
const MAX_LINES: usize = 5_000;
/// What `C` lines may copy, in files and folders.
const MAX_COPIED: usize = 50_000;
/// Exit status if a file that is named is not there.
const FAILURE: i32 = 1;
/// Exit status if a line cannot be used (`EX_DATAERR`).
const INVALID: i32 = 65;

/// Why declarations are not carried out here.
#[derive(Debug, thiserror::Error)]
pub enum TmpfilesError {
    /// A line that means something else, or nothing that is known.
    #[error("{file}, line {line}: {text:?} is more than is known of tmpfiles.d")]
    Line {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// Its text.
        text: String,
    },
    /// More lines than anybody declares.
    #[error("tmpfiles.d: {file}: with it there are more than {MAX_LINES} lines")]
    TooMuch {
        /// The file that was too much.
        file: String,
    },
    /// Something is in the way, and what becomes of it is not known.
    #[error("tmpfiles.d: {path}: {reason}")]
    InTheWay {
        /// Where.
        path: String,
        /// What.
        reason: &'static str,
    },
    /// The tree does not take it.
    #[error("tmpfiles.d")]
    Tree(#[from] TreeError),
    /// A file's bytes cannot be had.
    #[error("tmpfiles.d")]
    Content(#[from] ContentError),
    /// Owners cannot be looked up.
    #[error("tmpfiles.d")]
    Users(#[from] UsersError),
}

impl From<PathError> for TmpfilesError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// A call of `systemd-tmpfiles --create`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Lines that are only for boot count too.
    boot: bool,
    /// Only what is below one of these, if there are any.
    prefixes: Vec<String>,
    /// Nothing that is below one of these.
    excluded: Vec<String>,
    /// Files to read instead of all.
    files: Vec<String>,
}

impl Call {
    /// Reads arguments; none if they ask for more than is known.
    #[must_use]
    pub fn parse(words: &[&str]) -> Option<Self> {
        let (mut call, mut create) = (Self::default(), false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (*word, None),
            };
            match option {
                "--create" if value.is_none() => create = true,
                "--boot" if value.is_none() => call.boot = true,
                "-E" if value.is_none() => call.excluded.extend(VOLATILE.map(str::to_owned)),
                "--prefix" => call.prefixes.push(value.or_else(|| words.next().copied())?.into()),
                "--exclude-prefix" => {
                    call.excluded.push(value.or_else(|| words.next().copied())?.into());
                }
                _ if word.starts_with('-') => return None,
                _ => call.files.push((*word).to_owned()),
            }
        }
        create.then_some(call)
    }

    fn wants(&self, path: &str) -> bool {
        let among = |prefixes: &[String]| prefixes.iter().any(|prefix| is_below(path, prefix));
        !among(&self.excluded) && (self.prefixes.is_empty() || among(&self.prefixes))
    }

    /// The files to read; none if one is not there.
    fn found(&self, tree: &Tree) -> Option<Vec<String>> {
        if self.files.is_empty() {
            return Some(all_files(tree));
        }
        self.files.iter().map(|name| find(tree, name)).collect()
    }

    /// Carries it out; gives the exit status. The tree may be changed in part
    /// when it fails.
    ///
    /// # Errors
    /// If that takes more than is known here; then the program has to run.
    pub fn run(&self, tree: &mut Tree) -> Result<i32, TmpfilesError> {
        let Some(files) = self.found(tree) else {
            return Ok(FAILURE);
        };
        let accounts = Accounts::read(tree, 0)?;
        let (mut items, mut status, mut left) = (Items::default(), 0, MAX_LINES);
        for file in files {
            let bytes = tree.read(&file, MAX_FILE_BYTES)?;
            let text = String::from_utf8_lossy(&bytes);
            for (at, text) in text.lines().enumerate() {
                let read = line::read(text.trim(), self, &accounts, tree);
                match read {
                    Some(Read::Item(_)) if left == 0 => {
                        return Err(TmpfilesError::TooMuch { file });
                    }
                    Some(Read::Item(item)) => {
                        left -= 1;
                        items.add(item);
                    }
                    Some(Read::Nothing) => {}
                    Some(Read::NoOwner) => status = INVALID,
                    None => {
                        let text = text.to_owned();
                        return Err(TmpfilesError::Line { file, line: at + 1, text });
                    }
                }
            }
        }
        let mut copies = MAX_COPIED;
        for item in items.in_order() {
            match apply::apply(tree, item, &mut copies)? {
                Applied::Done => {}
                Applied::Refused => return Err(in_the_way(&item.path, "something else is there")),
            }
        }
        Ok(status)
    }
}

fn in_the_way(path: &str, reason: &'static str) -> TmpfilesError {
    TmpfilesError::InTheWay { path: path.to_owned(), reason }
}

/// Whether `path` is `prefix` or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A declaration file by its path, or by its name in one of the folders.
fn find(tree: &Tree, name: &str) -> Option<String> {
    let places: Vec<String> = match name.starts_with('/') {
        true => vec![name.to_owned()],
        false => FOLDERS.iter().map(|folder| format!("{folder}/{name}")).collect(),
    };
    places.into_iter().find(|path| tree.resolve(path).is_some())
}

/// All declaration files, sorted by name whatever their folder.
fn all_files(tree: &Tree) -> Vec<String> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        for (name, _) in tree.children(folder).filter(|(name, _)| name.ends_with(".conf")) {
            found.insert(name.to_owned(), format!("{folder}/{name}"));
        }
    }
    // A link to /dev/null switches a file off.
    let is_file = |path: &String| {
        tree.resolve(path)
            .is_some_and(|id| matches!(tree.inode(id).node, crate::tree::Node::File(_)))
    };
    found.into_values().filter(is_file).collect()
}

#[cfg(test)]
mod tests;
