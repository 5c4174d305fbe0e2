//! Packages made to do harm: each is an error that says what is wrong, leaves
//! nothing behind, and costs neither memory nor time. That errors name the
//! package is tested with the real command, in `ci/src/bad_input`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use rpm::{BuildConfig, CompressionType, Header, HeaderEntry, IndexData, IndexTag};

use super::testing::{directory, file, link, write_with};
use super::*;

/// A package whose header and payload can be made to say anything.
struct Forged {
    folder: tempfile::TempDir,
    tags: BTreeMap<u32, IndexData>,
    package: rpm::Package,
}

fn strings<const N: usize>(texts: [&str; N]) -> IndexData {
    IndexData::StringArray(texts.map(str::to_owned).to_vec())
}

impl Forged {
    /// Of the files `/usr/share/kit/a`, with 4 bytes, and `b`, a link to it.
    fn new() -> Self {
        Self::with(|builder| {
            file(builder, "/usr/share/kit/a", "text");
            link(builder, "/usr/share/kit/b", "a");
        })
    }

    fn with(fill: impl FnOnce(&mut rpm::PackageBuilder)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = BuildConfig::v4().compression(CompressionType::None);
        let path = write_with(folder.path(), "kit", config, fill);
        let package = rpm::Package::open(path).unwrap();
        let tags = package.metadata.header.get_all_entries().unwrap().into_iter().collect();
        Self { folder, tags, package }
    }

    fn tag(mut self, tag: IndexTag, data: IndexData) -> Self {
        self.tags.insert(tag as u32, data);
        self
    }

    /// Replaces the payload, and says how it is compressed.
    fn payload(mut self, compressor: &str, bytes: Vec<u8>) -> Self {
        self.package.payload = bytes;
        if compressor == "none" {
            self.tags.remove(&(IndexTag::RPMTAG_PAYLOADCOMPRESSOR as u32));
            return self;
        }
        self.tag(IndexTag::RPMTAG_PAYLOADCOMPRESSOR, IndexData::StringTag(compressor.to_owned()))
    }

    /// Opens it; when that fails, nothing may have been written.
    fn open(mut self) -> Result<Package, String> {
        self.tags.remove(&(IndexTag::RPMTAG_HEADERIMMUTABLE as u32));
        let entries = self.tags.into_iter().map(|(tag, data)| HeaderEntry::new(tag, data));
        self.package.metadata.header =
            Header::from_entries(entries, IndexTag::RPMTAG_HEADERIMMUTABLE);
        let path = self.folder.path().join("kit.rpm");
        let mut bytes = Vec::new();
        self.package.write(&mut bytes).unwrap();
        fs::write(&path, bytes).unwrap();
        let opened = Package::open(&path, &self.folder.path().join("payload/kit.cpio"));
        let found = crate::fixture::files_below(self.folder.path());
        let wanted: &[&str] = match &opened {
            Ok(_) => &["kit.rpm", "payload/kit.cpio"],
            Err(_) => &["kit.rpm"],
        };
        assert_eq!(found, wanted);
        opened.map_err(|error| crate::fixture::chain(&error.of("kit-1.0-1.noarch")))
    }

    fn refused(self, why: &str) {
        let error = self.open().map(|package| package.files).expect_err(why);
        assert!(error.starts_with("package kit-1.0-1.noarch: "), "{error}");
        assert!(error.contains(why), "{why:?} is not in: {error}");
    }
}

