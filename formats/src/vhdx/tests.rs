//! Round trips, the limits, and a file that `qemu-img` made.

use alloc::vec::Vec;
use std::process::Command;

use super::*;
use crate::field;
use crate::guid::Guid;

fn header(sequence: u64) -> Header {
    let id = |what: &[u8]| Guid::derived(&[what]);
    Header {
        sequence,
        file_write: id(b"file"),
        data_write: id(b"data"),
        log: Guid::ZERO,
        log_offset_bytes: 1 << 20,
        log_len_bytes: 1 << 20,
    }
}

fn metadata() -> Metadata {
    Metadata {
        geometry: Geometry::new(10 << 30, 1 << 20, 512).expect("possible"),
        physical_sector_bytes: 4096,
        fixed: true,
        disk_id: Guid::derived(&[b"disk"]),
    }
}

#[test]
fn the_header_with_the_higher_number_counts_and_damage_is_seen() {
    let (old, new) = (header(7).encode(), header(8).encode());
    assert_eq!(Header::current([&old, &new]), Ok(header(8)));
    assert_eq!(Header::current([&new, &old]), Ok(header(8)));
    for at in [0, 5, 100, 4095] {
        let mut broken = new.clone();
        broken[at] ^= 1;
        assert_eq!(Header::current([&broken, &old]), Ok(header(7)));
        assert!(Header::current([&broken, &broken]).is_err());
    }
    let other = Header { file_write: Guid::ZERO, ..header(8) }.encode();
    assert!(Header::current([&new, &other]).is_err());
    assert!(Header::decode(&new[..100]).is_err());
    let log = Header { log_offset_bytes: 4096, ..header(8) };
    assert!(Header::decode(&log.encode()).is_err());
}

#[test]
fn tables_come_back_as_they_were() {
    let table = RegionTable {
        bat: region::Region { offset_bytes: 2 << 20, len_bytes: 1 << 20 },
        metadata: region::Region { offset_bytes: 3 << 20, len_bytes: 1 << 20 },
    };
    assert_eq!(RegionTable::decode(&table.encode()), Ok(table));
    let over = RegionTable { metadata: table.bat, ..table };
    assert!(RegionTable::decode(&over.encode()).is_err());
    assert_eq!(Metadata::decode(&metadata().encode()), Ok(metadata()));
    for entry in [BatEntry::ZERO, BatEntry::present(5 << 20), BatEntry::present(70 << 40)] {
        assert_eq!(BatEntry::decode(entry.encode()), Ok(entry));
    }
    assert!(BatEntry::decode([4, 0, 0, 0, 0, 0, 0, 0]).is_err());
}

#[test]
fn metadata_that_lies_is_refused() {
    let good = metadata().encode();
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        field::put(&mut bytes, at, value);
        Metadata::decode(&bytes)
    };
    let values = 64 << 10;
    assert_eq!(changed(values + 4, &[3]), Err(VhdxError::HasParent));
    assert!(changed(values, &3_u32.to_le_bytes()).is_err(), "no power of two");
    assert!(changed(values + 8, &u64::MAX.to_le_bytes()).is_err(), "a huge disk");
    assert!(changed(10, &u16::MAX.to_le_bytes()).is_err(), "more entries than fit");
    assert!(changed(32 + 16, &u32::MAX.to_le_bytes()).is_err(), "an item outside");
    assert!(changed(32 + 20, &u32::MAX.to_le_bytes()).is_err(), "an endless item");
    assert!(changed(32, &[0]).is_err(), "a required item that nobody knows");
    assert!(Metadata::decode(&good[..1000]).is_err());
}

#[test]
fn no_bytes_make_it_panic() {
    let table = RegionTable {
        bat: region::Region { offset_bytes: 2 << 20, len_bytes: 1 << 20 },
        metadata: region::Region { offset_bytes: 3 << 20, len_bytes: 1 << 20 },
    };
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for _ in 0..2000 {
        let mut bytes = metadata().encode();
        bytes.truncate(70 << 10);
        let mut regions = table.encode();
        for _ in 0..4 {
            let at = [noise() % 256, (64 << 10) + noise() % 64][noise() as usize % 2] as usize;
            bytes[at] = noise().to_le_bytes()[0];
            regions[noise() as usize % 128] = noise().to_le_bytes()[0];
        }
        let _ = Metadata::decode(&bytes);
        field::put(&mut regions, 4, &[0; 4]);
        let sum = crate::crc32c::checksum(&regions);
        field::put(&mut regions, 4, &sum.to_le_bytes());
        let _ = RegionTable::decode(&regions);
    }
}

#[test]
fn bitmap_entries_lie_between_those_of_blocks() {
    // figures of section 2.5.1: 2^23 sectors of 512 bytes are 4 GiB
    let small = Geometry::new(4 << 30, 1 << 20, 512).expect("possible");
    assert_eq!((small.chunk_ratio(), small.blocks(), small.bat_entries()), (4096, 4096, 4096));
    let next = Geometry::new((4 << 30) + 512, 1 << 20, 512).expect("possible");
    assert_eq!((next.blocks(), next.bat_entries()), (4097, 4098));
    assert_eq!((next.bat_index(4095), next.bat_index(4096)), (4095, 4097));
    assert!(Geometry::new(0, 1 << 20, 512).is_err());
    assert!(Geometry::new(4095, 1 << 20, 512).is_err());
    let largest = Geometry::new(64 << 40, 1 << 20, 512).expect("possible");
    assert!(largest.bat_bytes() < u32::MAX);
}

#[test]
fn a_file_of_qemu_img_is_understood() {
    let path = std::env::temp_dir().join(std::format!("slipway-{}.vhdx", std::process::id()));
    let create = ["create", "-q", "-f", "vhdx"];
    let Ok(done) = Command::new("qemu-img").args(create).arg(&path).arg("5G").output() else {
        return skip::because("qemu-img is not there");
    };
    assert!(done.status.success(), "{done:?}");
    let file: Vec<u8> = std::fs::read(&path).expect("written");
    let _ = std::fs::remove_file(&path);
    assert!(is_vhdx(&file));
    let at = |offset: u64| &file[usize::try_from(offset).expect("small")..];
    let header = Header::current(HEADER_OFFSETS.map(at)).expect("whole");
    assert!(header.is_clean());
    let table = RegionTable::decode(at(REGION_TABLE_OFFSETS[0])).expect("whole");
    let metadata = Metadata::decode(at(table.metadata.offset_bytes)).expect("whole");
    assert_eq!(metadata.geometry.disk_bytes, 5 << 30);
    assert!(!metadata.fixed);
    assert!(u64::from(table.bat.len_bytes) >= metadata.geometry.bat_entries() * 8);
    let entry = at(table.bat.offset_bytes)[..8].try_into().expect("eight");
    BatEntry::decode(entry).expect("whole");
}
