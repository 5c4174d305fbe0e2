//! `qemu-img` judges each disk format.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use formats::Digest;
use formats::vhdx::{self, Header, Metadata, RegionTable};

use super::DiskFormat;

/// A sparse disk with something in the first and last sector, across borders of
/// every unit there is, and zeros that are no hole.
fn raw_disk(path: &Path, len: u64) -> File {
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(len).unwrap();
    let pattern: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
    file.write_all_at(&pattern[..512], 0).unwrap();
    file.write_all_at(&[0; 70_000], 200_000).unwrap();
    file.write_all_at(&pattern[..70_000], (1 << 20) - 3).unwrap();
    let middle = len / 2;
    file.write_all_at(&pattern, middle - 1_000_000).unwrap();
    file.write_all_at(&pattern[..512], len - 512).unwrap();
    file
}

fn qemu_img(arguments: &[&str], paths: &[&Path]) -> String {
    let done = Command::new("qemu-img").args(arguments).args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "qemu-img {arguments:?} {paths:?}: {said}{error}");
    said
}

fn have_qemu_img() -> bool {
    let there = Command::new("qemu-img").arg("--version").output().is_ok();
    if !there {
        skip::because("qemu-img is not there");
    }
    there
}

fn kind(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "raw",
        DiskFormat::Vhdx | DiskFormat::VhdxFixed => "vhdx",
        DiskFormat::Qcow2 => "qcow2",
    }
}

#[test]
fn qemu_finds_the_same_disk_in_each() {
    if !have_qemu_img() {
        return;
    }
    // past the borders of a chunk of the VHDX table and of eight L2 tables
    for len in [16 << 20, (5 << 30) + 512, (4 << 30) + (1 << 20)] {
        let folder = tempfile::tempdir().unwrap();
        let raw_path = folder.path().join("raw");
        let raw = raw_disk(&raw_path, len);
        for format in DiskFormat::ALL {
            let path = folder.path().join(format.file_name());
            format.write(&raw, b"seed", &path).unwrap();
            let kind = kind(format);
            let info = qemu_img(&["info", "-f", kind, "--output=json"], &[&path]);
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            assert_eq!(info["virtual-size"], len, "{format}");
            if kind != "raw" {
                let said = qemu_img(&["check", "-f", kind], &[&path]);
                assert!(said.contains("No errors"), "{format}: {said}");
            }
            qemu_img(&["compare", "-f", "raw", "-F", kind], &[&raw_path, &path]);
            if format == DiskFormat::VhdxFixed {
                assert!(fs::metadata(&path).unwrap().len() > len);
            } else if kind != "raw" {
                assert!(fs::metadata(&path).unwrap().len() < 24 << 20, "{format} has holes");
            }
            assert!(fs::metadata(&path).unwrap().blocks() * 512 < 24 << 20, "{format} is sparse");
        }
    }
}

#[test]
fn converting_back_gives_the_same_bytes() {
    if !have_qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = raw_disk(&folder.path().join("raw"), 40 << 20);
    let digest = |path: &Path| Digest::of(&fs::read(path).unwrap());
    let wanted = digest(&folder.path().join("raw"));
    for format in DiskFormat::ALL {
        let path = folder.path().join(format.file_name());
        format.write(&raw, b"seed", &path).unwrap();
        let back = folder.path().join("back");
        qemu_img(&["convert", "-f", kind(format), "-O", "raw"], &[&path, &back]);
        assert_eq!(digest(&back), wanted, "{format}");
    }
}

#[test]
fn a_terabyte_of_nothing_costs_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let raw = raw_disk(&folder.path().join("raw"), 1 << 40);
    for format in DiskFormat::ALL {
        let path = folder.path().join(format.file_name());
        format.write(&raw, b"seed", &path).unwrap();
        let used = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(used < 40 << 20, "{format}: {used}");
        if have_qemu_img() && format != DiskFormat::Raw {
            qemu_img(&["check", "-f", kind(format)], &[&path]);
        }
    }
}

#[test]
fn the_same_disk_gives_the_same_file_wherever_its_holes_are() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = raw_disk(&folder.path().join("raw"), 20 << 20);
    let full = folder.path().join("full");
    fs::write(&full, fs::read(folder.path().join("raw")).unwrap()).unwrap();
    let full = File::open(&full).unwrap();
    for format in DiskFormat::ALL {
        let [one, two] = [("one", &sparse), ("two", &full)].map(|(name, raw)| {
            let path = folder.path().join(format!("{name}-{format}"));
            format.write(raw, b"seed", &path).unwrap();
            fs::read(path).unwrap()
        });
        assert!(one == two, "{format}");
    }
}

#[test]
fn our_own_reading_of_a_vhdx_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let raw = raw_disk(&folder.path().join("raw"), 20 << 20);
    for (format, fixed) in [(DiskFormat::Vhdx, false), (DiskFormat::VhdxFixed, true)] {
        let path = folder.path().join(format.file_name());
        format.write(&raw, b"seed", &path).unwrap();
        let file = fs::read(path).unwrap();
        let at = |offset: u64| &file[usize::try_from(offset).unwrap()..];
        assert!(vhdx::is_vhdx(&file));
        let header = Header::current(vhdx::HEADER_OFFSETS.map(at)).unwrap();
        assert_eq!(header.sequence, 2);
        assert!(header.is_clean());
        let [one, two] =
            vhdx::REGION_TABLE_OFFSETS.map(|offset| RegionTable::decode(at(offset)).unwrap());
        assert_eq!(one, two);
        let metadata = Metadata::decode(at(one.metadata.offset_bytes)).unwrap();
        assert_eq!((metadata.geometry.disk_bytes, metadata.fixed), (20 << 20, fixed));
    }
}
