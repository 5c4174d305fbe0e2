//! `slipway keys`: making what signs bundles.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use slipway::keys;

use super::Global;

/// Makes the keys that sign bundles, and the trust root that names them.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a root key, a targets key and root.json in a folder
    ///
    /// root.json goes to every machine and to keys/ in the repository.
    /// root.key.pem signs the next root.json: keep it offline.
    /// targets.key.pem signs bundles. Neither is ever overwritten.
    New {
        /// The folder; made if it is not there.
        folder: PathBuf,
    },
}

impl Keys {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let Command::New { folder } = &self.command;
        keys::create(folder)?;
        let root = folder.join(keys::ROOT_FILE);
        if global.json {
            println!("{}", serde_json::json!({ "root": root }));
        } else {
            println!("{}", root.display());
        }
        Ok(())
    }
}
