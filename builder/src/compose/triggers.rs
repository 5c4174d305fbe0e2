//! Which scripts a package sets off in others, and which others set off in it
//! (rpm's `runTriggers` and `runImmedTriggers` in `lib/psm.c`,
//! `lib/rpmtriggers.c`). Only found here, and run by the [transaction].
//!
//! [transaction]: super::transaction

use super::ComposeError;
use super::execute::Whose;
use super::plan::{Action, FileState};
use crate::package::{Package, Phase, Relation, Scriptlet};

/// File triggers from this priority on run before `%post`, the others after it.
pub const HIGH_PRIORITY: u32 = 10_000;

/// What all triggers of an image wait for, together: each of them is held
/// against each package. All packages of a distribution have some hundreds.
const MAX_CONDITIONS: usize = 10_000;

/// The list of files that a script reads. That of all files an image can have
/// is a third of this; each prefix that a trigger names lists them anew.
const MAX_LIST_BYTES: usize = 64 << 20;

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

/// Refuses packages whose triggers wait for more than can be looked for.
///
/// # Errors
/// With the package that is too much.
pub fn check(packages: &[&Package]) -> Result<(), ComposeError> {
    let mut count = 0;
    for package in packages {
        count += package.scriptlets.iter().map(|script| script.conditions.len()).sum::<usize>();
        if count > MAX_CONDITIONS {
            let package = package.identity.to_string();
            return Err(ComposeError::TooManyTriggers { package, most: MAX_CONDITIONS });
        }
    }
    Ok(())
}

/// A package's files by their paths: those below a prefix lie side by side.
pub struct ByPath(Vec<usize>);

impl ByPath {
    /// Of a package.
    #[must_use]
    pub fn of(package: &Package) -> Self {
        let mut order: Vec<usize> = (0..package.files.len()).collect();
        order.sort_by_key(|at| package.files[*at].path.as_str());
        Self(order)
    }

    /// Places of the files below `prefix`, by path.
    fn below<'s>(&'s self, package: &'s Package, prefix: &'s str) -> &'s [usize] {
        let path = |at: &usize| package.files[*at].path.as_str();
        let begin = self.0.partition_point(|at| path(at) < prefix);
        let rest = &self.0[begin..];
        &rest[..rest.partition_point(|at| path(at).starts_with(prefix))]
    }
}

