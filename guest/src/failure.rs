//! The one way to give up: note the reason in the state record, bring what is
//! in memory to the disk, reboot. Each has an end, also with a dead disk.

use std::sync::mpsc;
use std::time::Duration;

use formats::state::Reason;
use rustix::system::{RebootCommand, reboot};

use crate::console::{self, Voice};
use crate::error::chain;
use crate::record::FailureNote;

/// A disk that has not taken one sector and the journal by then is dead.
const LAST_WRITES: Duration = Duration::from_secs(20);

/// Notes `reason` if the record is known, and reboots. The caller has said
/// why already.
pub fn reboot_because(voice: Voice, note: Option<FailureNote>, reason: Reason) -> ! {
    let (done, all_done) = mpsc::channel::<()>();
    let last_writes = move || {
        if let Some(Err(error)) = note.map(|note| note.note(reason)) {
            voice.say(&format!("the reason was not recorded: {}", chain(&error)));
        }
        rustix::fs::sync();
        console::drain();
        // the receiver is gone when this took too long
        let _ = done.send(());
    };
    let writing = std::thread::Builder::new().spawn(last_writes);
    if writing.is_ok() {
        let _ = all_done.recv_timeout(LAST_WRITES);
    }
    reboot_now()
}

/// Reboots by every means there is.
pub fn reboot_now() -> ! {
    let _ = reboot(RebootCommand::Restart);
    let _ = std::fs::write("/proc/sysrq-trigger", "b");
    // as PID 1 this panics the kernel, which reboots after `panic=` seconds
    std::process::abort()
}
