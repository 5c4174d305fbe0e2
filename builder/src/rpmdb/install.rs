//! A package's header as rpm stores it: the header of the RPM file, untouched
//! because it is signed, and after it what rpm adds when it installs (rpm's
//! `headerMergeLegacySigs`, `applyRetrofits` and `dbAdd`). Signature and digests
//! are among that, under other numbers, so that rpm can check what is installed.

use super::{FileState, Installed, Transaction};
use crate::header::{Entry, Header, Type};

/// The region that a signature covers (`RPMTAG_HEADERIMMUTABLE`).
const IMMUTABLE: u32 = 63;
const INSTALL_TIME: u32 = 1008;
const OLD_FILE_NAMES: u32 = 1027;
const FILE_STATES: u32 = 1029;
const SOURCE_RPM: u32 = 1044;
const PREFIXES: u32 = 1098;
const INSTALL_PREFIXES: u32 = 1099;
const SOURCE_PACKAGE: u32 = 1106;
const BASE_NAMES: u32 = 1117;
const INSTALL_COLOR: u32 = 1127;
const INSTALL_TID: u32 = 1128;
/// rpm's limit for the values of a tag of the signature header.
const MAX_COUNT: u32 = 16 << 20;

/// A tag of the signature header, and what it is called in an installed one
/// (rpm's `xlateTags`). rpm 6's signatures, 278, are unknown to rpm 4.18 and are
/// not carried over by it.
struct Translated {
    from: u32,
    to: u32,
    kind: Type,
    /// how many values it must have; any number if 0
    count: u32,
    /// whether the header itself may have it instead
    either: bool,
}

const fn same(tag: u32, kind: Type, count: u32) -> Translated {
    Translated { from: tag, to: tag, kind, count, either: false }
}

const TRANSLATED: [Translated; 15] = [
    // size, PGP, MD5 and GPG signatures of header and payload
    Translated { from: 1000, to: 257, kind: Type::Int32, count: 1, either: false },
    Translated { from: 1002, to: 259, kind: Type::Binary, count: 0, either: false },
    Translated { from: 1004, to: 261, kind: Type::Binary, count: 16, either: false },
    Translated { from: 1005, to: 262, kind: Type::Binary, count: 0, either: false },
    // size of the unpacked payload
    Translated { from: 1007, to: 1046, kind: Type::Int32, count: 1, either: true },
    // signatures of files and their length
    Translated { from: 274, to: 5090, kind: Type::StringArray, count: 0, either: true },
    Translated { from: 275, to: 5091, kind: Type::Int32, count: 1, either: true },
    // verity signatures of files and their algorithm
    same(276, Type::StringArray, 0),
    same(277, Type::Int32, 1),
    // digests of the header
    same(269, Type::String, 1),
    same(273, Type::String, 1),
    // signatures of the header: DSA and RSA
    same(267, Type::Binary, 0),
    same(268, Type::Binary, 0),
    // sizes past 4 GiB
    same(270, Type::Int64, 1),
    same(271, Type::Int64, 1),
];

/// Why rpm would not take a package as it is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// The header is not one region, as rpm has built them since 2001.
    #[error("its header has no signed region")]
    NoRegion,
    /// File names are in the form of rpm 3.
    #[error("its files are listed in the form of rpm 3")]
    OldFileNames,
    /// A tag that belongs to the signature header or to the database.
    #[error("its header has tag {tag}, which is not its to have")]
    Misplaced {
        /// Number of the tag.
        tag: u32,
    },
    /// A tag of the signature header that is not what it should be.
    #[error("tag {tag} of its signature header has a wrong type or size")]
    Signature {
        /// Number of the tag.
        tag: u32,
    },
    /// States of other files than it has.
    #[error("it has {files} files, but {states} states of files")]
    States {
        /// Files in the header.
        files: usize,
        /// States given.
        states: usize,
    },
}

/// An installed header: without a magic number, as the database keeps it.
pub struct Stored(Vec<u8>);

impl Stored {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its entries.
    pub fn header(&self) -> Header<'_> {
        // It was made here, of a header that was whole.
        Header::parse_stored(&self.0).unwrap_or_default()
    }
}

