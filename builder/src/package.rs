//! One RPM, ready to be composed: its file list, its scripts, and its files'
//! bytes as ranges of an unpacked archive.
//!
//! A package is unpacked once, into an archive file beside the store; later
//! builds only index that file again. Signatures are none of this module's
//! business: they are checked before a package is opened.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::header::RawHeaders;
use crate::tree::{Content, PathError, TreePath};

pub use crate::header::HeaderError;
pub use payload::PayloadError;
pub use relation::{Relation, Relations};
pub use scriptlet::{Phase, ScriptFlags, Scriptlet};

mod files;
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod payload;
pub mod relation;
mod scriptlet;

/// A package's name, version and architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Name, as others require it.
    pub name: String,
    /// Epoch; 0 where there is none.
    pub epoch: u32,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// Architecture, or `noarch`.
    pub arch: String,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, epoch, version, release, arch } = self;
        match epoch {
            0 => write!(f, "{name}-{version}-{release}.{arch}"),
            _ => write!(f, "{name}-{epoch}:{version}-{release}.{arch}"),
        }
    }
}

/// What a packaged file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link and its target.
    Symlink(String),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

impl FileKind {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
            Self::Symlink(_) => "a link",
            Self::CharDevice(..) | Self::BlockDevice(..) => "a device",
            Self::Fifo => "a pipe",
        }
    }
}

/// Digest of a file as the header gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDigest {
    /// `RPMTAG_FILEDIGESTALGO` 8.
    Sha256([u8; 32]),
    /// `RPMTAG_FILEDIGESTALGO` 10.
    Sha512(Box<[u8; 64]>),
}

/// What a package says of one of its files.
#[derive(Debug, Clone)]
pub struct PackageFile {
    /// Where it goes.
    pub path: TreePath,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Name of the owner; files of one package share it.
    pub user: Arc<str>,
    /// Name of the group, likewise.
    pub group: Arc<str>,
    /// Last change, seconds since 1970.
    pub mtime: u64,
    /// Size in bytes; of no meaning for directories.
    pub size_bytes: u64,
    /// Digest of a regular file.
    pub digest: Option<FileDigest>,
    /// `%config`: belongs to the administrator once installed.
    pub config: bool,
    /// `%doc`.
    pub doc: bool,
    /// `%ghost`: owned, but not shipped.
    pub ghost: bool,
    /// `%config(noreplace)`: one that is there already stays.
    pub noreplace: bool,
    /// `%license`: never left out.
    pub license: bool,
    /// `%lang`: for which languages it is; for all if there are none.
    pub languages: Vec<String>,
    /// What kind of ELF file it is: 1 for 32 bit, 2 for 64 bit, 0 for none.
    pub color: u32,
    /// Capabilities as text, such as `cap_net_raw=ep`.
    pub capabilities: Option<String>,
    /// Files of one package that share this number are hard links.
    pub link_set: Option<u32>,
    /// A regular file's bytes; none if it is a ghost.
    pub content: Option<Content>,
}

/// A package: header and unpacked files.
#[derive(Debug, Clone)]
pub struct Package {
    /// Name, version, architecture.
    pub identity: Identity,
    /// Its files in the header's order.
    pub files: Vec<PackageFile>,
    /// What it wants run when installed.
    pub scriptlets: Vec<Scriptlet>,
    /// What it needs and provides.
    pub relations: Relations,
    /// Colors of its files that take part in dependencies.
    pub color: u32,
}

