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
use crate::fetch::FetchErrors;
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
    #[error(
        "{0} holds neither a bundle nor inputs.tar: it is not the folder of an image that slipway \
         built"
    )]
    NoImage(PathBuf),
    /// An image without signatures.
    #[error(
        "{0} has no bundle, as it was built with --disk-only, so there are no signatures to \
         verify: build it without --disk-only, or build it twice that way and hold the two \
         folders against each other with `slipway compare`"
    )]
    NoBundle(PathBuf),
    /// There is more than one file it could be.
    #[error("{0} holds several bundles, and slipway makes one: leave only that of the image")]
    ManyBundles(PathBuf),
    /// The image was built before inputs were kept.
    #[error(
        "{0} holds no inputs.tar: it was built by a slipway that did not keep what an image is \
         built from"
    )]
    NoInputs(PathBuf),
    /// The frame of the bundle is damaged.
    #[error("{0} has no trust root and signatures where a bundle has them")]
    BadBundle(PathBuf),
    /// It is not signed by whom it should be.
    #[error(
        "the signatures of {bundle} are refused: {why}; nothing was built. Get the image again, \
         or name the trust root it was signed under with --root"
    )]
    Signatures {
        /// The bundle.
        bundle: PathBuf,
        /// Why.
        why: String,
    },
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
    #[error("the image has no repository {id:?}; it has {}", .known.join(", "))]
    NoRepository {
        /// What was asked for.
        id: String,
        /// Ids of those it has.
        known: Vec<String>,
    },
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
    /// Its packages. They are the original's, so a newer lock would not help.
    #[error(
        "{0}\nif the repository is elsewhere now, name that place with --repository ID=PLACE; a \
         store that has the packages is named with --store"
    )]
    Packages(FetchErrors),
    /// Building.
    #[error(transparent)]
    Build(BuildError),
    /// Comparing.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

impl From<BuildError> for RebuildError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Fetch(errors) => Self::Packages(errors),
            other => Self::Build(other),
        }
    }
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
    /// Nothing if it is the same, bit for bit.
    pub differences: Vec<Difference>,
}

