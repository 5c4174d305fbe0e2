//! A recipe: what an image is made of, read from TOML with every mistake
//! reported at once. The types here hold only what is possible; a recipe that
//! was loaded needs no further checks.

mod document;
mod fields;
mod flat;
#[doc(hidden)]
pub mod fuzzing;
mod package_pattern;
mod read;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod words;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::{Digest, Hasher};

use crate::archive::Archive;
use crate::diagnose::Problems;
use crate::disk::format::DiskFormat;
use crate::package::Phase;
use crate::rootfs::FileSystem;
pub use flat::FlatRecipe;
pub use package_pattern::PackagePattern;
pub use schema::SCHEMA;
pub use snapshot::Snapshot;
pub use words::{
    Arch, Fingerprint, ImageName, ImagePath, ImageVersion, Mode, ModuleName, Pattern, Product,
    RepositoryId, Requirement,
};

/// Everything that says what an image is, fragments merged in.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The file it was loaded from.
    pub path: PathBuf,
    /// Name of the image.
    pub name: ImageName,
    /// Version of the image.
    pub version: ImageVersion,
    /// What an update must match to be taken.
    pub product: Product,
    /// Security epoch: an image of a lower one is never accepted again.
    pub epoch: NonZeroU32,
    /// The processor.
    pub arch: Arch,
    /// Where packages come from, the preferred first.
    pub repositories: Vec<Repository>,
    /// If given, packages that were built after that day do not count.
    pub snapshot: Option<Snapshot>,
    /// Which packages.
    pub packages: Packages,
    /// What is done to the tree after the packages are unpacked.
    pub root: Root,
    /// The kernel and how it starts.
    pub boot: Boot,
    /// When a boot counts as good.
    pub health: Health,
    /// Paths below `/etc` that live on across versions.
    pub persist: Vec<ImagePath>,
    /// Sizes of the partitions, and kinds of disk file.
    pub disk: Disk,
    /// All of it as one file and what belongs beside it.
    pub flat: FlatRecipe,
}

/// A repository of packages.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its short name.
    pub id: RepositoryId,
    /// The address as written, without a password: what the lock holds.
    pub url: String,
    /// Where that is.
    pub place: RepositoryPlace,
    /// Where the same files are as well, the preferred first.
    pub mirrors: Vec<RepositoryPlace>,
    /// The keys that its metadata and packages must be signed by.
    pub keys: Vec<KeyFile>,
    /// If not empty, only these packages are taken from it.
    pub only: Vec<PackagePattern>,
    /// Packages that are not taken from it.
    pub exclude: Vec<PackagePattern>,
    /// 1 to 99: while it has a package, repositories of a higher number are
    /// not asked for it.
    pub priority: u32,
    /// Of two equal packages the one of the lower cost is taken.
    pub cost: u32,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryPlace {
    /// `http://` or `https://`, without a slash at the end.
    Http(String),
    /// A folder of this machine.
    Folder(PathBuf),
    /// A URL that must not be asked; see [`Recipe::go_offline`].
    Offline(String),
}

/// A file of OpenPGP public keys.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its contents, armoured or binary.
    pub bytes: Vec<u8>,
    /// If given, only this key of the file is trusted.
    pub fingerprint: Option<Fingerprint>,
}

/// Which packages an image has.
#[derive(Debug, Clone)]
pub struct Packages {
    /// What is asked for, sorted, without repetitions.
    pub install: Vec<Requirement>,
    /// Whether files marked as documentation are installed.
    pub docs: bool,
    /// Languages whose files are installed; all if there is no list.
    pub languages: Option<Vec<String>>,
    /// Scripts that are not run: name of the package, and phase.
    pub skip_scripts: Vec<(String, Phase)>,
    /// Whether the image has rpm's database of them.
    pub database: bool,
    /// Packages never chosen, sorted, without repetitions.
    pub exclude: Vec<PackagePattern>,
    /// Whether packages are taken that others only recommend.
    pub weak: bool,
}

/// What is done to the tree after the packages are unpacked: overlays in order,
/// then files in order; removals last, once the kernel and its modules are had.
#[derive(Debug, Clone, Default)]
pub struct Root {
    /// Paths removed.
    pub exclude: Vec<Pattern>,
    /// Folders laid over the tree; everything in them belongs to root.
    pub overlay: Vec<PathBuf>,
    /// Single files and links.
    pub files: Vec<RootFile>,
    /// What the tree is written as.
    pub filesystem: FileSystem,
    /// What else it is handed over as, sorted, without repetitions.
    pub archives: Vec<Archive>,
}

/// A file or link that the recipe itself writes.
#[derive(Debug, Clone)]
pub struct RootFile {
    /// Where it lies in the image.
    pub path: ImagePath,
    /// What it is.
    pub content: RootContent,
}

