//! `slipway build`: from a lock to a signed image.

use std::path::PathBuf;

use clap::Args;
use slipway::image;
use slipway::keys::Signing;
use slipway::lock::Lock;
use slipway::recipe::Recipe;
use slipway::vendor;

use super::{Global, StoreArgs, ToolsArgs};

/// Builds a signed image from a recipe and its lock.
///
/// Takes every package from the lock and nothing else: each is fetched into the
/// store if it is not there, and its SHA-256 and OpenPGP signature are checked
/// before anything is unpacked. Refuses a lock that does not fit the recipe any
/// more; lock it again then.
///
/// Makes `DIR/NAME-VERSION/` with the disk of a new machine (disk.raw, or the
/// formats the recipe names: disk.vhdx, disk-fixed.vhdx, disk.qcow2), the tree
/// as root.tar or root.oci.tar where the recipe asks for it, NAME_VERSION.bundle
/// (the signed update), manifest.json, packages.txt, layout.txt, lock.toml and
/// inputs.tar (all it was built from, for `slipway rebuild`). The folder appears
/// whole or not at all. Needs no root, no mount
/// and no loop device.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway keys new keys-private
  slipway build recipes/demo.toml --keys keys-private --out out")]
pub struct Build {
    /// The recipe.
    recipe: PathBuf,
    /// The lock [default: ../images/NAME/lock.toml, from the recipe's folder].
    #[arg(long, value_name = "PATH")]
    lock: Option<PathBuf>,
    /// Folder with root.json and targets.key.pem, which sign the bundle.
    #[arg(long, value_name = "DIR", default_value = "keys")]
    keys: PathBuf,
    /// Where the image's folder is made.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Ask no server: what the store does not have is an error that names it.
    ///
    /// Folders that are repositories are still read. See `slipway vendor`.
    #[arg(long)]
    offline: bool,
    /// Make no update bundle and no manifest: for trying changes, in a fraction
    /// of the time.
    #[arg(long)]
    disk_only: bool,
    /// Build even if recipe, lock, keys and this program are those that the
    /// image in DIR was built from.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    tools: ToolsArgs,
}

impl Build {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let progress = global.progress();
        let mut recipe = Recipe::load(&self.recipe)?;
        let path = self.lock.clone().unwrap_or_else(|| Lock::default_path(&recipe));
        let lock = Lock::load(&path)?;
        lock.check_fits(&recipe, &path)?;
        if self.offline {
            recipe.go_offline();
        }
        let store = self.store.open()?;
        // Those of a vendored store are the ones that were locked.
        let vendored = vendor::tools_of(&store, &lock.tools)?;
        let tools = match &vendored {
            Some(folder) => folder.path().to_owned(),
            None => self.tools.folder()?,
        };
        lock.check_tools(&tools, &path)?;
        let signing = Signing::load(&self.keys)?;
        let limit = store.limit()?;
        let built = image::Build {
            recipe: &recipe,
            lock: &lock,
            store: &store,
            tools: &tools,
            signing: &signing,
            out: &self.out,
            bundle: !self.disk_only,
            again: self.again,
            progress: &progress,
        }
        .run()?;
        super::store::apply_limit(&store, limit, &progress);
        if global.json {
            println!("{}", serde_json::to_string(&built)?);
            return Ok(());
        }
        for disk in &built.disks {
            println!("disk    {}", disk.display());
        }
        for archive in &built.archives {
            println!("tree    {}", archive.display());
        }
        if let Some(bundle) = &built.bundle {
            println!("bundle  {}", bundle.display());
        }
        println!("root    {}", built.root_hash);
        for scriptlet in &built.scriptlets_not_run {
            println!("not run {scriptlet}");
        }
        for scriptlet in &built.scriptlets_failed {
            println!("failed  {scriptlet}");
        }
        Ok(())
    }
}
