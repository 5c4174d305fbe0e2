//! Which packages an image gets: those asked for and all they require, as dnf
//! would choose them for an empty root. The choice depends only on metadata
//! and request, never on the order of a hash table. Where needs contradict
//! each other, that is explained.
//!
//! ```text
//! request ─pool─▶ who meets what ─rules─▶ clauses ─decide, search─▶ packages
//!                                                    └─explain─▶ why not
//! ```

mod clauses;
mod decide;
mod explain;
mod offers;
mod policy;
mod pool;
pub(crate) mod rich;
mod rules;
mod search;
#[cfg(test)]
mod tests;
mod weak;
mod wishes;

use std::collections::HashSet;

use formats::Digest;

use crate::evr::Nevra;
use crate::recipe::{Arch, PackagePattern, Recipe, Requirement, Snapshot};
use crate::repository::{PackageId, Repositories, RepositoryError};
use decide::{Decider, Failure};
use explain::Explainer;
pub use explain::{Need as UnmetNeed, TurnedDown, Unsolvable};
use policy::{Policy, Purpose};
use pool::{Literal, Pool, dependency_of, literal, package_id};
use rules::{Collector, Rules, Why};
use search::Search;
use wishes::Wishes;

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
    /// Names, provides or paths that must be there, maybe in some version.
    pub install: Vec<Requirement>,
    /// Packages that do not count.
    pub exclude: Vec<PackagePattern>,
    /// The same for each repository, by its position.
    pub exclude_from: Vec<Vec<PackagePattern>>,
    /// The only packages that count of each repository; all if there are none.
    pub only_from: Vec<Vec<PackagePattern>>,
    /// Packages wanted for a file of theirs only, without what they require.
    pub parts: Vec<Requirement>,
    /// For which processor.
    pub arch: Arch,
    /// Whether what is only recommended is installed too.
    pub weak: bool,
    /// Packages built after that day do not count.
    pub snapshot: Option<Snapshot>,
    /// What was chosen before and shall stay if it can.
    pub keep: Keep,
}

/// What was chosen before.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// The packages that shall stay.
    pub packages: Vec<Kept>,
    /// The same for parts.
    pub parts: Vec<Kept>,
    /// Whether they are the whole answer to the same request: then nothing
    /// changes as long as they fit together.
    pub is_whole: bool,
}

/// A package that was chosen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name, version and architecture.
    pub nevra: Nevra,
    /// Of its file; another one of the same version will do.
    pub digest: Digest,
}

impl Request {
    /// What `recipe` asks for.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        let repositories = recipe.repositories.iter();
        Self {
            install: recipe.packages.install.clone(),
            exclude: recipe.packages.exclude.clone(),
            exclude_from: repositories.clone().map(|one| one.exclude.clone()).collect(),
            only_from: repositories.map(|one| one.only.clone()).collect(),
            parts: vec![recipe.boot.stub.package.clone()],
            arch: recipe.arch,
            weak: recipe.packages.weak,
            snapshot: recipe.snapshot.clone(),
            keep: Keep::default(),
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
    /// More is said of what goes with what than is looked at.
    #[error(
        "{package}: with it the packages that could play a part make more than {most} rules, as \
         many versions of one package do; leave some out with `snapshot`, `only` or `exclude`"
    )]
    TooMuch {
        /// The package that was too much.
        package: String,
        /// How many rules there may be.
        most: usize,
    },
}

/// Chooses the packages for `request`.
pub fn resolve(repositories: &Repositories, request: &Request) -> Result<Resolution, SolveError> {
    let pool = Pool::new(repositories, request);
    let question = Question { pool: &pool, request };
    let mut unsolvable = Unsolvable::default();
    let asked = question.asked(&mut unsolvable)?;
    let kept = question.kept(&request.keep.packages);
    let rules = question.rules(&asked)?;
    if unsolvable.is_empty()
        && request.keep.is_whole
        && let Some(packages) = question.unchanged(&rules, &kept)
    {
        let parts = question.parts(&packages, &mut unsolvable)?;
        if unsolvable.is_empty() {
            return Ok(question.resolution(packages, parts));
        }
    }
    let packages = question.solve(&asked, &kept, rules, &mut unsolvable)?;
    let parts = question.parts(&packages, &mut unsolvable)?;
    if !unsolvable.is_empty() {
        return Err(Box::new(unsolvable).into());
    }
    Ok(question.resolution(packages, parts))
}

/// A request and the packages to answer it from.
struct Question<'p, 'r> {
    pool: &'p Pool<'r>,
    request: &'p Request,
}

/// For each wish of the recipe that can be granted, its position and the
/// packages that grant it.
type Asked = Vec<(usize, Vec<Literal>)>;

impl Question<'_, '_> {
    fn asked(&self, unsolvable: &mut Unsolvable) -> Result<Asked, SolveError> {
        let mut asked = Asked::new();
        for (index, wanted) in self.request.install.iter().enumerate() {
            let found = self.meant(wanted)?;
            if found.is_empty() {
                unsolvable.needs.push(explain::unmet_wish(self.pool, &dependency_of(wanted))?);
            } else {
                asked.push((index, found));
            }
        }
        Ok(asked)
    }

