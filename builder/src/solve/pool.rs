//! The packages that may be chosen from, and which of them meet a dependency.

use std::cell::RefCell;
use std::rc::Rc;

use super::rich::Need;
use super::{Request, SolveError};
use crate::evr::{Nevra, Sense};
use crate::recipe::PackagePattern;
use crate::repository::{
    Dependency, DependencyId, Package, PackageId, Repositories, RepositoryError,
};

/// A package that is there (positive) or not (negative); its number is one
/// more than its position, as there is no negative nothing.
pub(super) type Literal = i32;

/// Why a package does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Excluded,
    ExcludedFromRepository,
    NotOfRepository,
    OtherArch,
    TooNew,
}

/// The packages that may be chosen from.
pub(super) struct Pool<'r> {
    pub repositories: &'r Repositories,
    /// By position.
    refusals: Vec<Option<Refusal>>,
    /// What was asked for before, by the dependency's number.
    known: RefCell<Vec<Option<Rc<[Literal]>>>>,
}

/// The number of a package.
pub(super) fn literal(id: PackageId) -> Literal {
    // Metadata of more packages is refused when it is read.
    Literal::try_from(id.index() + 1).unwrap_or(Literal::MAX)
}

/// The package of a number, there or not.
pub(super) fn package_id(literal: Literal) -> PackageId {
    PackageId::at(literal.unsigned_abs() as usize - 1)
}

impl<'r> Pool<'r> {
    pub fn new(repositories: &'r Repositories, request: &Request) -> Self {
        let refusals =
            repositories.packages().map(|(_, package)| refusal(package, request)).collect();
        let known = RefCell::new(vec![None; repositories.dependency_count()]);
        Self { repositories, refusals, known }
    }

    /// How many packages there are, counting those that do not count.
    pub fn len(&self) -> usize {
        self.refusals.len()
    }

