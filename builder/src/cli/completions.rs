//! `slipway completions`: what the shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Global;

/// Writes the completions for a shell to standard output.
///
/// They work once they lie where the shell looks for them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway completions bash > /etc/bash_completion.d/slipway
  slipway completions zsh > /usr/local/share/zsh/site-functions/_slipway
  slipway completions fish > ~/.config/fish/completions/slipway.fish")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "slipway", &mut script);
        let script = String::from_utf8(script)?;
        if global.json {
            let shell = self.shell.to_string();
            println!("{}", serde_json::json!({ "shell": shell, "script": script }));
        } else {
            print!("{script}");
        }
        Ok(())
    }
}
