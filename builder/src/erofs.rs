//! Writes a tree as an EROFS image of 4 KiB blocks, in one pass: uncompressed,
//! or with LZ4.
//!
//! ```text
//! 0        1 KiB   1152                 whole blocks          whole blocks
//! | zeros | super | inodes, small files | directory blocks    | file data, by path |
//! ```
//!
//! The same tree gives the same bytes. Metadata comes first and each larger
//! file's data lies in one piece on block boundaries, so images can be cut where
//! files end. Only what Linux 5.4 already reads is used; with LZ4, what 5.13
//! reads. Memory goes with the number of inodes, not with their sizes: some 60
//! bytes for each. Structures and names follow Linux' `fs/erofs/erofs_fs.h`.

use std::io;
use std::path::Path;

use crate::pieces::Pieces;
use crate::tree::{ContentError, Tree, TreePath};

mod directory;
mod inode;
mod layout;
mod lz4;
mod packed;
mod packer;
mod writer;

/// Block size, bytes: what every kernel and page size of x86-64 takes.
pub const BLOCK_BYTES: u64 = BLOCK as u64;
/// The same, as memory is counted.
const BLOCK: usize = 4096;

/// The data of one file in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the image, a multiple of [`BLOCK_BYTES`].
    pub offset_bytes: u64,
    /// Length, a multiple of [`BLOCK_BYTES`]; zeros fill the last block.
    pub len_bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErofsImage {
    /// Length of the image, a multiple of [`BLOCK_BYTES`].
    pub size_bytes: u64,
    /// The data of files, in order. There are no gaps; all before it is
    /// superblock, inodes, small files and directories.
    pub files: Vec<Extent>,
}

/// Why a tree cannot be an EROFS image.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// More than a 32-bit number of blocks, inodes or links can count.
    #[error("{path}: {what} does not fit the format")]
    TooLarge {
        /// The file in question.
        path: TreePath,
        /// What there is too much of.
        what: &'static str,
    },
    /// A name that the format cannot hold.
    #[error("{path}: attribute {name:?} cannot be stored")]
    Xattr {
        /// The file in question.
        path: TreePath,
        /// Full name of the attribute.
        name: String,
    },
    /// A link's target is empty or longer than a path may be.
    #[error("{path}: target of {len} bytes")]
    Target {
        /// The link in question.
        path: TreePath,
        /// Length of the target in bytes.
        len: usize,
    },
    /// A file's bytes could not be had.
    #[error("{path}: its bytes cannot be had")]
    Content {
        /// The file in question.
        path: TreePath,
        /// Why not.
        source: ContentError,
    },
    /// Compressed data could not be kept until it was its turn.
    #[error("keeping compressed data in the scratch folder")]
    Scratch(#[source] io::Error),
    /// The image could not be written.
    #[error("writing the erofs image")]
    Write(#[source] io::Error),
}

/// Writes `tree` to `out`. `build_time`, in seconds since 1970, goes into the
/// superblock, and inodes of that time are stored more tightly.
///
/// # Errors
/// If the tree holds what the format cannot, a file's bytes cannot be had, or
/// `out` fails.
pub fn write(
    tree: &Tree,
    uuid: [u8; 16],
    build_time: u64,
    out: &mut impl Pieces,
) -> Result<ErofsImage, ErofsError> {
    let layout = layout::Layout::of(tree, build_time, None)?;
    writer::Writer::new(&layout, uuid, None, out).write()?;
    Ok(ErofsImage { size_bytes: layout.size_bytes(), files: layout.files() })
}

/// As [`write`], with the data of files compressed by LZ4 where that saves a
/// block. The compressed data lies in unnamed files in `scratch` meanwhile.
///
/// # Errors
/// As [`write`], or if `scratch` cannot be written.
pub fn write_lz4(
    tree: &Tree,
    uuid: [u8; 16],
    build_time: u64,
    scratch: &Path,
    out: &mut impl Pieces,
) -> Result<ErofsImage, ErofsError> {
    let files = packer::pack(tree, scratch)?;
    let layout = layout::Layout::of(tree, build_time, Some(&files))?;
    writer::Writer::new(&layout, uuid, Some(&files), out).write()?;
    Ok(ErofsImage { size_bytes: layout.size_bytes(), files: layout.files() })
}

#[cfg(test)]
mod tests;