/// The header of `package` as it is stored, when `before` packages are.
pub fn stored(
    package: &Installed,
    transaction: Transaction,
    before: u32,
) -> Result<Stored, Refusal> {
    let header = package.headers.header();
    check_region(&header)?;
    let mut added = Added::default();
    translate_signature(&header, &package.headers.signature(), &mut added)?;
    add_states(&header, &package.states, &mut added)?;
    for (tag, number) in [
        (INSTALL_TIME, transaction.time.saturating_add(before)),
        (INSTALL_COLOR, transaction.color),
        (INSTALL_TID, transaction.time),
    ] {
        added.put(tag, Type::Int32, 1, &number.to_be_bytes());
    }
    if [SOURCE_RPM, SOURCE_PACKAGE].iter().all(|tag| header.entry(*tag).is_none()) {
        added.put(SOURCE_RPM, Type::String, 1, b"(none)\0");
    }
    if let (Some(prefixes), None) = (header.entry(PREFIXES), header.entry(INSTALL_PREFIXES)) {
        added.copy(INSTALL_PREFIXES, &prefixes);
    }
    Ok(Stored(added.export(&header)))
}

/// rpm takes only packages whose header is the signed region and nothing else;
/// it would move what the region does not cover.
fn check_region(header: &Header<'_>) -> Result<(), Refusal> {
    let region = header.entries().next().filter(|entry| entry.tag == IMMUTABLE);
    let region = region.filter(|entry| entry.kind == Type::Binary && entry.count == 16);
    let end = region.ok_or(Refusal::NoRegion)?.data;
    // The data are the region's own entry again, with its offset as the
    // negative size of the index: it must be the last, and cover everything.
    let is_last = header.data().ends_with(end);
    let size = i32::try_from(header.index().len()).map_err(|_| Refusal::NoRegion)?;
    let covers = end.get(8..12) == Some(&(-size).to_be_bytes()[..]);
    if !(is_last && covers) {
        return Err(Refusal::NoRegion);
    }
    if header.entry(OLD_FILE_NAMES).is_some() {
        return Err(Refusal::OldFileNames);
    }
    let ours = [INSTALL_TIME, FILE_STATES, INSTALL_COLOR, INSTALL_TID];
    match ours.into_iter().find(|tag| header.entry(*tag).is_some()) {
        Some(tag) => Err(Refusal::Misplaced { tag }),
        None => Ok(()),
    }
}

fn translate_signature(
    header: &Header<'_>,
    signature: &Header<'_>,
    added: &mut Added,
) -> Result<(), Refusal> {
    for translated in &TRANSLATED {
        let entry = signature.entry(translated.from);
        if header.entry(translated.to).is_some() && !(translated.either && entry.is_none()) {
            return Err(Refusal::Misplaced { tag: translated.to });
        }
        let Some(entry) = entry else {
            continue;
        };
        let counts = (1..=MAX_COUNT).contains(&entry.count)
            && (translated.count == 0 || translated.count == entry.count);
        if entry.kind != translated.kind || !counts {
            return Err(Refusal::Signature { tag: translated.from });
        }
        added.copy(translated.to, &entry);
    }
    Ok(())
}

fn add_states(header: &Header<'_>, states: &[FileState], added: &mut Added) -> Result<(), Refusal> {
    let files = header.strings(BASE_NAMES).count();
    let bytes = match states.len() {
        0 => vec![FileState::Normal as u8; files],
        given if given == files => states.iter().map(|state| *state as u8).collect(),
        given => return Err(Refusal::States { files, states: given }),
    };
    if let Ok(count @ 1..) = u32::try_from(bytes.len()) {
        added.put(FILE_STATES, Type::Char, count, &bytes);
    }
    Ok(())
}

/// What is added to a header.
#[derive(Default)]
struct Added(Vec<(u32, Type, u32, Vec<u8>)>);

impl Added {
    fn put(&mut self, tag: u32, kind: Type, count: u32, data: &[u8]) {
        self.0.push((tag, kind, count, data.to_vec()));
    }

    fn copy(&mut self, tag: u32, entry: &Entry<'_>) {
        self.put(tag, entry.kind, entry.count, entry.data);
    }

    /// The whole as rpm's `headerExport` writes it: entries and data of the
    /// region as they are, then what was added, by tag.
    fn export(mut self, header: &Header<'_>) -> Vec<u8> {
        self.0.sort_by_key(|(tag, ..)| *tag);
        let mut index = header.index().to_vec();
        let mut data = header.data().to_vec();
        for (tag, kind, count, bytes) in self.0 {
            let alignment = kind.width().unwrap_or(1).max(1);
            data.resize(data.len().next_multiple_of(alignment), 0);
            let offset = u32::try_from(data.len()).unwrap_or(u32::MAX);
            for number in [tag, kind as u32, offset, count] {
                index.extend_from_slice(&number.to_be_bytes());
            }
            data.extend_from_slice(&bytes);
        }
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        let mut whole = Vec::with_capacity(8 + index.len() + data.len());
        whole.extend_from_slice(&length(index.len() / 16));
        whole.extend_from_slice(&length(data.len()));
        whole.extend_from_slice(&index);
        whole.extend_from_slice(&data);
        whole
    }
}
