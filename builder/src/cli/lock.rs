//! `slipway lock`: from a recipe to the exact artifacts it stands for.

use std::path::{Path, PathBuf};

use std::process::ExitCode;

use clap::Args;
use slipway::fetch;
use slipway::lock::{self, Accept, Changes, LockError};
use slipway::package::Package;
use slipway::progress::{Progress, bytes, counted};
use slipway::recipe::{PackagePattern, Recipe};
use slipway::repository::Repositories;
use slipway::solve::{self, Keep, Request};

use super::results::Mistaken;
use super::{DIFFERENT, Global, StoreArgs, ToolsArgs};

/// Chooses the exact packages for a recipe and writes them down.
///
/// Reads the metadata of the recipe's repositories, checks its signature,
/// chooses the packages that were asked for and all they need, and writes the
/// lock: every artifact with its size and SHA-256, sorted, one value a line.
/// Review it and commit it; `slipway build` takes everything from it.
///
/// The packages are fetched into the store, since the lock also lists what each
/// wants run when it is installed. A scriptlet that the earlier lock did not
/// have is written as not accepted, and no image is built until it is.
/// Where there is a lock already, what it names stays as it is for as long as
/// the recipe and the repositories allow it; only what is new in the recipe is
/// added, and what nothing needs any more leaves. `--update` lets packages
/// move to what is newest now, all of them or only those that are named and
/// what these need. `--check` writes nothing and says what an update would
/// change.
///
/// The lock is written at once or not at all, and not touched if nothing has
/// changed. What has changed is shown.
///
/// A recipe with `snapshot = "2026-11-01"` is locked without packages that
/// were built after that day. This is approximate: metadata says when a
/// package was built, not when it was published.
///
/// A recipe's mistakes are all shown at once (exit code 2). A set of packages
/// that cannot be is explained: who wants what, and why nothing fits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway lock recipes/demo.toml
  slipway lock recipes/demo.toml --lock out/demo.lock.toml
  slipway lock recipes/demo.toml --accept all
  slipway lock recipes/demo.toml --update
  slipway lock recipes/demo.toml --update openssl 'kernel*'
  slipway lock recipes/demo.toml --check --json | jq '.changes.changed[].name'

Exit code 3 from --check says that there would be changes.")]
pub struct Lock {
    /// The recipe.
    recipe: PathBuf,
    /// Accept new scriptlets: SHA-256 of each, or `all`. Read them first;
    /// `slipway build` shows the text of those that are not accepted. Comes
    /// after the recipe.
    #[arg(long, value_name = "SHA256|all", num_args = 1.., conflicts_with_all = ["check", "list"])]
    accept: Vec<String>,
    /// The lock to write [default: ../images/NAME/lock.toml, from the
    /// recipe's folder].
    #[arg(long, value_name = "PATH")]
    lock: Option<PathBuf>,
    /// Ask no server: take the metadata that the store has seen last.
    #[arg(long)]
    offline: bool,
    /// Let packages move to the best there is now: these (names or globs),
    /// which the lock must have, or all. Comes after the recipe.
    #[arg(long, value_name = "PKG", num_args = 0..)]
    update: Option<Vec<PackagePattern>>,
    /// Write nothing; say what an update would change, and give exit code 3
    /// if that is anything. With `--update PKG`, only what that would change.
    #[arg(long)]
    check: bool,
    /// Write nothing and fetch no package; only print which ones would be
    /// locked, one a line.
    #[arg(long, conflicts_with = "check")]
    list: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    tools: ToolsArgs,
}

impl Lock {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let progress = global.progress();
        let mut recipe = Recipe::load(&self.recipe)?;
        if self.offline {
            recipe.go_offline();
        }
        let path = self.lock.clone().unwrap_or_else(|| lock::Lock::default_path(&recipe));
        let accept = accept(&self.accept)?;
        let earlier = match self.check {
            true => Some(lock::Lock::load(&path)?),
            false => earlier(&path, &progress)?,
        };
        let mut request = Request::of(&recipe);
        request.keep = self.keep(&recipe, earlier.as_ref())?;
        // Before anything slow: without the tools all else would be in vain.
        let tools = lock::tools_in(&self.tools.folder()?)?;
        let store = self.store.open()?;
        let repositories = Repositories::open(&recipe, &store, &progress)?;
        if let Some(day) = &recipe.snapshot {
            progress.note(&format!(
                "packages built after {day} do not count; this is approximate, as metadata says \
                 when a package was built, not when it was published"
            ));
        }
        let resolution = solve::resolve(&repositories, &request)?;
        let mut new = lock::Lock::new(&recipe, &repositories, &resolution, tools);
        repositories.abandon();
        if self.list {
            list(&new, global.json);
            return Ok(ExitCode::SUCCESS);
        }
        fetch::packages(&new, &recipe, &store, &progress)?;
        let header = |locked: &lock::LockedPackage| {
            let opened = Package::open_header(&store.blob_path(&locked.sha256));
            opened.map_err(|error| error.of(locked.nevra()))
        };
        let packages = new.packages.iter().map(header).collect::<Result<Vec<_>, _>>()?;
        let skipped = &recipe.packages.skip_scripts;
        new.list_scriptlets(&packages, skipped, earlier.as_ref(), &accept)?;
        warn_of_needless(&new.not_there(skipped), &progress);
        let is_stale = earlier.as_ref().is_some_and(|earlier| earlier.recipe != new.recipe);
        let written = !self.check && new.save(&path)?;
        let changes = earlier.map(|earlier| Changes::between(&earlier, &new));
        let summary = Summary { path, written, is_check: self.check, is_stale, new, changes };
        if global.json {
            summary.print_json()
        } else {
            summary.print()
        }
        let differs = self.check && summary.differs();
        Ok(if differs { ExitCode::from(DIFFERENT) } else { ExitCode::SUCCESS })
    }

    /// What stays as the earlier lock has it.
    fn keep(&self, recipe: &Recipe, earlier: Option<&lock::Lock>) -> anyhow::Result<Keep> {
        let Some(earlier) = earlier else { return Ok(Keep::default()) };
        let moving = match &self.update {
            None if self.check => return Ok(Keep::default()),
            None => &[][..],
            Some(all) if all.is_empty() => return Ok(Keep::default()),
            Some(some) => some,
        };
        if let [unknown, ..] = earlier.unknown(moving)[..] {
            let why = format!("the lock has no package {unknown}, so it cannot be updated");
            return Err(Mistaken(why).into());
        }
        Ok(earlier.kept(recipe, moving))
    }
}

