//! A thread that ends a program which hangs: each step is announced with the
//! time it may take, and a step that takes longer is ended from here, even if
//! it is stuck in a system call.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    ends: Instant,
}

struct Shared {
    step: Mutex<Step>,
    changed: Condvar,
}

/// Announces steps to the watching thread, which ends with the process.
pub struct Deadlines(Arc<Shared>);

impl Deadlines {
    /// Starts watching; `expired` is called once, with the name of the step
    /// that took too long.
    pub fn watch(
        first: &'static str,
        limit: Duration,
        expired: impl FnOnce(&'static str) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            step: Mutex::new(Step { name: first, ends: Instant::now() + limit }),
            changed: Condvar::new(),
        });
        let watched = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("deadlines".to_owned())
            .spawn(move || expired(wait_for_expiry(&watched)))?;
        Ok(Self(shared))
    }

    /// Begins the next step, which may take `limit`.
    pub fn step(&self, name: &'static str, limit: Duration) {
        let ends = Instant::now() + limit;
        *lock(&self.0.step) = Step { name, ends };
        self.0.changed.notify_one();
    }
}

fn wait_for_expiry(shared: &Shared) -> &'static str {
    let mut step = lock(&shared.step);
    loop {
        let left = step.ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return step.name;
        }
        step = shared.changed.wait_timeout(step, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// A panic elsewhere does not make the step untrue.
fn lock(step: &Mutex<Step>) -> std::sync::MutexGuard<'_, Step> {
    step.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_step_that_hangs_is_named_and_earlier_ones_are_not() {
        let (tell, told) = mpsc::channel();
        let deadlines = Deadlines::watch("first", Duration::from_secs(60), move |step| {
            tell.send(step).expect("the test listens");
        })
        .expect("a thread");
        deadlines.step("second", Duration::from_secs(60));
        deadlines.step("third", Duration::from_millis(5));
        let step = told.recv_timeout(Duration::from_secs(30));
        assert_eq!(step, Ok("third"));
    }
}
