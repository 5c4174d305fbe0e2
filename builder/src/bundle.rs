//! Writing a bundle: payloads cut into chunks that follow files, compressed on
//! every core, listed in tables, tied to one signed manifest, framed as a tar.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use formats::archive;
use formats::block::BLOCK_BYTES;
use formats::chunks::{Chunk, ChunkTable};
use formats::manifest::{Manifest, Payload};
use formats::{Digest, Hasher};

use crate::keys::Signing;
use crate::parallel;
use crate::region::ReadAt;

/// A file at least this large gets chunks of its own.
const LARGE_BYTES: u64 = 64 << 10;
/// Smaller ones are packed together up to about this much.
const PACK_BYTES: u64 = 256 << 10;
/// Large files and whatever is not a file are cut this small.
const PIECE_BYTES: u64 = 1 << 20;
/// One small file in this many ends a pack whatever its size, so that packs
/// meet again after a file was added or removed.
const PACK_ENDS_ONE_IN: u8 = 8;
/// zstd's level. Higher ones cost seconds per gigabyte and win little.
const LEVEL: i32 = 6;

/// Chunks that are gathered for each core before work begins, and for all of
/// them: of 1 MiB at most, and held once more as frames.
const CHUNKS_A_CORE: usize = 8;
const MAX_BATCH: usize = 48;

/// A run of the payload that belongs together: a file's blocks, or metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// first byte, a multiple of 4096
    pub offset_bytes: u64,
    /// a multiple of 4096
    pub len_bytes: u64,
}

/// A payload ready to be written: its frames lie in a file, back to back.
#[derive(Debug)]
pub struct Packed {
    /// what the manifest says of it
    pub payload: Payload,
    table: ChunkTable,
    frames: File,
}

/// Cuts `len_bytes` of payload so that the cuts fall between `spans` wherever
/// possible. `ends_pack` decides by a span's content whether it ends a pack.
/// Returns the chunks' lengths.
fn cut(
    len_bytes: u64,
    spans: &[Span],
    mut ends_pack: impl FnMut(&Span) -> io::Result<bool>,
) -> io::Result<Vec<u64>> {
    let mut cuts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let end_pack = |begin: &mut u64, at: u64, cuts: &mut Vec<u64>| {
        while *begin < at {
            let piece = (at - *begin).min(PIECE_BYTES);
            cuts.push(piece);
            *begin += piece;
        }
    };
    for span in spans {
        if span.offset_bytes < at {
            continue; // shared with an earlier file
        }
        if span.offset_bytes > at {
            end_pack(&mut begin, at, &mut cuts);
            end_pack(&mut begin, span.offset_bytes, &mut cuts);
        }
        at = span.offset_bytes + span.len_bytes;
        if span.len_bytes >= LARGE_BYTES {
            end_pack(&mut begin, span.offset_bytes, &mut cuts);
            end_pack(&mut begin, at, &mut cuts);
        } else if at - begin >= PACK_BYTES || ends_pack(span)? {
            end_pack(&mut begin, at, &mut cuts);
        }
    }
    end_pack(&mut begin, at.min(len_bytes), &mut cuts);
    end_pack(&mut begin, len_bytes, &mut cuts);
    Ok(cuts)
}

/// Cuts and compresses a payload whose length is a multiple of 4096. The frames
/// go to an unnamed file in `scratch`.
pub fn pack(source: &(impl ReadAt + ?Sized), spans: &[Span], scratch: &Path) -> io::Result<Packed> {
    let len = source.len_bytes();
    debug_assert_eq!(len % BLOCK_BYTES as u64, 0);
    let mut block = vec![0; BLOCK_BYTES];
    let lengths = cut(len, spans, |span| {
        source.read_exact_at(&mut block, span.offset_bytes)?;
        Ok(Digest::of(&block).0[0] < u8::MAX / PACK_ENDS_ONE_IN)
    })?;
    let mut frames = tempfile::tempfile_in(scratch)?;
    let (chunks, sha256) = compress(source, &lengths, &mut frames)?;
    let table = ChunkTable::new(chunks).map_err(io::Error::other)?;
    let payload = Payload {
        size: len,
        sha256,
        chunks: table.chunks().len() as u64,
        table_sha256: Digest::of(&table.encode()),
        frames_size: table.frames_len(),
    };
    Ok(Packed { payload, table, frames })
}

/// Chunks are compressed in batches of a few per core, which bounds memory and
/// keeps their order.
fn compress(
    source: &(impl ReadAt + ?Sized),
    lengths: &[u64],
    frames: &mut File,
) -> io::Result<(Vec<Chunk>, Digest)> {
    let batch = (parallel::cores() * CHUNKS_A_CORE).min(MAX_BATCH);
    let mut out = BufWriter::new(frames);
    let mut chunks = Vec::with_capacity(lengths.len());
    let mut whole = Hasher::new();
    let mut at = 0;
    for batch in lengths.chunks(batch) {
        let mut raws = Vec::with_capacity(batch.len());
        for len in batch {
            let mut raw = vec![0; usize::try_from(*len).map_err(io::Error::other)?];
            source.read_exact_at(&mut raw, at)?;
            whole.update(&raw);
            raws.push(raw);
            at += len;
        }
        for done in parallel::map(&raws, |raw| frame(raw)) {
            let (chunk, frame) = done?;
            out.write_all(&frame)?;
            chunks.push(chunk);
        }
    }
    out.flush()?;
    Ok((chunks, whole.finish()))
}

