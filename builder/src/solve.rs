//! Which packages an image gets: those asked for and, step by step, the best
//! provider of everything they require. The choice depends only on metadata
//! and request, never on the order of a hash table. It does not go back on a
//! choice; where two needs contradict each other, it says so.

mod choose;
mod explain;
pub(crate) mod rich;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::evr::Evr;
use crate::recipe::{Arch, Recipe, Requirement};
use crate::repository::{Dependency, PackageId, Repositories, RepositoryError};
use choose::Candidates;
pub use explain::{Need as UnmetNeed, TurnedDown, Unsolvable};
use rich::Need;

/// Features of rpm that what unpacks the packages can deal with, as of rpm
/// 4.18 (`rpm --showrc`). Without bzip2 and lzma payloads: nobody has made
/// such packages for ten years, and the unpacker does not know them.
const RPMLIB: [&str; 19] = [
    "BuiltinLuaScripts",
    "CaretInVersions",
    "CompressedFileNames",
    "ConcurrentAccess",
    "DynamicBuildRequires",
    "ExplicitPackageProvide",
    "FileCaps",
    "FileDigests",
    "HeaderLoadSortsTags",
    "LargeFiles",
    "PartialHardlinkSets",
    "PayloadFilesHavePrefix",
    "PayloadIsXz",
    "PayloadIsZstd",
    "RichDependencies",
    "ScriptletExpansion",
    "ScriptletInterpreterArgs",
    "TildeInVersions",
    "VersionedDependencies",
];

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names, provides or paths that must be there.
    pub install: Vec<Requirement>,
    /// Names that must not be there.
    pub exclude: Vec<Requirement>,
    /// Packages wanted for a file of theirs only, without what they require.
    pub parts: Vec<Requirement>,
    /// For which processor.
    pub arch: Arch,
}

impl Request {
    /// What `recipe` asks for.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        Self {
            install: recipe.packages.install.clone(),
            exclude: recipe.packages.exclude.clone(),
            parts: vec![recipe.boot.stub.package.clone()],
            arch: recipe.arch,
        }
    }
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The packages to install, by name.
    pub packages: Vec<PackageId>,
    /// For each part of the request, its package.
    pub parts: Vec<PackageId>,
}

/// No choice was found, or the metadata could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// The request cannot be fulfilled.
    #[error(transparent)]
    Unsolvable(#[from] Box<Unsolvable>),
    /// The file lists of a repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Chooses the packages for `request`.
pub fn resolve(repositories: &Repositories, request: &Request) -> Result<Resolution, SolveError> {
    let mut solver = Solver {
        candidates: Candidates::new(repositories, request),
        chosen: BTreeMap::new(),
        because: HashMap::new(),
        queue: VecDeque::new(),
        open: VecDeque::new(),
        conditions: Vec::new(),
        unsolvable: Unsolvable::default(),
    };
    solver.install(&request.install)?;
    solver.close()?;
    let parts = solver.parts(&request.parts)?;
    solver.check_conflicts();
    if !solver.unsolvable.is_empty() {
        return Err(Box::new(solver.unsolvable).into());
    }
    Ok(Resolution { packages: solver.chosen.into_values().collect(), parts })
}

/// A need and the package that has it; without one, the recipe has it.
#[derive(Debug, Clone)]
struct Task {
    by: Option<PackageId>,
    text: String,
    need: Need,
}

struct Solver<'r> {
    candidates: Candidates<'r>,
    /// By name: two versions of one package cannot be installed together.
    chosen: BTreeMap<&'r str, PackageId>,
    /// Which need brought a package in.
    because: HashMap<PackageId, (Option<PackageId>, String)>,
    queue: VecDeque<Task>,
    /// Needs with a choice: they wait, as others may settle them.
    open: VecDeque<Task>,
    /// Needs that depend on what else is chosen.
    conditions: Vec<Task>,
    unsolvable: Unsolvable,
}

/// Whether a need is met by what is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Met,
    Unmet,
}

