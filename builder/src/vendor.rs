//! Everything a lock names in one folder: a store with the packages and
//! Slipway's programs in it, and beside them what else a build needs. A build
//! from it asks no server.
//!
//! ```text
//! DIR/sha256/…            packages and programs, as in every store
//! DIR/images/<name>/      recipe.toml, lock.toml, keys/, overlay/
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use formats::Digest;

use crate::inputs::{self, InputsError};
use crate::lock::{Lock, LockedTool};
use crate::progress::{Progress, Unit, bytes, counted};
use crate::recipe::Recipe;
use crate::store::{Store, StoreError};
use crate::unfinished::Unfinished;

/// Something cannot be vendored.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// A file that is to be carried along.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A blob that does not get into the folder.
    #[error("cannot copy {path}")]
    Copy {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// Recipe, lock, keys or overlays.
    #[error(transparent)]
    Inputs(#[from] InputsError),
}

/// What was written.
#[derive(Debug, serde::Serialize)]
pub struct Vendored {
    /// The folder, which is a store.
    pub store: PathBuf,
    /// The recipe to build there.
    pub recipe: PathBuf,
    /// Files of it, by digest.
    pub blobs: usize,
    /// Bytes of them.
    pub blob_bytes: u64,
    /// Bytes of them that were not there before.
    pub copied_bytes: u64,
}

/// Copies all that `lock` names from `store`, where its packages are, and from
/// the folder `tools` to the store `out`. What is there already stays; several
/// images may share one folder.
pub fn vendor(
    recipe: &Recipe,
    lock: &Lock,
    tools: &Path,
    store: &Store,
    out: &Store,
    progress: &Progress,
) -> Result<Vendored, VendorError> {
    let packages = lock
        .all_packages()
        .map(|package| (store.blob_path(&package.sha256), package.size, package.sha256));
    let programs = lock.tools.iter().map(|tool| (tools.join(&tool.name), tool.size, tool.sha256));
    let mut blobs: Vec<(PathBuf, u64, Digest)> = packages.chain(programs).collect();
    blobs.sort_by_key(|(_, _, digest)| *digest);
    blobs.dedup_by_key(|(_, _, digest)| *digest);
    let total = blobs.iter().map(|(_, size, _)| size).sum();
    let step = progress.step("copy", total, Unit::Bytes);
    let mut copied = 0;
    for (path, size, digest) in &blobs {
        if !out.has(digest, *size) {
            let read = |source| VendorError::Io { path: path.clone(), source };
            let file = File::open(path).map_err(read)?;
            let failed = |source| VendorError::Copy { path: path.clone(), source };
            out.insert(file, *size, digest).map_err(failed)?;
            copied += size;
        }
        step.advance(*size);
    }
    let files = counted(blobs.len(), "file", "files");
    step.outcome(format!("{files} with {}", bytes(total)));
    let folder = out.root().join("images").join(recipe.name.as_str());
    inputs::write_folder(recipe, lock, &folder)?;
    Ok(Vendored {
        store: out.root().to_owned(),
        recipe: folder.join(inputs::RECIPE_FILE),
        blobs: blobs.len(),
        blob_bytes: total,
        copied_bytes: copied,
    })
}

/// The programs that a lock names, from a store that has them all: a folder
/// that goes away when it is dropped.
pub fn tools_of(store: &Store, tools: &[LockedTool]) -> io::Result<Option<Unfinished>> {
    if tools.is_empty() || !tools.iter().all(|tool| store.has(&tool.sha256, tool.size)) {
        return Ok(None);
    }
    let folder = Unfinished::scratch(&std::env::temp_dir())?;
    for tool in tools {
        std::fs::copy(store.blob_path(&tool.sha256), folder.path().join(&tool.name))?;
    }
    Ok(Some(folder))
}
