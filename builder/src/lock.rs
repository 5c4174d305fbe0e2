//! The lock: the exact artifacts a recipe stands for, as text that is
//! reviewed and committed. Written sorted and the same for the same contents;
//! `build` takes everything from it and never resolves.

mod compare;
#[doc(hidden)]
pub mod fuzzing;
mod keep;
mod scriptlets;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use formats::Digest;
use serde::Deserialize;

pub use compare::Changes;
pub use scriptlets::{Accept, LockedScriptlet, Unaccepted, UnknownScriptlets};

use crate::evr::{Evr, Nevra};
use crate::recipe::Recipe;
use crate::repository::{PackageId, Repositories};
use crate::solve::Resolution;

/// The layout of the file.
const SCHEMA: i64 = 1;
/// 10,000 packages take 4 MB; reading takes many times as much memory.
const MAX_BYTES: u64 = 16 << 20;
/// No package is longer: `rpm` itself takes payloads past 4 GiB, and a root
/// partition has at most 64.
pub const MAX_PACKAGE_BYTES: u64 = 64 << 30;
/// The programs of Slipway that end up in an image.
pub const TOOLS: [&str; 3] = ["slipway-agent", "slipway-boot.efi", "slipway-init"];
/// The role of the package that the EFI stub comes from.
pub const STUB: &str = "stub";

/// A lock cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is none yet.
    #[error("there is no lock {path}: run `slipway lock` first")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is no lock.
    #[error("{path} is not a lock slipway wrote\n{why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The place and what is wrong there.
        why: String,
    },
    /// A newer slipway wrote it.
    #[error(
        "{path} has schema {found}, this slipway knows {SCHEMA}: use the newer slipway \
         that wrote it, or lock again with this one after removing the file"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// The recipe has changed since.
    #[error("{path} does not fit the recipe any more ({why}): run `slipway lock` again")]
    Stale {
        /// The lock.
        path: PathBuf,
        /// What has changed.
        why: String,
    },
    /// A program that goes into the image is not there.
    #[error(
        "cannot read {path}, which becomes part of every image: name the folder of \
         {} with --tools or SLIPWAY_TOOLS", TOOLS.join(", ")
    )]
    Tool {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The contents of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    schema: i64,
    /// What it was made for.
    pub recipe: LockedRecipe,
    /// The repositories, in the recipe's order.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<LockedRepository>,
    /// The packages to install, by name.
    #[serde(default, rename = "package")]
    pub packages: Vec<LockedPackage>,
    /// Packages that only a file is taken from.
    #[serde(default, rename = "part")]
    pub parts: Vec<LockedPart>,
    /// Programs of Slipway, by name.
    #[serde(default, rename = "tool")]
    pub tools: Vec<LockedTool>,
    /// What packages want run when they are installed, by package and phase.
    #[serde(default, rename = "scriptlet")]
    pub scriptlets: Vec<LockedScriptlet>,
}

/// The recipe a lock was made for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRecipe {
    /// Its name.
    pub name: String,
    /// [`Recipe::inputs_digest`] then.
    pub inputs: Digest,
}

/// A repository as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    /// Its id in the recipe.
    pub id: String,
    /// Its address in the recipe.
    pub url: String,
    /// SHA-256 of its `repomd.xml`.
    pub repomd: Digest,
}

/// A package file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its epoch, 0 where it has none.
    pub epoch: u32,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: String,
    /// `x86_64`, `noarch`, …
    pub arch: String,
    /// Id of the repository it comes from.
    pub repository: String,
    /// Where it is, relative to the repository.
    pub location: String,
    /// Its bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A package that only a file is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct LockedPart {
    /// What it is for: [`STUB`].
    pub role: String,
    /// The package.
    pub package: LockedPackage,
}

/// A role beside the keys of a package. serde's flattening would let unknown
/// keys pass.
impl TryFrom<toml::Table> for LockedPart {
    type Error = String;

    fn try_from(mut text: toml::Table) -> Result<Self, String> {
        let Some(toml::Value::String(role)) = text.remove("role") else {
            return Err("a part has no role".to_owned());
        };
        let package = LockedPackage::deserialize(text).map_err(|error| error.to_string())?;
        Ok(Self { role, package })
    }
}

/// A program of Slipway that ends up in the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTool {
    /// Its file name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

impl LockedPackage {
    /// Its name, version and architecture.
    #[must_use]
    pub fn nevra(&self) -> Nevra {
        Nevra { name: self.name.clone(), evr: self.evr(), arch: self.arch.clone() }
    }

    fn evr(&self) -> Evr {
        Evr { epoch: self.epoch, version: self.version.clone(), release: self.release.clone() }
    }

    fn new(repositories: &Repositories, ids: &[String], package: PackageId) -> Self {
        let package = repositories.package(package);
        Self {
            name: package.nevra.name.clone(),
            epoch: package.nevra.evr.epoch,
            version: package.nevra.evr.version.clone(),
            release: package.nevra.evr.release.clone(),
            arch: package.nevra.arch.clone(),
            repository: ids.get(package.repository).cloned().unwrap_or_default(),
            location: package.location.clone(),
            size: package.size,
            sha256: package.digest,
        }
    }
}

