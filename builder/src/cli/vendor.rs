//! `slipway vendor`: everything a lock names, in one folder.

use std::path::PathBuf;

use clap::Args;
use slipway::lock::Lock;
use slipway::progress::{bytes, counted};
use slipway::recipe::Recipe;
use slipway::store::Store;
use slipway::{fetch, vendor};

use super::advice::CommandLine;
use super::{Global, StoreArgs, ToolsArgs};

/// Writes everything that a lock names into a folder, to build without a
/// network.
///
/// The folder is a store: `slipway build --offline --store DIR` takes
/// everything from it. It holds every package with its SHA-256, slipway's own
/// programs, and under images/NAME/ the recipe as one file, its lock, the keys
/// of its repositories and its overlays.
///
/// Packages vanish from repositories; whoever wants to build a release again in
/// a year keeps such a folder. Several images may share one; vendoring again
/// copies only what is new, and a folder on a stick may be pulled out at any
/// moment.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway vendor recipes/demo.toml --out /mnt/stick
  slipway build /mnt/stick/images/demo/recipe.toml --offline --store /mnt/stick --keys keys-private")]
pub struct Vendor {
    /// The recipe.
    recipe: PathBuf,
    /// The lock [default: ../images/NAME/lock.toml, from the recipe's folder].
    #[arg(long, value_name = "PATH")]
    lock: Option<PathBuf>,
    /// The folder; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    tools: ToolsArgs,
}

impl Vendor {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let progress = global.progress();
        let recipe = Recipe::load(&self.recipe)?;
        let path = self.lock.clone().unwrap_or_else(|| Lock::default_path(&recipe));
        let lock = Lock::load(&path)?;
        lock.check_fits(&recipe, &path)?;
        let tools = self.tools.folder()?;
        lock.check_tools(&tools, &path)?;
        let (store, out) = (self.store.open()?, Store::open(&self.out)?);
        let limit = store.limit()?;
        fetch::packages(&lock, &recipe, &store, &progress)?;
        let vendored = vendor::vendor(&recipe, &lock, &tools, &store, &out, &progress)?;
        // The lease of the folder ends here: it may be unmounted now.
        drop(out);
        super::store::apply_limit(&store, limit, &progress);
        if global.json {
            println!("{}", serde_json::to_string(&vendored)?);
            return Ok(());
        }
        println!(
            "{}: {}, {}, {} of it new",
            vendored.store.display(),
            counted(vendored.blobs, "file", "files"),
            bytes(vendored.blob_bytes),
            bytes(vendored.copied_bytes),
        );
        let line = CommandLine::slipway("build")
            .path(&vendored.recipe)
            .word("--offline")
            .option("--store", Some(&vendored.store));
        println!("build it with\n  {line} --keys KEYS");
        Ok(())
    }
}
