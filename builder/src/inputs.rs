//! What an image is built from, to be carried along: the recipe as one file,
//! the lock, the keys that packages are signed by, the overlays. As a tar in an
//! image's folder, as a folder in a vendored store. The bytes follow from what
//! an image is made of, not from where that lies or whose it is.
//!
//! ```text
//! recipe.toml · lock.toml · keys/… · overlay/0/… · overlay/1/…
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use formats::{Digest, Hasher};

use crate::lock::Lock;
use crate::recipe::Recipe;

/// The recipe in it.
pub const RECIPE_FILE: &str = "recipe.toml";
/// The lock in it.
pub const LOCK_FILE: &str = "lock.toml";

/// Longest path that Linux takes.
const MAX_NAME_BYTES: usize = 4095;

/// Inputs cannot be written or read back.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// The file system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An archive of inputs that is none of ours.
    #[error("{path}: {why}")]
    Malformed {
        /// The archive.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// A file whose name no archive of ours holds.
    #[error("{path} cannot be carried along: {why}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> InputsError {
    let path = path.to_owned();
    move |source| InputsError::Io { action, path: path.clone(), source }
}

/// A file of the inputs.
struct Member {
    /// Relative, with `/`.
    name: String,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    File { path: PathBuf, executable: bool },
    Link(String),
    Folder,
}

/// Everything, in the order of its names.
fn members(recipe: &Recipe, lock: &Lock) -> Result<Vec<Member>, InputsError> {
    let bytes = |name: &str, text: String| Member {
        name: name.to_owned(),
        content: Content::Bytes(text.into_bytes()),
    };
    let mut found =
        vec![bytes(RECIPE_FILE, recipe.flat.text.clone()), bytes(LOCK_FILE, lock.to_string())];
    let keys: Vec<_> = recipe.repositories.iter().flat_map(|one| &one.keys).collect();
    for (name, path) in &recipe.flat.files {
        // The key that was read with the recipe, whatever lies there now.
        match keys.iter().find(|key| key.path == *path) {
            Some(key) => {
                let content = Content::Bytes(key.bytes.clone());
                found.push(Member { name: name.clone(), content });
            }
            None => collect(path, name.clone(), &mut found)?,
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Of modes only the execute bit counts, as where overlays are laid over a
/// tree.
fn collect(path: &Path, name: String, found: &mut Vec<Member>) -> Result<(), InputsError> {
    let read = failed("read", path);
    let unsupported = |why| InputsError::Unsupported { path: path.to_owned(), why };
    // The folder that a recipe names may be a link; one in it is kept as one.
    let named = found.iter().all(|member| !name.starts_with(&format!("{}/", member.name)));
    let stat = if named { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let stat = stat.map_err(&read)?;
    let content = if stat.is_dir() {
        Content::Folder
    } else if stat.is_symlink() {
        let target = fs::read_link(path).map_err(&read)?;
        let target = target.into_os_string().into_string();
        Content::Link(target.map_err(|_| unsupported("its target is not UTF-8"))?)
    } else if stat.is_file() {
        let executable = stat.permissions().mode() & 0o100 != 0;
        Content::File { path: path.to_owned(), executable }
    } else {
        return Err(unsupported("it is neither file nor folder nor link"));
    };
    let is_folder = matches!(content, Content::Folder);
    found.push(Member { name: name.clone(), content });
    if !is_folder {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(&read)? {
        let entry = entry.map_err(&read)?.path();
        let file = entry.file_name().and_then(|file| file.to_str());
        let file = file.ok_or_else(|| unsupported("a name in it is not UTF-8"))?;
        collect(&entry, format!("{name}/{file}"), found)?;
    }
    Ok(())
}

/// Writes the inputs to `path` as a tar.
pub fn write_archive(recipe: &Recipe, lock: &Lock, path: &Path) -> Result<(), InputsError> {
    let out = File::create(path).map_err(failed("write", path))?;
    write(recipe, lock, BufWriter::new(out), path)
}

/// Digest of the tar that [`write_archive`] would write: of everything that
/// says what an image is to be.
pub fn digest(recipe: &Recipe, lock: &Lock) -> Result<Digest, InputsError> {
    let mut hashing = Hashing(Hasher::new());
    write(recipe, lock, &mut hashing, Path::new("the inputs"))?;
    Ok(hashing.0.finish())
}

struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `path` is for messages.
fn write(recipe: &Recipe, lock: &Lock, out: impl Write, path: &Path) -> Result<(), InputsError> {
    let write = failed("write", path);
    let mut tar = tar::Builder::new(out);
    for member in members(recipe, lock)? {
        append(&mut tar, &member).map_err(&write)?;
    }
    tar.into_inner().and_then(|mut out| out.flush()).map_err(write)
}

fn append(tar: &mut tar::Builder<impl Write>, member: &Member) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    let name = &member.name;
    match &member.content {
        Content::Bytes(bytes) => {
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice())
        }
        Content::File { path, executable } => {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(size);
            tar.append_data(&mut header, name, BufReader::new(file).take(size))
        }
        Content::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, name, target)
        }
        Content::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            tar.append_data(&mut header, format!("{name}/"), io::empty())
        }
    }
}