    pub fn package(&self, literal: Literal) -> &'r Package {
        self.repositories.package(package_id(literal))
    }

    pub fn nevra(&self, literal: Literal) -> &'r Nevra {
        &self.package(literal).nevra
    }

    /// Whether the package may be chosen.
    pub fn counts(&self, id: PackageId) -> bool {
        self.refusals.get(id.index()).is_some_and(Option::is_none)
    }

    /// Packages of this name that count.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Literal> {
        let found = self.repositories.named(name).iter().copied();
        found.filter(|id| self.counts(*id)).map(literal)
    }

    /// Whether dnf knows of the package, if only to pass it over: excluded ones
    /// have their place in its lists, which shows in the order of its choices.
    fn is_known(&self, id: PackageId) -> bool {
        match self.refusals.get(id.index()) {
            Some(Some(Refusal::OtherArch | Refusal::TooNew)) | None => false,
            Some(_) => true,
        }
    }

    /// Packages of this name, those included that are excluded.
    pub fn known_as(&self, name: &str) -> impl Iterator<Item = Literal> {
        let found = self.repositories.named(name).iter().copied();
        found.filter(|id| self.is_known(*id)).map(literal)
    }

    /// Packages that meet the plain dependency `id`, in ascending order, those
    /// included that are excluded.
    pub fn providers(&self, id: DependencyId) -> Result<Rc<[Literal]>, RepositoryError> {
        if let Some(Some(known)) = self.known.borrow().get(id.index()) {
            return Ok(known.clone());
        }
        let found: Rc<[Literal]> = self.providers_of(self.repositories.dependency(id))?.into();
        if let Some(known) = self.known.borrow_mut().get_mut(id.index()) {
            *known = Some(found.clone());
        }
        Ok(found)
    }

    /// Packages that meet a plain dependency, in ascending order, those included
    /// that are excluded.
    pub fn providers_of(&self, wanted: &Dependency) -> Result<Vec<Literal>, RepositoryError> {
        let provided = self.repositories.providing(&wanted.name).iter();
        let fits = |provided: &DependencyId| match &wanted.bound {
            None => true,
            Some(wanted) => match &self.repositories.dependency(*provided).bound {
                // As in rpm, what is provided in no version fits any.
                None => true,
                Some(provided) => provided.overlaps(wanted),
            },
        };
        let mut found: Vec<PackageId> = provided
            .filter(|(id, provided)| self.is_known(*id) && fits(provided))
            .map(|(id, _)| *id)
            .collect();
        if wanted.name.starts_with('/') && wanted.bound.is_none() {
            let owners = self.repositories.owning(&wanted.name)?;
            found.extend(owners.iter().filter(|id| self.is_known(**id)));
            found.sort_unstable();
        }
        found.dedup();
        Ok(found.into_iter().map(literal).collect())
    }

    /// Packages that meet a need of one package.
    pub fn providers_of_need(&self, need: &Need) -> Result<Vec<Literal>, SolveError> {
        Ok(match need {
            Need::Plain(dependency) => self.providers_of(dependency)?,
            Need::With(one, other) => {
                let other = self.providers_of_need(other)?;
                let mut found = self.providers_of_need(one)?;
                found.retain(|package| other.contains(package));
                found
            }
            Need::Without(one, other) => {
                let other = self.providers_of_need(other)?;
                let mut found = self.providers_of_need(one)?;
                found.retain(|package| !other.contains(package));
                found
            }
            Need::Or(needs) => {
                let mut found = Vec::new();
                for need in needs {
                    found.extend(self.providers_of_need(need)?);
                }
                found.sort_unstable();
                found.dedup();
                found
            }
            Need::And(_) | Need::If { .. } | Need::Unless { .. } => Vec::new(),
        })
    }

    /// Whether `package` is of the name and version that `obsoleted` means:
    /// what it provides does not count.
    pub fn is_obsoleted(&self, package: Literal, obsoleted: &Dependency) -> bool {
        let nevra = self.nevra(package);
        *nevra.name == *obsoleted.name
            && obsoleted
                .bound
                .as_ref()
                .is_none_or(|bound| crate::evr::Bound::exactly(&nevra.evr).overlaps(bound))
    }

    /// Why a package does not count.
    pub fn refused(&self, id: PackageId) -> Option<String> {
        let why = match self.refusals.get(id.index()).copied().flatten()? {
            Refusal::Excluded => "excluded by the recipe",
            Refusal::ExcludedFromRepository => "excluded from its repository by the recipe",
            Refusal::NotOfRepository => "not among those that the recipe takes of its repository",
            Refusal::OtherArch => {
                return Some(format!("made for {}", self.repositories.package(id).nevra.arch));
            }
            Refusal::TooNew => "built after the snapshot",
        };
        Some(why.to_owned())
    }

    /// Why a package related to `wanted` is not taken.
    pub fn turned_down(&self, id: PackageId, wanted: &Dependency) -> Option<String> {
        if let Some(why) = self.refused(id) {
            return Some(why);
        }
        let package = self.repositories.package(id);
        let own: Vec<&Dependency> = package
            .relations
            .provides
            .iter()
            .map(|id| self.repositories.dependency(*id))
            .filter(|provided| provided.name == wanted.name)
            .collect();
        let fits = own.iter().any(|provided| provided.satisfies(wanted));
        if fits || (own.is_empty() && wanted.name.starts_with('/')) {
            return None;
        }
        let offered = own.first().map_or_else(|| package.nevra.to_string(), ToString::to_string);
        Some(format!("provides {offered}"))
    }

    /// Packages that have to do with the name, in any version, the newest
    /// first.
    pub fn related(&self, name: &str) -> Result<Vec<PackageId>, RepositoryError> {
        let mut found = self.repositories.named(name).to_vec();
        found.extend(self.repositories.providing(name).iter().map(|(id, _)| *id));
        if name.starts_with('/') {
            found.extend(self.repositories.owning(name)?);
        }
        found.sort_unstable();
        found.dedup();
        found.sort_by(|a, b| {
            let (a, b) = (self.repositories.package(*a), self.repositories.package(*b));
            let other = |package: &Package| package.nevra.name != name;
            let by_name = (other(a), &a.nevra.name).cmp(&(other(b), &b.nevra.name));
            by_name.then_with(|| b.nevra.evr.cmp(&a.nevra.evr))
        });
        Ok(found)
    }
}

fn refusal(package: &Package, request: &Request) -> Option<Refusal> {
    let nevra = &package.nevra;
    if nevra.arch != request.arch.as_str() && nevra.arch != "noarch" {
        return Some(Refusal::OtherArch);
    }
    if request.snapshot.as_ref().is_some_and(|day| day.is_before(package.build_time)) {
        return Some(Refusal::TooNew);
    }
    if request.exclude.iter().any(|pattern| pattern.matches(nevra)) {
        return Some(Refusal::Excluded);
    }
    let matches = |own: &Vec<PackagePattern>| own.iter().any(|pattern| pattern.matches(nevra));
    if request.exclude_from.get(package.repository).is_some_and(matches) {
        return Some(Refusal::ExcludedFromRepository);
    }
    let only = request.only_from.get(package.repository);
    if only.is_some_and(|only| !only.is_empty() && !matches(only)) {
        return Some(Refusal::NotOfRepository);
    }
    None
}

/// The dependency that a word of the recipe stands for.
pub(super) fn dependency_of(wanted: &crate::recipe::Requirement) -> Dependency {
    let (name, version) = wanted.parts();
    let bound = version.and_then(|(sign, version)| {
        Some(crate::evr::Bound::parse(Sense::from_sign(sign)?, version))
    });
    Dependency { name: name.into(), bound }
}
