//! Packages rebuilt from headers of which the payload is lost. Every regular
//! file is a stand-in: a line that names the digest of the real contents, so that
//! files which were the same still are, and others still differ. Sizes, digests
//! and what describes the payload follow from that; all else of a header
//! (dependencies, modes, owners, flags, links, scriptlets, triggers) is whole.
//!
//! Two files cannot be just anything: `/etc/passwd` and `/etc/group` list the
//! owners that the packages' files have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rpm::{
    Header, HeaderEntry, IndexData, IndexTag, Package, PackageMetadata, SignatureHeaderBuilder,
};
use sha2::{Digest, Sha256};

use crate::metadata::hex;
use crate::process::output;
use crate::rpm_package::RpmPackage;

/// What rpm has added to a header by installing it, besides the tags below
/// 1000, which are the signature's.
const ADDED: [IndexTag; 5] = [
    IndexTag::RPMTAG_INSTALLTIME,
    IndexTag::RPMTAG_FILESTATES,
    IndexTag::RPMTAG_ARCHIVESIZE,
    IndexTag::RPMTAG_INSTALLCOLOR,
    IndexTag::RPMTAG_INSTALLTID,
];
const FIRST_PLAIN_TAG: u32 = 1000;
/// The table of languages, the one tag of a package below that.
const LANGUAGES: u32 = 100;

type Entries = BTreeMap<u32, IndexData>;

/// All packages of the database, unsigned, in the order they were installed.
pub fn packages(database: &Path) -> Result<Vec<Package>> {
    let all = "SELECT hex(blob) FROM Packages ORDER BY hnum";
    let text = output(Command::new("sqlite3").arg("-readonly").arg(database).arg(all))?;
    let headers = text.lines().map(entries).collect::<Result<Vec<_>>>()?;
    let accounts = Accounts::of(&headers)?;
    headers.into_iter().map(|header| package(header, &accounts)).collect()
}

/// A stored header, in hexadecimal, as it was in the RPM file.
fn entries(text: &str) -> Result<Entries> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    let stored: Option<Vec<u8>> =
        pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    let stored = stored.context("the database holds no header")?;
    // The library reads headers as they are in a file, with a magic number.
    let header = [&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0][..], &stored].concat();
    let metadata = parsed(&header)?;
    let mut entries: Entries = metadata.header.get_all_entries()?.into_iter().collect();
    entries.retain(|tag, _| *tag >= FIRST_PLAIN_TAG || *tag == LANGUAGES);
    for tag in ADDED {
        entries.remove(&(tag as u32));
    }
    Ok(entries)
}

/// A header after the lead and signature of some package, which are replaced
/// later.
fn parsed(header: &[u8]) -> Result<PackageMetadata> {
    let some = RpmPackage::new("some", "1", "1", "noarch").build()?;
    let mut bytes = Vec::new();
    some.write(&mut bytes)?;
    let start = usize::try_from(some.metadata.get_package_segment_offsets().header)?;
    bytes.truncate(start);
    bytes.extend_from_slice(header);
    Ok(PackageMetadata::parse(&mut bytes.as_slice())?)
}

fn package(mut entries: Entries, accounts: &Accounts) -> Result<Package> {
    let files = Files::of(&entries)?;
    let contents = files.stand_ins(accounts);
    let sizes = contents.iter().zip(&files.sizes).map(|(content, size)| match content {
        Some(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        None => *size,
    });
    let digests = contents.iter().zip(&files.digests).map(|(content, digest)| match content {
        Some(bytes) => hex(&Sha256::digest(bytes)),
        None => digest.clone(),
    });
    let sizes: Vec<u32> = sizes.collect();
    let total =
        contents.iter().flatten().map(|bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX)).sum();
    let digests = IndexData::StringArray(digests.collect());
    let archive = files.archive(&contents);
    let payload = gzip(&archive)?;
    let mut put = |tag: IndexTag, data| {
        entries.insert(tag as u32, data);
    };
    if !sizes.is_empty() {
        put(IndexTag::RPMTAG_FILESIZES, IndexData::Int32(sizes));
        put(IndexTag::RPMTAG_FILEDIGESTS, digests);
    }
    put(IndexTag::RPMTAG_SIZE, IndexData::Int32(vec![total]));
    let digest = |bytes: &[u8]| IndexData::StringArray(vec![hex(&Sha256::digest(bytes))]);
    put(IndexTag::RPMTAG_PAYLOADSHA256, digest(&payload));
    put(IndexTag::RPMTAG_PAYLOADSHA256ALT, digest(&archive));
    assemble(entries, payload)
}

