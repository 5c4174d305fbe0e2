//! Install scripts that are really run, in a sandbox, over a [`Tree`].
//!
//! ```text
//! tree ─differences─▶ mirror on disk ─script in namespaces─▶ changed mirror ─differences─▶ tree
//! ```
//!
//! A script runs as root of a user namespace, with mount, PID, network, IPC,
//! UTS and cgroup namespaces of its own: it sees the mirror as its root, a small
//! `/dev`, its own `/proc`, no network, and nothing of the host. A plain user
//! can have that; who may own files depends on [`Mapping`].
//!
//! The mirror is changed in place and looked at before and after. An overlay
//! would be less work for the reader, but inside a user namespace Linux' overlay
//! breaks hard links, refuses to rename directories, and cannot lie on another
//! overlay, as the disks of containers are.
//!
//! What does all this on the other side are processes of the same executable
//! ([`child_main`]), so that nothing happens between fork and exec.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

pub use changes::ChangeError;
pub use ids::{Ids, Mapping};
pub use message::{Failure, Status};

pub(crate) use mounts::MOUNT_POINTS;

use message::{Answer, Request, Run, receive, send};
use mirror::Spool;

use crate::tree::Tree;

mod changes;
mod disk;
mod ids;
mod init;
mod keeper;
mod message;
mod mirror;
mod mounts;
mod namespace;
mod obstacle;
mod owners;
mod scan;

/// The hidden subcommand that a sandbox's processes are started with.
pub const CHILD_COMMAND: &str = "sandbox-child";
const KEEPER: &str = "keeper";
const INIT: &str = "init";

/// As rpm's `%_install_script_path`.
const PATH: &str = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin";

/// Lines of a script's output that are worth showing, and bytes of one.
const LAST_LINES: usize = 20;
const LINE_BYTES: usize = 1000;

/// What a sandbox depends on besides the tree.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The slipway executable.
    pub program: PathBuf,
    /// How long a script may take.
    pub time_limit: Duration,
    /// `SOURCE_DATE_EPOCH` for scripts, seconds since 1970.
    pub source_date_epoch: u64,
    /// Do without sub-ids, even where there are some.
    pub single_id: bool,
}

impl Settings {
    /// This executable, and a minute for a script.
    ///
    /// # Errors
    /// If the system does not say where the executable is.
    pub fn new(source_date_epoch: u64) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            time_limit: Duration::from_secs(60),
            source_date_epoch,
            single_id: false,
        })
    }
}

/// A script, and how to call it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Interpreter and its own arguments.
    pub program: &'a [String],
    /// The script; if it is empty, the program is all.
    pub text: &'a str,
    /// What follows the name of the script.
    pub arguments: &'a [String],
    /// What it reads from standard input.
    pub stdin: &'a [u8],
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Exit status or signal.
    pub status: Status,
    /// The end of what it said, for a person.
    pub last_lines: String,
    /// Why it may have failed, if the sandbox had less than rpm; also of a script
    /// that succeeds although it was refused an owner.
    pub advice: Option<String>,
}

