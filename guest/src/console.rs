//! Lines for whoever looks at the console, which is opened anew for each: a
//! getty's hang-up would leave a descriptor dead. What is said also goes to
//! the kernel's log, from where the journal picks it up.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{At, During};

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub struct Voice(pub &'static str);

/// slipway-init, and the keeper it leaves behind.
pub const INIT: Voice = Voice("slipway-init");
/// slipway-agent
pub const AGENT: Voice = Voice("slipway-agent");

/// The folder /dev of a process whose root is elsewhere.
static DEV: OnceLock<OwnedFd> = OnceLock::new();

/// From now on the console is opened in the folder that /dev is now, also when
/// that has moved or this process's root is elsewhere.
pub fn reach_through_dev() -> Result<(), At> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dev = openat(CWD, "/dev", flags, Mode::empty()).during("open", "/dev")?;
    // a second call finds the same folder
    let _ = DEV.set(dev);
    Ok(())
}

impl Voice {
    /// Says one line on the console and in the kernel's log.
    pub fn say(self, text: &str) {
        self.say_on_console(text);
        // level 7: kept, but not printed on the console a second time
        write_line("kmsg", &format!("<7>{}: {text}\n", self.0));
    }

    /// Says one line on the console, and on standard output if that is not a
    /// terminal: under systemd it is the journal.
    pub fn say_in_journal_too(self, text: &str) {
        self.say_on_console(text);
        if !std::io::stdout().is_terminal() {
            // a closed journal must not stop a commit
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    fn say_on_console(self, text: &str) {
        write_line("console", &format!("{}: {text}\n", self.0));
    }
}

/// In one write where possible, so that lines of others do not come between.
fn write_line(device: &str, line: &str) {
    let Some(fd) = open(device) else { return };
    let mut rest = line.as_bytes();
    while let Ok(written @ 1..) = rustix::io::write(&fd, rest) {
        rest = &rest[written..];
    }
}

fn open(device: &str) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |dev: BorrowedFd<'_>, path: &str| openat(dev, path, flags, Mode::empty()).ok();
    match DEV.get() {
        Some(dev) => open(dev.as_fd(), device),
        None => open(CWD, &format!("/dev/{device}")),
    }
}

/// Waits until the console's hardware has sent everything, so that the last
/// words before a reboot are not lost.
pub fn drain() {
    if let Some(console) = open("console") {
        let _ = rustix::termios::tcdrain(console);
    }
}

/// Makes the console the standard input and output of this process and what
/// it starts. The kernel could not: the initrd has no /dev/console.
pub fn become_standard() -> Result<(), At> {
    let path = "/dev/console";
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(path)
        .during("open", path)?;
    rustix::stdio::dup2_stdin(&console).during("use", path)?;
    rustix::stdio::dup2_stdout(&console).during("use", path)?;
    rustix::stdio::dup2_stderr(&console).during("use", path)
}
