//! The keeper: a process that is root of the sandbox's user namespace for as
//! long as the sandbox lives. It makes the mirror, starts a script's namespaces
//! and looks at what came of them: for a plain user, nobody else may.
//!
//! When slipway is no more, whatever ended it, the keeper's input ends; then it
//! ends the script and removes everything.

use std::fs;
use std::io::{self, PipeReader, Read, Write, pipe};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::setsid;
use rustix::system::sethostname;
use rustix::thread::{UnshareFlags, set_thread_groups};

use super::disk::{self, Disk};
use super::message::{Answer, Change, Failure, Report, Request, Run, Status, receive, send};
use super::mounts::MOUNT_POINTS;
use super::namespace::{keep_descriptors, unshare};
use super::scan::Snapshot;

/// Below the sandbox's folder: the root on disk.
pub const MIRROR: &str = "mirror";
/// Contents of new files, which outlive the sandbox.
pub const CONTENTS: &str = "contents";
/// What is written for the keeper to read.
pub const SPOOL: &str = "spool";
/// What the script reads.
pub const STDIN: &str = "stdin";

/// More of a script's output than this is forgotten, the beginning first.
const OUTPUT_BYTES: usize = 64 << 10;

/// A script that shows the name of the machine shows the same one everywhere.
const HOST_NAME: &[u8] = b"localhost";

