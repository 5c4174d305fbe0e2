//! `slipway build`: from a lock to a signed image.

use std::path::PathBuf;

use clap::Args;
use slipway::image::{self, BuildError};
use slipway::keys::Signing;
use slipway::lock::Lock;
use slipway::recipe::Recipe;
use slipway::vendor;

use super::advice::CommandLine;
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
        .run()
        .map_err(|error| self.advised(error))?;
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
            println!("script  {scriptlet} was not run, as the recipe says");
        }
        for scriptlet in &built.scriptlets_failed {
            println!("script  {scriptlet}");
        }
        Ok(())
    }

    /// `error`, with the command that goes on from it.
    fn advised(&self, error: BuildError) -> anyhow::Error {
        let BuildError::Unaccepted { scripts } = &error else { return error.into() };
        let line = CommandLine::slipway("lock")
            .path(&self.recipe)
            .option("--lock", self.lock.as_deref())
            .option("--store", self.store.store.as_deref())
            .option("--tools", self.tools.tools.as_deref())
            .flag("--offline", self.offline)
            .word("--accept");
        let line =
            scripts.iter().fold(line, |line, one| line.word(&one.script.digest().to_string()));
        let advice = match scripts.len() {
            1 => "read it; then accept it with",
            _ => "read them; then accept them, or `all`, with",
        };
        anyhow::anyhow!("{error}\n\n{advice}\n  {line}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use slipway::lock::Unaccepted;
    use slipway::package::{Phase, ScriptFlags, Scriptlet};

    use super::*;
    use crate::cli::{Cli, Command};

    fn advice(arguments: &[&str]) -> String {
        let arguments = [&["slipway", "build"], arguments].concat();
        let Command::Build(build) = Cli::parse_from(arguments).command else { panic!("build") };
        let script = Scriptlet {
            phase: Phase::Post,
            program: vec!["/bin/sh".to_owned()],
            text: "ldconfig".to_owned(),
            flags: ScriptFlags::default(),
            conditions: Vec::new(),
            priority: 0,
        };
        let scripts = vec![Unaccepted { package: "kit".to_owned(), script }];
        let text = build.advised(BuildError::Unaccepted { scripts }).to_string();
        text.lines().last().unwrap_or_default().trim().to_owned()
    }

    #[test]
    fn what_to_do_about_a_script_can_be_typed_as_it_stands() {
        let line = advice(&["recipes/a.toml"]);
        assert!(line.starts_with("slipway lock recipes/a.toml --accept "), "{line}");
        let line = advice(&[
            "my recipes/a.toml",
            "--lock=out/lock.toml",
            "--store=s",
            "--tools=t",
            "--offline",
            "--keys=k",
            "--out=o",
            "--disk-only",
        ]);
        let start = "slipway lock 'my recipes/a.toml' --lock out/lock.toml --store s --tools t \
                     --offline --accept ";
        assert!(line.starts_with(start), "{line}");
        let lock = Cli::try_parse_from(line.replace('\'', "").replace("my r", "my-r").split(' '));
        assert!(lock.is_ok(), "{lock:?}");
    }
}
