//! Which slot this boot is of: the one the firmware started, if its verity
//! tree has the command line's root hash; else the other, if that has it.

use formats::block::BLOCK_BYTES;
use formats::gpt::Gpt;
use formats::guid::Guid;
use formats::verity::{Superblock, belongs_to};
use formats::{BlockDevice, Digest, Slot};

use crate::device::FileDevice;
use crate::disk::{Disk, DiskError};
use crate::error::{At, During};

/// The slot and its verity tree's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booted {
    /// the slot
    pub slot: Slot,
    /// of its tree
    pub superblock: Superblock,
}

/// No slot can be booted.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// A partition is missing.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A partition cannot be read.
    #[error(transparent)]
    Io(#[from] At),
    /// The UKI and the roots do not belong together.
    #[error("neither root-a nor root-b has the root hash {0}")]
    NoMatch(Digest),
}

/// The name of a slot's partition: `uki`, `root` or `root` with `-verity`.
#[must_use]
pub fn partition_name(what: &str, slot: Slot, suffix: &str) -> String {
    format!("{what}-{slot}{suffix}")
}

/// The slot whose UKI partition has this GUID.
#[must_use]
pub fn of_uki(gpt: &Gpt, id: Guid) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| {
        gpt.named(&partition_name("uki", *slot, "")).is_some_and(|partition| partition.id == id)
    })
}

/// The booted slot; `likely` is looked at first.
pub fn booted(disk: &Disk, likely: Slot, root_hash: Digest) -> Result<Booted, SlotError> {
    for slot in [likely, likely.other()] {
        let (_, node) = disk.partition(&partition_name("root", slot, "-verity"))?;
        let mut blocks = vec![0; 2 * BLOCK_BYTES];
        let mut device = FileDevice::open(node)?;
        device.read_at(0, &mut blocks).during("read", node)?;
        if let Some(superblock) = belongs_to(&blocks, root_hash) {
            return Ok(Booted { slot, superblock });
        }
    }
    Err(SlotError::NoMatch(root_hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::gpt::{Partition, kind};

    #[test]
    fn a_slot_is_told_by_its_uki_partition() {
        let partitions = ["uki-a", "root-a", "uki-b"].map(|name| Partition {
            kind: kind::UKI,
            id: Guid::derived(&[name.as_bytes()]),
            start_bytes: 1 << 20,
            len_bytes: 1 << 20,
            attributes: 0,
            name: name.to_owned(),
        });
        let gpt = Gpt {
            sector_bytes: 512,
            disk_id: Guid::ZERO,
            disk_bytes: 8 << 20,
            partitions: partitions.to_vec(),
        };
        assert_eq!(of_uki(&gpt, Guid::derived(&[b"uki-b"])), Some(Slot::B));
        assert_eq!(of_uki(&gpt, Guid::derived(&[b"root-a"])), None);
        assert_eq!(partition_name("root", Slot::A, "-verity"), "root-a-verity");
    }
}
