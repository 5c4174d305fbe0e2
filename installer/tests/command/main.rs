//! The command itself: exit codes, what goes to which stream, and what its
//! texts promise. Each case runs the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const COMMANDS: [&str; 7] =
    ["verify", "plan", "install", "status", "rollback", "completions", "man"];

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway-installer"));
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_arguments_have_an_exit_code_of_their_own() {
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["status"],
        &["verify"],
        &["verify", "some.bundle"],
        &["plan", "some.bundle", "--disk", "/nonexistent"],
        &["install", "some.bundle", "--disk", "/nonexistent"],
        &["install", "some.bundle"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        let output = run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", text(&output.stdout)));
        assert!(said["error"].is_string(), "{said}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_done_is_a_failure() {
    for arguments in [
        &["status", "--disk", "/nonexistent"][..],
        &["rollback", "--disk", "/dev/null"],
        &["verify", "some.bundle", "--root", "/nonexistent"],
        &["man", "/proc/nothing"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with("slipway-installer: "), "{arguments:?}");
    }
}

#[test]
fn pages_and_completions_are_there_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let man = folder.path().to_string_lossy().into_owned();
    let said = run(&["man", &man, "--json"]);
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(said["pages"].as_array().map(Vec::len), Some(COMMANDS.len() + 1), "{said}");
    for command in COMMANDS {
        let page = folder.path().join(format!("slipway-installer-{command}.1"));
        let groff = ["-man", "-ww", "-z", "-Kutf8", "-Tutf8"];
        match Command::new("groff").args(groff).arg(&page).output() {
            Err(_) => skip::because("no groff here"),
            Ok(said) => assert_eq!(text(&said.stderr), "", "{}", page.display()),
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&run(&["completions", shell]).stdout);
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
}

/// What bash offers after a command, as it asks the script for it.
#[test]
fn bash_completes_what_follows_a_command() {
    let script = text(&run(&["completions", "bash"]).stdout);
    let asking = "
COMP_WORDS=(slipway-installer plan --)
COMP_CWORD=2
_slipway__installer slipway-installer -- plan
echo \"${COMPREPLY[*]}\"";
    match Command::new("bash").arg("-c").arg(script + asking).output() {
        Err(_) => skip::because("no bash here"),
        Ok(said) => assert!(text(&said.stdout).contains("--allow-downgrade"), "{said:?}"),
    }
}

/// docs/reference/cli.md has what `--help` says.
#[test]
fn the_reference_is_what_the_commands_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    let reference = fs::read_to_string(path).expect("the reference");
    for command in std::iter::once("").chain(COMMANDS) {
        let heading = format!("\n## slipway-installer {command}").trim_end().to_owned() + "\n";
        let help = match command {
            "" => run(&["--help"]),
            command => run(&[command, "--help"]),
        };
        let help: String =
            text(&help.stdout).lines().map(|line| format!("{}\n", line.trim_end())).collect();
        let section = reference.split(&heading).nth(1).unwrap_or_default();
        let section = section.split("```").nth(1).unwrap_or_default();
        let section = section.trim_start_matches("text\n");
        assert_eq!(section, help, "{heading}: write it anew with docs/reference/cli.sh");
    }
}
