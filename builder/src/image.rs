//! From a lock to an image: the one module that calls each step in order.
//!
//! ```text
//! fetch ─▶ compose ─▶ erofs ─▶ verity ─▶ UKI ─▶ bundle, disk, documents ─▶ DIR/<name>-<version>/
//! ```
//!
//! Everything is made in a folder beside its destination and moved there at the
//! end, so that what is there is always whole.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use formats::gpt::Gpt;
use formats::guid::Guid;
use formats::manifest::{FORMAT, Manifest, Payloads};
use formats::state::{SlotState, State, Status};
use formats::text::{Product, Version};
use formats::uki_header::UkiHeader;
use formats::verity::SALT_BYTES;
use formats::{DataSchema, Digest, Release, Slot};

use crate::bundle::{self, Span};
use crate::compose::{self, Composed, InstalledPackage, Runners};
use crate::disk::{self, DiskError};
use crate::engines::{LazySandbox, Lua};
use crate::fetch;
use crate::flushing::Flusher;
use crate::guest::{self, Tools};
use crate::hashing::{HashTree, HashingWriter};
use crate::initrd;
use crate::inputs;
use crate::kernel::{self, Kernel};
use crate::keys::Signing;
use crate::lock::{Lock, LockedPackage};
use crate::memory;
use crate::outputs;
use crate::package::{Package, PackageError};
use crate::parallel;
use crate::progress::{self, Progress, Step, Unit};
use crate::recipe::{Pattern, Recipe};
use crate::region::Region;
use crate::report;
use crate::rootfs::{self, RootError};
use crate::rpmdb::{self, Installed, Transaction};
use crate::staging::Staging;
use crate::store::Store;
use crate::tree::{Content, Tree};
use crate::uki::{self, UkiParts};
use crate::unchanged;

mod error;

pub use error::BuildError;

/// Layout of the data partition that this release of the guest makes and reads.
const DATA_SCHEMA: DataSchema = DataSchema { min: 1, max: 1 };
/// What every image's command line has. A panic reboots into the next try
/// after ten seconds; `gpt` lets Linux use the backup table; systemd leaves the
/// root to slipway-init, and would wait for devices of its own otherwise.
const CMDLINE: &str = "panic=10 gpt systemd.gpt_auto=0 systemd.verity=no";

/// Files that all packages of an image may have together. Each takes about 570
/// bytes of the 256 MiB that a build may hold (`ci bench scale`), and past
/// 262,144 of them tables double. What is held grows with nothing else.
const MAX_FILES: usize = 250_000;

/// Everything a build works from.
pub struct Build<'a> {
    /// what is wanted
    pub recipe: &'a Recipe,
    /// exactly which packages
    pub lock: &'a Lock,
    /// where they are, or are put
    pub store: &'a Store,
    /// folder of slipway-boot.efi, slipway-init and slipway-agent
    pub tools: &'a Path,
    /// what signs the bundle
    pub signing: &'a Signing,
    /// where the image's folder is made
    pub out: &'a Path,
    /// whether an update bundle is made too, which takes longer than all else
    pub bundle: bool,
    /// whether it is built even if that gives what is there already
    pub again: bool,
    /// how long work shows itself
    pub progress: &'a Progress,
}

/// What a build has made.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Built {
    /// the image's folder
    pub folder: PathBuf,
    /// the disk of a new machine, in the first of the formats
    pub disk: PathBuf,
    /// the same disk in every format the recipe names
    pub disks: Vec<PathBuf>,
    /// the tree as archives
    pub archives: Vec<PathBuf>,
    /// the update bundle, if one was made
    pub bundle: Option<PathBuf>,
    /// dm-verity root hash
    pub root_hash: Digest,
    /// digest of the manifest that was signed
    pub manifest_sha256: Option<Digest>,
    /// scriptlets that were left out because the recipe says so
    pub scriptlets_not_run: Vec<String>,
    /// scriptlets that failed where rpm goes on, each with its exit status and
    /// what it said last
    pub scriptlets_failed: Vec<String>,
}

/// The root file system, which lies on the disk, and what follows from it.
struct Root<'d> {
    region: Region<'d>,
    spans: Vec<Span>,
    verity: HashTree,
}

