//! The root file system of an image: erofs, which is written natively, or for a
//! kernel that lacks it squashfs or ext4, through their ordinary tools.
//!
//! Each gives the same bytes for the same tree. That of the tools holds for one
//! version of them, so an image that must be built again elsewhere bit for bit
//! wants erofs.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::str::FromStr;

use formats::guid::Guid;

use crate::archive::ArchiveError;
use crate::bundle::Span;
use crate::erofs::{self, ErofsError};
use crate::pieces::{AsWrite, Pieces};
use crate::tree::{ContentError, Tree, TreePath};

mod ext4;
mod squashfs;

#[cfg(test)]
mod tests;

/// A kind of root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileSystem {
    /// Erofs, uncompressed: the quickest, at build and at run time.
    #[default]
    Erofs,
    /// Erofs with LZ4: about half the size.
    ErofsLz4,
    /// Squashfs with gzip, by `sqfstar`.
    Squashfs,
    /// Ext4 without a journal, by `mke2fs` and `debugfs`.
    Ext4,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Erofs, Self::ErofsLz4, Self::Squashfs, Self::Ext4];

    /// As a recipe calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::ErofsLz4 => "erofs-lz4",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
        }
    }

    /// The kernel's module for it.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Erofs | Self::ErofsLz4 => "erofs",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FileSystem {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no root file system\npossible are {all}")
        })
    }
}

/// Why a root file system cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Erofs.
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    /// The tar that a tool reads.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file's bytes could not be had.
    #[error("{path}: its bytes cannot be had")]
    Content {
        /// the file in question
        path: TreePath,
        /// why not
        source: ContentError,
    },
    /// A name or number that a tool cannot be told.
    #[error("{path}: {what} cannot be stored in {kind}")]
    Unstorable {
        /// the file in question
        path: TreePath,
        /// what of it
        what: String,
        /// the file system
        kind: FileSystem,
    },
    /// A tool is missing.
    #[error("{tool} cannot be run; it comes with the package {package}")]
    NoTool {
        /// the tool
        tool: &'static str,
        /// Debian's and Fedora's name of its package
        package: &'static str,
        /// why
        source: io::Error,
    },
    /// A tool failed.
    #[error("{tool} failed: {said}")]
    Tool {
        /// the tool
        tool: &'static str,
        /// its last lines
        said: String,
    },
    /// Where it was to go.
    #[error("cannot write the root file system")]
    Out(#[source] io::Error),
    /// Something that is needed meanwhile.
    #[error("cannot write {path}")]
    Write {
        /// where
        path: PathBuf,
        /// why
        source: io::Error,
    },
}

/// What a root file system is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// its identifier, and what others follow from
    pub id: Guid,
    /// seconds since 1970
    pub time: u64,
    /// folder for what is needed meanwhile
    pub scratch: &'a Path,
}

/// Writes `tree` as a file system of `kind` to `out`, and says which runs of it
/// belong to one file each, in order: none where a tool decided what lies where.
///
/// # Errors
/// If the tree holds what the file system cannot, a file's bytes cannot be had,
/// a tool is missing or fails, or something cannot be written.
pub fn write(
    kind: FileSystem,
    tree: &Tree,
    options: &Options<'_>,
    out: &mut impl Pieces,
) -> Result<Vec<Span>, RootError> {
    let uuid = options.id.uuid_bytes();
    let image = match kind {
        FileSystem::Erofs => erofs::write(tree, uuid, options.time, out),
        FileSystem::ErofsLz4 => erofs::write_lz4(tree, uuid, options.time, options.scratch, out),
        FileSystem::Squashfs => return by_tool(squashfs::write, tree, options, out),
        FileSystem::Ext4 => return by_tool(ext4::write, tree, options, out),
    };
    match image {
        Ok(image) => Ok(image.files.into_iter().map(span).collect()),
        Err(ErofsError::Write(source)) => Err(RootError::Out(source)),
        Err(other) => Err(other.into()),
    }
}

/// Where bundles are to be cut: between files.
fn span(erofs::Extent { offset_bytes, len_bytes }: erofs::Extent) -> Span {
    Span { offset_bytes, len_bytes }
}

/// A tool wants a file of its own.
fn by_tool(
    make: fn(&Tree, &Options<'_>, &Path) -> Result<(), RootError>,
    tree: &Tree,
    options: &Options<'_>,
    out: &mut impl Pieces,
) -> Result<Vec<Span>, RootError> {
    let path = options.scratch.join("root.img");
    let failed = |source| RootError::Write { path: path.clone(), source };
    make(tree, options, &path)?;
    let mut image = File::open(&path).map_err(failed)?;
    io::copy(&mut image, &mut AsWrite(out)).map_err(RootError::Out)?;
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(Vec::new())
}

/// A tool with nothing of the machine in its surroundings but where programs
/// are; plain users' PATH may lack the folder of `mke2fs`.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env_clear().env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.env("LC_ALL", "C").env("TZ", "UTC0");
    command
}

/// That the tool succeeded, or what it said.
fn succeeded(tool: &'static str, done: &Output) -> Result<(), RootError> {
    if done.status.success() {
        return Ok(());
    }
    let said = [&done.stdout[..], &done.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let said = lines[lines.len().saturating_sub(5)..].join("; ");
    Err(RootError::Tool {
        tool,
        said: if said.is_empty() { done.status.to_string() } else { said },
    })
}