fn assemble(entries: Entries, payload: Vec<u8>) -> Result<Package> {
    let entries = entries.into_iter().map(|(tag, data)| HeaderEntry::new(tag, data));
    let mut metadata = RpmPackage::new("some", "1", "1", "noarch").build()?.metadata;
    metadata.header = Header::from_entries(entries, IndexTag::RPMTAG_HEADERIMMUTABLE);
    let mut package = Package { metadata, payload };
    let bytes = package.header_bytes()?;
    package.metadata.signature = SignatureHeaderBuilder::new()
        .set_content_length(bytes.len() as u64 + package.payload.len() as u64)
        .calculate_digests(&bytes)
        .build()?;
    Ok(package)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// What the stand-ins of a package follow from: its file list.
struct Files {
    paths: Vec<String>,
    modes: Vec<u16>,
    sizes: Vec<u32>,
    digests: Vec<String>,
    links: Vec<String>,
    inodes: Vec<u32>,
    is_ghost: Vec<bool>,
}

impl Files {
    fn of(entries: &Entries) -> Result<Self> {
        let names = texts(entries, IndexTag::RPMTAG_BASENAMES);
        let folders = texts(entries, IndexTag::RPMTAG_DIRNAMES);
        let indexes = numbers(entries, IndexTag::RPMTAG_DIRINDEXES);
        let path = |(name, folder): (&String, &u32)| {
            let folder = folders.get(usize::try_from(*folder)?).context("a folder of each name")?;
            Ok(format!("{folder}{name}"))
        };
        let flags = numbers(entries, IndexTag::RPMTAG_FILEFLAGS);
        const GHOST: u32 = 1 << 6;
        let files = Self {
            paths: names.iter().zip(&indexes).map(path).collect::<Result<_>>()?,
            modes: match entries.get(&(IndexTag::RPMTAG_FILEMODES as u32)) {
                Some(IndexData::Int16(modes)) => modes.clone(),
                _ => Vec::new(),
            },
            sizes: numbers(entries, IndexTag::RPMTAG_FILESIZES),
            digests: texts(entries, IndexTag::RPMTAG_FILEDIGESTS),
            links: texts(entries, IndexTag::RPMTAG_FILELINKTOS),
            inodes: numbers(entries, IndexTag::RPMTAG_FILEINODES),
            is_ghost: flags.iter().map(|flags| flags & GHOST != 0).collect(),
        };
        let count = files.paths.len();
        let lengths = [files.modes.len(), files.sizes.len(), files.digests.len()];
        let more = [files.links.len(), files.inodes.len(), files.is_ghost.len()];
        let alike = lengths.iter().chain(&more).all(|length| *length == count);
        ensure!(alike, "a header's lists of files have different lengths");
        Ok(files)
    }

    fn is_regular(&self, at: usize) -> bool {
        self.modes[at] & 0o170_000 == 0o100_000
    }

    /// The bytes of every regular file that is shipped.
    fn stand_ins(&self, accounts: &Accounts) -> Vec<Option<Vec<u8>>> {
        let stand_in = |at: usize| match self.paths[at].as_str() {
            _ if !self.is_regular(at) || self.is_ghost[at] => None,
            "/etc/passwd" => Some(accounts.passwd()),
            "/etc/group" => Some(accounts.group()),
            _ => Some(format!("# stands in for {}\n", self.digests[at]).into_bytes()),
        };
        (0..self.paths.len()).map(stand_in).collect()
    }

    /// The payload, unpacked: a cpio archive as rpm 4.17 writes it, where the
    /// last of hard links brings the bytes of them all.
    fn archive(&self, contents: &[Option<Vec<u8>>]) -> Vec<u8> {
        let shipped: Vec<usize> = (0..self.paths.len()).filter(|at| !self.is_ghost[*at]).collect();
        let same = |at: usize| {
            let regular = self.is_regular(at);
            let linked = |other: &&usize| {
                regular && self.is_regular(**other) && self.inodes[**other] == self.inodes[at]
            };
            shipped.iter().filter(linked).copied().collect::<Vec<_>>()
        };
        let mut archive = Vec::new();
        for at in shipped.iter().copied() {
            let links = same(at);
            let is_last = links.last().is_none_or(|last| *last == at);
            let data: &[u8] = match &contents[at] {
                Some(bytes) if is_last => bytes,
                Some(_) => &[],
                None => self.links[at].as_bytes(),
            };
            let name = format!(".{}", self.paths[at]);
            let mode = u32::from(self.modes[at]);
            entry(&mut archive, &name, self.inodes[at], mode, links.len().max(1), data);
        }
        entry(&mut archive, "TRAILER!!!", 0, 0, 1, &[]);
        archive
    }
}

/// An entry of a "newc" archive (cpio(5)).
fn entry(out: &mut Vec<u8>, name: &str, inode: u32, mode: u32, links: usize, data: &[u8]) {
    let fields =
        [inode as usize, mode as usize, 0, 0, links, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
    out.extend(b"070701");
    fields.iter().for_each(|field| out.extend(format!("{field:08x}").bytes()));
    out.extend(name.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn texts(entries: &Entries, tag: IndexTag) -> Vec<String> {
    match entries.get(&(tag as u32)) {
        Some(IndexData::StringArray(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

fn numbers(entries: &Entries, tag: IndexTag) -> Vec<u32> {
    match entries.get(&(tag as u32)) {
        Some(IndexData::Int32(numbers)) => numbers.clone(),
        _ => Vec::new(),
    }
}

/// All users and groups that files belong to.
struct Accounts {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Accounts {
    fn of(headers: &[Entries]) -> Result<Self> {
        let all = |tag| headers.iter().flat_map(|header| texts(header, tag)).collect();
        let accounts = Self {
            users: all(IndexTag::RPMTAG_FILEUSERNAME),
            groups: all(IndexTag::RPMTAG_FILEGROUPNAME),
        };
        ensure!(accounts.users.contains("root"), "no file belongs to root");
        Ok(accounts)
    }

    /// root first, with number 0; the others from 1 in the order of names.
    fn numbered(names: &BTreeSet<String>) -> impl Iterator<Item = (usize, &str)> {
        let others = names.iter().map(String::as_str).filter(|name| *name != "root");
        std::iter::once("root").chain(others).enumerate()
    }

    fn passwd(&self) -> Vec<u8> {
        let line = |(number, name)| format!("{name}:x:{number}:{number}::/:/bin/false\n");
        Self::numbered(&self.users).map(line).collect::<String>().into_bytes()
    }

    fn group(&self) -> Vec<u8> {
        let line = |(number, name)| format!("{name}:x:{number}:\n");
        Self::numbered(&self.groups).map(line).collect::<String>().into_bytes()
    }
}
