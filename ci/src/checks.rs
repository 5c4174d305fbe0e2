//! `ci test`: every check there is, the quick ones first, each with its time.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{bad_input, demo, image_judges, judge, proof, setup, solve_judge, tools, tuf_judge};

/// What to run.
#[derive(Default)]
pub struct Selection {
    /// only the cases of the proof whose name contains this
    pub boots: Option<String>,
}

/// Runs the checks in `top`; the first that fails ends it.
pub fn run(top: &Path, selection: &Selection) -> Result<()> {
    let started = Instant::now();
    setup::set_up()?;
    if selection.boots.is_none() {
        stage("formatting", || cargo(top, &["fmt", "--all", "--check"]))?;
        stage("lints", || lints(top))?;
        stage("building", || tools::build(top).map(drop))?;
        stage("unit tests", || {
            let test = ["test", "--release", "--quiet", "--workspace"];
            cargo(top, &[&test[..], &["--features", "slipway-formats/bundle"]].concat())
        })?;
    }
    let workshop = demo::workshop(top)?;
    if selection.boots.is_none() {
        let repository = top.join("out/repository").canonicalize()?;
        stage("rpm and dnf judge the repository", || judge::judge_demo(&repository))?;
        let slipway = &workshop.programs.slipway;
        stage("dnf judges what is chosen", || {
            solve_judge::judge(slipway, &repository, solve_judge::SEEDS)
        })?;
        stage("the tree is the one dnf makes", || dnf_comparison(top, &repository))?;
        stage("others judge the image", || image_judges::judge(&workshop, &workshop.demo()?))?;
        stage("python-tuf judges the trust root", || tuf_judge::judge(&workshop))?;
        stage("bad input", || bad_input::run(&workshop))?;
    }
    stage("boots", || proof::run(&workshop, selection.boots.as_deref()))?;
    println!("all checks: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Composes the whole repository and compares the tree with dnf's, path by
/// path. dnf needs root for owners.
fn dnf_comparison(top: &Path, repository: &Path) -> Result<()> {
    let test = ["test", "--release", "--quiet", "-p", "slipway", "--lib", "--", "--ignored"];
    let mut command = cargo_command(top, &[&test[..], &["repository_tests"]].concat());
    succeed(command.env("SLIPWAY_DEMO_REPOSITORY", repository))
}

fn stage(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let began = Instant::now();
    work().with_context(|| format!("{name} failed"))?;
    println!("== {name}: {:.0} s", began.elapsed().as_secs_f64());
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

fn succeed(command: &mut Command) -> Result<()> {
    if !command.status()?.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
