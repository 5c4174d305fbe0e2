//! The parsers of metadata as functions of bytes, for `fuzz/targets` alone: no
//! part of what this crate offers.

use std::collections::{HashMap, HashSet};

use formats::Digest;

use super::names::Names;
use super::{PackageId, filelists, primary, repomd};

/// Takes `bytes` as a `repomd.xml`.
pub fn repomd(bytes: &[u8]) {
    let _ = repomd::parse(bytes);
}

/// Takes `bytes` as a `primary.xml`; says how many packages it names.
pub fn primary(bytes: &[u8]) -> usize {
    let mut found = 0;
    let _ = primary::parse(bytes, bytes.len() as u64, 0, &mut Names::default(), |_| found += 1);
    found
}

/// Takes `bytes` as a `filelists.xml` of the packages with these digests.
pub fn filelists(bytes: &[u8], packages: &[Digest], wanted: &str) {
    let ids = packages.iter().enumerate().map(|(at, digest)| (*digest, PackageId(at)));
    let ids: HashMap<Digest, PackageId> = ids.collect();
    let wanted = HashSet::from([wanted]);
    let _ = filelists::parse(bytes, bytes.len() as u64, &ids, &wanted, |_, _| {});
}
