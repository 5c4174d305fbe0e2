//! The disk of a new machine: its partitions, and what lies in them at first.
//!
//! `esp · state · seed · uki-a · root-a · root-a-verity · uki-b · root-b ·
//! root-b-verity · data`, each at a multiple of 1 MiB. The release goes to slot
//! a as pending; slot b is empty.

mod data;
pub mod format;
mod qcow2;
mod vhdx;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use formats::Slot;
use formats::block::BLOCK_BYTES;
use formats::gpt::{ALIGN_BYTES, Gpt, Partition, kind};
use formats::guid::Guid;
use formats::state::State;
use formats::uki_header::UkiHeader;

use crate::region::{ReadAt, Region};

/// Bytes of the `state` partition.
const STATE_BYTES: u64 = 1 << 20;
/// Bytes of the `seed` partition.
const SEED_BYTES: u64 = 4 << 20;
const SECTOR_BYTES: u32 = 512;

/// Sizes of the partitions that a recipe decides, in bytes, each a multiple of
/// 1 MiB.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// EFI system partition
    pub esp: u64,
    /// each of `uki-a` and `uki-b`
    pub uki: u64,
    /// each of `root-a` and `root-b`
    pub root: u64,
    /// each of the verity partitions
    pub verity: u64,
    /// `data`, which grows to the disk's end later
    pub data: u64,
}

/// Why the disk cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file.
    #[error("cannot write the disk image")]
    Io(#[from] io::Error),
    /// Something is larger than its partition.
    #[error(
        "{what} needs {needed} bytes and its partition has {has}; raise disk.{key} in the recipe"
    )]
    Room {
        /// what does not fit
        what: &'static str,
        /// the recipe's key
        key: &'static str,
        /// bytes
        needed: u64,
        /// bytes
        has: u64,
    },
    /// The partition table.
    #[error("cannot lay the disk out: {0}")]
    Layout(String),
    /// mkfs.ext4 is missing or failed.
    #[error("mkfs.ext4 failed: {0}; it comes with the package e2fsprogs")]
    Ext4(String),
}

/// The partitions of a disk whose identities follow from `seed`.
#[must_use]
pub fn layout(sizes: &Sizes, seed: &[u8]) -> Gpt {
    let plan = [
        ("esp", kind::ESP, sizes.esp),
        ("state", kind::STATE, STATE_BYTES),
        ("seed", kind::SEED, SEED_BYTES),
        ("uki-a", kind::UKI, sizes.uki),
        ("root-a", kind::ROOT, sizes.root),
        ("root-a-verity", kind::ROOT_VERITY, sizes.verity),
        ("uki-b", kind::UKI, sizes.uki),
        ("root-b", kind::ROOT, sizes.root),
        ("root-b-verity", kind::ROOT_VERITY, sizes.verity),
        ("data", kind::DATA, sizes.data),
    ];
    let mut at = ALIGN_BYTES;
    let mut partitions = Vec::new();
    for (name, kind, len_bytes) in plan {
        let id = Guid::derived(&[seed, name.as_bytes()]);
        let attributes = 0;
        partitions.push(Partition {
            kind,
            id,
            start_bytes: at,
            len_bytes,
            attributes,
            name: name.into(),
        });
        at += len_bytes.next_multiple_of(ALIGN_BYTES);
    }
    let disk_id = Guid::derived(&[seed, b"disk"]);
    // one more unit for the backup table
    Gpt { sector_bytes: SECTOR_BYTES, disk_id, disk_bytes: at + ALIGN_BYTES, partitions }
}

/// What goes onto a new disk.
pub struct Contents<'a> {
    /// slipway-boot
    pub boot: &'a [u8],
    /// the record, with slot a pending
    pub state: &'a State,
    /// header of slot a
    pub header: &'a UkiHeader,
    /// the UKI's image
    pub uki: &'a [u8],
    /// its verity tree
    pub verity: &'a dyn ReadAt,
    /// time stamp of the data file system, seconds since 1970
    pub time: u64,
}

/// An empty disk of these sizes at `path`, which must not exist.
pub fn create(sizes: &Sizes, path: &Path) -> io::Result<File> {
    let disk = File::options().read(true).write(true).create_new(true).open(path)?;
    disk.set_len(layout(sizes, &[]).disk_bytes)?;
    Ok(disk)
}

