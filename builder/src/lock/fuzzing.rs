//! Reading a lock as a function of a text, for `fuzz/targets` alone: no part of
//! what this crate offers.

use std::path::Path;

use super::Lock;

/// Takes `text` as a lock. One that is understood must be understood again, and
/// as the same, once it was written.
pub fn lock(text: &str) {
    let path = Path::new("lock.toml");
    if let Ok(lock) = Lock::parse(text, path) {
        let again = Lock::parse(&lock.to_string(), path);
        assert!(again.is_ok_and(|again| again == lock), "a lock changed by being written");
    }
}
