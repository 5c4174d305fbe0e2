//! Writes a placed image from front to back.

use formats::crc32c;

use super::directory;
use super::layout::Layout;
use super::packed::{self, PackedFiles};
use super::{BLOCK, BLOCK_BYTES, ErofsError};
use crate::pieces::{self, Pieces};
use crate::tree::{ContentError, ContentReader, Node};

const SUPERBLOCK_START: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `_MTIME`: the first block is
/// checksummed, times are of the last change.
const FEATURES_COMPAT: u32 = 1 | 2;
/// `EROFS_FEATURE_INCOMPAT_LZ4_0PADDING` and `_COMPR_CFGS`, which is one with
/// `_BIG_PCLUSTER`: what Linux 5.13 reads.
const FEATURES_PACKED: u32 = 1 | 2;

/// Writes one image.
pub struct Writer<'a, W> {
    layout: &'a Layout<'a>,
    uuid: [u8; 16],
    out: &'a mut W,
    files: Option<&'a PackedFiles>,
    reader: ContentReader,
    written: u64,
}

/// The block of inodes that is being put together.
struct Assembled {
    block: Vec<u8>,
    number: u64,
}

impl<'a, W: Pieces> Writer<'a, W> {
    /// `files` are those that `layout` was made with.
    pub fn new(
        layout: &'a Layout<'a>,
        uuid: [u8; 16],
        files: Option<&'a PackedFiles>,
        out: &'a mut W,
    ) -> Self {
        Self { layout, uuid, out, files, reader: ContentReader::default(), written: 0 }
    }

    /// Writes it all.
    pub fn write(mut self) -> Result<(), ErofsError> {
        self.write_inodes()?;
        for metadata in [true, false] {
            for (at, placed) in self.layout.inodes.iter().enumerate() {
                if placed.is_metadata() == metadata && placed.blocks() > 0 {
                    self.write_blocks(at)?;
                }
            }
        }
        Ok(())
    }

    /// Superblock and inodes, block by block: the first block's checksum
    /// covers the inodes in it, so a block is put together before it goes out.
    fn write_inodes(&mut self) -> Result<(), ErofsError> {
        let mut assembled = Assembled { block: vec![0; BLOCK], number: 0 };
        let superblock = self.superblock();
        self.place(&mut assembled, SUPERBLOCK_START as u64, &superblock)?;
        for (at, placed) in self.layout.inodes.iter().enumerate() {
            let mut bytes = self.layout.disk(at)?.to_bytes();
            bytes.extend(self.inline_data(at)?);
            self.place(&mut assembled, placed.offset, &bytes)?;
            if let Some(packed) = placed.packed() {
                let map = packed.map(placed.size_bytes, placed.first_block);
                self.place(&mut assembled, placed.map_offset(), &map)?;
            }
        }
        while assembled.number < self.layout.inodes_end {
            self.finish_block(&mut assembled)?;
        }
        Ok(())
    }

