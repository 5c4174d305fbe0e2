//! Running outside programs: their output in the error when they fail, and
//! another try for those that fail for passing reasons.

use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The lines of a failed program's output worth showing.
const SHOWN_LINES: usize = 15;

/// Runs a program to its end and gives its standard output; a failure's error
/// names the program and ends with what it last said.
pub fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&finish(command)?.stdout).into_owned())
}

/// The same, with what it said on standard error after it.
pub fn output_and_errors(command: &mut Command) -> Result<String> {
    Ok(joined(&finish(command)?))
}

fn finish(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let result = command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").output();
    let result = result.with_context(|| format!("cannot run {name}"))?;
    if !result.status.success() {
        bail!("{name} failed ({})\n{}", result.status, last_lines(&result));
    }
    Ok(result)
}

fn joined(result: &Output) -> String {
    String::from_utf8_lossy(&[&result.stdout[..], &result.stderr[..]].concat()).into_owned()
}

fn last_lines(result: &Output) -> String {
    let text = joined(result);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Runs `make()` up to `tries` times, waiting a little longer each time: for
/// package locks and time-outs, which pass.
pub fn output_retrying(tries: u32, mut make: impl FnMut() -> Command) -> Result<String> {
    let mut failed = 0;
    loop {
        match output(&mut make()) {
            Ok(text) => return Ok(text),
            Err(error) => {
                failed += 1;
                if failed == tries {
                    return Err(error);
                }
                let wait = Duration::from_secs(u64::from(2 * failed));
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default();
                eprintln!("{last}; trying again in {} s", wait.as_secs());
                sleep(wait);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_said() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert!(error.to_string().ends_with("why"), "{error}");
        assert!(output(&mut Command::new("/no/such")).is_err());
    }

    #[test]
    fn a_second_try_counts() {
        let folder = tempfile::tempdir().unwrap();
        let script = "test -e seen || { touch seen; exit 1; }";
        let make = || {
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(folder.path());
            command
        };
        output_retrying(2, make).unwrap();
    }
}