impl<'r> Solver<'r> {
    fn repositories(&self) -> &'r Repositories {
        self.candidates.repositories
    }

    /// What is asked for by name comes before all that is required, so that
    /// it decides between alternatives.
    fn install(&mut self, install: &[Requirement]) -> Result<(), SolveError> {
        for wanted in install {
            let dependency = Dependency::any(wanted.as_str());
            let text = dependency.to_string();
            let task = Task { by: None, text, need: Need::Plain(dependency) };
            if self.repositories().named(wanted.as_str()).is_empty() {
                self.queue.push_back(task);
            } else {
                self.settle(task)?;
            }
        }
        Ok(())
    }

    /// Follows needs until none is left.
    fn close(&mut self) -> Result<(), SolveError> {
        loop {
            if let Some(task) = self.queue.pop_front() {
                self.take_up(task)?;
            } else if let Some(task) = self.open.pop_front() {
                self.settle(task)?;
            } else if !self.raise_condition()? {
                return Ok(());
            }
        }
    }

    /// Settles a need that leaves no choice; puts others aside.
    fn take_up(&mut self, task: Task) -> Result<(), SolveError> {
        match &task.need {
            Need::Plain(dependency) if is_rpmlib(dependency) => self.check_rpmlib(&task),
            Need::And(needs) => {
                let tasks = needs.iter().map(|need| Task { need: need.clone(), ..task.clone() });
                self.queue.extend(tasks);
            }
            Need::If { .. } | Need::Unless { .. } => self.conditions.push(task),
            need if self.has_choice(need)? => self.open.push_back(task),
            _ => self.settle(task)?,
        }
        Ok(())
    }

    fn has_choice(&self, need: &Need) -> Result<bool, SolveError> {
        match need {
            Need::Or(_) => Ok(true),
            need => {
                let found = self.candidates.of(need)?;
                let name = |id: &PackageId| &self.repositories().package(*id).nevra.name;
                Ok(found
                    .first()
                    .is_some_and(|first| found.iter().any(|id| name(id) != name(first))))
            }
        }
    }

    /// Chooses a package for a need, unless it is met already.
    fn settle(&mut self, task: Task) -> Result<(), SolveError> {
        if self.state(&task.need)? == State::Met {
            return Ok(());
        }
        match &task.need {
            Need::Or(alternatives) => {
                for need in alternatives {
                    if self.is_possible(need)? {
                        self.queue.push_back(Task { need: need.clone(), ..task });
                        return Ok(());
                    }
                }
            }
            need => {
                let found = self.candidates.of(need)?;
                if let Some(best) = self.best(&found) {
                    self.choose(best, task.by, task.text);
                    return Ok(());
                }
            }
        }
        self.refuse(task)
    }

    /// The best candidate, passing over those that cannot be together with
    /// what is chosen as long as another is left.
    fn best(&self, found: &[PackageId]) -> Option<PackageId> {
        let free: Vec<PackageId> = found.iter().copied().filter(|id| self.is_free(*id)).collect();
        free.iter().copied().find(|id| self.is_welcome(*id)).or_else(|| free.first().copied())
    }

    fn is_free(&self, id: PackageId) -> bool {
        !self.chosen.contains_key(self.repositories().package(id).nevra.name.as_str())
    }

    fn is_welcome(&self, id: PackageId) -> bool {
        let mut chosen = self.chosen.values();
        chosen.all(|other| self.clash(id, *other).is_none() && self.clash(*other, id).is_none())
    }

    fn is_possible(&self, need: &Need) -> Result<bool, SolveError> {
        Ok(match need {
            Need::And(needs) => {
                for need in needs {
                    if !self.is_possible(need)? {
                        return Ok(false);
                    }
                }
                true
            }
            Need::Or(needs) => {
                for need in needs {
                    if self.is_possible(need)? {
                        return Ok(true);
                    }
                }
                false
            }
            Need::If { .. } | Need::Unless { .. } => true,
            need => {
                let found = self.candidates.of(need)?;
                found.iter().any(|id| self.is_free(*id) || self.is_chosen(*id))
            }
        })
    }

    fn is_chosen(&self, id: PackageId) -> bool {
        self.chosen.get(self.repositories().package(id).nevra.name.as_str()) == Some(&id)
    }

    fn choose(&mut self, id: PackageId, by: Option<PackageId>, text: String) {
        let package = self.repositories().package(id);
        self.chosen.insert(&package.nevra.name, id);
        self.because.insert(id, (by, text));
        for required in &package.requires {
            let text = required.to_string();
            match Need::parse(required) {
                Ok(need) => self.queue.push_back(Task { by: Some(id), text, need }),
                Err(why) => {
                    let why = format!("it requires {text}, which makes no sense: {why}");
                    self.unsolvable.clashes.push(format!("{}: {why}", package.nevra));
                }
            }
        }
    }

    fn state(&self, need: &Need) -> Result<State, SolveError> {
        let met = match need {
            Need::And(needs) => self.count_met(needs)? == needs.len(),
            Need::Or(needs) => self.count_met(needs)? > 0,
            Need::If { then, when, otherwise } => {
                self.branch(when, Some(then), otherwise.as_deref())?
            }
            Need::Unless { then, when, otherwise } => {
                self.branch(when, otherwise.as_deref(), Some(then))?
            }
            need => self.candidates.of(need)?.iter().any(|id| self.is_chosen(*id)),
        };
        Ok(if met { State::Met } else { State::Unmet })
    }

    fn count_met(&self, needs: &[Need]) -> Result<usize, SolveError> {
        let mut count = 0;
        for need in needs {
            count += usize::from(self.state(need)? == State::Met);
        }
        Ok(count)
    }

    fn branch(
        &self,
        when: &Need,
        yes: Option<&Need>,
        no: Option<&Need>,
    ) -> Result<bool, SolveError> {
        let branch = if self.state(when)? == State::Met { yes } else { no };
        branch.map_or(Ok(true), |need| Ok(self.state(need)? == State::Met))
    }

    /// Finds a condition that asks for something that is not there yet.
    fn raise_condition(&mut self) -> Result<bool, SolveError> {
        for index in 0..self.conditions.len() {
            if self.state(&self.conditions[index].need)? == State::Met {
                continue;
            }
            let task = self.conditions.remove(index);
            let (when, yes, no) = match task.need.clone() {
                Need::If { then, when, otherwise } => (when, Some(then), otherwise),
                Need::Unless { then, when, otherwise } => (when, otherwise, Some(then)),
                other => (Box::new(other.clone()), Some(Box::new(other)), None),
            };
            let branch = if self.state(&when)? == State::Met { yes } else { no };
            let need = branch.map(|need| *need);
            self.queue.extend(need.map(|need| Task { need, ..task }));
            return Ok(true);
        }
        Ok(false)
    }

    fn check_rpmlib(&mut self, task: &Task) {
        let name = task.text.trim_start_matches("rpmlib(");
        let name = name.split(')').next().unwrap_or(name);
        if !RPMLIB.contains(&name) {
            let by = task.by.map(|id| self.repositories().package(id).nevra.to_string());
            let by = by.unwrap_or_else(|| "the recipe".to_owned());
            let what = &task.text;
            self.unsolvable
                .clashes
                .push(format!("{by} needs a newer rpm than slipway knows: {what}"));
        }
    }

    fn parts(&mut self, parts: &[Requirement]) -> Result<Vec<PackageId>, SolveError> {
        let mut found = Vec::new();
        for part in parts {
            let need = Need::Plain(Dependency::any(part.as_str()));
            let candidates = self.candidates.of(&need)?;
            let chosen = candidates.iter().copied().find(|id| self.is_chosen(*id));
            match chosen.or_else(|| candidates.first().copied()) {
                Some(id) => found.push(id),
                None => self.refuse(Task { by: None, text: part.to_string(), need })?,
            }
        }
        Ok(found)
    }

    fn check_conflicts(&mut self) {
        let chosen: Vec<PackageId> = self.chosen.values().copied().collect();
        for (one, other) in
            chosen.iter().flat_map(|one| chosen.iter().map(move |other| (*one, *other)))
        {
            if let Some(clash) = self.clash(one, other) {
                let reason = self.chain(one).join("\n    ");
                let other_reason = self.chain(other).join("\n    ");
                self.unsolvable.clashes.push(format!("{clash}\n    {reason}\n    {other_reason}"));
            }
        }
    }

    /// How `one` refuses to be together with `other`.
    fn clash(&self, one: PackageId, other: PackageId) -> Option<String> {
        if one == other {
            return None;
        }
        let (one, other) = (self.repositories().package(one), self.repositories().package(other));
        let provides = |wanted: &&Dependency| {
            let own = other.provides.iter().any(|provided| provided.satisfies(wanted));
            own || itself(&other.nevra.name, &other.nevra.evr).satisfies(wanted)
        };
        if let Some(conflict) = one.conflicts.iter().find(provides) {
            return Some(format!("{} conflicts with {} ({conflict})", one.nevra, other.nevra));
        }
        // Only names are obsoleted, not what is provided.
        let obsoletes =
            |wanted: &&Dependency| itself(&other.nevra.name, &other.nevra.evr).satisfies(wanted);
        let obsoleted = one.obsoletes.iter().find(obsoletes)?;
        Some(format!("{} obsoletes {} ({obsoleted})", one.nevra, other.nevra))
    }

    fn refuse(&mut self, task: Task) -> Result<(), SolveError> {
        let mut chain = vec![match task.by {
            Some(id) => format!("required by {}", self.repositories().package(id).nevra),
            None => "asked for by the recipe".to_owned(),
        }];
        chain.extend(task.by.iter().flat_map(|id| self.chain(*id)));
        let turned_down = self.candidates.turned_down(&task.need, &self.chosen)?;
        self.unsolvable.needs.push(UnmetNeed { what: task.text, chain, turned_down });
        Ok(())
    }

    /// Why a package is there, from itself to the recipe.
    fn chain(&self, id: PackageId) -> Vec<String> {
        let mut lines = Vec::new();
        let mut next = Some(id);
        // A chosen package was brought in by one chosen before, so this ends.
        while let Some((by, text)) = next.and_then(|id| self.because.get(&id)) {
            let own = next.map(|id| self.repositories().package(id).nevra.to_string());
            let own = own.unwrap_or_default();
            lines.push(match by {
                Some(by) => {
                    format!(
                        "{own} is there as {} requires {text}",
                        self.repositories().package(*by).nevra
                    )
                }
                None => format!("{own} is there as the recipe asks for {text}"),
            });
            next = *by;
        }
        lines
    }
}

fn is_rpmlib(dependency: &Dependency) -> bool {
    dependency.name.starts_with("rpmlib(")
}

/// A package provides its own name in its own version.
fn itself(name: &str, evr: &Evr) -> Dependency {
    Dependency { name: name.to_owned(), bound: Some(crate::evr::Bound::exactly(evr)) }
}
