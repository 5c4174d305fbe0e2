//! `slipway rebuild`: whether an image is what its inputs give.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use formats::trust::Root;
use slipway::rebuild::{self, RebuildError};
use slipway::recipe::RepositoryPlace;
use slipway::unfinished::Unfinished;

use super::results::Mistaken;
use super::{Global, StoreArgs, ToolsArgs};

/// Builds somebody else's image again and says whether it is the same.
///
/// Takes all that an image was built from (recipe, lock, keys of repositories,
/// overlays) from inputs.tar in its folder, fetches the packages that its lock
/// names, and builds. The private keys are not needed: the signatures are taken
/// from the bundle and checked against --root, before anything is built. All
/// else must come out bit for bit the same.
///
/// Prints `identical`, or what differs: in which document, field of the
/// manifest, payload or partition, and which file of it; `here` is the image
/// that was given, `there` the one that was built again. Exit code 0 if they
/// are identical, 3 if not, 1 if that cannot be told or the signatures are
/// refused.
///
/// Slipway's own programs (see --tools) are part of an image; with others than
/// the lock names there is nothing to compare, and it says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway rebuild --verify out/images/demo-1.0.0 --root keys/root.json
  slipway rebuild --verify demo-1.0.0 --repository base=/mnt/mirror --offline
  slipway rebuild --verify demo-1.0.0 --out again    # keeps what was built")]
pub struct Rebuild {
    /// The folder of the image, as `slipway build` made it.
    #[arg(long, value_name = "DIR", required = true)]
    verify: PathBuf,
    /// The trust root that the signatures are held against.
    #[arg(long, value_name = "PATH", default_value = "keys/root.json")]
    root: PathBuf,
    /// Another place of one of its repositories: a folder or a URL. May be
    /// repeated.
    #[arg(long, value_name = "ID=PLACE")]
    repository: Vec<OtherPlace>,
    /// Ask no server: what the store does not have is an error.
    #[arg(long)]
    offline: bool,
    /// Where it is built again; without it, what was built is removed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    tools: ToolsArgs,
}

/// `ID=PLACE`.
#[derive(Debug, Clone)]
struct OtherPlace(String, RepositoryPlace);

impl FromStr for OtherPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, place) = text.split_once('=').ok_or("write ID=FOLDER or ID=https://…")?;
        let place = match place.starts_with("http://") || place.starts_with("https://") {
            true => RepositoryPlace::Http(place.trim_end_matches('/').to_owned()),
            false => RepositoryPlace::Folder(place.trim_start_matches("file://").into()),
        };
        Ok(Self(id.to_owned(), place))
    }
}

impl Rebuild {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let progress = global.progress();
        let root = std::fs::read(&self.root).with_context(|| {
            format!("cannot read the trust root {} (see --root)", self.root.display())
        })?;
        let trusted = Root::first(&root)
            .with_context(|| format!("cannot use the trust root {}", self.root.display()))?;
        let store = self.store.open()?;
        let limit = store.limit()?;
        let scratch = self.scratch()?;
        let out = self.out.as_deref().or(scratch.as_ref().map(Unfinished::path));
        let places: Vec<_> =
            self.repository.iter().map(|one| (one.0.clone(), one.1.clone())).collect();
        let rebuilt = rebuild::Rebuild {
            folder: &self.verify,
            trusted,
            places: &places,
            offline: self.offline,
            store: &store,
            tools: &self.tools.folder()?,
            out: out.unwrap_or(Path::new("out")),
            progress: &progress,
        }
        .run()
        .map_err(|error| match error {
            RebuildError::NoRepository { .. } => Mistaken(error.to_string()).into(),
            other => anyhow::Error::from(other),
        })?;
        super::store::apply_limit(&store, limit, &progress);
        Ok(super::compare::report(&rebuilt.differences, global))
    }

    /// Where it is built if the result is not wanted.
    fn scratch(&self) -> anyhow::Result<Option<Unfinished>> {
        match &self.out {
            Some(out) => {
                std::fs::create_dir_all(out)
                    .with_context(|| format!("cannot make {}", out.display()))?;
                Ok(None)
            }
            None => Ok(Some(Unfinished::scratch(&std::env::temp_dir())?)),
        }
    }
}
