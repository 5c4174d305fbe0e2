//! `slipway compare`: in what two images differ.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use slipway::compare_images::{self, Difference};
use slipway::progress::counted;

use super::{DIFFERENT, Global};

/// So many differences of one layer are shown; the rest is counted.
const SHOWN: usize = 20;

/// Says in what two image folders differ.
///
/// Prints `identical`, or the differences with the layer they are in: documents
/// first, then the fields of the manifest, the payloads (sections of the UKI,
/// files of the root, the hash tree) and the partitions of the disk. Of each
/// layer up to 20 are shown and the rest is counted; `--json` has them all.
/// Of a text, the first line that differs is shown.
///
/// Exit code 0 if they are identical, 3 if they differ, 1 if that cannot be
/// told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slipway compare out/images/demo-1.0.0 again/demo-1.0.0
  slipway compare A B --json | jq -r '.differences[].layer' | sort -u")]
pub struct Compare {
    /// An image's folder: what the output calls `here`.
    one: PathBuf,
    /// Another one: `there`.
    other: PathBuf,
}

impl Compare {
    /// Does it.
    pub fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let differences = compare_images::compare(&self.one, &self.other)?;
        Ok(report(&differences, global))
    }
}

/// Prints what was found, and gives the exit code that says the same.
pub fn report(differences: &[Difference], global: &Global) -> ExitCode {
    if global.json {
        let found = serde_json::json!({
            "identical": differences.is_empty(),
            "count": differences.len(),
            "differences": differences,
        });
        println!("{found}");
    } else {
        print!("{}", text(differences));
    }
    match differences.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DIFFERENT),
    }
}

/// The differences in their order, not more than a person reads of any layer,
/// and how many there are.
fn text(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "identical\n".to_owned();
    }
    let mut of_layer: BTreeMap<&str, usize> = BTreeMap::new();
    for difference in differences {
        *of_layer.entry(&difference.layer).or_default() += 1;
    }
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut text = String::new();
    for difference in differences {
        let number = met.entry(&difference.layer).or_default();
        *number += 1;
        if *number <= SHOWN {
            text += &format!("{difference}\n");
        } else if *number == of_layer[difference.layer.as_str()] {
            let more = counted(*number - SHOWN, "more difference", "more differences");
            text += &format!("{}: and {more}\n", difference.layer);
        }
    }
    text + &counted(differences.len(), "difference", "differences") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: usize, layer: &str) -> Vec<Difference> {
        let one = |at| Difference { layer: layer.to_owned(), what: format!("{at}") };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        assert_eq!(text(&[]), "identical\n");
        assert_eq!(text(&found(1, "root")), "root: 0\n1 difference\n");
        let all = [found(25, "root"), found(21, "uki"), found(2, "data")].concat();
        let text = text(&all);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 20 + 1 + 20 + 1 + 2 + 1);
        assert_eq!(lines[20], "root: and 5 more differences");
        assert_eq!(lines[41], "uki: and 1 more difference");
        assert_eq!(lines[44], "48 differences");
    }
}
