//! The tree as something that container tools read: a tar archive, or an OCI
//! image of one layer. No kernel is needed for either, and nothing of the
//! machine that builds shows in them: the same tree gives the same bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use crate::tree::{ContentError, Tree, TreePath};

mod gzip;
mod oci;
mod tar;

#[cfg(test)]
mod tests;

pub use oci::Named;

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Archive {
    /// POSIX tar with pax headers.
    Tar,
    /// An OCI image layout in a tar, as `skopeo` names it: `oci-archive:`.
    Oci,
}

impl Archive {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Tar, Self::Oci];

    /// As a recipe calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Oci => "oci",
        }
    }

    /// Name of the file in the image's folder.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Tar => "root.tar",
            Self::Oci => "root.oci.tar",
        }
    }

    /// Writes `tree` as a tar to `out`.
    ///
    /// # Errors
    /// As [`Archive::write`].
    pub fn stream_tar(tree: &Tree, out: &mut impl Write) -> Result<(), ArchiveError> {
        tar::write(tree, out)
    }

    /// Writes `tree` to a new file at `path`. What is needed meanwhile goes to
    /// unnamed files in `scratch`.
    ///
    /// # Errors
    /// If a name or attribute cannot be stored, a file's bytes cannot be had, or
    /// `path` or `scratch` cannot be written.
    pub fn write(
        self,
        tree: &Tree,
        named: &Named<'_>,
        scratch: &Path,
        path: &Path,
    ) -> Result<(), ArchiveError> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        match self {
            Self::Tar => tar::write(tree, &mut out)?,
            Self::Oci => oci::write(tree, named, scratch, &mut out)?,
        }
        Ok(out.flush()?)
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Archive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|archive| archive.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no kind of archive\npossible are {all}")
        })
    }
}

/// Why a tree cannot be an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A name that a pax header cannot hold.
    #[error("{path}: attribute {name:?} cannot be stored in a tar")]
    Xattr {
        /// the file in question
        path: TreePath,
        /// full name of the attribute
        name: String,
    },
    /// A file's bytes could not be had.
    #[error("{path}: its bytes cannot be had")]
    Content {
        /// the file in question
        path: TreePath,
        /// why not
        source: ContentError,
    },
    /// The archive could not be written.
    #[error("writing the archive")]
    Write(#[from] io::Error),
}
