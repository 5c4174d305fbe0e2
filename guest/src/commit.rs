//! Committing the slot that runs: the one sector that makes an update final.

use formats::state::{State, Status};
use formats::uki_header::UkiHeader;
use formats::{BlockDevice, Slot};

use crate::boot_facts::BootFacts;
use crate::device::FileDevice;
use crate::disk::Disk;
use crate::record::{self, RecordError};
use crate::slot::partition_name;

/// Whether the record says already that what runs is committed.
#[must_use]
pub fn is_committed(facts: &BootFacts) -> bool {
    record::read(&facts.state).is_ok_and(|state| {
        let slot = state.slot(facts.slot);
        let same = slot.release.map(|release| release.root_hash) == Some(facts.root_hash);
        slot.status == Status::Committed && same
    })
}

/// Commits and returns the record as it is stored. A record that is lost is
/// rebuilt from the slots' headers first.
pub fn commit(facts: &BootFacts, disk: &Disk) -> Result<State, RecordError> {
    let mut partition = FileDevice::open_writable(&facts.state)?;
    let headers = Slot::ALL.map(|slot| header(disk, slot));
    record::update(
        &mut partition,
        || State::rebuilt(headers),
        |state| commit_running(state, facts, headers[facts.slot.index()]),
    )
}

/// What the record says of the slot must be what runs; where it is not, the
/// slot's header knows better.
fn commit_running(state: &mut State, facts: &BootFacts, header: Option<UkiHeader>) {
    let running =
        header.map(|header| header.release).filter(|release| release.root_hash == facts.root_hash);
    let slot = state.slot_mut(facts.slot);
    if slot.release.map(|release| release.root_hash) != Some(facts.root_hash) {
        slot.release = running.or(slot.release);
    }
    state.commit(facts.slot);
}

fn header(disk: &Disk, slot: Slot) -> Option<UkiHeader> {
    let (_, node) = disk.partition(&partition_name("uki", slot, "")).ok()?;
    let mut block = [0; 512];
    FileDevice::open(node).ok()?.read_at(0, &mut block).ok()?;
    UkiHeader::decode(&block).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::state::SlotState;
    use formats::{DataSchema, Digest, Release};
    use std::time::Duration;

    fn release(version: &str) -> Release {
        Release {
            version: version.parse().expect("short"),
            epoch: 1,
            root_hash: Digest::of(version.as_bytes()),
            tries: 3,
            data: DataSchema { min: 1, max: 1 },
        }
    }

    #[test]
    fn a_record_of_another_release_takes_the_headers_word() {
        let facts = BootFacts {
            disk: "/dev/vda".into(),
            slot: Slot::B,
            state: "/dev/vda2".into(),
            data: "/dev/vda3".into(),
            root_hash: Digest::of(b"2"),
            version: "2".to_owned(),
            health_timeout: Duration::from_secs(60),
            times: Vec::new(),
        };
        let header = UkiHeader {
            image_len: 1,
            image_sha256: Digest::ZERO,
            product: "demo".parse().expect("short"),
            release: release("2"),
            generation: 2,
        };
        let mut state = State::new(header.product);
        state.slots[1] = SlotState {
            status: Status::Pending,
            boots_left: 1,
            reason: None,
            release: Some(release("1")),
        };
        commit_running(&mut state, &facts, Some(header));
        assert_eq!(state.slot(Slot::B).release, Some(release("2")));
        assert_eq!(state.slot(Slot::B).status, Status::Committed);
        assert_eq!(state.preferred, Slot::B);
    }
}