/// An entry of an archive that claims to hold `size` bytes.
fn entry(name: &[u8], mode: u32, size: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = b"070701".to_vec();
    let name_bytes = u32::try_from(name.len() + 1).unwrap();
    for field in [1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_bytes, 0] {
        write!(out, "{field:08x}").unwrap();
    }
    out.extend(name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn trailer() -> Vec<u8> {
    entry(b"TRAILER!!!", 0, 0, b"")
}

const A: &[u8] = b"./usr/share/kit/a";
const B: &[u8] = b"./usr/share/kit/b";

fn good() -> [Vec<u8>; 3] {
    [entry(A, 0o100_644, 4, b"text"), entry(B, 0o120_777, 1, b"a"), trailer()]
}

#[test]
fn the_forger_makes_good_ones_too() {
    let [a, b, end] = good();
    for payload in [[a.clone(), b.clone(), end.clone()], [b, a, end]] {
        let package = Forged::new().payload("none", payload.concat()).open();
        assert_eq!(package.unwrap().files.len(), 2);
    }
}

#[test]
fn names_that_escape_or_that_no_file_has_are_refused() {
    let names = |names: [&str; 2]| Forged::new().tag(IndexTag::RPMTAG_BASENAMES, strings(names));
    let folder = |name: &str| Forged::new().tag(IndexTag::RPMTAG_DIRNAMES, strings([name]));
    for name in ["../../../etc/shadow", "..", ".", "a/../b", "/etc/x"] {
        names([name, "b"]).refused("no file can have");
    }
    // The folder itself, as a file.
    names(["", "b"]).refused("is not a file of the header");
    names([&"n".repeat(256), "b"]).refused("no file can have");
    names([&"n/".repeat(2100), "b"]).refused("too long");
    for name in ["/usr/../../etc/", "/usr//share/", "//", "/./"] {
        folder(name).refused("no file can have");
    }
    for name in ["usr/share/", "../", ""] {
        folder(name).refused("not an absolute path");
    }
    names(["bad\u{fffd}name", "b"]).refused("not UTF-8");
    // Twice the same: the archive can only have one of them.
    names(["a", "a"]).refused("/usr/share/kit/a");
}

#[test]
fn archives_that_differ_from_the_header_are_refused() {
    let [a, b, end] = good();
    let with = |entries: &[&[u8]]| Forged::new().payload("none", entries.concat());
    for name in [
        &b"/etc/shadow"[..],
        b"../../etc/shadow",
        b"./usr/share/kit/../../../etc/shadow",
        b"./usr/share/kit/c",
        b"./usr/share/kit/a\n",
        b"./usr/share/kit/\xff",
    ] {
        with(&[&a, &b, &entry(name, 0o100_644, 1, b"x"), &end]).refused("is not a file of");
    }
    with(&[&a, &a, &b, &end]).refused("comes twice");
    with(&[&entry(&[b'n'; 5000], 0o100_644, 0, b""), &a, &b, &end]).refused("no cpio entry");
    with(&[&b, &end]).refused("/usr/share/kit/a: missing");
    with(&[&a, &b]).refused("payload: at offset");
    with(&[&a[..a.len() - 2]]).refused("payload: at offset");
    with(&[]).refused("payload: at offset 0");
    for (size, bytes) in [(5, &b"texts"[..]), (3, b"tex"), (0, b""), (u32::MAX, b"text")] {
        let other = entry(A, 0o100_644, size, bytes);
        with(&[&other, &b, &end]).refused("where the header has 4");
    }
    with(&[&entry(A, 0o100_644, 4, b"TEXT"), &b, &end]).refused("not what the header says");
    with(&[&a, &entry(B, 0o120_777, 1, b"/"), &end]).refused("not what the header says");
    // A number in place of a name, out of range.
    with(&[b"07070Xffffffff\0\0"]).refused("no cpio entry");
}

#[test]
fn links_are_as_long_as_their_target() {
    let [a, _, end] = good();
    let sizes = |b| Forged::new().tag(IndexTag::RPMTAG_FILESIZES, IndexData::Int32(vec![4, b]));
    let long = entry(B, 0o120_777, 1 << 20, &vec![b'a'; 1 << 20]);
    let payload = [a.clone(), long, end.clone()].concat();
    sizes(1 << 20).payload("none", payload).refused("not what the header says");
    let none = entry(B, 0o120_777, 0, b"");
    sizes(0).payload("none", [a, none, end].concat()).refused("not what the header says");
}

#[test]
fn hard_links_to_nothing_are_refused() {
    let made = || {
        let digest = IndexData::StringArray(vec![formats::Digest::of(b"text").to_string(); 2]);
        Forged::new()
            .tag(IndexTag::RPMTAG_FILEMODES, IndexData::Int16(vec![0o100_644; 2]))
            .tag(IndexTag::RPMTAG_FILELINKTOS, strings(["", ""]))
            .tag(IndexTag::RPMTAG_FILESIZES, IndexData::Int32(vec![4; 2]))
            .tag(IndexTag::RPMTAG_FILEDIGESTS, digest)
            .tag(IndexTag::RPMTAG_FILEINODES, IndexData::Int32(vec![9; 2]))
            .tag(IndexTag::RPMTAG_FILEDEVICES, IndexData::Int32(vec![1; 2]))
    };
    let empty = |name| entry(name, 0o100_644, 0, b"");
    let full = entry(B, 0o100_644, 4, b"text");
    let package = made().payload("none", [empty(A), full, trailer()].concat()).open().unwrap();
    assert!(package.files.iter().all(|file| file.content.is_some()));
    let nothing = [empty(A), empty(B), trailer()].concat();
    made().payload("none", nothing).refused("/usr/share/kit/a: missing");
}

#[test]
fn bombs_do_not_go_off() {
    let sizes = |size| {
        let forged = Forged::new();
        let mut tags = forged.tag(IndexTag::RPMTAG_LONGFILESIZES, IndexData::Int64(vec![size, 1]));
        tags.tags.remove(&(IndexTag::RPMTAG_FILESIZES as u32));
        tags
    };
    // Honest about it, and at the end of all numbers.
    for size in [100 << 30, u64::MAX] {
        let error = sizes(size).payload("gzip", vec![0; 1000]).open().map(drop).unwrap_err();
        assert!(error.contains("this is no honest package"), "{error}");
    }
    // A stream of gigabytes where the header has four bytes.
    let start = [entry(A, 0o100_644, 4, b"text"), entry(B, 0o120_777, 1, b"a")].concat();
    let zeros = vec![0; 16 << 20];
    let long = [&start[..], &entry(b"more", 0, u32::MAX, &zeros)].concat();
    let zstd = zstd::encode_all(long.as_slice(), 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&long).unwrap();
    let gzip = gzip.finish().unwrap();
    Forged::new().payload("zstd", zstd).refused("is not a file of");
    Forged::new().payload("gzip", gzip.clone()).refused("is not a file of");
    // A stream within a stream is only bytes.
    let inner = [entry(A, 0o100_644, 4, &gzip[..4]), trailer()].concat();
    Forged::new().payload("none", inner).refused("not what the header says");
    // A window of 2 GiB, a dictionary of 4 GiB.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    Forged::new().payload("zstd", window.to_vec()).refused("payload: at offset 0");
    let filter = [0x02, 0x00, 0x21, 0x01, 40, 0, 0, 0, 0, 0, 0, 0];
    let mut crc = flate2::Crc::new();
    crc.update(&filter);
    let head = *b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F";
    let xz = [&head[..], &filter, &crc.sum().to_le_bytes()].concat();
    Forged::new().payload("xz", xz).refused("payload: at offset 0");
    for name in ["lzma", "bzip2", "rot13"] {
        Forged::new().payload(name, Vec::new()).refused("compressed with");
    }
}

#[test]
fn counts_that_no_package_has_are_refused() {
    let modes = |count| IndexData::Int16(vec![0o100_644; count]);
    let forged = || Forged::new();
    forged().tag(IndexTag::RPMTAG_FILEMODES, modes(250_001)).refused("250001 files");
    forged().tag(IndexTag::RPMTAG_FILEMODES, modes(10_000_000)).refused("10000000 files");
    forged().tag(IndexTag::RPMTAG_FILEMODES, modes(20_000_000)).refused("too large");
    // Fewer of one thing than of another.
    for tag in [
        IndexTag::RPMTAG_BASENAMES,
        IndexTag::RPMTAG_FILEUSERNAME,
        IndexTag::RPMTAG_FILELINKTOS,
        IndexTag::RPMTAG_FILEDIGESTS,
        IndexTag::RPMTAG_DIRNAMES,
    ] {
        assert!(forged().tag(tag, IndexData::StringArray(Vec::new())).open().is_err(), "{tag:?}");
    }
    let indexes = IndexData::Int32(vec![0, u32::MAX]);
    assert!(forged().tag(IndexTag::RPMTAG_DIRINDEXES, indexes).open().is_err());
}

#[test]
fn many_names_of_one_file_take_no_longer_than_as_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let config = BuildConfig::v4().compression(CompressionType::Gzip);
    let path = write_with(folder.path(), "kit", config, |builder| {
        for at in 0..3000 {
            let options = rpm::FileOptions::new(format!("/usr/{at}")).hardlink("set");
            builder.with_file_contents("", options).unwrap();
        }
    });
    let package = Package::open(&path, &folder.path().join("kit.cpio")).unwrap();
    assert!(package.files.iter().all(|file| file.content.is_some()));
}

/// A device of a package is an inode of the image; here nothing is made of it.
#[test]
fn devices_are_only_described() {
    let forged = Forged::new()
        .tag(IndexTag::RPMTAG_FILEMODES, IndexData::Int16(vec![0o100_644, 0o020_666]))
        .tag(IndexTag::RPMTAG_FILERDEVS, IndexData::Int16(vec![0, 0x0103]))
        .tag(IndexTag::RPMTAG_FILELINKTOS, strings(["", ""]))
        .tag(IndexTag::RPMTAG_FILESIZES, IndexData::Int32(vec![4, 0]));
    let [a, _, end] = good();
    let device = entry(B, 0o020_666, 0, b"");
    let package = forged.payload("none", [a, device, end].concat()).open().unwrap();
    assert_eq!(package.files[1].kind, FileKind::CharDevice(1, 3));
    let mut socket = Forged::new();
    socket = socket.tag(IndexTag::RPMTAG_FILEMODES, IndexData::Int16(vec![0o100_644, 0o140_666]));
    assert!(socket.open().is_err());
}

#[test]
fn a_whole_package_of_folders_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let package = testing::package(folder.path(), "folders", |builder| {
        let mut path = String::new();
        for _ in 0..100 {
            path += "/d";
            directory(builder, &path);
        }
    });
    assert_eq!(package.files.len(), 100);
}

#[test]
fn links_of_one_number_on_two_devices_are_not_the_same_file() {
    let forged = Forged::with(|builder| {
        for (name, text) in [("a", "text"), ("b", "text"), ("c", "more"), ("d", "more")] {
            file(builder, &format!("/usr/share/kit/{name}"), text);
        }
    });
    let forged = forged.tag(IndexTag::RPMTAG_FILEINODES, IndexData::Int32(vec![7; 4]));
    let forged = forged.tag(IndexTag::RPMTAG_FILEDEVICES, IndexData::Int32(vec![1, 1, 2, 2]));
    let package = forged.open().unwrap();
    let places = package.files.iter().map(|file| match file.content {
        Some(Content::Range { offset_bytes, .. }) => (file.link_set.unwrap(), offset_bytes),
        _ => panic!("{}: no bytes", file.path),
    });
    let [a, b, c, d] = places.collect::<Vec<_>>()[..] else { panic!("four files") };
    assert_eq!((a, c), (b, d));
    assert_ne!(a.0, c.0);
    assert_ne!(a.1, c.1);
}
