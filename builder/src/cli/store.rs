//! `slipway store`: looking after the folder of downloaded and derived files.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use formats::Digest;
use slipway::lock::Lock;
use slipway::progress::{Progress, bytes, counted};
use slipway::store::{Collected, Collection, Size, Verification};

use super::{Global, StoreArgs};

/// Shows, checks and cleans the store.
///
/// The store holds everything downloaded, by its SHA-256, and what was derived
/// from it. Any number of processes may use it while these commands run: what a
/// running build uses is never removed, and a command that is killed at any
/// moment leaves a store that is whole.
#[derive(Debug, Args)]
pub struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Path(Path),
    Gc(Gc),
    Verify(Verify),
}

/// Print where the store is, or where a blob in it lies
///
/// Exit code 1 if there is no such blob.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway store path
  rpm -qp \"$(slipway store path 3b1e…)\"")]
struct Path {
    /// SHA-256 of a package or another file that a lock names.
    digest: Option<Digest>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Remove what was not used for longest
///
/// Always removes what killed processes left behind and downloads that were
/// given up. With a limit, removes the files that were not used for longest
/// until the store is no larger: derived files before blobs of the same age.
///
/// Never removes what a running slipway uses, nor what a lock given with --keep
/// names. If that alone is larger than the limit, the store stays larger.
///
/// The limit is --max-size, else SLIPWAY_STORE_MAX, else `max_size = "20GiB"`
/// in settings.toml of the store. The last two are also applied at the end of
/// every build.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway store gc --max-size 20GiB
  slipway store gc --max-size 0 --keep images/demo/lock.toml   # all but one lock's
  slipway store gc --max-size 5GiB --dry-run")]
struct Gc {
    /// A lock; everything it names stays. May be repeated.
    #[arg(long, value_name = "LOCK", num_args = 1..)]
    keep: Vec<PathBuf>,
    /// How large the store may be, as 20GiB or 500MB.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<Size>,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Read everything again and remove what is damaged
///
/// Every blob must have the SHA-256 it is named by, and every unpacked package
/// must be what unpacking it again gives. What is damaged is removed, so that
/// the next build fetches or makes it again. Exit code 1 if anything was.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway store verify
  slipway store verify --report --json | jq '.damaged[].path'")]
struct Verify {
    /// Only report what is damaged; remove nothing.
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    store: StoreArgs,
}

impl Store {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        match &self.command {
            Command::Path(command) => command.run(global),
            Command::Gc(command) => command.run(global),
            Command::Verify(command) => command.run(global),
        }
    }
}

impl Path {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        let store = self.store.open()?;
        let path = match &self.digest {
            None => store.root().to_owned(),
            Some(digest) => store.blob_path(digest),
        };
        if let (Some(digest), false) = (&self.digest, path.exists()) {
            bail!("the store {} has no blob {digest}", store.root().display());
        }
        if global.json {
            println!("{}", serde_json::json!({ "path": path }));
        } else {
            println!("{}", path.display());
        }
        Ok(())
    }
}

impl Gc {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mut keep = HashSet::new();
        for path in &self.keep {
            let lock = Lock::load(path)?;
            keep.extend(lock.all_packages().map(|package| package.sha256));
            keep.extend(lock.tools.iter().map(|tool| tool.sha256));
        }
        let store = self.store.open_existing()?;
        let max = match self.max_size {
            Some(size) => Some(size),
            None => store.limit()?,
        };
        let done = store.collect(&Collection { keep, max, dry_run: self.dry_run })?;
        if global.json {
            println!("{}", serde_json::to_string(&done)?);
            return Ok(());
        }
        for removed in done.removed.iter().filter(|_| self.dry_run) {
            println!("{:>12}  {}", bytes(removed.size_bytes), removed.path.display());
        }
        self.print(&done, max);
        Ok(())
    }

    fn print(&self, done: &Collected, max: Option<Size>) {
        let would = if self.dry_run { "would be removed" } else { "removed" };
        println!(
            "{would}: {} in {}; left: {} in {}",
            bytes(done.removed_bytes),
            files(done.removed.len()),
            bytes(done.left_bytes),
            files(done.left_files),
        );
        match max {
            None => println!("no limit: say --max-size, or set SLIPWAY_STORE_MAX"),
            Some(max) if done.left_bytes > max.0 => println!(
                "still more than {max}: {} are in use, {} kept by locks",
                bytes(done.in_use_bytes),
                bytes(done.kept_bytes),
            ),
            Some(_) => {}
        }
    }
}

impl Verify {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        let progress = global.progress();
        let store = self.store.open_existing()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let found = store.verify(threads, !self.report, &progress)?;
        if global.json {
            println!("{}", serde_json::to_string(&found)?);
        } else {
            print(&found);
        }
        match found.damaged.len() {
            0 => Ok(()),
            count if found.removed => bail!(
                "{} damaged and removed; the next build brings in again what it needs",
                was(count)
            ),
            count => bail!("{} damaged; without --report, what is damaged is removed", was(count)),
        }
    }
}

fn print(found: &Verification) {
    for damage in &found.damaged {
        println!("damaged  {}: {}", damage.path.display(), damage.why);
    }
    if !found.unchecked.is_empty() {
        let count = found.unchecked.len();
        let has = if count == 1 { "has" } else { "have" };
        let derived = counted(count, "derived file", "derived files");
        println!("{derived} {has} nothing to be held against");
    }
    println!("{} whole, {}", was(found.good), bytes(found.good_bytes));
}

fn files(count: usize) -> String {
    counted(count, "file", "files")
}

fn was(count: usize) -> String {
    format!("{} {}", files(count), if count == 1 { "is" } else { "are" })
}

/// Keeps the store within `max` after something was put into it.
pub fn apply_limit(store: &slipway::store::Store, max: Option<Size>, progress: &Progress) {
    if max.is_none() {
        return;
    }
    let wanted = Collection { max, ..Collection::default() };
    match store.collect(&wanted) {
        // What was asked for is done; an untidy store is no failure.
        Err(error) => progress.note(&format!("the store could not be cleaned: {error}")),
        Ok(done) if done.removed.is_empty() => {}
        Ok(done) => progress.note(&format!(
            "store: {} not used lately removed, {} left",
            bytes(done.removed_bytes),
            bytes(done.left_bytes)
        )),
    }
}
