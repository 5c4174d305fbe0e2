//! The keeper's side of the mirror: makes files on disk what the tree says, as
//! root of the user namespace, which may give them away and read them all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags,
    lgetxattr, llistxattr, lremovexattr, lsetxattr, mknodat, openat, openat2, utimensat,
};
use rustix::io::Errno;

use super::message::{Attributes, Failure, Operation, Source};

/// The largest attribute, and the longest list of names, that Linux has
/// (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MAX_XATTR_BYTES: usize = 65536;

/// Files below a folder, by their path in the tree.
pub struct Disk {
    folder: PathBuf,
    /// the file that contents were last read from: neighbours share one
    source: Option<(PathBuf, File)>,
}

impl Disk {
    pub fn new(folder: &str) -> Self {
        Self { folder: folder.into(), source: None }
    }

    /// Where a path of the tree is.
    pub fn place(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// Performs one step. A folder of the mirror that a script has replaced by a
    /// link would lead anywhere on the host: every parent is looked up without
    /// following any.
    pub fn perform(&mut self, operation: &Operation) -> Result<(), Failure> {
        let failed = |path: &str, error| Failure::new(format!("make {path} in the mirror"), error);
        for path in operation.paths() {
            self.check_parent(path).map_err(|error| failed(path, error))?;
        }
        let (path, done) = match operation {
            Operation::Remove(path) => (path, remove(&self.place(path))),
            Operation::Directory(path) => (path, self.directory(path)),
            Operation::File { path, source, attributes } => {
                (path, self.file(path, source.as_ref(), attributes))
            }
            Operation::Symlink { path, target, attributes } => {
                let link = |place: &Path| symlink(target, place);
                (path, self.make(path, link).and_then(|place| set(&place, attributes, true)))
            }
            Operation::Fifo { path, attributes } => {
                let fifo = |place: &Path| Ok(mknodat(CWD, place, FileType::Fifo, Mode::RUSR, 0)?);
                (path, self.make(path, fifo).and_then(|place| set(&place, attributes, false)))
            }
            Operation::Link { path, target } => {
                let target = self.place(target);
                let link = |place: &Path| fs::hard_link(&target, place);
                (path, self.make(path, link).map(drop))
            }
            Operation::Attributes { path, attributes } => {
                let place = self.place(path);
                let link = fs::symlink_metadata(&place).map(|found| found.is_symlink());
                (path, link.and_then(|link| set(&place, attributes, link)))
            }
        };
        done.map_err(|error| failed(path, error))
    }

    /// Refuses a path whose parent is not a folder of the mirror itself. No
    /// script runs meanwhile, so what holds here holds for the step.
    fn check_parent(&self, path: &str) -> io::Result<()> {
        let Some((parent, _)) = path.trim_matches('/').rsplit_once('/') else { return Ok(()) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mirror = openat(CWD, &self.folder, flags, Mode::empty())?;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&mirror, parent, flags, Mode::empty(), within) {
            Ok(_) => Ok(()),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                Err(io::Error::other("a script has left something else in place of a folder"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes something new at `path`, in place of what is there.
    fn make(&self, path: &str, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
        let place = self.place(path);
        match make(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove(&place)?;
                make(&place)?;
            }
            other => other?,
        }
        Ok(place)
    }

    fn directory(&self, path: &str) -> io::Result<()> {
        if fs::symlink_metadata(self.place(path)).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let make = |place: &Path| fs::DirBuilder::new().mode(0o700).create(place);
        self.make(path, make).map(drop)
    }

    fn file(
        &mut self,
        path: &str,
        source: Option<&Source>,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let create = |place: &Path| {
            File::options().write(true).create_new(true).mode(0o600).open(place).map(drop)
        };
        let place = self.make(path, create)?;
        if let Some(source) = source {
            let mut to = File::options().write(true).open(&place)?;
            let mut from = self.open(&source.file)?;
            from.seek(SeekFrom::Start(source.offset_bytes))?;
            let copied = io::copy(&mut from.take(source.size_bytes), &mut to)?;
            if copied != source.size_bytes {
                let text = format!("{} has ended early", source.file.display());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
        }
        set(&place, attributes, false)
    }

    fn open(&mut self, path: &Path) -> io::Result<&File> {
        if self.source.as_ref().is_none_or(|(open, _)| open != path) {
            self.source = Some((path.to_owned(), File::open(path)?));
        }
        let open = self.source.as_ref().map(|(_, file)| file);
        open.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Removes what is there, with all below it, if anything is.
pub fn remove(place: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Sets attributes, in the order in which none takes away another: a new owner
/// costs setuid and capabilities, and each costs the time.
fn set(place: &Path, attributes: &Attributes, link: bool) -> io::Result<()> {
    lchown(place, Some(attributes.uid), Some(attributes.gid))?;
    if !link {
        fs::set_permissions(place, fs::Permissions::from_mode(attributes.mode.into()))?;
    }
    set_xattrs(place, attributes)?;
    let seconds = i64::try_from(attributes.mtime).unwrap_or(i64::MAX);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn set_xattrs(place: &Path, attributes: &Attributes) -> io::Result<()> {
    for name in names(place)? {
        if !attributes.xattrs.contains_key(&name) {
            lremovexattr(place, name.as_str())?;
        }
    }
    for (name, value) in &attributes.xattrs {
        lsetxattr(place, name.as_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Whether a script may see and change an attribute of this name. Others need
/// privileges that root of a user namespace does not have.
pub fn is_shown(name: &str) -> bool {
    name == "security.capability"
        || name.starts_with("user.")
        || name.starts_with("system.posix_acl_")
}

fn names(place: &Path) -> io::Result<Vec<String>> {
    let mut list = [0; 1024];
    let found = match llistxattr(place, &mut list) {
        Ok(len) => list.get(..len).unwrap_or_default().to_vec(),
        Err(Errno::RANGE) => {
            let mut long = vec![0; MAX_XATTR_BYTES];
            let len = llistxattr(place, long.as_mut_slice())?;
            long.truncate(len);
            long
        }
        Err(Errno::OPNOTSUPP) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let names = found.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|n| is_shown(n))
        .collect())
}

/// Reads the attributes of what is at `place`.
pub fn read(place: &Path, found: &fs::Metadata) -> io::Result<Attributes> {
    use std::os::unix::fs::MetadataExt;
    let mut attributes = Attributes {
        mode: u16::try_from(found.mode() & 0o7777).unwrap_or(0),
        uid: found.uid(),
        gid: found.gid(),
        mtime: u64::try_from(found.mtime()).unwrap_or(0),
        xattrs: Default::default(),
    };
    for name in names(place)? {
        let mut value = vec![0; MAX_XATTR_BYTES];
        let len = lgetxattr(place, name.as_str(), value.as_mut_slice())?;
        value.truncate(len);
        attributes.xattrs.insert(name, value);
    }
    Ok(attributes)
}

/// A name on disk as text.
pub fn text(name: &OsStr) -> Option<&str> {
    std::str::from_utf8(name.as_bytes()).ok()
}
