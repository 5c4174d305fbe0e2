//! Two image folders, compared to the last byte. Where they differ it is said
//! in which layer and in which file of it: first the documents, then the
//! manifest's fields, then the payloads (sections of the UKI, files of the
//! root, the hash tree), then the partitions of the disk. Knows nothing of how
//! either was built.

mod bytes;
mod cpio;
mod documents;
mod erofs;
mod payloads;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use formats::gpt::Gpt;

use crate::disk::format::DiskFormat;
use crate::report;
use bytes::{Bytes, DiskFile};
pub(crate) use payloads::Members;

/// The disk whose partitions are looked into; other formats are files like any.
const DISK_FILE: &str = DiskFormat::Raw.file_name();

/// Something in which two images differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The document, payload or partition.
    pub layer: String,
    /// What in it.
    pub what: String,
}

impl Difference {
    pub(crate) fn new(layer: impl Into<String>, what: impl Into<String>) -> Self {
        Self { layer: layer.into(), what: what.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.what)
    }
}

/// Two folders cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not the folder of an image.
    #[error("{0} has no disk, bundle or inputs.tar: it is not the folder of an image")]
    NoImage(PathBuf),
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CompareError {
    let path = path.to_owned();
    move |source| CompareError::Io { path: path.clone(), source }
}

/// What a file of an image's folder is. The order is that of the report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Inputs,
    Text,
    Manifest,
    Bundle,
    Disk,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            report::INPUTS_FILE => Self::Inputs,
            report::MANIFEST_FILE => Self::Manifest,
            DISK_FILE => Self::Disk,
            _ if name.ends_with(".bundle") => Self::Bundle,
            _ if [".txt", ".toml", ".json"].iter().any(|end| name.ends_with(end)) => Self::Text,
            _ => Self::Other,
        }
    }
}

/// Compares the image folders `one` and `other`; nothing if they are identical.
/// Of texts the first line that differs counts as the difference.
pub fn compare(one: &Path, other: &Path) -> Result<Vec<Difference>, CompareError> {
    let (left, right) = (files(one)?, files(other)?);
    let mut names: Vec<&String> = left.union(&right).collect();
    names.sort_by_key(|name| (Kind::of(name), *name));
    let mut found = Vec::new();
    for name in names {
        let missing = match (left.contains(name), right.contains(name)) {
            (true, true) => {
                found.extend(compare_file(name, &one.join(name), &other.join(name))?);
                continue;
            }
            (true, false) => other,
            _ => one,
        };
        found.push(Difference::new(name, format!("missing from {}", missing.display())));
    }
    Ok(found)
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<BTreeSet<String>, CompareError> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        names.insert(entry.file_name().to_string_lossy().into_owned());
    }
    // Texts are in other folders too.
    match names.iter().any(|name| !matches!(Kind::of(name), Kind::Text | Kind::Other)) {
        true => Ok(names),
        false => Err(CompareError::NoImage(folder.to_owned())),
    }
}

fn compare_file(name: &str, one: &Path, other: &Path) -> Result<Vec<Difference>, CompareError> {
    let (left, right) =
        (File::open(one).map_err(failed(one))?, File::open(other).map_err(failed(other))?);
    let (left, right) =
        (Bytes::of(&left).map_err(failed(one))?, Bytes::of(&right).map_err(failed(other))?);
    let ranges = left.differing(&right).map_err(failed(one))?;
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let somewhere = || vec![describe(&left, &right, &ranges)];
    let whats = match Kind::of(name) {
        Kind::Text => documents::text(&left, &right),
        Kind::Manifest => documents::json(&left, &right),
        Kind::Inputs => documents::archive(&left, &right),
        Kind::Bundle => return Ok(payloads::bundle(&left, &right)),
        Kind::Disk => return Ok(disk(&left, &right, &ranges)),
        Kind::Other => None,
    };
    let whats = whats.filter(|whats| !whats.is_empty()).unwrap_or_else(somewhere);
    Ok(whats.into_iter().map(|what| Difference::new(name, what)).collect())
}

/// Where bytes differ, when nothing better can be said.
fn describe(one: &Bytes<'_>, other: &Bytes<'_>, ranges: &[std::ops::Range<u64>]) -> String {
    if one.len != other.len {
        return format!("{} bytes here, {} there", one.len, other.len);
    }
    let at = one.first_difference(other, ranges).unwrap_or_default();
    let blocks: u64 = ranges.iter().map(|range| (range.end - range.start).div_ceil(4096)).sum();
    format!("differs from byte {at} on, in {blocks} blocks of 4 KiB")
}

/// The disk, partition by partition.
fn disk(one: &Bytes<'_>, other: &Bytes<'_>, ranges: &[std::ops::Range<u64>]) -> Vec<Difference> {
    let name = DISK_FILE;
    let tables = (Gpt::read(&mut DiskFile(one)), Gpt::read(&mut DiskFile(other)));
    let (Ok(left), Ok(right)) = tables else {
        return vec![Difference::new(name, describe(one, other, ranges))];
    };
    let mut found = Vec::new();
    if left.disk_id != right.disk_id || left.partitions != right.partitions {
        found.push(Difference::new(format!("{name}, partition table"), "other partitions"));
    }
    let mut inside = 0;
    for partition in &left.partitions {
        let span = partition.start_bytes..partition.start_bytes + partition.len_bytes;
        let own: Vec<_> = ranges
            .iter()
            .filter(|range| range.start < span.end && range.end > span.start)
            .map(|range| range.start.max(span.start)..range.end.min(span.end))
            .collect();
        if own.is_empty() {
            continue;
        }
        inside += own.iter().map(|range| range.end - range.start).sum::<u64>();
        let layer = format!("{name}, partition {}", partition.name);
        let parts = (
            one.window(span.start, partition.len_bytes),
            other.window(span.start, partition.len_bytes),
        );
        let whats = payloads::partition(&partition.name, &parts.0, &parts.1);
        found.extend(whats.into_iter().map(|what| Difference::new(&layer, what)));
    }
    let all: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    if all > inside && found.is_empty() {
        let what = describe(one, other, ranges);
        found.push(Difference::new(format!("{name}, outside of the partitions"), what));
    }
    found
}
