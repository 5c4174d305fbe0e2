//! A thread that is handed things, one after the other, and gives a result at
//! the end. The queue is short, which bounds memory.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The thread, seen from outside.
#[derive(Debug)]
pub struct Worker<T, R> {
    queue: SyncSender<T>,
    thread: JoinHandle<io::Result<R>>,
}

impl<T: Send + 'static, R: Send + 'static> Worker<T, R> {
    /// Starts `work` with what it is handed, of which `waiting` may wait. It has
    /// to go on until nothing comes any more, even after an error: that is told
    /// by [`Worker::finish`].
    pub fn start(
        name: &str,
        waiting: usize,
        work: impl FnOnce(Receiver<T>) -> io::Result<R> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, received) = sync_channel(waiting);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(received))?;
        Ok(Self { queue, thread })
    }

    /// A further way to the same queue.
    pub fn queue(&self) -> SyncSender<T> {
        self.queue.clone()
    }

    /// Waits for room and hands `thing` over.
    pub fn hand_over(&self, thing: T) -> io::Result<()> {
        self.queue.send(thing).map_err(|_| panicked())
    }

    /// Waits for the end of the work. Every other way to the queue must be gone.
    pub fn finish(self) -> io::Result<R> {
        drop(self.queue);
        self.thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

/// Hands over what need not be done twice: dropped if as much waits already.
pub fn suggest<T>(queue: &SyncSender<T>, thing: T) {
    let _ = queue.try_send(thing);
}

fn panicked() -> io::Error {
    io::Error::other("a thread panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_and_an_error_is_told_at_the_end() {
        let sum = Worker::start("sum", 1, |numbers| Ok(numbers.into_iter().sum::<u32>()));
        let sum = sum.expect("a thread");
        (0..100).for_each(|number| sum.hand_over(number).expect("room"));
        assert_eq!(sum.finish().expect("no error"), 4950);
        let fails = Worker::start("fails", 1, |things: Receiver<()>| {
            things.into_iter().for_each(drop);
            Err::<(), _>(io::Error::other("no"))
        });
        let fails = fails.expect("a thread");
        fails.hand_over(()).expect("taken");
        assert_eq!(fails.finish().expect_err("no").to_string(), "no");
    }
}
