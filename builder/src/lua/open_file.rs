//! A file that a script has open: its bytes and a position in them. What is
//! written reaches the tree when the file is flushed or closed, or at the end
//! of the script.

use super::errno::Errno;
use super::files::Files;
use super::memory::{Held, Memory};
use crate::tree::{InodeId, Node};

/// More than this no script writes.
const MAX_BYTES: usize = 16 << 20;

/// What it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file of the tree.
    File(InodeId),
    /// `/dev/null`
    Null,
    /// The script's output.
    Output,
    /// The script's input.
    Input,
}

/// The state of an open file.
#[derive(Debug)]
pub struct OpenFile {
    pub kind: Kind,
    pub closed: bool,
    bytes: Vec<u8>,
    held: Held,
    position: usize,
    may_read: bool,
    may_write: bool,
    append: bool,
    changed: bool,
}

/// What a mode such as `r+` asks for.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    read: bool,
    write: bool,
    append: bool,
    create: bool,
    truncate: bool,
}

impl Mode {
    /// As fopen(3) has it; none if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('b').unwrap_or(text);
        let (letter, plus) = match text.strip_suffix('+') {
            Some(letter) => (letter, true),
            None => (text, false),
        };
        let (read, write, append) = match letter {
            "r" => (true, plus, false),
            "w" => (plus, true, false),
            "a" => (plus, true, true),
            _ => return None,
        };
        Some(Self { read, write, append, create: letter != "r", truncate: letter == "w" })
    }
}

impl OpenFile {
    /// One of the streams that are always there, or `/dev/null`.
    pub fn stream(kind: Kind, bytes: Vec<u8>, memory: &Memory) -> Self {
        Self::with(kind, bytes, memory.hold())
    }

    fn with(kind: Kind, bytes: Vec<u8>, held: Held) -> Self {
        Self {
            kind,
            closed: false,
            bytes,
            held,
            position: 0,
            may_read: kind != Kind::Output,
            may_write: kind != Kind::Input,
            append: false,
            changed: false,
        }
    }

    /// Opens a file of the tree.
    pub fn open(files: &mut Files, path: &str, mode: Mode) -> Result<Self, Errno> {
        if path == "/dev/null" && files.resolve(path).is_err() {
            return Ok(Self::stream(Kind::Null, Vec::new(), &files.memory));
        }
        let id = if mode.create { files.open_or_create(path)? } else { files.resolve(path)? };
        let size_bytes = match &files.tree.inode(id).node {
            Node::File(content) if !mode.truncate => content.size_bytes(),
            _ => 0,
        };
        let size_bytes = usize::try_from(size_bytes).unwrap_or(usize::MAX);
        let held = files.memory.take(size_bytes.min(MAX_BYTES)).ok_or(Errno::TooLarge)?;
        let bytes = match files.tree.inode(id).node {
            // fopen(3) opens a directory; only reading it fails
            Node::Directory(_) if !mode.write => Vec::new(),
            Node::File(_) if mode.truncate => Vec::new(),
            _ => files.read(id)?,
        };
        let position = if mode.append { bytes.len() } else { 0 };
        Ok(Self {
            position,
            may_read: mode.read,
            may_write: mode.write,
            append: mode.append,
            changed: mode.truncate,
            ..Self::with(Kind::File(id), bytes, held)
        })
    }

    /// Puts what was written into the tree.
    pub fn flush(&mut self, files: &mut Files) {
        if let (Kind::File(id), true) = (self.kind, self.changed) {
            files.write(id, self.bytes.clone());
            self.changed = false;
        }
    }

    /// Puts what was written into the tree, and forgets it.
    pub fn close(&mut self, files: &mut Files) {
        self.flush(files);
        self.bytes = Vec::new();
        let _ = self.held.resize(0);
        self.closed = true;
    }

    /// Writes at the position, or at the end.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Errno> {
        if !self.may_write {
            return Err(Errno::BadDescriptor);
        }
        if self.kind == Kind::Null {
            return Ok(());
        }
        if self.append {
            self.position = self.bytes.len();
        }
        let end = self.position.saturating_add(piece.len());
        if end > MAX_BYTES {
            return Err(Errno::TooLarge);
        }
        if self.bytes.len() < end {
            if !self.held.resize(end) {
                return Err(Errno::TooLarge);
            }
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(self.position..end) {
            place.copy_from_slice(piece);
        }
        self.position = end;
        self.changed = true;
        Ok(())
    }

    /// Whether it may be read.
    pub fn readable(&self) -> bool {
        self.may_read
    }

    /// What is left to read.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Goes on by that many bytes.
    pub fn skip(&mut self, bytes: usize) {
        self.position = self.position.saturating_add(bytes).min(self.bytes.len());
    }

    /// Goes to a position counted from `set`, `cur` or `end`.
    pub fn seek(&mut self, whence: &str, offset: i64) -> Result<usize, Errno> {
        let base = match whence {
            "set" => 0,
            "cur" => self.position,
            _ => self.bytes.len(),
        };
        let target = i64::try_from(base).ok().and_then(|base| base.checked_add(offset));
        let target = target.and_then(|target| usize::try_from(target).ok());
        self.position = target.filter(|target| *target <= MAX_BYTES).ok_or(Errno::Invalid)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for text in ["r", "rb", "w+", "a", "r+b", "w+b"] {
            assert!(Mode::parse(text).is_some(), "{text}");
        }
        for text in ["", "x", "rw", "+", "b", "r++"] {
            assert!(Mode::parse(text).is_none(), "{text}");
        }
    }
}