/// Slot a's root partition on a disk of these sizes. Where it is does not
/// depend on the disk's identity, so the file system can be written before that
/// is known.
#[must_use]
pub fn root_region<'d>(sizes: &Sizes, disk: &'d File) -> Region<'d> {
    let gpt = layout(sizes, &[]);
    let (start, len) = gpt
        .named(&root_name())
        .map_or((0, 0), |partition| (partition.start_bytes, partition.len_bytes));
    Region::new(disk, start, len)
}

fn root_name() -> String {
    format!("root-{}", Slot::A.letter())
}

/// Whether a root file system of `root_bytes` has room.
pub fn check_root(sizes: &Sizes, root_bytes: u64) -> Result<(), DiskError> {
    fits(&layout(sizes, &[]), &root_name(), "root_mib", root_bytes)
}

/// Writes everything else to `disk`, which was created with the sizes of `gpt`.
/// A file `scratch` is made and removed.
pub fn finish(
    gpt: &Gpt,
    contents: &Contents<'_>,
    disk: &File,
    scratch: &Path,
) -> Result<(), DiskError> {
    let tables = gpt.encode().map_err(|error| DiskError::Layout(error.to_string()))?;
    for (offset, bytes) in tables {
        disk.write_all_at(&bytes, offset)?;
    }
    let esp = place(gpt, "esp")?;
    let volume_id = u32::from_le_bytes([esp.id.0[0], esp.id.0[1], esp.id.0[2], esp.id.0[3]]);
    let volume = crate::esp::make(esp.len_bytes, volume_id, contents.boot)?;
    put(disk, gpt, "esp", "esp_mib", &volume)?;

    put(disk, gpt, "state", "", &state_copies(contents.state))?;
    let slot = Slot::A.letter();
    let uki = format!("uki-{slot}");
    fits(gpt, &uki, "uki_mib", contents.uki.len() as u64 + BLOCK_BYTES as u64)?;
    put(disk, gpt, &uki, "uki_mib", &contents.header.encode())?;
    disk.write_all_at(contents.uki, place(gpt, &uki)?.start_bytes + BLOCK_BYTES as u64)?;
    copy(disk, gpt, &format!("root-{slot}-verity"), "verity_mib", contents.verity)?;
    make_data(gpt, disk, scratch, contents.time)?;
    Ok(())
}

/// Both copies of the record, so that a new disk survives the loss of one.
fn state_copies(state: &State) -> Vec<u8> {
    let mut bytes = state.encode().to_vec();
    bytes.resize(BLOCK_BYTES, 0);
    let older = State { sequence: state.sequence.saturating_sub(1), ..*state };
    bytes.extend_from_slice(&older.encode());
    bytes
}

fn place<'g>(gpt: &'g Gpt, name: &str) -> Result<&'g Partition, DiskError> {
    gpt.named(name).ok_or_else(|| DiskError::Layout(format!("no partition {name}")))
}

fn fits(gpt: &Gpt, name: &str, key: &'static str, needed: u64) -> Result<(), DiskError> {
    let has = place(gpt, name)?.len_bytes;
    let what = match key {
        "uki_mib" => "the UKI",
        "root_mib" => "the root file system",
        "verity_mib" => "the verity tree",
        _ => "a file system",
    };
    if needed > has { Err(DiskError::Room { what, key, needed, has }) } else { Ok(()) }
}

fn put(
    disk: &File,
    gpt: &Gpt,
    name: &str,
    key: &'static str,
    bytes: &[u8],
) -> Result<(), DiskError> {
    fits(gpt, name, key, bytes.len() as u64)?;
    Ok(disk.write_all_at(bytes, place(gpt, name)?.start_bytes)?)
}

/// As [`put`], of what need not be in memory.
fn copy(
    disk: &File,
    gpt: &Gpt,
    name: &str,
    key: &'static str,
    source: &dyn ReadAt,
) -> Result<(), DiskError> {
    let len = source.len_bytes();
    fits(gpt, name, key, len)?;
    let start = place(gpt, name)?.start_bytes;
    let mut buffer = vec![0; 1 << 17];
    let mut at = 0;
    while at < len {
        let now = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        source.read_exact_at(&mut buffer[..now], at)?;
        disk.write_all_at(&buffer[..now], start + at)?;
        at += now as u64;
    }
    Ok(())
}