fn frame(raw: &[u8]) -> io::Result<(Chunk, Vec<u8>)> {
    let zeros = raw.iter().all(|byte| *byte == 0);
    let frame = if zeros { Vec::new() } else { zstd::bulk::compress(raw, LEVEL)? };
    let length = |len: usize| u32::try_from(len).map_err(io::Error::other);
    let chunk = Chunk {
        raw_len: length(raw.len())?,
        frame_len: length(frame.len())?,
        raw_sha256: Digest::of(raw),
        frame_sha256: if zeros { Digest::ZERO } else { Digest::of(&frame) },
    };
    Ok((chunk, frame))
}

/// Writes the bundle to `out`. `packed` are uki, root and verity, the same that
/// `manifest` names. Returns the bytes of `manifest.json` as signed.
pub fn write(
    manifest: &Manifest,
    packed: &mut [Packed; 3],
    signing: &Signing,
    out: &mut File,
) -> io::Result<Vec<u8>> {
    let manifest_bytes = manifest.encode();
    let signatures = signing.signatures(&manifest_bytes);
    let mut tar = tar::Builder::new(BufWriter::new(out));
    append(&mut tar, archive::MARKER, archive::MARKER_CONTENT)?;
    append(&mut tar, "manifest.json", &manifest_bytes)?;
    append(&mut tar, "signatures.json", &signatures)?;
    append(&mut tar, &format!("root/{}.json", signing.root_version), &signing.root)?;
    let names = manifest.payloads.named().map(|(name, _)| name);
    for (name, packed) in names.iter().zip(packed.iter()) {
        append(&mut tar, &format!("chunks/{name}"), &packed.table.encode())?;
    }
    for (name, packed) in names.iter().zip(packed) {
        packed.frames.seek(SeekFrom::Start(0))?;
        tar.append(
            &header(&format!("data/{name}"), packed.table.frames_len())?,
            &mut packed.frames,
        )?;
    }
    tar.into_inner()?.flush()?;
    Ok(manifest_bytes)
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append(&header(name, bytes.len() as u64)?, bytes)
}

/// A ustar header as `formats::archive` wants it: everything but name and size
/// is the same for every member.
fn header(name: &str, size_bytes: u64) -> io::Result<tar::Header> {
    let strict = archive::header(name, size_bytes)
        .ok_or_else(|| io::Error::other("a bundle's member of more than 8 GiB"))?;
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&strict);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset_kib: u64, len_kib: u64) -> Span {
        Span { offset_bytes: offset_kib << 10, len_bytes: len_kib << 10 }
    }

    fn cut_kib(len_kib: u64, spans: &[Span], ends: &[u64]) -> Vec<u64> {
        let ends_pack = |span: &Span| Ok(ends.contains(&(span.offset_bytes >> 10)));
        let cuts = cut(len_kib << 10, spans, ends_pack).expect("no file is read");
        cuts.into_iter().map(|len| len >> 10).collect()
    }

    #[test]
    fn cuts_fall_between_files() {
        // metadata before the first file; small ones packed; a large one alone
        let spans = [span(64, 4), span(68, 8), span(76, 2000), span(2076, 4)];
        assert_eq!(cut_kib(2084, &spans, &[]), [64, 12, 1024, 976, 4, 4]);
        // a file may end its pack
        assert_eq!(cut_kib(2084, &spans, &[64]), [64, 4, 8, 1024, 976, 4, 4]);
        // spans that overlap earlier ones are ignored
        assert_eq!(cut_kib(12, &[span(0, 8), span(4, 4)], &[]), [8, 4]);
        assert_eq!(cut_kib(2048, &[], &[]), [1024, 1024]);
    }

    #[test]
    fn headers_are_what_the_tar_crate_makes() {
        let mut theirs = tar::Header::new_ustar();
        theirs.set_path("data/root").expect("short");
        theirs.set_size(4096);
        theirs.set_mode(0o644);
        theirs.set_uid(0);
        theirs.set_gid(0);
        theirs.set_mtime(0);
        theirs.set_entry_type(tar::EntryType::Regular);
        theirs.set_device_major(0).expect("ustar");
        theirs.set_device_minor(0).expect("ustar");
        theirs.set_cksum();
        let ours = header("data/root", 4096).expect("small");
        assert_eq!(ours.path().expect("a path"), theirs.path().expect("a path"));
        assert_eq!(ours.size().expect("a size"), 4096);
        assert_eq!(ours.cksum().expect("a sum"), theirs.cksum().expect("a sum"));
    }
}
