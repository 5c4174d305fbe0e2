//! Reading and changing the state record on its partition.

use std::path::Path;

use formats::Slot;
use formats::state::{BadState, Copies, Reason, State, store};
use rustix::fs::FlockOperation;

use crate::device::FileDevice;
use crate::error::{At, During};

/// The record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The partition failed.
    #[error(transparent)]
    Io(#[from] At),
    /// There is no usable record on it.
    #[error(transparent)]
    Bad(#[from] BadState),
}

/// The newest record.
pub fn read(partition: &Path) -> Result<State, RecordError> {
    let mut device = FileDevice::open(partition)?;
    Ok(Copies::read(&mut device).newest()?)
}

/// Changes the record and returns it as it is stored. `otherwise` makes one
/// when both copies are damaged; a record of a newer format is left alone.
///
/// A lock on the partition keeps an installer that runs in the VM from
/// changing it at the same moment.
pub fn update(
    partition: &mut FileDevice,
    otherwise: impl FnOnce() -> Option<State>,
    change: impl FnOnce(&mut State),
) -> Result<State, RecordError> {
    const WHAT: &str = "the state partition";
    rustix::fs::flock(partition.file(), FlockOperation::LockExclusive).during("lock", WHAT)?;
    let stored = changed(partition, otherwise, change);
    rustix::fs::flock(partition.file(), FlockOperation::Unlock).during("unlock", WHAT)?;
    stored
}

fn changed(
    partition: &mut FileDevice,
    otherwise: impl FnOnce() -> Option<State>,
    change: impl FnOnce(&mut State),
) -> Result<State, RecordError> {
    let mut state = match Copies::read(partition).newest() {
        Ok(state) => state,
        Err(BadState::Damaged) => otherwise().ok_or(BadState::Damaged)?,
        Err(newer @ BadState::Newer(_)) => return Err(newer.into()),
    };
    change(&mut state);
    store(partition, &mut state).during("write", "the state partition")?;
    Ok(state)
}

/// Where to note that this boot of a slot failed: opened while all is well,
/// so that little can go wrong later.
pub struct FailureNote {
    partition: FileDevice,
    slot: Slot,
}

impl FailureNote {
    /// For a boot of `slot`, on the state partition.
    pub fn open(partition: &Path, slot: Slot) -> Result<Self, At> {
        let partition = FileDevice::open_writable(partition)?;
        Ok(Self { partition, slot })
    }

    /// The slot that was booted.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Notes `reason`.
    pub fn note(mut self, reason: Reason) -> Result<(), RecordError> {
        let slot = self.slot;
        update(&mut self.partition, || None, |state| state.note_failure(slot, reason))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_noted_and_a_lost_record_is_not_invented() {
        let folder = tempfile::tempdir().expect("a folder");
        let partition = folder.path().join("state");
        std::fs::write(&partition, vec![0; 1 << 20]).expect("written");
        let note = || FailureNote::open(&partition, Slot::B).expect("opened");
        assert!(matches!(note().note(Reason::InitHung), Err(RecordError::Bad(BadState::Damaged))));
        let product = "demo".parse().expect("short");
        let mut device = FileDevice::open_writable(&partition).expect("opened");
        update(&mut device, || Some(State::new(product)), |_| {}).expect("made");
        note().note(Reason::InitHung).expect("noted");
        let state = read(&partition).expect("readable");
        assert_eq!(state.slot(Slot::B).reason, Some(Reason::InitHung));
        assert_eq!(state.sequence, 2);
    }
}
