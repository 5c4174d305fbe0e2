//! How long a server is waited for, how often it is asked again, and with what
//! pauses: longer each time, with chance in them so that many machines that
//! failed together do not come back together.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The limits. Those of [`Patience::default`] suit repositories on the
/// internet.
#[derive(Debug, Clone)]
pub struct Patience {
    /// A server that needs longer to answer at all is down.
    pub connect: Duration,
    /// The longest that a single read may take.
    pub read: Duration,
    /// Pauses before the second, third, … attempt; half to one and a half
    /// times as long each.
    pub pauses: Vec<Duration>,
    /// What a server asks for beyond this is not waited for.
    pub longest_pause: Duration,
    /// Over each stretch of this length …
    pub stretch: Duration,
    /// … at least so many bytes must come, or the transfer is broken off.
    pub stretch_bytes: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            pauses: [500, 2000, 5000].map(Duration::from_millis).to_vec(),
            longest_pause: Duration::from_secs(60),
            stretch: Duration::from_secs(30),
            // 1 KiB a second: slower than any line that is in use.
            stretch_bytes: 30 << 10,
        }
    }
}

impl Patience {
    /// The attempts at one file.
    pub(super) fn tries(&self) -> Tries<'_> {
        Tries { patience: self, paused: 0 }
    }
}

/// Counts attempts.
#[derive(Debug)]
pub(super) struct Tries<'p> {
    patience: &'p Patience,
    paused: usize,
}

/// There is no attempt left.
#[derive(Debug)]
pub(super) struct Exhausted;

impl Tries<'_> {
    /// Waits before the next attempt, as long as the server asks for if it
    /// does.
    pub fn pause(&mut self, asked: Option<Duration>) -> Result<(), Exhausted> {
        let usual = self.patience.pauses.get(self.paused).ok_or(Exhausted)?;
        self.paused += 1;
        let mut chance = [0_u8; 1];
        // Without chance it works as well, for one machine.
        let _ = rustix::rand::getrandom(&mut chance, rustix::rand::GetRandomFlags::empty());
        let usual = usual.mul_f64(0.5 + f64::from(chance[0]) / 255.0);
        let pause = asked.map_or(usual, |asked| asked.max(usual));
        if pause > self.patience.longest_pause.max(usual) {
            return Err(Exhausted);
        }
        std::thread::sleep(pause);
        Ok(())
    }

    /// There was progress: it is worth as many attempts as at first.
    pub fn begin_again(&mut self) {
        self.paused = 0;
    }
}

/// A body that has to keep coming.
pub(super) struct Steady<R> {
    body: R,
    stretch: Duration,
    stretch_bytes: u64,
    began: Instant,
    received: u64,
}

impl<R: Read> Steady<R> {
    pub fn new(body: R, patience: &Patience) -> Self {
        let (stretch, stretch_bytes) = (patience.stretch, patience.stretch_bytes);
        Self { body, stretch, stretch_bytes, began: Instant::now(), received: 0 }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.received += count as u64;
        let took = self.began.elapsed();
        if count > 0 && took >= self.stretch {
            if self.received < self.stretch_bytes {
                let message =
                    format!("only {} bytes in {:.0} s", self.received, took.as_secs_f64());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            (self.began, self.received) = (Instant::now(), 0);
        }
        Ok(count)
    }
}
