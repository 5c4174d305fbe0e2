//! A failed system call, with what was being done and to which path: the
//! source of most errors here.

use std::io;
use std::path::{Path, PathBuf};

/// A system call failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub struct At {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Adds what was being done to an error.
pub trait During<T> {
    /// `what` completes "cannot … PATH".
    fn during(self, what: &'static str, path: impl AsRef<Path>) -> Result<T, At>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &'static str, path: impl AsRef<Path>) -> Result<T, At> {
        self.map_err(|source| At { what, path: path.as_ref().to_path_buf(), source: source.into() })
    }
}

/// An error and everything below it, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        line.push_str(": ");
        line.push_str(&error.to_string());
        below = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_action_path_and_cause() {
        let error = std::fs::read("/nowhere/at/all")
            .during("read", "/nowhere/at/all")
            .expect_err("missing");
        assert_eq!(
            chain(&error),
            "cannot read /nowhere/at/all: No such file or directory (os error 2)"
        );
    }
}
