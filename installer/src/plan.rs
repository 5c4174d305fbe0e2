//! What an install would do to a disk: which slot, which chunks are already
//! there, and whether the bundle may go there at all. Reads, never writes.

use formats::block::BLOCK_BYTES;
use formats::{BlockDevice, Digest, Release, Slot};
use serde::Serialize;

use crate::bundle::VerifiedBundle;
use crate::machine::{Machine, Place};

/// What the operator allows beyond the ordinary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// accept an epoch below the machine's floor
    pub allow_downgrade: bool,
}

/// Why a bundle does not go onto a disk.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// For other machines.
    #[error("the bundle is for {wanted}, this disk is {got}")]
    Product {
        /// the bundle's
        wanted: String,
        /// the disk's
        got: String,
    },
    /// For other processors.
    #[error("the bundle is for the architecture {0}, which this disk's root partitions are not")]
    Arch(String),
    /// Below the anti-rollback floor.
    #[error(
        "the bundle has epoch {epoch}, below this machine's floor {floor}; \
         --allow-downgrade installs it all the same"
    )]
    Epoch {
        /// the bundle's
        epoch: u32,
        /// the machine's
        floor: u32,
    },
    /// Vouched for by a root the machine has moved past.
    #[error(
        "the bundle is vouched for by trust root {got}, this machine has accepted {has}; \
         give a newer --root"
    )]
    RootVersion {
        /// the bundle's
        got: u32,
        /// the machine's
        has: u32,
    },
    /// The data partition's layout is not one it works with.
    #[error("the bundle works with data of layout {min} to {max}, this machine has {has}")]
    Data {
        /// oldest
        min: u32,
        /// newest
        max: u32,
        /// the machine's
        has: u32,
    },
    /// A payload is larger than its partition.
    #[error("{payload} needs {needed} bytes, its partition in slot {slot} has {has}")]
    Room {
        /// `uki`, `root` or `verity`
        payload: &'static str,
        /// the slot
        slot: Slot,
        /// bytes
        needed: u64,
        /// bytes
        has: u64,
    },
    /// The slot cannot be read.
    #[error("cannot read slot {slot} of the disk")]
    Io {
        /// the slot
        slot: Slot,
        /// why
        source: std::io::Error,
    },
}

/// A payload's way into its partition.
#[derive(Debug)]
pub struct PayloadPlan {
    /// where it goes: for the UKI, behind its header
    pub place: Place,
    /// for each chunk, whether its bytes are there already
    pub present: Vec<bool>,
}

/// What [`crate::apply::apply`] will do.
#[derive(Debug)]
pub struct InstallPlan {
    /// the bundle it was made of
    pub bundle: VerifiedBundle,
    /// the slot that is written
    pub slot: Slot,
    /// what the slot will hold
    pub release: Release,
    /// uki, root, verity
    pub payloads: [PayloadPlan; 3],
}

/// A plan for people and machines to read.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// image name
    pub name: String,
    /// version that will be installed
    pub version: String,
    /// its epoch
    pub epoch: u32,
    /// the slot that is written
    pub slot: Slot,
    /// what that slot holds now
    pub replaces: Option<String>,
    /// bytes of all payloads
    pub total_bytes: u64,
    /// bytes that differ from what the slot holds
    pub write_bytes: u64,
}

/// Whether and how `bundle` goes onto `machine`.
pub fn plan<D: BlockDevice<Error = std::io::Error>>(
    bundle: VerifiedBundle,
    machine: &Machine,
    disk: &mut D,
    policy: Policy,
) -> Result<InstallPlan, PlanError> {
    check_fits(&bundle, machine, policy)?;
    let slot = machine.state.target();
    let places = places(&bundle, machine, slot)?;
    let io = |source| PlanError::Io { slot, source };
    let mut payloads = places.map(|place| PayloadPlan { place, present: Vec::new() });
    for (payload, planned) in bundle.payloads.iter().zip(&mut payloads) {
        let mut at = planned.place.start_bytes;
        let mut bytes = Vec::new();
        for chunk in payload.table.chunks() {
            bytes.resize(chunk.raw_len as usize, 0);
            disk.read_at(at, &mut bytes).map_err(io)?;
            planned.present.push(Digest::of(&bytes) == chunk.raw_sha256);
            at += u64::from(chunk.raw_len);
        }
    }
    let release = bundle.manifest.release();
    Ok(InstallPlan { bundle, slot, release, payloads })
}

fn check_fits(bundle: &VerifiedBundle, machine: &Machine, policy: Policy) -> Result<(), PlanError> {
    let (manifest, state) = (&bundle.manifest, &machine.state);
    if manifest.product != state.product {
        let (wanted, got) = (manifest.product.to_string(), state.product.to_string());
        return Err(PlanError::Product { wanted, got });
    }
    // the machine's root partitions have the type of x86-64 (see `machine`)
    if manifest.arch != "x86_64" {
        return Err(PlanError::Arch(manifest.arch.clone()));
    }
    if manifest.epoch < state.epoch_floor && !policy.allow_downgrade {
        return Err(PlanError::Epoch { epoch: manifest.epoch, floor: state.epoch_floor });
    }
    if bundle.root_version < state.root_version {
        return Err(PlanError::RootVersion { got: bundle.root_version, has: state.root_version });
    }
    if !manifest.data.reads(state.data_schema) && state.data_schema != 0 {
        let (min, max) = (manifest.data.min, manifest.data.max);
        return Err(PlanError::Data { min, max, has: state.data_schema });
    }
    Ok(())
}

/// Where each payload goes, with room for it.
fn places(bundle: &VerifiedBundle, machine: &Machine, slot: Slot) -> Result<[Place; 3], PlanError> {
    let places = machine.slot(slot);
    let header = BLOCK_BYTES as u64;
    let behind_header = Place {
        start_bytes: places.uki.start_bytes + header,
        len_bytes: places.uki.len_bytes.saturating_sub(header),
    };
    let places = [behind_header, places.root, places.verity];
    for (payload, place) in bundle.payloads.iter().zip(places) {
        let (needed, has) = (payload.table.raw_len(), place.len_bytes);
        if needed > has {
            return Err(PlanError::Room { payload: payload.name, slot, needed, has });
        }
    }
    Ok(places)
}

impl InstallPlan {
    /// Bytes of all payloads, and of the chunks that must be written.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let (mut total, mut write) = (0, 0);
        for (payload, planned) in self.bundle.payloads.iter().zip(&self.payloads) {
            for (chunk, present) in payload.table.chunks().iter().zip(&planned.present) {
                total += u64::from(chunk.raw_len);
                write += if *present { 0 } else { u64::from(chunk.raw_len) };
            }
        }
        (total, write)
    }

    /// The plan for people and machines to read.
    #[must_use]
    pub fn summary(&self, machine: &Machine) -> Summary {
        let (total_bytes, write_bytes) = self.bytes();
        let held = machine.state.slot(self.slot);
        Summary {
            name: self.bundle.manifest.name.clone(),
            version: self.release.version.to_string(),
            epoch: self.release.epoch,
            slot: self.slot,
            replaces: held
                .release
                .map(|release| format!("{} ({})", release.version, held.status.word())),
            total_bytes,
            write_bytes,
        }
    }
}
