//! The two system calls here that have no safe wrapper.
#![expect(unsafe_code, reason = "unshare, and descriptors that nobody here has opened")]

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
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

/// Sees to it that programs started from now on get none of the descriptors
/// that this process was started with, but the first three: a script could
/// reach through them what it cannot see.
pub fn keep_descriptors() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let Some(number) = number.filter(|number| *number > 2) else {
            continue;
        };
        // SAFETY: the number is of a descriptor that is open, or was when the
        // folder was read; if it was closed since, the call fails, and changes
        // nothing. There is no other thread that could open another.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
            Ok(()) | Err(rustix::io::Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
