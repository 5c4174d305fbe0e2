//! Bundles member by member, and the payloads in them and on disks: sections of
//! a UKI, files of a root, blocks of a hash tree.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};

use formats::archive::{self, RECORD_BYTES};
use formats::chunks::ChunkTable;
use formats::{Digest, block::BLOCK_BYTES};

use super::bytes::Bytes;
use super::{Difference, cpio, describe, documents, erofs};
use crate::uki;

/// UKIs are loaded into memory by the firmware too.
const MAX_UKI_BYTES: u64 = 1 << 30;
/// No table of chunks is larger.
const MAX_TABLE_BYTES: u64 = 256 << 20;
/// No chunk is cut larger than 1 MiB.
const MAX_CHUNK_BYTES: u32 = 16 << 20;
/// As large as a root can be.
const MAX_PAYLOAD_BYTES: u64 = 64 << 30;
/// Members that are no payload.
const MAX_SMALL_BYTES: u64 = 1 << 20;
const PAYLOADS: [&str; 3] = ["uki", "root", "verity"];

/// The members of a bundle: where each lies.
pub(crate) struct Members<'f> {
    bytes: Bytes<'f>,
    found: BTreeMap<String, (u64, u64)>,
}

impl<'f> Members<'f> {
    /// Reads the frame of a bundle as far as it is one.
    pub(super) fn of(bytes: Bytes<'f>) -> Self {
        let mut found = BTreeMap::new();
        let mut at = 0;
        let mut record = [0; RECORD_BYTES];
        while bytes.read_at(&mut record, at).is_ok() {
            let Some((name, size)) = archive::parse_header(&record) else {
                break;
            };
            at += RECORD_BYTES as u64;
            found.insert(name.to_owned(), (at, size));
            at += size + archive::padding(size);
        }
        Self { bytes, found }
    }

    /// Reads the frame of the bundle in `file`.
    pub(crate) fn read(file: &'f std::fs::File) -> io::Result<Self> {
        Ok(Self::of(Bytes::of(file)?))
    }

    /// A member that is not large.
    pub(crate) fn small(&self, name: &str) -> Option<Vec<u8>> {
        self.member(name)?.all(MAX_SMALL_BYTES)
    }

    /// Names of members, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }

    fn member(&self, name: &str) -> Option<Bytes<'f>> {
        let (at, size) = self.found.get(name)?;
        Some(self.bytes.window(*at, *size))
    }

    /// A payload, unpacked into an unnamed file. Frames that do not unpack
    /// leave zeros, and are named.
    fn payload(&self, name: &str) -> io::Result<(std::fs::File, Vec<String>)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let table = self.member(&format!("chunks/{name}")).ok_or_else(missing)?;
        let table = table.all(MAX_TABLE_BYTES).ok_or_else(missing)?;
        let table =
            ChunkTable::decode(&table).map_err(|error| io::Error::other(error.to_string()))?;
        if table.raw_len() > MAX_PAYLOAD_BYTES {
            return Err(io::Error::other("larger than a root can be"));
        }
        let data = self.member(&format!("data/{name}")).ok_or_else(missing)?;
        let mut out = tempfile::tempfile()?;
        let (mut frame_at, mut raw_at, mut faults) = (0, 0_u64, Vec::new());
        for (number, chunk) in table.chunks().iter().enumerate() {
            let mut raw = Vec::new();
            if chunk.raw_len > MAX_CHUNK_BYTES || chunk.frame_len > MAX_CHUNK_BYTES {
                return Err(io::Error::other("a chunk that is too large"));
            }
            if chunk.frame_len > 0 {
                let mut frame = vec![0; chunk.frame_len as usize];
                let read = data.read_at(&mut frame, frame_at);
                let whole = read.is_ok() && Digest::of(&frame) == chunk.frame_sha256;
                if whole {
                    raw =
                        zstd::bulk::decompress(&frame, chunk.raw_len as usize).unwrap_or_default();
                }
                if raw.len() != chunk.raw_len as usize {
                    raw.clear();
                    let end = raw_at + u64::from(chunk.raw_len);
                    faults.push(format!(
                        "chunk {number}, bytes {raw_at} to {end} of the payload, is damaged"
                    ));
                }
            }
            // Zeros are left as holes: a table may have them without end.
            out.seek(SeekFrom::Start(raw_at))?;
            out.write_all(&raw)?;
            frame_at += u64::from(chunk.frame_len);
            raw_at += u64::from(chunk.raw_len);
        }
        out.set_len(raw_at)?;
        Ok((out, faults))
    }
}

