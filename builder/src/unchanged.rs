//! Whether an image that is there is the one that would be built again. A note
//! beside its folder says what it was built from and which files it was then;
//! it is no part of the image, and without it the image is simply built.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use formats::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::image::Built;
use crate::inputs::{self, InputsError};
use crate::keys::Signing;
use crate::lock::Lock;
use crate::recipe::Recipe;

/// A note is a few kilobytes; whatever else has its name may not be.
const MAX_NOTE_BYTES: u64 = 1 << 20;

/// What an image is built from: recipe and lock with all they name, the trust
/// root and the key that signs, what is made, and this very program; and which
/// damage was ever found in the store: an image may be made of it.
pub fn identity(
    recipe: &Recipe,
    lock: &Lock,
    signing: &Signing,
    bundle: bool,
    damage: Digest,
) -> Result<Digest, InputsError> {
    let inputs = inputs::digest(recipe, lock)?;
    let (made, program) = ([u8::from(bundle)], program());
    let parts: [&[u8]; 6] =
        [&inputs.0, &signing.root, &signing.identity(), &made, &program.0, &damage.0];
    let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
    let mut hasher = Hasher::new();
    for (part, length) in parts.iter().zip(lengths) {
        hasher.update(&length);
        hasher.update(part);
    }
    Ok(hasher.finish())
}

/// Another slipway may make another image of the same. One that cannot be read
/// is taken for another each time.
fn program() -> Digest {
    let read = std::env::current_exe().and_then(|path| {
        let mut hasher = Hasher::new();
        crate::staging::for_each_piece(&File::open(path)?, |piece| hasher.update(piece))?;
        Ok(hasher.finish())
    });
    read.unwrap_or_else(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Digest::of(&now.map_or(0, |now| now.as_nanos()).to_le_bytes())
    })
}

/// The note.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// [`identity`]
    built_from: Digest,
    /// every file of the image's folder
    files: Vec<NotedFile>,
    /// what the build had to say
    built: Built,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NotedFile {
    name: String,
    inode: u64,
    size_bytes: u64,
    /// nanoseconds since 1970
    changed: i128,
}

/// Of the image `folder`.
fn note_path(folder: &Path) -> Option<PathBuf> {
    let name = folder.file_name()?.to_str()?;
    Some(folder.with_file_name(format!(".{name}.built.json")))
}

fn files(folder: &Path) -> io::Result<Vec<NotedFile>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let changed = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
        all.push(NotedFile { name, inode: found.ino(), size_bytes: found.len(), changed });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// What was built from `identity` in `folder`, if none of its files was touched
/// since.
#[must_use]
pub fn find(folder: &Path, identity: Digest) -> Option<Built> {
    let path = note_path(folder)?;
    if fs::metadata(&path).ok()?.len() > MAX_NOTE_BYTES {
        return None;
    }
    let note: Note = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let same = note.built_from == identity
        && note.built.folder == folder
        && files(folder).is_ok_and(|files| files == note.files);
    same.then_some(note.built)
}

/// Notes what was built. Failing to only means that it is built again.
pub fn note(identity: Digest, built: &Built) {
    let Some(path) = note_path(&built.folder) else { return };
    let Ok(files) = files(&built.folder) else { return };
    let note = Note { built_from: identity, files, built: built.clone() };
    // One that is not whole is not understood, and then there is none.
    if let Ok(text) = serde_json::to_vec(&note) {
        let _ = fs::write(path, text);
    }
}
