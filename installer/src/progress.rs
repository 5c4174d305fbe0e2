//! How long work shows itself: a bar on a terminal, one line a phase elsewhere,
//! nothing with `--json` or `--quiet`.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress of an install, on standard error.
pub struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    /// None if `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let terminal = stderr().is_terminal();
        let bar = if quiet || !terminal { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) =
            ProgressStyle::with_template("{msg:>12} [{bar:40}] {bytes}/{total_bytes} {eta}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, lines: !quiet && !terminal }
    }

    /// Begins a phase of `len_bytes`.
    pub fn phase(&mut self, name: &'static str, len_bytes: u64) {
        self.bar.set_length(len_bytes);
        self.bar.set_position(0);
        self.bar.set_message(name);
        if self.lines {
            eprintln!("{name} {:.1} MiB", len_bytes as f64 / f64::from(1 << 20));
        }
    }

    /// `len_bytes` more are done.
    pub fn advance(&mut self, len_bytes: u64) {
        self.bar.inc(len_bytes);
    }

    /// Everything is done.
    pub fn done(&mut self) {
        self.bar.finish_and_clear();
    }
}