/// Everything in which two bundles differ, top down.
pub(super) fn bundle(one: &Bytes<'_>, other: &Bytes<'_>) -> Vec<Difference> {
    let (left, right) = (Members::of(*one), Members::of(*other));
    let mut found = Vec::new();
    let mut names: Vec<&String> = left.found.keys().chain(right.found.keys()).collect();
    names.sort_by_key(|name| (rank(name), *name));
    names.dedup();
    for name in names {
        let layer = format!("bundle, {name}");
        match (left.member(name), right.member(name)) {
            (Some(a), Some(b)) => {
                let whats = member(name, &a, &b);
                found.extend(whats.into_iter().map(|what| Difference::new(&layer, what)));
            }
            (a, _) => {
                let side = if a.is_some() { "second" } else { "first" };
                found.push(Difference::new(layer, format!("missing from the {side} bundle")));
            }
        }
    }
    for name in PAYLOADS {
        let differs = |part: &str| {
            let layer = format!("bundle, {part}/{name}");
            found.iter().any(|difference| difference.layer == layer)
        };
        if differs("data") || differs("chunks") {
            found.extend(payload(name, &left, &right));
        }
    }
    if found.is_empty() {
        let ranges = one.differing(other).unwrap_or_default();
        found.push(Difference::new("bundle, its frame", describe(one, other, &ranges)));
    }
    found
}

/// Manifest and signatures first, then tables, then data.
fn rank(name: &str) -> usize {
    ["slipway", "manifest", "signatures", "root/", "chunks/", "data/"]
        .iter()
        .position(|start| name.starts_with(start))
        .unwrap_or(usize::MAX)
}

fn member(name: &str, one: &Bytes<'_>, other: &Bytes<'_>) -> Vec<String> {
    let ranges = match one.differing(other) {
        Ok(ranges) if ranges.is_empty() => return Vec::new(),
        Ok(ranges) => ranges,
        Err(error) => return vec![format!("cannot be read: {error}")],
    };
    let fields = if name.ends_with(".json") { documents::json(one, other) } else { None };
    let fields = fields.filter(|fields| !fields.is_empty());
    fields.unwrap_or_else(|| vec![describe(one, other, &ranges)])
}

fn payload(name: &str, left: &Members<'_>, right: &Members<'_>) -> Vec<Difference> {
    let layer = format!("payload {name}");
    let unpacked = left.payload(name).and_then(|left| Ok((left, right.payload(name)?)));
    let ((left, left_faults), (right, right_faults)) = match unpacked {
        Ok(both) => both,
        Err(error) => return vec![Difference::new(layer, format!("cannot be unpacked: {error}"))],
    };
    let mut whats: Vec<String> =
        left_faults.into_iter().map(|fault| format!("in the first, {fault}")).collect();
    whats.extend(right_faults.into_iter().map(|fault| format!("in the second, {fault}")));
    if let (Ok(left), Ok(right)) = (Bytes::of(&left), Bytes::of(&right)) {
        whats.extend(inside(name, &left, &right));
    }
    whats.into_iter().map(|what| Difference::new(&layer, what)).collect()
}

/// What differs in a partition of this name.
pub(super) fn partition(name: &str, one: &Bytes<'_>, other: &Bytes<'_>) -> Vec<String> {
    let header = BLOCK_BYTES as u64;
    match name {
        "root-a" | "root-b" => inside("root", one, other),
        "uki-a" | "uki-b" => {
            let headers = (one.window(0, header), other.window(0, header));
            let images = (one.window(header, u64::MAX), other.window(header, u64::MAX));
            let mut whats: Vec<String> = inside("header", &headers.0, &headers.1)
                .into_iter()
                .map(|what| format!("the header of the slot {what}"))
                .collect();
            whats.extend(inside("uki", &images.0, &images.1));
            whats
        }
        _ => inside(name, one, other),
    }
}

