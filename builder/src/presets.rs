//! Which units start by themselves: presets and `[Install]` sections, carried
//! out as `systemctl --root preset` does, by links below `/etc/systemd`.
//!
//! See systemd's `systemd.preset(5)`, `systemd.unit(5)` and
//! `src/shared/install.c`.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};

use crate::tree::{Node, PathError, Tree, TreeError, TreePath};

mod unit;

use unit::Install;

/// No unit or preset file comes near this.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Preset lines: all packages of a distribution have some hundreds. Each is
/// held against each unit.
const MAX_RULES: usize = 5_000;
/// A line names a unit, and perhaps some instances of it.
const MAX_LINE_BYTES: usize = 4096;
/// Units that presets are applied to, with instances, and links made for them.
const MAX_UNITS: usize = 10_000;

/// What can go wrong with presets.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// A unit or preset file cannot be read, or a link not be made.
    #[error("presets")]
    Tree(#[from] TreeError),
    /// A preset line with a pattern that means nothing.
    #[error("{file}: pattern {pattern:?}")]
    Pattern {
        /// Which preset file.
        file: String,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// More than anybody has.
    #[error("{what}: there are more than {most} {things}")]
    TooMuch {
        /// The preset file or unit that was too much.
        what: String,
        /// How many there may be.
        most: usize,
        /// Of which things.
        things: &'static str,
    },
    /// A unit is named in an `[Install]` section by a specifier that only a
    /// running system can fill in.
    #[error("unit {unit}: {text:?} cannot be known while building")]
    Specifier {
        /// Which unit.
        unit: String,
        /// The text.
        text: String,
    },
}

impl From<PathError> for PresetError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// Whose units: the system's or every user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `/usr/lib/systemd/system`.
    System,
    /// `/usr/lib/systemd/user`, for all users (`--global`).
    User,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }

    fn config_folder(self) -> String {
        format!("/etc/systemd/{}", self.name())
    }

    /// Where units are looked for, first found first.
    fn unit_folders(self) -> [String; 3] {
        let name = self.name();
        [
            format!("/etc/systemd/{name}"),
            format!("/usr/local/lib/systemd/{name}"),
            format!("/usr/lib/systemd/{name}"),
        ]
    }

    fn preset_folders(self) -> [String; 3] {
        self.unit_folders().map(|folder| format!("{folder}-preset"))
    }
}

/// What a preset says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Enable it, or these instances of it.
    Enable(Vec<String>),
    Disable,
    Ignore,
}

/// The presets of a tree.
pub struct Presets {
    scope: Scope,
    rules: Vec<(GlobMatcher, Verdict)>,
}

/// What was done to a tree's units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresetReport {
    /// Links made.
    pub links: BTreeSet<String>,
    /// Links removed.
    pub removed: BTreeSet<String>,
    /// Units that were asked for and are not there.
    pub missing: BTreeSet<String>,
}

impl Presets {
    /// Reads all preset files of a scope. Of two files of one name the one in
    /// `/etc` counts; files are read in the order of their names.
    ///
    /// # Errors
    /// If a file cannot be read or a pattern not be understood.
    pub fn read(tree: &Tree, scope: Scope) -> Result<Self, PresetError> {
        let mut files = BTreeMap::new();
        for folder in scope.preset_folders().iter().rev() {
            for (name, _) in tree.children(folder).filter(|(name, _)| name.ends_with(".preset")) {
                files.insert(name.to_owned(), format!("{folder}/{name}"));
            }
        }
        let mut rules = Vec::new();
        for path in files.values().filter(|path| tree.resolve(path).is_some()) {
            let bytes = tree.read(path, MAX_FILE_BYTES)?;
            for line in String::from_utf8_lossy(&bytes).lines() {
                if line.len() > MAX_LINE_BYTES {
                    return Err(too_much(path, MAX_LINE_BYTES, "bytes in a line"));
                }
                rules.extend(rule(line, path)?);
                if rules.len() > MAX_RULES {
                    return Err(too_much(path, MAX_RULES, "presets"));
                }
            }
        }
        Ok(Self { scope, rules })
    }

    /// The first rule that fits counts; what no rule names is enabled.
    fn verdict(&self, unit: &str) -> Verdict {
        let found = self.rules.iter().find(|(pattern, _)| pattern.is_match(unit));
        found.map_or(Verdict::Enable(Vec::new()), |(_, verdict)| verdict.clone())
    }

    /// `systemctl preset UNITS`.
    ///
    /// # Errors
    /// If a unit cannot be read or a link not be made.
    pub fn apply(
        &self,
        tree: &mut Tree,
        units: &[String],
        report: &mut PresetReport,
    ) -> Result<(), PresetError> {
        let mut enable = Vec::new();
        for unit in units {
            match self.verdict(unit) {
                Verdict::Enable(instances) if instances.is_empty() => enable.push(unit.clone()),
                Verdict::Enable(instances) => {
                    enable.extend(instances.iter().map(|name| unit::instantiate(unit, name)));
                }
                Verdict::Disable => self.disable(tree, unit, report)?,
                Verdict::Ignore => {}
            }
            if enable.len() > MAX_UNITS {
                return Err(too_much(unit, MAX_UNITS, "units to enable"));
            }
        }
        self.enable(tree, &enable, report)
    }

