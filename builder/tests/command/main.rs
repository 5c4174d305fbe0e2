//! The command itself: exit codes, what goes to which stream, and what its
//! texts promise. Each case runs the program; those of [`locking`] have a small
//! repository, the others none.

mod locking;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const MISTAKEN: i32 = 2;
const DIFFERENT: i32 = 3;

fn slipway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command.env_remove("SLIPWAY_STORE").env_remove("SLIPWAY_STORE_MAX");
    command
}

fn run(arguments: &[&str]) -> Output {
    slipway(arguments).output().expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every subcommand, as the help lists them.
fn subcommands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = out(&run(&arguments));
        let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        for line in listed.lines().take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap_or_default();
            if name != "help" && line.starts_with(&format!("  {name}")) {
                open.push([&path[..], &[name.to_owned()]].concat());
            }
        }
        found.push(path);
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

/// A store, as an argument.
fn store(folder: &Path) -> String {
    folder.join("store").to_string_lossy().into_owned()
}

#[test]
fn wrong_arguments_are_mistakes_and_print_no_results() {
    let digest = "00".repeat(32);
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["build"],
        &["vendor", "recipe.toml"],
        &["rebuild"],
        &["rebuild", "--verify", "x", "--repository", "base"],
        &["compare", "one"],
        &["store", "path", "not-a-digest"],
        &["store", "gc", "--max-size", "much"],
        &["completions", "tcsh"],
        &["lock", "x.toml", "--check", "--list"],
        &["lock", "x.toml", "--check", "--accept", "all"],
        &["sandbox-child-of-nobody", &digest],
    ] {
        for json in [false, true] {
            let mut command = slipway(arguments);
            let output = if json { command.arg("--json").output() } else { command.output() };
            let output = output.expect("the program starts");
            assert_eq!(output.status.code(), Some(MISTAKEN), "{arguments:?}: {}", err(&output));
            assert_eq!(out(&output), "", "{arguments:?}");
            if json {
                let event: Value = serde_json::from_str(err(&output).trim())
                    .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", err(&output)));
                assert_eq!(event["event"], "error");
            }
        }
    }
}

#[test]
fn what_cannot_be_done_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, digest) = (store(folder.path()), "00".repeat(32));
    let no_image = folder.path().to_string_lossy();
    for arguments in [
        &["compare", "/nonexistent/one", "/nonexistent/other"][..],
        &["compare", &no_image, &no_image],
        &["store", "path", &digest, "--store", &store],
        &["store", "gc", "--keep", "/nonexistent/lock.toml", "--store", &store],
        &["keys", "new", "/proc/nothing"],
        &["store", "verify", "--store", "/nonexistent"],
        &["man", "/proc/nothing"],
        &["rebuild", "--verify", "/nonexistent", "--root", "/nonexistent"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", err(&output));
        assert!(err(&output).starts_with("slipway: "), "{arguments:?}: {}", err(&output));
    }
    let output = run(&["build", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(MISTAKEN), "{}", err(&output));
}

#[test]
fn with_json_there_is_nothing_else_on_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (store, keys, man, one) = (store(folder.path()), path("keys"), path("man"), path("one"));
    fs::create_dir(&one).expect("made");
    fs::write(Path::new(&one).join("inputs.tar"), "").expect("written");
    for arguments in [
        &["keys", "new", &keys][..],
        &["store", "path", "--store", &store],
        &["store", "gc", "--store", &store],
        &["store", "verify", "--store", &store],
        &["schema"],
        &["completions", "bash"],
        &["man", &man],
        &["compare", &one, &one],
    ] {
        let output = slipway(arguments).args(["--json", "-q"]).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        let _: Value = serde_json::from_str(&out(&output))
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", out(&output)));
        assert_eq!(err(&output), "", "{arguments:?} is not quiet");
    }
}

#[test]
fn the_store_says_where_it_is_and_where_a_blob_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let path = |arguments: &[&str]| {
        let said = run(&[&["store", "path", "--store", &store], arguments].concat());
        assert!(said.status.success(), "{}", err(&said));
        out(&said).trim_end().to_owned()
    };
    assert_eq!(path(&[]), store);
    let digest = formats::Digest::of(b"a blob");
    let opened = slipway::store::Store::open(&store).expect("a store");
    opened.insert(&b"a blob"[..], 6, &digest).expect("kept");
    let blob = path(&[&digest.to_string()]);
    assert_eq!(fs::read(&blob).expect("there"), b"a blob");
    assert!(Path::new(&blob).starts_with(&store));
    let said = slipway(&["store", "path", "--json"]).env("SLIPWAY_STORE", &store).output();
    let said: Value = serde_json::from_slice(&said.expect("it starts").stdout).expect("JSON");
    assert_eq!(said, serde_json::json!({ "path": store }));
}