/// Prints the packages of a lock that is not written.
fn list(lock: &lock::Lock, json: bool) {
    if !json {
        lock.packages.iter().for_each(|package| println!("{}", package.nevra()));
        return;
    }
    let packages = lock.packages.iter().map(|package| {
        serde_json::json!({
            "name": package.name,
            "epoch": package.epoch,
            "version": package.version,
            "release": package.release,
            "arch": package.arch,
            "repository": package.repository,
        })
    });
    println!("{}", serde_json::json!({ "packages": packages.collect::<Vec<_>>() }));
}

/// An entry of `skip_scripts` may be misspelt, or a leftover.
fn warn_of_needless(needless: &[String], progress: &Progress) {
    for script in needless {
        progress
            .note(&format!("skip_scripts: no locked package has {script:?}, so it skips nothing"));
    }
}

fn accept(words: &[String]) -> anyhow::Result<Accept> {
    if words.iter().any(|word| word == "all") {
        return Ok(Accept::All);
    }
    if words.is_empty() {
        return Ok(Accept::None);
    }
    let digest = |word: &String| {
        word.parse().map_err(|_| Mistaken(format!("--accept {word}: neither a SHA-256 nor `all`")))
    };
    Ok(Accept::These(words.iter().map(digest).collect::<Result<_, _>>()?))
}

/// The lock that is there. A damaged one is replaced, one of a newer slipway
/// is not: it may say more than this one can.
fn earlier(path: &Path, progress: &Progress) -> Result<Option<lock::Lock>, LockError> {
    match lock::Lock::load(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Missing { .. }) => Ok(None),
        Err(LockError::Malformed { path, why }) => {
            let path = path.display();
            progress.note(&format!("the earlier {path} cannot be read and is replaced: {why}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

struct Summary {
    path: PathBuf,
    written: bool,
    is_check: bool,
    /// Whether the earlier lock was for something else.
    is_stale: bool,
    new: lock::Lock,
    changes: Option<Changes>,
}

impl Summary {
    fn size(&self) -> u64 {
        self.new.packages.iter().map(|package| package.size).sum()
    }

    /// Whether the lock would have other contents that matter.
    fn differs(&self) -> bool {
        self.is_stale || self.changes.as_ref().is_none_or(Changes::matter)
    }

    fn print(&self) {
        let state = match (self.written, &self.changes) {
            (false, _) if self.is_check && self.is_stale => "not of this recipe any more",
            (false, _) if self.is_check && self.differs() => "would change",
            (false, _) if self.is_check => "would not change",
            (false, _) => "unchanged",
            (true, None) => "new",
            (true, Some(_)) => "changed",
        };
        let packages = counted(self.new.packages.len(), "package", "packages");
        println!("{}: {state}, {packages}, {}", self.path.display(), bytes(self.size()));
        if let Some(changes) = &self.changes {
            print!("{changes}");
        }
        let waiting = self.waiting();
        let (are, their, them) =
            if waiting == 1 { (" is", "its", "it") } else { ("s are", "their", "them") };
        if waiting > 0 {
            println!(
                "{waiting} scriptlet{are} new and not accepted: `slipway build` shows {their} text, \
                 `slipway lock --accept` accepts {them}"
            );
        }
    }

    fn waiting(&self) -> usize {
        self.new.scriptlets.iter().filter(|scriptlet| !scriptlet.accepted).count()
    }

    fn print_json(&self) {
        let summary = serde_json::json!({
            "lock": self.path,
            "written": self.written,
            "would_change": self.is_check.then(|| self.differs()),
            "packages": self.new.packages.len(),
            "package_bytes": self.size(),
            "changes": self.changes,
            "scriptlets": self.new.scriptlets.len(),
            "scriptlets_not_accepted": self.waiting(),
        });
        println!("{summary}");
    }
}
