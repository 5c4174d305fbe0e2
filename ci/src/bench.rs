//! Measuring: what whole programs use, as tables that compare them. Says how
//! long things took, on which no check depends, and how much memory, on which one
//! does.

pub mod compose;
mod limit;
mod mkosi;
mod profile;
mod rpmoci;
pub mod scale;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::output;

/// Knows what a child has used, and is itself too small to be seen in it.
const TIME: &str = "/usr/bin/time";

/// What one run of a program has used.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    wall_seconds: f64,
    /// user and system, of all its processes
    cpu_seconds: f64,
    /// of its largest process
    peak_mib: f64,
}

impl Usage {
    /// From `%e %U %S %M` of GNU time: seconds, seconds, seconds, KiB.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().last()?;
        let numbers: Vec<f64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [wall_seconds, user, system, peak_kib] = numbers[..] else {
            return None;
        };
        Some(Self { wall_seconds, cpu_seconds: user + system, peak_mib: peak_kib / 1024.0 })
    }

    /// One after the other.
    fn then(self, next: Self) -> Self {
        Self {
            wall_seconds: self.wall_seconds + next.wall_seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_mib: self.peak_mib.max(next.peak_mib),
        }
    }
}

/// What others have written is on the disk, so that nobody is measured with it.
fn written_back() -> Result<()> {
    output(&mut Command::new("sync")).map(drop)
}

/// Runs a program to its end and says what it used.
fn measured(command: &Command, scratch: &Path) -> Result<Usage> {
    written_back()?;
    let report = scratch.join("usage");
    let mut timed = Command::new(TIME);
    timed.args(["-f", "%e %U %S %M", "-o"]).arg(&report);
    output(timed.arg(command.get_program()).args(command.get_args()))?;
    let text = fs::read_to_string(&report)?;
    Usage::parse(&text).with_context(|| format!("{TIME} said {text:?}"))
}

/// A line of the table: what was done, and each run of it.
struct Line {
    what: &'static str,
    runs: Vec<Usage>,
}

impl Line {
    fn new(what: &'static str) -> Self {
        Self { what, runs: Vec::new() }
    }

    /// The least, and the one in the middle, of one kind of number.
    fn least_and_median(&self, number: impl Fn(&Usage) -> f64) -> (f64, f64) {
        let mut all: Vec<f64> = self.runs.iter().map(number).collect();
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
        let middle = all.len() / 2;
        let median =
            if all.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle - 1), at(middle)) };
        (at(0), median)
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The packages that a lock installs, as dnf wants them named.
pub(crate) fn locked_packages(lock: &str) -> Result<Vec<String>> {
    let lock: toml::Table = lock.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let name = |package: &toml::Value| {
        let text = |key: &str| package.get(key)?.as_str();
        let epoch = package.get("epoch")?.as_integer()?;
        let (name, version) = (text("name")?, text("version")?);
        Some(format!("{name}-{epoch}:{version}-{}.{}", text("release")?, text("arch")?))
    };
    let names = packages.context("the lock has no packages")?.iter().map(name);
    names.collect::<Option<_>>().context("the lock has a package without a name")
}

/// The table; times are compared by their medians, with the first line.
fn table(lines: &[Line], runs: usize) -> String {
    let mut out = format!(
        "## From packages to a disk\n\n\
         Least and median of {runs} runs, after one that is not counted. CPU is user and system; \
         memory is that of the largest process.\n\n\
         | | wall s | CPU s | peak MiB | wall | CPU |\n|---|---|---|---|---|---|\n"
    );
    let wall = |usage: &Usage| usage.wall_seconds;
    let cpu = |usage: &Usage| usage.cpu_seconds;
    let base = |number: fn(&Usage) -> f64| {
        lines.first().map_or(f64::NAN, |line| line.least_and_median(number).1)
    };
    let (base_wall, base_cpu) = (base(wall), base(cpu));
    for line in lines {
        let (walls, cpus) = (line.least_and_median(wall), line.least_and_median(cpu));
        let peaks = line.least_and_median(|usage| usage.peak_mib);
        // writing to a string cannot fail
        let _ = writeln!(
            out,
            "| {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.0} / {:.0} | {:.2} × | {:.2} × |",
            line.what,
            walls.0,
            walls.1,
            cpus.0,
            cpus.1,
            peaks.0,
            peaks.1,
            walls.1 / base_wall,
            cpus.1 / base_cpu,
        );
    }
    out
}

/// What the numbers depend on.
fn facts(folder: &Path) -> Result<String> {
    let field = |path: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(path)?;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
        Ok(value.unwrap_or("unknown").to_owned())
    };
    let version = |program: &str| -> Result<String> {
        // mkfs.erofs says its version first, and then that it knows no such option
        let said = Command::new(program).arg("--version").output()?.stdout;
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().next().unwrap_or_default().trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let file_system = output(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder))?;
    Ok(format!(
        "- machine: {cores} × {}, memory {}, load before {}\n\
         - system: Linux {}, file system {}\n\
         - tools: dnf {}, {}, {}\n",
        field("/proc/cpuinfo", "model name")?,
        field("/proc/meminfo", "MemTotal")?,
        load()?,
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        file_system.trim(),
        version("dnf")?,
        version("mkfs.erofs")?,
        version("veritysetup")?,
    ))
}

/// How many processes have been waiting for a core in the last minute.
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_and_added() {
        let one = Usage::parse("Command exited\n1.50 0.25 0.50 2048\n").unwrap();
        assert_eq!(one, Usage { wall_seconds: 1.5, cpu_seconds: 0.75, peak_mib: 2.0 });
        let both = one.then(Usage { wall_seconds: 1.0, cpu_seconds: 0.25, peak_mib: 1.0 });
        assert_eq!(both, Usage { wall_seconds: 2.5, cpu_seconds: 1.0, peak_mib: 2.0 });
        assert_eq!(Usage::parse("1 2 3"), None);
        assert_eq!(Usage::parse(""), None);
    }

    #[test]
    fn medians_and_ratios() {
        let line = |walls: &[f64]| Line {
            what: "x",
            runs: walls
                .iter()
                .map(|wall| Usage { wall_seconds: *wall, cpu_seconds: 1.0, peak_mib: 8.0 })
                .collect(),
        };
        let wall = |usage: &Usage| usage.wall_seconds;
        assert_eq!(line(&[3.0, 1.0, 2.0]).least_and_median(wall), (1.0, 2.0));
        assert_eq!(line(&[3.0, 1.0]).least_and_median(wall), (1.0, 2.0));
        let text = table(&[line(&[2.0]), line(&[5.0])], 1);
        let last = "| x | 5.00 / 5.00 | 1.00 / 1.00 | 8 / 8 | 2.50 × | 1.00 × |\n";
        assert!(text.ends_with(last), "{text}");
    }

    #[test]
    fn packages_are_named_for_dnf() {
        let lock = "[[package]]\nname = \"a\"\nepoch = 1\nversion = \"2\"\nrelease = \"3\"\n\
                    arch = \"noarch\"\n[[part]]\nname = \"b\"\n";
        assert_eq!(locked_packages(lock).unwrap(), ["a-1:2-3.noarch"]);
        assert!(locked_packages("").is_err());
    }
}