/// Why a script cannot be run. That a script fails is no such error.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine does not give us a sandbox.
    #[error("cannot {}: {}; {advice}", .failure.step, .failure.reason)]
    Unavailable {
        /// What failed.
        failure: Failure,
        /// What a person can do.
        advice: String,
    },
    /// Ids cannot be mapped.
    #[error("cannot map users and groups of the sandbox by {what}")]
    Map {
        /// Program or file.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// A step inside failed.
    #[error("cannot {}: {}", .0.step, .0.reason)]
    Step(Failure),
    /// A file or process of ours.
    #[error("cannot {what} for the sandbox {folder}")]
    Io {
        /// Which step.
        what: &'static str,
        /// The sandbox's folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side ended without an answer.
    #[error("the sandbox {folder} has ended without an answer")]
    Gone {
        /// The sandbox's folder.
        folder: PathBuf,
    },
    /// What a script changed does not fit the tree.
    #[error("cannot take over what a script has changed")]
    Changes(#[from] ChangeError),
}

/// Where scripts run. Dropping it ends everything and removes the mirror; the
/// contents of new files stay below the scratch folder.
#[derive(Debug)]
pub struct Sandbox {
    settings: Settings,
    folder: PathBuf,
    ids: Ids,
    keeper: Keeper,
    /// what the mirror is
    held: Option<Tree>,
}

/// The process on the other side.
#[derive(Debug)]
struct Keeper {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Sandbox {
    /// Makes the namespaces. `scratch` is a folder for the mirror and for what
    /// scripts write; only one sandbox can be in it. Costs some milliseconds:
    /// the mirror is made when the first script runs.
    ///
    /// # Errors
    /// If the machine does not allow it; the error says what to do.
    pub fn new(scratch: &Path, settings: Settings) -> Result<Self, SandboxError> {
        let folder = scratch.join("sandbox");
        let failed = |what, source| SandboxError::Io { what, folder: folder.clone(), source };
        let folder = std::path::absolute(&folder).map_err(|e| failed("find the folder", e))?;
        // Programs in the mirror may be setuid, and are not for this machine.
        let mut only_ours = fs::DirBuilder::new();
        only_ours.mode(0o700).create(&folder).map_err(|e| failed("make the folder", e))?;
        fs::create_dir(folder.join(keeper::CONTENTS)).map_err(|e| failed("make the folder", e))?;
        let ids = match settings.single_id {
            true => Ids::single("sub-ids are not to be used".to_owned()),
            false => Ids::find(),
        };
        let keeper = Keeper::start(&settings.program, &folder)?;
        let mut sandbox = Self { settings, folder, ids, keeper, held: None };
        sandbox.set_up()?;
        Ok(sandbox)
    }

    /// Which users and groups scripts can know.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Runs a script over `tree` as rpm would: `tree` is then what the script has
    /// made of it, also if it failed; unchanged, if it had to be ended. Times are
    /// not clamped.
    ///
    /// # Errors
    /// If it could not be run, or its result does not fit a tree.
    pub fn run(&mut self, tree: &mut Tree, call: &Call<'_>) -> Result<Ran, SandboxError> {
        self.update(tree)?;
        let failed = |source| self.error("write a script's input", source);
        fs::write(self.folder.join(keeper::STDIN), call.stdin).map_err(failed)?;
        let run = Run {
            program: call.program.to_vec(),
            text: call.text.to_owned(),
            arguments: call.arguments.to_vec(),
            environment: environment(self.settings.source_date_epoch),
            limit_seconds: self.settings.time_limit.as_secs(),
            single_id: self.ids.mapping() == Mapping::Single,
        };
        let held = self.held.take();
        let Answer::Ran { status, refused_owner, output, changes } =
            self.ask(&Request::Run(run))?
        else {
            return Err(self.gone());
        };
        if status.counts() {
            let contents = self.folder.join(keeper::CONTENTS);
            if !changes.is_empty() {
                *tree = changes::apply(tree, changes, &self.ids, &contents)?;
                self.held = Some(tree.clone());
            } else {
                self.held = held;
            }
        }
        let advice = match refused_owner {
            // One that goes on regardless has left wrong owners.
            true => self.ids.shortage().map(without_owners),
            false if status.success() => None,
            false => without_devices(&output),
        };
        Ok(Ran { status, last_lines: last_lines(&output), advice })
    }

    /// Brings the mirror up to date.
    fn update(&mut self, tree: &Tree) -> Result<(), SandboxError> {
        match &self.held {
            Some(held) if held == tree => return Ok(()),
            Some(_) => {}
            None => self.done(&Request::Reset)?,
        }
        let spool = Spool::create(self.folder.join(keeper::SPOOL));
        let mut spool = spool.map_err(|e| self.error("write the contents of files", e))?;
        let steps = mirror::operations(self.held.as_ref(), tree, &self.ids, &mut spool)
            .map_err(|e| self.error("write the contents of files", e))?;
        // until it is done, the mirror is neither the one nor the other
        let fresh = self.held.take().is_none();
        if fresh || !steps.is_empty() {
            self.done(&Request::Change(steps))?;
        }
        self.held = Some(tree.clone());
        Ok(())
    }

    fn set_up(&mut self) -> Result<(), SandboxError> {
        let unavailable = |error| match error {
            SandboxError::Step(failure) => {
                let advice = obstacle::advice(&failure);
                SandboxError::Unavailable { failure, advice }
            }
            other => other,
        };
        match self.answer().map_err(unavailable)? {
            Answer::Done => {}
            _ => return Err(self.gone()),
        }
        self.ids.apply(self.keeper.child.id())?;
        self.done(&Request::Mapped).map_err(unavailable)
    }

    fn done(&mut self, request: &Request) -> Result<(), SandboxError> {
        match self.ask(request)? {
            Answer::Done => Ok(()),
            _ => Err(self.gone()),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, SandboxError> {
        match send(&mut self.keeper.requests, request) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.gone()),
            other => other.map_err(|e| self.error("ask", e))?,
        }
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer, SandboxError> {
        match receive(&mut self.keeper.answers).map_err(|e| self.error("hear", e))? {
            Some(Answer::Failed(failure)) => Err(SandboxError::Step(failure)),
            Some(answer) => Ok(answer),
            None => Err(self.gone()),
        }
    }

    fn error(&self, what: &'static str, source: io::Error) -> SandboxError {
        SandboxError::Io { what, folder: self.folder.clone(), source }
    }

    fn gone(&self) -> SandboxError {
        SandboxError::Gone { folder: self.folder.clone() }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A keeper that does not answer is gone, or removes all when its input ends.
        let _ = self.done(&Request::End);
        let _ = self.keeper.child.wait();
    }
}

impl Keeper {
    fn start(program: &Path, folder: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Io {
            what: "start a process",
            folder: folder.to_owned(),
            source,
        };
        let mut child = Command::new(program)
            .args([CHILD_COMMAND, KEEPER])
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(answers)) => Ok(Self { child, requests, answers }),
            _ => Err(failed(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// Removes a folder that a killed sandbox has left, with files in it that
/// belong to the user's sub-ids: outside of a user namespace that user may not
/// remove them. `open` is the same folder, which may have another name by now;
/// `program` is the slipway executable.
///
/// # Errors
/// If there is no user namespace to be had, or the folder stays.
pub fn remove_left(folder: &Path, open: &File, program: &Path) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Io { what: "clear", folder: folder.to_owned(), source };
    let itself = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let mut keeper = Keeper::start(program, &itself)?;
    let first = receive::<Answer>(&mut keeper.answers).map_err(failed)?;
    if matches!(first, Some(Answer::Done)) {
        Ids::find().apply(keeper.child.id())?;
        send(&mut keeper.requests, &Request::Mapped).map_err(failed)?;
    }
    // It removes everything when there is nobody to ask for anything.
    drop(keeper.requests);
    keeper.child.wait().map_err(failed)?;
    match folder.exists() {
        true => Err(failed(io::ErrorKind::DirectoryNotEmpty.into())),
        false => Ok(()),
    }
}

/// A hint for a script that was refused an owner.
fn without_owners(why: &str) -> String {
    format!("scripts run without users and groups other than root, since {why}; or build as root")
}

/// A hint for a script that failed, if it says that it wanted a device.
fn without_devices(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let refused = text.contains("mknod") && text.contains("Operation not permitted");
    refused.then(|| "a script cannot make device nodes, not even as root".to_owned())
}

/// What scripts have as their environment, with this `SOURCE_DATE_EPOCH`.
#[must_use]
pub fn environment(source_date_epoch: u64) -> Vec<(String, String)> {
    let epoch = source_date_epoch.to_string();
    let pairs = [
        ("PATH", PATH),
        ("HOME", "/root"),
        ("LANG", "C"),
        ("TZ", "UTC"),
        ("SOURCE_DATE_EPOCH", &epoch),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// What a process that was started as [`CHILD_COMMAND`] does; its first
/// argument is `role`. Must be called before there is a second thread.
#[must_use]
pub fn child_main(role: &str) -> ExitCode {
    match role {
        KEEPER => keeper::main(),
        INIT => init::main(),
        _ => ExitCode::FAILURE,
    }
}

/// The end of an output, without what a terminal would obey.
fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LAST_LINES));
    let plain = |line: &&str| -> String {
        let shown = line.chars().filter(|one| !one.is_control() || *one == '\t');
        shown.take(LINE_BYTES).collect()
    };
    last.map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_and_harmless() {
        let text: String = (0..30).map(|number| format!("line {number}\x1b[31m\n")).collect();
        let last = last_lines(text.as_bytes());
        assert!(last.starts_with("line 10[31m\n") && last.ends_with("line 29[31m"));
        assert_eq!(last_lines(&[b'x'; 5000]).len(), LINE_BYTES);
        assert_eq!(last_lines(b"\xff"), "\u{fffd}");
    }
}
