//! Decides where everything lies, before a byte is written. Compressed data has
//! been made by then, since only that tells how much room it takes.
//!
//! Of an inode only its place is kept; what the tree knows is asked of it again,
//! so that a million inodes take 60 MB and not ten times as much.

use std::collections::btree_map;

use super::directory::{self, Entry, FileType};
use super::inode::{self, DataLayout, DiskInode, SLOT_BYTES};
use super::packed::{self, Packed, PackedFiles};
use super::{BLOCK_BYTES, ErofsError, Extent};
use crate::tree::{Inode, InodeId, Node, Tree, TreePath};

/// End of the superblock, where the first inode lies.
const INODES_START: u64 = 1024 + 128;
/// The same where the compression's settings come between.
const INODES_START_PACKED: u64 = INODES_START + SLOT_BYTES;
/// Longest target of a link, as the kernel's `PATH_MAX` without the NUL.
const MAX_TARGET: usize = 4095;
/// What inodes without data blocks point at.
const NO_BLOCK: u32 = u32::MAX;
/// An inode of the tree that no name leads to.
const NOWHERE: u32 = u32::MAX;

/// One inode, placed.
pub struct Placed<'a> {
    pub inode: &'a Inode,
    /// Its data, where that is compressed.
    packed: Option<&'a Packed>,
    pub size_bytes: u64,
    /// Byte in the image where the inode is.
    pub offset: u64,
    /// First block of its data, if it has any.
    pub first_block: u32,
    /// Bytes of the inode and its attributes.
    len_bytes: u16,
    data: DataLayout,
    /// How many names it has, or folders name it.
    links: u32,
    /// Index of the directory that it is first found in.
    parent: u32,
}

impl<'a> Placed<'a> {
    /// Bytes of data behind the inode itself.
    pub fn inline_bytes(&self) -> u64 {
        match self.data {
            DataLayout::Inline => self.size_bytes % BLOCK_BYTES,
            DataLayout::Plain | DataLayout::Packed => 0,
        }
    }

    /// Blocks of data elsewhere.
    pub fn blocks(&self) -> u64 {
        match self.packed {
            Some(packed) => packed.blocks(),
            None => (self.size_bytes - self.inline_bytes()).div_ceil(BLOCK_BYTES),
        }
    }

