//! Writes a placed image from front to back.

use std::io::Write;

use formats::crc32c;

use super::directory;
use super::layout::{Body, Layout, Placed};
use super::packed::{self, PackedFiles};
use super::{BLOCK, BLOCK_BYTES, ErofsError};
use crate::tree::ContentReader;

const SUPERBLOCK_START: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `_MTIME`: the first block is
/// checksummed, times are of the last change.
const FEATURES_COMPAT: u32 = 1 | 2;
/// `EROFS_FEATURE_INCOMPAT_LZ4_0PADDING` and `_COMPR_CFGS`, which is one with
/// `_BIG_PCLUSTER`: what Linux 5.13 reads.
const FEATURES_PACKED: u32 = 1 | 2;
/// File data is copied in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;

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

impl<'a, W: Write> Writer<'a, W> {
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
            for placed in &self.layout.inodes {
                if placed.is_metadata() == metadata && placed.blocks() > 0 {
                    self.write_blocks(placed)?;
                }
            }
        }
        self.out.flush().map_err(ErofsError::Write)
    }

    /// Superblock and inodes, block by block: the first block's checksum
    /// covers the inodes in it, so a block is put together before it goes out.
    fn write_inodes(&mut self) -> Result<(), ErofsError> {
        let mut assembled = Assembled { block: vec![0; BLOCK], number: 0 };
        let superblock = self.superblock();
        self.place(&mut assembled, SUPERBLOCK_START as u64, &superblock)?;
        for placed in &self.layout.inodes {
            let mut bytes = placed.disk.to_bytes();
            bytes.extend(self.inline_data(placed)?);
            self.place(&mut assembled, placed.offset, &bytes)?;
            if let Some(packed) = placed.packed {
                let map = packed.map(placed.disk.size_bytes, placed.first_block);
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

    fn inline_data(&mut self, placed: &Placed<'_>) -> Result<Vec<u8>, ErofsError> {
        let len = usize::try_from(placed.inline_bytes()).expect("less than a block");
        let start = placed.disk.size_bytes - len as u64;
        match &placed.body {
            _ if len == 0 => Ok(Vec::new()),
            Body::File(content) => {
                let mut bytes = vec![0; len];
                self.reader.read_at(content, start, &mut bytes).map_err(failed(placed))?;
                Ok(bytes)
            }
            Body::Directory(_) | Body::Target(_) | Body::Nothing => {
                let mut bytes = self.metadata(placed);
                Ok(bytes.split_off(bytes.len() - len))
            }
        }
    }

    fn metadata(&self, placed: &Placed<'_>) -> Vec<u8> {
        match &placed.body {
            Body::Directory(entries) => {
                directory::data(entries, |target| self.layout.inodes[target].nid())
            }
            Body::Target(target) => target.as_bytes().to_vec(),
            Body::File(_) | Body::Nothing => Vec::new(),
        }
    }

    fn write_blocks(&mut self, placed: &Placed<'_>) -> Result<(), ErofsError> {
        debug_assert_eq!(self.written, u64::from(placed.first_block) * BLOCK_BYTES);
        if let (Some(packed), Some(files)) = (placed.packed, self.files) {
            return files.for_each_piece(packed, |piece| self.put(piece));
        }
        let size = placed.disk.size_bytes - placed.inline_bytes();
        if let Body::File(content) = &placed.body {
            let mut buffer = vec![0; usize::try_from(size.min(COPY_BYTES)).expect("at most 1 MiB")];
            let mut at = 0;
            while at < size {
                let len = usize::try_from((size - at).min(COPY_BYTES)).expect("at most 1 MiB");
                self.reader.read_at(content, at, &mut buffer[..len]).map_err(failed(placed))?;
                self.put(&buffer[..len])?;
                at += len as u64;
            }
        } else {
            let mut bytes = self.metadata(placed);
            bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            self.put(&bytes)?;
        }
        let padding = self.written.next_multiple_of(BLOCK_BYTES) - self.written;
        self.put(&[0; BLOCK][..usize::try_from(padding).expect("less than a block")])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ErofsError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(ErofsError::Write)
    }
}

fn failed(placed: &Placed<'_>) -> impl Fn(crate::tree::ContentError) -> ErofsError {
    let path = placed.path.clone();
    move |source| ErofsError::Content { path: path.clone(), source }
}
