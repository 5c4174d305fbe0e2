//! The first process of a script's namespaces: sets up what the script sees,
//! gives up what it must not be able to do, runs it as rpm does, and says how
//! it ended. When this process ends, the system ends every other one in the
//! namespace.
//!
//! rpm's part is `doScriptExec` and `runExtScript` in `lib/rpmscript.c`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, WaitOptions, set_dumpable_behavior, setrlimit, umask,
    waitpid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use super::message::{Failure, Report, Run, Status, receive, send};
use super::{mounts, owners};

/// What root may do to files and to its own processes. Not among them is what
/// would let a script undo its mounts, or look into this process.
const CAPABILITIES: [CapabilitySet; 13] = [
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::FOWNER,
    CapabilitySet::FSETID,
    CapabilitySet::KILL,
    CapabilitySet::SETGID,
    CapabilitySet::SETUID,
    CapabilitySet::SETPCAP,
    CapabilitySet::SETFCAP,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::IPC_OWNER,
    CapabilitySet::AUDIT_WRITE,
];

/// Largest file that a script can make. Its holes are read back as zeros, so
/// one call could otherwise fill the disk.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// What a shell returns for a command that it cannot run, and rpm for a script.
const CANNOT_RUN: i32 = 127;

/// rpm's `%_tmppath`, then what else there may be.
const TEMPORARY: [&str; 2] = ["/var/tmp", "/tmp"];
/// rpm puts random letters here; a script that shows its name would make a
/// different image each time.
const SCRIPT_NAME: &str = "rpm-tmp.slipwy";

/// Runs one script. Takes a [`Run`] from standard input, which has to stay open
/// as long as anybody wants the script to go on; gives a [`Report`] on standard
/// output. What the script says goes to standard error.
pub fn main() -> ExitCode {
    let report = match start() {
        Ok((status, refused_owner)) => Report::Ended { status, refused_owner },
        Err(failure) => Report::Failed(failure),
    };
    match send(io::stdout().lock(), &report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// How the script ended, and whether it was refused an owner.
fn start() -> Result<(Status, bool), Failure> {
    let run: Option<Run> = receive(io::stdin().lock()).map_err(|e| Failure::new("begin", e))?;
    let run = run.ok_or_else(|| Failure::new("begin", io::ErrorKind::UnexpectedEof))?;
    let input = File::open("stdin").map_err(|e| Failure::new("open the script's input", e))?;
    mounts::enter("mirror")?;
    give_up_privileges()?;
    let watched = run.single_id.then(owners::watch).transpose();
    let watched = watched.map_err(|e| Failure::new("watch which owners a script gives", e))?;
    // rpm: "Force default 022 umask during transaction for consistent results"
    umask(Mode::from_raw_mode(0o022));
    std::thread::spawn(end_with_keeper);
    let script = match run.text.is_empty() {
        true => None,
        false => Some(Script::write(&run.text).map_err(|e| Failure::new("write the script", e))?),
    };
    let status = execute(&run, script.as_ref(), input)?;
    if let Some(script) = script {
        script.remove().map_err(|e| Failure::new("remove the script", e))?;
    }
    Ok((status, watched.is_some_and(|noticed| noticed.get())))
}

/// Ends this process, and so the namespace, when the keeper is no more.
fn end_with_keeper() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(1);
}

fn give_up_privileges() -> Result<(), Failure> {
    let failed = |e: rustix::io::Errno| Failure::new("give up privileges", e);
    let kept = CAPABILITIES.iter().fold(CapabilitySet::empty(), |all, one| all | *one);
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The kernel knows fewer than 64 and refuses the others.
        let known = |e: &rustix::io::Errno| *e != rustix::io::Errno::INVAL;
        if !kept.contains(one) {
            remove_capability_from_bounding_set(one).or_else(|e| match known(&e) {
                true => Err(failed(e)),
                false => Ok(()),
            })?;
        }
    }
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
    set_capabilities(None, sets).map_err(failed)?;
    set_no_new_privs(true).map_err(failed)?;
    // Otherwise /proc/1 would lead the script to the slipway executable.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    for (resource, most) in [(Resource::Core, 0), (Resource::Fsize, MAX_FILE_BYTES)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(failed)?;
    }
    Ok(())
}

fn execute(run: &Run, script: Option<&Script>, input: File) -> Result<Status, Failure> {
    let Some((program, arguments)) = run.program.split_first() else {
        return Err(Failure::new("run a script without interpreter", io::ErrorKind::InvalidInput));
    };
    let output = io::stderr().as_fd().try_clone_to_owned();
    let output = output.map_err(|e| Failure::new("capture the output", e))?;
    let mut command = Command::new(program);
    command.args(arguments).args(script.map(|script| &script.path)).args(&run.arguments);
    command.env_clear().envs(run.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
    let child = match program.contains('/') {
        true => command.spawn(),
        // exec does not search, as `spawn` would
        false => Err(io::ErrorKind::NotFound.into()),
    };
    match child {
        Ok(child) => wait(child.id()).map_err(|e| Failure::new("wait for the script", e)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot run {program}: {error}");
            Ok(Status::Exit(CANNOT_RUN))
        }
    }
}

/// Waits for the script, and on the way for every process whose parent ended
/// first: those become children of the first process.
fn wait(script: u32) -> io::Result<Status> {
    loop {
        let Some((pid, status)) = waitpid(None, WaitOptions::empty())? else {
            continue;
        };
        if u32::try_from(pid.as_raw_nonzero().get()) != Ok(script) {
            continue;
        }
        if let Some(code) = status.exit_status() {
            return Ok(Status::Exit(code));
        }
        if let Some(signal) = status.terminating_signal() {
            return Ok(Status::Signal(signal));
        }
    }
}

/// The script as a file in the root, and what has to be put back after it.
struct Script {
    path: PathBuf,
    /// directories that were made for it
    made: Vec<PathBuf>,
    /// the folder that it or they are in, and that folder's time
    folder: (PathBuf, SystemTime),
}

impl Script {
    fn write(text: &str) -> io::Result<Self> {
        let there = TEMPORARY.into_iter().map(Path::new).find(|path| path.is_dir());
        let folder = there.unwrap_or(Path::new(TEMPORARY[0]));
        let mut made = Vec::new();
        let mut changed = folder;
        while !changed.is_dir() {
            made.push(changed.to_owned());
            changed = changed.parent().ok_or(io::ErrorKind::NotFound)?;
        }
        let found = fs::metadata(changed)?;
        let nanoseconds = u32::try_from(found.mtime_nsec()).unwrap_or(0);
        let time = Duration::new(u64::try_from(found.mtime()).unwrap_or(0), nanoseconds);
        fs::create_dir_all(folder)?;
        let path = folder.join(SCRIPT_NAME);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Self { path, made, folder: (changed.to_owned(), UNIX_EPOCH + time) })
    }

    /// What was made for it is removed, unless the script has put something
    /// there itself, and the folder gets its time back: a time that says when
    /// the build ran is in nobody's interest.
    fn remove(self) -> io::Result<()> {
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        };
        fs::remove_file(&self.path).or_else(gone)?;
        for directory in &self.made {
            if fs::read_dir(directory).is_ok_and(|entries| entries.count() == 0) {
                fs::remove_dir(directory).or_else(gone)?;
            }
        }
        let (folder, before) = self.folder;
        if self.made.iter().all(|directory| !directory.exists()) && folder.is_dir() {
            File::open(&folder)?.set_modified(before)?;
        }
        Ok(())
    }
}
