//! Decides where everything lies, before a byte is written. Compressed data has
//! been made by then, since only that tells how much room it takes.

use std::collections::BTreeMap;

use super::directory::{self, Entry, FileType};
use super::inode::{self, DataLayout, DiskInode, SLOT_BYTES};
use super::packed::{self, Packed, PackedFiles};
use super::{BLOCK_BYTES, ErofsError, Extent, Named, Piece};
use crate::tree::{Content, InodeId, Node, Tree, TreePath};

/// End of the superblock, where the first inode lies.
const INODES_START: u64 = 1024 + 128;
/// The same where the compression's settings come between.
const INODES_START_PACKED: u64 = INODES_START + SLOT_BYTES;
/// Longest target of a link, as the kernel's `PATH_MAX` without the NUL.
const MAX_TARGET: usize = 4095;
/// What inodes without data blocks point at.
const NO_BLOCK: u32 = u32::MAX;

/// One inode, placed.
pub struct Placed<'a> {
    /// First of its names.
    pub path: TreePath,
    pub body: Body<'a>,
    pub disk: DiskInode,
    /// Byte in the image where the inode is.
    pub offset: u64,
    /// First block of its data, if it has any.
    pub first_block: u32,
    /// Its data, where that is compressed.
    pub packed: Option<&'a Packed>,
}

/// What an inode's data is made from.
pub enum Body<'a> {
    Directory(Vec<Entry<'a>>),
    File(&'a Content),
    Target(&'a str),
    Nothing,
}

impl<'a> Placed<'a> {
    /// Bytes of data behind the inode itself.
    pub fn inline_bytes(&self) -> u64 {
        match self.disk.data {
            DataLayout::Inline => self.disk.size_bytes % BLOCK_BYTES,
            DataLayout::Plain | DataLayout::Packed => 0,
        }
    }

    /// Blocks of data elsewhere.
    pub fn blocks(&self) -> u64 {
        match self.packed {
            Some(packed) => packed.blocks(),
            None => (self.disk.size_bytes - self.inline_bytes()).div_ceil(BLOCK_BYTES),
        }
    }

    /// Byte in the image where the map of its compressed data is.
    pub fn map_offset(&self) -> u64 {
        (self.offset + self.disk.len_bytes()).next_multiple_of(packed::MAP_ALIGN_BYTES)
    }

    /// Byte after the inode and all that belongs directly behind it.
    fn end(&self) -> u64 {
        match self.packed {
            Some(_) => self.map_offset() + packed::map_bytes(self.disk.size_bytes),
            None => self.offset + self.disk.len_bytes() + self.inline_bytes(),
        }
    }

    /// Number of the inode, as directories name it.
    pub fn nid(&self) -> u64 {
        self.offset / SLOT_BYTES
    }

    /// Makes its data the compressed one.
    fn pack(&mut self, packed: &'a Packed) -> Result<(), ErofsError> {
        let too_many =
            |_| ErofsError::TooLarge { path: self.path.clone(), what: "its compressed size" };
        self.disk.data = DataLayout::Packed;
        self.disk.block_or_device = u32::try_from(packed.blocks()).map_err(too_many)?;
        self.packed = Some(packed);
        Ok(())
    }

    /// Whether its blocks are metadata: those of directories, and of links so
    /// long that they need one.
    pub fn is_metadata(&self) -> bool {
        !matches!(self.body, Body::File(_))
    }
}

/// The whole image, placed.
pub struct Layout<'a> {
    /// Inodes in the order they lie in.
    pub inodes: Vec<Placed<'a>>,
    /// Seconds since 1970.
    pub build_time: u64,
    /// Byte of the first inode, the root's.
    pub inodes_start: u64,
    /// Block after the last inode.
    pub inodes_end: u64,
    /// Whether any data may be compressed.
    pub packs: bool,
    metadata_end: u64,
    end: u64,
}

impl<'a> Layout<'a> {
    /// Places every inode of `tree`, of which `files` have been compressed; with
    /// `None` the image is to be one that knows no compression.
    pub fn of(
        tree: &'a Tree,
        build_time: u64,
        files: Option<&'a PackedFiles>,
    ) -> Result<Self, ErofsError> {
        let names = Names::of(tree);
        let mut inodes = Vec::with_capacity(names.inodes.len());
        for (serial, (path, id, inode)) in names.inodes.iter().enumerate() {
            let body = names.body(tree, *id, path)?;
            let links = names.links(tree, *id);
            let mut placed = measure(path, inode, body, links, build_time, serial)?;
            if let Some(packed) = files.and_then(|files| files.packed(*id)) {
                placed.pack(packed)?;
            }
            inodes.push(placed);
        }
        let packs = files.is_some();
        let inodes_start = if packs { INODES_START_PACKED } else { INODES_START };
        let inodes_end = place_inodes(&mut inodes, inodes_start);
        let metadata_end = place_blocks(&mut inodes, inodes_end, true)?;
        let end = place_blocks(&mut inodes, metadata_end, false)?;
        Ok(Self { inodes, build_time, inodes_start, inodes_end, packs, metadata_end, end })
    }

    /// Length of the image.
    pub fn size_bytes(&self) -> u64 {
        self.end * BLOCK_BYTES
    }

    /// The image's pieces, without gaps.
    pub fn extents(&self) -> Vec<Extent> {
        let metadata = Extent {
            offset_bytes: 0,
            len_bytes: self.metadata_end * BLOCK_BYTES,
            piece: Piece::Metadata,
        };
        let files = self.inodes.iter().filter(|placed| !placed.is_metadata());
        let data = files.filter(|placed| placed.blocks() > 0).map(|placed| Extent {
            offset_bytes: u64::from(placed.first_block) * BLOCK_BYTES,
            len_bytes: placed.blocks() * BLOCK_BYTES,
            piece: Piece::File(placed.path.clone()),
        });
        std::iter::once(metadata).chain(data).collect()
    }
}

/// The tree's inodes in path order, and who names them.
struct Names<'a> {
    inodes: Vec<Named<'a>>,
    index: BTreeMap<InodeId, usize>,
    names: BTreeMap<InodeId, u32>,
    parents: BTreeMap<InodeId, InodeId>,
}

