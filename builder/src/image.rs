//! From a lock to an image: the one module that calls each step in order.
//!
//! ```text
//! fetch ─▶ compose ─▶ erofs ─▶ verity ─▶ UKI ─▶ bundle, disk, documents ─▶ DIR/<name>-<version>/
//! ```
//!
//! Everything is made in a folder beside its destination and moved there at the
//! end, so that what is there is always whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use formats::guid::Guid;
use formats::manifest::{FORMAT, Manifest, Payloads};
use formats::state::{SlotState, State, Status};
use formats::text::{Product, Version};
use formats::uki_header::UkiHeader;
use formats::verity::{SALT_BYTES, Superblock, TreeBuilder};
use formats::{DataSchema, Digest, Slot};

use crate::bundle::{self, Span};
use crate::compose::{self, Composed};
use crate::disk::{self, DiskError};
use crate::erofs::{self, ErofsImage};
use crate::fetch::{self, FetchErrors};
use crate::guest::{self, GuestError, Tools};
use crate::initrd;
use crate::kernel::{self, Kernel, KernelError};
use crate::keys::Signing;
use crate::lock::{Lock, LockedPackage};
use crate::package::{Package, PackageError};
use crate::progress::{self, Progress, Unit};
use crate::recipe::{Pattern, Recipe};
use crate::report;
use crate::rpmdb::{self, Installed, RpmdbError, Transaction};
use crate::staging::Staging;
use crate::store::Store;
use crate::tree::{Content, Tree, TreeError};
use crate::uki::{self, BadStub, UkiParts};

