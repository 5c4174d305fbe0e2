//! `slipway man`: the manual, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use slipway::progress::counted;

use super::Global;

/// Writes the manual pages into a folder.
///
/// One page for slipway and one for each subcommand, in section 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway man man && man -l man/slipway-build.1
  slipway man /usr/local/share/man/man1     # then `man slipway-build` finds it")]
pub struct Man {
    /// The folder; it is made if it is not there.
    folder: PathBuf,
}

impl Man {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let shown = self.folder.display();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {shown}"))?;
        let mut root = super::Cli::command().disable_help_subcommand(true);
        root.build();
        let mut pages = Vec::new();
        self.write(&root, &mut pages)?;
        if global.json {
            println!("{}", serde_json::json!({ "folder": self.folder, "pages": pages }));
        } else {
            println!("{shown}: {}", counted(pages.len(), "page", "pages"));
        }
        Ok(())
    }

    /// The page of `command` and those of its subcommands.
    fn write(&self, command: &clap::Command, pages: &mut Vec<String>) -> anyhow::Result<()> {
        let page = clap_mangen::Man::new(command.clone());
        let name = page.get_filename();
        let path = self.folder.join(&name);
        let mut text = Vec::new();
        page.render(&mut text)?;
        let text = titled(&String::from_utf8(text)?, name.trim_end_matches(".1"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        pages.push(name);
        command.get_subcommands().try_for_each(|command| self.write(command, pages))
    }
}

/// The page with a title line of its own: clap's leaves the date out, and what
/// follows then takes its place.
fn titled(page: &str, name: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(".TH {name} 1 \"\" \"slipway {version}\" \"Slipway\"");
    let lines = page.lines().map(|line| if line.starts_with(".TH ") { &title } else { line });
    lines.collect::<Vec<&str>>().join("\n") + "\n"
}
