//! What happens to every file of every package, decided before the first is
//! installed: which are left out, which of several owners writes a file, and
//! which conflict (rpm's `skipInstallFiles` and `handleOverlappedFiles` in
//! `lib/transaction.c`, `rpmfilesCompare` in `lib/rpmfi.c`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::Options;
use super::links::Links;
use crate::package::{FileDigest, FileKind, Package, PackageFile};
pub use crate::rpmdb::FileState;
use crate::tree::{Node, Tree, TreePath};

/// `%_transaction_color` of the processors there are: elf32 and elf64.
pub const TRANSACTION_COLOR: u32 = 3;
/// `%_prefer_color`: elf64.
pub const PREFERRED_COLOR: u32 = 2;

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is written.
    Create,
    /// It is written in place of one that a `%pretrans` left, which becomes `.rpmorig`.
    Backup,
    /// It is written beside one that a `%pretrans` left, as `.rpmnew`.
    AltName,
    /// Another package has written the same.
    Skip,
    /// The recipe leaves it out: documentation, another language.
    LeaveOut,
    /// Its ELF class is not wanted.
    SkipColor,
}

impl Action {
    /// Whether nothing is written.
    #[must_use]
    pub fn skips(self) -> bool {
        matches!(self, Self::Skip | Self::LeaveOut | Self::SkipColor)
    }

    /// What the package database says of the file.
    #[must_use]
    pub fn state(self) -> FileState {
        match self {
            Self::LeaveOut => FileState::NotInstalled,
            Self::SkipColor => FileState::WrongColor,
            _ => FileState::Normal,
        }
    }
}

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

/// Decides for all `packages`, which are in the order they are installed in.
/// `tree` is what `%pretrans` scripts have left.
///
/// # Errors
/// All conflicts there are.
pub fn plan(
    tree: &Tree,
    packages: &[&Package],
    links: &Links,
    options: &Options,
) -> Result<Vec<Vec<Action>>, Vec<FileConflict>> {
    let left_out = |package: &&Package| left_out(package, options);
    let mut plan = Plan {
        packages,
        actions: packages.iter().map(left_out).collect(),
        folders: HashMap::new(),
        last: HashMap::new(),
        conflicts: Vec::new(),
    };
    for (package, contents) in packages.iter().enumerate() {
        for file in 0..contents.files.len() {
            // What is left out does not conflict either.
            if plan.actions[package][file].is_none() {
                plan.decide((package, file), tree, links);
            }
        }
    }
    if !plan.conflicts.is_empty() {
        return Err(plan.conflicts);
    }
    let decided = |actions: Vec<Option<Action>>| {
        actions.into_iter().map(|action| action.unwrap_or(Action::Create)).collect()
    };
    Ok(plan.actions.into_iter().map(decided).collect())
}

struct Plan<'a> {
    packages: &'a [&'a Package],
    actions: Vec<Vec<Option<Action>>>,
    /// Numbers of the folders there are, where they really lie.
    folders: HashMap<String, u32>,
    /// Who named a place last: its folder's number and its name there.
    last: HashMap<(u32, &'a str), (u32, u32)>,
    conflicts: Vec<FileConflict>,
}

impl<'a> Plan<'a> {
    fn file(&self, (package, file): (usize, usize)) -> &'a PackageFile {
        &self.packages[package].files[file]
    }

    fn action(&mut self, (package, file): (usize, usize)) -> &mut Option<Action> {
        &mut self.actions[package][file]
    }

    fn decide(&mut self, this: (usize, usize), tree: &Tree, links: &Links) {
        let file = self.file(this);
        let other = self.name(file, this, links);
        if let Some(other) = other {
            self.overlap(this, other);
        }
        let config = |shared: bool| match (config_is_there(tree, file), file.noreplace) {
            (false, _) => Action::Create,
            (true, true) => Action::AltName,
            (true, false) if shared => Action::Skip,
            (true, false) => Action::Backup,
        };
        if self.action(this).is_none() {
            *self.action(this) = Some(config(other.is_some()));
        }
    }

    /// Notes that `this` names the place of `file`, and says who did before.
    fn name(
        &mut self,
        file: &'a PackageFile,
        this: (usize, usize),
        links: &Links,
    ) -> Option<(usize, usize)> {
        let place = links.place(&file.path);
        let folder = place.rsplit_once('/').map_or("", |(folder, _)| folder);
        let number = match self.folders.get(folder) {
            Some(number) => *number,
            None => {
                let number = index(self.folders.len());
                self.folders.insert(folder.to_owned(), number);
                number
            }
        };
        // the links are among the folders only, so the name is the path's own
        let name = file.path.name().unwrap_or_default();
        let other = self.last.insert((number, name), (index(this.0), index(this.1)));
        other.map(|(package, file)| (package as usize, file as usize))
    }

    fn overlap(&mut self, this: (usize, usize), other: (usize, usize)) {
        let Some(difference) = difference(self.file(other), self.file(this)) else {
            let ghost = self.file(other).ghost;
            match *self.action(other) {
                Some(Action::SkipColor) => *self.action(this) = Some(Action::SkipColor),
                // Only the first writes. After one that skipped, rpm writes again.
                Some(action) if !action.skips() && !ghost => {
                    *self.action(this) = Some(Action::Skip);
                }
                _ => {}
            }
            return;
        };
        if self.resolved_by_color(this, other) {
            return;
        }
        let name = |at: usize| self.packages[at].identity.to_string();
        self.conflicts.push(FileConflict {
            path: self.file(this).path.clone(),
            first: name(other.0),
            second: name(this.0),
            difference,
        });
    }

    /// Of an elf32 and an elf64 file of one name, the preferred one stays.
    fn resolved_by_color(&mut self, this: (usize, usize), other: (usize, usize)) -> bool {
        let color = self.file(this).color & TRANSACTION_COLOR;
        let other_color = self.file(other).color & TRANSACTION_COLOR;
        if color == 0 || other_color == 0 || color == other_color {
            return false;
        }
        if color & PREFERRED_COLOR != 0 {
            *self.action(other) = Some(Action::SkipColor);
            *self.action(this) = Some(Action::Create);
            return true;
        }
        if other_color & PREFERRED_COLOR != 0 {
            *self.action(this) = Some(Action::SkipColor);
            return true;
        }
        false
    }
}

