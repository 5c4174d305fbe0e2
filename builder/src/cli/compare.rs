//! `slipway compare`: in what two images differ.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use slipway::compare_images::{self, Difference};

use super::Global;

/// Says in what two image folders differ.
///
/// Prints `identical`, or every difference with the layer it is in: documents
/// first, then the fields of the manifest, the payloads (sections of the UKI,
/// files of the root, the hash tree) and the partitions of the disk. Exit code
/// 1 if there are any.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway compare out/images/demo-1.0.0 again/demo-1.0.0
  slipway compare A B --json | jq -r '.differences[].layer' | sort -u")]
pub struct Compare {
    /// An image's folder.
    one: PathBuf,
    /// Another one.
    other: PathBuf,
}

impl Compare {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<()> {
        let differences = compare_images::compare(&self.one, &self.other)?;
        report(&differences, global)?;
        match differences.len() {
            0 => Ok(()),
            count => bail!("{count} differences"),
        }
    }
}

/// Prints what was found.
pub fn report(differences: &[Difference], global: &Global) -> anyhow::Result<()> {
    if global.json {
        let found = serde_json::json!({
            "identical": differences.is_empty(),
            "differences": differences,
        });
        println!("{found}");
    } else if differences.is_empty() {
        println!("identical");
    } else {
        differences.iter().for_each(|difference| println!("{difference}"));
    }
    Ok(())
}
