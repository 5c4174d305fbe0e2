//! The process that slipway-init leaves behind: as long as the slot is not
//! committed it expects signs of life from the agent, and reboots when they
//! stay out. So an init that hangs, and an agent that is killed, are covered.
//! It also keeps a hardware watchdog fed, where there is one.
//!
//! Its name begins with `@`, so systemd spares it when it kills what is left
//! (the rule for storage daemons of the initrd). It stays in the initrd's root
//! and reaches everything through descriptors opened before the switch.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use formats::Slot;
use formats::state::Reason;
use rustix::fs::{AtFlags, Mode, OFlags, statat};

use crate::console::{self, INIT};
use crate::error::{At, During};
use crate::events::FolderEvents;
use crate::record::FailureNote;
use crate::{failure, ioctl, paths};

/// The first argument; systemd looks at its first character.
pub const NAME: &str = "@slipway-keeper";
/// Written once everything is open.
const READY: &[u8] = b"ready\n";

/// Starts the keeper and returns once it has all it needs open. It lets the
/// agent be silent for `init_timeout`.
pub fn start(state: &Path, slot: Slot, init_timeout: Duration) -> Result<(), At> {
    let own = "/proc/self/exe";
    let mut keeper = Command::new(own)
        .arg0(NAME)
        .arg(state)
        .arg(slot.letter())
        .arg(init_timeout.as_secs().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .during("run", own)?;
    let mut answer = Vec::new();
    let said = keeper.stdout.as_mut().map(|out| out.read_to_end(&mut answer));
    match said {
        Some(Ok(_)) if answer == READY => Ok(()),
        _ => Err(std::io::Error::other("it ended early")).during("run", NAME),
    }
}

/// What the keeper was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    state: String,
    slot: Slot,
    silence: Duration,
}

impl Orders {
    /// Reads the arguments that [`start`] gives.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [state, slot, seconds] = arguments else {
            return None;
        };
        let slot = Slot::ALL.into_iter().find(|known| known.letter() == slot)?;
        let seconds = Duration::from_secs(seconds.parse().ok()?);
        Some(Self { state: state.clone(), slot, silence: seconds })
    }
}

/// What is open before the root is switched.
struct Keeper {
    run: OwnedFd,
    changes: FolderEvents,
    note: FailureNote,
    watchdog: Option<Watchdog>,
}

struct Watchdog {
    device: File,
    every: Duration,
}

/// Runs until the slot is committed, or for ever if there is a watchdog.
pub fn run(orders: &Orders) -> Result<(), At> {
    let mut keeper = Keeper::open(orders)?;
    // whoever reads until the end is released by the closing, not the text
    let ready = std::io::stdout().write_all(READY);
    ready.during("answer", "slipway-init")?;
    let null = File::open("/dev/null").during("open", "/dev/null")?;
    rustix::stdio::dup2_stdout(&null).during("close", "standard output")?;
    rustix::stdio::dup2_stderr(&null).during("close", "standard error")?;
    drop(null);
    let _ = rustix::process::setsid();

    let mut silence = Silence::new(Instant::now(), orders.silence);
    while !keeper.committed() {
        let now = Instant::now();
        silence.observe(now, keeper.sign_of_life());
        if silence.ends <= now {
            keeper.reboot(&silence);
        }
        keeper.wait_until(silence.ends);
    }
    while let Some(watchdog) = &mut keeper.watchdog {
        watchdog.feed();
        std::thread::sleep(watchdog.every);
    }
    Ok(())
}

impl Keeper {
    fn open(orders: &Orders) -> Result<Self, At> {
        console::reach_through_dev()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let run = rustix::fs::open(paths::RUN, flags, Mode::empty()).during("open", paths::RUN)?;
        Ok(Self {
            run,
            changes: FolderEvents::watch(Path::new(paths::RUN))?,
            note: FailureNote::open(Path::new(&orders.state), orders.slot)?,
            watchdog: Watchdog::open(),
        })
    }

    fn committed(&self) -> bool {
        statat(&self.run, paths::COMMITTED, AtFlags::empty()).is_ok()
    }

    /// When the agent last wrote its file; only whether it changes counts, so
    /// a clock that is set does no harm.
    fn sign_of_life(&self) -> Option<(i64, i64)> {
        let found = statat(&self.run, paths::ALIVE, AtFlags::empty()).ok()?;
        Some((found.st_mtime, i64::try_from(found.st_mtime_nsec).ok()?))
    }

    /// Until something changes in /run/slipway, `end`, or the watchdog is due.
    fn wait_until(&mut self, end: Instant) {
        let end = match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.feed();
                end.min(Instant::now() + watchdog.every)
            }
            None => end,
        };
        self.changes.wait_until(end);
    }

    fn reboot(self, silence: &Silence) -> ! {
        let what = match silence.last {
            Some(_) => "the agent went silent",
            None => "user space did not start the agent",
        };
        let (slot, seconds) = (self.note.slot(), silence.limit.as_secs());
        INIT.say(&format!("slot {slot}: {what} for {seconds} s; rebooting"));
        failure::reboot_because(INIT, Some(self.note), Reason::InitHung)
    }
}

/// How long there was no sign of life.
struct Silence {
    last: Option<(i64, i64)>,
    limit: Duration,
    ends: Instant,
}

impl Silence {
    fn new(now: Instant, limit: Duration) -> Self {
        Self { last: None, limit, ends: now + limit }
    }

    /// Any sign but the last one is a new one.
    fn observe(&mut self, now: Instant, sign: Option<(i64, i64)>) {
        if sign != self.last {
            self.last = sign;
            self.ends = now + self.limit;
        }
    }
}

impl Watchdog {
    /// The first hardware watchdog, if its driver is loaded by now.
    fn open() -> Option<Self> {
        let device = OpenOptions::new().write(true).open("/dev/watchdog").ok()?;
        let seconds = ioctl::watchdog_timeout(&device).unwrap_or(30);
        let third = u64::try_from(seconds).unwrap_or(30) / 3;
        let every = Duration::from_secs(third.max(1));
        Some(Self { device, every })
    }

    fn feed(&mut self) {
        // a watchdog that cannot be fed fires, which is what it is for
        let _ = self.device.write_all(b"1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_what_start_gives() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let orders = Orders::parse(&words("/dev/vda2 b 60")).expect("whole");
        assert_eq!(orders.slot, Slot::B);
        assert_eq!(orders.silence, Duration::from_secs(60));
        for bad in ["/dev/vda2 c 60", "/dev/vda2 b", "/dev/vda2 b -1"] {
            assert_eq!(Orders::parse(&words(bad)), None);
        }
    }

    #[test]
    fn only_a_new_sign_of_life_moves_the_end() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::new(start, Duration::from_secs(10));
        silence.observe(later(5), None);
        assert_eq!(silence.ends, later(10));
        silence.observe(later(8), Some((1, 0)));
        assert_eq!(silence.ends, later(18));
        silence.observe(later(9), Some((1, 0)));
        assert_eq!(silence.ends, later(18));
        silence.observe(later(17), Some((0, 5)));
        assert_eq!(silence.ends, later(27), "a clock set back is a sign too");
    }
}
