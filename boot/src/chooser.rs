//! Chooses the slot to start, counts the try, and goes on to the other slot
//! when an image is refused or comes back. Generic over the firmware, so that
//! every path is tested on the host.

use alloc::vec::Vec;
use core::fmt;

use formats::block::BlockDevice;
use formats::release::Slot;
use formats::state::{self, BadState, Copies, Reason, State, Status};
use formats::transition::{Tried, Why};

use crate::image::{self, BadImage};

/// What the chooser needs of the machine it runs on.
pub trait Firmware {
    /// A partition.
    type Device: BlockDevice;
    /// An image the firmware has accepted.
    type Image;
    /// Why the firmware refused an image, or what an image came back with.
    type Refusal: fmt::Display;
    /// A system that took over. On a real machine nobody ever sees one.
    type Running;

    /// The `state` partition of the disk this program came from.
    fn state(&mut self) -> Option<&mut Self::Device>;
    /// The `uki-a` or `uki-b` partition of that disk.
    fn uki(&mut self, slot: Slot) -> Option<&mut Self::Device>;
    /// Has the firmware check and load a PE image as if it came from the
    /// partition of `slot`.
    fn load(&mut self, slot: Slot, image: &[u8]) -> Result<Self::Image, Self::Refusal>;
    /// Starts an image; an error is what it came back with.
    fn start(&mut self, image: Self::Image) -> Result<Self::Running, Self::Refusal>;
    /// Prints one line on the console.
    fn print(&mut self, line: fmt::Arguments<'_>);
}

/// Prints one line in the form that tests and people look for. Kept below 80
/// characters where it can be: a serial console may cut longer ones in two.
pub fn say<F: Firmware>(firmware: &mut F, line: fmt::Arguments<'_>) {
    firmware.print(format_args!("slipway-boot: {line}"));
}

/// Starts the slot the state record says, or the other one when that fails.
/// `None` when there is nothing left to try in this boot; why was printed.
pub fn choose<F: Firmware>(firmware: &mut F) -> Option<F::Running> {
    let copies = firmware.state().map(Copies::read);
    let newest = copies.map_or(Err(BadState::Damaged), |copies| copies.newest());
    match newest {
        Ok(state) => counted(firmware, state),
        Err(BadState::Damaged) => {
            let state = rebuild(firmware)?;
            counted(firmware, state)
        }
        Err(BadState::Newer(format)) => {
            // Only a later installer or agent can have written it. Writing
            // ours would lose what it knows; not booting would lose the machine.
            let line = format_args!("the state record has format {format}, too new to count in");
            say(firmware, line);
            uncounted(firmware, &Slot::ALL)
        }
    }
}

/// A new record from the slots' headers, stored if the disk takes it.
fn rebuild<F: Firmware>(firmware: &mut F) -> Option<State> {
    let headers = Slot::ALL.map(|slot| image::header(firmware.uki(slot)?).ok());
    let Some(mut state) = State::rebuilt(headers) else {
        say(firmware, format_args!("state lost, and no slot has a header"));
        return None;
    };
    say(firmware, format_args!("state lost, rebuilt from the slots"));
    store(firmware, &mut state);
    Some(state)
}

/// The ordinary way: every try is on the disk before it is made.
fn counted<F: Firmware>(firmware: &mut F, mut state: State) -> Option<F::Running> {
    let mut tried = Tried::default();
    let mut skipped = Vec::new();
    loop {
        let before = state;
        let Some(slot) = state.begin_boot(tried) else {
            break;
        };
        tried.add(slot);
        // A proven slot is worth starting uncounted. An unproven one is not,
        // while there may be a proven one: it could be tried for ever.
        if !store(firmware, &mut state) && state.slot(slot).status != Status::Committed {
            say(firmware, format_args!("slot {slot} skipped: its try cannot be counted"));
            state = before;
            skipped.push(slot);
            continue;
        }
        say(firmware, format_args!("starting {}", Try(slot, &state)));
        match attempt(firmware, slot) {
            Ok(running) => return Some(running),
            Err(reason) => state.mark_bad(slot, reason),
        }
        store(firmware, &mut state);
    }
    let running = uncounted(firmware, &skipped);
    if running.is_none() {
        explain(firmware, &state);
    }
    running
}

/// Why there is nothing left to try.
fn explain<F: Firmware>(firmware: &mut F, state: &State) {
    for slot in Slot::ALL {
        let record = state.slot(slot);
        let (status, why) = (record.status.word(), Why(record.reason));
        say(firmware, format_args!("slot {slot}: {status}{why}"));
    }
}

/// The last resort of a machine whose record must not or cannot be written:
/// each slot that has a header, the one installed last first. A slot whose
/// install was cut off has none, so it is left out here too.
fn uncounted<F: Firmware>(firmware: &mut F, slots: &[Slot]) -> Option<F::Running> {
    let mut found = Vec::new();
    for slot in slots {
        let header = firmware.uki(*slot).map(image::header);
        match header.unwrap_or(Err(BadImage::NoPartition)) {
            Ok(header) => found.push((*slot, header)),
            Err(why) => say(firmware, format_args!("slot {slot} refused: {why}")),
        }
    }
    found.sort_by_key(|(_, header)| core::cmp::Reverse(header.generation));
    found.into_iter().find_map(|(slot, header)| {
        let version = header.release.version;
        let line = format_args!("starting slot {slot} version {version} (not counted)");
        say(firmware, line);
        attempt(firmware, slot).ok()
    })
}

/// Reads, checks, loads and starts the image of `slot`. When it fails, prints
/// why and returns what to note in the record.
fn attempt<F: Firmware>(firmware: &mut F, slot: Slot) -> Result<F::Running, Reason> {
    let image = match firmware.uki(slot) {
        Some(partition) => image::read(partition),
        None => Err(BadImage::NoPartition),
    };
    let image = image.map_err(|why| refused(firmware, slot, format_args!("{why}")))?;
    let loaded = firmware
        .load(slot, image.bytes())
        .map_err(|why| refused(firmware, slot, format_args!("the firmware says {why}")))?;
    // the firmware has its own copy, and the system will want the memory
    drop(image);
    firmware.start(loaded).map_err(|why| {
        refused(firmware, slot, format_args!("its image returned: {why}"));
        Reason::ImageReturned
    })
}

fn refused<F: Firmware>(firmware: &mut F, slot: Slot, why: fmt::Arguments<'_>) -> Reason {
    say(firmware, format_args!("slot {slot} refused: {why}"));
    Reason::ImageRefused
}

/// Stores the record; `false`, and a line, when the disk does not take it.
fn store<F: Firmware>(firmware: &mut F, state: &mut State) -> bool {
    let Some(partition) = firmware.state() else {
        say(firmware, format_args!("the disk has no state partition"));
        return false;
    };
    match state::store(partition, state) {
        Ok(()) => true,
        Err(why) => {
            let line = format_args!("the boot state cannot be written: {why}");
            say(firmware, line);
            false
        }
    }
}

/// A try as people read it: `slot a version 1.0.0 (pending, 2 boots left)`.
struct Try<'s>(Slot, &'s State);

impl fmt::Display for Try<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(slot, state) = self;
        let record = state.slot(*slot);
        write!(f, "slot {slot}")?;
        if let Some(release) = &record.release {
            write!(f, " version {}", release.version)?;
        }
        let plural = if record.boots_left == 1 { "" } else { "s" };
        let (status, left) = (record.status.word(), record.boots_left);
        write!(f, " ({status}, {left} boot{plural} left)")
    }
}
