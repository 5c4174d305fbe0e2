//! The files of an erofs image, as far as it is uncompressed, for naming those
//! that differ. Structures and names follow Linux' `fs/erofs/erofs_fs.h`. An
//! image that is damaged is read as far as it goes.

use std::collections::{BTreeMap, HashMap, HashSet};

use formats::{Digest, Hasher};

use super::bytes::Bytes;

const BLOCK: u64 = 4096;
const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// An image has at most 250,000 files.
const MAX_NAMES: usize = 1 << 19;
/// Their paths, which many folders within each other make long.
const MAX_PATH_BYTES: usize = 128 << 20;
const TYPE_MASK: u16 = 0o170_000;
/// What stands for the files that were not looked at.
const REST: &str = "all other files";

/// What each file is: its metadata and the digest of its bytes. `None` if this
/// is no erofs image.
pub(super) fn list(image: &Bytes<'_>) -> Option<BTreeMap<String, String>> {
    // In ours no two inodes share any bytes.
    let limits = Limits { names: MAX_NAMES, path_bytes: MAX_PATH_BYTES, bytes: image.len };
    list_within(image, limits)
}

/// How much is looked at.
#[derive(Clone, Copy)]
struct Limits {
    names: usize,
    /// Of the paths of all names.
    path_bytes: usize,
    /// Of what is read: contents, entries, attributes.
    bytes: u64,
}

fn list_within(image: &Bytes<'_>, left: Limits) -> Option<BTreeMap<String, String>> {
    let mut superblock = [0; 128];
    image.read_at(&mut superblock, SUPERBLOCK).ok()?;
    if u32_at(&superblock, 0) != MAGIC || superblock[12] != 12 {
        return None;
    }
    let metadata = u64::from(u32_at(&superblock, 40)) * BLOCK;
    let root = u64::from(u16_at(&superblock, 14));
    let mut walk = Walk {
        image,
        metadata,
        found: BTreeMap::new(),
        folders: HashSet::new(),
        linked: HashMap::new(),
        open: vec![(String::new(), root)],
        left,
    };
    while let Some((path, number)) = walk.open.pop() {
        walk.visit(path, number);
    }
    Some(walk.found)
}

struct Walk<'i, 'f> {
    image: &'i Bytes<'f>,
    metadata: u64,
    found: BTreeMap<String, String>,
    folders: HashSet<u64>,
    /// What inodes of several names hold, which is read once.
    linked: HashMap<u64, Option<Digest>>,
    /// Still to be looked at.
    open: Vec<(String, u64)>,
    left: Limits,
}

/// An inode and where its bytes are.
struct Inode {
    mode: u16,
    size: u64,
    layout: u16,
    links: u32,
    block: u32,
    /// Where inline data begins.
    end: u64,
    /// Everything else it says.
    meta: String,
}

impl Walk<'_, '_> {
    fn visit(&mut self, path: String, number: u64) {
        let shown = if path.is_empty() { "/".to_owned() } else { path.clone() };
        let Some(inode) = self.inode(number) else {
            self.found.insert(shown, "an inode that cannot be read".to_owned());
            return;
        };
        let mut what = inode.meta.clone();
        match inode.mode & TYPE_MASK {
            0o040_000 => {
                if self.folders.insert(number) && self.enter(&path, &inode).is_none() {
                    what += ", entries that cannot be read";
                }
            }
            0o100_000 | 0o120_000 => match self.content(number, &inode) {
                Some(digest) => what += &format!(", content {digest}"),
                None => what += ", bytes that cannot be read",
            },
            _ => what += &format!(", device {:x}", inode.block),
        }
        self.found.insert(shown, what);
    }

    /// Counts bytes that are to be read.
    fn take(&mut self, bytes: u64) -> Option<()> {
        self.left.bytes = self.left.bytes.checked_sub(bytes)?;
        Some(())
    }

    fn inode(&mut self, number: u64) -> Option<Inode> {
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
        self.take(attributes)?;
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
        Some(Inode { mode, size, layout, links, block, end: begin + attributes, meta })
    }

    /// Gives the bytes of an inode to `each`, piece by piece, as long as it
    /// takes them. Pieces begin at multiples of a block.
    fn read(&mut self, inode: &Inode, mut each: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
        let inline = match inode.layout {
            0 => 0,
            2 => inode.size - inode.size.saturating_sub(1) / BLOCK * BLOCK,
            // Compressed or in chunks.
            _ => return None,
        };
        self.take(inode.size)?;
        let most = usize::try_from(inode.size).unwrap_or(usize::MAX);
        let mut buffer = vec![0; most.min(1 << 20)];
        let parts = [(u64::from(inode.block) * BLOCK, inode.size - inline), (inode.end, inline)];
        for (begin, len) in parts {
            let mut at = 0;
            while at < len {
                let count = buffer.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
                self.image.read_at(&mut buffer[..count], begin.checked_add(at)?).ok()?;
                each(&buffer[..count])?;
                at += count as u64;
            }
        }
        Some(())
    }

