//! Where a case happens: a small project of its own, with recipe, lock, store
//! and output, and the questions every case asks of them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use formats::gpt::Gpt;
use formats::state::{self, Copies, State};
use formats::{BlockDevice, Slot, block::Window};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cache;
use crate::images::{Image, Workshop};
use crate::metadata::hex;
use crate::process::output;
use crate::proof::DiskFile;

/// The small image with partitions that just fit, so that a disk is hashed
/// quickly.
const RECIPE: &str = "schema = 1\nextends = [\"demo-small.toml\"]\n\n\
    [disk]\nuki_mib = 32\nroot_mib = 32\nverity_mib = 4\ndata_mib = 16\n";

/// What all cases start from: a warm store and a good image.
pub(super) struct Base<'w> {
    pub workshop: &'w Workshop,
    /// the good image
    pub image: Image,
    folder: PathBuf,
    store: PathBuf,
}

impl<'w> Base<'w> {
    /// Builds the good image.
    pub fn new(workshop: &'w Workshop) -> Result<Self> {
        let folder = workshop.out().join("bad-input");
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        // Made here if no earlier stage has.
        workshop.keys()?;
        let place = Place::empty(workshop, &folder, "base")?;
        output(&mut place.lock_command())?;
        output(&mut place.build_command())?;
        Ok(Self { workshop, image: place.image(), store: place.store, folder })
    }

    /// A place whose store holds every package already.
    pub fn place(&self, case: &str) -> Result<Place<'w>> {
        let place = self.cold_place(case)?;
        // links: a store never changes a file in place
        output(Command::new("cp").arg("-al").arg(&self.store).arg(&place.store))?;
        Ok(place)
    }

    /// A place whose store is empty; its recipe is locked.
    pub fn cold_place(&self, case: &str) -> Result<Place<'w>> {
        let place = Place::empty(self.workshop, &self.folder, case)?;
        fs::copy(self.lock(), &place.lock)?;
        Ok(place)
    }

    /// A copy of the good disk whose slot a is committed, as after its first
    /// boot.
    pub fn committed_disk(&self, case: &str) -> Result<PathBuf> {
        let folder = self.folder.join(case);
        fs::create_dir_all(&folder)?;
        let disk = folder.join("disk.raw");
        output(Command::new("cp").arg("--sparse=always").arg(&self.image.disk).arg(&disk))?;
        change_state(&disk, |state| state.commit(Slot::A))?;
        Ok(disk)
    }

    /// The lock of the good image.
    pub fn lock(&self) -> PathBuf {
        self.folder.join("base/lock.toml")
    }

    /// The good bundle, for a command line.
    pub fn bundle(&self) -> String {
        self.image.bundle.to_string_lossy().into_owned()
    }

    /// Removes everything.
    pub fn remove(self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

/// A small project.
pub(super) struct Place<'w> {
    workshop: &'w Workshop,
    /// recipes, lock, store and output are below
    pub folder: PathBuf,
    pub recipe: PathBuf,
    pub lock: PathBuf,
    pub store: PathBuf,
    pub out: PathBuf,
}

impl<'w> Place<'w> {
    fn empty(workshop: &'w Workshop, parent: &Path, case: &str) -> Result<Self> {
        let folder = parent.join(case);
        fs::create_dir_all(folder.join("out"))?;
        let recipes = folder.join("recipes");
        output(Command::new("cp").arg("-r").arg(workshop.top.join("recipes")).arg(&recipes))?;
        let repository = workshop.out().join("repository").canonicalize()?;
        cache::point(&folder.join("out/repository"), &repository)?;
        let place = Self {
            workshop,
            recipe: recipes.join("case.toml"),
            lock: folder.join("lock.toml"),
            store: folder.join("store"),
            out: folder.join("images"),
            folder,
        };
        place.write_recipe("")?;
        fs::create_dir(&place.out)?;
        Ok(place)
    }

    /// The recipe of the good image, and `more`.
    pub fn write_recipe(&self, more: &str) -> Result<()> {
        Ok(fs::write(&self.recipe, format!("{RECIPE}{more}"))?)
    }

