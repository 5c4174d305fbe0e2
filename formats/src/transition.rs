//! What may happen to a state record: an install, a boot, a commit, a
//! roll-back. Pure: the caller stores the record afterwards, and acts only
//! once that has been flushed.
//!
//! ```text
//! empty ─┐
//! bad ───┼─install─▶ writing ─▶ pending ─healthy─▶ committed ◀─┐
//! ◀──────┘                       │ no boots left     └─healthy─┘
//!                                ▼
//!                               bad
//! ```

use crate::release::{Release, Slot};
use crate::state::{COMMITTED_BOOTS, Reason, SlotState, State, Status};
use crate::uki_header::UkiHeader;

/// Slots that were tried during this boot already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried([bool; 2]);

impl Tried {
    /// Notes that `slot` was tried.
    pub fn add(&mut self, slot: Slot) {
        self.0[slot.index()] = true;
    }

    /// Whether `slot` was tried.
    #[must_use]
    pub fn has(self, slot: Slot) -> bool {
        self.0[slot.index()]
    }
}

/// Why a roll-back is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RollbackRefused {
    /// Nothing proven lies there.
    #[error("slot {slot} is {status}{why}; only a committed slot can be rolled back to")]
    NotCommitted {
        /// the slot
        slot: Slot,
        /// its status, as a word
        status: &'static str,
        /// ": reason", or nothing
        why: Why,
    },
    /// Its release is below the anti-rollback floor.
    #[error("slot {slot} holds epoch {epoch}, below this machine's floor {floor}")]
    BelowFloor {
        /// the slot
        slot: Slot,
        /// its epoch
        epoch: u32,
        /// the floor
        floor: u32,
    },
    /// The data partition has moved on.
    #[error("slot {slot} cannot read data of layout {schema}")]
    DataTooNew {
        /// the slot
        slot: Slot,
        /// layout of the data partition
        schema: u32,
    },
}

/// The reason a slot is bad, as the tail of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why(pub Option<Reason>);

impl core::fmt::Display for Why {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

impl Status {
    /// As a word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Writing => "writing",
            Self::Pending => "pending",
            Self::Committed => "committed",
            Self::Bad => "bad",
        }
    }
}

impl State {
    /// The record rebuilt from what the slots say of themselves, when both
    /// copies are lost. Everything is pending again; the newer one is preferred
    /// and the floor is the lowest epoch present, so neither is locked out.
    #[must_use]
    pub fn rebuilt(headers: [Option<UkiHeader>; 2]) -> Option<Self> {
        let newest = headers.iter().flatten().max_by_key(|header| header.generation)?;
        let mut state = Self::new(newest.product);
        state.generation = newest.generation;
        for (slot, header) in Slot::ALL.into_iter().zip(&headers) {
            let Some(header) = header else { continue };
            *state.slot_mut(slot) = SlotState {
                status: Status::Pending,
                boots_left: header.release.tries,
                reason: None,
                release: Some(header.release),
            };
            if header.generation == newest.generation {
                state.preferred = slot;
            }
        }
        let present = || headers.iter().flatten().map(|header| header.release);
        state.epoch_floor = present().map(|release| release.epoch).min().unwrap_or(0);
        state.data_schema = present().map(|release| release.data.min).max().unwrap_or(0);
        Some(state)
    }

    /// Whether the machine's data can be used by what `slot` holds.
    #[must_use]
    pub fn reads_data(&self, slot: Slot) -> bool {
        self.slot(slot).release.is_some_and(|release| release.data.reads(self.data_schema))
    }

    /// The slot an update must not touch: the committed one, the preferred
    /// first. On a machine that has none, the preferred one.
    #[must_use]
    pub fn kept(&self) -> Slot {
        let committed = |slot: &Slot| self.slot(*slot).status == Status::Committed;
        [self.preferred, self.preferred.other()]
            .into_iter()
            .find(committed)
            .unwrap_or(self.preferred)
    }

    /// The slot an update goes to.
    #[must_use]
    pub fn target(&self) -> Slot {
        self.kept().other()
    }

    /// Before the first byte of an install: from here on `target` is not
    /// bootable, and the kept slot is preferred.
    pub fn begin_install(&mut self, release: Release) -> Slot {
        let target = self.target();
        self.preferred = target.other();
        self.generation = self.generation.saturating_add(1);
        *self.slot_mut(target) = SlotState {
            status: Status::Writing,
            boots_left: 0,
            reason: None,
            release: Some(release),
        };
        target
    }

    /// After every byte was written and read back: `slot` is to be tried.
    pub fn finish_install(&mut self, slot: Slot) {
        let record = self.slot_mut(slot);
        record.status = Status::Pending;
        record.boots_left = record.release.map_or(0, |release| release.tries);
        self.preferred = slot;
    }

