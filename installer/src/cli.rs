//! The command line: reads arguments, calls the library, prints.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use formats::trust::{MAX_ROOT_BYTES, Root};
use serde::Serialize;

use crate::apply::apply;
use crate::bundle::{self, VerifiedBundle};
use crate::device::{Access, Disk};
use crate::machine::Machine;
use crate::plan::{InstallPlan, Policy, plan};
use crate::progress::Progress;
use crate::status::Report;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  refused or failed, and the slot in use is untouched
  2  wrong arguments

Trust starts from the --root you give: the root.json that came with the machine or that you \
have compared yourself, never the copy inside the bundle or on the stick it came on.";

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Mistaken(&'static str);

/// Exit code of wrong arguments; the same clap uses.
const MISTAKEN: u8 = 2;

/// Verifies an update bundle and slots it into the inactive partitions of a
/// stopped machine's disk.
#[derive(Parser)]
#[command(name = "slipway-installer", version, after_help = AFTER_HELP)]
struct Cli {
    /// Print one JSON object instead of text, an error too; no progress
    #[arg(long, global = true)]
    json: bool,
    /// Show no progress; errors are still shown
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Trust root (root.json) that bundles are checked against; verify, plan and
    /// install need it
    #[arg(long, global = true, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a bundle: its signature, its trust chain and every byte of its data
    Verify {
        /// The bundle
        bundle: PathBuf,
    },
    /// Show what an install would do, without writing anything
    Plan {
        #[command(flatten)]
        target: Target,
    },
    /// Install a bundle into the inactive slot; the machine tries it at its next boot
    Install {
        #[command(flatten)]
        target: Target,
    },
    /// Show what a disk's slots hold and which boots next
    Status {
        #[command(flatten)]
        disk: DiskArg,
    },
    /// Boot the other slot from now on; it must hold a release that was committed
    Rollback {
        #[command(flatten)]
        disk: DiskArg,
        /// Accept a release below the machine's epoch floor
        #[arg(long)]
        allow_downgrade: bool,
    },
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder, one for each command
    Man {
        /// The folder; it is made if it is not there
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct DiskArg {
    /// The disk: a raw image file of a stopped VM, or a block device
    #[arg(long, value_name = "DISK")]
    disk: PathBuf,
}

#[derive(clap::Args)]
struct Target {
    /// The bundle
    bundle: PathBuf,
    #[command(flatten)]
    disk: DiskArg,
    /// Accept a release below the machine's epoch floor
    #[arg(long)]
    allow_downgrade: bool,
}

/// Runs the command of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let json = cli.json;
    let Err(error) = run(cli) else { return ExitCode::SUCCESS };
    if json {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        // What cannot be written cannot be reported either.
        let _ = print_json(&serde_json::json!({ "error": causes.join(": "), "causes": causes }));
    } else {
        eprintln!("slipway-installer: {error:#}");
    }
    if error.is::<Mistaken>() { ExitCode::from(MISTAKEN) } else { ExitCode::FAILURE }
}

/// A command line that is not understood, or asks for help.
fn misread(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let message = error.render().to_string();
        let message = message.trim().trim_start_matches("error: ");
        let _ = print_json(&serde_json::json!({ "error": message, "causes": [message] }));
    } else {
        // A closed pipe is the reader's decision.
        let _ = error.print();
    }
    if error.use_stderr() { ExitCode::from(MISTAKEN) } else { ExitCode::SUCCESS }
}

fn run(cli: Cli) -> Result<()> {
    let (json, root) = (cli.json, cli.root.as_deref());
    match cli.command {
        Command::Verify { bundle } => verify(&bundle, root, json),
        Command::Plan { target } => show_plan(&target, root, json),
        Command::Install { target } => install(&target, root, json, cli.quiet),
        Command::Status { disk } => status(&disk.disk, json),
        Command::Rollback { disk, allow_downgrade } => rollback(&disk.disk, allow_downgrade, json),
        Command::Completions { shell } => completions(shell, json),
        Command::Man { folder } => manual(&folder, json),
    }
}

fn completions(shell: clap_complete::Shell, json: bool) -> Result<()> {
    let script = completion_script(shell)?;
    if json {
        let shell = shell.to_string();
        return print_json(&serde_json::json!({ "shell": shell, "script": script }));
    }
    print(&script)
}

fn completion_script(shell: clap_complete::Shell) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "slipway-installer", &mut script);
    let script = String::from_utf8(script)?;
    // For bash, clap_complete takes the hyphen for a subcommand in half of the
    // places, and nothing is completed behind a command then.
    Ok(script.replace("slipway__subcmd__installer", "slipway__installer"))
}

fn manual(folder: &Path, json: bool) -> Result<()> {
    let shown = folder.display();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {shown}"))?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let pages = std::iter::once(&root).chain(root.get_subcommands());
    let pages = pages.map(|command| manual_page(command, folder)).collect::<Result<Vec<_>>>()?;
    if json {
        return print_json(&serde_json::json!({ "folder": folder, "pages": pages }));
    }
    print(&format!("{shown}: {} pages\n", pages.len()))
}