#[test]
fn images_that_differ_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = |name: &str, fields: usize, note: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("made");
        let manifest: serde_json::Map<String, Value> =
            (0..fields).map(|at| (format!("field{at}"), note.into())).collect();
        let manifest = serde_json::to_vec(&manifest).expect("text");
        fs::write(path.join("manifest.json"), manifest).expect("written");
        path.to_string_lossy().into_owned()
    };
    let (one, other) = (image("one", 50, "here"), image("other", 50, "there"));
    let output = run(&["compare", &one, &other]);
    assert_eq!(output.status.code(), Some(DIFFERENT));
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 22, "{text}");
    assert_eq!(lines[20..], ["manifest.json: and 30 more differences", "50 differences"]);
    let output = run(&["compare", &one, &other, "--json"]);
    let said: Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(said["count"], 50);
    assert_eq!(said["differences"].as_array().map(Vec::len), Some(50));
    let (one, other) = (image("third", 1, "here"), image("fourth", 1, "there"));
    assert!(out(&run(&["compare", &one, &other])).ends_with("\n1 difference\n"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = slipway(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && err(&output).is_empty(), "{}", err(&output));
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = slipway(&["completions", "bash"]).stdout(full).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("cannot write to standard output"), "{}", err(&output));
}

#[test]
fn helps_completions_and_pages_have_the_users_commands_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let man = folder.path().join("man");
    assert!(run(&["man", &man.to_string_lossy()]).status.success());
    let pages: Vec<String> = fs::read_dir(&man)
        .expect("pages")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    for path in subcommands() {
        let page = [&["slipway".to_owned()], &path[..]].concat().join("-") + ".1";
        assert!(pages.contains(&page), "{page} is not among {pages:?}");
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = out(&run(&arguments));
        assert!(!help.contains('\\'), "{path:?} shows a backslash:\n{help}");
    }
    for page in &pages {
        let text = fs::read_to_string(man.join(page)).expect("text");
        assert!(!text.contains("sandbox-child"), "{page} tells of the sandbox's processes");
        assert!(!page.contains("help"), "{page}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = out(&run(&["completions", shell]));
        assert!(script.contains("disk-only"), "{shell} does not complete options");
        assert!(!script.contains("sandbox-child"), "{shell} completes what nobody should type");
    }
}

/// docs/reference/cli.md has what `--help` says.
#[test]
fn the_reference_is_what_the_commands_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    let reference = fs::read_to_string(path).expect("the reference");
    for path in subcommands() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        let heading = format!("\n## {}\n", [&["slipway"], &arguments[..]].concat().join(" "));
        arguments.push("--help");
        let help: String =
            out(&run(&arguments)).lines().map(|line| format!("{}\n", line.trim_end())).collect();
        let section = reference.split(&heading).nth(1).unwrap_or_default();
        let section = section.split("```").nth(1).unwrap_or_default();
        let section = section.trim_start_matches("text\n");
        assert_eq!(section, help, "{heading}: write it anew with docs/reference/cli.sh");
    }
}

/// Shells that are here take the scripts for scripts.
#[test]
fn shells_read_the_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&run(&["completions", shell]));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("script");
        fs::write(&path, script).expect("written");
        match Command::new(shell).arg("-n").arg(&path).output() {
            Err(_) => skip::because(format_args!("no {shell} here")),
            Ok(said) => assert!(said.status.success(), "{shell}: {}", err(&said)),
        }
    }
}

/// What `man` has to say of the pages.
#[test]
fn pages_are_set_without_warnings() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(run(&["man", &folder.path().to_string_lossy()]).status.success());
    for entry in fs::read_dir(folder.path()).expect("pages").flatten() {
        let groff = Command::new("groff")
            .args(["-man", "-ww", "-z", "-Kutf8", "-Tutf8"])
            .arg(entry.path())
            .output();
        match groff {
            Err(_) => return skip::because("no groff here"),
            Ok(said) => assert_eq!(err(&said), "", "{}", entry.path().display()),
        }
    }
}