/// Serves requests on standard input, with the sandbox's folder as the current
/// one, until there are none any more.
pub fn main() -> ExitCode {
    let Ok(folder) = std::env::current_dir() else {
        return ExitCode::FAILURE;
    };
    // Ctrl-C is slipway's to handle.
    let _ = setsid();
    let ended = Keeper { disk: Disk::new(MIRROR), before: None, kept: 0 }.serve();
    if !matches!(ended, Ok(true)) {
        let _ = fs::remove_dir_all(&folder);
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Keeper {
    disk: Disk,
    /// the mirror as it is, unless something changed it since
    before: Option<Snapshot>,
    /// how many contents are kept
    kept: u64,
}

impl Keeper {
    /// Says whether the end was asked for.
    fn serve(mut self) -> io::Result<bool> {
        keep_descriptors()?;
        let made = unshare(UnshareFlags::NEWUSER);
        answer(made.map_err(|e| Failure::new("make a user namespace", e)))?;
        match receive(io::stdin().lock())? {
            Some(Request::Mapped) => answer(set_up())?,
            _ => return Ok(false),
        }
        while let Some(request) = receive(io::stdin().lock())? {
            match request {
                Request::Mapped => answer(Ok(()))?,
                Request::Reset => {
                    self.before = None;
                    let reset = disk::remove(Path::new(MIRROR));
                    answer(reset.map_err(|e| Failure::new("empty the mirror", e)))?;
                }
                Request::Change(operations) => {
                    self.before = None;
                    answer(self.change(&operations))?;
                }
                Request::Run(run) => match self.run(&run) {
                    Ok(Some(ran)) => send(io::stdout().lock(), &ran)?,
                    Ok(None) => return Ok(false),
                    Err(failure) => send(io::stdout().lock(), &Answer::Failed(failure))?,
                },
                Request::End => {
                    for name in [MIRROR, SPOOL, STDIN] {
                        disk::remove(Path::new(name))?;
                    }
                    answer(Ok(()))?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn change(&mut self, operations: &[super::message::Operation]) -> Result<(), Failure> {
        if !Path::new(MIRROR).is_dir() {
            let failed = |e| Failure::new("make the mirror", e);
            fs::create_dir(MIRROR).map_err(failed)?;
            for name in MOUNT_POINTS {
                fs::create_dir(self.disk.place(name)).map_err(failed)?;
            }
        }
        operations.iter().try_for_each(|operation| self.disk.perform(operation))
    }

    /// Runs a script; nothing comes of it if slipway is no more.
    fn run(&mut self, run: &Run) -> Result<Option<Answer>, Failure> {
        let before = match self.before.take() {
            Some(before) => before,
            None => Snapshot::take(&self.disk)?,
        };
        before.settle();
        let Some(Finished { status, refused_owner, output }) =
            Running::start(run)?.finish(run.limit_seconds)?
        else {
            return Ok(None);
        };
        let mut changes: Vec<Change> = Vec::new();
        if status.counts() {
            let after = Snapshot::take(&self.disk)?;
            changes = before.changes(&after, &self.disk, Path::new(CONTENTS), &mut self.kept)?;
            self.before = Some(after);
        }
        Ok(Some(Answer::Ran { status, refused_owner, output, changes }))
    }
}

fn answer(result: Result<(), Failure>) -> io::Result<()> {
    match result {
        Ok(()) => send(io::stdout().lock(), &Answer::Done),
        Err(failure) => send(io::stdout().lock(), &Answer::Failed(failure)),
    }
}

/// What all scripts share: a network namespace without network, a host name.
/// Tries whether mounting works, so that it does not fail at the first script.
fn set_up() -> Result<(), Failure> {
    // With only one id mapped the system does not allow it, and the groups
    // have no names in the namespace.
    let _ = set_thread_groups(&[]);
    unshare(UnshareFlags::NEWNET | UnshareFlags::NEWUTS)
        .map_err(|e| Failure::new("make a network namespace", e))?;
    sethostname(HOST_NAME).map_err(|e| Failure::new("set the host name", e))?;
    let flags = statvfs(".").map_err(|e| Failure::new("look at the scratch folder", e))?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        let error = io::Error::other("its file system is mounted noexec");
        return Err(Failure::new("run programs in the scratch folder", error));
    }
    let tried = std::thread::spawn(|| -> io::Result<()> {
        unshare(UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(mount("tmpfs", CONTENTS, "tmpfs", MountFlags::NOSUID, c"size=4k")?)
    });
    let tried = tried.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    tried.map_err(|e: io::Error| Failure::new("mount in a namespace", e))
}

/// A script's first process.
struct Running {
    child: Child,
    report: PipeReader,
    output: PipeReader,
}

impl Running {
    fn start(run: &Run) -> Result<Self, Failure> {
        let failed = |e: io::Error| Failure::new("start a script's namespaces", e);
        let (report, report_end) = pipe().map_err(failed)?;
        let (output, output_end) = pipe().map_err(failed)?;
        // The namespaces are the thread's, and those of what it starts; other
        // threads stay where they are, and the next script gets new ones.
        let started = std::thread::spawn(move || {
            let kinds = UnshareFlags::NEWNS
                | UnshareFlags::NEWPID
                | UnshareFlags::NEWIPC
                | UnshareFlags::NEWCGROUP;
            unshare(kinds)?;
            Command::new("/proc/self/exe")
                .args([super::CHILD_COMMAND, super::INIT])
                .env_clear()
                .stdin(Stdio::piped())
                .stdout(report_end)
                .stderr(output_end)
                .spawn()
        });
        let started = started.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let mut running = Self { child: started.map_err(failed)?, report, output };
        // It stays open: when the keeper is no more, it closes, and the script ends.
        if let Some(input) = &mut running.child.stdin {
            send(input, run).map_err(failed)?;
        }
        Ok(running)
    }

    /// Waits for the end, which comes after `limit_seconds` at the latest;
    /// nothing if slipway has come to its own end meanwhile.
    fn finish(mut self, limit_seconds: u64) -> Result<Option<Finished>, Failure> {
        let failed = |e: io::Error| Failure::new("wait for a script", e);
        let deadline = Instant::now() + Duration::from_secs(limit_seconds);
        let (mut report, mut output) = (Vec::new(), Vec::new());
        let (mut reporting, mut speaking, mut late) = (true, true, false);
        while reporting || speaking {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && !late {
                late = true;
                self.child.kill().map_err(failed)?;
            }
            let ready = self.wait(reporting, speaking, (!late).then_some(left)).map_err(failed)?;
            if ready.slipway_gone {
                self.child.kill().and_then(|()| self.child.wait()).map_err(failed)?;
                return Ok(None);
            }
            if ready.report {
                reporting = take(&mut self.report, &mut report).map_err(failed)?;
            }
            if ready.output {
                speaking = take(&mut self.output, &mut output).map_err(failed)?;
            }
        }
        self.child.wait().map_err(failed)?;
        if late {
            let status = Status::TimedOut(limit_seconds);
            return Ok(Some(Finished { status, refused_owner: false, output }));
        }
        match receive(report.as_slice()).map_err(failed)? {
            Some(Report::Ended { status, refused_owner }) => {
                Ok(Some(Finished { status, refused_owner, output }))
            }
            Some(Report::Failed(failure)) => Err(failure),
            None => {
                let text = String::from_utf8_lossy(&output).into_owned();
                Err(Failure::new("hear from a script's first process", io::Error::other(text)))
            }
        }
    }

    fn wait(&self, report: bool, output: bool, left: Option<Duration>) -> io::Result<Ready> {
        let input = io::stdin();
        let flags = |wanted| if wanted { PollFlags::IN } else { PollFlags::empty() };
        let mut wanted = vec![PollFd::new(&input, PollFlags::IN)];
        wanted.extend(report.then(|| PollFd::new(&self.report, flags(report))));
        wanted.extend(output.then(|| PollFd::new(&self.output, flags(output))));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut wanted, left.as_ref()) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = wanted.iter().map(|one| !one.revents().is_empty());
        // Nothing is asked while a script runs, so this can only be the end.
        let slipway_gone = ready.next().unwrap_or(false);
        let report = report && ready.next().unwrap_or(false);
        let output = output && ready.next().unwrap_or(false);
        Ok(Ready { slipway_gone, report, output })
    }
}

/// A script that came to its end, or to its limit.
struct Finished {
    status: Status,
    refused_owner: bool,
    output: Vec<u8>,
}

/// Which of the three has something to read, or has ended.
struct Ready {
    slipway_gone: bool,
    report: bool,
    output: bool,
}

/// Reads what is there, and keeps the end of it all; says whether there may be
/// more.
fn take(from: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 16 << 10];
    let len = match from.read(&mut piece) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        other => other?,
    };
    into.write_all(piece.get(..len).unwrap_or_default())?;
    let over = into.len().saturating_sub(OUTPUT_BYTES);
    into.drain(..over);
    Ok(len > 0)
}