impl Lock {
    /// The lock for what was chosen.
    #[must_use]
    pub fn new(
        recipe: &Recipe,
        repositories: &Repositories,
        resolution: &Resolution,
        tools: Vec<LockedTool>,
    ) -> Self {
        let ids: Vec<String> = recipe.repositories.iter().map(|one| one.id.to_string()).collect();
        let locked = |id: &PackageId| LockedPackage::new(repositories, &ids, *id);
        let mut packages: Vec<_> = resolution.packages.iter().map(locked).collect();
        packages.sort_by_key(LockedPackage::nevra);
        let part = |id| LockedPart { role: STUB.to_owned(), package: locked(id) };
        Self {
            schema: SCHEMA,
            recipe: LockedRecipe { name: recipe.name.to_string(), inputs: recipe.inputs_digest() },
            repositories: repositories
                .summaries()
                .map(|one| LockedRepository { id: one.id, url: one.url, repomd: one.repomd })
                .collect(),
            packages,
            parts: resolution.parts.iter().map(part).collect(),
            tools,
            scriptlets: Vec::new(),
        }
    }

    /// Where the lock of `recipe` is kept: `images/<name>/lock.toml` beside
    /// the folder of recipes. A recipe that is called `recipe.toml` and has a
    /// `lock.toml` beside it was vendored together with that.
    #[must_use]
    pub fn default_path(recipe: &Recipe) -> PathBuf {
        let beside = recipe.path.with_file_name("lock.toml");
        if recipe.path.ends_with("recipe.toml") && beside.exists() {
            return beside;
        }
        let recipes = recipe.path.parent().unwrap_or(Path::new(""));
        // Without `..` where the path itself says what is above.
        let above = match recipes.components().next_back() {
            Some(Component::Normal(_)) => recipes.parent().unwrap_or(Path::new("")).to_owned(),
            _ => recipes.join(".."),
        };
        above.join("images").join(recipe.name.as_str()).join("lock.toml")
    }

    /// Reads the lock at `path`.
    pub fn load(path: &Path) -> Result<Self, LockError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => LockError::Missing { path: path.to_owned() },
            _ => LockError::Io { action: "read", path: path.to_owned(), source },
        };
        let malformed = |why: String| LockError::Malformed { path: path.to_owned(), why };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(malformed(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, LockError> {
        /// All that a lock of any schema is sure to have.
        #[derive(Deserialize)]
        struct AnySchema {
            schema: i64,
        }
        let malformed = |error: toml::de::Error| LockError::Malformed {
            path: path.to_owned(),
            why: error.to_string().trim_end().to_owned(),
        };
        let found = toml::from_str::<AnySchema>(text).map_err(malformed)?.schema;
        if found > SCHEMA {
            return Err(LockError::Newer { path: path.to_owned(), found });
        }
        let lock: Self = toml::from_str(text).map_err(malformed)?;
        if lock.schema != SCHEMA {
            let why = format!("schema {found} never was");
            return Err(LockError::Malformed { path: path.to_owned(), why });
        }
        // They become the names of files.
        if let Some(tool) = lock.tools.iter().find(|tool| !TOOLS.contains(&tool.name.as_str())) {
            let why = format!("{:?} is no program of slipway's", tool.name);
            return Err(LockError::Malformed { path: path.to_owned(), why });
        }
        if let Some(package) = lock.all_packages().find(|one| one.size > MAX_PACKAGE_BYTES) {
            let (name, size) = (package.nevra(), package.size);
            let why = format!("{name} is said to have {size} bytes, which no package has");
            return Err(LockError::Malformed { path: path.to_owned(), why });
        }
        Ok(lock)
    }

    /// Refuses a lock, read from `path`, that was made for something else
    /// than `recipe` now says.
    pub fn check_fits(&self, recipe: &Recipe, path: &Path) -> Result<(), LockError> {
        let stale = |why: &str| LockError::Stale { path: path.to_owned(), why: why.to_owned() };
        if self.recipe.name != recipe.name.as_str() {
            return Err(stale(&format!("it is for {:?}", self.recipe.name)));
        }
        if self.recipe.inputs != recipe.inputs_digest() {
            return Err(stale("its repositories, keys, packages or stub have changed"));
        }
        let known: BTreeSet<&str> = recipe.repositories.iter().map(|one| one.id.as_str()).collect();
        let parts = self.parts.iter().map(|part| &part.package);
        match self
            .packages
            .iter()
            .chain(parts)
            .find(|package| !known.contains(&*package.repository))
        {
            Some(package) => Err(stale(&format!("{} is from no repository of it", package.name))),
            None => Ok(()),
        }
    }

    /// Refuses tools in `folder` other than those that were locked.
    pub fn check_tools(&self, folder: &Path, path: &Path) -> Result<(), LockError> {
        let found = tools_in(folder)?;
        let changed = found.iter().find(|tool| !self.tools.contains(tool));
        match changed {
            None if found.len() == self.tools.len() => Ok(()),
            changed => {
                let name = changed.map_or("the set of tools", |tool| &tool.name);
                let why = format!("{name} in {} is another one", folder.display());
                Err(LockError::Stale { path: path.to_owned(), why })
            }
        }
    }

    /// The package that has this role.
    #[must_use]
    pub fn part(&self, role: &str) -> Option<&LockedPackage> {
        self.parts.iter().find(|part| part.role == role).map(|part| &part.package)
    }

    /// Every package file that the lock names, installed or not.
    pub fn all_packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().chain(self.parts.iter().map(|part| &part.package))
    }

    /// Writes the lock to `path` at once or not at all, and not if the file
    /// already says the same. Returns whether it was written.
    pub fn save(&self, path: &Path) -> Result<bool, LockError> {
        write::save(&self.to_string(), path)
    }
}

/// The tools in `folder`, for the lock.
pub fn tools_in(folder: &Path) -> Result<Vec<LockedTool>, LockError> {
    let tool = |name: &str| {
        let path = folder.join(name);
        let bytes = fs::read(&path).map_err(|source| LockError::Tool { path, source })?;
        let (size, sha256) = (bytes.len() as u64, Digest::of(&bytes));
        Ok(LockedTool { name: name.to_owned(), size, sha256 })
    };
    TOOLS.into_iter().map(tool).collect()
}
