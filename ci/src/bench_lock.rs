//! `ci bench lock`: how long choosing packages takes, beside dnf's own loading
//! of metadata and solving in the same run: for the demo repository, and for
//! 300 and 20,000 generated packages. Says how long things took; no check depends
//! on it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::metadata::PUBLIC_KEY_NAME;
use crate::pgp_key::SigningKey;
use crate::process::output;
use crate::solve_judge::ANSWERS;
use crate::solve_judge::listing::{self, Listing};
use crate::solve_judge::random::Dice;

/// As many as an appliance's own repository has, and a large distribution's main
/// one.
const GENERATED: [usize; 2] = [300, 20_000];
/// How many packages are asked for of those.
const ASKED: usize = 40;
/// The section of `docs/explanation/speed.md`, its last one.
const HEADING: &str = "## From a recipe to a lock";

/// One repository and what is asked of it.
struct Subject {
    what: String,
    path: PathBuf,
    install: Vec<String>,
    stub: &'static str,
}

/// The least time of all runs, in milliseconds.
#[derive(Default)]
struct Times {
    slipway: Vec<f64>,
    dnf_first: Vec<f64>,
    dnf_cached: Vec<f64>,
    dnf_solve: Vec<f64>,
    packages: usize,
}

/// Measures `slipway` `runs` times, prints a table and writes it to `report`.
pub fn lock(slipway: &Path, demo: &Path, runs: usize, report: &Path) -> Result<()> {
    ensure!(runs > 0, "nothing to measure in 0 runs");
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let mut subjects = vec![demo_subject(demo)?];
    for count in GENERATED {
        let path = scratch.path().join(format!("generated{count}"));
        subjects.push(generated_subject(&path, count)?);
    }
    let tools = scratch.path().join("tools");
    fs::create_dir_all(&tools)?;
    for tool in ["slipway-agent", "slipway-boot.efi", "slipway-init"] {
        fs::write(tools.join(tool), tool)?;
    }
    fs::write(scratch.path().join("answers.py"), ANSWERS)?;
    let mut text = format!(
        "{HEADING}\n\nWritten by `cargo run --release -p ci -- bench lock`. Least of {runs} runs, in \
         milliseconds; load before {}. `slipway lock` is the whole program: \
         start, signatures, metadata from its packed XML, choice, lock written. dnf is its sack \
         from the same XML, the sack from its own cache, and the solving; without starting, \
         signatures and writing.\n\n\
         | | packages chosen | slipway lock | dnf: sack from XML | dnf: sack from cache | dnf: \
         solving |\n|---|---|---|---|---|---|\n",
        crate::bench::load()?
    );
    for subject in &subjects {
        let times = measure(subject, slipway, scratch.path(), runs)?;
        let least = |all: &[f64]| all.iter().copied().fold(f64::INFINITY, f64::min);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} |",
            subject.what,
            times.packages,
            least(&times.slipway),
            least(&times.dnf_first),
            least(&times.dnf_cached),
            least(&times.dnf_solve)
        );
    }
    print!("{text}");
    let all = fs::read_to_string(report).unwrap_or_default();
    let others = all[..all.len() - section(&all).len()].trim_end();
    fs::write(report, format!("{others}\n\n{text}"))
        .with_context(|| format!("cannot write {}", report.display()))
}

/// What of a report was written here: from the heading to the end.
pub fn section(report: &str) -> &str {
    report.find(HEADING).map_or("", |at| &report[at..])
}

fn demo_subject(path: &Path) -> Result<Subject> {
    let path = path.canonicalize()?;
    let names = crate::solve_judge::names_in(&path)?;
    let what = format!("demo repository, {} packages, all of them", names.len());
    Ok(Subject { what, path, install: names, stub: "systemd-boot-efi" })
}

/// Packages with as many relations and files as those of a distribution have.
fn generated_subject(path: &Path, count: usize) -> Result<Subject> {
    let key = SigningKey::generate("Generated <generated@example.invalid>")?;
    let mut dice = Dice::new(20_000);
    let mut packages: Vec<Listing> =
        (0..count).map(|number| generated(&mut dice, number)).collect();
    packages.push(Listing::new("stub", "1", "noarch"));
    listing::write(path, &packages, &key)?;
    // Of the later ones, which need the earlier.
    let apart = (count / ASKED).min(37);
    let install = (0..ASKED).map(|number| format!("package-{}", count - 1 - number * apart));
    let what = format!("{count} generated packages, {ASKED} of them asked for");
    Ok(Subject { what, path: path.to_owned(), install: install.collect(), stub: "stub" })
}

