//! The health gate: waiting until the image says that it is healthy, showing
//! signs of life meanwhile, and finding out what it lacked when it does not.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::error::{At, During};
use crate::events::FolderEvents;
use crate::paths;

/// How often the agent shows that it lives; far below the keeper's patience.
const BEAT: Duration = Duration::from_secs(5);
/// systemd answers at once or is the trouble itself.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(10);

/// More units than this of one kind are only counted.
const NAMED_AT_MOST: usize = 8;

/// The agent's signs of life.
#[derive(Default)]
pub struct Alive {
    last: Option<Instant>,
}

impl Alive {
    /// Shows a sign of life if the last one is some seconds old.
    pub fn beat(&mut self) {
        if self.last.is_none_or(|last| last.elapsed() >= BEAT) {
            // without it the keeper reboots, which is right for a broken /run
            let _ = fs::write(Path::new(paths::RUN).join(paths::ALIVE), "alive\n");
            self.last = Some(Instant::now());
        }
    }
}

/// Waits for the gate until `end`; whether it was reached.
pub fn wait(end: Instant, alive: &mut Alive) -> Result<bool, At> {
    let run = Path::new(paths::RUN);
    let events = FolderEvents::watch(run)?;
    loop {
        if run.join(paths::HEALTHY).exists() {
            return Ok(true);
        }
        let now = Instant::now();
        if now >= end {
            return Ok(false);
        }
        alive.beat();
        events.wait_until(end.min(now + BEAT));
    }
}

/// Opens the gate.
pub fn declare() -> Result<(), At> {
    let path = Path::new(paths::RUN).join(paths::HEALTHY);
    fs::write(&path, "").during("write", path)
}

/// What systemd says is missing; a best effort, for people.
#[must_use]
pub fn what_is_missing() -> String {
    if !Path::new("/run/systemd/system").is_dir() {
        return "the image did not say that it is healthy".to_owned();
    }
    let failed = systemctl(&["list-units", "--failed", "--plain"]);
    let jobs = systemctl(&["list-jobs"]);
    describe(failed.as_deref(), jobs.as_deref())
}

/// From what `systemctl list-units --plain` and `list-jobs` print: UNIT first
/// in one, JOB UNIT TYPE STATE in the other. Jobs that run hold up those that
/// wait, so only they are named.
fn describe(failed: Option<&str>, jobs: Option<&str>) -> String {
    let (Some(failed), Some(jobs)) = (failed, jobs) else {
        return "systemd does not answer".to_owned();
    };
    let failed = failed.lines().filter_map(|line| line.split_ascii_whitespace().next());
    let running = jobs.lines().filter_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (unit, _, state) = (columns.next()?, columns.next()?, columns.next()?);
        (state == "running").then_some(unit)
    });
    let parts = [named("failed", failed.collect()), named("still starting", running.collect())];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return "no unit has failed, and none is starting".to_owned();
    }
    parts.join("; ")
}

fn named(what: &str, units: Vec<&str>) -> Option<String> {
    let first = units.get(..NAMED_AT_MOST).unwrap_or(&units).join(" ");
    let more = units.len().saturating_sub(NAMED_AT_MOST);
    match units.len() {
        0 => None,
        _ if more == 0 => Some(format!("{what}: {first}")),
        _ => Some(format!("{what}: {first} and {more} more")),
    }
}

fn systemctl(arguments: &[&str]) -> Option<String> {
    let mut child = Command::new("systemctl")
        .args(["--no-legend", "--no-pager"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut out = child.stdout.take()?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        if out.read_to_string(&mut text).is_ok() {
            // nobody listens when it took too long
            let _ = tell.send(text);
        }
    });
    let text = told.recv_timeout(SYSTEMCTL_LIMIT).ok();
    let _ = child.kill();
    let _ = child.wait();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_and_waiting_units_are_named() {
        let failed = "k3s.service loaded failed failed Lightweight Kubernetes\n";
        let jobs = "12 slipway-health.target start waiting\n9 node.service start running\n";
        assert_eq!(
            describe(Some(failed), Some(jobs)),
            "failed: k3s.service; still starting: node.service"
        );
        assert_eq!(describe(Some(""), Some("")), "no unit has failed, and none is starting");
        assert_eq!(
            named("failed", vec!["x"; 10]),
            Some("failed: x x x x x x x x and 2 more".to_owned())
        );
        assert_eq!(describe(None, Some("")), "systemd does not answer");
    }
}
