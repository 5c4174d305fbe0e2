//! Running named cases side by side, with a line for each and a count of all.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};

/// An emulated boot or a build keeps about one core busy.
const AT_ONCE: usize = 2;

/// A case: its name, and what it does with the context all cases share.
pub type Case<C> = (&'static str, fn(&C) -> Result<()>);

/// Whether the name of one of `cases` contains `only`.
#[must_use]
pub fn any<C>(cases: &[Case<C>], only: Option<&str>) -> bool {
    cases.iter().any(|(name, _)| only.is_none_or(|only| name.contains(only)))
}

/// Runs those of `cases` whose name contains `only`, two at a time, begun in
/// their order. Fails if one does, or if there was none.
pub fn run<C: Sync>(kind: &str, cases: &[Case<C>], only: Option<&str>, context: &C) -> Result<()> {
    let wanted = |case: &&Case<C>| only.is_none_or(|only| case.0.contains(only));
    let queue = Mutex::new(cases.iter().filter(wanted));
    let next = || queue.lock().ok()?.next().copied();
    let (passed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, case)) = next() {
                    let (began, result) = (Instant::now(), case(context));
                    let took = began.elapsed().as_secs_f64();
                    let count = if result.is_ok() { &passed } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                    match result {
                        Ok(()) => println!("ok      {took:5.0} s  {name}"),
                        Err(error) => println!("FAILED  {took:5.0} s  {name}: {error:#}"),
                    }
                }
            });
        }
    });
    let (passed, failed) = (passed.into_inner(), failed.into_inner());
    println!("{kind}: {passed} passed, {failed} failed");
    if failed > 0 || passed == 0 {
        bail!("{failed} of the {kind} failed");
    }
    Ok(())
}