    /// The packages that a word of the recipe means, as dnf understands it:
    /// those of that name and those that obsolete one of them; else those that
    /// provide it or have that file.
    fn meant(&self, wanted: &Requirement) -> Result<Vec<Literal>, SolveError> {
        let dependency = dependency_of(wanted);
        let mut found: Vec<Literal> = match dependency.bound {
            None => self.pool.named(&dependency.name).collect(),
            Some(_) => Vec::new(),
        };
        if found.is_empty() {
            found = self.pool.providers_of(&dependency)?;
            found.retain(|package| self.pool.counts(package_id(*package)));
            return Ok(found);
        }
        for (id, package) in self.pool.repositories.packages() {
            let mut obsoleted =
                package.relations.obsoletes.iter().map(|id| self.pool.repositories.dependency(*id));
            let is_meant = obsoleted.any(|obsoleted| {
                obsoleted.name == dependency.name
                    && found.iter().any(|named| self.pool.is_obsoleted(*named, obsoleted))
            });
            if is_meant && self.pool.counts(id) && !found.contains(&literal(id)) {
                found.push(literal(id));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The packages that shall stay and are still there.
    fn kept(&self, kept: &[Kept]) -> Vec<Literal> {
        let kept = kept.iter().filter_map(|kept| {
            let same = |package: &Literal| *self.pool.nevra(*package) == kept.nevra;
            let same: Vec<Literal> = self.pool.named(&kept.nevra.name).filter(same).collect();
            let is_it = |package: &&Literal| self.pool.package(**package).digest == kept.digest;
            same.iter().find(is_it).or_else(|| same.first()).copied()
        });
        kept.collect()
    }

    fn rules(&self, asked: &Asked) -> Result<Rules, SolveError> {
        let mut collector = Collector::new(self.pool, self.request.weak);
        for (_, packages) in asked {
            collector.follow(packages)?;
        }
        if self.request.weak {
            collector.follow_supplements()?;
        }
        let mut rules = collector.finish();
        for (index, packages) in asked {
            rules.push(packages, Why::Asked(*index), 0);
        }
        Ok(rules)
    }

    /// What was kept, if it is all there and every rule holds.
    fn unchanged(&self, rules: &Rules, kept: &[Literal]) -> Option<Vec<Literal>> {
        let there: HashSet<Literal> = kept.iter().copied().collect();
        let holds = |literal: &Literal| (*literal > 0) == there.contains(&literal.abs());
        let mut all = 0..rules.len();
        let fits = there.len() == self.request.keep.packages.len()
            && all.all(|rule| rules.literals(rule).iter().any(holds));
        fits.then(|| kept.to_vec())
    }

    /// Solves; where that cannot be, tells why and goes on without the wishes
    /// that cannot be granted, to tell all that is wrong.
    fn solve(
        &self,
        asked: &Asked,
        kept: &[Literal],
        rules: Rules,
        unsolvable: &mut Unsolvable,
    ) -> Result<Vec<Literal>, SolveError> {
        let mut asked = asked.clone();
        let mut rules = rules;
        loop {
            let mut decider = self.decider(rules, kept);
            let contradiction = match decider.run() {
                Ok(()) => return Ok(decider.search.chosen().collect()),
                Err(Failure::Solve(error)) => return Err(error),
                Err(Failure::Contradiction(contradiction)) => contradiction,
            };
            let explainer =
                Explainer { pool: self.pool, request: self.request, rules: &decider.search.rules };
            let blamed = explainer.explain(&contradiction.0, unsolvable)?;
            asked.retain(|(index, _)| !blamed.contains(index));
            if blamed.is_empty() {
                return Ok(Vec::new());
            }
            rules = self.rules(&asked)?;
        }
    }

    fn decider(&self, rules: Rules, kept: &[Literal]) -> Decider<'_, '_> {
        let packages = self.pool.len();
        let mut is_kept = vec![false; packages + 1];
        kept.iter().for_each(|package| is_kept[package.unsigned_abs() as usize] = true);
        Decider {
            policy: Policy { pool: self.pool, kept: is_kept },
            search: Search::new(rules, packages),
            wishes: Wishes::new(packages),
            weak: self.request.weak,
        }
    }

    fn parts(
        &self,
        chosen: &[Literal],
        unsolvable: &mut Unsolvable,
    ) -> Result<Vec<PackageId>, SolveError> {
        let mut found = Vec::new();
        let kept = self.kept(&self.request.keep.parts);
        for part in &self.request.parts {
            let mut candidates = self.meant(part)?;
            if let Some(own) = candidates.iter().find(|package| chosen.contains(package)) {
                found.push(package_id(*own));
                continue;
            }
            let mut decider = self.decider(Rules::default(), &kept);
            let Decider { policy, search, wishes, .. } = &mut decider;
            policy.filter(&mut candidates, search, wishes, Purpose::Choose)?;
            match candidates.first() {
                Some(best) => found.push(package_id(*best)),
                None => {
                    unsolvable.needs.push(explain::unmet_wish(self.pool, &dependency_of(part))?);
                }
            }
        }
        Ok(found)
    }

    fn resolution(&self, packages: Vec<Literal>, parts: Vec<PackageId>) -> Resolution {
        let mut packages: Vec<PackageId> = packages.into_iter().map(package_id).collect();
        let nevra = |id: &PackageId| &self.pool.repositories.package(*id).nevra;
        packages.sort_by(|a, b| nevra(a).cmp(nevra(b)).then(a.cmp(b)));
        Resolution { packages, parts }
    }
}