/// What a file of the recipe is.
#[derive(Debug, Clone)]
pub enum RootContent {
    /// A regular file owned by root.
    File {
        /// Its bytes.
        content: String,
        /// Its permissions.
        mode: Mode,
    },
    /// A symbolic link to this target.
    Link(String),
}

/// The kernel and how it starts.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Where the EFI stub of the UKI comes from.
    pub stub: Stub,
    /// Matches exactly one path of the tree.
    pub kernel: Pattern,
    /// Modules the initrd loads; what they depend on is found by the builder.
    pub modules: Vec<ModuleName>,
    /// Kernel command line, without what the builder adds.
    pub cmdline: String,
    /// The program that becomes PID 1 of the image.
    pub init: ImagePath,
}

/// A file of a package that is taken apart only, not installed.
#[derive(Debug, Clone)]
pub struct Stub {
    /// The package.
    pub package: Requirement,
    /// The file in it.
    pub path: ImagePath,
}

/// When a boot counts as good.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Until then the health gate must be reached: 5 to 3,600 seconds.
    pub timeout: Duration,
    /// Boots a new version has: 1 to 7.
    pub tries: u8,
}

/// Sizes of the partitions, in MiB, and the files the disk is handed over as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// EFI system partition.
    pub esp_mib: u32,
    /// Each slot's kernel image.
    pub uki_mib: u32,
    /// Each slot's root file system.
    pub root_mib: u32,
    /// Each slot's hash tree.
    pub verity_mib: u32,
    /// The data partition as built; it grows on first boot.
    pub data_mib: u32,
    /// Kinds of disk file, sorted, without repetitions; at least one.
    pub formats: Vec<DiskFormat>,
}

impl Recipe {
    /// Reads the recipe at `path`, all it extends and all keys it names.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        read::recipe(path)
    }

    /// Reads somebody else's recipe at `path`, as [`FlatRecipe`] is written.
    /// Repositories may be anywhere, as what comes of them is checked by the
    /// lock; keys and overlays are beside it or refused.
    pub fn load_carried(path: &Path) -> Result<Self, Problems> {
        read::carried_recipe(path)
    }

    /// Takes every server out of it: what is not at hand is then an error that
    /// names it, and no connection is ever opened.
    pub fn go_offline(&mut self) {
        for repository in &mut self.repositories {
            let url = repository.url.trim_end_matches('/').to_owned();
            if matches!(repository.place, RepositoryPlace::Http(_)) {
                repository.place = RepositoryPlace::Offline(url);
            }
            repository.mirrors.retain(|place| !matches!(place, RepositoryPlace::Http(_)));
        }
    }

    /// Digest of everything that decides which packages are chosen: the
    /// repositories with the contents of their keys, the packages asked for
    /// and excluded, the stub's package, the architecture. A lock made for
    /// other inputs is stale; version, boot and disk may change without.
    #[must_use]
    pub fn inputs_digest(&self) -> Digest {
        let mut inputs = Inputs(Hasher::new());
        inputs.add("slipway recipe inputs", &["1"]);
        inputs.add("arch", &[self.arch.as_str()]);
        for repository in &self.repositories {
            inputs.add("repository", &[repository.id.as_str(), &repository.url]);
            let keys = repository.keys.iter().map(KeyFile::identity);
            inputs.add("keys", &keys.collect::<Vec<_>>());
            inputs.add("only", &patterns(&repository.only));
            // What is as if it were not there does not make old locks stale.
            if !repository.exclude.is_empty() {
                inputs.add("not", &patterns(&repository.exclude));
            }
            let preference = [repository.priority.to_string(), repository.cost.to_string()];
            if preference != ["99", "1000"] {
                inputs.add("preference", &preference);
            }
        }
        inputs.add("install", &texts(&self.packages.install));
        inputs.add("exclude", &patterns(&self.packages.exclude));
        if self.packages.weak {
            inputs.add("weak", &["true"]);
        }
        if let Some(day) = &self.snapshot {
            inputs.add("snapshot", &[day.as_str()]);
        }
        inputs.add("stub", &[self.boot.stub.package.as_str()]);
        inputs.0.finish()
    }
}

impl KeyFile {
    fn identity(&self) -> String {
        let pinned = self.fingerprint.as_ref().map_or("", Fingerprint::as_str);
        format!("{} {pinned}", Digest::of(&self.bytes))
    }
}

fn texts(words: &[Requirement]) -> Vec<&str> {
    words.iter().map(Requirement::as_str).collect()
}

fn patterns(patterns: &[PackagePattern]) -> Vec<&str> {
    patterns.iter().map(PackagePattern::as_str).collect()
}

/// Hashes lists of texts, each with its length so that no two run together.
struct Inputs(Hasher);

impl Inputs {
    fn add<T: AsRef<str>>(&mut self, what: &str, values: &[T]) {
        self.0.update(format!("{what} {}\n", values.len()).as_bytes());
        for value in values.iter().map(AsRef::as_ref) {
            self.0.update(format!("{} {value}\n", value.len()).as_bytes());
        }
    }
}
