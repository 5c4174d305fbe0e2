//! Has the system write a large file to the disk while it is still being made,
//! so that the sync at the end finds little left to wait for.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender};

use crate::worker::{Worker, suggest};

/// After so many bytes the system is told to write.
const EVERY_BYTES: u64 = 32 << 20;

/// Syncs a file now and then, on a thread of its own.
#[derive(Debug)]
pub struct Flusher(Worker<(), ()>);

impl Flusher {
    /// For `file`.
    pub fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // While one sync is under way, one more may be asked for. The system
        // tells of a failure only once, so the first is kept.
        let work = move |woken: Receiver<()>| {
            let syncs = woken.into_iter().map(|()| file.sync_data());
            syncs.fold(Ok(()), Result::and)
        };
        Worker::start("flush", 1, work).map(Self)
    }

    /// Passes on to `out`, which writes to the file.
    pub fn writer<W: Write>(&self, out: W) -> FlushingWriter<W> {
        FlushingWriter { out, wake: self.0.queue(), since_bytes: 0 }
    }

    /// Waits for the last sync, and tells a failure of any.
    pub fn finish(self) -> io::Result<()> {
        self.0.finish()
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
            suggest(&self.wake, ());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W> Drop for FlushingWriter<W> {
    /// What was written last goes to the disk while other work is done.
    fn drop(&mut self) {
        suggest(&self.wake, ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_through_is_written() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let flusher = Flusher::start(file.as_file()).expect("a thread");
        let mut writer = flusher.writer(file.as_file_mut());
        let piece = vec![7; 5 << 20];
        (0..8).for_each(|_| writer.write_all(&piece).expect("written"));
        drop(writer);
        flusher.finish().expect("synced");
        assert_eq!(file.as_file().metadata().expect("there").len(), 40 << 20);
    }
}