    /// Its compressed data.
    pub fn packed(&self) -> Option<&'a Packed> {
        self.packed
    }

    /// Byte in the image where the map of its compressed data is.
    pub fn map_offset(&self) -> u64 {
        (self.offset + u64::from(self.len_bytes)).next_multiple_of(packed::MAP_ALIGN_BYTES)
    }

    /// Byte after the inode and all that belongs directly behind it.
    fn end(&self) -> u64 {
        match self.packed {
            Some(_) => self.map_offset() + packed::map_bytes(self.size_bytes),
            None => self.offset + u64::from(self.len_bytes) + self.inline_bytes(),
        }
    }

    /// Whether its blocks are metadata: those of directories, and of links so
    /// long that they need one.
    pub fn is_metadata(&self) -> bool {
        !matches!(self.inode.node, Node::File(_))
    }

    /// Whether it may have data at all.
    fn has_data(&self) -> bool {
        matches!(self.inode.node, Node::File(_) | Node::Directory(_) | Node::Symlink(_))
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
    /// Index in `inodes` for each inode of the tree, by its number.
    index: Vec<u32>,
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
        let packs = files.is_some();
        let inodes_start = if packs { INODES_START_PACKED } else { INODES_START };
        let mut layout = Self {
            inodes: Vec::new(),
            build_time,
            inodes_start,
            inodes_end: 0,
            packs,
            index: Vec::new(),
            metadata_end: 0,
            end: 0,
        };
        layout.find(tree, files)?;
        for at in 0..layout.inodes.len() {
            layout.measure(at)?;
        }
        layout.inodes_end = layout.place_inodes();
        layout.metadata_end = layout.place_blocks(layout.inodes_end, true)?;
        layout.end = layout.place_blocks(layout.metadata_end, false)?;
        Ok(layout)
    }

    /// Length of the image.
    pub fn size_bytes(&self) -> u64 {
        self.end * BLOCK_BYTES
    }

    /// Where the data of files lies.
    pub fn files(&self) -> Vec<Extent> {
        let files = self.inodes.iter().filter(|placed| !placed.is_metadata());
        let data = files.filter(|placed| placed.blocks() > 0).map(|placed| Extent {
            offset_bytes: u64::from(placed.first_block) * BLOCK_BYTES,
            len_bytes: placed.blocks() * BLOCK_BYTES,
        });
        data.collect()
    }

    /// The inode at `at` as it lies on disk.
    pub fn disk(&self, at: usize) -> Result<DiskInode, ErofsError> {
        let placed = &self.inodes[at];
        let (meta, path) = (&placed.inode.meta, || self.path(at));
        let too_many = |what| move |_| ErofsError::TooLarge { path: self.path(at), what };
        let block_or_device = match (placed.packed, placed.has_data()) {
            (Some(packed), _) => {
                u32::try_from(packed.blocks()).map_err(too_many("its compressed size"))?
            }
            (None, true) => placed.first_block,
            (None, false) => inode::device_number(path, placed.inode)?,
        };
        Ok(DiskInode {
            mode: FileType::of(&placed.inode.node).mode_bits() | meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            links: placed.links,
            size_bytes: placed.size_bytes,
            data: placed.data,
            block_or_device,
            serial: u32::try_from(at + 1).map_err(too_many("number of inodes"))?,
            xattrs: inode::xattr_body(path, &meta.xattrs)?,
            extended: inode::needs_extended(meta, placed.size_bytes, placed.links, self.build_time),
        })
    }

    /// The directory's entries, sorted by the bytes of their names.
    pub fn entries(&self, at: usize) -> Vec<Entry<'a>> {
        let entry = |name, target: usize| Entry {
            name,
            target,
            file_type: FileType::of(&self.inodes[target].inode.node),
        };
        let parent = self.inodes[at].parent as usize;
        let mut all = vec![entry(".", at), entry("..", parent)];
        all.extend(self.children(at).map(|(name, target)| entry(name, target)));
        all.sort_by_key(|entry| entry.name);
        all
    }

    /// Number of the inode at `at`, as directories name it.
    pub fn nid(&self, at: usize) -> u64 {
        self.inodes[at].offset / SLOT_BYTES
    }

    /// First of the names of the inode at `at`, for messages.
    pub fn path(&self, at: usize) -> TreePath {
        let mut names = Vec::new();
        let mut at = at;
        while at > 0 {
            let parent = self.inodes[at].parent as usize;
            let name = self.children(parent).find(|(_, child)| *child == at);
            names.push(name.map_or("?", |(name, _)| name));
            at = parent;
        }
        let join = |path: TreePath, name: &&str| path.join(name).unwrap_or(path);
        names.iter().rev().fold(TreePath::root(), join)
    }

    fn children(&self, at: usize) -> impl Iterator<Item = (&'a str, usize)> {
        let entries = match &self.inodes[at].inode.node {
            Node::Directory(entries) => Some(entries),
            _ => None,
        };
        let index = &self.index;
        let child =
            |(name, id): (&'a String, &InodeId)| (name.as_str(), index[id.number()] as usize);
        entries.into_iter().flatten().map(child)
    }

    /// Lists every inode in path order, with who names it.
    fn find(&mut self, tree: &'a Tree, files: Option<&'a PackedFiles>) -> Result<(), ErofsError> {
        let packed = |id| files.and_then(|files| files.packed(id));
        let mut open: Vec<(u32, btree_map::Iter<'a, String, InodeId>)> = Vec::new();
        let mut next = Some((0, InodeId::ROOT));
        loop {
            if let Some((parent, id)) = next {
                let inode = tree.inode(id);
                let at = self.add(inode, id, parent, packed(id))?;
                if let (Some(at), Node::Directory(entries)) = (at, &inode.node) {
                    open.push((at, entries.iter()));
                }
            }
            let Some((parent, entries)) = open.last_mut() else { return Ok(()) };
            next = entries.next().map(|(_, id)| (*parent, *id));
            if next.is_none() {
                open.pop();
            }
        }
    }

    /// Adds an inode, or to one that is there a name: then there is no index.
    fn add(
        &mut self,
        inode: &'a Inode,
        id: InodeId,
        parent: u32,
        packed: Option<&'a Packed>,
    ) -> Result<Option<u32>, ErofsError> {
        let number = id.number();
        if self.index.len() <= number {
            self.index.resize(number + 1, NOWHERE);
        }
        if let Some(known) = self.inodes.get_mut(self.index[number] as usize) {
            known.links = known.links.saturating_add(1);
            return Ok(None);
        }
        let at = u32::try_from(self.inodes.len()).ok().filter(|at| *at < NOWHERE);
        let at = at.ok_or_else(|| ErofsError::TooLarge {
            path: self.path(parent as usize),
            what: "number of inodes",
        })?;
        self.index[number] = at;
        let links = match &inode.node {
            Node::Directory(_) => 2, // by its parent and by itself
            _ => 1,
        };
        if inode.node.is_directory() && at > 0 {
            // a folder names the one it is in
            let above = &mut self.inodes[parent as usize];
            above.links = above.links.saturating_add(1);
        }
        let data = DataLayout::Plain;
        let (first_block, offset, size_bytes, len_bytes) = (NO_BLOCK, 0, 0, 0);
        self.inodes.push(Placed {
            inode,
            packed,
            size_bytes,
            offset,
            first_block,
            len_bytes,
            data,
            links,
            parent,
        });
        Ok(Some(at))
    }

    /// How much room it takes.
    fn measure(&mut self, at: usize) -> Result<(), ErofsError> {
        let size_bytes = match &self.inodes[at].inode.node {
            Node::Directory(_) => directory::size_bytes(&self.entries(at)),
            Node::File(content) => content.size_bytes(),
            Node::Symlink(target) if (1..=MAX_TARGET).contains(&target.len()) => {
                target.len() as u64
            }
            Node::Symlink(target) => {
                return Err(ErofsError::Target { path: self.path(at), len: target.len() });
            }
            Node::CharDevice(..) | Node::BlockDevice(..) | Node::Fifo => 0,
        };
        self.inodes[at].size_bytes = size_bytes;
        let len_bytes = self.disk(at)?.len_bytes();
        let placed = &mut self.inodes[at];
        placed.len_bytes = u16::try_from(len_bytes).expect("limited by XATTR_MAX_BYTES");
        placed.data = match placed.packed {
            Some(_) => DataLayout::Packed,
            None => data_layout(&placed.inode.node, size_bytes, len_bytes),
        };
        Ok(())
    }

    /// Places inodes one after the other, none across a block's end, and gives
    /// the block after the last. The kernel refuses inline data that crosses
    /// one. The map of compressed data may.
    fn place_inodes(&mut self) -> u64 {
        let mut at = self.inodes_start;
        for placed in &mut self.inodes {
            let len = u64::from(placed.len_bytes) + placed.inline_bytes();
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
    fn place_blocks(&mut self, mut next: u64, metadata: bool) -> Result<u64, ErofsError> {
        for at in 0..self.inodes.len() {
            let placed = &mut self.inodes[at];
            let blocks = placed.blocks();
            if placed.is_metadata() != metadata || !placed.has_data() || blocks == 0 {
                continue;
            }
            let end = next.saturating_add(blocks);
            match u32::try_from(next).ok().filter(|_| end < u64::from(u32::MAX)) {
                Some(first_block) => placed.first_block = first_block,
                None => {
                    let what = "the image with this file";
                    return Err(ErofsError::TooLarge { path: self.path(at), what });
                }
            }
            next = end;
        }
        Ok(next)
    }
}

/// Directories keep their last part behind the inode, files only if that is
/// all there is: a larger file then is one piece of the image whatever its
/// metadata is, which keeps it recognisable from one image to the next.
fn data_layout(node: &Node, size_bytes: u64, inode_bytes: u64) -> DataLayout {
    let tail = size_bytes % BLOCK_BYTES;
    let fits = tail > 0 && inode_bytes + tail <= BLOCK_BYTES;
    let whole = size_bytes < BLOCK_BYTES;
    match node {
        Node::Directory(_) if fits => DataLayout::Inline,
        Node::File(_) | Node::Symlink(_) if fits && whole => DataLayout::Inline,
        _ => DataLayout::Plain,
    }
}
