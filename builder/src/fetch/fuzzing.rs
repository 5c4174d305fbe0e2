//! The check of a package's signature as a function of bytes, for
//! `fuzz/targets` alone: no part of what this crate offers.

use super::verify::verify_from;
use crate::evr::{Evr, Nevra};
use crate::signature::Keyring;

/// Takes `bytes` as a package that a key of `keyring` should have signed.
pub fn verify(bytes: &[u8], keyring: &Keyring) -> bool {
    let evr = Evr { epoch: 0, version: "1.0".to_owned(), release: "1".to_owned() };
    let expected = Nevra { name: "basic".to_owned(), evr, arch: "noarch".to_owned() };
    verify_from(bytes, keyring, &expected).is_ok()
}