/// Layout of the data partition that this release of the guest makes and reads.
const DATA_SCHEMA: DataSchema = DataSchema { min: 1, max: 1 };
/// What every image's command line has. A panic reboots into the next try
/// after ten seconds; `gpt` lets Linux use the backup table; systemd leaves the
/// root to slipway-init, and would wait for devices of its own otherwise.
const CMDLINE: &str = "panic=10 gpt systemd.gpt_auto=0 systemd.verity=no";

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Packages.
    #[error(transparent)]
    Fetch(#[from] FetchErrors),
    /// A package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The tree of all packages.
    #[error(transparent)]
    Compose(#[from] compose::ComposeError),
    /// A change to the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A folder laid over the tree.
    #[error(transparent)]
    Overlay(#[from] crate::tree::OverlayError),
    /// The kernel or its modules.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Slipway's own programs.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The package database.
    #[error(transparent)]
    Rpmdb(#[from] RpmdbError<PackageError>),
    /// The root file system.
    #[error(transparent)]
    Erofs(#[from] erofs::ErofsError),
    /// The UKI.
    #[error(transparent)]
    Stub(#[from] BadStub),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A value of the recipe has no room in an image's records.
    #[error("{what} {value:?} cannot be written to an image")]
    Text {
        /// which value
        what: &'static str,
        /// the value
        value: String,
    },
    /// The lock names no stub.
    #[error("the lock has no part for the EFI stub; lock the recipe again")]
    NoStub,
    /// The output folder or the disk below it.
    #[error("cannot {what} {path}")]
    Io {
        /// what was being done
        what: &'static str,
        /// where
        path: PathBuf,
        /// why
        source: io::Error,
    },
}

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
    /// how long work shows itself
    pub progress: &'a Progress,
}

/// What a build has made.
#[derive(Debug, serde::Serialize)]
pub struct Built {
    /// the image's folder
    pub folder: PathBuf,
    /// the disk of a new machine
    pub disk: PathBuf,
    /// the update bundle
    pub bundle: PathBuf,
    /// dm-verity root hash
    pub root_hash: Digest,
    /// digest of the manifest that was signed
    pub manifest_sha256: Digest,
    /// scriptlets that were not run: package, phase and why
    pub scriptlets_not_run: Vec<String>,
}

/// The root file system and all that follows from it.
struct Root {
    file: File,
    image: ErofsImage,
    verity: Vec<u8>,
    verity_file: File,
    root_hash: Digest,
}

/// The names the image goes by.
struct Names {
    version: Version,
    product: Product,
}

impl Build<'_> {
    /// Builds the image.
    pub fn run(&self) -> Result<Built, BuildError> {
        let names = self.names()?;
        let tools = Tools::load(self.tools)?;
        fetch::packages(self.lock, self.recipe, self.store, self.progress)?;
        let (composed, time) = self.compose(&tools)?;
        let mut tree = composed.tree;
        let name = format!("{}-{}", self.recipe.name.as_str(), self.recipe.version.as_str());
        let staging = Staging::new(self.out, &name)
            .map_err(|source| self.failed("make a folder in", self.out, source))?;
        if self.recipe.packages.database {
            self.package_database(&mut tree, time, &staging)?;
        }
        let kernel = kernel::gather(&tree, self.recipe)?;
        let exclude: Vec<&str> = self.recipe.root.exclude.iter().map(Pattern::as_str).collect();
        tree.exclude(&exclude)?;

        let root = self.root(&tree, time, &names, &staging)?;
        let uki = self.uki(&tree, &kernel, &tools, &root)?;
        let (manifest, manifest_bytes) = self.bundle(&names, &root, &uki, &staging)?;
        self.disk(&names, &manifest, &root, &uki, &tools, time, &staging)?;
        let documents = report::documents(
            &manifest_bytes,
            self.lock,
            &disk::layout(&self.sizes(), &seed(&manifest)),
        );
        for (file, bytes) in documents {
            let path = staging.path(file);
            fs::write(&path, bytes).map_err(|source| self.failed("write", &path, source))?;
        }
        let folder = staging
            .publish()
            .map_err(|source| self.failed("move the image to", &self.out.join(&name), source))?;
        Ok(Built {
            disk: folder.join(report::DISK_FILE),
            bundle: folder.join(self.bundle_name()),
            folder,
            root_hash: root.root_hash,
            manifest_sha256: Digest::of(&manifest_bytes),
            scriptlets_not_run: not_run(&composed.report),
        })
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

    /// The tree of all packages, with the recipe's own files and the guest's
    /// programs over it; and the image's time: that of its newest file.
    fn compose(&self, tools: &Tools) -> Result<(Composed, u64), BuildError> {
        let step = self.progress.step(
            "compose",
            self.lock.packages.len() as u64,
            Unit::Pieces("packages"),
        );
        let mut packages = Vec::with_capacity(self.lock.packages.len());
        for locked in &self.lock.packages {
            packages.push(self.open_package(locked)?);
            step.advance(1);
        }
        let files = packages.iter().flat_map(|package| &package.files);
        let time = files.map(|file| file.mtime).max().unwrap_or(0);
        let mut composed =
            compose::compose(&packages, &compose::Options { source_date_epoch: time })?;
        for overlay in &self.recipe.root.overlay {
            composed.tree.overlay_dir(overlay)?;
        }
        guest::add_files(&mut composed.tree, tools, self.recipe)?;
        Ok((composed, time))
    }

    /// Puts rpm's database into the tree, by way of a file: it may be larger
    /// than should be held in memory.
    fn package_database(
        &self,
        tree: &mut Tree,
        time: u64,
        staging: &Staging,
    ) -> Result<(), BuildError> {
        let path = staging.scratch("rpmdb.sqlite");
        let io = |source| self.failed("write", &path, source);
        // The order compose works in; every file is as its package has it.
        let mut order: Vec<&LockedPackage> = self.lock.packages.iter().collect();
        order.sort_by_key(|package| match package.name.as_str() {
            "filesystem" => 0,
            "setup" => 1,
            _ => 2,
        });
        let packages = order.into_iter().map(|locked| {
            let headers = Package::headers(&self.store.blob_path(&locked.sha256))
                .map_err(|error| error.of(locked.nevra()))?;
            Ok::<_, PackageError>(Installed { headers, states: Vec::new() })
        });
        let transaction = Transaction::new(time, self.recipe.arch.as_str());
        let file = io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io)?);
        rpmdb::write(packages, transaction, file)?;
        let size_bytes = fs::metadata(&path).map_err(io)?.len();
        let content = Content::Range { file: path.into(), offset_bytes: 0, size_bytes };
        Ok(rpmdb::install(tree, content)?)
    }

    /// Writes the root file system and computes its verity tree. The salt follows
    /// from the product and the UUIDs from product and version, so the same tree
    /// in the same version always gives the same root hash.
    fn root(
        &self,
        tree: &Tree,
        time: u64,
        names: &Names,
        staging: &Staging,
    ) -> Result<Root, BuildError> {
        let path = staging.scratch("root.erofs");
        let io = |source| self.failed("write", &path, source);
        let step = self.progress.step("root", 1, Unit::Pieces("file systems"));
        let version = names.version.as_str().as_bytes();
        let uuid = Guid::derived(&[b"root", names.product.as_str().as_bytes(), version]);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(io)?;
        let image = {
            let mut out = io::BufWriter::with_capacity(1 << 20, &mut file);
            let written = erofs::write(tree, uuid.uuid_bytes(), time, &mut out);
            written.map_err(|error| match error {
                erofs::ErofsError::Write(source) => io(source),
                other => other.into(),
            })?
        };
        let superblock = Superblock {
            uuid: Guid::derived(&[b"verity", &uuid.0]),
            data_blocks: image.size_bytes / erofs::BLOCK_BYTES,
            salt: salt(names),
        };
        let mut builder = TreeBuilder::new(superblock);
        crate::staging::for_each_piece(&file, |piece| builder.update(piece)).map_err(io)?;
        let (root_hash, verity) = builder.finish().map_err(|error| io(io::Error::other(error)))?;
        let verity_path = staging.scratch("root.verity");
        fs::write(&verity_path, &verity).map_err(io)?;
        let verity_file = File::open(&verity_path).map_err(io)?;
        step.advance(1);
        step.outcome(format!("{}, root hash {root_hash}", progress::bytes(image.size_bytes)));
        Ok(Root { file, image, verity, verity_file, root_hash })
    }

    fn uki(
        &self,
        tree: &Tree,
        kernel: &Kernel,
        tools: &Tools,
        root: &Root,
    ) -> Result<Vec<u8>, BuildError> {
        let recipe = self.recipe;
        let settings = initrd::Settings {
            init: recipe.boot.init.as_str(),
            health_timeout_seconds: u32::try_from(recipe.health.timeout.as_secs())
                .unwrap_or(u32::MAX),
            version: recipe.version.as_str(),
        };
        let initrd = initrd::make(&tools.init, &kernel.modules, &settings);
        let cmdline = format!("roothash={} {CMDLINE} {}", root.root_hash, recipe.boot.cmdline);
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

    fn bundle(
        &self,
        names: &Names,
        root: &Root,
        uki: &[u8],
        staging: &Staging,
    ) -> Result<(Manifest, Vec<u8>), BuildError> {
        let path = staging.path(&self.bundle_name());
        let io = |source| self.failed("write", &path, source);
        let step = self.progress.step("bundle", 3, Unit::Pieces("payloads"));
        let uki_path = staging.scratch("uki.efi");
        fs::write(&uki_path, uki).map_err(io)?;
        let uki_file = File::open(&uki_path).map_err(io)?;
        let spans: Vec<Span> = root
            .image
            .layout
            .iter()
            .filter(|extent| matches!(extent.piece, erofs::Piece::File(_)))
            .map(|extent| Span { offset_bytes: extent.offset_bytes, len_bytes: extent.len_bytes })
            .collect();
        let scratch = self.out;
        let mut packed = [
            bundle::pack(&uki_file, &[], scratch).map_err(io)?,
            bundle::pack(&root.file, &spans, scratch).map_err(io)?,
            bundle::pack(&root.verity_file, &[], scratch).map_err(io)?,
        ];
        let [uki, tree, verity] = [0, 1, 2].map(|at: usize| packed[at].payload.clone());
        let manifest = Manifest {
            format: FORMAT,
            name: self.recipe.name.as_str().to_owned(),
            product: names.product,
            arch: self.recipe.arch.as_str().to_owned(),
            version: names.version,
            epoch: self.recipe.epoch.get(),
            tries: self.recipe.health.tries,
            data: DATA_SCHEMA,
            root_hash: root.root_hash,
            payloads: Payloads { uki, root: tree, verity },
        };
        let mut out = File::create(&path).map_err(io)?;
        let bytes = bundle::write(&manifest, &mut packed, self.signing, &mut out).map_err(io)?;
        out.sync_all().map_err(io)?;
        step.advance(3);
        step.outcome(progress::bytes(out.metadata().map_err(io)?.len()));
        Ok((manifest, bytes))
    }

    #[expect(clippy::too_many_arguments, reason = "each is one ingredient of the disk")]
    fn disk(
        &self,
        names: &Names,
        manifest: &Manifest,
        root: &Root,
        uki: &[u8],
        tools: &Tools,
        time: u64,
        staging: &Staging,
    ) -> Result<(), BuildError> {
        let step = self.progress.step("disk", 1, Unit::Pieces("disks"));
        let release = manifest.release();
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
            image_len: uki.len() as u64,
            image_sha256: manifest.payloads.uki.sha256,
            product: names.product,
            release,
            generation: 1,
        };
        let contents = disk::Contents {
            boot: &tools.boot,
            state: &state,
            header: &header,
            uki,
            root: &root.file,
            verity: &root.verity,
            time,
        };
        let gpt = disk::layout(&self.sizes(), &seed(manifest));
        let path = staging.path(report::DISK_FILE);
        disk::write(&gpt, &contents, &path).map_err(|error| match error {
            DiskError::Io(source) => self.failed("write", &path, source),
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

/// The scriptlets that were left out, and what in each is not understood.
fn not_run(report: &compose::Report) -> Vec<String> {
    let lines = report.unhandled.iter();
    lines.map(|left| format!("{} {}: {}", left.package, left.phase, left.reason)).collect()
}

/// What a built disk's identifiers follow from. A machine's own are drawn when
/// its disk is baked.
fn seed(manifest: &Manifest) -> Vec<u8> {
    Digest::of_parts(&[b"disk", manifest.product.as_str().as_bytes(), &manifest.root_hash.0])
        .0
        .to_vec()
}

/// The same for every release of a product, so that what two releases share has
/// the same verity blocks too.
fn salt(names: &Names) -> [u8; SALT_BYTES] {
    Digest::of_parts(&[b"salt", names.product.as_str().as_bytes()]).0
}
