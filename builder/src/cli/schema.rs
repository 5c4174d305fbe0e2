//! `slipway schema`: what an editor needs to check a recipe while it is written.

use clap::Args;
use slipway::recipe;

/// Writes the JSON Schema of recipes to standard output.
///
/// Editors that know TOML show by it which keys there are and what is wrong.
/// Name it in the first line of a recipe: `#:schema ./recipe.schema.json`.
/// `slipway` itself does not need it, and finds more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway schema > recipes/recipe.schema.json")]
pub struct Schema {}

impl Schema {
    /// Does it.
    pub fn run() -> anyhow::Result<()> {
        print!("{}", recipe::SCHEMA);
        Ok(())
    }
}
