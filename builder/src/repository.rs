//! Repositories as the solver sees them: every package with what it needs and
//! provides, read from signed metadata. Which packages are chosen is decided
//! elsewhere; so is fetching them.

mod filelists;
#[doc(hidden)]
pub mod fuzzing;
mod names;
mod primary;
mod repomd;
mod source;
#[cfg(test)]
mod tests;
mod wished;
mod xml;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use formats::Digest;

use crate::evr::{Bound, Nevra, Sense};
use crate::location::LocationError;
use crate::progress::{Progress, Unit, counted};
use crate::recipe::{Recipe, Repository, Requirement};
use crate::signature::SignatureError;
use crate::store::{Store, StoreError};
pub use names::{DependencyId, Name};
use names::{Index, Names, RawBound};
use source::Source;

/// A repository cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("repository {id} ({url})")]
pub struct RepositoryError {
    /// Its id in the recipe.
    pub id: String,
    /// Its address in the recipe.
    pub url: String,
    /// What is wrong.
    #[source]
    pub fault: Box<RepositoryFault>,
}

/// What is wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryFault {
    /// The keys of the recipe cannot be used.
    #[error("its keys cannot be used")]
    Keys(#[source] SignatureError),
    /// A file cannot be read.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The signature of a file is missing or wrong.
    #[error("cannot trust {file}")]
    Signature {
        /// The file.
        file: &'static str,
        /// Why.
        source: SignatureError,
    },
    /// A mirror has metadata from before what was seen already.
    #[error(
        "{address} is older than what this store has seen of the repository: the mirror lags \
         behind, or somebody holds updates back"
    )]
    Older {
        /// The mirror's `repomd.xml`.
        address: String,
    },
    /// A file is not what the signed list says, or cannot be stored.
    #[error("cannot take {file}")]
    Store {
        /// The file.
        file: String,
        /// Why.
        source: StoreError,
    },
    /// A file does not hold what it should.
    #[error("cannot understand {file}: {why}")]
    Malformed {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
}

/// Something a package needs, provides, conflicts with or obsoletes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dependency {
    /// A name, a path, or a rich dependency in parentheses.
    pub name: Arc<str>,
    /// Which versions; any if missing.
    pub bound: Option<Bound>,
}

impl Dependency {
    /// Any version of `name`.
    #[must_use]
    pub fn any(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), bound: None }
    }

    /// Whether this, provided, satisfies `wanted`. As in rpm, a side without
    /// a version fits every version of the other.
    #[must_use]
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.name == wanted.name
            && match (&self.bound, &wanted.bound) {
                (Some(provided), Some(wanted)) => provided.overlaps(wanted),
                _ => true,
            }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.bound.iter().try_for_each(|bound| write!(f, " {bound}"))
    }
}

/// A package of a repository.
#[derive(Debug, Clone)]
pub struct Package {
    /// Name, version, architecture.
    pub nevra: Nevra,
    /// Position of its repository.
    pub repository: usize,
    /// Where it is, relative to the repository.
    pub location: String,
    /// Its bytes as a file.
    pub size: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// When it was built, in seconds since 1970; 0 if the metadata does not say.
    pub build_time: u64,
    /// What it has to do with others.
    pub relations: Relations,
}

/// What a package has to do with others.
#[derive(Debug, Clone, Default)]
pub struct Relations {
    /// What must be there with it.
    pub requires: Vec<DependencyId>,
    /// What it is good for.
    pub provides: Vec<DependencyId>,
    /// What must not be there with it.
    pub conflicts: Vec<DependencyId>,
    /// Packages it replaces.
    pub obsoletes: Vec<DependencyId>,
    /// What it is better with.
    pub recommends: Vec<DependencyId>,
    /// What it goes well with.
    pub suggests: Vec<DependencyId>,
    /// What it makes better.
    pub supplements: Vec<DependencyId>,
    /// What it goes well with, said by it.
    pub enhances: Vec<DependencyId>,
    /// Its files, as far as the primary metadata has them.
    pub files: Vec<Name>,
}

/// Position of a package among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(usize);

impl PackageId {
    /// The package at this position.
    pub(crate) fn at(index: usize) -> Self {
        Self(index)
    }

    /// Its position.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// A repository that was read, as the lock names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySummary {
    /// Its id in the recipe.
    pub id: String,
    /// Its address in the recipe.
    pub url: String,
    /// SHA-256 of its `repomd.xml`.
    pub repomd: Digest,
}

/// What matters of a repository when choosing packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// 1 to 99; packages of a lower number are taken, whatever their version.
    pub priority: u32,
    /// Of two equal packages the one of the lower number is taken.
    pub cost: u32,
}

/// The positions of repositories in the order in which dnf loads them: the
/// better ones first, else as they are written. The packages' numbers follow
/// from it, and from those the order in which the solver looks at needs.
fn by_preference(preferences: &[Preference]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..preferences.len()).collect();
    order.sort_by_key(|index| preferences[*index]);
    order
}

impl Default for Preference {
    fn default() -> Self {
        Self { priority: 99, cost: 1000 }
    }
}

