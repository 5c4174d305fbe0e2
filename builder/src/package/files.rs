//! A header's file list, made into [`PackageFile`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::digest::from_hex;
use rpm::{DigestAlgorithm, FileEntry, FileFlags, FileType, IndexTag, PackageMetadata};

use super::{FileDigest, FileKind, PackageFile, Problem};
use crate::tree::TreePath;

/// Files a package may have: icon themes, the largest, have 100,000. A file
/// takes about half a kilobyte while its package is read, and 300 bytes then.
const MAX_FILES: usize = 250_000;
/// Bits for elf32 (1), elf64 (2) and MIPS n32 (4).
const COLOR_MASK: u32 = 0xf;

/// Reads all files of a header, in its order.
pub fn read(metadata: &PackageMetadata) -> Result<Vec<PackageFile>, Problem> {
    let modes = metadata.header.get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES);
    let count = modes.map_or(0, |modes| modes.len());
    if count > MAX_FILES {
        return Err(Problem::TooManyFiles { count, most: MAX_FILES });
    }
    let entries = metadata.get_file_entries()?;
    let mut names = Names::default();
    let files = entries.iter().map(|entry| file(entry, &mut names));
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    files.shrink_to_fit();
    mark_links(metadata, &mut files);
    mark_languages_and_colors(metadata, &mut files);
    Ok(files)
}

/// Color of the package: that of its files which take part in dependencies
/// (`rpmteColorDS` in rpm's `lib/rpmte.c`).
pub fn color(metadata: &PackageMetadata) -> u32 {
    let numbers = |tag| metadata.header.get_entry_data_as_u32_array(tag).unwrap_or_default();
    let colors = numbers(IndexTag::RPMTAG_FILECOLORS);
    let taking_part = numbers(IndexTag::RPMTAG_FILEDEPENDSN);
    let part = colors.iter().zip(taking_part).filter(|(_, count)| *count > 0);
    part.fold(0, |all, (color, _)| all | color) & COLOR_MASK
}

fn mark_languages_and_colors(metadata: &PackageMetadata, files: &mut [PackageFile]) {
    let header = &metadata.header;
    let languages = header.get_entry_data_as_string_array(IndexTag::RPMTAG_FILELANGS);
    for (file, language) in files.iter_mut().zip(languages.unwrap_or_default()) {
        let named = language.split('|').filter(|name| !name.is_empty());
        file.languages = named.map(str::to_owned).collect();
    }
    let colors = header.get_entry_data_as_u32_array(IndexTag::RPMTAG_FILECOLORS);
    for (file, color) in files.iter_mut().zip(colors.unwrap_or_default()) {
        file.color = color & COLOR_MASK;
    }
}

/// Names of owners, each held once: most packages know `root` alone.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        name
    }
}

fn digest(algorithm: DigestAlgorithm, hex: &str) -> Result<FileDigest, String> {
    let hex = hex.to_ascii_lowercase();
    let odd = || format!("a digest {hex:?}, which is none by {algorithm:?}");
    match algorithm {
        DigestAlgorithm::Sha2_256 => {
            let mut bytes = [0; 32];
            from_hex(&hex, &mut bytes).ok_or_else(odd)?;
            Ok(FileDigest::Sha256(bytes))
        }
        DigestAlgorithm::Sha2_512 => {
            let mut bytes = Box::new([0; 64]);
            from_hex(&hex, &mut bytes[..]).ok_or_else(odd)?;
            Ok(FileDigest::Sha512(bytes))
        }
        other => Err(format!("a digest by {other:?}")),
    }
}

fn file(entry: &FileEntry<'_>, names: &mut Names) -> Result<PackageFile, Problem> {
    let name = format!("{}{}", entry.dirname(), entry.basename());
    let unsupported = |what: String| Problem::Unsupported { file: name.clone(), what };
    // What the header reader puts in place of bytes it cannot make out; a file
    // of another name than the package's would be composed.
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(unsupported("a name that is not UTF-8".to_owned()));
    }
    let kind = match entry.file_type() {
        FileType::Dir => FileKind::Directory,
        FileType::Regular => FileKind::File,
        FileType::SymbolicLink => FileKind::Symlink(entry.linkto().unwrap_or_default().to_owned()),
        FileType::CharacterDevice => {
            FileKind::CharDevice(entry.rdev_major().into(), entry.rdev_minor().into())
        }
        FileType::BlockDevice => {
            FileKind::BlockDevice(entry.rdev_major().into(), entry.rdev_minor().into())
        }
        FileType::Fifo => FileKind::Fifo,
        other => return Err(unsupported(format!("a file of kind {other:?}"))),
    };
    let digest = match entry.digest() {
        Some(found) if kind == FileKind::File => {
            Some(digest(found.algorithm(), found.as_hex()).map_err(unsupported)?)
        }
        _ => None,
    };
    let flags = entry.flags();
    Ok(PackageFile {
        path: TreePath::new(&name)?,
        kind,
        mode: entry.permissions(),
        user: names.shared(entry.user()),
        group: names.shared(entry.group()),
        mtime: u64::from(u32::from(entry.modified_at())),
        size_bytes: entry.size() as u64,
        digest,
        config: flags.contains(FileFlags::CONFIG),
        doc: flags.contains(FileFlags::DOC),
        ghost: flags.contains(FileFlags::GHOST),
        noreplace: flags.contains(FileFlags::NOREPLACE),
        license: flags.contains(FileFlags::LICENSE),
        languages: Vec::new(),
        color: 0,
        capabilities: entry.caps().filter(|caps| !caps.is_empty()).map(str::to_owned),
        link_set: None,
        content: None,
    })
}

/// Regular files of one device and inode number are hard links of each other.
fn mark_links(metadata: &PackageMetadata, files: &mut [PackageFile]) {
    let numbers = |tag| metadata.header.get_entry_data_as_u32_array(tag).unwrap_or_default();
    let devices = numbers(IndexTag::RPMTAG_FILEDEVICES);
    link(&devices, &numbers(IndexTag::RPMTAG_FILEINODES), files);
}

fn link(devices: &[u32], inodes: &[u32], files: &mut [PackageFile]) {
    let mut sets: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        if let (FileKind::File, Some(inode)) = (&file.kind, inodes.get(at)) {
            let device = devices.get(at).copied().unwrap_or(0);
            sets.entry((device, *inode)).or_default().push(at);
        }
    }
    // Inode numbers alone would not tell two sets of two devices apart.
    for (((_, inode), members), number) in sets.into_iter().zip(0..) {
        let first = &files[members[0]];
        let (size, digest) = (first.size_bytes, first.digest.clone());
        // Some builders give every file inode 0; links at least look alike.
        let alike = |at: &usize| files[*at].size_bytes == size && files[*at].digest == digest;
        if inode != 0 && members.len() > 1 && members.iter().all(alike) {
            members.iter().for_each(|at| files[*at].link_set = Some(number));
        }
    }
}