fn generated(dice: &mut Dice, number: usize) -> Listing {
    let mut package = Listing::new(
        &format!("package-{number}"),
        &format!("{}.{}-1", 1 + dice.below(9), number),
        "x86_64",
    );
    for index in 0..1 + dice.below(6) {
        package.add("provides", format!("lib{number}-{index}.so.1()(64bit)"));
        package.add("provides", format!("pkgconfig({number}-{index}) = 1.{index}"));
    }
    for _ in 0..dice.below(16).min(number) {
        // Only of earlier ones, and more of the first: as libraries are needed.
        let other = dice.below(number + 1).min(dice.below(number + 1)).min(number - 1);
        let kind = dice.below(3);
        package.add(
            "requires",
            match kind {
                0 => format!("package-{other} >= 1"),
                1 => format!("lib{other}-0.so.1()(64bit)"),
                _ => format!("pkgconfig({other}-0)"),
            },
        );
    }
    package.add("requires", "rpmlib(PayloadIsZstd) <= 5.4.18-1".into());
    for index in 0..dice.below(12) {
        package.files.push(format!("/usr/bin/program-{number}-{index}"));
        package.files.push(format!("/usr/share/doc/package-{number}/file-{index}"));
    }
    package
}

fn measure(subject: &Subject, slipway: &Path, folder: &Path, runs: usize) -> Result<Times> {
    let mut times = Times::default();
    let (recipe, lock) = (folder.join("recipe.toml"), folder.join("lock.toml"));
    fs::write(&recipe, recipe_of(subject))?;
    // Once without counting, so that the store has the metadata.
    for run in 0..=runs {
        let mut command = Command::new(slipway);
        command.args(["lock", "--list", "--quiet"]).arg(&recipe).arg("--lock").arg(&lock);
        command.arg("--store").arg(folder.join("store")).arg("--tools").arg(folder.join("tools"));
        let began = Instant::now();
        times.packages = output(&mut command)?.lines().count();
        if run > 0 {
            times.slipway.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    for _ in 0..runs {
        let [first, cached] = dnf(subject, folder)?;
        times.dnf_first.push(first.0);
        times.dnf_cached.push(cached.0);
        times.dnf_solve.push(first.1.min(cached.1));
    }
    Ok(times)
}

fn recipe_of(subject: &Subject) -> String {
    let path = subject.path.display();
    format!(
        "schema = 1\nname = \"case\"\nversion = \"1\"\n[[repository]]\nid = \"r\"\nurl = \"{path}\"\n\
         keys = [\"{path}/{PUBLIC_KEY_NAME}\"]\n[packages]\ninstall = {}\n[boot]\n\
         kernel = \"/boot/k\"\nstub = {{ package = \"{}\", path = \"/stub\" }}\n",
        Value::from(subject.install.clone()),
        subject.stub
    )
}

/// Loading and solving, in milliseconds: from XML, and from dnf's own cache.
fn dnf(subject: &Subject, folder: &Path) -> Result<[(f64, f64); 2]> {
    let request = json!({"install": subject.install, "exclude": []});
    // Another setting makes the second one load again.
    let again = json!({"install": subject.install, "exclude": ["no-such-package"]});
    let case = json!({"repositories": [{"id": "r", "path": subject.path}],
                      "requests": [request, again], "timed": true});
    let questions = folder.join("questions");
    fs::write(&questions, format!("{case}\n"))?;
    let run = Command::new("/usr/bin/python3")
        .arg(folder.join("answers.py"))
        .stdin(fs::File::open(&questions)?)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(run.status.success(), "dnf failed");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let mut answers = text.lines().map(|line| -> Result<(f64, f64)> {
        let answer: Value = serde_json::from_str(line)?;
        ensure!(answer["chosen"].is_array(), "dnf finds no answer: {}", answer["chosen"]);
        let time = |key: &str| answer[key].as_f64().map(|seconds| seconds * 1000.0);
        time("load").zip(time("solve")).context("dnf's answer has no times")
    });
    let mut next = || answers.next().context("dnf did not answer")?;
    Ok([next()?, next()?])
}
