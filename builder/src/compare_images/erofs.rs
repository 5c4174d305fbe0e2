//! The files of an erofs image, as far as it is uncompressed, for naming those
//! that differ. Structures and names follow Linux' `fs/erofs/erofs_fs.h`. An
//! image that is damaged is read as far as it goes.

use std::collections::{BTreeMap, HashSet};

use formats::{Digest, Hasher};

use super::bytes::Bytes;

const BLOCK: u64 = 4096;
const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// No root file system has as many.
const MAX_INODES: usize = 4 << 20;
/// Nor a folder as large.
const MAX_DIRECTORY_BYTES: u64 = 256 << 20;
const TYPE_MASK: u16 = 0o170_000;

/// What each file is: its metadata and the digest of its bytes. `None` if this
/// is no erofs image.
pub(super) fn list(image: &Bytes<'_>) -> Option<BTreeMap<String, String>> {
    let mut superblock = [0; 128];
    image.read_at(&mut superblock, SUPERBLOCK).ok()?;
    if u32_at(&superblock, 0) != MAGIC || superblock[12] != 12 {
        return None;
    }
    let metadata = u64::from(u32_at(&superblock, 40)) * BLOCK;
    let root = u64::from(u16_at(&superblock, 14));
    let mut walk = Walk { image, metadata, found: BTreeMap::new(), folders: HashSet::new() };
    let mut open = vec![(String::new(), root)];
    while let Some((path, number)) = open.pop() {
        if walk.found.len() >= MAX_INODES {
            break;
        }
        walk.visit(path, number, &mut open);
    }
    Some(walk.found)
}

struct Walk<'i, 'f> {
    image: &'i Bytes<'f>,
    metadata: u64,
    found: BTreeMap<String, String>,
    folders: HashSet<u64>,
}

/// An inode and where its bytes are.
struct Inode {
    mode: u16,
    size: u64,
    layout: u16,
    block: u32,
    /// Where inline data begins.
    end: u64,
    /// Everything else it says.
    meta: String,
}

impl Walk<'_, '_> {
    fn visit(&mut self, path: String, number: u64, open: &mut Vec<(String, u64)>) {
        let shown = if path.is_empty() { "/".to_owned() } else { path.clone() };
        let Some(inode) = self.inode(number) else {
            self.found.insert(shown, "an inode that cannot be read".to_owned());
            return;
        };
        let mut what = inode.meta.clone();
        match inode.mode & TYPE_MASK {
            0o040_000 => {
                if self.folders.insert(number) {
                    match self.entries(&inode) {
                        Some(entries) => open.extend(
                            entries.into_iter().map(|(name, to)| (format!("{path}/{name}"), to)),
                        ),
                        None => what += ", entries that cannot be read",
                    }
                }
            }
            0o100_000 | 0o120_000 => match self.digest(&inode) {
                Some(digest) => what += &format!(", content {digest}"),
                None => what += ", bytes that cannot be read",
            },
            _ => what += &format!(", device {:x}", inode.block),
        }
        self.found.insert(shown, what);
    }

    fn inode(&self, number: u64) -> Option<Inode> {
        let at = number.checked_mul(32)?.checked_add(self.metadata)?;
        let mut raw = [0; 64];
        self.image.read_at(&mut raw[..32], at).ok()?;
        let format = u16_at(&raw, 0);
        let extended = format & 1 != 0;
        if extended {
            self.image.read_at(&mut raw, at).ok()?;
        }
        let mode = u16_at(&raw, 4);
        let (size, uid, gid, links, time) = if extended {
            let size = u64_at(&raw, 8);
            (size, u32_at(&raw, 24), u32_at(&raw, 28), u32_at(&raw, 44), Some(u64_at(&raw, 32)))
        } else {
            let [links, uid, gid] = [6, 24, 26].map(|at| u32::from(u16_at(&raw, at)));
            (u64::from(u32_at(&raw, 8)), uid, gid, links, None)
        };
        let begin = at + if extended { 64 } else { 32 };
        let attributes = match u64::from(u16_at(&raw, 2)) {
            0 => 0,
            count => 12 + (count - 1) * 4,
        };
        let mut attribute_bytes = vec![0; usize::try_from(attributes).ok()?];
        self.image.read_at(&mut attribute_bytes, begin).ok()?;
        let mut meta = format!("mode {mode:o}, owner {uid}:{gid}, {links} links, {size} bytes");
        if let Some(time) = time {
            meta += &format!(", time {time}");
        }
        if attributes > 0 {
            meta += &format!(", attributes {}", Digest::of(&attribute_bytes));
        }
        let (layout, block) = (format >> 1 & 7, u32_at(&raw, 16));
        Some(Inode { mode, size, layout, block, end: begin + attributes, meta })
    }

    /// Gives the bytes of an inode to `each`, piece by piece.
    fn read(&self, inode: &Inode, mut each: impl FnMut(&[u8])) -> Option<()> {
        let inline = match inode.layout {
            0 => 0,
            2 => inode.size - inode.size.saturating_sub(1) / BLOCK * BLOCK,
            // Compressed or in chunks.
            _ => return None,
        };
        let mut buffer = vec![0; 1 << 20];
        let parts = [(u64::from(inode.block) * BLOCK, inode.size - inline), (inode.end, inline)];
        for (begin, len) in parts {
            let mut at = 0;
            while at < len {
                let count = buffer.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
                self.image.read_at(&mut buffer[..count], begin.checked_add(at)?).ok()?;
                each(&buffer[..count]);
                at += count as u64;
            }
        }
        Some(())
    }

    fn digest(&self, inode: &Inode) -> Option<Digest> {
        let mut hasher = Hasher::new();
        self.read(inode, |piece| hasher.update(piece))?;
        Some(hasher.finish())
    }

    /// Names and inode numbers, without `.` and `..`.
    fn entries(&self, inode: &Inode) -> Option<Vec<(String, u64)>> {
        if inode.size > MAX_DIRECTORY_BYTES {
            return None;
        }
        let mut data = Vec::new();
        self.read(inode, |piece| data.extend_from_slice(piece))?;
        let mut found = Vec::new();
        for block in data.chunks(4096) {
            let names_at = usize::from(u16::from_le_bytes(block.get(8..10)?.try_into().ok()?));
            let count = names_at / 12;
            for index in 0..count {
                let entry = block.get(index * 12..index * 12 + 12)?;
                let begin = usize::from(u16_at(entry, 8));
                let end = match index + 1 < count {
                    true => usize::from(u16_at(block.get(index * 12 + 12..index * 12 + 24)?, 8)),
                    false => block.len(),
                };
                let name = block.get(begin..end)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name != b"." && name != b".." {
                    found.push((String::from_utf8_lossy(name).into_owned(), u64_at(entry, 0)));
                }
            }
        }
        Some(found)
    }
}

/// The callers' buffers are longer than any `at` used with them.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