    fn command(&self, subcommand: &str) -> Command {
        let programs = &self.workshop.programs;
        let mut command = Command::new(&programs.slipway);
        command.arg(subcommand).arg(&self.recipe).arg("--tools").arg(&programs.tools);
        command.arg("--lock").arg(&self.lock).arg("--store").arg(&self.store);
        command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        command
    }

    /// `slipway lock`.
    pub fn lock_command(&self) -> Command {
        self.command("lock")
    }

    /// `slipway build`.
    pub fn build_command(&self) -> Command {
        let mut command = self.plain_build_command();
        // or a second build would find that nothing has changed
        command.arg("--again");
        command
    }

    /// The same, which leaves alone what would come out the same.
    pub fn plain_build_command(&self) -> Command {
        let mut command = self.command("build");
        command.arg("--keys").arg(self.workshop.out().join("keys")).arg("--out").arg(&self.out);
        command
    }

    /// `slipway vendor`.
    pub fn vendor_command(&self) -> Command {
        self.command("vendor")
    }

    /// The program itself.
    pub fn slipway(&self) -> &Path {
        &self.workshop.programs.slipway
    }

    /// Runs `command`, which must fail with `code`, name all of `mentions` and
    /// change neither output nor lock. Returns what it said.
    pub fn refuses(&self, command: &mut Command, code: i32, mentions: &[&str]) -> Result<String> {
        let before = (listing(&self.out)?, fs::read(&self.lock).ok());
        let said = refused(command, code, mentions)?;
        let after = (listing(&self.out)?, fs::read(&self.lock).ok());
        ensure!(before == after, "a refusal left something behind: {:?}", after.0);
        self.nothing_half_written()?;
        Ok(said)
    }

    /// Fails when the store holds a file that was not finished.
    pub fn nothing_half_written(&self) -> Result<()> {
        let left = listing(&self.store.join("tmp"))?;
        ensure!(left.is_empty(), "the store has unfinished files: {left:?}");
        Ok(())
    }

    /// Builds; afterwards the output holds the image and nothing else.
    pub fn builds(&self) -> Result<()> {
        output(&mut self.build_command())?;
        self.holds_the_image()
    }

    /// The output holds the whole image and nothing else.
    pub fn holds_the_image(&self) -> Result<()> {
        let mut paths: Vec<PathBuf> =
            listing(&self.out)?.into_iter().map(|file| file.path).collect();
        // by which the next build sees whether anything has changed
        paths.retain(|path| path != Path::new(".demo-small-1.0.0.built.json"));
        let files = [
            "demo-small_1.0.0.bundle",
            "disk.raw",
            "inputs.tar",
            "layout.txt",
            "lock.toml",
            "manifest.json",
            "packages.txt",
        ];
        let wanted = files.map(|file| Path::new("demo-small-1.0.0").join(file));
        ensure!(paths == wanted, "the output is not the image alone: {paths:?}");
        let bundle = self.image().bundle;
        self.workshop.installer(&["verify", &bundle.to_string_lossy()], None)?;
        self.nothing_half_written()
    }

    /// The image that was built here.
    pub fn image(&self) -> Image {
        let folder = self.out.join("demo-small-1.0.0");
        Image {
            disk: folder.join("disk.raw"),
            bundle: folder.join("demo-small_1.0.0.bundle"),
            folder,
        }
    }

    /// Makes the repository a copy of the case's own. Returns its folder.
    pub fn own_repository(&self) -> Result<PathBuf> {
        let repository = self.folder.join("out/repository");
        let shared = repository.canonicalize()?;
        fs::remove_file(&repository)?;
        output(Command::new("cp").arg("-r").arg(&shared).arg(&repository))?;
        Ok(repository)
    }
}

/// Runs a program that must fail with `code` and name all of `mentions`;
/// returns what it said.
pub(super) fn refused(command: &mut Command, code: i32, mentions: &[&str]) -> Result<String> {
    let result = command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").output()?;
    let said = String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned();
    ensure!(
        result.status.code() == Some(code),
        "{command:?} was to end with {code}, and did with {}:\n{said}",
        result.status
    );
    for mention in mentions {
        ensure!(said.contains(mention), "{mention:?} is not mentioned:\n{said}");
    }
    ensure!(!said.contains("panicked"), "it panicked:\n{said}");
    Ok(said)
}

