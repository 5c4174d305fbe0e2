//! Every name, version and dependency once: metadata says the same few
//! thousand things over and over, and comparing numbers is quicker than
//! comparing texts.

use std::collections::HashMap;
use std::sync::Arc;

use super::Dependency;
use super::xml::Fault;
use crate::evr::{Bound, Sense};

/// A text: a package's name, something provided, a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u32);

/// A dependency, whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DependencyId(u32);

impl Name {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl DependencyId {
    /// Its position among all dependencies.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The version half of a dependency as metadata has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawBound<'a> {
    pub sense: Sense,
    pub epoch: u32,
    pub version: &'a str,
    pub release: Option<&'a str>,
}

/// What tells two dependencies apart: name, sense, epoch, version, release;
/// numbers in a row, which are hashed in one go.
type Key = [u32; 5];
/// What no name or sense is.
const NONE: u32 = u32::MAX;
/// What all metadata may make us remember: several times what Fedora's 80,000
/// packages do. Without it a small file could fill any memory, as an element of
/// twenty bytes is remembered with two hundred.
const MAX_KEPT_BYTES: usize = 2 << 30;
/// About what a text takes beside its own bytes: twice a pointer and a counter,
/// and its place in the table.
const TEXT_BYTES: usize = 64;
/// About what a dependency takes.
const DEPENDENCY_BYTES: usize = 160;

/// The texts and dependencies seen so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, Name>,
    dependencies: Vec<(Name, Dependency)>,
    by_key: HashMap<Key, DependencyId>,
    kept_bytes: usize,
}

impl Names {
    /// Counts what is remembered elsewhere.
    ///
    /// # Errors
    /// If all that is remembered is too much.
    pub fn keep(&mut self, bytes: usize) -> Result<(), Fault> {
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        match self.kept_bytes > MAX_KEPT_BYTES {
            true => Err("it has more in it than any repository".to_owned()),
            false => Ok(()),
        }
    }

    /// The number of `text`, which is remembered.
    pub fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.by_text.get(text) {
            return *name;
        }
        // 4 G of names would not fit into memory.
        let name = Name(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.kept_bytes += TEXT_BYTES + text.len();
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.by_text.insert(text, name);
        name
    }

    /// The number of `text`, if anything has it.
    pub fn find(&self, text: &str) -> Option<Name> {
        self.by_text.get(text).copied()
    }

    /// The number of a dependency, which is remembered.
    pub fn dependency(&mut self, name: &str, bound: Option<RawBound<'_>>) -> DependencyId {
        let name = self.name(name);
        let key = match bound {
            None => [name.0, NONE, NONE, NONE, NONE],
            Some(bound) => {
                let release = bound.release.map_or(NONE, |release| self.name(release).0);
                [name.0, bound.sense as u32, bound.epoch, self.name(bound.version).0, release]
            }
        };
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        self.kept_bytes += DEPENDENCY_BYTES;
        let id = DependencyId(u32::try_from(self.dependencies.len()).unwrap_or(u32::MAX));
        let bound = bound.map(|bound| Bound {
            sense: bound.sense,
            epoch: bound.epoch,
            version: bound.version.to_owned(),
            release: bound.release.map(str::to_owned),
        });
        let dependency = Dependency { name: self.texts[name.index()].clone(), bound };
        self.dependencies.push((name, dependency));
        self.by_key.insert(key, id);
        id
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// All dependencies, by number.
    pub fn dependencies(&self) -> &[(Name, Dependency)] {
        &self.dependencies
    }
}

/// For each name the packages that have it, in the packages' order.
#[derive(Debug)]
pub(super) struct Index<T> {
    starts: Vec<u32>,
    entries: Vec<T>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), entries: Vec::new() }
    }
}

impl<T: Copy> Index<T> {
    /// From pairs in the order in which they shall be found.
    pub fn new(names: usize, pairs: &[(Name, T)]) -> Self {
        let mut starts = vec![0_u32; names + 1];
        for (name, _) in pairs {
            starts[name.index() + 1] += 1;
        }
        for at in 0..names {
            starts[at + 1] += starts[at];
        }
        let Some((_, any)) = pairs.first() else {
            return Self { starts, entries: Vec::new() };
        };
        let mut entries = vec![*any; pairs.len()];
        let mut next = starts.clone();
        for (name, entry) in pairs {
            let at = &mut next[name.index()];
            entries[*at as usize] = *entry;
            *at += 1;
        }
        Self { starts, entries }
    }

    /// What `name` has.
    pub fn of(&self, name: Name) -> &[T] {
        match self.starts.get(name.index()..=name.index() + 1) {
            Some(&[start, end]) => &self.entries[start as usize..end as usize],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_counted_once_and_bounded() {
        let mut names = Names::default();
        let bound = |version| RawBound { sense: Sense::Equal, epoch: 0, version, release: None };
        names.dependency("lib", Some(bound("1")));
        let kept = names.kept_bytes;
        names.dependency("lib", Some(bound("1")));
        assert_eq!(names.kept_bytes, kept);
        names.dependency("lib", Some(bound("2")));
        assert_eq!(names.kept_bytes, kept + TEXT_BYTES + 1 + DEPENDENCY_BYTES);
        let left = MAX_KEPT_BYTES - names.kept_bytes;
        assert!(names.keep(left).is_ok());
        names.name("one more");
        assert!(names.keep(0).is_err());
    }
}
