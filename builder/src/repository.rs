//! Repositories as the solver sees them: every package with what it needs and
//! provides, read from signed metadata. Which packages are chosen is decided
//! elsewhere; so is fetching them.

mod filelists;
#[doc(hidden)]
pub mod fuzzing;
mod primary;
mod repomd;
mod source;
#[cfg(test)]
mod tests;
mod xml;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fmt;

use formats::Digest;

use crate::evr::{Bound, Nevra};
use crate::location::LocationError;
use crate::progress::{Progress, Unit};
use crate::recipe::{Recipe, Requirement};
use crate::signature::SignatureError;
use crate::store::{Store, StoreError};
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
    pub name: String,
    /// Which versions; any if missing.
    pub bound: Option<Bound>,
}

impl Dependency {
    /// Any version of `name`.
    #[must_use]
    pub fn any(name: impl Into<String>) -> Self {
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
    /// What must be there with it.
    pub requires: Vec<Dependency>,
    /// What it is good for.
    pub provides: Vec<Dependency>,
    /// What must not be there with it.
    pub conflicts: Vec<Dependency>,
    /// Packages it replaces.
    pub obsoletes: Vec<Dependency>,
    /// Its files, as far as the primary metadata has them.
    pub files: Vec<Box<str>>,
}

/// Position of a package among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(usize);

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

/// All packages of all repositories of a recipe.
#[derive(Debug, Default)]
pub struct Repositories {
    sources: Vec<Source>,
    packages: Vec<Package>,
    by_name: HashMap<String, Vec<PackageId>>,
    by_provided: HashMap<String, Vec<PackageId>>,
    by_file: HashMap<Box<str>, Vec<PackageId>>,
    /// Paths that the recipe itself asks for.
    asked_paths: Vec<String>,
    /// Read from the file lists when somebody asks for a path that the
    /// primary metadata does not have.
    by_listed_file: OnceCell<HashMap<String, Vec<PackageId>>>,
}

impl Repositories {
    /// Reads the metadata of the recipe's repositories, in their order.
    pub fn open(
        recipe: &Recipe,
        store: &Store,
        progress: &Progress,
    ) -> Result<Self, RepositoryError> {
        let total = recipe.repositories.len() as u64;
        let step = progress.step("metadata", total, Unit::Pieces("repositories"));
        let mut packages = Vec::new();
        let mut sources = Vec::new();
        for (index, repository) in recipe.repositories.iter().enumerate() {
            let source = Source::open(repository, store)?;
            let primary = &source.repomd.primary;
            source.metadata(primary, |input, size| {
                primary::parse(input, size, index, |package| {
                    if is_taken(&repository.only, &package) {
                        packages.push(package);
                    }
                })
            })?;
            sources.push(source);
            step.advance(1);
        }
        step.outcome(format!("{} packages in {total} repositories", packages.len()));
        let mut repositories = Self::from_packages(packages);
        repositories.sources = sources;
        let asked = recipe.packages.install.iter().map(Requirement::as_str);
        repositories.asked_paths =
            asked.filter(|asked| asked.starts_with('/')).map(str::to_owned).collect();
        Ok(repositories)
    }

    /// Packages without repositories behind them.
    #[must_use]
    pub fn from_packages(packages: Vec<Package>) -> Self {
        let mut all = Self::default();
        for (index, package) in packages.iter().enumerate() {
            let id = PackageId(index);
            all.by_name.entry(package.nevra.name.clone()).or_default().push(id);
            for provided in &package.provides {
                let ids = all.by_provided.entry(provided.name.clone()).or_default();
                if ids.last() != Some(&id) {
                    ids.push(id);
                }
            }
            for file in &package.files {
                all.by_file.entry(file.clone()).or_default().push(id);
            }
        }
        all.packages = packages;
        all
    }

    /// The repositories, in the recipe's order.
    pub fn summaries(&self) -> impl Iterator<Item = RepositorySummary> {
        self.sources.iter().map(|source| RepositorySummary {
            id: source.id.clone(),
            url: source.url.clone(),
            repomd: source.repomd_digest,
        })
    }

    /// The package `id`.
    #[must_use]
    pub fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.0]
    }

    /// Packages of this name, in the order of repositories.
    #[must_use]
    pub fn named(&self, name: &str) -> &[PackageId] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Packages that provide `name` in some version.
    #[must_use]
    pub fn providing(&self, name: &str) -> &[PackageId] {
        self.by_provided.get(name).map_or(&[], Vec::as_slice)
    }

    /// Packages that have the file `path`. What the primary metadata does not
    /// know is looked up in the much larger file lists only if `thorough`.
    pub fn owning(&self, path: &str, thorough: bool) -> Result<&[PackageId], RepositoryError> {
        match self.by_file.get(path) {
            Some(owners) => return Ok(owners),
            None if !thorough => return Ok(&[]),
            None => {}
        }
        let listed = match self.by_listed_file.get() {
            Some(listed) => listed,
            None => {
                let listed = self.read_file_lists()?;
                self.by_listed_file.get_or_init(|| listed)
            }
        };
        Ok(listed.get(path).map_or(&[], Vec::as_slice))
    }

    /// Reads the file lists once for every path that any package may ask for.
    fn read_file_lists(&self) -> Result<HashMap<String, Vec<PackageId>>, RepositoryError> {
        let mut wanted: HashSet<&str> = self.asked_paths.iter().map(String::as_str).collect();
        for package in &self.packages {
            for required in &package.requires {
                let paths = required.name.split([' ', '(', ')']);
                wanted.extend(paths.filter(|path| path.starts_with('/')));
            }
        }
        wanted.retain(|path| !self.by_file.contains_key(*path));
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
            let own = self.packages.iter().enumerate();
            let own = own.filter(|(_, package)| package.repository == index);
            let by_digest = own.map(|(id, package)| (package.digest, PackageId(id))).collect();
            source.metadata(file, |input, size| {
                filelists::parse(input, size, &by_digest, wanted, |path, id| {
                    listed.entry(path.to_owned()).or_default().push(id);
                })
            })?;
        }
        Ok(listed)
    }
}

fn is_taken(only: &[Requirement], package: &Package) -> bool {
    only.is_empty() || only.iter().any(|name| name.as_str() == package.nevra.name)
}
