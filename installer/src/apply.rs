//! Carrying out a plan. The order is the safety:
//!
//! ```text
//! state: writing ─flush─▶ no header ─flush─▶ chunks ─flush─▶ read back, compare
//!   ─▶ header ─flush─▶ state: pending and preferred ─flush
//! ```
//!
//! Cut off anywhere, the machine boots the slot it had, and a rerun writes
//! only what is still missing.

use formats::block::{BLOCK_BYTES, read_block};
use formats::uki_header::UkiHeader;
use formats::{BlockDevice, Digest};

use crate::bundle::BundleError;
use crate::machine::{Machine, MachineError};
use crate::plan::InstallPlan;
use crate::progress::Progress;

/// Why an install stopped. The slot it was writing is not bootable then, and
/// the other one is untouched.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The state record could not be written.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A chunk is not what was signed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The disk failed.
    #[error("cannot {what} the slot's partition at byte {offset} of the disk")]
    Io {
        /// `read` or `write`
        what: &'static str,
        /// where on the disk
        offset: u64,
        /// why
        source: std::io::Error,
    },
    /// The disk does not hold what was written.
    #[error("the disk does not hold what was written at byte {offset}: it may be failing")]
    ReadBack {
        /// where on the disk
        offset: u64,
    },
}

/// What a disk must offer beyond bytes.
pub trait InstallDisk: BlockDevice<Error = std::io::Error> {
    /// Lets the next reads come from the disk rather than from memory.
    fn drop_cache(&mut self) {}
}

impl InstallDisk for crate::device::Disk {
    fn drop_cache(&mut self) {
        Self::drop_cache(self);
    }
}

/// Installs; on return the new slot is pending, preferred and on the disk.
pub fn apply<D: InstallDisk>(
    plan: &InstallPlan,
    machine: &mut Machine,
    disk: &mut D,
    progress: &mut Progress,
) -> Result<(), ApplyError> {
    machine.state.root_version = machine.state.root_version.max(plan.bundle.root_version);
    let slot = machine.state.begin_install(plan.release);
    machine.store(disk)?;
    let header_at = machine.slot(slot).uki.start_bytes;
    write(disk, header_at, &[0; BLOCK_BYTES])?;
    // gone before the first chunk: a record rebuilt from headers trusts them
    flush(disk)?;
    write_chunks(plan, disk, progress)?;
    flush(disk)?;
    disk.drop_cache();
    read_back(plan, disk, progress)?;
    let header = header(plan, machine).encode();
    write(disk, header_at, &header)?;
    flush(disk)?;
    disk.drop_cache();
    let read = |source| ApplyError::Io { what: "read", offset: header_at, source };
    if read_block(disk, header_at).map_err(read)? != header {
        return Err(ApplyError::ReadBack { offset: header_at });
    }
    machine.state.finish_install(slot);
    machine.store(disk)?;
    progress.done();
    Ok(())
}

fn header(plan: &InstallPlan, machine: &Machine) -> UkiHeader {
    let uki = &plan.bundle.manifest.payloads.uki;
    UkiHeader {
        image_len: uki.size,
        image_sha256: uki.sha256,
        product: machine.state.product,
        release: plan.release,
        generation: machine.state.generation,
    }
}

fn write<D: InstallDisk>(disk: &mut D, offset: u64, bytes: &[u8]) -> Result<(), ApplyError> {
    disk.write_at(offset, bytes).map_err(|source| ApplyError::Io { what: "write", offset, source })
}

fn flush<D: InstallDisk>(disk: &mut D) -> Result<(), ApplyError> {
    disk.flush().map_err(|source| ApplyError::Io { what: "flush", offset: 0, source })
}

fn write_chunks<D: InstallDisk>(
    plan: &InstallPlan,
    disk: &mut D,
    progress: &mut Progress,
) -> Result<(), ApplyError> {
    progress.phase("writing", plan.bytes().1);
    plan.bundle.for_each_chunk(
        |payload, index| !plan.payloads[payload].present[index],
        |payload, _, offset, raw| {
            write(disk, plan.payloads[payload].place.start_bytes + offset, raw)?;
            progress.advance(raw.len() as u64);
            Ok(())
        },
    )
}

/// Reads every chunk from the disk again, those that were there before too.
fn read_back<D: InstallDisk>(
    plan: &InstallPlan,
    disk: &mut D,
    progress: &mut Progress,
) -> Result<(), ApplyError> {
    progress.phase("reading back", plan.bytes().0);
    let mut bytes = Vec::new();
    for (payload, planned) in plan.bundle.payloads.iter().zip(&plan.payloads) {
        let mut offset = planned.place.start_bytes;
        for chunk in payload.table.chunks() {
            bytes.resize(chunk.raw_len as usize, 0);
            disk.read_at(offset, &mut bytes).map_err(|source| ApplyError::Io {
                what: "read",
                offset,
                source,
            })?;
            if Digest::of(&bytes) != chunk.raw_sha256 {
                return Err(ApplyError::ReadBack { offset });
            }
            offset += u64::from(chunk.raw_len);
            progress.advance(u64::from(chunk.raw_len));
        }
    }
    Ok(())
}
