//! What slipway, the keeper and the first process of a script's namespace say
//! to each other: JSON, each message after its length in four bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A message past this is no message of ours: a tree of a million names needs
/// a third of it.
const MAX_MESSAGE_BYTES: u32 = 1 << 30;

/// From slipway to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The ids of its user namespace are mapped: go on.
    Mapped,
    /// Empty the mirror.
    Reset,
    /// Change the mirror, in this order.
    Change(Vec<Operation>),
    /// Run a script in it.
    Run(Run),
    /// Remove everything but the kept contents, and end.
    End,
}

/// From the keeper to slipway.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// What was asked is done.
    Done,
    /// A script came to its end, or to its limit.
    Ran {
        /// How it ended.
        status: Status,
        /// Whether it wanted users or groups that are not there.
        refused_owner: bool,
        /// The end of what it said.
        output: Vec<u8>,
        /// What it changed; nothing unless it succeeded.
        changes: Vec<Change>,
    },
    /// It could not be done.
    Failed(Failure),
}

/// What failed, and the system's reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// Which step, as in "cannot …".
    pub step: String,
    /// The system's error number, 0 if there was none.
    pub errno: i32,
    /// The reason as text.
    pub reason: String,
}

impl Failure {
    /// `step` failed with `error`.
    pub fn new(step: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let errno = error.raw_os_error().unwrap_or(0);
        Self { step: step.into(), errno, reason: error.to_string() }
    }
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It returned this; 0 is success.
    Exit(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It was still running after this many seconds, and was ended.
    TimedOut(u64),
}

impl Status {
    /// Whether it says that all is well.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exit(0)
    }

    /// Whether what it did counts: also if it failed, as with rpm. Not where it
    /// was ended, since how far it came depends on the machine.
    #[must_use]
    pub fn counts(self) -> bool {
        !matches!(self, Self::TimedOut(_))
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => write!(f, "ended by signal {number}"),
            Self::TimedOut(seconds) => write!(f, "not finished after {seconds} s"),
        }
    }
}

/// Owner, mode, time (seconds since 1970) and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Bytes of a file on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    pub file: std::path::PathBuf,
    pub offset_bytes: u64,
    pub size_bytes: u64,
}

/// One step that makes the mirror what the tree is. Paths are the tree's, free
/// of links. Whatever is in the way of a new entry is removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Operation {
    /// Remove, with all below it.
    Remove(String),
    /// A directory, unless there is one; its attributes come in a later step.
    Directory(String),
    /// A regular file; empty without a source.
    File { path: String, source: Option<Source>, attributes: Attributes },
    /// A symbolic link.
    Symlink { path: String, target: String, attributes: Attributes },
    /// A named pipe.
    Fifo { path: String, attributes: Attributes },
    /// A further name of what is at `target`.
    Link { path: String, target: String },
    /// New attributes of what is there.
    Attributes { path: String, attributes: Attributes },
}

impl Operation {
    /// The places in the tree that it touches.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let (path, other) = match self {
            Self::Link { path, target } => (path, Some(target)),
            Self::Remove(path)
            | Self::Directory(path)
            | Self::File { path, .. }
            | Self::Symlink { path, .. }
            | Self::Fifo { path, .. }
            | Self::Attributes { path, .. } => (path, None),
        };
        std::iter::once(path).chain(other).map(String::as_str)
    }
}

/// A script to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    pub program: Vec<String>,
    pub text: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub limit_seconds: u64,
    /// Whether root is the only user there.
    pub single_id: bool,
}

/// One difference that a script made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    /// No longer there, with all below it.
    Removed(String),
    /// New or changed.
    Found { path: String, kind: Found, attributes: Attributes },
    /// A further name of what is at `target`.
    Link { path: String, target: String },
}

/// What something new or changed is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Found {
    Directory,
    /// A file, whose bytes are kept under this name.
    File {
        kept: String,
        size_bytes: u64,
    },
    Symlink(String),
    Fifo,
}

/// From the first process of a script's namespace to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    Ended { status: Status, refused_owner: bool },
    Failed(Failure),
}

/// Writes a message.
pub fn send<T: Serialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let len = u32::try_from(bytes.len()).ok().filter(|len| *len <= MAX_MESSAGE_BYTES);
    let len = len.ok_or_else(|| io::Error::other("a message of more than 1 GiB"))?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a message; none if the other side is gone.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(len);
    if len > MAX_MESSAGE_BYTES {
        return Err(io::Error::other("a message of more than 1 GiB"));
    }
    // Not allocated by what the length claims, but by what arrives.
    let mut bytes = Vec::new();
    from.take(u64::from(len)).read_to_end(&mut bytes)?;
    if bytes.len() < len as usize {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_or_not_at_all() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Request::End).unwrap();
        send(&mut pipe, &Request::Reset).unwrap();
        let mut from = pipe.as_slice();
        assert!(matches!(receive(&mut from).unwrap(), Some(Request::End)));
        assert!(matches!(receive(&mut from).unwrap(), Some(Request::Reset)));
        assert!(receive::<Request>(&mut from).unwrap().is_none());
        assert!(receive::<Request>(&pipe[..8]).unwrap().is_none());
        assert!(receive::<Request>([255; 9].as_slice()).is_err());
        assert!(receive::<Request>([1, 0, 0, 0, b'{'].as_slice()).is_err());
    }
}