    /// Decides which slot to start next in this boot and counts the try;
    /// `None` when every slot that holds anything was tried.
    pub fn begin_boot(&mut self, tried: Tried) -> Option<Slot> {
        let first = self.preferred;
        self.retire_if_used_up(first);
        let slot = self
            .first_untried(tried, |state, slot| {
                state.has_boots(slot) && (slot == state.preferred || state.reads_data(slot))
            })
            .or_else(|| self.first_untried(tried, |state, slot| state.is_committed(slot)))
            .or_else(|| self.first_untried(tried, |state, slot| state.holds_release(slot)))?;
        let record = self.slot_mut(slot);
        record.boots_left = record.boots_left.saturating_sub(1);
        Some(slot)
    }

    /// A preferred slot out of boots gives way: a pending one is given up, a
    /// committed one only yields to another proven one that reads the data.
    fn retire_if_used_up(&mut self, slot: Slot) {
        if self.slot(slot).boots_left > 0 {
            return;
        }
        let other = slot.other();
        match self.slot(slot).status {
            Status::Pending => {
                let record = self.slot_mut(slot);
                record.status = Status::Bad;
                record.reason = record.reason.or(Some(Reason::BootsUsedUp));
                self.preferred = other;
            }
            Status::Committed => {
                if self.is_committed(other) && self.has_boots(other) && self.reads_data(other) {
                    let record = self.slot_mut(slot);
                    record.reason = record.reason.or(Some(Reason::BootsUsedUp));
                    self.preferred = other;
                }
            }
            Status::Empty | Status::Writing | Status::Bad => self.preferred = other,
        }
    }

    fn first_untried(&self, tried: Tried, fits: impl Fn(&Self, Slot) -> bool) -> Option<Slot> {
        [self.preferred, self.preferred.other()]
            .into_iter()
            .find(|slot| !tried.has(*slot) && fits(self, *slot))
    }

    fn has_boots(&self, slot: Slot) -> bool {
        let record = self.slot(slot);
        matches!(record.status, Status::Pending | Status::Committed) && record.boots_left > 0
    }

    fn is_committed(&self, slot: Slot) -> bool {
        self.slot(slot).status == Status::Committed
    }

    /// The last resort of a machine with nothing better: whatever was whole
    /// once. A slot being written is not.
    fn holds_release(&self, slot: Slot) -> bool {
        matches!(self.slot(slot).status, Status::Pending | Status::Bad)
    }

    /// `slot` cannot be started at all; the other one is preferred from now on
    /// if it holds anything.
    pub fn mark_bad(&mut self, slot: Slot, reason: Reason) {
        let record = self.slot_mut(slot);
        record.status = Status::Bad;
        record.boots_left = 0;
        record.reason = Some(reason);
        let other = slot.other();
        if matches!(self.slot(other).status, Status::Pending | Status::Committed) {
            self.preferred = other;
        }
    }

    /// Notes why this boot of `slot` failed; its boots keep counting.
    pub fn note_failure(&mut self, slot: Slot, reason: Reason) {
        self.slot_mut(slot).reason = Some(reason);
    }

    /// `slot` is up and healthy. Done after every good boot, so that a record
    /// rebuilt from nothing heals.
    pub fn commit(&mut self, slot: Slot) {
        let record = self.slot_mut(slot);
        record.status = Status::Committed;
        record.boots_left = COMMITTED_BOOTS;
        record.reason = None;
        let release = record.release;
        self.preferred = slot;
        if let Some(release) = release {
            self.epoch_floor = self.epoch_floor.max(release.epoch);
            self.data_schema = self.data_schema.max(release.data.max);
        }
    }

