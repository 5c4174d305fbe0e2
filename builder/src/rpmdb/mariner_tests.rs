//! The package database of a real CBL-Mariner 2.0 image, which rpm 4.17 made,
//! made again by us from what is in it: the packages' own headers and the tags
//! of their signature headers. Skipped where there is no such database.

use std::path::PathBuf;
use std::process::Command;

use super::repository_tests::{assert_same, rows, sql};
use super::*;
use crate::header::{Entry, Header};

/// `SLIPWAY_MARINER_DATA` names the folder, else it is beside the project.
fn real_database() -> Option<Vec<u8>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/cbl-mariner-2.0");
    let folder = std::env::var_os("SLIPWAY_MARINER_DATA").map_or(beside.into(), PathBuf::from);
    let packed = std::fs::read(folder.join("rpmdb.sqlite.zst")).ok()?;
    Some(zstd::decode_all(packed.as_slice()).unwrap())
}

/// The tags of a signature header by those they have once installed.
const SIGNATURE: [(u32, u32); 7] =
    [(1000, 257), (1002, 259), (1004, 261), (1007, 1046), (268, 268), (269, 269), (273, 273)];

/// Entries as a header with a magic number.
fn header<'a>(entries: impl Iterator<Item = (u32, Entry<'a>)>) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let mut count = 0_u32;
    for (tag, entry) in entries {
        data.resize(data.len().next_multiple_of(entry.kind.width().unwrap_or(1)), 0);
        let offset = u32::try_from(data.len()).unwrap();
        let numbers = [tag, entry.kind as u32, offset, entry.count];
        index.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        data.extend(entry.data);
        count += 1;
    }
    with_magic(count, &index, &data)
}

fn with_magic(count: u32, index: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    bytes.extend(count.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(index);
    bytes.extend(data);
    bytes
}

/// The RPM file's headers, as they must have been before rpm installed it.
fn before_installation(stored: &Header<'_>) -> RawHeaders {
    let region = stored.entries().next().unwrap();
    let size = i32::from_be_bytes(region.data[8..12].try_into().unwrap());
    let count = usize::try_from(-size).unwrap() / 16;
    let data_bytes = region.data.as_ptr() as usize - stored.data().as_ptr() as usize + 16;
    let added: Vec<Entry<'_>> = stored.entries().skip(count).collect();
    let signature = SIGNATURE.iter().filter_map(|(from, to)| {
        added.iter().find(|entry| entry.tag == *to).map(|entry| (*from, *entry))
    });
    let mut bytes = vec![0; 96];
    bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    bytes.extend(header(signature));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let count32 = u32::try_from(count).unwrap();
    bytes.extend(with_magic(count32, &stored.index()[..16 * count], &stored.data()[..data_bytes]));
    RawHeaders::read(&mut bytes.as_slice()).unwrap()
}

/// When a package was installed there; by us, all in one transaction.
const INSTALL_TIMES: [u32; 2] = [1008, 1128];

/// A stored header with the times that differ taken out.
fn without_times(bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    let header = Header::parse_stored(bytes).unwrap();
    for tag in INSTALL_TIMES {
        let data = header.entry(tag).unwrap().data;
        let at = data.as_ptr() as usize - bytes.as_ptr() as usize;
        masked[at..at + 4].fill(0);
    }
    masked
}

fn unhex(line: &str) -> Vec<u8> {
    let digits = line.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_real_database_is_made_again() {
    let Some(database) = real_database() else {
        println!("skipped: there is no CBL-Mariner database here");
        return;
    };
    if Command::new("sqlite3").arg("--version").output().is_err() {
        println!("skipped: sqlite3 is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("theirs.sqlite"), folder.path().join("ours.sqlite"));
    std::fs::write(&theirs, database).unwrap();
    let all = "SELECT hex(blob) FROM Packages ORDER BY hnum";
    let stored: Vec<Vec<u8>> = sql(&theirs, all).lines().map(unhex).collect();
    assert_eq!(stored.len(), 129);
    let packages = stored.iter().map(|bytes| {
        let header = Header::parse_stored(bytes).unwrap();
        let headers = before_installation(&header);
        Ok::<_, std::convert::Infallible>(Installed { headers, states: Vec::new() })
    });
    let transaction = Transaction::new(1_643_279_452, "x86_64");
    write(packages, transaction, std::fs::File::create(&ours).unwrap()).unwrap();

    assert_eq!(sql(&ours, "PRAGMA integrity_check"), "ok\n");
    let tables = index::tables().map(|table| table.name());
    // Its keys are the transactions' numbers.
    for table in tables.filter(|name| *name != "Installtid") {
        assert_same(&rows(&ours, table), &rows(&theirs, table), table);
    }
    let made: Vec<Vec<u8>> = sql(&ours, all).lines().map(unhex).collect();
    for (number, (ours, theirs)) in made.iter().zip(&stored).enumerate() {
        assert!(without_times(ours) == without_times(theirs), "header {}", number + 1);
    }
    assert_eq!(made.len(), stored.len());
}