/// The disk while it is being written.
#[derive(Clone, Copy)]
struct Disk<'d> {
    file: &'d File,
    flusher: &'d Flusher,
    path: &'d Path,
}

/// What a disk is made of.
struct Ingredients<'a> {
    root: &'a Root<'a>,
    uki: &'a [u8],
    boot: &'a [u8],
    time: u64,
}

/// The names the image goes by.
struct Names {
    version: Version,
    product: Product,
}

impl Build<'_> {
    /// Builds the image.
    pub fn run(&self) -> Result<Built, BuildError> {
        if self.recipe.arch != crate::recipe::Arch::X86_64 {
            return Err(BuildError::Arch(self.recipe.arch));
        }
        let opened = self.fetch()?;
        let name = format!("{}-{}", self.recipe.name.as_str(), self.recipe.version.as_str());
        let identity = unchanged::identity(
            self.recipe,
            self.lock,
            self.signing,
            self.bundle,
            self.store.damage_seen()?,
        )?;
        if !self.again
            && let Some(built) = unchanged::find(&self.out.join(&name), identity)
        {
            self.progress.note("nothing has changed since it was built");
            return Ok(built);
        }
        let folder = self.out.join(&name);
        if !self.bundle && folder.join(self.bundle_name()).exists() {
            return Err(BuildError::WouldLoseBundle { folder });
        }
        let names = self.names()?;
        let tools = Tools::load(self.tools)?;
        let staging = Staging::new(self.out, &name)
            .map_err(|source| self.failed("make a folder in", self.out, source))?;
        let (composed, time) = self.compose(&tools, &staging, opened)?;
        let mut tree = composed.tree;
        if self.recipe.packages.database {
            self.package_database(&mut tree, &composed.installed, time, &staging)?;
        }
        let kernel = kernel::gather(&tree, self.recipe)?;
        let exclude: Vec<&str> = self.recipe.root.exclude.iter().map(Pattern::as_str).collect();
        tree.exclude(&exclude)?;

        let disk_path = outputs::raw_disk(self.recipe, &staging);
        let io = |source| self.failed("write", &disk_path, source);
        let file = disk::create(&self.sizes(), &disk_path).map_err(io)?;
        let flusher = Flusher::start(&file).map_err(io)?;
        let disk = Disk { file: &file, flusher: &flusher, path: &disk_path };
        let root = self.root(&tree, time, &names, &staging, disk)?;
        let uki = self.uki(&tree, &kernel, &tools, &root)?;
        let release = self.release(&names, root.verity.root_hash);
        let signed = match self.bundle {
            true => Some(self.bundle(&names, &release, &root, &uki, &staging)?),
            false => None,
        };
        let seed = seed(names.product, &release);
        let gpt = disk::layout(&self.sizes(), &seed);
        let ingredients = Ingredients { root: &root, uki: &uki, boot: &tools.boot, time };
        let scratch = staging.scratch("data.ext4");
        self.disk(&names, release, &ingredients, &gpt, disk, &scratch)?;
        outputs::disks(self.recipe, &disk_path, &seed, &staging)?;
        outputs::archives(self.recipe, &tree, time, &staging)?;
        for (file, bytes) in report::documents(signed.as_deref(), self.lock, &gpt) {
            let path = staging.path(file);
            fs::write(&path, bytes).map_err(|source| self.failed("write", &path, source))?;
        }
        inputs::write_archive(self.recipe, self.lock, &staging.path(report::INPUTS_FILE))?;
        flusher.finish().map_err(io)?;
        drop(file);
        let folder = staging
            .publish()
            .map_err(|source| self.failed("move the image to", &self.out.join(&name), source))?;
        let disks: Vec<_> =
            outputs::disk_files(self.recipe).map(|file| folder.join(file)).collect();
        let built = Built {
            disk: disks.first().cloned().unwrap_or_default(),
            disks,
            archives: outputs::archive_files(self.recipe).map(|file| folder.join(file)).collect(),
            bundle: self.bundle.then(|| folder.join(self.bundle_name())),
            folder,
            root_hash: release.root_hash,
            manifest_sha256: signed.as_deref().map(Digest::of),
            scriptlets_not_run: shown(&composed.report.skipped),
            scriptlets_failed: shown(&composed.report.failed),
        };
        unchanged::note(identity, &built);
        Ok(built)
    }

    fn failed(&self, what: &'static str, path: &Path, source: io::Error) -> BuildError {
        BuildError::Io { what, path: path.into(), source }
    }

    fn bundle_name(&self) -> String {
        format!("{}_{}.bundle", self.recipe.name.as_str(), self.recipe.version.as_str())
    }

    fn names(&self) -> Result<Names, BuildError> {
        let (version, product) = (self.recipe.version.as_str(), self.recipe.product.as_str());
        let text = |what, value: &str| BuildError::Text { what, value: value.into() };
        Ok(Names {
            version: version.parse().map_err(|_| text("version", version))?,
            product: product.parse().map_err(|_| text("product", product))?,
        })
    }

    fn open_package(&self, package: &LockedPackage) -> Result<Package, BuildError> {
        let digest = &package.sha256;
        let opened = Package::open(&self.store.blob_path(digest), &self.store.payload_path(digest));
        Ok(opened.map_err(|error| error.of(package.nevra()))?)
    }

    /// Brings every package into the store. Those that come in are unpacked
    /// while others are still on their way, and given back.
    fn fetch(&self) -> Result<HashMap<Digest, Package>, BuildError> {
        let opened = Mutex::new(HashMap::new());
        let open = |package: &LockedPackage| {
            // one that cannot be is opened again when it is needed, and refused
            if let Ok(one) = self.open_package(package) {
                let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                opened.insert(package.sha256, one);
            }
        };
        fetch::packages_then(self.lock, self.recipe, self.store, self.progress, &open)?;
        Ok(opened.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Unpacks what was not unpacked before, on every core, the largest first.
    fn open_packages(
        &self,
        step: &Step,
        mut opened: HashMap<Digest, Package>,
    ) -> Result<Vec<Package>, BuildError> {
        let locked = &self.lock.packages;
        let mut packages: Vec<Option<Package>> =
            locked.iter().map(|package| opened.remove(&package.sha256)).collect();
        let mut order: Vec<usize> =
            (0..locked.len()).filter(|at| packages[*at].is_none()).collect();
        step.advance((locked.len() - order.len()) as u64);
        order.sort_by_key(|at| std::cmp::Reverse(locked[*at].size));
        let opened = parallel::map(&order, |at| {
            let opened = self.open_package(&locked[*at]);
            step.advance(1);
            opened
        });
        for (at, package) in order.into_iter().zip(opened) {
            packages[at] = Some(package?);
        }
        Ok(packages.into_iter().flatten().collect())
    }

    /// The tree of all packages, with the recipe's own files and the guest's
    /// programs over it; and the image's time: that of its newest file.
    fn compose(
        &self,
        tools: &Tools,
        staging: &Staging,
        opened: HashMap<Digest, Package>,
    ) -> Result<(Composed, u64), BuildError> {
        let step = self.progress.step(
            "compose",
            self.lock.packages.len() as u64,
            Unit::Pieces("packages"),
        );
        let packages = self.open_packages(&step, opened)?;
        memory::give_back();
        let count: usize = packages.iter().map(|package| package.files.len()).sum();
        if count > MAX_FILES {
            return Err(BuildError::TooManyFiles { count, most: MAX_FILES });
        }
        let files = packages.iter().flat_map(|package| &package.files);
        let time = files.map(|file| file.mtime).max().unwrap_or(0);
        let wanted = &self.recipe.packages;
        let scripts = self.lock.unaccepted(&packages, &wanted.skip_scripts);
        if !scripts.is_empty() {
            return Err(BuildError::Unaccepted { scripts });
        }
        let options = compose::Options {
            source_date_epoch: time,
            docs: wanted.docs,
            languages: wanted.languages.clone(),
            skip_scripts: wanted.skip_scripts.clone(),
        };
        let mut sandbox = LazySandbox::new(&staging.scratch(""), time);
        let runners = Runners { lua: Some(&mut Lua), sandbox: Some(&mut sandbox) };
        let mut composed = compose::compose(&packages, &options, runners)?;
        for overlay in &self.recipe.root.overlay {
            composed.tree.overlay_dir(overlay)?;
        }
        guest::add_files(&mut composed.tree, tools, self.recipe)?;
        step.outcome(composed_summary(packages.len(), &composed.report));
        Ok((composed, time))
    }

    /// Puts rpm's database into the tree, by way of a file: it may be larger
    /// than should be held in memory.
    fn package_database(
        &self,
        tree: &mut Tree,
        installed: &[InstalledPackage],
        time: u64,
        staging: &Staging,
    ) -> Result<(), BuildError> {
        let count = installed.len() as u64;
        let step = self.progress.step("package database", count, Unit::Pieces("packages"));
        let path = staging.scratch("rpmdb.sqlite");
        let io = |source| self.failed("write", &path, source);
        let packages = installed.iter().map(|one| {
            let locked = &self.lock.packages[one.package];
            step.advance(1);
            let headers = Package::headers(&self.store.blob_path(&locked.sha256))
                .map_err(|error| error.of(locked.nevra()))?;
            Ok::<_, PackageError>(Installed { headers, states: one.states.clone() })
        });
        let transaction = Transaction::new(time, self.recipe.arch.as_str());
        let file = io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io)?);
        rpmdb::write(packages, transaction, file)?;
        let size_bytes = fs::metadata(&path).map_err(io)?.len();
        let content = Content::Range { file: path.into(), offset_bytes: 0, size_bytes };
        Ok(rpmdb::install(tree, content)?)
    }

    /// Writes the root file system into its partition and computes its verity
    /// tree. The salt follows from the product and the UUIDs from product and
    /// version, so the same tree in the same version always gives the same root
    /// hash.
    fn root<'d>(
        &self,
        tree: &Tree,
        time: u64,
        names: &Names,
        staging: &Staging,
        disk: Disk<'d>,
    ) -> Result<Root<'d>, BuildError> {
        let kind = self.recipe.root.filesystem;
        let io = |source| self.failed("write", self.out, source);
        let step = self.progress.step("root", 1, Unit::Pieces("file systems"));
        let version = names.version.as_str().as_bytes();
        let uuid = Guid::derived(&[b"root", names.product.as_str().as_bytes(), version]);
        let options = rootfs::Options { id: uuid, time, scratch: &staging.scratch("") };
        let partition = disk::root_region(&self.sizes(), disk.file);
        let salt = salt(names);
        let flushing = disk.flusher.writer(partition.writer());
        let mut out = HashingWriter::new(flushing, salt, options.scratch).map_err(io)?;
        let written = rootfs::write(kind, tree, &options, &mut out);
        let spans = written.map_err(|error| match error {
            RootError::Out(source) => io(source),
            other => other.into(),
        })?;
        let (size_bytes, verity) = out.finish(Guid::derived(&[b"verity", &uuid.0])).map_err(io)?;
        disk::check_root(&self.sizes(), size_bytes)?;
        step.advance(1);
        step.outcome(format!(
            "{kind}, {}, root hash {}",
            progress::bytes(size_bytes),
            verity.root_hash
        ));
        Ok(Root { region: partition.first(size_bytes), spans, verity })
    }

    fn uki(
        &self,
        tree: &Tree,
        kernel: &Kernel,
        tools: &Tools,
        root: &Root<'_>,
    ) -> Result<Vec<u8>, BuildError> {
        let recipe = self.recipe;
        let settings = initrd::Settings {
            init: recipe.boot.init.as_str(),
            health_timeout_seconds: u32::try_from(recipe.health.timeout.as_secs())
                .unwrap_or(u32::MAX),
            version: recipe.version.as_str(),
        };
        let initrd = initrd::make(&tools.init, &kernel.modules, &settings);
        let cmdline =
            format!("roothash={} {CMDLINE} {}", root.verity.root_hash, recipe.boot.cmdline);
        let osrel = kernel::os_release(tree, recipe);
        let locked = self.lock.part("stub").ok_or(BuildError::NoStub)?;
        let stub = kernel::stub(&self.open_package(locked)?, recipe)?;
        Ok(uki::assemble(
            &stub,
            &UkiParts {
                osrel: osrel.as_bytes(),
                cmdline: cmdline.as_bytes(),
                uname: kernel.release.as_bytes(),
                initrd: &initrd,
                linux: &kernel.image,
            },
        )?)
    }

    fn release(&self, names: &Names, root_hash: Digest) -> Release {
        Release {
            version: names.version,
            epoch: self.recipe.epoch.get(),
            root_hash,
            tries: self.recipe.health.tries,
            data: DATA_SCHEMA,
        }
    }

    /// Writes the bundle, and gives its manifest as it was signed.
    fn bundle(
        &self,
        names: &Names,
        release: &Release,
        root: &Root<'_>,
        uki: &[u8],
        staging: &Staging,
    ) -> Result<Vec<u8>, BuildError> {
        let path = staging.path(&self.bundle_name());
        let io = |source| self.failed("write", &path, source);
        let step = self.progress.step("bundle", 3, Unit::Pieces("payloads"));
        let mut packed = [
            bundle::pack(uki, &[], self.out).map_err(io)?,
            bundle::pack(&root.region, &root.spans, self.out).map_err(io)?,
            bundle::pack(&root.verity, &[], self.out).map_err(io)?,
        ];
        let [uki, tree, verity] = [0, 1, 2].map(|at: usize| packed[at].payload.clone());
        let manifest = Manifest {
            format: FORMAT,
            name: self.recipe.name.as_str().to_owned(),
            product: names.product,
            arch: self.recipe.arch.as_str().to_owned(),
            version: release.version,
            epoch: release.epoch,
            tries: release.tries,
            data: release.data,
            root_hash: release.root_hash,
            payloads: Payloads { uki, root: tree, verity },
        };
        let mut out = File::create(&path).map_err(io)?;
        let bytes = bundle::write(&manifest, &mut packed, self.signing, &mut out).map_err(io)?;
        step.advance(3);
        step.outcome(progress::bytes(out.metadata().map_err(io)?.len()));
        Ok(bytes)
    }

    /// Everything on the disk but the root file system.
    fn disk(
        &self,
        names: &Names,
        release: Release,
        ingredients: &Ingredients<'_>,
        gpt: &Gpt,
        disk: Disk<'_>,
        scratch: &Path,
    ) -> Result<(), BuildError> {
        let step = self.progress.step("disk", 1, Unit::Pieces("disks"));
        let mut state = State::new(names.product);
        state.sequence = 2;
        state.generation = 1;
        state.root_version = self.signing.root_version;
        *state.slot_mut(Slot::A) = SlotState {
            status: Status::Pending,
            boots_left: release.tries,
            reason: None,
            release: Some(release),
        };
        let header = UkiHeader {
            image_len: ingredients.uki.len() as u64,
            image_sha256: Digest::of(ingredients.uki),
            product: names.product,
            release,
            generation: 1,
        };
        let contents = disk::Contents {
            boot: ingredients.boot,
            state: &state,
            header: &header,
            uki: ingredients.uki,
            verity: &ingredients.root.verity,
            time: ingredients.time,
        };
        disk::finish(gpt, &contents, disk.file, scratch).map_err(|error| match error {
            DiskError::Io(source) => self.failed("write", disk.path, source),
            other => other.into(),
        })?;
        step.advance(1);
        step.outcome(format!(
            "{}, {} partitions",
            progress::bytes(gpt.disk_bytes),
            gpt.partitions.len()
        ));
        Ok(())
    }

    fn sizes(&self) -> disk::Sizes {
        let disk = &self.recipe.disk;
        let mib = |count: u32| u64::from(count) << 20;
        disk::Sizes {
            esp: mib(disk.esp_mib),
            uki: mib(disk.uki_mib),
            root: mib(disk.root_mib),
            verity: mib(disk.verity_mib),
            data: mib(disk.data_mib),
        }
    }
}

/// What was composed, and what its scripts took.
fn composed_summary(packages: usize, report: &compose::Report) -> String {
    format!(
        "{packages} packages, {} scripts, {:.2} s in native and {:.2} s in sandboxed ones",
        report.handled.len(),
        report.native.as_secs_f64(),
        report.sandboxed.as_secs_f64(),
    )
}

fn shown<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What a built disk's identifiers follow from. A machine's own are drawn when
/// its disk is baked.
fn seed(product: Product, release: &Release) -> Vec<u8> {
    Digest::of_parts(&[b"disk", product.as_str().as_bytes(), &release.root_hash.0]).0.to_vec()
}

/// The same for every release of a product, so that what two releases share has
/// the same verity blocks too.
fn salt(names: &Names) -> [u8; SALT_BYTES] {
    Digest::of_parts(&[b"salt", names.product.as_str().as_bytes()]).0
}
