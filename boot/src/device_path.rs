//! UEFI device paths as bytes (UEFI specification 2.10, chapter 10): telling a
//! partition's disk apart from every other, also from a clone that has the
//! same identifiers, since two disks never share a path.

use alloc::format;
use alloc::vec::Vec;

use formats::field;
use formats::guid::Guid;
use formats::release::Slot;

/// What follows the disk in the path of the disk itself.
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// Media device path, hard drive, 42 bytes (10.3.5.1).
const HARD_DRIVE: [u8; 4] = [4, 1, 42, 0];
const SIGNATURE_IS_GUID: u8 = 2;

/// The device path of a GPT partition, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPath<'p> {
    /// the nodes of the disk that the partition is on, without an end
    pub disk: &'p [u8],
    /// first logical block
    pub start_lba: u64,
    /// the partition's own identity
    pub id: Guid,
}

/// Reads the path of a partition; `None` when it is that of something else.
#[must_use]
pub fn partition(path: &[u8]) -> Option<PartitionPath<'_>> {
    let mut at = 0;
    loop {
        let rest = path.get(at..)?;
        let node = rest.get(..node_len(rest)?)?;
        if node.starts_with(&HARD_DRIVE) && rest.get(node.len()..)? == END {
            return (node[41] == SIGNATURE_IS_GUID).then(|| PartitionPath {
                disk: &path[..at],
                start_lba: field::u64(node, 8),
                id: Guid(field::bytes(node, 24)),
            });
        }
        if node.starts_with(&END[..2]) {
            return None;
        }
        at += node.len();
    }
}

/// Whether `path` is that of the disk whose nodes are `disk`.
#[must_use]
pub fn is_disk(path: &[u8], disk: &[u8]) -> bool {
    path.strip_prefix(disk) == Some(&END)
}

/// The path of an image of `slot` in the partition of path `path`: with a node
/// for a file (10.3.5.4) that does not exist, since some firmware refuses an
/// image without one. `None` when `path` has no end.
#[must_use]
pub fn with_file(path: &[u8], slot: Slot) -> Option<Vec<u8>> {
    let name = format!("\\uki-{slot}.efi\0");
    let len = u16::try_from(4 + 2 * name.len()).ok()?;
    let mut out = path.strip_suffix(&END)?.to_vec();
    out.extend([4, 4]);
    out.extend(len.to_le_bytes());
    out.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    out.extend(END);
    Some(out)
}

fn node_len(node: &[u8]) -> Option<usize> {
    let header: [u8; 4] = node.get(..4)?.try_into().ok()?;
    let len = usize::from(u16::from_le_bytes([header[2], header[3]]));
    (len >= header.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PCI: [u8; 6] = [1, 1, 6, 0, 0, 3];

    fn hard_drive(start: u64, id: Guid) -> Vec<u8> {
        let mut node = HARD_DRIVE.to_vec();
        node.extend(1u32.to_le_bytes());
        node.extend(start.to_le_bytes());
        node.extend(8u64.to_le_bytes());
        node.extend(id.0);
        node.extend([2, 2]);
        node
    }

    #[test]
    fn a_partition_is_taken_apart() {
        let id = Guid::derived(&[b"esp"]);
        let path = [&PCI[..], &hard_drive(2048, id), &END].concat();
        let found = partition(&path).expect("a partition");
        assert_eq!(found.disk, PCI);
        assert_eq!((found.start_lba, found.id), (2048, id));
        assert!(is_disk(&[&PCI[..], &END].concat(), found.disk));
        assert!(!is_disk(&path, found.disk));
        let other = [&[1, 1, 6, 0, 0, 4][..], &END].concat();
        assert!(!is_disk(&other, found.disk), "a clone has another path");
    }

    #[test]
    fn a_file_is_appended() {
        let path = with_file(&[&PCI[..], &END].concat(), Slot::B).expect("has an end");
        let file = path.strip_prefix(&PCI).expect("the same disk");
        assert_eq!(file[..8], [4, 4, 26, 0, b'\\', 0, b'u', 0]);
        assert_eq!(file[24..], [0, 0, 0x7f, 0xff, 4, 0]);
        assert_eq!(file.len(), 26 + 4);
        assert_eq!(with_file(&PCI, Slot::B), None);
    }

    #[test]
    fn other_paths_and_cut_ones_are_none() {
        let path = [&PCI[..], &hard_drive(1, Guid::ZERO), &END].concat();
        for cut in 0..path.len() {
            assert_eq!(partition(&path[..cut]), None, "{cut}");
        }
        let file = [&path[..path.len() - 4], &[4, 4, 6, 0, 0, 0], &END].concat();
        assert_eq!(partition(&file), None);
        assert_eq!(partition(&[1, 1, 0, 0]), None, "a node of no length");
    }
}
