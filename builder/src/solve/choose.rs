//! Which packages could meet a need, the best first, and why others cannot.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashSet};

use super::explain::TurnedDown;
use super::rich::Need;
use super::{Request, itself};
use crate::repository::{Dependency, Package, PackageId, Repositories, RepositoryError};

/// Reasons are for people; more than this nobody reads.
const MAX_TURNED_DOWN: usize = 8;

/// The packages that may be chosen from.
pub(super) struct Candidates<'r> {
    pub repositories: &'r Repositories,
    excluded: HashSet<String>,
    arch: &'static str,
}

impl<'r> Candidates<'r> {
    pub fn new(repositories: &'r Repositories, request: &Request) -> Self {
        let excluded = request.exclude.iter().map(|name| name.as_str().to_owned()).collect();
        Self { repositories, excluded, arch: request.arch.as_str() }
    }

    /// Packages that meet `need`, the best first.
    pub fn of(&self, need: &Need) -> Result<Vec<PackageId>, RepositoryError> {
        match need {
            Need::Plain(dependency) => self.of_plain(dependency),
            Need::With(one, other) => {
                let other = self.of(other)?;
                Ok(self.of(one)?.into_iter().filter(|id| other.contains(id)).collect())
            }
            Need::Without(one, other) => {
                let other = self.of(other)?;
                Ok(self.of(one)?.into_iter().filter(|id| !other.contains(id)).collect())
            }
            Need::And(_) | Need::Or(_) | Need::If { .. } | Need::Unless { .. } => Ok(Vec::new()),
        }
    }

    fn of_plain(&self, wanted: &Dependency) -> Result<Vec<PackageId>, RepositoryError> {
        let mut found = self.related(wanted)?;
        found.retain(|id| self.refusal(*id, wanted).is_none());
        found.sort_by(|a, b| self.compare(*a, *b, &wanted.name));
        Ok(found)
    }

    /// Packages that have to do with the name, in any version.
    fn related(&self, wanted: &Dependency) -> Result<Vec<PackageId>, RepositoryError> {
        let mut found = self.repositories.named(&wanted.name).to_vec();
        found.extend(self.repositories.providing(&wanted.name));
        if wanted.name.starts_with('/') {
            found.extend(self.repositories.owning(&wanted.name, found.is_empty())?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Why a package related to `wanted` is not taken.
    fn refusal(&self, id: PackageId, wanted: &Dependency) -> Option<String> {
        let package = self.repositories.package(id);
        if self.excluded.contains(&package.nevra.name) {
            return Some("excluded by the recipe".to_owned());
        }
        let arch = package.nevra.arch.as_str();
        if arch != self.arch && arch != "noarch" {
            return Some(format!("made for {arch}"));
        }
        (!meets(package, wanted)).then(|| format!("provides {}", offered(package, wanted)))
    }

    /// The package of exactly this name, then the shortest name: versions of
    /// different packages say nothing about each other. Of one package the
    /// newest, then the one made for this processor, then the one from the
    /// earlier repository.
    fn compare(&self, a: PackageId, b: PackageId, name: &str) -> Ordering {
        let key = |id| {
            let nevra = &self.repositories.package(id).nevra;
            (
                nevra.name != name,
                nevra.name.len(),
                &nevra.name,
                Reverse(&nevra.evr),
                nevra.arch == "noarch",
                id,
            )
        };
        key(a).cmp(&key(b))
    }

    /// Packages that come close to `need`, and why they were not taken.
    pub fn turned_down(
        &self,
        need: &Need,
        chosen: &BTreeMap<&str, PackageId>,
    ) -> Result<Vec<TurnedDown>, RepositoryError> {
        let mut found = Vec::new();
        for wanted in plain_parts(need) {
            let mut related = self.related(wanted)?;
            related.sort_by(|a, b| self.compare(*a, *b, &wanted.name));
            for id in related.into_iter().take(MAX_TURNED_DOWN) {
                let nevra = &self.repositories.package(id).nevra;
                let taken = || {
                    let other = chosen.get(nevra.name.as_str()).filter(|other| **other != id)?;
                    Some(format!("{} is already chosen", self.repositories.package(*other).nevra))
                };
                if let Some(why) = self.refusal(id, wanted).or_else(taken) {
                    found.push(TurnedDown { package: nevra.to_string(), why });
                }
            }
        }
        Ok(found)
    }
}

fn meets(package: &Package, wanted: &Dependency) -> bool {
    // Paths are files of the package; those were looked up by name.
    let is_path = wanted.name.starts_with('/') && wanted.bound.is_none();
    is_path
        || itself(&package.nevra.name, &package.nevra.evr).satisfies(wanted)
        || package.provides.iter().any(|provided| provided.satisfies(wanted))
}

fn offered(package: &Package, wanted: &Dependency) -> String {
    let own = package.provides.iter().find(|provided| provided.name == wanted.name);
    own.map_or_else(|| package.nevra.to_string(), ToString::to_string)
}

fn plain_parts(need: &Need) -> Vec<&Dependency> {
    match need {
        Need::Plain(dependency) => vec![dependency],
        Need::And(needs) | Need::Or(needs) => needs.iter().flat_map(plain_parts).collect(),
        Need::If { then, .. } | Need::Unless { then, .. } => plain_parts(then),
        Need::With(one, other) => [plain_parts(one), plain_parts(other)].concat(),
        Need::Without(one, _) => plain_parts(one),
    }
}
