//! `slipway completions`: what the shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Writes the completions for a shell to standard output.
///
/// For bash: `slipway completions bash > /etc/bash_completion.d/slipway`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut command = super::Cli::command();
        clap_complete::generate(self.shell, &mut command, "slipway", &mut std::io::stdout());
        Ok(())
    }
}
