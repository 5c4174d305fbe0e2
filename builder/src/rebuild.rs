//! Building again what somebody else has built, from the inputs in its folder,
//! and comparing: the same bits, or what differs. Private keys are not needed:
//! the signatures are those of the original, held against a trust root of
//! one's own. Everything else has to come out by itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use formats::dsse::{self, MANIFEST_TYPE, pre_authentication_encoding};
use formats::trust::Root;

use crate::compare_images::{self, CompareError, Difference, Members};
use crate::image::{Build, BuildError};
use crate::inputs::{self, InputsError};
use crate::keys::Signing;
use crate::lock::{self, Lock, LockError};
use crate::progress::Progress;
use crate::recipe::{Recipe, RepositoryPlace};
use crate::report;
use crate::store::Store;
use crate::unfinished::Unfinished;
use crate::vendor;

/// Why something cannot be rebuilt at all.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A file of the folder.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is not one of an image.
    #[error("{0} holds no bundle: it is not the folder of an image that slipway built")]
    NoBundle(PathBuf),
    /// The image was built before inputs were kept.
    #[error(
        "{0} holds no inputs.tar: it was built by a slipway that did not keep what an image is \
         built from"
    )]
    NoInputs(PathBuf),
    /// The frame of the bundle is damaged.
    #[error("{0} has no trust root and signatures where a bundle has them")]
    BadBundle(PathBuf),
    /// Other boot programs would give another image.
    #[error(
        "the image was built with {name} {wanted}, and {folder} has {found}: name the folder of \
         that slipway's programs with --tools"
    )]
    OtherTool {
        /// The program.
        name: String,
        /// Its digest in the lock.
        wanted: String,
        /// What there is.
        found: String,
        /// Where.
        folder: PathBuf,
    },
    /// A repository that the recipe does not have.
    #[error("the image has no repository {0:?}")]
    NoRepository(String),
    /// What it is built from.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// The recipe in it.
    #[error("the recipe in {path} cannot be used\n{problems}")]
    Recipe {
        /// The archive.
        path: PathBuf,
        /// Why.
        problems: String,
    },
    /// Recipe and lock are not of the same image.
    #[error("recipe and lock in {path} do not fit each other: it was changed or damaged")]
    Torn {
        /// The archive.
        path: PathBuf,
    },
    /// The lock in it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Building.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Comparing.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// What is to be built again.
pub struct Rebuild<'a> {
    /// The folder of the image.
    pub folder: &'a Path,
    /// Whom its signatures must be of.
    pub trusted: Root,
    /// Other places of its repositories: id and place.
    pub places: &'a [(String, RepositoryPlace)],
    /// Whether servers may be asked.
    pub offline: bool,
    /// Where packages are, or are put.
    pub store: &'a Store,
    /// Folder of slipway's own programs.
    pub tools: &'a Path,
    /// Where it is built again.
    pub out: &'a Path,
    /// How long work shows itself.
    pub progress: &'a Progress,
}

/// What has come of it.
#[derive(Debug, serde::Serialize)]
pub struct Rebuilt {
    /// The folder that was built.
    pub folder: PathBuf,
    /// Nothing if it is the same, bit for bit, and rightly signed.
    pub differences: Vec<Difference>,
}

