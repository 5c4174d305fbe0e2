//! What the user sees while something takes long: bars on a terminal, a line
//! when a step begins and ends elsewhere, JSON lines for machines. Always on
//! standard error; standard output belongs to results.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Nowhere.
    Quiet,
    /// A line for each step that ends.
    Lines,
    /// `{"event":"begin"|"end"|"note", …}`, one object a line.
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
            (true, ..) => Self::Json,
            (_, true, _) => Self::Quiet,
            (_, _, true) => Self::Bars(MultiProgress::new()),
            (_, _, false) => Self::Lines,
        }
    }

    /// Begins a step that will count up to `total`. It ends when dropped.
    #[must_use]
    pub fn step(&self, name: &str, total: u64, unit: Unit) -> Step {
        let bar = match self {
            Self::Bars(bars) => Some(bars.add(bar(name, total, unit))),
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
            done: AtomicU64::new(0),
            began: Instant::now(),
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
    let template = format!("{{msg:20}} [{{bar:32}}] {counter}");
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
    done: AtomicU64,
    began: Instant,
    bar: Option<ProgressBar>,
    outcome: Mutex<Option<String>>,
}

impl Step {
    /// Counts `amount` more.
    pub fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(amount);
        }
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
        let done = self.done.load(Ordering::Relaxed);
        outcome.unwrap_or_else(|| match self.unit {
            Unit::Bytes => bytes(done),
            Unit::Pieces(what) => format!("{done} {what}"),
        })
    }
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

/// `count` bytes for people: three digits and a binary prefix.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