/// Why a package cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("package {}", name.clone().unwrap_or_else(|| path.display().to_string()))]
pub struct PackageError {
    /// The RPM file.
    pub path: PathBuf,
    /// What it is, where that is known: a file of the store has no telling name.
    pub name: Option<String>,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

impl PackageError {
    /// The same error of a package that is known to be `name`.
    #[must_use]
    pub fn of(self, name: impl std::fmt::Display) -> Self {
        Self { name: Some(name.to_string()), ..self }
    }
}

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The RPM file cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// The unpacked archive cannot be read or written.
    #[error("unpacked archive {path}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Lead or headers are damaged.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A tag is missing or of the wrong kind.
    #[error("header")]
    Tags(#[from] Box<rpm::Error>),
    /// A path that no tree can hold.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The header says something that cannot be composed.
    #[error("{file}: {what}")]
    Unsupported {
        /// The file in question.
        file: String,
        /// What there is no way to do.
        what: String,
    },
    /// More files than any package has.
    #[error("{count} files; a package may have {most}")]
    TooManyFiles {
        /// How many it has.
        count: usize,
        /// How many are taken.
        most: usize,
    },
    /// The payload is damaged or is not what the header says.
    #[error("payload")]
    Payload(#[from] PayloadError),
}

impl From<rpm::Error> for Problem {
    fn from(error: rpm::Error) -> Self {
        Self::Tags(Box::new(error))
    }
}

impl Package {
    /// Opens the package `rpm`, whose unpacked payload is kept at `archive`: it
    /// is unpacked there if that file does not exist, with every file's digest
    /// checked, and only indexed if it does. An archive is complete or not
    /// there at all.
    ///
    /// # Errors
    /// If the package is damaged, or the archive cannot be read or written.
    pub fn open(rpm: &Path, archive: &Path) -> Result<Self, PackageError> {
        open(rpm, archive).map_err(|problem| PackageError {
            path: rpm.to_owned(),
            name: None,
            problem,
        })
    }

    /// Reads the headers of the package `rpm` as they are.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn headers(rpm: &Path) -> Result<RawHeaders, PackageError> {
        let read = || {
            let mut input = BufReader::new(File::open(rpm).map_err(Problem::Read)?);
            Ok(RawHeaders::read(&mut input)?)
        };
        read().map_err(|problem| PackageError { path: rpm.to_owned(), name: None, problem })
    }

    /// Reads header and file list only; no file has content.
    ///
    /// # Errors
    /// If the header is damaged.
    pub fn open_header(rpm: &Path) -> Result<Self, PackageError> {
        let read = || {
            let mut input = BufReader::new(File::open(rpm).map_err(Problem::Read)?);
            describe(&header::read(&mut input)?)
        };
        read().map_err(|problem| PackageError { path: rpm.to_owned(), name: None, problem })
    }
}

/// A header or two, and few reads for a whole payload.
const READ_BYTES: usize = 1 << 16;

fn open(rpm: &Path, archive: &Path) -> Result<Package, Problem> {
    let mut input = BufReader::with_capacity(READ_BYTES, File::open(rpm).map_err(Problem::Read)?);
    let metadata = header::read(&mut input)?;
    let mut package = describe(&metadata)?;
    let failed = |source| Problem::Archive { path: archive.to_owned(), source };
    let ranges = match File::open(archive) {
        Ok(file) => payload::index(BufReader::new(file), &package.files)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let compression = payload::Compression::of(&metadata)?;
            let packed = fs::metadata(rpm).map_err(Problem::Read)?.len();
            payload::check_size(packed, &package.files)?;
            unpack(compression, input, archive, &package.files, failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    attach(&mut package, &archive.into(), &ranges);
    Ok(package)
}

/// Unpacks beside the archive's place, and moves there what is complete.
fn unpack(
    compression: payload::Compression,
    input: BufReader<File>,
    archive: &Path,
    files: &[PackageFile],
    failed: impl Fn(io::Error) -> Problem,
) -> Result<Vec<Option<payload::Range>>, Problem> {
    let folder = archive.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(&failed)?;
    let mut staged = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    let ranges = payload::unpack(compression, input, staged.as_file_mut(), files)?;
    staged.persist(archive).map_err(|error| failed(error.error))?;
    Ok(ranges)
}

fn describe(metadata: &rpm::PackageMetadata) -> Result<Package, Problem> {
    let identity = Identity {
        name: metadata.get_name()?.to_owned(),
        epoch: metadata.get_epoch().unwrap_or(0),
        version: metadata.get_version()?.to_owned(),
        release: metadata.get_release()?.to_owned(),
        arch: metadata.get_arch()?.to_owned(),
    };
    let files = files::read(metadata)?;
    let scriptlets = scriptlet::read(metadata)?;
    let relations = Relations::read(metadata);
    Ok(Package { identity, files, scriptlets, relations, color: files::color(metadata) })
}

fn attach(package: &mut Package, archive: &Arc<Path>, ranges: &[Option<payload::Range>]) {
    for (file, range) in package.files.iter_mut().zip(ranges) {
        file.content = range.map(|range| Content::Range {
            file: archive.clone(),
            offset_bytes: range.offset_bytes,
            size_bytes: range.size_bytes,
        });
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