    fn content(&mut self, number: u64, inode: &Inode) -> Option<Digest> {
        if let Some(known) = self.linked.get(&number) {
            return *known;
        }
        let mut hasher = Hasher::new();
        let read = self.read(inode, |piece| {
            hasher.update(piece);
            Some(())
        });
        let digest = read.map(|()| hasher.finish());
        if inode.links > 1 {
            self.linked.insert(number, digest);
        }
        digest
    }

    /// Opens everything in a folder, without `.` and `..`. After the first that
    /// is too much nothing else is opened.
    fn enter(&mut self, path: &str, inode: &Inode) -> Option<()> {
        let mut open = std::mem::take(&mut self.open);
        let Limits { mut names, mut path_bytes, .. } = self.left;
        let mut full = false;
        let mut add = |name: &[u8], number: u64| {
            let rest = path_bytes.checked_sub(path.len() + 1 + name.len());
            let rest = names.checked_sub(1).zip(rest);
            full = rest.is_none();
            (names, path_bytes) = rest.unwrap_or_default();
            rest?;
            open.push((format!("{path}/{}", String::from_utf8_lossy(name)), number));
            Some(())
        };
        let mut block = |block: &[u8]| entries(block, &mut add);
        let read = self.read(inode, |piece| piece.chunks(4096).try_for_each(&mut block));
        if full {
            self.found.insert(REST.to_owned(), "not looked at, as there are too many".to_owned());
        }
        (self.open, self.left.names, self.left.path_bytes) = (open, names, path_bytes);
        read
    }
}

/// The entries of one block of a folder, as long as `add` takes them.
fn entries(block: &[u8], mut add: impl FnMut(&[u8], u64) -> Option<()>) -> Option<()> {
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
            add(name, u64_at(entry, 0))?;
        }
    }
    Some(())
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::tree::{Tree, TreePath};

    const FILES: usize = 6;

    fn image() -> File {
        let mut tree = Tree::new(7);
        let path = |name: &str| TreePath::new(name).unwrap();
        for number in 0..FILES {
            let bytes = vec![b'x'; 5000 + number];
            tree.write(&path(&format!("/file{number}")), 0o644, bytes).unwrap();
        }
        let linked = tree.locate("/file0").unwrap();
        tree.hard_link(&path("/link"), linked).unwrap();
        let mut image = tempfile::tempfile().unwrap();
        let mut out = crate::pieces::Buffered::new(&mut image);
        crate::erofs::write(&tree, [1; 16], 7, &mut out).unwrap();
        out.flush().unwrap();
        drop(out);
        image
    }

    #[test]
    fn no_more_is_looked_at_than_allowed() {
        let image = image();
        let bytes = Bytes::of(&image).unwrap();
        let all = Limits { names: FILES + 1, path_bytes: 6 * FILES + 5, bytes: bytes.len };
        let whole = list(&bytes).unwrap();
        assert_eq!(whole.len(), 1 + FILES + 1);
        assert!(whole.values().all(|what| !what.contains("cannot")), "{whole:?}");
        assert_eq!(list_within(&bytes, all).unwrap(), whole);
        for less in [
            Limits { names: all.names - 1, ..all },
            Limits { path_bytes: all.path_bytes - 1, ..all },
        ] {
            let found = list_within(&bytes, less).unwrap();
            assert_eq!(found.len(), whole.len());
            assert!(found.contains_key(REST), "{found:?}");
        }
    }

    #[test]
    fn no_more_is_read_than_allowed() {
        let image = image();
        let bytes = Bytes::of(&image).unwrap();
        // What has two names is read once.
        let read = (0..FILES).map(|number| 5000 + number as u64).sum::<u64>();
        let names = FILES + 1;
        let limits = |bytes| Limits { names, path_bytes: 1000, bytes };
        let unread = |limit| {
            let found = list_within(&bytes, limits(limit)).unwrap();
            found.values().filter(|what| what.ends_with("bytes that cannot be read")).count()
        };
        // The entries are read too.
        assert_eq!(unread(read + 4096), 0);
        assert!(unread(read - 1) > 0);
    }
}
