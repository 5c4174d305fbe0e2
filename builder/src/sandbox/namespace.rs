//! The one system call here that has no safe wrapper.
#![expect(unsafe_code, reason = "rustix calls unshare unsafe because of CLONE_FILES, which is refused here")]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into new namespaces of these kinds. For a user
/// namespace the process must have one thread only; the system refuses else.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: unsharing is unsound only with CLONE_FILES, after which threads
    // no longer agree on what a descriptor is; that was refused above.
    Ok(unsafe { unshare_unsafe(flags) }?)
}
