//! `slipway man`: the manual, made from the same text as `--help`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

/// Writes the manual pages into a folder.
///
/// One page for slipway and one for each subcommand, in section 1. Read one
/// with `man -l FILE`.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder; it is made if it does not exist.
    folder: PathBuf,
}

impl Man {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        clap_mangen::generate_to(super::Cli::command(), &self.folder)?;
        Ok(())
    }
}