/// A file as it is found; equal when nobody has touched it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub path: PathBuf,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
}

/// Every file below `folder`, sorted, and every folder that is empty; nothing
/// when there is no such folder.
pub(super) fn listing(folder: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            continue;
        };
        let mut empty = next != folder;
        for entry in entries {
            let entry = entry?;
            empty = false;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found.push(look(&entry.path(), folder)?);
            }
        }
        if empty {
            found.push(look(&next, folder)?);
        }
    }
    found.sort();
    Ok(found)
}

fn look(path: &Path, folder: &Path) -> Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(Found {
        path: path.strip_prefix(folder)?.to_owned(),
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// Changes the state record of a disk, as the agent does.
fn change_state(disk: &Path, change: impl FnOnce(&mut State)) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    let (start_bytes, len_bytes) = partition(&file, "state")?;
    let mut device = DiskFile(&file);
    let mut window = Window::new(&mut device, start_bytes, len_bytes).context("a short disk")?;
    let mut state = Copies::read(&mut window).newest()?;
    change(&mut state);
    state::store(&mut window, &mut state).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Where a partition lies: its first byte and its length in bytes.
pub(super) fn partition(disk: &File, name: &str) -> Result<(u64, u64)> {
    let gpt = Gpt::read(&mut DiskFile(disk)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let place = gpt.named(name).with_context(|| format!("no partition {name}"))?;
    Ok((place.start_bytes, place.len_bytes))
}

/// SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<String> {
    digest_without(path, &[])
}

/// SHA-256 of a disk without the contents of these partitions.
pub(super) fn digest_without(path: &Path, partitions: &[&str]) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut left_out = partitions
        .iter()
        .map(|name| partition(&file, name))
        .collect::<Result<Vec<(u64, u64)>>>()?;
    left_out.sort_unstable();
    let (mut hasher, mut at) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    left_out.push((DiskFile(&file).len_bytes(), 0));
    for (start, len) in left_out {
        while at < start {
            let count = buffer.len().min(usize::try_from(start - at)?);
            file.read_exact_at(&mut buffer[..count], at)?;
            hasher.update(&buffer[..count]);
            at += count as u64;
        }
        at = start + len;
    }
    Ok(hex(&hasher.finalize()))
}

/// Fails unless slot a is committed and preferred.
pub(super) fn slot_a_is_kept(workshop: &Workshop, disk: &Path) -> Result<Value> {
    let status = workshop.installer(&["status"], Some(disk))?;
    let kept = status["preferred"] == "a" && status["slots"][0]["status"] == "committed";
    ensure!(kept, "slot a was to stay committed and preferred: {status:#}");
    Ok(status)
}

/// Installs the good bundle; afterwards slot b is to be tried.
pub(super) fn installs(base: &Base<'_>, disk: &Path) -> Result<()> {
    base.workshop.installer(&["install", &base.bundle()], Some(disk))?;
    let status = base.workshop.installer(&["status"], Some(disk))?;
    let pending = status["preferred"] == "b" && status["slots"][1]["status"] == "pending";
    ensure!(pending, "slot b was to be pending and preferred: {status:#}");
    Ok(())
}

/// A program run in a mount namespace of its own, after `setup`, a piece of
/// shell that sees `$AT`; then `after` runs in the same namespace. The mounts
/// end with it, whatever happens.
pub(super) fn mounted(at: &Path, setup: &str, program: &Command, after: &str) -> Command {
    let mut command = unshare();
    let script = format!("{setup} || exit 99; \"$@\"; code=$?; {after}; exit $code");
    command.args(["sh", "-c", &script, "sh"]).arg(program.get_program());
    command.args(program.get_args()).env("AT", at);
    command
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    // as an ordinary user too, where that may make namespaces
    command.args(["--mount", "--map-root-user"]);
    command
}

/// Makes `$AT`, a file or folder, read-only.
pub(super) const READ_ONLY: &str =
    "mount --bind \"$AT\" \"$AT\" && mount -o remount,ro,bind \"$AT\"";
