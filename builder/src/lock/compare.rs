//! What is different between two locks, as a reader of release notes wants
//! it: packages added, removed, changed; repositories and tools that moved.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Lock, LockedPackage, LockedScriptlet};

/// The differences, each list by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Packages that were not there.
    pub added: Vec<String>,
    /// Packages that are not there any more.
    pub removed: Vec<String>,
    /// Packages, parts and tools of which there is another version.
    pub changed: Vec<Change>,
    /// Whether the packages came from other metadata.
    pub metadata_changed: bool,
    /// Scripts that were not there: package, phase and digest.
    pub new_scriptlets: Vec<String>,
    /// Scripts that are not there any more.
    pub gone_scriptlets: Vec<String>,
}

/// Something of which there is another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

impl Changes {
    /// From `old` to `new`.
    #[must_use]
    pub fn between(old: &Lock, new: &Lock) -> Self {
        let mut changes =
            Self { metadata_changed: old.repositories != new.repositories, ..Self::default() };
        let scriptlets = |lock: &Lock, other: &Lock| -> Vec<String> {
            let known = |one: &&LockedScriptlet| other.scriptlets.iter().any(|two| two.is(one));
            let others = lock.scriptlets.iter().filter(|one| !known(one));
            others.map(ToString::to_string).collect()
        };
        changes.new_scriptlets = scriptlets(new, old);
        changes.gone_scriptlets = scriptlets(old, new);
        let (old, new) = (entries(old), entries(new));
        for (name, to) in &new {
            match old.get(name) {
                None => changes.added.push(format!("{name} {}", to.shown)),
                Some(from) if from.identity == to.identity => {}
                Some(from) => changes.changed.push(change(name, from, to)),
            }
        }
        let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
        changes.removed.extend(gone.map(|(name, from)| format!("{name} {}", from.shown)));
        changes
    }

    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How an artifact is shown, and what tells whether it is the same.
struct Entry {
    shown: String,
    identity: String,
}

fn change(name: &str, from: &Entry, to: &Entry) -> Change {
    let mut change =
        Change { name: name.to_owned(), from: from.shown.clone(), to: to.shown.clone() };
    if change.from == change.to {
        // The same version built again: only the digest tells them apart.
        change.from = format!("{} ({})", from.shown, &from.identity[..12]);
        change.to = format!("{} ({})", to.shown, &to.identity[..12]);
    }
    change
}

fn entries(lock: &Lock) -> BTreeMap<String, Entry> {
    let entry = |package: &LockedPackage| Entry {
        shown: format!("{}.{}", package.evr(), package.arch),
        identity: package.sha256.to_string(),
    };
    let packages = lock.packages.iter().map(|package| (package.name.clone(), entry(package)));
    let parts = lock
        .parts
        .iter()
        .map(|part| (format!("{} ({})", part.package.name, part.role), entry(&part.package)));
    let tools = lock.tools.iter().map(|tool| {
        let identity = tool.sha256.to_string();
        (tool.name.clone(), Entry { shown: format!("{} bytes", tool.size), identity })
    });
    packages.chain(parts).chain(tools).collect()
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for added in &self.added {
            writeln!(f, "  + {added}")?;
        }
        for removed in &self.removed {
            writeln!(f, "  - {removed}")?;
        }
        for Change { name, from, to } in &self.changed {
            writeln!(f, "  {name}: {from} -> {to}")?;
        }
        for scriptlet in &self.new_scriptlets {
            writeln!(f, "  + {scriptlet}")?;
        }
        for scriptlet in &self.gone_scriptlets {
            writeln!(f, "  - {scriptlet}")?;
        }
        if self.metadata_changed {
            writeln!(f, "  the repositories' metadata changed")?;
        }
        Ok(())
    }
}
