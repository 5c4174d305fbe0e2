//! The command line: which subcommands there are, what is common to them, how
//! errors are shown and which exit code they give. Each subcommand is a
//! struct with a `run` in a module of its own.

/// As the standard's, but a reader that has seen enough is no reason to panic.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::results::write(format_args!($($text)*)) };
}
macro_rules! println {
    ($($text:tt)*) => { print!("{}\n", format_args!($($text)*)) };
}

mod advice;
mod build;
mod compare;
mod completions;
mod keys;
mod lock;
mod man;
mod rebuild;
mod results;
mod schema;
mod store;
mod vendor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use slipway::diagnose::Problems;
use slipway::progress::Progress;
use slipway::sandbox;
use slipway::solve::SolveError;
use slipway::store::{Store, StoreError};
use slipway::unfinished;

use results::Mistaken;

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
  3    different: `lock --check` would change the lock, `compare` has found
       differences, `rebuild --verify` has not come to the same
  130  interrupted by Ctrl-C; nothing half-written is left

Environment:
  SLIPWAY_STORE      folder of downloaded and derived files (see --store)
  SLIPWAY_STORE_MAX  how large the store may be after a build, as 20GiB
  SLIPWAY_TOOLS      folder of slipway's own boot programs (see --tools)
  SLIPWAY_CA_FILE    a certificate authority to trust besides the system's (PEM)
  SSL_CERT_FILE      authorities to trust instead of the system's
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY   as usual";

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
    Schema(schema::Schema),
    Completions(completions::Completions),
    Man(man::Man),
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

    /// Opens the store; a folder that is named and not there is no new one, but
    /// a name that was mistyped.
    pub fn open_existing(&self) -> anyhow::Result<Store> {
        if let Some(path) = self.store.as_ref().filter(|path| !path.is_dir()) {
            anyhow::bail!("there is no store {}", path.display());
        }
        Ok(self.open()?)
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
    if let Some(role) = sandbox_role() {
        return sandbox::child_main(&role);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let done = run(&cli).and_then(|code| results::written().map(|()| code));
    done.unwrap_or_else(|error| fail(&error, cli.global.json))
}

/// Which process of the sandbox this is, if slipway has started itself as one.
/// Asked before anything starts a thread: with one, the system refuses it a
/// user namespace. No subcommand of the others, so that no list has it.
fn sandbox_role() -> Option<String> {
    let mut arguments = std::env::args_os().skip(1);
    let is_child = arguments.next().is_some_and(|first| first == sandbox::CHILD_COMMAND);
    is_child.then(|| arguments.next().unwrap_or_default().to_string_lossy().into_owned())
}

/// A command line that is not understood, or asks for help.
fn misread(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        let message = error.render().to_string();
        let message = message.trim().trim_start_matches("error: ");
        eprintln!("{}", serde_json::json!({"event": "error", "message": message}));
    } else {
        // A closed pipe is the reader's decision.
        let _ = error.print();
    }
    if error.use_stderr() { ExitCode::from(MISTAKEN) } else { ExitCode::SUCCESS }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    ctrlc::set_handler(|| unfinished::end_process(INTERRUPTED))?;
    match &cli.command {
        Command::Lock(command) => return command.run(&cli.global),
        Command::Build(command) => command.run(&cli.global),
        Command::Keys(command) => command.run(&cli.global),
        Command::Store(command) => command.run(&cli.global),
        Command::Vendor(command) => command.run(&cli.global),
        Command::Rebuild(command) => return command.run(&cli.global),
        Command::Compare(command) => return command.run(&cli.global),
        Command::Schema(_) => schema::Schema::run(),
        Command::Completions(command) => command.run(&cli.global),
        Command::Man(command) => command.run(&cli.global),
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
    let mistaken = mistakes.is_some() || error.is::<Mistaken>();
    ExitCode::from(if mistaken { MISTAKEN } else { FAILED })
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
    let unsolvable = match error.downcast_ref::<SolveError>() {
        Some(SolveError::Unsolvable(why)) => Some(why),
        _ => None,
    };
    serde_json::json!({
        "event": "error",
        "message": message,
        "mistakes": mistakes,
        "unsolvable": unsolvable,
    })
}