/// What differs in two runs of bytes of this kind.
fn inside(kind: &str, one: &Bytes<'_>, other: &Bytes<'_>) -> Vec<String> {
    let ranges = match one.differing(other) {
        Ok(ranges) if ranges.is_empty() => return Vec::new(),
        Ok(ranges) => ranges,
        Err(error) => return vec![format!("cannot be read: {error}")],
    };
    let named = match kind {
        "root" => erofs::list(one)
            .zip(erofs::list(other))
            .map(|(left, right)| documents::differences(&left, &right)),
        "uki" => sections(one, other),
        _ => None,
    };
    match named {
        Some(named) if !named.is_empty() => named,
        // Padding, a superblock, or something of another format.
        Some(_) => vec![format!("outside of what it holds: {}", describe(one, other, &ranges))],
        None => vec![describe(one, other, &ranges)],
    }
}

fn sections(one: &Bytes<'_>, other: &Bytes<'_>) -> Option<Vec<String>> {
    let (left, right) = (one.all(MAX_UKI_BYTES)?, other.all(MAX_UKI_BYTES)?);
    let (left_sections, right_sections) = (uki::sections(&left)?, uki::sections(&right)?);
    let list = |pe: &[u8], sections: &[(String, std::ops::Range<usize>)]| {
        let describe = |(name, range): &(String, std::ops::Range<usize>)| {
            let content = pe.get(range.clone()).unwrap_or_default();
            (format!("section {name}"), format!("{} bytes, {}", content.len(), Digest::of(content)))
        };
        sections.iter().map(describe).collect::<BTreeMap<_, _>>()
    };
    let mut found =
        documents::differences(&list(&left, &left_sections), &list(&right, &right_sections));
    let initrd = |pe: &[u8], sections: &[(String, std::ops::Range<usize>)]| {
        let range = sections.iter().find(|(name, _)| name == ".initrd")?.1.clone();
        Some(cpio::list(pe.get(range)?))
    };
    let initrds = initrd(&left, &left_sections).zip(initrd(&right, &right_sections));
    if let Some((left, right)) = initrds {
        let files = documents::differences(&left, &right);
        found.extend(files.into_iter().map(|file| format!("initrd, {file}")));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use formats::chunks::Chunk;

    use super::*;

    /// A bundle whose root is so many MiB of zeros.
    fn zeros(mib: usize) -> File {
        let (raw_sha256, frame_sha256) = (Digest::ZERO, Digest::ZERO);
        let chunk = Chunk { raw_len: 1 << 20, frame_len: 0, raw_sha256, frame_sha256 };
        let table = ChunkTable::new(vec![chunk; mib]).unwrap().encode();
        let mut file = tempfile::tempfile().unwrap();
        for (name, bytes) in [("chunks/root", table), ("data/root", Vec::new())] {
            let len = bytes.len() as u64;
            file.write_all(&archive::header(name, len).unwrap()).unwrap();
            file.write_all(&bytes).unwrap();
            let padding = usize::try_from(archive::padding(len)).unwrap();
            file.write_all(&vec![0; padding]).unwrap();
        }
        file
    }

    #[test]
    fn zeros_fill_no_disk() {
        let bundle = zeros(4096);
        let (file, faults) = Members::read(&bundle).unwrap().payload("root").unwrap();
        assert!(faults.is_empty());
        let found = file.metadata().unwrap();
        assert_eq!(found.len(), 4 << 30);
        assert!(found.blocks() < 100, "{} blocks", found.blocks());
        let bundle = zeros((64 << 10) + 1);
        let error = Members::read(&bundle).unwrap().payload("root").unwrap_err();
        assert_eq!(error.to_string(), "larger than a root can be");
    }
}