/// Writes a page, and returns its name.
fn manual_page(command: &clap::Command, folder: &Path) -> Result<String> {
    let page = clap_mangen::Man::new(command.clone());
    let name = page.get_filename();
    let mut text = Vec::new();
    page.render(&mut text)?;
    // clap's title leaves the date out, and what follows then takes its place.
    let title = format!(
        ".TH {} 1 \"\" \"slipway-installer {}\" \"Slipway\"",
        name.trim_end_matches(".1"),
        env!("CARGO_PKG_VERSION")
    );
    let text = String::from_utf8(text)?;
    let lines = text.lines().map(|line| if line.starts_with(".TH ") { &title } else { line });
    let text = lines.collect::<Vec<&str>>().join("\n") + "\n";
    let path = folder.join(&name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(name)
}

fn trusted_root(path: Option<&Path>) -> Result<Root> {
    let path = path.ok_or(Mistaken(
        "name the trust root that bundles are checked against: --root FILE (the root.json that \
         came with the machine)",
    ))?;
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    anyhow::ensure!(size <= MAX_ROOT_BYTES as u64, "{shown} is too large for a trust root");
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    Root::first(&bytes).with_context(|| format!("cannot use {shown}"))
}

fn open_bundle(path: &Path, root: Option<&Path>) -> Result<VerifiedBundle> {
    bundle::verify(path, trusted_root(root)?).with_context(|| bad_bundle(path))
}

fn bad_bundle(path: &Path) -> String {
    format!("cannot use the bundle {}", path.display())
}

fn open_disk(path: &Path, access: Access) -> Result<(Disk, Machine)> {
    let mut disk = Disk::open(path, access)?;
    let machine = Machine::read(&mut disk)
        .with_context(|| format!("cannot use the disk {}", path.display()))?;
    Ok((disk, machine))
}

fn print_json(value: &impl Serialize) -> Result<()> {
    print(&(serde_json::to_string(value)? + "\n"))
}

/// A closed pipe is the reader's decision, not a failure of ours.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

fn verify(path: &Path, root: Option<&Path>, json: bool) -> Result<()> {
    let bundle = open_bundle(path, root)?;
    bundle
        .for_each_chunk(|_, _| true, |_, _, _, _| Ok::<_, anyhow::Error>(()))
        .with_context(|| bad_bundle(path))?;
    let manifest = &bundle.manifest;
    if json {
        return print_json(&serde_json::json!({
            "verified": true,
            "manifest_sha256": bundle.manifest_sha256,
            "root_version": bundle.root_version,
            "manifest": manifest,
        }));
    }
    print(&format!(
        "{} {} for {} ({}), epoch {}: all it installs is as signed under trust root {}\n",
        manifest.name,
        manifest.version,
        manifest.product,
        manifest.arch,
        manifest.epoch,
        bundle.root_version
    ))
}

fn make_plan(
    target: &Target,
    root: Option<&Path>,
    access: Access,
) -> Result<(Disk, Machine, InstallPlan)> {
    let bundle = open_bundle(&target.bundle, root)?;
    let (mut disk, machine) = open_disk(&target.disk.disk, access)?;
    let policy = Policy { allow_downgrade: target.allow_downgrade };
    let plan = plan(bundle, &machine, &mut disk, policy)?;
    Ok((disk, machine, plan))
}

fn show_plan(target: &Target, root: Option<&Path>, json: bool) -> Result<()> {
    let (_, machine, plan) = make_plan(target, root, Access::Read)?;
    print_summary(&plan, &machine, json, "would go")
}

fn print_summary(plan: &InstallPlan, machine: &Machine, json: bool, goes: &str) -> Result<()> {
    let summary = plan.summary(machine);
    if json {
        return print_json(&summary);
    }
    print(&format!(
        "{} {} {goes} into slot {}, in place of {}: {} of {} bytes to write\n",
        summary.name,
        summary.version,
        summary.slot,
        summary.replaces.as_deref().unwrap_or("nothing"),
        summary.write_bytes,
        summary.total_bytes
    ))
}

fn install(target: &Target, root: Option<&Path>, json: bool, quiet: bool) -> Result<()> {
    let (mut disk, mut machine, plan) = make_plan(target, root, Access::Write)?;
    if !json {
        print_summary(&plan, &machine, false, "goes")?;
    }
    let summary = plan.summary(&machine);
    apply(&plan, &mut machine, &mut disk, &mut Progress::new(json || quiet)).with_context(
        || {
            let (bundle, disk) = (target.bundle.display(), target.disk.disk.display());
            format!("cannot install {bundle} on {disk}; the slot in use is untouched")
        },
    )?;
    if json {
        return print_json(&summary);
    }
    print(&format!("installed: slot {} is tried at the next boot\n", plan.slot))
}

fn status(path: &Path, json: bool) -> Result<()> {
    let (_, machine) = open_disk(path, Access::Read)?;
    let report = Report::of(&machine);
    if json {
        return print_json(&report);
    }
    print(&report.text())
}

fn rollback(path: &Path, allow_downgrade: bool, json: bool) -> Result<()> {
    let (mut disk, mut machine) = open_disk(path, Access::Write)?;
    let slot = machine.state.roll_back(allow_downgrade).context("the roll-back is refused")?;
    machine.store(&mut disk)?;
    let report = Report::of(&machine);
    if json {
        return print_json(&report);
    }
    print(&format!("slot {slot} boots from now on\n{}", report.text()))
}
