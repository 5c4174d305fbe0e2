//! `ci test`: every check there is, the quick ones first, each with its time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::scale;
use crate::images::Workshop;
use crate::{
    bad_input, cases, demo, format_boots, fuzz, image_judges, judge, mariner, proof, reproducible,
    setup, solve_judge, synthetic, tools, tree_judge, tuf_judge,
};

/// How long all parsers together are given changed inputs.
const FUZZING: Duration = Duration::from_secs(40);

/// In the selection that everything for this machine is built in, so that no
/// dependency is built twice.
const UNIT_TESTS: [&str; 5] =
    ["test", "--quiet", "--workspace", "--features", "slipway-formats/bundle"];

/// What to run.
#[derive(Default)]
pub struct Selection {
    /// only the stages whose name contains this
    pub only: Option<String>,
    /// only the cases of the proof whose name contains this
    pub boots: Option<String>,
}

impl Selection {
    fn has(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Runs a stage, if it is wanted.
    fn stage(&self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.has(name) {
            return Ok(());
        }
        println!("== {name}");
        let began = Instant::now();
        work().with_context(|| format!("{name} failed"))?;
        println!("== {name}: {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Runs the checks in `top`; the first that fails ends it.
pub fn run(top: &Path, selection: &Selection) -> Result<()> {
    let started = Instant::now();
    setup::set_up()?;
    if selection.boots.is_none() {
        of_the_code(top, selection)?;
    }
    let workshop = demo::workshop(top)?;
    if selection.boots.is_none() {
        of_what_is_made(&workshop, selection)?;
    }
    let only = selection.boots.as_deref();
    let formats = cases::any(&format_boots::all_cases(), only);
    if formats {
        selection.stage("every format boots", || format_boots::run(&workshop, only))?;
    }
    if !formats || only.is_none_or(proof::has) {
        selection.stage("boots", || proof::run(&workshop, only))?;
    }
    println!("all checks: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn of_the_code(top: &Path, selection: &Selection) -> Result<()> {
    selection.stage("formatting", || cargo(top, &["fmt", "--all", "--check"]))?;
    selection.stage("lints", || lints(top))?;
    selection.stage("building", || tools::build(top).map(drop))?;
    let fuzzing = fuzz::Selection { time: FUZZING, target: None, seed: 1 };
    selection.stage("changed inputs", || fuzz::run(top, &fuzzing))?;
    selection.stage("unit tests", || succeed(&mut unit_tests(top)))
}

fn of_what_is_made(workshop: &Workshop, selection: &Selection) -> Result<()> {
    let repository = workshop.top.join("out/repository").canonicalize()?;
    selection.stage("rpm and dnf judge the repository", || judge::judge_demo(&repository))?;
    selection.stage("dnf judges what is chosen", || {
        solve_judge::judge(&workshop.programs.slipway, &repository, solve_judge::SEEDS, None)
    })?;
    selection.stage("the trees are those that dnf and rpm make", || {
        comparisons(workshop, &repository)
    })?;
    selection.stage("the image is the tree dnf makes", || tree_judge::judge(workshop))?;
    selection.stage("rpm judges the package database", || {
        package_databases(&workshop.top, &repository)
    })?;
    selection.stage("a real CBL-Mariner image judges", || {
        mariner::judge(&workshop.top, &workshop.programs.slipway, &mariner::data(&workshop.top))
    })?;
    selection
        .stage("others judge the image", || image_judges::judge(workshop, &workshop.demo()?))?;
    selection.stage("the same bits anywhere", || reproducible::run(workshop))?;
    selection.stage("many files in little memory", || scale::judge(workshop))?;
    selection.stage("python-tuf judges the trust root", || tuf_judge::judge(workshop))?;
    selection.stage("bad input", || bad_input::run(workshop))
}

/// Composes the whole repository and the synthetic packages, and compares the
/// trees path by path with what dnf and rpm make, which need root for owners.
fn comparisons(workshop: &Workshop, repository: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let synthetic = scratch.path().join("synthetic");
    synthetic::write(&synthetic)?;
    let mut command = unit_tests(&workshop.top);
    command.args(["--lib", "--", "--ignored", "compose::"]);
    command.env("SLIPWAY_DEMO_REPOSITORY", repository);
    command.env("SLIPWAY_SYNTHETIC_REPOSITORY", synthetic);
    succeed(command.env("SLIPWAY_PROGRAM", &workshop.programs.slipway))
}

/// Compares our package database with rpm's, row by row: of the demo, and of
/// packages that no distribution has together.
fn package_databases(top: &Path, repository: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let synthetic = scratch.path().join("synthetic");
    synthetic::write(&synthetic)?;
    for packages in [repository, &synthetic] {
        let mut command = unit_tests(top);
        command.args(["--lib", "--", "--ignored", "rpmdb::repository_tests"]);
        succeed(command.env("SLIPWAY_DEMO_REPOSITORY", packages))?;
    }
    Ok(())
}

fn lints(top: &Path) -> Result<()> {
    let all = ["clippy", "--release", "--workspace", "--all-targets", "--quiet"];
    cargo(
        top,
        &[&all[..], &["--features", "slipway-formats/bundle", "--", "-D", "warnings"]].concat(),
    )
}

fn cargo(top: &Path, arguments: &[&str]) -> Result<()> {
    succeed(&mut cargo_command(top, arguments))
}

fn cargo_command(top: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(top);
    command
}

/// The tests, built as this program was. A judge that is missing fails them.
pub(crate) fn unit_tests(top: &Path) -> Command {
    let mut command = cargo_command(top, &UNIT_TESTS);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.env(skip::VARIABLE, "1");
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    if !command.status()?.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
