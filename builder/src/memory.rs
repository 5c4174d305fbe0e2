//! Memory that the allocator keeps, in case it is wanted again.
#![expect(unsafe_code, reason = "malloc_trim has no safe wrapper")]

/// Gives back to the system what was freed. glibc keeps that for each thread:
/// after packages were unpacked on several, a third of all that is held.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and may be called at any time, on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
