//! Where the time of one build goes: the steps that slipway itself reports.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A step of a build.
struct Step {
    name: String,
    seconds: f64,
    summary: String,
}

/// Runs a build with its events as JSON lines, and makes a table of its steps.
pub fn measure(build: &mut Command) -> Result<String> {
    let began = Instant::now();
    let done = build.arg("--json").output().context("cannot run slipway")?;
    let wall_seconds = began.elapsed().as_secs_f64();
    let events = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "slipway failed: {events}");
    let steps: Vec<Step> = events.lines().filter_map(step).collect();
    ensure!(!steps.is_empty(), "slipway reported no step: {events}");
    Ok(table(&steps, wall_seconds))
}

/// The step that an event ends.
fn step(event: &str) -> Option<Step> {
    let event: Value = serde_json::from_str(event).ok()?;
    let text = |key: &str| Some(event.get(key)?.as_str()?.to_owned());
    (text("event")? == "end").then_some(())?;
    Some(Step {
        name: text("step")?,
        seconds: event.get("seconds")?.as_f64()?,
        summary: text("summary")?,
    })
}

fn table(steps: &[Step], wall_seconds: f64) -> String {
    let mut out = "| step | wall s | |\n|---|---|---|\n".to_owned();
    // writing to a string cannot fail
    for Step { name, seconds, summary } in steps {
        let _ = writeln!(out, "| {name} | {seconds:.2} | {summary} |");
    }
    let rest = wall_seconds - steps.iter().map(|step| step.seconds).sum::<f64>();
    let _ = writeln!(out, "| the rest | {rest:.2} | kernel, UKI, documents, flushing |");
    let _ = writeln!(out, "| all | {wall_seconds:.2} | |");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_events_and_the_rest_is_what_they_leave() {
        let events = [
            r#"{"event":"begin","step":"root","total":1}"#,
            r#"{"done":1,"event":"end","seconds":1.5,"step":"root","summary":"erofs"}"#,
            "not JSON",
        ];
        let steps: Vec<Step> = events.into_iter().filter_map(step).collect();
        let text = table(&steps, 2.0);
        assert!(text.contains("| root | 1.50 | erofs |\n| the rest | 0.50 |"), "{text}");
    }
}
