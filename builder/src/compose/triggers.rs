//! Which scripts a package sets off in others, and which others set off in it
//! (rpm's `runTriggers` and `runImmedTriggers` in `lib/psm.c`,
//! `lib/rpmtriggers.c`). Only found here, and run by the [transaction].
//!
//! [transaction]: super::transaction

use super::plan::{Action, FileState};
use crate::package::{Package, Phase, Relation, Scriptlet};

/// File triggers from this priority on run before `%post`, the others after it.
pub const HIGH_PRIORITY: u32 = 10_000;

/// A script that is set off.
pub struct Triggered<'a> {
    /// Whose script it is: its place in the order of installation.
    pub owner: usize,
    /// The script.
    pub script: &'a Scriptlet,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// The files it waited for, one a line.
    pub stdin: Vec<u8>,
}

/// Packages in the order of installation, and how far that has come.
#[derive(Clone, Copy)]
pub struct Installed<'a, 's> {
    /// All packages.
    pub packages: &'s [&'a Package],
    /// What happens to their files.
    pub actions: &'s [Vec<Action>],
    /// How many of them are installed.
    pub count: usize,
}

/// Whose files a file trigger is held against.
#[derive(Clone, Copy)]
enum Scope {
    /// The package that is being installed.
    Only(usize),
    /// All that are installed; not the one that is being installed, if any.
    AllBut(Option<usize>),
}

