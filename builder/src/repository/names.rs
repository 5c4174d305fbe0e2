//! Every name, version and dependency once: metadata says the same few
//! thousand things over and over, and comparing numbers is quicker than
//! comparing texts.

use std::collections::HashMap;
use std::sync::Arc;

use super::Dependency;
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

/// What tells two dependencies apart.
type Key = (Name, Option<(Sense, u32, Name, Option<Name>)>);

/// The texts and dependencies seen so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, Name>,
    dependencies: Vec<(Name, Dependency)>,
    by_key: HashMap<Key, DependencyId>,
}

impl Names {
    /// The number of `text`, which is remembered.
    pub fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.by_text.get(text) {
            return *name;
        }
        // 4 G of names would not fit into memory.
        let name = Name(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
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
        let version = bound.map(|bound| {
            let release = bound.release.map(|release| self.name(release));
            (bound.sense, bound.epoch, self.name(bound.version), release)
        });
        if let Some(id) = self.by_key.get(&(name, version)) {
            return *id;
        }
        let id = DependencyId(u32::try_from(self.dependencies.len()).unwrap_or(u32::MAX));
        let bound = bound.map(|bound| Bound {
            sense: bound.sense,
            epoch: bound.epoch,
            version: bound.version.to_owned(),
            release: bound.release.map(str::to_owned),
        });
        let dependency = Dependency { name: self.texts[name.index()].clone(), bound };
        self.dependencies.push((name, dependency));
        self.by_key.insert((name, version), id);
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
