//! What is different between two locks, as a reader of release notes wants
//! it: packages added, removed, changed; repositories and tools that moved.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Lock, LockedPackage, LockedPart, LockedScriptlet};

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
    /// Scripts that something else carries out, as `skip_scripts` may say.
    pub handled_otherwise: Vec<String>,
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
        changes.handled_otherwise = handled_otherwise(old, new);
        let (mut old, new) = (entries(old), entries(new));
        for (name, to) in &new {
            changes.compare(name, &old.remove(name).unwrap_or_default(), to);
        }
        for (name, gone) in &old {
            changes.compare(name, gone, &[]);
        }
        changes
    }

    /// What became of everything called `name`; of a kernel there may be
    /// several.
    fn compare(&mut self, name: &str, from: &[Entry], to: &[Entry]) {
        let (from, to) = (only_in(from, to), only_in(to, from));
        if let ([from], [to]) = (&from[..], &to[..]) {
            return self.changed.push(change(name, from, to));
        }
        self.removed.extend(from.iter().map(|one| format!("{name} {}", one.shown)));
        self.added.extend(to.iter().map(|one| format!("{name} {}", one.shown)));
    }

    /// Whether an image would have or run anything else. Newer metadata that
    /// says the same of its packages does not count.
    #[must_use]
    pub fn matter(&self) -> bool {
        !Self { metadata_changed: false, ..self.clone() }.is_empty()
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

/// Those of `these` that are not among `others`.
fn only_in<'e>(these: &'e [Entry], others: &[Entry]) -> Vec<&'e Entry> {
    let is_there = |one: &&Entry| others.iter().any(|other| other.identity == one.identity);
    these.iter().filter(|one| !is_there(one)).collect()
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

fn handled_otherwise(old: &Lock, new: &Lock) -> Vec<String> {
    let moved = new.scriptlets.iter().filter_map(|one| {
        let before = old.scriptlets.iter().find(|other| other.is(one))?;
        let (from, to) = (before.handled.name(), one.handled.name());
        (from != to).then(|| format!("{} {}: {from} -> {to}", one.package, one.phase))
    });
    moved.collect()
}

fn entries(lock: &Lock) -> BTreeMap<String, Vec<Entry>> {
    let mut entries: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut add = |name, entry| entries.entry(name).or_default().push(entry);
    let of = |package: &LockedPackage| Entry {
        shown: format!("{}.{}", package.evr(), package.arch),
        identity: package.sha256.to_string(),
    };
    for package in &lock.packages {
        add(package.name.clone(), of(package));
    }
    for LockedPart { role, package } in &lock.parts {
        add(format!("{} ({role})", package.name), of(package));
    }
    for tool in &lock.tools {
        let identity = tool.sha256.to_string();
        add(tool.name.clone(), Entry { shown: format!("{} bytes", tool.size), identity });
    }
    entries
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
        for handled in &self.handled_otherwise {
            writeln!(f, "  {handled}")?;
        }
        if self.metadata_changed {
            writeln!(f, "  the repositories or their metadata changed")?;
        }
        Ok(())
    }
}
