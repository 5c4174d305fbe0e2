//! Reading a whole slot before its first commit, so that a block which no boot
//! has touched yet cannot turn out damaged when there is no way back.
//!
//! The partitions are read past dm-verity, which would restart the machine at
//! the first wrong block with no chance to record why.

use std::path::Path;

use formats::block::BLOCK_BYTES;
use formats::uki_header::{BadUkiHeader, IMAGE_OFFSET_BYTES, UkiHeader};
use formats::verity::{TreeHasher, belongs_to};
use formats::{BlockDevice, Digest, Hasher, Slot};
use rustix::fs::{Advice, fadvise};

use crate::device::FileDevice;
use crate::disk::{Disk, DiskError};
use crate::error::{At, During};
use crate::slot::partition_name;

/// Read at a time; a multiple of the block size.
const CHUNK_BYTES: usize = 1 << 20;

/// The slot is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] At),
    /// A partition is missing.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its header says nothing.
    #[error("uki-{0}")]
    Header(Slot, #[source] BadUkiHeader),
    /// Its header is of another root.
    #[error("the header of uki-{0} names another root hash")]
    OtherRelease(Slot),
    /// The UKI has changed since it was installed.
    #[error("uki-{0} does not have the digest its header names")]
    Uki(Slot),
    /// The tree's start has changed since this boot began.
    #[error("root-{0}-verity does not begin with the root hash")]
    Tree(Slot),
    /// Data or tree have a wrong block.
    #[error("root-{slot} or its verity tree is damaged: {what}")]
    Root {
        /// the slot
        slot: Slot,
        /// what did not fit
        what: &'static str,
    },
}

/// Reads all of `slot`. `progress` is called about every mebibyte.
pub fn check(
    disk: &Disk,
    slot: Slot,
    root_hash: Digest,
    mut progress: impl FnMut(),
) -> Result<(), Damage> {
    let node = |what: &str, suffix: &str| -> Result<&Path, DiskError> {
        Ok(disk.partition(&partition_name(what, slot, suffix))?.1)
    };
    check_uki(node("uki", "")?, slot, root_hash, &mut progress)?;
    let (root, tree) = (node("root", "")?, node("root", "-verity")?);
    check_root(root, tree, slot, root_hash, &mut progress)
}

fn check_uki(
    node: &Path,
    slot: Slot,
    root_hash: Digest,
    progress: &mut dyn FnMut(),
) -> Result<(), Damage> {
    let mut device = FileDevice::open(node)?;
    let mut block = [0; BLOCK_BYTES];
    device.read_at(0, &mut block).during("read", node)?;
    let header = UkiHeader::decode(&block).map_err(|error| Damage::Header(slot, error))?;
    if header.release.root_hash != root_hash {
        return Err(Damage::OtherRelease(slot));
    }
    let mut hasher = Hasher::new();
    let len_bytes = header.image_len;
    read_chunks(&device, node, IMAGE_OFFSET_BYTES, len_bytes, |chunk| {
        hasher.update(chunk);
        progress();
    })?;
    if hasher.finish() == header.image_sha256 { Ok(()) } else { Err(Damage::Uki(slot)) }
}

fn check_root(
    root: &Path,
    tree: &Path,
    slot: Slot,
    root_hash: Digest,
    progress: &mut dyn FnMut(),
) -> Result<(), Damage> {
    let mut tree_device = FileDevice::open(tree)?;
    let mut start = vec![0; 2 * BLOCK_BYTES];
    tree_device.read_at(0, &mut start).during("read", tree)?;
    let superblock = belongs_to(&start, root_hash).ok_or(Damage::Tree(slot))?;

    let wrong = |what| Damage::Root { slot, what };
    let mut same = start[..BLOCK_BYTES] == superblock.encode();
    let mut next = superblock.level_starts();
    let mut here = vec![0; BLOCK_BYTES];
    let mut compare = |level: usize, block: &[u8]| -> Result<(), Damage> {
        let at = next.get_mut(level).ok_or(wrong("too many blocks"))?;
        tree_device.read_at(*at * BLOCK_BYTES as u64, &mut here).during("read", tree)?;
        *at += 1;
        same &= here == block;
        Ok(())
    };
    let mut hasher = TreeHasher::new(superblock.salt);
    let len_bytes = superblock.data_blocks * BLOCK_BYTES as u64;
    let mut hashed = Ok(());
    read_chunks(&FileDevice::open(root)?, root, 0, len_bytes, |chunk| {
        if hashed.is_ok() {
            hashed = hasher.update(chunk, &mut compare);
        }
        progress();
    })?;
    hashed?;
    if hasher.finish(&mut compare)? != root_hash {
        return Err(wrong("a data block has changed"));
    }
    // advice: nothing depends on it
    let _ = fadvise(tree_device.file(), 0, None, Advice::DontNeed);
    if same { Ok(()) } else { Err(wrong("a block of the tree has changed")) }
}