/// Writes the inputs into `folder`, which is made if it is not there. The lock
/// comes last: where it is, all is.
pub fn write_folder(recipe: &Recipe, lock: &Lock, folder: &Path) -> Result<(), InputsError> {
    let mut members = members(recipe, lock)?;
    members.sort_by_key(|member| member.name == LOCK_FILE);
    for part in ["keys", "overlay"] {
        // What an earlier recipe had and this one has not must not stay.
        let path = folder.join(part);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(failed("replace", &path))?,
        }
    }
    for member in members {
        let path = folder.join(&member.name);
        let write = failed("write", &path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        match &member.content {
            Content::Bytes(bytes) => fs::write(&path, bytes).map_err(write)?,
            Content::Folder => fs::create_dir_all(&path).map_err(write)?,
            Content::Link(target) => std::os::unix::fs::symlink(target, &path).map_err(write)?,
            Content::File { path: from, .. } => {
                fs::copy(from, &path).map(drop).map_err(write)?;
            }
        }
    }
    Ok(())
}

/// Unpacks the archive at `path` into the empty folder `into`. Only what
/// [`write_archive`] writes is taken; nothing leads out of the folder.
pub fn unpack(path: &Path, into: &Path) -> Result<(), InputsError> {
    let malformed = |why: String| InputsError::Malformed { path: path.to_owned(), why };
    let read = failed("read", path);
    let file = File::open(path).map_err(&read)?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    for entry in archive.entries().map_err(&read)? {
        let mut entry = entry.map_err(&read)?;
        let name = entry.path().map_err(&read)?.into_owned();
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        if name.as_os_str().len() > MAX_NAME_BYTES {
            return Err(malformed(format!("a name of more than {MAX_NAME_BYTES} bytes")));
        }
        if !plain || name.as_os_str().is_empty() {
            return Err(malformed(format!("{} leads out of it", name.display())));
        }
        let target = into.join(&name);
        // Links point wherever they like, so nothing is written through one.
        let parents = target.ancestors().skip(1).take_while(|above| *above != into);
        for above in parents {
            if fs::symlink_metadata(above).is_ok_and(|found| !found.is_dir()) {
                return Err(malformed(format!("{} is below a file", name.display())));
            }
        }
        let write = failed("write", &target);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory => fs::create_dir_all(&target).map_err(write)?,
            // Whatever is read of the inputs would be read through it.
            tar::EntryType::Symlink if !is_within_overlay(&name) => {
                let why = "is a link, which only what is in an overlay can be";
                return Err(malformed(format!("{} {why}", name.display())));
            }
            tar::EntryType::Symlink => {
                let link = entry.link_name().map_err(&read)?;
                let link = link.ok_or_else(|| malformed("a link without a target".to_owned()))?;
                std::os::unix::fs::symlink(link, &target).map_err(write)?;
            }
            tar::EntryType::Regular => {
                let mut out = File::create_new(&target).map_err(&write)?;
                io::copy(&mut entry, &mut out).map_err(&write)?;
                let executable = entry.header().mode().map_err(&read)? & 0o100 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                out.set_permissions(fs::Permissions::from_mode(mode)).map_err(write)?;
            }
            other => return Err(malformed(format!("{}: {other:?}", name.display()))),
        }
    }
    Ok(())
}

/// Whether it is part of an overlay: `overlay/0/…`.
fn is_within_overlay(name: &Path) -> bool {
    name.starts_with("overlay") && name.components().count() > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_file_can_have_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inputs.tar");
        let unpacked = |name: &str| {
            let mut tar = tar::Builder::new(File::create(&path).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, io::empty()).unwrap();
            tar.into_inner().unwrap();
            let into = tempfile::tempdir().unwrap();
            unpack(&path, into.path()).map_err(|error| error.to_string())
        };
        assert_eq!(unpacked(&format!("{}b", "a/".repeat(100))), Ok(()));
        let error = unpacked(&format!("{}b", "a/".repeat(2100))).unwrap_err();
        assert!(error.ends_with("inputs.tar: a name of more than 4095 bytes"), "{error}");
    }
}