/// All packages of all repositories of a recipe.
#[derive(Debug, Default)]
pub struct Repositories {
    sources: Vec<Source>,
    preferences: Vec<Preference>,
    packages: Vec<Package>,
    names: Names,
    by_name: Index<PackageId>,
    /// With the dependency that says so.
    by_provided: Index<(PackageId, DependencyId)>,
    by_file: Index<PackageId>,
    /// Paths that the recipe itself asks for.
    asked_paths: Vec<String>,
    /// Read from the file lists when somebody asks for a path that the
    /// primary metadata need not have.
    by_listed_file: OnceCell<HashMap<String, Vec<PackageId>>>,
}

impl Repositories {
    /// Ends the use of the stores, and frees nothing: for a process that ends
    /// soon. Hundred thousands of small texts would cost it a tenth of its time.
    pub fn abandon(mut self) {
        self.sources = Vec::new();
        std::mem::forget(self);
    }

    /// Reads the metadata of the recipe's repositories.
    pub fn open(
        recipe: &Recipe,
        store: &Store,
        progress: &Progress,
    ) -> Result<Self, RepositoryError> {
        let total = recipe.repositories.len() as u64;
        let step = progress.step("metadata", total, Unit::Pieces("repositories"));
        let preference = |one: &Repository| Preference { priority: one.priority, cost: one.cost };
        let mut all = Self {
            preferences: recipe.repositories.iter().map(preference).collect(),
            ..Self::default()
        };
        let mut sources = BTreeMap::new();
        for index in by_preference(&all.preferences) {
            let source = Source::open(&recipe.repositories[index], store)?;
            warn_of_older(&source, progress);
            all.read(&source, index)?;
            sources.insert(index, source);
            step.advance(1);
        }
        all.sources = sources.into_values().collect();
        let packages = counted(all.packages.len(), "package", "packages");
        let repositories = counted(all.sources.len(), "repository", "repositories");
        step.outcome(format!("{packages} in {repositories}"));
        let asked = recipe.packages.install.iter().map(Requirement::as_str);
        all.asked_paths = asked.filter(|asked| asked.starts_with('/')).map(str::to_owned).collect();
        Ok(all.indexed())
    }

    /// Takes the packages of `source`, the repository at `index`.
    fn read(&mut self, source: &Source, index: usize) -> Result<(), RepositoryError> {
        let (names, packages) = (&mut self.names, &mut self.packages);
        source.metadata(&source.repomd.primary, |input, size| {
            primary::parse(input, size, index, names, |package| packages.push(package))
        })
    }

