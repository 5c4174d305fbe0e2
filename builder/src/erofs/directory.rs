//! Directories: blocks of fixed-size entries followed by their names.

use super::{BLOCK, BLOCK_BYTES};
use crate::tree::Node;

/// `sizeof(struct erofs_dirent)`.
const DIRENT_BYTES: usize = 12;

/// File types as `erofs_fs.h` numbers them, `EROFS_FT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

impl FileType {
    pub fn of(node: &Node) -> Self {
        match node {
            Node::File(_) => Self::Regular,
            Node::Directory(_) => Self::Directory,
            Node::CharDevice(..) => Self::CharDevice,
            Node::BlockDevice(..) => Self::BlockDevice,
            Node::Fifo => Self::Fifo,
            Node::Symlink(_) => Self::Symlink,
        }
    }

    /// `S_IFMT` bits of a mode.
    pub fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// One entry: where it leads and under which name.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub name: &'a str,
    /// Index of the inode in the layout.
    pub target: usize,
    pub file_type: FileType,
}

/// Splits entries, which must be sorted by the bytes of their names as the
/// kernel's binary search expects, into those of each block.
fn blocks<'e, 'a>(entries: &'e [Entry<'a>]) -> impl Iterator<Item = &'e [Entry<'a>]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut used = 0;
        let fits = |entry: &Entry<'_>| {
            used += DIRENT_BYTES + entry.name.len();
            used <= BLOCK
        };
        let count = rest.iter().map(fits).take_while(|fits| *fits).count();
        let (block, after) = rest.split_at(count);
        rest = after;
        (!block.is_empty()).then_some(block)
    })
}

/// Length of the directory's data: all blocks but the last are full.
pub fn size_bytes(entries: &[Entry<'_>]) -> u64 {
    let mut size = 0;
    for block in blocks(entries) {
        let used: usize = block.iter().map(|entry| DIRENT_BYTES + entry.name.len()).sum();
        size = u64::next_multiple_of(size, BLOCK_BYTES) + used as u64;
    }
    size
}

/// The directory's data, `nid` giving the number of each target's inode.
pub fn data(entries: &[Entry<'_>], nid: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut data = Vec::new();
    for block in blocks(entries) {
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let mut name_offset = block.len() * DIRENT_BYTES;
        for entry in block {
            data.extend_from_slice(&nid(entry.target).to_le_bytes());
            let offset = u16::try_from(name_offset).expect("names of a block begin within 4 KiB");
            data.extend_from_slice(&offset.to_le_bytes());
            data.extend_from_slice(&[entry.file_type as u8, 0]);
            name_offset += entry.name.len();
        }
        block.iter().for_each(|entry| data.extend_from_slice(entry.name.as_bytes()));
    }
    data
}