impl Rebuild<'_> {
    /// Builds and compares.
    pub fn run(self) -> Result<Rebuilt, RebuildError> {
        let unpacked = Unfinished::scratch(self.out)
            .map_err(|source| RebuildError::Io { path: self.out.into(), source })?;
        let (recipe, lock) = self.inputs(unpacked.path())?;
        let io = |source| RebuildError::Io { path: self.store.root().into(), source };
        let vendored = vendor::tools_of(self.store, &lock.tools).map_err(io)?;
        let tools = vendored.as_ref().map_or(self.tools, Unfinished::path);
        check_tools(&lock, tools)?;
        let (signing, fault) = self.signing()?;
        let built = Build {
            recipe: &recipe,
            lock: &lock,
            store: self.store,
            tools,
            signing: &signing,
            bundle: true,
            again: true,
            out: self.out,
            progress: self.progress,
        }
        .run()?;
        let mut differences = compare_images::compare(self.folder, &built.folder)?;
        differences.splice(0..0, fault);
        Ok(Rebuilt { folder: built.folder, differences })
    }

    /// Recipe and lock as they were.
    fn inputs(&self, into: &Path) -> Result<(Recipe, Lock), RebuildError> {
        let archive = self.folder.join(report::INPUTS_FILE);
        if !archive.is_file() {
            return Err(RebuildError::NoInputs(self.folder.into()));
        }
        inputs::unpack(&archive, into)?;
        let recipe = Recipe::load(&into.join(inputs::RECIPE_FILE));
        let mut recipe = recipe.map_err(|problems| RebuildError::Recipe {
            path: archive.clone(),
            problems: problems.to_string(),
        })?;
        let lock_path = into.join(inputs::LOCK_FILE);
        let lock = Lock::load(&lock_path)?;
        if lock.check_fits(&recipe, &lock_path).is_err() {
            return Err(RebuildError::Torn { path: archive });
        }
        for (id, place) in self.places {
            let repository = recipe.repositories.iter_mut().find(|one| one.id.as_str() == id);
            let repository = repository.ok_or_else(|| RebuildError::NoRepository(id.clone()))?;
            // The one that was asked for comes first; the others stay behind it.
            let before = std::mem::replace(&mut repository.place, place.clone());
            repository.mirrors.insert(0, before);
        }
        if self.offline {
            recipe.go_offline();
        }
        Ok((recipe, lock))
    }

    /// The signatures of the original, and what is wrong with them. What they
    /// do not fit is compared all the same.
    fn signing(&self) -> Result<(Signing, Option<Difference>), RebuildError> {
        let path = self.bundle()?;
        let read = |source| RebuildError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(read)?;
        let members = Members::read(&file).map_err(read)?;
        let bad = || RebuildError::BadBundle(path.clone());
        let manifest = members.small("manifest.json").ok_or_else(bad)?;
        let signatures = members.small("signatures.json").ok_or_else(bad)?;
        let mut versions: Vec<u32> = members
            .names()
            .filter_map(|name| name.strip_prefix("root/")?.strip_suffix(".json")?.parse().ok())
            .collect();
        versions.sort_unstable();
        let version = *versions.last().ok_or_else(bad)?;
        let root = members.small(&format!("root/{version}.json")).ok_or_else(bad)?;
        let chain = versions.iter().filter_map(|version| {
            Some((*version, members.small(&format!("root/{version}.json"))?))
        });
        let verified = verify(self.trusted.clone(), chain, &manifest, &signatures);
        let fault = verified.err().map(|why| Difference::new("signatures", why));
        Ok((Signing::given(signatures, root, version), fault))
    }

    fn bundle(&self) -> Result<PathBuf, RebuildError> {
        let read = |source| RebuildError::Io { path: self.folder.into(), source };
        for entry in fs::read_dir(self.folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "bundle") {
                return Ok(path);
            }
        }
        Err(RebuildError::NoBundle(self.folder.into()))
    }
}

/// Follows the chain of roots as far as it goes, as an installer does.
fn verify(
    trusted: Root,
    chain: impl Iterator<Item = (u32, Vec<u8>)>,
    manifest: &[u8],
    signatures: &[u8],
) -> Result<(), String> {
    let mut root = trusted;
    for (version, bytes) in chain {
        if version > root.version() {
            root = root.advance(&bytes).map_err(|error| error.to_string())?;
        }
    }
    let signatures = dsse::parse(signatures).map_err(|error| error.to_string())?;
    let message = pre_authentication_encoding(MANIFEST_TYPE, manifest);
    root.verify_targets(&message, &signatures).map_err(|error| error.to_string())
}

fn check_tools(lock: &Lock, folder: &Path) -> Result<(), RebuildError> {
    let there = lock::tools_in(folder)?;
    for wanted in &lock.tools {
        let found = there.iter().find(|tool| tool.name == wanted.name);
        if found != Some(wanted) {
            return Err(RebuildError::OtherTool {
                name: wanted.name.clone(),
                wanted: wanted.sha256.to_string(),
                found: found.map_or("none".to_owned(), |tool| tool.sha256.to_string()),
                folder: folder.to_owned(),
            });
        }
    }
    Ok(())
}
