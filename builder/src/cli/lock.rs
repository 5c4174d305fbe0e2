//! `slipway lock`: from a recipe to the exact artifacts it stands for.

use std::path::{Path, PathBuf};

use clap::Args;
use slipway::fetch;
use slipway::lock::{self, Accept, Changes, LockError};
use slipway::package::Package;
use slipway::progress::{Progress, bytes};
use slipway::recipe::Recipe;
use slipway::repository::Repositories;
use slipway::solve::{self, Request};

use super::{Global, StoreArgs, ToolsArgs};

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
///
/// The lock is written at once or not at all, and not touched if nothing has
/// changed. What has changed is shown, so locking again is also how to see
/// which updates there are.
///
/// A recipe's mistakes are all shown at once (exit code 2). A set of packages
/// that cannot be is explained: who wants what, and why nothing fits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway lock recipes/demo.toml
  slipway lock recipes/demo.toml --lock out/demo.lock.toml
  slipway lock recipes/demo.toml --accept all
  slipway lock recipes/demo.toml --json | jq '.changes.changed[].name'")]
pub struct Lock {
    /// The recipe.
    recipe: PathBuf,
    /// Accept new scriptlets: SHA-256 of each, or `all`. Read them first;
    /// `slipway build` shows the text of those that are not accepted.
    #[arg(long, value_name = "SHA256|all", num_args = 1..)]
    accept: Vec<String>,
    /// The lock to write [default: ../images/NAME/lock.toml, from the
    /// recipe's folder].
    #[arg(long, value_name = "PATH")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    tools: ToolsArgs,
}

impl Lock {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let progress = global.progress();
        let recipe = Recipe::load(&self.recipe)?;
        let path = self.lock.clone().unwrap_or_else(|| lock::Lock::default_path(&recipe));
        let earlier = earlier(&path, &progress)?;
        let accept = accept(&self.accept)?;
        // Before anything slow: without the tools all else would be in vain.
        let tools = lock::tools_in(&self.tools.folder()?)?;
        let store = self.store.open()?;
        let repositories = Repositories::open(&recipe, &store, &progress)?;
        let resolution = solve::resolve(&repositories, &Request::of(&recipe))?;
        let mut new = lock::Lock::new(&recipe, &repositories, &resolution, tools);
        fetch::packages(&new, &recipe, &store, &progress)?;
        let header =
            |locked: &lock::LockedPackage| Package::open_header(&store.blob_path(&locked.sha256));
        let packages = new.packages.iter().map(header).collect::<Result<Vec<_>, _>>()?;
        let skipped = &recipe.packages.skip_scripts;
        new.list_scriptlets(&packages, skipped, earlier.as_ref(), &accept)?;
        let written = new.save(&path)?;
        let changes = earlier.map(|earlier| Changes::between(&earlier, &new));
        let summary = Summary { path, written, new, changes };
        if global.json {
            summary.print_json()
        } else {
            summary.print()
        }
        Ok(())
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
        word.parse().map_err(|_| anyhow::anyhow!("--accept {word}: neither a SHA-256 nor `all`"))
    };
    Ok(Accept::These(words.iter().map(digest).collect::<anyhow::Result<_>>()?))
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
    new: lock::Lock,
    changes: Option<Changes>,
}

impl Summary {
    fn size(&self) -> u64 {
        self.new.packages.iter().map(|package| package.size).sum()
    }

    fn print(&self) {
        let state = match (self.written, &self.changes) {
            (false, _) => "unchanged",
            (true, None) => "new",
            (true, Some(_)) => "changed",
        };
        let count = self.new.packages.len();
        println!("{}: {state}, {count} packages, {}", self.path.display(), bytes(self.size()));
        if let Some(changes) = &self.changes {
            print!("{changes}");
        }
        let waiting = self.waiting();
        if waiting > 0 {
            println!(
                "{waiting} scriptlet(s) are new and not accepted: `slipway build` shows their text, \
                 `slipway lock --accept` accepts them"
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
            "packages": self.new.packages.len(),
            "package_bytes": self.size(),
            "changes": self.changes,
            "scriptlets": self.new.scriptlets.len(),
            "scriptlets_not_accepted": self.waiting(),
        });
        println!("{summary}");
    }
}