/// As little as an index needs: there is one for every file.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("so many files do not fit into memory")
}

/// `rpmfilesCompare`: in what two packages' files of one name differ, if they do.
fn difference(a: &PackageFile, b: &PackageFile) -> Option<&'static str> {
    if a.ghost || b.ghost {
        return None;
    }
    let mut same_kind = std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind);
    if let (FileKind::CharDevice(..) | FileKind::BlockDevice(..), true) = (&a.kind, same_kind) {
        same_kind = a.kind == b.kind;
    }
    if !same_kind {
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
    match (&a.kind, &b.kind) {
        (FileKind::Symlink(first), FileKind::Symlink(second)) if first != second => Some("target"),
        (FileKind::File, FileKind::File)
            if a.size_bytes != b.size_bytes || a.digest != b.digest =>
        {
            Some("content")
        }
        _ => None,
    }
}

/// `rpmfilesConfigConflict`: whether a `%config` file meets another of its name.
fn config_is_there(tree: &Tree, file: &PackageFile) -> bool {
    if !file.config {
        return false;
    }
    if !matches!(file.kind, FileKind::File | FileKind::Symlink(_)) {
        return true;
    }
    let Some(there) = tree.get(file.path.as_str()) else {
        return false;
    };
    match (&there.node, &file.kind) {
        _ if file.ghost => true,
        (Node::Symlink(target), FileKind::Symlink(wanted)) => target != wanted,
        (Node::File(content), FileKind::File) if content.size_bytes() == file.size_bytes => {
            let bytes = content.read(file.size_bytes).unwrap_or_default();
            let found = FileDigest::Sha256(formats::Digest::of(&bytes).0);
            file.digest.as_ref() != Some(&found)
        }
        _ => true,
    }
}

/// `skipInstallFiles`: what colors and the recipe leave out, and the folders
/// that are empty for it.
fn left_out(package: &Package, options: &Options) -> Vec<Option<Action>> {
    let mut actions: Vec<Option<Action>> =
        package.files.iter().map(|file| unwanted(file, options)).collect();
    if actions.iter().all(Option::is_none) {
        return actions;
    }
    let mut folders: BTreeMap<TreePath, Vec<usize>> = BTreeMap::new();
    let mut own: BTreeMap<&TreePath, usize> = BTreeMap::new();
    for (at, file) in package.files.iter().enumerate() {
        if let Some((folder, _)) = file.path.split() {
            folders.entry(folder).or_default().push(at);
        }
        if file.kind == FileKind::Directory {
            own.insert(&file.path, at);
        }
    }
    // The lower ones first: a folder may be empty only once those below are gone.
    for (folder, members) in folders.iter().rev() {
        let empty = members.iter().all(|at| actions[*at].is_some());
        if let Some(own) = own.get(folder).filter(|own| empty && actions[**own].is_none()) {
            actions[*own] = Some(Action::LeaveOut);
        }
    }
    actions
}

fn unwanted(file: &PackageFile, options: &Options) -> Option<Action> {
    if file.color != 0 && file.color & TRANSACTION_COLOR == 0 {
        return Some(Action::SkipColor);
    }
    if file.license {
        return None;
    }
    // A language of the recipe fits one of the file that it begins with.
    let spoken = |language: &String| {
        options
            .languages
            .as_ref()
            .is_none_or(|wanted| wanted.iter().any(|wanted| wanted.starts_with(language.as_str())))
    };
    let foreign = !file.languages.is_empty() && !file.languages.iter().any(spoken);
    let unwanted_doc = file.doc && !options.docs;
    (foreign || unwanted_doc).then_some(Action::LeaveOut)
}