/// Hands `len_bytes` bytes from `offset_bytes` to `take`, and gives their
/// memory back: a slot is larger than what a small machine can spare.
fn read_chunks(
    device: &FileDevice,
    node: &Path,
    offset_bytes: u64,
    len_bytes: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), At> {
    let file = device.file();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = offset_bytes;
    let end = offset_bytes.saturating_add(len_bytes);
    while at < end {
        let len = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let chunk = &mut buffer[..len];
        std::os::unix::fs::FileExt::read_exact_at(file, chunk, at).during("read", node)?;
        take(chunk);
        at += len as u64;
    }
    // advice: nothing depends on it
    let _ = fadvise(file, offset_bytes, std::num::NonZeroU64::new(len_bytes), Advice::DontNeed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::guid::Guid;
    use formats::verity::Superblock;
    use formats::{DataSchema, Release};
    use std::fs;

    /// Files in the place of the partitions of one slot.
    struct Files {
        folder: tempfile::TempDir,
        root_hash: Digest,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let data: Vec<u8> = (0..=250).cycle().take(700 * BLOCK_BYTES).collect();
            let superblock =
                Superblock { uuid: Guid::derived(&[b"tree"]), data_blocks: 700, salt: [7; 32] };
            let (root_hash, tree) = formats::verity::tree(&superblock, &data);
            let image = vec![5; 3 * CHUNK_BYTES / 2];
            let header = UkiHeader {
                image_len: image.len() as u64,
                image_sha256: Digest::of(&image),
                product: "demo".parse().expect("short"),
                release: Release {
                    version: "1".parse().expect("short"),
                    epoch: 1,
                    root_hash,
                    tries: 3,
                    data: DataSchema { min: 1, max: 1 },
                },
                generation: 1,
            };
            let uki = [&header.encode()[..], &image, &[0; 5000]].concat();
            for (name, bytes) in [("uki", &uki), ("root", &data), ("tree", &tree)] {
                fs::write(folder.path().join(name), bytes).expect("written");
            }
            Self { folder, root_hash }
        }

        fn flip(&self, name: &str, at: usize) {
            let path = self.folder.path().join(name);
            let mut bytes = fs::read(&path).expect("there");
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("written");
        }

        fn check(&self) -> Result<(), Damage> {
            let at = |name: &str| self.folder.path().join(name);
            let mut progress = || {};
            check_uki(&at("uki"), Slot::A, self.root_hash, &mut progress)?;
            check_root(&at("root"), &at("tree"), Slot::A, self.root_hash, &mut progress)
        }
    }

    #[test]
    fn a_whole_slot_passes_and_one_flipped_bit_anywhere_does_not() {
        Files::new().check().expect("whole");
        let cases = [
            ("uki", 100),
            ("uki", 4096),
            ("uki", 4096 + 3 * CHUNK_BYTES / 2 - 1),
            ("root", 0),
            ("root", 700 * BLOCK_BYTES - 1),
            ("tree", 4096),
            ("tree", 2 * 4096 + 9),
        ];
        for (name, at) in cases {
            let files = Files::new();
            files.flip(name, at);
            assert!(files.check().is_err(), "{name} at {at}");
        }
        let files = Files::new();
        files.flip("uki", 4096 + 3 * CHUNK_BYTES / 2 + 1);
        files.check().expect("what is behind the image does not count");
    }
}