    /// Prefers the other slot, which must be committed, at or above the floor
    /// (unless `allow_downgrade`), and able to read the data. Returns it.
    pub fn roll_back(&mut self, allow_downgrade: bool) -> Result<Slot, RollbackRefused> {
        let slot = self.preferred.other();
        let record = *self.slot(slot);
        let (Status::Committed, Some(release)) = (record.status, record.release) else {
            return Err(RollbackRefused::NotCommitted {
                slot,
                status: record.status.word(),
                why: Why(record.reason),
            });
        };
        if release.epoch < self.epoch_floor && !allow_downgrade {
            let (epoch, floor) = (release.epoch, self.epoch_floor);
            return Err(RollbackRefused::BelowFloor { slot, epoch, floor });
        }
        if !self.reads_data(slot) {
            return Err(RollbackRefused::DataTooNew { slot, schema: self.data_schema });
        }
        self.preferred = slot;
        self.slot_mut(slot).boots_left = COMMITTED_BOOTS;
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::release::{DataSchema, sample as release};

    /// v1 in slot a, committed.
    fn running() -> State {
        let mut state = State::new("demo".parse().expect("short"));
        state.slots[0].release = Some(release("1", 1));
        state.finish_install(Slot::A);
        assert_eq!(state.begin_boot(Tried::default()), Some(Slot::A));
        state.commit(Slot::A);
        state
    }

    fn installed(version: &str) -> State {
        let mut state = running();
        assert_eq!(state.begin_install(release(version, 1)), Slot::B);
        state.finish_install(Slot::B);
        state
    }

    fn boots(state: &mut State, times: usize) -> std::vec::Vec<Slot> {
        (0..times).filter_map(|_| state.begin_boot(Tried::default())).collect()
    }

    #[test]
    fn a_pending_slot_is_tried_three_times_and_given_up() {
        let mut state = installed("3");
        assert_eq!(boots(&mut state, 4), [Slot::B, Slot::B, Slot::B, Slot::A]);
        assert_eq!(state.slot(Slot::B).status, Status::Bad);
        assert_eq!(state.slot(Slot::B).reason, Some(Reason::BootsUsedUp));
        assert_eq!(state.slot(Slot::A).status, Status::Committed);
        assert_eq!(state.preferred, Slot::A);
    }

    #[test]
    fn an_image_that_cannot_start_gives_way_in_the_same_boot() {
        let mut state = installed("4");
        let mut tried = Tried::default();
        assert_eq!(state.begin_boot(tried), Some(Slot::B));
        tried.add(Slot::B);
        state.mark_bad(Slot::B, Reason::ImageRefused);
        assert_eq!(state.begin_boot(tried), Some(Slot::A));
        tried.add(Slot::A);
        assert_eq!(state.begin_boot(tried), None);
    }

    #[test]
    fn an_install_that_was_cut_off_is_never_booted() {
        let mut state = running();
        state.begin_install(release("2", 1));
        assert_eq!(boots(&mut state, 9), [Slot::A; 9]);
        assert_eq!(state.slot(Slot::A).status, Status::Committed);
    }

    #[test]
    fn a_committed_slot_survives_power_cuts_and_has_no_one_to_yield_to() {
        let mut state = installed("5");
        state.mark_bad(Slot::B, Reason::ImageRefused);
        assert_eq!(boots(&mut state, 20), [Slot::A; 20]);
    }

    #[test]
    fn a_committed_slot_yields_only_to_a_committed_one_that_reads_the_data() {
        let mut state = installed("2");
        boots(&mut state, 1);
        state.commit(Slot::B);
        let mut newer_data = state;
        newer_data.data_schema = 2;
        newer_data.slots[1].release =
            Some(Release { data: DataSchema { min: 1, max: 2 }, ..release("2", 1) });
        assert_eq!(boots(&mut state, 8)[6..], [Slot::B, Slot::A]);
        assert_eq!(boots(&mut newer_data, 8)[6..], [Slot::B, Slot::B]);
    }

    #[test]
    fn the_target_is_never_the_last_committed_slot() {
        let mut state = installed("2");
        assert_eq!(state.target(), Slot::B, "a second install replaces the pending one");
        boots(&mut state, 1);
        state.commit(Slot::B);
        assert_eq!(state.target(), Slot::A);
        state.begin_install(release("3", 1));
        state.finish_install(Slot::A);
        state.mark_bad(Slot::A, Reason::HealthGate);
        assert_eq!(state.target(), Slot::A);
    }

    #[test]
    fn rolling_back_needs_a_proven_slot_at_the_floor() {
        let mut state = running();
        assert!(matches!(state.roll_back(false), Err(RollbackRefused::NotCommitted { .. })));
        let mut state = installed("2");
        boots(&mut state, 1);
        state.commit(Slot::B);
        assert_eq!(state.roll_back(false), Ok(Slot::A));
        assert_eq!(state.roll_back(false), Ok(Slot::B));
        state.epoch_floor = 2;
        assert!(matches!(state.roll_back(false), Err(RollbackRefused::BelowFloor { .. })));
        assert_eq!(state.roll_back(true), Ok(Slot::A));
    }

    #[test]
    fn a_lost_record_is_rebuilt_from_the_slots() {
        let header = |version: &str, generation| UkiHeader {
            image_len: 1,
            image_sha256: Digest::ZERO,
            product: "demo".parse().expect("short"),
            release: release(version, 1),
            generation,
        };
        assert_eq!(State::rebuilt([None, None]), None);
        let mut state = State::rebuilt([Some(header("1", 4)), Some(header("2", 5))]).expect("two");
        assert_eq!(boots(&mut state, 4), [Slot::B, Slot::B, Slot::B, Slot::A]);
    }
}
