//! What a command prints on standard output, and the mistakes of a command line
//! that are only found while it is carried out.

use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

use anyhow::Context;

/// The first thing that kept results from being written.
static FAULT: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes `text` to standard output. Whoever closes a pipe has seen enough;
/// anything else is told by [`written`].
pub fn write(text: fmt::Arguments<'_>) {
    let Err(error) = io::stdout().write_fmt(text) else { return };
    if error.kind() != io::ErrorKind::BrokenPipe {
        note(error);
    }
}

fn note(error: io::Error) {
    if let Ok(mut fault) = FAULT.lock() {
        fault.get_or_insert(error);
    }
}

/// Whether all results could be written.
pub fn written() -> anyhow::Result<()> {
    match io::stdout().flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => note(error),
        _ => {}
    }
    let fault = FAULT.lock().ok().and_then(|mut fault| fault.take());
    fault.map_or(Ok(()), Err).context("cannot write to standard output")
}

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistaken(pub String);
