//! The state record: which slot is preferred, what each holds and how often it
//! may still be tried. The one thing that every side writes after a disk is
//! made: the installer on the host, slipway-boot, and the agent in the VM.
//!
//! Two copies lie in the first two blocks of the `state` partition. The whole
//! record fits one 512-byte sector, which disks write atomically, and the older
//! copy is the one overwritten: a power cut leaves the old or the new record.

use alloc::vec;

use crate::block::{BLOCK_BYTES, BlockDevice, read_block};
use crate::digest::Digest;
use crate::field;
use crate::release::{Release, Slot};
use crate::text::Product;

/// First bytes of a record.
pub const MAGIC: [u8; 8] = *b"SLIPSTAT";
/// The layout below. A reader that meets a higher one needs to be newer.
pub const FORMAT: u16 = 1;
/// Bytes of a record; the rest of its block is zero.
pub const RECORD_BYTES: usize = 512;
/// Boots a committed slot gets before it gives way to another committed one.
pub const COMMITTED_BOOTS: u8 = 7;
const CRC_AT: usize = 508;
const SLOT_AT: [usize; 2] = [128, 256];

/// How far a slot's release has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "bundle", derive(serde::Serialize))]
#[cfg_attr(feature = "bundle", serde(rename_all = "lowercase"))]
pub enum Status {
    /// never written
    Empty = 0,
    /// an install is under way or was cut off
    Writing = 1,
    /// installed, not yet proven healthy
    Pending = 2,
    /// proven healthy
    Committed = 3,
    /// tried and given up
    Bad = 4,
}

/// Why a boot of a slot failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "bundle", derive(serde::Serialize))]
#[cfg_attr(feature = "bundle", serde(rename_all = "kebab-case"))]
pub enum Reason {
    /// all its boots were used up without a commit
    BootsUsedUp = 1,
    /// header missing or damaged, digest wrong, or the firmware refused it
    ImageRefused = 2,
    /// the image started and came back
    ImageReturned = 3,
    /// the health gate was not reached in time
    HealthGate = 4,
    /// the slot could not be read whole before its first commit
    SlotDamaged = 5,
    /// the initrd could not reach the root file system
    InitFailed = 6,
    /// user space did not come up before its deadline
    InitHung = 7,
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BootsUsedUp => "its boots were used up",
            Self::ImageRefused => "its image was refused",
            Self::ImageReturned => "its image returned to the firmware",
            Self::HealthGate => "the health gate was not reached in time",
            Self::SlotDamaged => "the slot could not be read whole",
            Self::InitFailed => "the root file system could not be reached",
            Self::InitHung => "user space did not come up in time",
        })
    }
}

/// What the record says of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// how far it has come
    pub status: Status,
    /// boots before it is given up (pending) or gives way (committed)
    pub boots_left: u8,
    /// why its last boot failed, if it did
    pub reason: Option<Reason>,
    /// what it holds; always there unless the slot is empty
    pub release: Option<Release>,
}

impl SlotState {
    /// A slot that was never written.
    pub const EMPTY: Self =
        Self { status: Status::Empty, boots_left: 0, reason: None, release: None };
}

/// The record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// counts writes; the copy with the higher number is the newer one
    pub sequence: u64,
    /// what an update must match
    pub product: Product,
    /// the slot to boot
    pub preferred: Slot,
    /// releases below this epoch are refused
    pub epoch_floor: u32,
    /// version of the newest trust root this machine has accepted
    pub root_version: u32,
    /// layout of the data partition, raised by a commit
    pub data_schema: u32,
    /// generation of the seed that was applied last
    pub seed_generation: u64,
    /// digest of that seed; zero when there was none
    pub seed_sha256: Digest,
    /// counts installs on this disk
    pub generation: u64,
    /// slots a and b
    pub slots: [SlotState; 2],
}

/// Why a copy cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// Checksum, magic or a field is wrong.
    #[error("no readable state record")]
    Damaged,
    /// Written by something newer.
    #[error(
        "the state record has format {0}, this program reads up to {FORMAT}; a newer one is needed"
    )]
    Newer(u16),
}