/// An empty ext4 with identifiers and times that follow from the partition, so
/// that the same build gives the same bytes. It is made in the file `scratch`:
/// mkfs.ext4 syncs the file it writes to, and would wait for the whole disk.
fn make_data(gpt: &Gpt, disk: &File, scratch: &Path, time: u64) -> Result<(), DiskError> {
    let place = place(gpt, "data")?;
    let uuid = place.id.to_string();
    let hash_seed = Guid::derived(&[&place.id.0, b"hash seed"]);
    let file = File::options().read(true).write(true).create_new(true).open(scratch)?;
    file.set_len(place.len_bytes)?;
    // e2fsprogs takes one -E only
    let extended = format!("hash_seed={hash_seed},root_owner=0:0,lazy_itable_init=1,nodiscard");
    let done = Command::new(mkfs_ext4())
        .args(["-q", "-F", "-L", "data", "-b", "4096", "-U", &uuid, "-E", &extended])
        .arg(scratch)
        .env("E2FSPROGS_FAKE_TIME", time.to_string())
        .env("SOURCE_DATE_EPOCH", time.to_string())
        .output()
        .map_err(|error| DiskError::Ext4(error.to_string()))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(DiskError::Ext4(said.trim().to_owned()));
    }
    data::for_each(&file, 1 << 16, |offset, bytes| {
        disk.write_all_at(bytes, place.start_bytes + offset)
    })?;
    Ok(std::fs::remove_file(scratch)?)
}

/// A plain user's PATH may lack the folder it is in.
fn mkfs_ext4() -> PathBuf {
    let beside = Path::new("/usr/sbin/mkfs.ext4");
    if beside.exists() { beside.into() } else { "mkfs.ext4".into() }
}

/// The layout as text: one line a partition, for review.
#[must_use]
pub fn describe(gpt: &Gpt) -> String {
    let mut out = format!("disk {} bytes, {}-byte sectors\n", gpt.disk_bytes, gpt.sector_bytes);
    for partition in &gpt.partitions {
        out += &format!(
            "{:<14} start {:>6} MiB  size {:>6} MiB  type {}\n",
            partition.name,
            partition.start_bytes >> 20,
            partition.len_bytes >> 20,
            partition.kind
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes =
        Sizes { esp: 8 << 20, uki: 32 << 20, root: 64 << 20, verity: 2 << 20, data: 64 << 20 };

    #[test]
    fn the_layout_as_text() {
        assert_eq!(
            describe(&layout(&SIZES, b"seed")),
            "\
disk 288358400 bytes, 512-byte sectors
esp            start      1 MiB  size      8 MiB  type c12a7328-f81f-11d2-ba4b-00a0c93ec93b
state          start      9 MiB  size      1 MiB  type 9d1f6c2e-5b0a-4e53-8d27-51f07a3cbe01
seed           start     10 MiB  size      4 MiB  type 9d1f6c2e-5b0a-4e53-8d27-51f07a3cbe02
uki-a          start     14 MiB  size     32 MiB  type 9d1f6c2e-5b0a-4e53-8d27-51f07a3cbe03
root-a         start     46 MiB  size     64 MiB  type 4f68bce3-e8cd-4db1-96e7-fbcaf984b709
root-a-verity  start    110 MiB  size      2 MiB  type 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5
uki-b          start    112 MiB  size     32 MiB  type 9d1f6c2e-5b0a-4e53-8d27-51f07a3cbe03
root-b         start    144 MiB  size     64 MiB  type 4f68bce3-e8cd-4db1-96e7-fbcaf984b709
root-b-verity  start    208 MiB  size      2 MiB  type 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5
data           start    210 MiB  size     64 MiB  type 0fc63daf-8483-4772-8e79-3d69d8477de4
"
        );
    }

    #[test]
    fn sgdisk_and_e2fsck_find_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk.raw");
        let gpt = layout(&SIZES, b"seed");
        let disk = File::create(&path).expect("made");
        disk.set_len(gpt.disk_bytes).expect("sparse");
        for (offset, bytes) in gpt.encode().expect("fits") {
            disk.write_all_at(&bytes, offset).expect("written");
        }
        match Command::new("sgdisk").arg("-v").arg(&path).output() {
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stdout);
                assert!(said.contains("No problems found"), "{said}");
            }
            Err(_) => skip::because("sgdisk is not there"),
        }
        let scratch = folder.path().join("scratch");
        if make_data(&gpt, &disk, &scratch, 1_700_000_000).is_err() {
            return skip::because("mkfs.ext4 is not there");
        }
        let data = gpt.named("data").expect("there");
        let mut bytes = vec![0; usize::try_from(data.len_bytes).expect("small")];
        File::open(&path)
            .and_then(|f| f.read_exact_at(&mut bytes, data.start_bytes))
            .expect("read");
        let file = folder.path().join("data");
        std::fs::write(&file, bytes).expect("written");
        let done = Command::new("e2fsck").args(["-fn"]).arg(&file).output().expect("e2fsprogs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
}