impl<'a> Names<'a> {
    fn of(tree: &'a Tree) -> Self {
        let (mut inodes, mut index) = (Vec::new(), BTreeMap::new());
        let (mut names, mut parents) = (BTreeMap::new(), BTreeMap::new());
        parents.insert(InodeId::ROOT, InodeId::ROOT);
        tree.visit(|path, id| {
            *names.entry(id).or_insert(0) += 1;
            index.entry(id).or_insert_with(|| {
                inodes.push((path.clone(), id, tree.inode(id)));
                inodes.len() - 1
            });
            if let Node::Directory(entries) = &tree.inode(id).node {
                parents.extend(entries.values().map(|child| (*child, id)));
            }
        });
        Self { inodes, index, names, parents }
    }

    /// A directory is named by its parent, by itself, and by each folder in it.
    fn links(&self, tree: &Tree, id: InodeId) -> u32 {
        match &tree.inode(id).node {
            Node::Directory(entries) => entries
                .values()
                .fold(2, |links, child| links + u32::from(tree.inode(*child).node.is_directory())),
            _ => self.names[&id],
        }
    }

    fn body(&self, tree: &'a Tree, id: InodeId, path: &TreePath) -> Result<Body<'a>, ErofsError> {
        Ok(match &tree.inode(id).node {
            Node::Directory(entries) => {
                let entry = |name, id| Entry {
                    name,
                    target: self.index[&id],
                    file_type: FileType::of(&tree.inode(id).node),
                };
                let mut all = vec![entry(".", id), entry("..", self.parents[&id])];
                all.extend(entries.iter().map(|(name, id)| entry(name.as_str(), *id)));
                all.sort_by_key(|entry| entry.name);
                Body::Directory(all)
            }
            Node::File(content) => Body::File(content),
            Node::Symlink(target) if (1..=MAX_TARGET).contains(&target.len()) => {
                Body::Target(target)
            }
            Node::Symlink(target) => {
                return Err(ErofsError::Target { path: path.clone(), len: target.len() });
            }
            Node::CharDevice(..) | Node::BlockDevice(..) | Node::Fifo => Body::Nothing,
        })
    }
}

/// All of an inode but its place.
fn measure<'a>(
    path: &TreePath,
    inode: &crate::tree::Inode,
    body: Body<'a>,
    links: u32,
    build_time: u64,
    serial: usize,
) -> Result<Placed<'a>, ErofsError> {
    let size_bytes = match &body {
        Body::Directory(entries) => directory::size_bytes(entries),
        Body::File(content) => content.size_bytes(),
        Body::Target(target) => target.len() as u64,
        Body::Nothing => 0,
    };
    let too_many = |_| ErofsError::TooLarge { path: path.clone(), what: "number of inodes" };
    let meta = &inode.meta;
    let mut disk = DiskInode {
        mode: FileType::of(&inode.node).mode_bits() | meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        links,
        size_bytes,
        data: DataLayout::Plain,
        block_or_device: inode::device_number(path, inode)?,
        serial: u32::try_from(serial + 1).map_err(too_many)?,
        xattrs: inode::xattr_body(path, &meta.xattrs)?,
        extended: inode::needs_extended(meta, size_bytes, links, build_time),
    };
    disk.data = data_layout(&body, &disk);
    Ok(Placed { path: path.clone(), body, disk, offset: 0, first_block: NO_BLOCK, packed: None })
}