/// Packages in the order of installation, and how far that has come.
#[derive(Clone, Copy)]
pub struct Installed<'a, 's> {
    /// All packages.
    pub packages: &'s [&'a Package],
    /// What happens to their files.
    pub actions: &'s [Vec<Action>],
    /// Their files by path.
    pub by_path: &'s [ByPath],
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
    /// Their lists of files are made when it is their turn: each may be long.
    pub fn file_triggers(
        self,
        at: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = Result<Triggered<'a>, ComposeError>> {
        let owners = 0..self.count;
        let all = self.by_priority(owners, Phase::FileTriggerIn, Scope::Only(at), &wanted);
        let scope = Scope::AllBut(Some(at));
        let own = self.by_priority(at..at + 1, Phase::FileTriggerIn, scope, &wanted);
        all.chain(own)
    }

    /// `%transfiletriggerin` of the package `at` for all files there are.
    pub fn transaction_file_triggers(
        self,
        at: usize,
    ) -> impl Iterator<Item = Result<Triggered<'a>, ComposeError>> {
        let scope = Scope::AllBut(None);
        self.by_priority(at..at + 1, Phase::TransFileTriggerIn, scope, &|_| true)
    }

    fn by_priority<W: Fn(u32) -> bool>(
        self,
        owners: std::ops::Range<usize>,
        phase: Phase,
        scope: Scope,
        wanted: &W,
    ) -> impl Iterator<Item = Result<Triggered<'a>, ComposeError>> + use<'a, 's, W> {
        let mut found: Vec<(usize, usize, &Scriptlet)> = Vec::new();
        for owner in owners {
            let scripts = of_phase(self.packages[owner], phase);
            found.extend(scripts.map(|(index, script)| (owner, index, script)));
        }
        found.retain(|(_, _, script)| wanted(script.priority));
        found.sort_by_key(|(owner, index, script)| {
            (std::cmp::Reverse(script.priority), *owner, *index)
        });
        let triggered = move |(owner, _, script): (usize, usize, &'a Scriptlet)| {
            let Some(stdin) = self.matching(&script.conditions, scope, MAX_LIST_BYTES) else {
                let package = self.packages[owner];
                let script = Whose { package, script }.name();
                let reason = "the files it waits for, once for each prefix that it names";
                let reason =
                    format!("{reason}, are a list of more than {} MiB", MAX_LIST_BYTES >> 20);
                return Some(Err(ComposeError::NotRun { script, reason }));
            };
            // A file trigger is told 0 instead of a count.
            let arguments = numbers(&[0]);
            (!stdin.is_empty()).then_some(Ok(Triggered { owner, script, arguments, stdin }))
        };
        found.into_iter().filter_map(triggered)
    }

    /// The files below the prefixes that conditions name, prefix by prefix; none
    /// if they are more than `most` bytes.
    fn matching(&self, conditions: &[Relation], scope: Scope, most: usize) -> Option<Vec<u8>> {
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
                if lines.len() > most {
                    return None;
                }
            }
        }
        Some(lines)
    }

    fn files_below(&self, at: usize, prefix: &str, scope: Scope, lines: &mut Vec<u8>) {
        let package = self.packages[at];
        let mut below = self.by_path[at].below(package, prefix).to_vec();
        // In its database rpm finds packages by their folders only.
        let has_folder = |at: &usize| {
            let folder = package.files[*at].path.as_str().rfind('/').map_or(0, |slash| slash + 1);
            folder >= prefix.len()
        };
        if matches!(scope, Scope::AllBut(_)) && !below.iter().any(has_folder) {
            return;
        }
        below.sort_unstable();
        for file in below {
            let action = self.actions[at][file];
            let there = match scope {
                Scope::Only(_) => !action.skips(),
                Scope::AllBut(_) => action.state() == FileState::Normal,
            };
            if there {
                lines.extend_from_slice(package.files[file].path.as_str().as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::testing;

    /// Waits for files below two prefixes, and has some itself.
    fn package() -> Package {
        let folder = tempfile::tempdir().unwrap();
        let mut package = testing::package(folder.path(), "kit", |builder| {
            for path in ["/usr/share/b", "/usr/share/a", "/usr/sharer", "/usr/lib/c"] {
                testing::file(builder, path, "x");
            }
            let script = || rpm::Scriptlet::new("cat").prog(vec!["/bin/sh"]);
            builder.file_trigger_in("/usr/share", None, script());
            builder.file_trigger_in("/usr", None, script());
        });
        // Some builders sort; a package need not.
        package.files.reverse();
        package
    }

    fn conditions(package: &Package) -> Vec<Relation> {
        package.scriptlets.iter().flat_map(|script| script.conditions.clone()).collect()
    }

    #[test]
    fn lists_are_in_the_packages_order_and_bounded() {
        let package = package();
        let conditions = conditions(&package);
        let by_path = [ByPath::of(&package)];
        let (packages, actions) = ([&package], [vec![Action::Create; package.files.len()]]);
        let installed =
            Installed { packages: &packages, actions: &actions, by_path: &by_path, count: 1 };
        let list = |conditions: &[Relation], most| {
            let found = installed.matching(conditions, Scope::Only(0), most);
            found.map(|found| String::from_utf8(found).unwrap())
        };
        let below = |prefix: &str| -> String {
            let paths = package.files.iter().map(|file| file.path.as_str());
            paths.filter(|path| path.starts_with(prefix)).map(|path| format!("{path}\n")).collect()
        };
        let whole = below("/usr/share") + &below("/usr");
        assert_eq!(whole.lines().count(), 3 + 4);
        assert_eq!(list(&conditions, whole.len()), Some(whole.clone()));
        assert_eq!(list(&conditions, whole.len() - 1), None);
        let again = vec![conditions.clone(); 1000].concat();
        assert_eq!(list(&again, 10 * whole.len()), None);
        // A package is found by its folders only, and `/usr/sharer` is none.
        let mut other = conditions.clone();
        other[0].dependency.name = "/usr/sharer".into();
        let installed = |condition| {
            let found = installed.matching(condition, Scope::AllBut(None), usize::MAX);
            found.unwrap().len()
        };
        assert_eq!(installed(&other[..1]), 0);
        assert!(installed(&conditions[..1]) > 0);
    }

    #[test]
    fn triggers_that_wait_for_too_much_are_refused() {
        let mut package = package();
        let one = conditions(&package)[0].clone();
        package.scriptlets[0].conditions = vec![one; MAX_CONDITIONS / 2 - 1];
        check(&[&package, &package]).unwrap();
        check(&[&package, &package, &package]).unwrap_err();
        package.scriptlets[0].conditions.truncate(1);
        let error = check(&vec![&package; MAX_CONDITIONS / 2 + 1]).unwrap_err().to_string();
        assert!(error.starts_with("package kit-1.0-1.noarch: "), "{error}");
    }
}
