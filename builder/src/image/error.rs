//! Everything that can stand in the way of an image.

use std::io;
use std::path::PathBuf;

use crate::compose;
use crate::disk::DiskError;
use crate::fetch::FetchErrors;
use crate::guest::GuestError;
use crate::inputs::InputsError;
use crate::kernel::KernelError;
use crate::lock::Unaccepted;
use crate::outputs::OutputError;
use crate::package::PackageError;
use crate::progress::counted;
use crate::rootfs::RootError;
use crate::rpmdb::RpmdbError;
use crate::store::StoreError;
use crate::tree::TreeError;
use crate::uki::BadStub;

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Packages.
    #[error("{}", not_fetched(.0))]
    Fetch(FetchErrors),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// More files than are held in memory.
    #[error(
        "the packages have {count} files together, and an image may have {most}: leave packages out"
    )]
    TooManyFiles {
        /// how many there are
        count: usize,
        /// how many are taken
        most: usize,
    },
    /// The tree of all packages.
    #[error(transparent)]
    Compose(#[from] compose::ComposeError),
    /// A change to the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A folder laid over the tree.
    #[error(transparent)]
    Overlay(#[from] crate::tree::OverlayError),
    /// The kernel or its modules.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Scripts that nobody has accepted yet.
    #[error("{}", refused(.scripts))]
    Unaccepted {
        /// the scripts, with their texts
        scripts: Vec<Unaccepted>,
    },
    /// Slipway's own programs.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The package database.
    #[error(transparent)]
    Rpmdb(#[from] RpmdbError<PackageError>),
    /// The root file system.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A disk file or an archive.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// What the image is built from cannot be written beside it.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// The UKI.
    #[error(transparent)]
    Stub(#[from] BadStub),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A value of the recipe has no room in an image's records.
    #[error("{what} {value:?} cannot be written to an image")]
    Text {
        /// which value
        what: &'static str,
        /// the value
        value: String,
    },
    /// What goes into an image exists for one processor only.
    #[error("an image for {} cannot be built yet, only locked", .0.as_str())]
    Arch(crate::recipe::Arch),
    /// A whole image would give way to a disk alone.
    #[error(
        "{folder} has a bundle, which would be gone with --disk-only: name another folder with \
         --out, or remove it"
    )]
    WouldLoseBundle {
        /// the image's folder
        folder: PathBuf,
    },
    /// The lock names no stub.
    #[error("the lock has no part for the EFI stub; lock the recipe again")]
    NoStub,
    /// The output folder or the disk below it.
    #[error("cannot {what} {path}")]
    Io {
        /// what was being done
        what: &'static str,
        /// where
        path: PathBuf,
        /// why
        source: io::Error,
    },
}

/// What to say of scripts that nobody has accepted.
fn refused(scripts: &[Unaccepted]) -> String {
    let list: Vec<String> = scripts.iter().map(ToString::to_string).collect();
    let (are, them) = if scripts.len() == 1 { ("is", "it") } else { ("are", "them") };
    let count = counted(scripts.len(), "scriptlet", "scriptlets");
    format!("{count} {are} new and nobody has accepted {them}:\n\n{}", list.join("\n\n"))
}

/// The failures, and what helps whoever may choose packages anew.
fn not_fetched(errors: &FetchErrors) -> String {
    let advice = "\nor lock again, for what the repositories have now";
    format!("{errors}{}", if errors.any_gone() { advice } else { "" })
}

impl From<FetchErrors> for BuildError {
    fn from(errors: FetchErrors) -> Self {
        Self::Fetch(errors)
    }
}