impl State {
    /// The record of a disk that was just made, with nothing in its slots.
    #[must_use]
    pub fn new(product: Product) -> Self {
        Self {
            sequence: 0,
            product,
            preferred: Slot::A,
            epoch_floor: 0,
            root_version: 0,
            data_schema: 0,
            seed_generation: 0,
            seed_sha256: Digest::ZERO,
            generation: 0,
            slots: [SlotState::EMPTY; 2],
        }
    }

    /// What the record says of `slot`.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &SlotState {
        &self.slots[slot.index()]
    }

    /// The same, to change.
    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        &mut self.slots[slot.index()]
    }

    /// Encodes: magic 0..8, format 8..10, preferred 10, epoch floor 12..16,
    /// sequence 16..24, product 24..56, root version 56..60, data schema
    /// 60..64, seed generation 64..72, seed SHA-256 72..104, generation
    /// 104..112, slot a 128..256, slot b 256..384, CRC-32 508..512; the rest
    /// zero. A slot: status 0, boots left 1, reason 2 (0: none), release 16..96.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        field::put(&mut out, 0, &MAGIC);
        field::put(&mut out, 8, &FORMAT.to_le_bytes());
        out[10] = self.preferred as u8;
        field::put(&mut out, 12, &self.epoch_floor.to_le_bytes());
        field::put(&mut out, 16, &self.sequence.to_le_bytes());
        field::put(&mut out, 24, self.product.padded());
        field::put(&mut out, 56, &self.root_version.to_le_bytes());
        field::put(&mut out, 60, &self.data_schema.to_le_bytes());
        field::put(&mut out, 64, &self.seed_generation.to_le_bytes());
        field::put(&mut out, 72, &self.seed_sha256.0);
        field::put(&mut out, 104, &self.generation.to_le_bytes());
        for (slot, at) in self.slots.iter().zip(SLOT_AT) {
            out[at] = slot.status as u8;
            out[at + 1] = slot.boots_left;
            out[at + 2] = slot.reason.map_or(0, |reason| reason as u8);
            if let Some(release) = &slot.release {
                field::put(&mut out, at + 16, &release.encode());
            }
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        field::put(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// Reads one copy.
    pub fn decode(record: &[u8]) -> Result<Self, BadState> {
        let record = record.get(..RECORD_BYTES).ok_or(BadState::Damaged)?;
        let whole = record[..8] == MAGIC
            && crc32fast::hash(&record[..CRC_AT]) == field::u32(record, CRC_AT);
        if !whole {
            return Err(BadState::Damaged);
        }
        match field::u16(record, 8) {
            FORMAT => {}
            newer if newer > FORMAT => return Err(BadState::Newer(newer)),
            _ => return Err(BadState::Damaged),
        }
        Ok(Self {
            sequence: field::u64(record, 16),
            product: Product::from_padded(field::bytes(record, 24))
                .map_err(|_| BadState::Damaged)?,
            preferred: match record[10] {
                0 => Slot::A,
                1 => Slot::B,
                _ => return Err(BadState::Damaged),
            },
            epoch_floor: field::u32(record, 12),
            root_version: field::u32(record, 56),
            data_schema: field::u32(record, 60),
            seed_generation: field::u64(record, 64),
            seed_sha256: Digest(field::bytes(record, 72)),
            generation: field::u64(record, 104),
            slots: [decode_slot(record, SLOT_AT[0])?, decode_slot(record, SLOT_AT[1])?],
        })
    }
}

fn decode_slot(record: &[u8], at: usize) -> Result<SlotState, BadState> {
    let status = match record[at] {
        0 => Status::Empty,
        1 => Status::Writing,
        2 => Status::Pending,
        3 => Status::Committed,
        4 => Status::Bad,
        _ => return Err(BadState::Damaged),
    };
    let reason = match record[at + 2] {
        0 => None,
        1 => Some(Reason::BootsUsedUp),
        2 => Some(Reason::ImageRefused),
        3 => Some(Reason::ImageReturned),
        4 => Some(Reason::HealthGate),
        5 => Some(Reason::SlotDamaged),
        6 => Some(Reason::InitFailed),
        7 => Some(Reason::InitHung),
        _ => return Err(BadState::Damaged),
    };
    let encoded: [u8; Release::LEN] = field::bytes(record, at + 16);
    let release = if encoded == [0; Release::LEN] {
        None
    } else {
        Some(Release::decode(&encoded).map_err(|_| BadState::Damaged)?)
    };
    if release.is_none() && status != Status::Empty {
        return Err(BadState::Damaged);
    }
    Ok(SlotState { status, boots_left: record[at + 1], reason, release })
}

/// Both copies as they are on the disk.
#[derive(Clone, Copy, Debug)]
pub struct Copies(pub [Result<State, BadState>; 2]);

impl Copies {
    /// Reads both copies from the `state` partition. An unreadable block counts
    /// as a damaged copy: the other one may still be good.
    pub fn read<D: BlockDevice + ?Sized>(partition: &mut D) -> Self {
        Self([0, BLOCK_BYTES as u64].map(|offset| match read_block(partition, offset) {
            Ok(block) => State::decode(&block),
            Err(_) => Err(BadState::Damaged),
        }))
    }

    /// The newest readable record. A newer format wins over a readable older
    /// copy, since that copy is out of date.
    pub fn newest(&self) -> Result<State, BadState> {
        match self.0 {
            [Err(BadState::Newer(format)), _] | [_, Err(BadState::Newer(format))] => {
                Err(BadState::Newer(format))
            }
            [Ok(a), Ok(b)] => Ok(if b.sequence > a.sequence { b } else { a }),
            [Ok(state), Err(_)] | [Err(_), Ok(state)] => Ok(state),
            [Err(_), Err(_)] => Err(BadState::Damaged),
        }
    }

    /// Which copy to overwrite next: an unreadable one, else the older.
    #[must_use]
    pub fn stale(&self) -> usize {
        match &self.0 {
            [Ok(a), Ok(b)] => usize::from(b.sequence < a.sequence),
            [Err(_), _] => 0,
            [Ok(_), Err(_)] => 1,
        }
    }
}

/// Writes `state` over the stale copy with the next sequence number and
/// flushes: afterwards, and only then, it is the record.
pub fn store<D: BlockDevice + ?Sized>(
    partition: &mut D,
    state: &mut State,
) -> Result<(), D::Error> {
    let copies = Copies::read(partition);
    let highest = copies.0.iter().flatten().map(|copy| copy.sequence).max().unwrap_or(0);
    state.sequence = state.sequence.max(highest).saturating_add(1);
    let mut block = vec![0; BLOCK_BYTES];
    block[..RECORD_BYTES].copy_from_slice(&state.encode());
    partition.write_at((copies.stale() * BLOCK_BYTES) as u64, &block)?;
    partition.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;
    use crate::release::sample as release;

    fn sample() -> State {
        let mut state = State::new("demo".parse().expect("short"));
        state.slots[0] = SlotState {
            status: Status::Committed,
            boots_left: 7,
            reason: Some(Reason::HealthGate),
            release: Some(release("1.0", 4)),
        };
        state.epoch_floor = 4;
        state
    }

    #[test]
    fn round_trip_and_every_flipped_byte_is_noticed() {
        let state = sample();
        let record = state.encode();
        assert_eq!(State::decode(&record), Ok(state));
        for at in 0..RECORD_BYTES {
            let mut torn = record;
            torn[at] ^= 0x40;
            assert!(State::decode(&torn).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut record = sample().encode();
        record[8] = 9;
        let crc = crc32fast::hash(&record[..CRC_AT]).to_le_bytes();
        record[CRC_AT..].copy_from_slice(&crc);
        assert_eq!(State::decode(&record), Err(BadState::Newer(9)));
    }

    #[test]
    fn store_alternates_and_survives_a_torn_write() {
        let mut disk = MemoryDisk(vec![0; 1 << 20]);
        let mut state = sample();
        for turn in 1..=5 {
            store(&mut disk, &mut state).expect("memory");
            assert_eq!(Copies::read(&mut disk).newest().map(|s| s.sequence), Ok(turn));
        }
        let before = disk.clone();
        state.preferred = Slot::B;
        store(&mut disk, &mut state).expect("memory");
        // any prefix of the write leaves the old or the new record
        for cut in 0..=RECORD_BYTES {
            let at = Copies::read(&mut before.clone()).stale() * BLOCK_BYTES;
            let mut torn = before.clone();
            torn.0[at..at + cut].copy_from_slice(&disk.0[at..at + cut]);
            let newest = Copies::read(&mut torn).newest().expect("one copy is whole");
            assert!([5, 6].contains(&newest.sequence));
        }
    }
}
