//! The command line: which subcommands there are, what is common to them, how
//! errors are shown and which exit code they give. Each subcommand is a
//! struct with a `run` in a module of its own.

mod build;
mod compare;
mod completions;
mod keys;
mod lock;
mod man;
mod rebuild;
mod store;
mod vendor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use slipway::diagnose::Problems;
use slipway::progress::Progress;
use slipway::sandbox;
use slipway::store::{Store, StoreError};
use slipway::unfinished;

/// Something went wrong while doing what was asked.
const FAILED: u8 = 1;
/// What was asked makes no sense; the same code clap uses.
const MISTAKEN: u8 = 2;
/// Nothing went wrong, and what was looked for is different.
const DIFFERENT: u8 = 3;
/// Ctrl-C ended it, as shells have it.
const INTERRUPTED: i32 = 130;

const LONG_ABOUT: &str = "\
Composes signed appliance images from TOML recipes.

A recipe says what an image is made of. `slipway lock` turns it into a lock: \
the exact packages, by SHA-256. `slipway build` makes the image from the lock \
and nothing else. Both keep what they download in a store, which many recipes \
and many processes can share.";

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    failed: the network, a signature, a package, the disk, …
  2    mistaken: the command line or the recipe says something impossible
  3    `slipway lock --check` would change the lock
  130  interrupted by Ctrl-C; nothing half-written is left

Environment:
  SLIPWAY_STORE   folder of downloaded and derived files (see --store)
  SLIPWAY_STORE_MAX   how large the store may be after a build, as 20GiB
  SLIPWAY_TOOLS   folder of slipway's own boot programs (see --tools)
  SLIPWAY_CA_FILE a certificate authority to trust besides the system's (PEM)
  SSL_CERT_FILE   authorities to trust instead of the system's
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY   as usual";

/// Composes signed appliance images from TOML recipes.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand knows.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Results as one JSON object on standard output; progress and errors as
    /// JSON lines on standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress; errors are still shown.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Global {
    /// Where progress goes.
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet, self.json)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Lock(lock::Lock),
    Build(build::Build),
    Keys(keys::Keys),
    Store(store::Store),
    Vendor(vendor::Vendor),
    Rebuild(rebuild::Rebuild),
    Compare(compare::Compare),
    Completions(completions::Completions),
    Man(man::Man),
    /// What slipway starts itself as to run install scripts.
    #[command(name = sandbox::CHILD_COMMAND, hide = true)]
    SandboxChild {
        /// Which of the processes.
        role: String,
    },
}

/// Where the store is.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Folder of everything downloaded or derived, addressed by SHA-256
    /// [default: SLIPWAY_STORE, or slipway/store in the user's cache folder].
    ///
    /// It may be shared by any number of recipes and processes. Deleting it
    /// loses nothing that cannot be fetched again, as long as the
    /// repositories still have it.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store.
    pub fn open(&self) -> Result<Store, StoreError> {
        match &self.store {
            Some(path) => Store::open(path),
            None => Store::open(Store::default_path()?),
        }
    }
}

/// Where slipway's own programs are.
#[derive(Debug, Args)]
pub struct ToolsArgs {
    /// Folder of slipway-boot.efi, slipway-init and slipway-agent, which
    /// become part of every image [default: SLIPWAY_TOOLS, or `tools` beside
    /// the slipway executable].
    #[arg(long, value_name = "DIR")]
    tools: Option<PathBuf>,
}

impl ToolsArgs {
    /// The folder.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        let named = || std::env::var_os("SLIPWAY_TOOLS").filter(|value| !value.is_empty());
        match self.tools.clone().or_else(|| named().map(PathBuf::from)) {
            Some(folder) => Ok(folder),
            None => Ok(std::env::current_exe()?.with_file_name("tools")),
        }
    }
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before anything starts a thread: with one, the system refuses it a user
    // namespace.
    if let Command::SandboxChild { role } = &cli.command {
        return sandbox::child_main(role);
    }
    match run(&cli) {
        Ok(code) => code,
        Err(error) => fail(&error, cli.global.json),
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    ctrlc::set_handler(|| unfinished::end_process(INTERRUPTED))?;
    match &cli.command {
        Command::Lock(command) => return command.run(&cli.global),
        Command::Build(command) => command.run(&cli.global),
        Command::Keys(command) => command.run(),
        Command::Store(command) => command.run(&cli.global),
        Command::Vendor(command) => command.run(&cli.global),
        Command::Rebuild(command) => command.run(&cli.global),
        Command::Compare(command) => command.run(&cli.global),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        // started above
        Command::SandboxChild { .. } => Ok(()),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let mistakes = error.downcast_ref::<Problems>();
    if json {
        eprintln!("{}", as_json(error, mistakes));
    } else {
        match mistakes {
            Some(mistakes) => eprintln!("{mistakes}"),
            None => eprintln!("slipway: {}", chain(error)),
        }
    }
    ExitCode::from(if mistakes.is_some() { MISTAKEN } else { FAILED })
}

/// The error and its causes on one line, unless they have lines of their own.
fn chain(error: &anyhow::Error) -> String {
    let mut shown: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        // A transparent cause would say the same again.
        if shown.last() != Some(&cause) {
            shown.push(cause);
        }
    }
    shown.join(": ")
}

fn as_json(error: &anyhow::Error, mistakes: Option<&Problems>) -> serde_json::Value {
    let mistakes: Option<Vec<_>> = mistakes.map(|mistakes| {
        let one = |mistake: &slipway::diagnose::Problem| {
            serde_json::json!({
                "file": mistake.path(),
                "line": mistake.line(),
                "message": mistake.message(),
                "hint": mistake.advice(),
            })
        };
        mistakes.iter().map(one).collect()
    });
    let message = match mistakes {
        Some(_) => "the recipe has mistakes".to_owned(),
        None => chain(error),
    };
    serde_json::json!({"event": "error", "message": message, "mistakes": mistakes})
}
