//! The package database of a real CBL-Mariner 2.0 image, which rpm 4.17 made,
//! made again by us: from what is in it, the packages' own headers and the tags
//! of their signature headers; and from packages rebuilt of these headers with
//! stand-ins for their files, which `ci mariner` makes and which are composed as
//! well. Skipped where there is no such database.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::repository_tests::{assert_same, rows, sql};
use super::tests::headers;
use super::*;
use crate::compose::{self, Call, Handling, Ran, RunError, Runner, Runners};
use crate::header::{Entry, Header};
use crate::package::Package;
use crate::tree::Tree;

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

/// The real database, in `folder`, where it and SQLite are to be had.
fn theirs(folder: &Path) -> Option<PathBuf> {
    let Some(database) = real_database() else {
        skip::without_data("there is no CBL-Mariner database here");
        return None;
    };
    if Command::new("sqlite3").arg("--version").output().is_err() {
        skip::because("sqlite3 is not installed");
        return None;
    }
    let path = folder.join("theirs/var/lib/rpm/rpmdb.sqlite");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, database).unwrap();
    Some(path)
}

/// Our database of `packages`, in `folder`.
fn ours(folder: &Path, packages: impl Iterator<Item = Installed>) -> PathBuf {
    let path = folder.join("ours/var/lib/rpm/rpmdb.sqlite");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let transaction = Transaction::new(1_643_279_452, "x86_64");
    let file = std::fs::File::create(&path).unwrap();
    write(packages.map(Ok::<_, Infallible>), transaction, file).unwrap();
    assert_eq!(sql(&path, "PRAGMA integrity_check"), "ok\n");
    path
}

fn stored(database: &Path) -> Vec<Vec<u8>> {
    sql(database, "SELECT hex(blob) FROM Packages ORDER BY hnum").lines().map(unhex).collect()
}

/// Every index table but those named has the same rows in the same order.
fn assert_same_tables(ours: &Path, theirs: &Path, but: &[&str]) {
    let tables = index::tables().map(|table| table.name());
    for table in tables.filter(|name| !but.contains(name)) {
        assert_same(&rows(ours, table), &rows(theirs, table), table);
    }
}

fn nevras(database: &Path) -> BTreeSet<String> {
    let root = database.ancestors().nth(4).unwrap();
    let query = ["--define", "_dbpath /var/lib/rpm", "-qa", "--qf", "%{NEVRA}\n"];
    let out = Command::new("rpm").arg("--root").arg(root).args(query).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_real_database_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(theirs) = theirs(folder.path()) else {
        return;
    };
    let stored_there = stored(&theirs);
    assert_eq!(stored_there.len(), 129);
    let packages = stored_there.iter().map(|bytes| {
        let headers = before_installation(&Header::parse_stored(bytes).unwrap());
        Installed { headers, states: Vec::new() }
    });
    let ours = ours(folder.path(), packages);
    // Its keys are the transactions' numbers.
    assert_same_tables(&ours, &theirs, &["Installtid"]);
    let made = stored(&ours);
    for (number, (ours, theirs)) in made.iter().zip(&stored_there).enumerate() {
        assert!(without_times(ours) == without_times(theirs), "header {}", number + 1);
    }
    assert_eq!(made.len(), stored_there.len());
}

/// Name, epoch, version, release and architecture.
fn identity(header: &Header<'_>) -> [String; 5] {
    let number = |tag| header.number(tag).map(|number| number.to_string()).unwrap_or_default();
    let text = |tag| header.text(tag).unwrap_or_default().to_owned();
    [text(1000), number(1003), text(1001), text(1002), text(1022)]
}

#[test]
#[ignore = "needs the packages rebuilt by `ci mariner`, named by SLIPWAY_MARINER_REPOSITORY"]
fn the_rebuilt_packages_compose_and_are_listed_as_the_real_ones() {
    let folder = tempfile::tempdir().unwrap();
    let Some(repository) = std::env::var_os("SLIPWAY_MARINER_REPOSITORY").map(PathBuf::from) else {
        return skip::because("SLIPWAY_MARINER_REPOSITORY is not set");
    };
    let Some(theirs) = theirs(folder.path()) else {
        return;
    };
    let rpms = std::fs::read_dir(repository.join("Packages")).unwrap();
    let rpms: Vec<PathBuf> = rpms.map(|entry| entry.unwrap().path()).collect();
    compose_all(folder.path(), &rpms);

    let mut by_identity: BTreeMap<[String; 5], RawHeaders> = rpms
        .iter()
        .map(|rpm| headers(rpm))
        .map(|headers| (identity(&headers.header()), headers))
        .collect();
    let order = stored(&theirs);
    let packages = order.iter().map(|bytes| {
        let identity = identity(&Header::parse_stored(bytes).unwrap());
        let headers = by_identity.remove(&identity).unwrap_or_else(|| panic!("{identity:?}"));
        Installed { headers, states: Vec::new() }
    });
    let ours = ours(folder.path(), packages);
    assert_eq!(nevras(&ours), nevras(&theirs));
    // Transactions have other numbers; digests are of other contents, and the
    // one by MD5 is no longer made.
    assert_same_tables(&ours, &theirs, &["Installtid", "Sha1header", "Sigmd5"]);
    let packages = "SELECT hnum, idx FROM Sha1header ORDER BY rowid";
    assert_same(&sql(&ours, packages), &sql(&theirs, packages), "Sha1header");
}

/// Says that every script did well. The programs they name are stand-ins.
#[derive(Default)]
struct Pretend(usize);

impl Runner for Pretend {
    fn run(&mut self, _: &mut Tree, _: &Call<'_>) -> Result<Ran, RunError> {
        self.0 += 1;
        Ok(Ran::exit(0, String::new()))
    }
}

/// The packages make a tree, and each of their scripts has something that
/// carries it out. Lua and the sandbox are only counted.
fn compose_all(folder: &Path, rpms: &[PathBuf]) {
    let open = |rpm: &PathBuf| {
        let archive = folder.join(rpm.file_name().unwrap()).with_extension("cpio");
        Package::open(rpm, &archive).unwrap()
    };
    let packages: Vec<Package> = rpms.iter().map(open).collect();
    let (mut lua, mut sandbox) = (Pretend::default(), Pretend::default());
    let runners = Runners { lua: Some(&mut lua), sandbox: Some(&mut sandbox) };
    let options = compose::Options::new(1_643_279_452);
    let composed = compose::compose(&packages, &options, runners).unwrap();
    let report = &composed.report;
    assert!(report.unknown_owners.is_empty(), "{:?}", report.unknown_owners);
    assert!(composed.tree.get("/usr/bin/bash").is_some());
    assert_eq!(composed.installed.len(), packages.len());
    let scripts = packages.iter().flat_map(|package| &package.scriptlets);
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for script in scripts {
        *classes.entry(Handling::of(script).name()).or_default() += 1;
    }
    println!("scripts by what carries them out: {classes:?}");
    println!("{} ran, {} in Lua, {} in the sandbox", report.handled.len(), lua.0, sandbox.0);
    for script in &report.failed {
        println!("{script}");
    }
    assert!(classes.values().sum::<usize>() >= report.handled.len());
    assert!(lua.0 > 0 && sandbox.0 > 0);
}