impl<'a, 's> Installed<'a, 's> {
    fn installed(&self) -> &'s [&'a Package] {
        self.packages.get(..self.count).unwrap_or_default()
    }

    /// How many packages of a name are installed.
    #[must_use]
    pub fn named(&self, name: &str) -> usize {
        self.installed().iter().filter(|package| package.identity.name == name).count()
    }

    /// Scripts of installed packages that wait for the package `at`: of each
    /// package at most one.
    #[must_use]
    pub fn waiting_for(&self, at: usize, phase: Phase) -> Vec<Triggered<'a>> {
        let source = self.packages[at];
        let first = |(owner, package): (usize, &&'a Package)| {
            let script = of_phase(package, phase)
                .map(|(_, script)| script)
                .find(|script| script.conditions.iter().any(|one| is_met(one, source)))?;
            let counts = [self.named(&package.identity.name), self.named(&source.identity.name)];
            Some(Triggered { owner, script, arguments: numbers(&counts), stdin: Vec::new() })
        };
        self.installed().iter().enumerate().filter_map(first).collect()
    }

    /// Scripts of the package `at` that wait for installed packages, each once.
    #[must_use]
    pub fn waited_by(&self, at: usize, phase: Phase) -> Vec<Triggered<'a>> {
        let package = self.packages[at];
        let scripts: Vec<(usize, &Scriptlet)> = of_phase(package, phase).collect();
        let mut found: Vec<Triggered<'a>> = Vec::new();
        let names = scripts.iter().flat_map(|(_, script)| &script.conditions);
        for name in names.map(|condition| &condition.dependency.name) {
            for source in self.installed().iter().filter(|one| *one.identity.name == **name) {
                // The first condition that the source meets decides.
                let met = scripts.iter().find(|(_, script)| {
                    script.conditions.iter().any(|condition| is_met(condition, source))
                });
                let Some((_, script)) = met else { continue };
                if found.iter().all(|known| !std::ptr::eq(known.script, *script)) {
                    let counts = [self.named(&package.identity.name), self.named(name)];
                    let arguments = numbers(&counts);
                    found.push(Triggered { owner: at, script, arguments, stdin: Vec::new() });
                }
            }
        }
        found
    }

    /// `%filetriggerin` of all packages for the files of `at`, then those of
    /// `at` for the files of the others; of the priorities that `wanted` says.
    #[must_use]
    pub fn file_triggers(&self, at: usize, wanted: impl Fn(u32) -> bool) -> Vec<Triggered<'a>> {
        let owners = 0..self.count;
        let all = self.by_priority(owners, Phase::FileTriggerIn, Scope::Only(at), &wanted);
        let scope = Scope::AllBut(Some(at));
        let own = self.by_priority(at..at + 1, Phase::FileTriggerIn, scope, &wanted);
        all.into_iter().chain(own).collect()
    }

    /// `%transfiletriggerin` of the package `at` for all files there are.
    #[must_use]
    pub fn transaction_file_triggers(&self, at: usize) -> Vec<Triggered<'a>> {
        let scope = Scope::AllBut(None);
        self.by_priority(at..at + 1, Phase::TransFileTriggerIn, scope, &|_| true)
    }

    fn by_priority(
        &self,
        owners: std::ops::Range<usize>,
        phase: Phase,
        scope: Scope,
        wanted: &impl Fn(u32) -> bool,
    ) -> Vec<Triggered<'a>> {
        let mut found: Vec<(usize, usize, &Scriptlet)> = Vec::new();
        for owner in owners {
            let scripts = of_phase(self.packages[owner], phase);
            found.extend(scripts.map(|(index, script)| (owner, index, script)));
        }
        found.retain(|(_, _, script)| wanted(script.priority));
        found.sort_by_key(|(owner, index, script)| {
            (std::cmp::Reverse(script.priority), *owner, *index)
        });
        let triggered = |(owner, _, script): (usize, usize, &'a Scriptlet)| {
            let stdin = self.matching(&script.conditions, scope);
            // A file trigger is told 0 instead of a count.
            (!stdin.is_empty()).then(|| Triggered {
                owner,
                script,
                arguments: numbers(&[0]),
                stdin,
            })
        };
        found.into_iter().filter_map(triggered).collect()
    }

    /// The files below the prefixes that conditions name, prefix by prefix.
    fn matching(&self, conditions: &[Relation], scope: Scope) -> Vec<u8> {
        let mut lines = Vec::new();
        for prefix in conditions.iter().map(|condition| &*condition.dependency.name) {
            let packages = match scope {
                Scope::Only(at) => at..at + 1,
                Scope::AllBut(_) => 0..self.count,
            };
            for at in packages {
                let skipped = matches!(scope, Scope::AllBut(Some(other)) if other == at);
                if !skipped {
                    self.files_below(at, prefix, scope, &mut lines);
                }
            }
        }
        lines
    }

    fn files_below(&self, at: usize, prefix: &str, scope: Scope, lines: &mut Vec<u8>) {
        let files = || self.packages[at].files.iter().zip(&self.actions[at]);
        // In its database rpm finds packages by their folders only.
        let folder = |path: &str| path.rfind('/').map_or(0, |slash| slash + 1);
        let has_folder = || {
            let mut paths = files().map(|(file, _)| file.path.as_str());
            paths.any(|path| path[..folder(path)].starts_with(prefix))
        };
        if matches!(scope, Scope::AllBut(_)) && !has_folder() {
            return;
        }
        for (file, action) in files() {
            let there = match scope {
                Scope::Only(_) => !action.skips(),
                Scope::AllBut(_) => action.state() == FileState::Normal,
            };
            if there && file.path.as_str().starts_with(prefix) {
                lines.extend_from_slice(file.path.as_str().as_bytes());
                lines.push(b'\n');
            }
        }
    }
}

fn of_phase(package: &Package, phase: Phase) -> impl Iterator<Item = (usize, &Scriptlet)> {
    package.scriptlets.iter().enumerate().filter(move |(_, script)| script.phase == phase)
}

/// Whether a package is the one, in the version, that a trigger waits for.
fn is_met(condition: &Relation, source: &Package) -> bool {
    let wanted = &condition.dependency;
    let provides = || source.relations.provides.iter();
    *wanted.name == *source.identity.name
        && (wanted.bound.is_none() || provides().any(|one| one.dependency.satisfies(wanted)))
}

fn numbers(counts: &[usize]) -> Vec<String> {
    counts.iter().map(ToString::to_string).collect()
}
