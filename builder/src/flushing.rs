//! Has the system write a large file to the disk while it is still being made,
//! so that the sync at the end finds little left to wait for.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// After so many bytes the system is told to write.
const EVERY_BYTES: u64 = 32 << 20;

/// Syncs a file now and then, on a thread of its own.
#[derive(Debug)]
pub struct Flusher {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flusher {
    /// For `file`.
    pub fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // while one sync is under way, one more may be asked for
        let (wake, woken) = sync_channel::<()>(1);
        let work = move || woken.into_iter().try_for_each(|()| file.sync_data());
        let thread = std::thread::Builder::new().name("flush".into()).spawn(work)?;
        Ok(Self { wake, thread })
    }

    /// Passes on to `out`, which writes to the file.
    pub fn writer<W: Write>(&self, out: W) -> FlushingWriter<W> {
        FlushingWriter { out, wake: self.wake.clone(), since_bytes: 0 }
    }

    /// Waits for the last sync. A failure of any is told here: the system tells
    /// it only once, so a later sync would not.
    pub fn finish(self) -> io::Result<()> {
        drop(self.wake);
        let done = self.thread.join();
        done.unwrap_or_else(|_| Err(io::Error::other("the flushing thread panicked")))
    }
}

/// Writes, and wakes the flusher after every 32 MiB.
#[derive(Debug)]
pub struct FlushingWriter<W> {
    out: W,
    wake: SyncSender<()>,
    since_bytes: u64,
}

impl<W: Write> Write for FlushingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.since_bytes += count as u64;
        if self.since_bytes >= EVERY_BYTES {
            self.since_bytes = 0;
            // one that is asked for already will do
            let _ = self.wake.try_send(());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
