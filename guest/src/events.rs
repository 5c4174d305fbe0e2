//! Waiting for something to happen in a folder, with an end.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::error::{At, During};

/// Files made, changed or removed in one folder.
pub struct FolderEvents(OwnedFd);

impl FolderEvents {
    /// Watches `folder` from now on: what happens between this call and the
    /// first wait is not lost. It follows the folder through mount moves.
    pub fn watch(folder: &Path) -> Result<Self, At> {
        let fd =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).during("watch", folder)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::MODIFY;
        inotify::add_watch(&fd, folder, flags).during("watch", folder)?;
        Ok(Self(fd))
    }

    /// Returns when something has happened since the last call, or at `end`.
    pub fn wait_until(&self, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        // a day and a spurious return at worst: callers look again in any case
        let left = left.min(Duration::from_secs(86_400));
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        if matches!(poll(&mut fds, Some(&timeout)), Ok(1..)) {
            self.forget();
        }
    }

    /// Which files it were does not matter: the caller looks for itself.
    fn forget(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            match events.next() {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_ends_the_wait_and_a_quiet_folder_the_deadline() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = FolderEvents::watch(folder.path()).expect("watched");
        std::fs::write(folder.path().join("x"), "").expect("written");
        let start = Instant::now();
        events.wait_until(start + Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30));
        events.wait_until(Instant::now() + Duration::from_millis(10));
    }
}
