//! What `ci fuzz` starts: one process for each parser, so that a fault ends
//! nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use slipway_fuzz_targets::run::{self, Plan};
use slipway_fuzz_targets::{TARGETS, Target, named};

/// One parser under changed inputs; `cargo run -p ci -- fuzz` starts it.
#[derive(Parser)]
#[command(name = "slipway-fuzz")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print the names of all parsers
    List,
    /// Give a parser changed inputs for a while; prints how many
    Run {
        #[command(flatten)]
        stream: Stream,
        /// How long, in thousandths of a second
        #[arg(long)]
        milliseconds: u64,
        /// File that always holds the position of the input being parsed
        #[arg(long)]
        note: PathBuf,
    },
    /// Write the input whose position was noted
    Make {
        #[command(flatten)]
        stream: Stream,
        /// What an earlier run has noted
        #[arg(long)]
        note: PathBuf,
        /// Where to write it
        #[arg(long)]
        out: PathBuf,
    },
    /// Give a parser one file
    One {
        /// The parser
        target: String,
        /// The file
        input: PathBuf,
    },
}

#[derive(Args)]
struct Stream {
    /// The parser
    target: String,
    /// Folder of inputs to change
    #[arg(long)]
    seeds: Option<PathBuf>,
    /// Number of the run: the same gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Stream {
    fn plan(&self) -> Result<Plan> {
        Plan::new(find(&self.target)?, self.seeds.as_deref(), self.seed)
    }
}

fn find(name: &str) -> Result<Target> {
    named(name).copied().ok_or_else(|| anyhow!("there is no parser {name:?}"))
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().what {
        What::List => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        What::Run { stream, milliseconds, note } => {
            return stream.plan()?.run(Duration::from_millis(milliseconds), &note);
        }
        What::Make { stream, note, out } => {
            let bytes = stream.plan()?.input(run::noted(&note)?);
            fs::write(&out, bytes).with_context(|| format!("cannot write {}", out.display()))?;
        }
        What::One { target, input } => {
            let bytes =
                fs::read(&input).with_context(|| format!("cannot read {}", input.display()))?;
            return run::one(find(&target)?, bytes);
        }
    }
    Ok(ExitCode::SUCCESS)
}