/// Directories keep their last part behind the inode, files only if that is
/// all there is: a larger file then is one piece of the image whatever its
/// metadata is, which keeps it recognisable from one image to the next.
fn data_layout(body: &Body<'_>, disk: &DiskInode) -> DataLayout {
    let tail = disk.size_bytes % BLOCK_BYTES;
    let fits = tail > 0 && disk.len_bytes() + tail <= BLOCK_BYTES;
    let whole = disk.size_bytes < BLOCK_BYTES;
    match body {
        Body::Directory(_) if fits => DataLayout::Inline,
        Body::File(_) | Body::Target(_) if fits && whole => DataLayout::Inline,
        _ => DataLayout::Plain,
    }
}

/// Places inodes one after the other, none across a block's end, and gives the
/// block after the last. The kernel refuses inline data that crosses one. The
/// map of compressed data may.
fn place_inodes(inodes: &mut [Placed<'_>], start: u64) -> u64 {
    let mut at = start;
    for placed in inodes {
        let len = placed.disk.len_bytes() + placed.inline_bytes();
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if len > left {
            at += left;
        }
        placed.offset = at;
        at = placed.end().next_multiple_of(SLOT_BYTES);
    }
    at.div_ceil(BLOCK_BYTES)
}

/// Gives blocks from `next` on to directories or to files; gives the block
/// after the last.
fn place_blocks(
    inodes: &mut [Placed<'_>],
    mut next: u64,
    metadata: bool,
) -> Result<u64, ErofsError> {
    for placed in inodes.iter_mut().filter(|placed| placed.is_metadata() == metadata) {
        if matches!(placed.body, Body::Nothing) {
            continue;
        }
        let blocks = placed.blocks();
        if blocks > 0 {
            let end = next.saturating_add(blocks);
            let start = u32::try_from(next).ok().filter(|_| end < u64::from(u32::MAX));
            placed.first_block = start.ok_or_else(|| ErofsError::TooLarge {
                path: placed.path.clone(),
                what: "the image with this file",
            })?;
            next = end;
        }
        if placed.packed.is_none() {
            placed.disk.block_or_device = placed.first_block;
        }
    }
    Ok(next)
}
