//! What a disk's slots hold and which one boots next, for people and machines.

use formats::Slot;
use formats::state::{Reason, SlotState, Status};
use serde::Serialize;

use crate::machine::Machine;

/// One slot.
#[derive(Debug, Serialize)]
pub struct SlotReport {
    /// `a` or `b`
    pub slot: Slot,
    /// how far it has come
    pub status: Status,
    /// what it holds
    pub version: Option<String>,
    /// its epoch
    pub epoch: Option<u32>,
    /// dm-verity root hash
    pub root_hash: Option<String>,
    /// boots before it is given up or gives way
    pub boots_left: u8,
    /// why its last boot failed
    pub reason: Option<Reason>,
    /// whether the slot's UKI header is there: absent while it is written
    pub header: bool,
}

/// A disk.
#[derive(Debug, Serialize)]
pub struct Report {
    /// what updates must match
    pub product: String,
    /// the slot that boots next
    pub preferred: Slot,
    /// the slot an update would go to
    pub update_target: Slot,
    /// releases below this epoch are refused
    pub epoch_floor: u32,
    /// newest trust root accepted
    pub root_version: u32,
    /// layout of the data partition
    pub data_schema: u32,
    /// writes of the state record so far
    pub sequence: u64,
    /// readable copies of the state record, of 2
    pub state_copies: usize,
    /// whether both were lost and this was read from the slots instead
    pub rebuilt: bool,
    /// a, then b
    pub slots: Vec<SlotReport>,
}

impl Report {
    /// What `machine` says.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        let state = &machine.state;
        let slots = Slot::ALL
            .iter()
            .map(|slot| {
                slot_report(*slot, state.slot(*slot), machine.headers[slot.index()].is_some())
            })
            .collect();
        Self {
            product: state.product.to_string(),
            preferred: state.preferred,
            update_target: state.target(),
            epoch_floor: state.epoch_floor,
            root_version: state.root_version,
            data_schema: state.data_schema,
            sequence: state.sequence,
            state_copies: machine.state_copies,
            rebuilt: machine.rebuilt,
            slots,
        }
    }

    /// The report as a few lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("product {}, epoch floor {}\n", self.product, self.epoch_floor);
        for slot in &self.slots {
            let mark = if slot.slot == self.preferred { "*" } else { " " };
            let version = slot.version.as_deref().unwrap_or("-");
            out += &format!("{mark} slot {}  {:<9}  {version}", slot.slot, slot.status.word());
            if matches!(slot.status, Status::Pending | Status::Committed) {
                let boots = if slot.boots_left == 1 { "boot" } else { "boots" };
                out += &format!("  {} {boots} left", slot.boots_left);
            }
            if let Some(reason) = slot.reason {
                out += &format!("  last failure: {reason}");
            }
            out += "\n";
        }
        if self.rebuilt {
            out += "both copies of the state record are lost; this is what the slots say\n";
        } else if self.state_copies < 2 {
            out += "one of the two copies of the state record is unreadable\n";
        }
        out
    }
}

fn slot_report(slot: Slot, state: &SlotState, header: bool) -> SlotReport {
    SlotReport {
        slot,
        status: state.status,
        version: state.release.map(|release| release.version.to_string()),
        epoch: state.release.map(|release| release.epoch),
        root_hash: state.release.map(|release| release.root_hash.to_string()),
        boots_left: state.boots_left,
        reason: state.reason,
        header,
    }
}