    /// `systemctl preset-all`: every unit file, aliases left out.
    ///
    /// # Errors
    /// As [`Presets::apply`].
    pub fn apply_all(&self, tree: &mut Tree, report: &mut PresetReport) -> Result<(), PresetError> {
        let mut units = BTreeSet::new();
        for folder in self.scope.unit_folders() {
            let files = tree.children(&folder).filter(|(name, id)| {
                unit::is_unit_name(name) && matches!(tree.inode(*id).node, Node::File(_))
            });
            units.extend(files.map(|(name, _)| name.to_owned()));
            if units.len() > MAX_UNITS {
                return Err(too_much(&folder, MAX_UNITS, "units"));
            }
        }
        self.apply(tree, &units.into_iter().collect::<Vec<_>>(), report)
    }

    /// `systemctl enable UNITS`, with what they name under `Also=`.
    ///
    /// # Errors
    /// As [`Presets::apply`].
    pub fn enable(
        &self,
        tree: &mut Tree,
        units: &[String],
        report: &mut PresetReport,
    ) -> Result<(), PresetError> {
        let mut todo: Vec<String> = units.to_vec();
        let (mut seen, mut left) = (BTreeSet::new(), MAX_UNITS);
        while let Some(unit) = todo.pop() {
            let Some(install) = Install::read(tree, &self.scope.unit_folders(), &unit)? else {
                report.missing.insert(unit);
                continue;
            };
            if !seen.insert(install.name.clone()) {
                continue;
            }
            let rest = left.checked_sub(install.wishes());
            left = rest.ok_or_else(|| too_much(&install.name, MAX_UNITS, "links for units"))?;
            for (place, target) in install.links(&self.scope.config_folder())? {
                let path = TreePath::new(&place)?;
                let same = matches!(tree.get(&place).map(|inode| &inode.node),
                    Some(Node::Symlink(existing)) if *existing == target);
                if !same
                    && tree.get(&place).is_none_or(|inode| matches!(inode.node, Node::Symlink(_)))
                {
                    tree.symlink(&path, &target)?;
                    report.links.insert(format!("{place} -> {target}"));
                }
            }
            todo.extend(install.also);
        }
        Ok(())
    }

    /// Removes every link to the unit from the configuration.
    fn disable(
        &self,
        tree: &mut Tree,
        unit: &str,
        report: &mut PresetReport,
    ) -> Result<(), PresetError> {
        let root = self.scope.config_folder();
        let links_in = |tree: &Tree, folder: &str| -> Vec<String> {
            let leads_to_it = |target: &str| target.rsplit('/').next() == Some(unit);
            tree.children(folder)
                .filter(|(name, id)| match &tree.inode(*id).node {
                    Node::Symlink(target) => *name == unit || leads_to_it(target),
                    _ => false,
                })
                .map(|(name, _)| format!("{folder}/{name}"))
                .collect()
        };
        let mut found = links_in(tree, &root);
        let folders: Vec<String> = tree
            .children(&root)
            .filter(|(name, _)| name.ends_with(".wants") || name.ends_with(".requires"))
            .map(|(name, _)| format!("{root}/{name}"))
            .collect();
        for folder in &folders {
            found.extend(links_in(tree, folder));
        }
        for link in found {
            tree.remove(&TreePath::new(&link)?);
            report.removed.insert(link);
        }
        for folder in &folders {
            let empty = tree.children(folder).next().is_none();
            if empty {
                tree.remove(&TreePath::new(folder)?);
            }
        }
        Ok(())
    }
}

fn too_much(what: &str, most: usize, things: &'static str) -> PresetError {
    PresetError::TooMuch { what: what.to_owned(), most, things }
}

/// A preset line: a verdict, a pattern, and perhaps instances.
fn rule(line: &str, file: &str) -> Result<Option<(GlobMatcher, Verdict)>, PresetError> {
    let mut words = line.split_ascii_whitespace();
    let verdict = match words.next() {
        Some("enable") => Verdict::Enable(Vec::new()),
        Some("disable") => Verdict::Disable,
        Some("ignore") => Verdict::Ignore,
        _ => return Ok(None),
    };
    let Some(pattern) = words.next() else {
        return Ok(None);
    };
    let verdict = match verdict {
        Verdict::Enable(_) => Verdict::Enable(words.map(str::to_owned).collect()),
        other => other,
    };
    let wrong = |source| {
        let (file, pattern) = (file.to_owned(), pattern.to_owned());
        PresetError::Pattern { file, pattern, source }
    };
    let glob = GlobBuilder::new(pattern).backslash_escape(false).build().map_err(wrong)?;
    Ok(Some((glob.compile_matcher(), verdict)))
}

#[cfg(test)]
mod tests;
