//! What the user sees while something takes long: bars on a terminal, a line
//! when a step begins and ends elsewhere, JSON lines for machines. Always on
//! standard error; standard output belongs to results.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How long a step goes on in silence where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(20);
/// How often a program is told.
const BETWEEN_EVENTS: Duration = Duration::from_secs(1);
/// How often a bar is drawn anew, so that its time goes on while nothing counts.
const BETWEEN_DRAWINGS: Duration = Duration::from_millis(200);

/// Where progress goes.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Nowhere.
    Quiet,
    /// A line for each step that ends, and now and then for one that is long.
    Lines,
    /// `{"event":"begin"|"progress"|"end"|"note", …}`, one object a line.
    Json,
    /// A bar for each step that runs.
    Bars(MultiProgress),
}

/// What a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown with binary prefixes.
    Bytes,
    /// Pieces, called by this word in the plural.
    Pieces(&'static str),
}

impl Progress {
    /// The kind that fits the command line and standard error.
    #[must_use]
    pub fn new(quiet: bool, json: bool) -> Self {
        match (json, quiet, std::io::stderr().is_terminal()) {
            (_, true, _) => Self::Quiet,
            (true, ..) => Self::Json,
            (_, _, true) => Self::Bars(MultiProgress::new()),
            (_, _, false) => Self::Lines,
        }
    }

    /// Begins a step that will count up to `total`. It ends when dropped.
    #[must_use]
    pub fn step(&self, name: &str, total: u64, unit: Unit) -> Step {
        let bar = match self {
            Self::Bars(bars) => {
                let bar = bars.add(bar(name, total, unit));
                bar.enable_steady_tick(BETWEEN_DRAWINGS);
                Some(bar)
            }
            Self::Json => {
                emit(&serde_json::json!({"event": "begin", "step": name, "total": total}));
                None
            }
            Self::Quiet | Self::Lines => None,
        };
        Step {
            progress: self.clone(),
            name: name.to_owned(),
            unit,
            total,
            done: AtomicU64::new(0),
            began: Instant::now(),
            told: Mutex::new(Instant::now()),
            bar,
            outcome: Mutex::new(None),
        }
    }

    /// Says something worth knowing that is no error.
    pub fn note(&self, text: &str) {
        match self {
            Self::Quiet => {}
            Self::Lines => line(text),
            Self::Json => emit(&serde_json::json!({"event": "note", "text": text})),
            Self::Bars(bars) => bars.suspend(|| line(text)),
        }
    }
}

fn bar(name: &str, total: u64, unit: Unit) -> ProgressBar {
    let counter = match unit {
        Unit::Bytes => "{binary_bytes}/{binary_total_bytes}",
        Unit::Pieces(_) => "{pos}/{len}",
    };
    let bar = ProgressBar::new(total).with_message(name.to_owned());
    let template = format!("{{msg:20}} [{{bar:32}}] {counter} {{elapsed}}");
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Progress is a courtesy: a closed standard error is no reason to fail.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn emit(event: &serde_json::Value) {
    line(&event.to_string());
}

/// A step that runs. Threads may share it.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    name: String,
    unit: Unit,
    total: u64,
    done: AtomicU64,
    began: Instant,
    /// When there was a line of it last.
    told: Mutex<Instant>,
    bar: Option<ProgressBar>,
    outcome: Mutex<Option<String>>,
}

impl Step {
    /// Counts `amount` more.
    pub fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
        match (&self.bar, &self.progress) {
            (Some(bar), _) => bar.inc(amount),
            (None, Progress::Lines) if self.is_time(BETWEEN_LINES) => {
                line(&format!("{}: {}", self.name, self.so_far()));
            }
            (None, Progress::Json) if self.is_time(BETWEEN_EVENTS) => {
                emit(&serde_json::json!({
                    "event": "progress",
                    "step": self.name,
                    "done": self.done.load(Ordering::Relaxed),
                    "total": self.total,
                }));
            }
            _ => {}
        }
    }

    /// Whether something is to be told of a step that goes on.
    fn is_time(&self, between: Duration) -> bool {
        // Whoever finds it locked leaves it to the other.
        let Ok(mut told) = self.told.try_lock() else { return false };
        let is_time = told.elapsed() >= between;
        if is_time {
            *told = Instant::now();
        }
        is_time
    }

    fn so_far(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let shown = match self.unit {
            Unit::Bytes => bytes(done),
            Unit::Pieces(_) => done.to_string(),
        };
        format!("{shown} of {}", self.total())
    }

    /// Takes back `amount`: what an attempt that failed had counted.
    pub fn take_back(&self, amount: u64) {
        self.done.fetch_sub(amount, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.dec(amount);
        }
    }

    /// What is said at the end instead of the count.
    pub fn outcome(&self, text: impl Into<String>) {
        if let Ok(mut outcome) = self.outcome.lock() {
            *outcome = Some(text.into());
        }
    }

    fn summary(&self) -> String {
        let outcome = self.outcome.lock().ok().and_then(|mut outcome| outcome.take());
        outcome.unwrap_or_else(|| match self.done.load(Ordering::Relaxed) < self.total {
            // It ended before its end: something has failed.
            true => format!("stopped at {}", self.so_far()),
            false => self.total(),
        })
    }

    fn total(&self) -> String {
        match self.unit {
            Unit::Bytes => bytes(self.total),
            Unit::Pieces(what) => pieces(self.total, what),
        }
    }
}

/// `1 package`, `2 packages`: `what` is a plural.
fn pieces(count: u64, what: &str) -> String {
    let one = match what.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => what.trim_end_matches('s').to_owned(),
    };
    format!("{count} {}", if count == 1 { &one } else { what })
}

impl Drop for Step {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let summary = self.summary();
        let text = format!("{}: {summary} ({seconds:.1} s)", self.name);
        match &self.progress {
            Progress::Quiet => {}
            Progress::Lines => line(&text),
            Progress::Json => emit(&serde_json::json!({
                "event": "end",
                "step": self.name,
                "done": self.done.load(Ordering::Relaxed),
                "summary": summary,
                "seconds": seconds,
            })),
            Progress::Bars(bars) => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
                bars.suspend(|| line(&text));
            }
        }
    }
}

/// `count` of something for people: `1 file`, `2 files`.
#[must_use]
pub fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// `count` bytes for people: three digits and a binary prefix.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_called_many() {
        assert_eq!(pieces(1, "repositories"), "1 repository");
        assert_eq!(pieces(1, "packages"), "1 package");
        assert_eq!(pieces(0, "packages"), "0 packages");
        assert_eq!(counted(2, "file", "files"), "2 files");
    }

    #[test]
    fn quiet_is_quiet_as_json_too() {
        assert!(matches!(Progress::new(true, true), Progress::Quiet));
        assert!(matches!(Progress::new(false, true), Progress::Json));
    }

    #[test]
    fn a_step_that_did_not_come_to_its_end_says_so() {
        let step = Progress::Quiet.step("compose", 3, Unit::Pieces("packages"));
        step.advance(1);
        assert_eq!(step.summary(), "stopped at 1 of 3 packages");
        step.advance(2);
        assert_eq!(step.summary(), "3 packages");
        step.outcome("all");
        assert_eq!(step.summary(), "all");
    }
}
