//! What this process uses of a store, so that no other one removes it.
//!
//! A lease is a file of its own, locked while its process lives, that names
//! what is used, a line each. Whoever removes anything holds the gate
//! exclusively meanwhile and leaves alone what a living lease names; whoever
//! begins to use something holds the gate shared while it writes the name down
//! and looks whether the thing is there. So between looking and using there is
//! no moment in which it can vanish. A killed process leaves an unlocked lease,
//! which counts for nothing. No clock is asked.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::unfinished::{Unfinished, remove_abandoned};

/// The folder of leases.
pub(super) const FOLDER: &str = "leases";
/// The file whose lock keeps users and removers apart.
const GATE: &str = "gate";
/// 100,000 names of 100 bytes; a longer list is not one of ours.
const MAX_LEASE_BYTES: u64 = 10 << 20;

/// The lease of one process; its clones and threads share it.
#[derive(Debug)]
pub(super) struct Lease {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Opened once: a lock belongs to an open file.
    gate: Option<File>,
    list: Option<Unfinished>,
    named: HashSet<PathBuf>,
}

impl Lease {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), state: Mutex::default() }
    }

    /// Does `then`, which looks for `path` or puts it there; from then on it
    /// stays while this lease lives. A store that cannot be written cannot be
    /// locked either, and nobody removes anything from it.
    pub fn using<T>(&self, path: &Path, then: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.named.contains(path) {
            return then();
        }
        let locked = self.name(&mut state, path);
        let result = then();
        if locked.is_ok() {
            state.named.insert(path.to_owned());
        }
        if let Some(gate) = &state.gate {
            let _ = gate.unlock();
        }
        result
    }

    /// Locks the gate and writes the name down. The time of last use is for
    /// choosing what goes first; a file of somebody else keeps its own.
    fn name(&self, state: &mut State, path: &Path) -> io::Result<()> {
        let gate = match state.gate.take() {
            Some(gate) => gate,
            None => open_gate(&self.root)?,
        };
        let gate = state.gate.insert(gate);
        gate.lock_shared()?;
        let list = match state.list.take() {
            Some(list) => list,
            None => self.new_list()?,
        };
        let name = path.strip_prefix(&self.root).unwrap_or(path).display();
        state.list.insert(list).as_file().write_all(format!("{name}\n").as_bytes())?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
        Ok(())
    }

    fn new_list(&self) -> io::Result<Unfinished> {
        let folder = self.root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Unfinished::file(folder.join(super::own_name()?))
    }
}

fn open_gate(root: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(root.join(GATE))
}

/// Nobody begins to use anything while this is held.
#[derive(Debug)]
pub(super) struct ClosedGate {
    _file: File,
    /// What living processes use, relative to the store.
    pub in_use: HashSet<PathBuf>,
}

impl ClosedGate {
    /// Waits until nobody is between looking and using, and reads the leases.
    pub fn close(root: &Path) -> io::Result<Self> {
        let file = open_gate(root)?;
        file.lock()?;
        let mut in_use = HashSet::new();
        let folder = root.join(FOLDER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { _file: file, in_use });
            }
            entries => entries?,
        };
        for entry in entries {
            read_lease(&entry?.path(), &mut in_use)?;
        }
        Ok(Self { _file: file, in_use })
    }
}

/// Adds the names of a living lease; removes one that is abandoned.
fn read_lease(path: &Path, in_use: &mut HashSet<PathBuf>) -> io::Result<()> {
    remove_abandoned(path);
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?.take(MAX_LEASE_BYTES + 1).read_to_string(&mut text)?,
    };
    if text.len() as u64 > MAX_LEASE_BYTES {
        return Err(io::Error::other(format!("{} is too long for a lease", path.display())));
    }
    in_use.extend(text.lines().map(PathBuf::from));
    Ok(())
}
