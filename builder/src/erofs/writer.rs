//! Writes a placed image from front to back.

use std::io::Write;

use super::checksum::crc32c;
use super::directory;
use super::layout::{Body, INODES_START, Layout, Placed};
use super::{BLOCK, BLOCK_BYTES, ErofsError};
use crate::tree::ContentReader;

const SUPERBLOCK_START: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `_MTIME`: the first block is
/// checksummed, times are of the last change.
const FEATURES_COMPAT: u32 = 1 | 2;
/// File data is copied in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;

/// Writes one image.
pub struct Writer<'a, W> {
    layout: &'a Layout<'a>,
    uuid: [u8; 16],
    out: &'a mut W,
    reader: ContentReader,
    written: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    pub fn new(layout: &'a Layout<'a>, uuid: [u8; 16], out: &'a mut W) -> Self {
        Self { layout, uuid, out, reader: ContentReader::default(), written: 0 }
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
        let mut block = vec![0; BLOCK];
        let superblock = self.superblock();
        block[SUPERBLOCK_START..][..superblock.len()].copy_from_slice(&superblock);
        let mut number = 0;
        for placed in &self.layout.inodes {
            while placed.offset / BLOCK_BYTES > number {
                self.finish_block(&mut block, number)?;
                number += 1;
            }
            let mut bytes = placed.disk.to_bytes();
            bytes.extend(self.inline_data(placed)?);
            let at = usize::try_from(placed.offset % BLOCK_BYTES).expect("less than a block");
            block[at..][..bytes.len()].copy_from_slice(&bytes);
        }
        while number < self.layout.inodes_end {
            self.finish_block(&mut block, number)?;
            number += 1;
        }
        Ok(())
    }

    fn finish_block(&mut self, block: &mut [u8], number: u64) -> Result<(), ErofsError> {
        if number == 0 {
            let checksum = crc32c(&block[SUPERBLOCK_START..]);
            block[SUPERBLOCK_START + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
        }
        self.put(block)?;
        block.fill(0);
        Ok(())
    }

    /// `struct erofs_super_block`, its checksum still zero.
    fn superblock(&self) -> Vec<u8> {
        let layout = self.layout;
        let root = u16::try_from(INODES_START / super::inode::SLOT_BYTES).expect("36");
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
        bytes.resize(128, 0); // no volume name, no feature that old kernels lack
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
        debug_assert_eq!(self.written, u64::from(placed.disk.block_or_device) * BLOCK_BYTES);
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
