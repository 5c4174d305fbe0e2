//! What is read from a disk. Checksums are repaired first: without that nearly
//! every input would end there.

use formats::block::MemoryDisk;
use formats::gpt::{Gpt, Partition, kind};
use formats::guid::Guid;
use formats::state::State;
use formats::uki_header::UkiHeader;
use formats::verity::{self, Superblock};
use formats::{DataSchema, Digest, Release};

const SECTOR: usize = 512;
/// Where a state record and a UKI header have the CRC-32 of what is before.
const CRC_AT: usize = 508;

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= CRC_AT + 4 {
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

/// A primary header in sector 1 and the entries from sector 2.
pub fn gpt(bytes: &[u8]) {
    let mut disk = bytes.to_vec();
    disk.resize(disk.len().next_multiple_of(4096).max(16 * 4096), 0);
    let count = usize::from(disk[SECTOR + 80]).min(128) * 128;
    let table = crc32fast::hash(&disk[2 * SECTOR..2 * SECTOR + count]);
    disk[SECTOR + 88..SECTOR + 92].copy_from_slice(&table.to_le_bytes());
    disk[SECTOR + 16..SECTOR + 20].fill(0);
    let header = crc32fast::hash(&disk[SECTOR..SECTOR + 92]);
    disk[SECTOR + 16..SECTOR + 20].copy_from_slice(&header.to_le_bytes());
    let len = disk.len() as u64;
    if let Ok(table) = Gpt::read(&mut MemoryDisk(disk)) {
        let _ = table.encode();
        let _ = table.grown(len * 2).map(|grown| grown.encode());
        let _ = table.named("data");
    }
}

pub fn gpt_seeds() -> Vec<Vec<u8>> {
    let partition = |name: &str, start_bytes, kind| Partition {
        kind,
        id: Guid([7; 16]),
        start_bytes,
        len_bytes: 4096,
        attributes: 0,
        name: name.to_owned(),
    };
    let gpt = Gpt {
        sector_bytes: 512,
        disk_id: Guid([9; 16]),
        disk_bytes: 64 * 4096,
        partitions: vec![
            partition("esp", 10 * 4096, kind::ROOT),
            partition("data", 20 * 4096, kind::DATA),
        ],
    };
    let mut disk = vec![0; 64 * 4096];
    for (at, bytes) in gpt.encode().unwrap_or_default() {
        let at = usize::try_from(at).unwrap_or(0);
        disk[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    vec![disk]
}

fn release() -> Option<Release> {
    Some(Release {
        version: "1.2.3".parse().ok()?,
        epoch: 4,
        root_hash: Digest::of(b"root"),
        tries: 3,
        data: DataSchema { min: 1, max: 2 },
    })
}

/// What was read is written as the same bytes.
pub fn state(bytes: &[u8]) {
    if let Ok(state) = State::decode(&with_crc(bytes)) {
        assert_eq!(State::decode(&state.encode()).ok(), Some(state));
    }
}

pub fn state_seeds() -> Vec<Vec<u8>> {
    let seed = || {
        let mut state = State::new("product".parse().ok()?);
        let slot = state.slot_mut(formats::Slot::A);
        slot.status = formats::state::Status::Committed;
        slot.boots_left = 7;
        slot.release = release();
        Some(state.encode().to_vec())
    };
    seed().into_iter().collect()
}

pub fn uki_header(bytes: &[u8]) {
    if let Ok(header) = UkiHeader::decode(&with_crc(bytes)) {
        assert_eq!(UkiHeader::decode(&header.encode()).ok(), Some(header));
    }
}

pub fn uki_header_seeds() -> Vec<Vec<u8>> {
    let seed = || {
        let header = UkiHeader {
            image_len: 4096,
            image_sha256: Digest::of(b"image"),
            product: "product".parse().ok()?,
            release: release()?,
            generation: 5,
        };
        Some(header.encode()[..512].to_vec())
    };
    seed().into_iter().collect()
}

pub fn verity(bytes: &[u8]) {
    if let Ok(superblock) = Superblock::decode(bytes) {
        let _ = (superblock.level_blocks(), superblock.len_bytes());
    }
    let _ = verity::belongs_to(bytes, Digest::of(b"root"));
}

pub fn verity_seeds() -> Vec<Vec<u8>> {
    let superblock = Superblock { uuid: Guid([3; 16]), data_blocks: 1000, salt: [5; 32] };
    vec![[superblock.encode(), [0; 4096]].concat()]
}
