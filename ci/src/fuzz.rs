//! `ci fuzz`: every parser of bytes from outside under changed inputs, each in a
//! process of its own with limits of memory and time. The parsers and the
//! changes are in `fuzz/targets`; here are seeds, processes, and what is kept of
//! a fault. Without feedback from the parser: for that there is `cargo fuzz`.

mod seeds;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::output;
use crate::tools;

/// Parsers at a time.
const AT_ONCE: u32 = 2;
/// What a process may need beyond its time: on a busy machine, with its last
/// input a slow one.
const GRACE: Duration = Duration::from_secs(120);

/// What to run.
pub struct Selection {
    /// how long for all parsers together
    pub time: Duration,
    /// only this parser
    pub target: Option<String>,
    /// number of the run: the same gives the same inputs
    pub seed: u64,
}

/// Runs the parsers of `selection`. Fails if one has a fault.
pub fn run(top: &Path, selection: &Selection) -> Result<()> {
    let place = Place::new(top)?;
    let mut names = place.targets()?;
    if let Some(only) = &selection.target {
        names.retain(|name| name == only);
        ensure!(!names.is_empty(), "there is no parser {only:?}");
    }
    let count = u32::try_from(names.len())?;
    let each = selection.time * AT_ONCE.min(count) / count;
    let (queue, faults) = (Mutex::new(names.into_iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = next() {
                    match place.try_target(&name, each, selection.seed) {
                        Ok(inputs) => println!("ok      {inputs:8} inputs  {name}"),
                        Err(error) => {
                            println!("FAILED  {name}: {error:#}");
                            faults.lock().unwrap_or_else(|held| held.into_inner()).push(name);
                        }
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap_or_else(|held| held.into_inner());
    ensure!(faults.is_empty(), "faults in {}", faults.join(", "));
    Ok(())
}

/// Gives one file to the parser `target`, as it is.
pub fn one(top: &Path, target: &str, input: &Path) -> Result<()> {
    let program = tools::fuzzer(top)?;
    let status = Command::new(program).arg("one").arg(target).arg(input).status()?;
    ensure!(status.success(), "{target}: {}", end(status));
    println!("{target} takes {}", input.display());
    Ok(())
}

/// The program and its files, below `out/fuzz`.
struct Place {
    program: PathBuf,
    seeds: PathBuf,
    faults: PathBuf,
    notes: tempfile::TempDir,
}

impl Place {
    fn new(top: &Path) -> Result<Self> {
        let program = tools::fuzzer(top)?;
        let folder = top.join("out/fuzz");
        let (seeds, faults) = (folder.join("seeds"), folder.join("faults"));
        fs::create_dir_all(&faults)
            .with_context(|| format!("cannot create {}", faults.display()))?;
        seeds::write(top, &seeds).context("cannot make seeds")?;
        Ok(Self { program, seeds, faults, notes: tempfile::tempdir()? })
    }

    fn targets(&self) -> Result<Vec<String>> {
        Ok(output(Command::new(&self.program).arg("list"))?.lines().map(str::to_owned).collect())
    }

    /// The part of a command line that says which inputs are made.
    fn command(&self, what: &str, target: &str, seed: u64) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(what).arg(target).arg("--seed").arg(seed.to_string());
        let seeds = self.seeds.join(target);
        if seeds.is_dir() {
            command.arg("--seeds").arg(seeds);
        }
        command.arg("--note").arg(self.notes.path().join(target)).stdin(Stdio::null());
        command
    }

    /// Says how many inputs the parser had.
    fn try_target(&self, target: &str, time: Duration, seed: u64) -> Result<String> {
        let said = self.notes.path().join(format!("{target}.out"));
        let file = fs::File::create(&said)?;
        let mut command = self.command("run", target, seed);
        command.arg("--milliseconds").arg(time.as_millis().to_string());
        command.stdout(file.try_clone()?).stderr(file);
        let status = wait(&mut command, time + GRACE)?;
        let said = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
        if status.is_some_and(|status| status.success()) {
            return Ok(said.trim().to_owned());
        }
        let input = self.faults.join(format!("{target}-{seed}"));
        output(self.command("make", target, seed).arg("--out").arg(&input))?;
        let last: Vec<&str> = said.lines().take(12).collect();
        bail!(
            "{}\n{}\nthe input is {}; again with\n  cargo run -p ci -- fuzz --target {target} --input {}",
            status.map_or_else(|| "it stands still".to_owned(), end),
            last.join("\n"),
            input.display(),
            input.display()
        )
    }
}

/// How a process ended; none if it had to be ended after `limit`.
fn wait(command: &mut Command, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
}

/// What the end of a parser's process means.
fn end(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(101), _) => "it panicked".to_owned(),
        (Some(3), _) => "it takes too long".to_owned(),
        (_, Some(6 | 11)) => "out of memory or stack".to_owned(),
        _ => status.to_string(),
    }
}
