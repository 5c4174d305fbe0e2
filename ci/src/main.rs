//! The command line of the project's chores; the work is in the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use ci::{cache, checks, judge, setup, solve_judge, synthetic};
use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "ci", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Do the whole main job once: build two releases, boot the first, install
    /// the second, boot that
    Demo,
    /// Run every check
    Test {
        /// Only the boots whose name contains this
        #[arg(long, value_name = "TEXT")]
        boots: Option<String>,
        /// Only the stages whose name contains this
        #[arg(long, value_name = "TEXT", conflicts_with = "boots")]
        only: Option<String>,
    },
    /// Give every parser of bytes from outside changed inputs, and keep what
    /// makes one fail
    Fuzz {
        /// How long, for all parsers together
        #[arg(long, default_value_t = 40)]
        seconds: u64,
        /// Only this parser
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Number of the run: the same gives the same inputs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Give the parser this file instead, as it is
        #[arg(long, value_name = "FILE", requires = "target")]
        input: Option<PathBuf>,
    },
    /// Measure, for the figures in the documentation
    Bench {
        #[command(subcommand)]
        what: Measured,
    },
    /// Compare what `slipway lock` chooses with what dnf would install
    JudgeSolver {
        /// How many generated repositories
        #[arg(long, default_value_t = solve_judge::SEEDS)]
        seeds: u64,
        /// Only generated repositories, from this one on
        #[arg(long, value_name = "SEED")]
        first: Option<u64>,
        /// The slipway to judge, instead of building one
        #[arg(long, value_name = "PATH")]
        slipway: Option<PathBuf>,
        /// Keep repositories and questions in this folder, which is new
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
    /// Install what the project needs on Debian 12 (needs root when something is missing)
    Setup,
    /// Make the demo repository, or find it in the cache; prints its path last
    Repository {
        /// Make DIR a symbolic link to the repository
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Have rpm and dnf judge it (needs root)
        #[arg(long)]
        judge: bool,
        /// Look for newer Debian packages first
        #[arg(long)]
        refresh: bool,
    },
    /// Judge the builder by the packages of a real CBL-Mariner image (needs root)
    Mariner {
        /// Folder of its package database
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// The builder; built first if not given
        #[arg(long, value_name = "FILE")]
        slipway: Option<PathBuf>,
    },
    /// Make small RPMs for unit tests, good and bad, as signed repositories in DIR
    Synthetic {
        /// Where to write; what an earlier run wrote there is replaced
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Subcommand)]
enum Measured {
    /// Time, CPU and memory from packages to a disk, beside dnf's chain, mkosi,
    /// rpmoci and rpm (needs root); written to docs/explanation/speed.md
    Compose {
        /// How often each is run
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// Time and memory for images of 0.35 to 5 GB (needs 25 GB of disk); written
    /// to docs/explanation/scale.md
    Scale,
    /// Time of choosing packages, beside dnf; written to
    /// docs/explanation/speed.md
    Lock {
        /// How often each is run
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// The slipway to measure, instead of building one
        #[arg(long, value_name = "PATH")]
        slipway: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Demo => ci::demo::run(&top()?),
        Chore::Test { only, boots } => checks::run(&top()?, &checks::Selection { only, boots }),
        Chore::Bench { what: Measured::Compose { runs } } => {
            ci::bench::compose::run(&ci::demo::workshop(&top()?)?, runs)
        }
        Chore::Bench { what: Measured::Scale } => {
            ci::bench::scale::run(&ci::demo::workshop(&top()?)?)
        }
        Chore::Fuzz { target: Some(target), input: Some(input), .. } => {
            ci::fuzz::one(&top()?, &target, &input)
        }
        Chore::Fuzz { seconds, target, seed, .. } => {
            let time = std::time::Duration::from_secs(seconds);
            ci::fuzz::run(&top()?, &ci::fuzz::Selection { time, target, seed })
        }
        Chore::Bench { what: Measured::Lock { runs, slipway } } => {
            let (slipway, demo) = (built(slipway)?, ci::repository::demo_repository(false)?);
            let report = top()?.join("docs/explanation/speed.md");
            ci::bench_lock::lock(&slipway, &demo.path, runs, &report)
        }
        Chore::JudgeSolver { seeds, first, slipway, keep } => {
            let slipway = built(slipway)?;
            match first {
                Some(first) => {
                    solve_judge::judge_generated(&slipway, first..first + seeds, keep.as_deref())
                }
                None => {
                    let demo = ci::repository::demo_repository(false)?;
                    solve_judge::judge(&slipway, &demo.path, seeds, keep.as_deref())
                }
            }
        }
        Chore::Setup => setup::set_up(),
        Chore::Synthetic { out } => synthetic::write(&out),
        Chore::Mariner { data, slipway } => mariner(data, slipway),
        Chore::Repository { out, judge, refresh } => repository(out, judge, refresh),
    }
}

/// Top of the project: the folder this crate's folder is in.
fn top() -> Result<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    top.canonicalize().context("the project has moved since this program was built")
}

/// The program to use: the one that is named, or one built now.
fn built(slipway: Option<PathBuf>) -> Result<PathBuf> {
    match slipway {
        Some(path) => Ok(path),
        None => Ok(ci::tools::build(&top()?)?.slipway),
    }
}

fn mariner(data: Option<PathBuf>, slipway: Option<PathBuf>) -> Result<()> {
    let top = top()?;
    let data = data.unwrap_or_else(|| ci::mariner::data(&top));
    let slipway = match slipway {
        Some(slipway) => slipway,
        None => ci::tools::build(&top)?.slipway,
    };
    ci::mariner::judge(&top, &slipway, &data)
}

fn repository(out: Option<PathBuf>, judge: bool, refresh: bool) -> Result<()> {
    let repository = ci::repository::demo_repository(refresh)?;
    eprintln!("{}", repository.note);
    if judge {
        judge::judge_demo(&repository.path)?;
    }
    if let Some(link) = out {
        cache::point(&link, &repository.path)?;
    }
    println!("{}", repository.path.display());
    Ok(())
}