    /// Puts `bytes` at `offset`, which never goes back.
    fn place(
        &mut self,
        assembled: &mut Assembled,
        mut offset: u64,
        mut bytes: &[u8],
    ) -> Result<(), ErofsError> {
        while !bytes.is_empty() {
            while offset / BLOCK_BYTES > assembled.number {
                self.finish_block(assembled)?;
            }
            let at = usize::try_from(offset % BLOCK_BYTES).expect("less than a block");
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - at));
            assembled.block[at..][..now.len()].copy_from_slice(now);
            offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn finish_block(&mut self, assembled: &mut Assembled) -> Result<(), ErofsError> {
        let block = &mut assembled.block;
        if assembled.number == 0 {
            let checksum = crc32c::update(!0, &block[SUPERBLOCK_START..]);
            block[SUPERBLOCK_START + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
        }
        self.put(block)?;
        block.fill(0);
        assembled.number += 1;
        Ok(())
    }

    /// `struct erofs_super_block`, its checksum still zero, with the settings of
    /// the compression behind it.
    fn superblock(&self) -> Vec<u8> {
        let layout = self.layout;
        let root = layout.inodes_start / super::inode::SLOT_BYTES;
        let root = u16::try_from(root).expect("36 or 37");
        let blocks = layout.size_bytes() / BLOCK_BYTES;
        let blocks = u32::try_from(blocks).expect("place_blocks counts them in 32 bits");
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([0; 4]); // checksum
        bytes.extend(FEATURES_COMPAT.to_le_bytes());
        bytes.extend([12, 0]); // log2 of the block size; no slots after the superblock
        bytes.extend(root.to_le_bytes());
        bytes.extend((layout.inodes.len() as u64).to_le_bytes());
        bytes.extend(layout.build_time.to_le_bytes());
        bytes.extend([0; 4]); // nanoseconds
        bytes.extend(blocks.to_le_bytes());
        bytes.extend([0; 8]); // inode numbers and shared attributes count from block 0
        bytes.extend(self.uuid);
        bytes.resize(80, 0); // no volume name
        if layout.packs {
            bytes.extend(FEATURES_PACKED.to_le_bytes());
            bytes.extend(packed::ALGORITHMS.to_le_bytes());
        }
        bytes.resize(128, 0); // else no feature that old kernels lack
        if layout.packs {
            bytes.extend(packed::settings());
        }
        bytes
    }

    fn inline_data(&mut self, at: usize) -> Result<Vec<u8>, ErofsError> {
        let placed = &self.layout.inodes[at];
        let len = usize::try_from(placed.inline_bytes()).expect("less than a block");
        let start = placed.size_bytes - len as u64;
        match &placed.inode.node {
            _ if len == 0 => Ok(Vec::new()),
            Node::File(content) => {
                let mut bytes = vec![0; len];
                let read = self.reader.read_at(content, start, &mut bytes);
                read.map_err(|source| self.unreadable(at, source))?;
                Ok(bytes)
            }
            _ => {
                let mut bytes = self.metadata(at);
                Ok(bytes.split_off(bytes.len() - len))
            }
        }
    }

    fn metadata(&self, at: usize) -> Vec<u8> {
        match &self.layout.inodes[at].inode.node {
            Node::Directory(_) => {
                directory::data(&self.layout.entries(at), |target| self.layout.nid(target))
            }
            Node::Symlink(target) => target.as_bytes().to_vec(),
            _ => Vec::new(),
        }
    }

    fn write_blocks(&mut self, at: usize) -> Result<(), ErofsError> {
        let placed = &self.layout.inodes[at];
        debug_assert_eq!(self.written, u64::from(placed.first_block) * BLOCK_BYTES);
        if let (Some(packed), Some(files)) = (placed.packed(), self.files) {
            return files.for_each_piece(packed, |piece| self.put(piece));
        }
        let size = placed.size_bytes - placed.inline_bytes();
        if let Node::File(content) = &placed.inode.node {
            let mut position = 0;
            while position < size {
                let left = usize::try_from(size - position).unwrap_or(usize::MAX);
                let room = self.out.room();
                let len = room.len().min(left);
                let read = self.reader.read_at(content, position, &mut room[..len]);
                read.map_err(|source| self.unreadable(at, source))?;
                self.out.filled(len).map_err(ErofsError::Write)?;
                position += len as u64;
            }
            self.written += size;
        } else {
            let mut bytes = self.metadata(at);
            bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            self.put(&bytes)?;
        }
        let padding = self.written.next_multiple_of(BLOCK_BYTES) - self.written;
        self.put(&[0; BLOCK][..usize::try_from(padding).expect("less than a block")])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ErofsError> {
        self.written += bytes.len() as u64;
        pieces::put(self.out, bytes).map_err(ErofsError::Write)
    }

    fn unreadable(&self, at: usize, source: ContentError) -> ErofsError {
        ErofsError::Content { path: self.layout.path(at), source }
    }
}