impl Rebuild<'_> {
    /// Checks the signatures, builds and compares.
    pub fn run(self) -> Result<Rebuilt, RebuildError> {
        let signing = self.signing()?;
        let unpacked = Unfinished::scratch(self.out)
            .map_err(|source| RebuildError::Io { path: self.out.into(), source })?;
        let (recipe, lock) = self.inputs(unpacked.path())?;
        let io = |source| RebuildError::Io { path: self.store.root().into(), source };
        let vendored = vendor::tools_of(self.store, &lock.tools).map_err(io)?;
        let tools = vendored.as_ref().map_or(self.tools, Unfinished::path);
        check_tools(&lock, tools)?;
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
        let differences = compare_images::compare(self.folder, &built.folder)?;
        Ok(Rebuilt { folder: built.folder, differences })
    }

    /// Recipe and lock as they were.
    fn inputs(&self, into: &Path) -> Result<(Recipe, Lock), RebuildError> {
        let archive = self.folder.join(report::INPUTS_FILE);
        if !archive.is_file() {
            return Err(RebuildError::NoInputs(self.folder.into()));
        }
        inputs::unpack(&archive, into)?;
        let recipe = Recipe::load_carried(&into.join(inputs::RECIPE_FILE));
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
            let known = || recipe.repositories.iter().map(|one| one.id.to_string()).collect();
            let missing = RebuildError::NoRepository { id: id.clone(), known: known() };
            let repository = recipe.repositories.iter_mut().find(|one| one.id.as_str() == id);
            let repository = repository.ok_or(missing)?;
            // The one that was asked for comes first; the others stay behind it.
            let before = std::mem::replace(&mut repository.place, place.clone());
            repository.mirrors.insert(0, before);
        }
        if self.offline {
            recipe.go_offline();
        }
        Ok((recipe, lock))
    }

    /// The signatures of the original, which are those of whom is trusted.
    fn signing(&self) -> Result<Signing, RebuildError> {
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
        verify(self.trusted.clone(), chain, &manifest, &signatures)
            .map_err(|why| RebuildError::Signatures { bundle: path.clone(), why })?;
        Ok(Signing::given(signatures, root, version))
    }

    fn bundle(&self) -> Result<PathBuf, RebuildError> {
        let read = |source| RebuildError::Io { path: self.folder.into(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "bundle") {
                found.push(path);
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(RebuildError::ManyBundles(self.folder.into())),
            (None, _) if self.folder.join(report::INPUTS_FILE).is_file() => {
                Err(RebuildError::NoBundle(self.folder.into()))
            }
            (None, _) => Err(RebuildError::NoImage(self.folder.into())),
        }
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

#[cfg(test)]
mod tests {
    use formats::archive;

    use super::*;
    use crate::fetch;
    use crate::fixture::Fixture;
    use crate::keys;

    /// The folder of an image with nothing in its bundle but what is signed.
    fn image(folder: &Path, signing: &Signing, manifest: &[u8], signed: &[u8]) -> PathBuf {
        let image = folder.join("image-1");
        fs::create_dir_all(&image).expect("made");
        fs::write(image.join(report::INPUTS_FILE), "").expect("written");
        let mut bundle = Vec::new();
        for (name, bytes) in [
            ("manifest.json", manifest.to_vec()),
            ("signatures.json", signing.signatures(signed)),
            ("root/1.json", signing.root.clone()),
        ] {
            bundle.extend(archive::header(name, bytes.len() as u64).expect("short"));
            bundle.extend(&bytes);
            let padding = archive::padding(bytes.len() as u64);
            bundle.extend(vec![0; usize::try_from(padding).expect("short")]);
        }
        fs::write(image.join("image_1.bundle"), bundle).expect("written");
        image
    }

    fn keys_in(folder: PathBuf) -> (Signing, Root) {
        keys::create(&folder).expect("new");
        let signing = Signing::load(&folder).expect("just made");
        let root = Root::first(&signing.root).expect("self-signed");
        (signing, root)
    }

    /// Puts an archive of one file there, and a link.
    fn put_inputs(image: &Path, recipe: &str, link: Option<(&str, &Path)>) {
        let out = File::create(image.join(report::INPUTS_FILE)).expect("made");
        let mut tar = tar::Builder::new(out);
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some((name, target)) = link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, target).expect("added");
        }
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(recipe.len() as u64);
        tar.append_data(&mut header, inputs::RECIPE_FILE, recipe.as_bytes()).expect("added");
        tar.finish().expect("written");
    }

    #[test]
    fn inputs_do_not_reach_what_is_outside_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (signing, root) = keys_in(folder.join("keys"));
        let image = image(folder, &signing, b"{}", b"{}");
        let secret = folder.join("secret");
        fs::create_dir(&secret).expect("made");
        fs::write(secret.join("file"), "the secret").expect("written");
        let said = || rebuild(folder, &image, &root).expect_err("refused").to_string();
        fs::create_dir(folder.join("out")).expect("made");
        for path in [
            secret.display().to_string(),
            "../../secret".to_owned(),
            "overlay/../../../secret".to_owned(),
        ] {
            let overlay = format!("root.overlay = [\"{path}\"]");
            let key = format!("[[repository]]\nkeys = [\"{path}/file\"]");
            let pinned = format!("[[repository]]\nkeys = [{{ path = \"{path}/file\" }}]");
            for recipe in [overlay, key, pinned] {
                put_inputs(&image, &recipe, None);
                let said = said();
                assert!(said.contains("leads out of the recipe's folder"), "{recipe}: {said}");
                assert!(said.contains("inputs.tar"), "{said}");
            }
            put_inputs(&image, &format!("extends = [\"{path}/file\"]"), None);
            let said = said();
            assert!(said.contains("extends nothing") && !said.contains("the secret"), "{said}");
        }
        for name in ["overlay/0", "keys", "keys/k", "lock.toml"] {
            put_inputs(&image, "root.overlay = [\"overlay/0\"]", Some((name, &secret)));
            let said = said();
            assert!(said.contains(&format!("inputs.tar: {name} is a link")), "{said}");
        }
    }

    fn rebuild(folder: &Path, image: &Path, trusted: &Root) -> Result<Rebuilt, RebuildError> {
        Rebuild {
            folder: image,
            trusted: trusted.clone(),
            places: &[],
            offline: true,
            store: &Store::open(folder.join("store")).expect("a store"),
            tools: folder,
            out: &folder.join("out"),
            progress: &Progress::Quiet,
        }
        .run()
    }

    #[test]
    fn a_newer_lock_is_no_advice_to_whom_rebuilds() {
        let fixture = Fixture::new();
        let lock = fixture.lock().expect("solvable");
        fs::remove_file(fixture.package_file("lib")).expect("removed");
        let (recipe, store) = (fixture.recipe(), fixture.store());
        let missing =
            || fetch::packages(&lock, &recipe, &store, &Progress::Quiet).expect_err("gone");
        let text = BuildError::from(missing()).to_string();
        assert!(text.contains("gone from the repository") && text.contains("lock again"), "{text}");
        let text = RebuildError::from(BuildError::from(missing())).to_string();
        assert!(text.contains("--repository ID=PLACE") && !text.contains("lock again"), "{text}");
    }

    #[test]
    fn signatures_are_refused_before_anything_else_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (signing, root) = keys_in(folder.join("keys"));
        let (_, other) = keys_in(folder.join("other-keys"));
        let good = image(folder, &signing, b"{}", b"{}");
        // The empty inputs are what it comes to.
        let error = rebuild(folder, &good, &root).expect_err("no inputs");
        assert!(!matches!(error, RebuildError::Signatures { .. }), "{error}");
        let error = rebuild(folder, &good, &other).expect_err("signed by others");
        assert!(matches!(error, RebuildError::Signatures { .. }), "{error}");
        let changed = image(folder, &signing, b"{ }", b"{}");
        let error = rebuild(folder, &changed, &root).expect_err("another manifest");
        let text = error.to_string();
        assert!(text.contains("image_1.bundle are refused: "), "{text}");
        assert!(!folder.join("out").exists(), "nothing was to be built");
    }

    #[test]
    fn what_has_no_signatures_is_called_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (signing, root) = keys_in(folder.join("keys"));
        let image = image(folder, &signing, b"{}", b"{}");
        let said = || rebuild(folder, &image, &root).expect_err("refused").to_string();
        fs::copy(image.join("image_1.bundle"), image.join("another.bundle")).expect("copied");
        assert!(said().contains("several bundles"), "{}", said());
        for bundle in ["image_1.bundle", "another.bundle"] {
            fs::remove_file(image.join(bundle)).expect("removed");
        }
        assert!(said().contains("--disk-only"), "{}", said());
        fs::remove_file(image.join(report::INPUTS_FILE)).expect("removed");
        assert!(said().contains("not the folder of an image"), "{}", said());
    }
}