    /// Finds out who has which name.
    fn indexed(mut self) -> Self {
        let (mut own, mut provided, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for (index, package) in self.packages.iter_mut().enumerate() {
            let id = PackageId(index);
            let Nevra { name, evr, .. } = &package.nevra;
            own.push((self.names.name(name), id));
            // Every package provides itself, whether it says so or not.
            let itself = self.names.dependency(
                name,
                Some(RawBound {
                    sense: Sense::Equal,
                    epoch: evr.epoch,
                    version: &evr.version,
                    release: Some(&evr.release),
                }),
            );
            if !package.relations.provides.contains(&itself) {
                package.relations.provides.push(itself);
            }
            for dependency in &package.relations.provides {
                let (name, _) = &self.names.dependencies()[dependency.index()];
                provided.push((*name, (id, *dependency)));
            }
            files.extend(package.relations.files.iter().map(|file| (*file, id)));
        }
        for own in self.packages.chunk_by_mut(|one, other| one.repository == other.repository) {
            wished::sort_recommended(own, &self.names);
        }
        let names = self.names.len();
        self.by_name = Index::new(names, &own);
        self.by_provided = Index::new(names, &provided);
        self.by_file = Index::new(names, &files);
        self
    }

    /// The repositories, in the recipe's order.
    pub fn summaries(&self) -> impl Iterator<Item = RepositorySummary> {
        self.sources.iter().map(|source| RepositorySummary {
            id: source.id.clone(),
            url: source.url.clone(),
            repomd: source.repomd_digest,
        })
    }

    /// What the repository at this position has to say.
    #[must_use]
    pub fn preference(&self, repository: usize) -> Preference {
        self.preferences.get(repository).copied().unwrap_or_default()
    }

    /// The package `id`.
    #[must_use]
    pub fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.0]
    }

    /// All packages, in the order in which dnf loads repositories and that of
    /// their metadata.
    pub fn packages(&self) -> impl Iterator<Item = (PackageId, &Package)> {
        self.packages.iter().enumerate().map(|(index, package)| (PackageId(index), package))
    }

    /// The dependency `id`.
    #[must_use]
    pub fn dependency(&self, id: DependencyId) -> &Dependency {
        &self.names.dependencies()[id.index()].1
    }

    /// How many different dependencies there are.
    #[must_use]
    pub fn dependency_count(&self) -> usize {
        self.names.dependencies().len()
    }

    /// Packages of this name, in their order.
    #[must_use]
    pub fn named(&self, name: &str) -> &[PackageId] {
        self.names.find(name).map_or(&[], |name| self.by_name.of(name))
    }

    /// Packages that provide `name` in some version, and in which; a package
    /// that provides several is there several times.
    #[must_use]
    pub fn providing(&self, name: &str) -> &[(PackageId, DependencyId)] {
        self.names.find(name).map_or(&[], |name| self.by_provided.of(name))
    }

    /// Packages that have the file `path`. Paths that the primary metadata
    /// need not have are looked up in the much larger file lists.
    pub fn owning(&self, path: &str) -> Result<&[PackageId], RepositoryError> {
        let primary = self.names.find(path).map_or(&[][..], |name| self.by_file.of(name));
        if is_primary(path) || self.sources.is_empty() {
            return Ok(primary);
        }
        let listed = match self.by_listed_file.get() {
            Some(listed) => listed,
            None => {
                let listed = self.read_file_lists()?;
                self.by_listed_file.get_or_init(|| listed)
            }
        };
        Ok(listed.get(path).map_or(primary, Vec::as_slice))
    }

    /// Reads the file lists once for every path that any package may ask for.
    fn read_file_lists(&self) -> Result<HashMap<String, Vec<PackageId>>, RepositoryError> {
        let mut wanted: HashSet<&str> = self.asked_paths.iter().map(String::as_str).collect();
        for (_, dependency) in self.names.dependencies() {
            let paths = dependency.name.split([' ', '(', ')']);
            wanted.extend(paths.filter(|path| path.starts_with('/')));
        }
        wanted.retain(|path| !is_primary(path));
        self.files_among(&wanted)
    }

    fn files_among(
        &self,
        wanted: &HashSet<&str>,
    ) -> Result<HashMap<String, Vec<PackageId>>, RepositoryError> {
        let mut listed: HashMap<String, Vec<PackageId>> = HashMap::new();
        for (index, source) in self.sources.iter().enumerate() {
            let Some(file) = &source.repomd.filelists else {
                continue;
            };
            let own = self.packages().filter(|(_, package)| package.repository == index);
            let by_digest = own.map(|(id, package)| (package.digest, id)).collect();
            source.metadata(file, |input, size| {
                filelists::parse(input, size, &by_digest, wanted, |path, id| {
                    let owners = listed.entry(path.to_owned()).or_default();
                    // A list may come in any order; what is found may not.
                    if let Err(at) = owners.binary_search(&id) {
                        owners.insert(at, id);
                    }
                })
            })?;
        }
        Ok(listed)
    }
}

fn warn_of_older(source: &Source, progress: &Progress) {
    if source.went_back {
        progress.note(&format!(
            "repository {} ({}) is older than it was when this store last saw it: its owner went \
             back, or somebody on the way holds updates back; look at what goes down in the lock",
            source.id, source.url
        ));
    }
}

/// The paths that primary metadata is sure to have (createrepo_c's
/// `cr_is_primary()`).
fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}

/// Packages without repositories behind them, for tests.
#[cfg(test)]
pub(crate) mod listed {
    use super::{
        Dependency, DependencyId, Names, Package, Preference, RawBound, Repositories, by_preference,
    };

    /// A package with its dependencies as they are written.
    #[derive(Clone)]
    pub(crate) struct Listed {
        pub package: Package,
        pub requires: Vec<Dependency>,
        pub provides: Vec<Dependency>,
        pub conflicts: Vec<Dependency>,
        pub obsoletes: Vec<Dependency>,
        pub recommends: Vec<Dependency>,
        pub supplements: Vec<Dependency>,
        pub files: Vec<String>,
    }

    impl Repositories {
        pub(crate) fn from_listed(
            mut listed: Vec<Listed>,
            preferences: Vec<Preference>,
        ) -> Repositories {
            let order = by_preference(&preferences);
            listed.sort_by_key(|one| order.iter().position(|at| *at == one.package.repository));
            let mut all = Repositories { preferences, ..Repositories::default() };
            for one in listed {
                let mut package = one.package;
                let mut ids = |list: &[Dependency]| numbered(&mut all.names, list);
                package.relations.requires = ids(&one.requires);
                package.relations.provides = ids(&one.provides);
                package.relations.conflicts = ids(&one.conflicts);
                package.relations.obsoletes = ids(&one.obsoletes);
                package.relations.recommends = ids(&one.recommends);
                package.relations.supplements = ids(&one.supplements);
                let names = one.files.iter().map(|file| all.names.name(file));
                package.relations.files = names.collect();
                all.packages.push(package);
            }
            all.indexed()
        }
    }

    fn numbered(names: &mut Names, list: &[Dependency]) -> Vec<DependencyId> {
        let number = |dependency: &Dependency| {
            let bound = dependency.bound.as_ref().map(|bound| RawBound {
                sense: bound.sense,
                epoch: bound.epoch,
                version: &bound.version,
                release: bound.release.as_deref(),
            });
            names.dependency(&dependency.name, bound)
        };
        list.iter().map(number).collect()
    }
}
