//! One parser under one stream of inputs, with the limits of the contract set
//! on this very process: a fault ends it. What it was given when that happened
//! is noted in a file, as a position from which the input can be made again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::{MEMORY_BYTES, SECONDS, Target, mutate};

/// What threads of a build have.
const STACK_BYTES: usize = 2 << 20;
/// Exit code when an input took too long.
const TOO_LONG: u8 = 3;

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The parser.
    pub target: Target,
    /// Inputs to change.
    pub seeds: Vec<Vec<u8>>,
    /// Number of the run.
    pub seed: u64,
}

impl Plan {
    /// A plan with the parser's own seeds and the files of `folder`.
    ///
    /// # Errors
    /// If the folder or a file cannot be read, or there is no seed at all.
    pub fn new(target: Target, folder: Option<&Path>, seed: u64) -> Result<Self> {
        let mut seeds = (target.seeds)();
        for path in folder.map(files).transpose()?.unwrap_or_default() {
            seeds.push(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        if seeds.is_empty() {
            return Err(anyhow!("there are no seeds for {}", target.name));
        }
        Ok(Self { target, seeds, seed })
    }

    /// The input at `position`. The first ones are the seeds as they are.
    #[must_use]
    pub fn input(&self, position: u64) -> Vec<u8> {
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        let made = || mutate::input(&self.seeds, self.seed, position);
        self.seeds.get(at).cloned().unwrap_or_else(made)
    }

    /// Gives the parser inputs for `time`, noting each one's position in `note`.
    ///
    /// # Errors
    /// If limits cannot be set or the note cannot be written. A fault of the
    /// parser is no error: it ends the process, or is the exit code.
    pub fn run(self, time: Duration, note: &Path) -> Result<ExitCode> {
        let note =
            File::create(note).with_context(|| format!("cannot write {}", note.display()))?;
        let until = Instant::now() + time;
        limited(move |position| {
            let mut at = 0;
            while at < self.seeds.len() as u64 || Instant::now() < until {
                note.write_all_at(&at.to_le_bytes(), 0)?;
                position.store(at, Ordering::Relaxed);
                (self.target.parse)(&self.input(at));
                at += 1;
            }
            println!("{at}");
            Ok(())
        })
    }
}

/// Gives the parser one input.
///
/// # Errors
/// If limits cannot be set.
pub fn one(target: Target, bytes: Vec<u8>) -> Result<ExitCode> {
    limited(move |_| {
        (target.parse)(&bytes);
        Ok(())
    })
}

/// The position that was last noted.
///
/// # Errors
/// If there is none.
pub fn noted(note: &Path) -> io::Result<u64> {
    let bytes = fs::read(note)?;
    let eight = bytes.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(u64::from_le_bytes(*eight))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .with_context(failed)?;
    // The order of a folder is not the same everywhere.
    paths.sort();
    Ok(paths)
}

/// Runs `work` within the limits of the contract; it says where it is.
fn limited(work: impl FnOnce(&AtomicU64) -> io::Result<()> + Send + 'static) -> Result<ExitCode> {
    let limit = Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) };
    setrlimit(Resource::As, limit).context("cannot limit memory")?;
    let position = Arc::new(AtomicU64::new(0));
    let shared = position.clone();
    let worker = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || work(&shared))?;
    let mut since = (0, processor_seconds());
    while !worker.is_finished() {
        thread::park_timeout(Duration::from_millis(20));
        let at = position.load(Ordering::Relaxed);
        if at != since.0 {
            since = (at, processor_seconds());
        } else if processor_seconds() > since.1 + SECONDS {
            eprintln!("more than {SECONDS} s of processor time for one input");
            return Ok(ExitCode::from(TOO_LONG));
        }
    }
    match worker.join() {
        Ok(done) => done.map(|()| ExitCode::SUCCESS).context("cannot note the position"),
        // the panic has been printed
        Err(_) => Ok(ExitCode::from(101)),
    }
}

/// Of this process; waiting for a busy machine does not count.
fn processor_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0)
}
