//! What an image is handed over as, besides its bundle: the disk in each format
//! and the tree in each kind of archive that the recipe names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::archive::{ArchiveError, Named};
use crate::disk::format::DiskFormat;
use crate::recipe::Recipe;
use crate::staging::Staging;
use crate::tree::Tree;

/// Why a file cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// An archive of the tree.
    #[error("cannot make {path}")]
    Archive {
        /// where
        path: PathBuf,
        /// why
        source: ArchiveError,
    },
    /// A disk file.
    #[error("cannot write {path}")]
    Disk {
        /// where
        path: PathBuf,
        /// why
        source: io::Error,
    },
}

/// Where the raw disk is made: among the results if it is one of them.
#[must_use]
pub fn raw_disk(recipe: &Recipe, staging: &Staging) -> PathBuf {
    let file = DiskFormat::Raw.file_name();
    if recipe.disk.formats.contains(&DiskFormat::Raw) {
        staging.path(file)
    } else {
        staging.scratch(file)
    }
}

/// Writes the disk at `raw` in each other format of the recipe. Identifiers
/// follow from `seed`.
pub fn disks(
    recipe: &Recipe,
    raw: &Path,
    seed: &[u8],
    staging: &Staging,
) -> Result<(), OutputError> {
    let failed = |path: &Path, source| OutputError::Disk { path: path.into(), source };
    let disk = File::open(raw).map_err(|source| failed(raw, source))?;
    for format in recipe.disk.formats.iter().filter(|format| **format != DiskFormat::Raw) {
        let path = staging.path(format.file_name());
        format.write(&disk, seed, &path).map_err(|source| failed(&path, source))?;
    }
    Ok(())
}

/// Writes the tree in each kind of archive of the recipe.
pub fn archives(
    recipe: &Recipe,
    tree: &Tree,
    time: u64,
    staging: &Staging,
) -> Result<(), OutputError> {
    let named = Named {
        name: recipe.name.as_str(),
        version: recipe.version.as_str(),
        arch: recipe.arch.as_str(),
        time,
    };
    for archive in &recipe.root.archives {
        let path = staging.path(archive.file_name());
        archive
            .write(tree, &named, &staging.scratch(""), &path)
            .map_err(|source| OutputError::Archive { path, source })?;
    }
    Ok(())
}

/// Names of the disk files in the image's folder, the raw one first.
pub fn disk_files(recipe: &Recipe) -> impl Iterator<Item = &'static str> {
    recipe.disk.formats.iter().map(|format| format.file_name())
}

/// Names of the archives in the image's folder.
pub fn archive_files(recipe: &Recipe) -> impl Iterator<Item = &'static str> {
    recipe.root.archives.iter().map(|archive| archive.file_name())
}
