//! Locks: the same bytes each time, and which ones are refused.

use std::fs;

use super::*;
use crate::fixture::{Fixture, Key};

#[test]
fn the_lock_names_every_artifact_in_order() {
    for zstd in [true, false] {
        let mut fixture = Fixture::new();
        fixture.zstd = zstd;
        fixture.publish();
        let lock = fixture.lock().expect("solvable");
        let names: Vec<&str> = lock.packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["app", "data", "lib"]);
        assert_eq!(lock.part(STUB).map(|stub| stub.name.as_str()), Some("stub"));
        let app = fs::read(fixture.package_file("app")).expect("file");
        assert_eq!(lock.packages[0].sha256, Digest::of(&app));
        assert_eq!(lock.packages[0].size, app.len() as u64);
        assert_eq!(lock.tools.iter().map(|tool| &tool.name).collect::<Vec<_>>(), TOOLS.each_ref());
        lock.check_fits(&fixture.recipe(), Path::new("lock")).expect("fits");
    }
}

#[test]
fn text_and_contents_say_the_same() {
    let fixture = Fixture::new();
    let mut lock = fixture.lock().expect("solvable");
    lock.packages[0].location = "odd/\"quotes\" and \\ and ' and \u{1}".into();
    let text = lock.to_string();
    assert_eq!(Lock::parse(&text, Path::new("lock")).expect("valid"), lock);
}

#[test]
fn an_unchanged_lock_is_not_touched() {
    let fixture = Fixture::new();
    let path = fixture.path("images/test/lock.toml");
    assert!(fixture.lock().expect("solvable").save(&path).expect("saved"));
    let before = fs::metadata(&path).expect("there").modified().expect("time");
    let text = fs::read(&path).expect("text");
    assert!(!fixture.lock().expect("solvable").save(&path).expect("saved"));
    assert_eq!(fs::metadata(&path).expect("there").modified().expect("time"), before);
    assert_eq!(fs::read(&path).expect("text"), text);
    let entries = fs::read_dir(fixture.path("images/test")).expect("folder").count();
    assert_eq!(entries, 1, "nothing else may lie there");
}

#[test]
fn a_stale_lock_is_refused() {
    let fixture = Fixture::new();
    let lock = fixture.lock().expect("solvable");
    let path = Path::new("lock.toml");
    let recipe = fs::read_to_string(fixture.recipe_path()).expect("text");
    let edited = |from: &str, to: &str| {
        assert!(recipe.contains(from));
        fixture.write_file("recipes/test.toml", recipe.replace(from, to));
        lock.check_fits(&fixture.recipe(), path)
    };
    edited("version = \"1.0\"", "version = \"2.0\"\nepoch = 7").expect("does not matter");
    edited("vmlinuz-*", "vmlinux-*").expect("does not matter");
    edited("[boot]", "[disk]\nroot_mib = 99\n[boot]").expect("does not matter");
    for (from, to) in [
        ("[\"app\"]", "[\"app\", \"lib\"]"),
        ("[\"app\"]", "[\"app\"]\nexclude = [\"x\"]"),
        ("\"../repository\"", "\"../elsewhere\""),
        ("keys/trusted", "keys/other"),
        ("package = \"stub\"", "package = \"data\""),
    ] {
        let error = edited(from, to).expect_err(to);
        assert!(matches!(error, LockError::Stale { .. }), "{to}: {error}");
    }
    let error = edited("name = \"test\"", "name = \"toast\"").expect_err("another image");
    assert!(error.to_string().contains("it is for \"test\""), "{error}");
}

#[test]
fn other_tools_make_a_lock_stale() {
    let fixture = Fixture::new();
    let lock = fixture.lock().expect("solvable");
    let path = Path::new("lock.toml");
    lock.check_tools(&fixture.path("tools"), path).expect("the same");
    fixture.write_file("tools/slipway-init", "another");
    let error = lock.check_tools(&fixture.path("tools"), path).expect_err("another");
    assert!(error.to_string().contains("slipway-init"), "{error}");
    fs::remove_file(fixture.path("tools/slipway-init")).expect("removed");
    let error = lock.check_tools(&fixture.path("tools"), path).expect_err("missing");
    assert!(error.to_string().contains("--tools"), "{error}");
}

#[test]
fn locks_of_newer_versions_and_damaged_ones_are_refused() {
    let fixture = Fixture::new();
    let text = fixture.lock().expect("solvable").to_string();
    let parse = |text: &str| Lock::parse(text, Path::new("lock.toml"));
    let error = parse(&text.replace("schema = 1", "schema = 2\nfuture = true")).expect_err("newer");
    assert!(matches!(error, LockError::Newer { found: 2, .. }), "{error}");
    for (from, to) in [
        ("schema = 1", "schema = 0"),
        ("schema = 1", "schema = 1\nunknown = 1"),
        ("[[part]]", "[[part]]\nunknown = 1"),
        ("epoch = 0", "epoch = -1"),
        ("sha256 = \"", "sha256 = \"x"),
        ("[recipe]", "<<<<<<< HEAD"),
    ] {
        let error = parse(&text.replace(from, to)).expect_err(to);
        assert!(matches!(error, LockError::Malformed { .. }), "{to}: {error}");
    }
    for end in (0..text.len()).step_by(97) {
        let _ = parse(&text[..end]);
    }
    let error = Lock::load(&fixture.path("none")).expect_err("missing");
    assert!(error.to_string().contains("run `slipway lock` first"), "{error}");
}

#[test]
fn changes_are_told() {
    let mut fixture = Fixture::new();
    let old = fixture.lock().expect("solvable");
    assert!(Changes::between(&old, &old).is_empty());
    fixture.add("lib", "2.1", &["extra"], Key::Trusted);
    fixture.add("extra", "1", &[], Key::Trusted);
    fixture.add("app", "1.0", &["lib"], Key::Trusted);
    fixture.publish();
    let changes = Changes::between(&old, &fixture.lock().expect("solvable"));
    assert_eq!(changes.added, ["extra 1-1.noarch"]);
    assert_eq!(changes.removed, ["data 3.0-1.noarch"]);
    let text = changes.to_string();
    assert!(text.contains("lib: 2.0-1.noarch -> 2.1-1.noarch"), "{text}");
    assert!(changes.changed[0].from.starts_with("1.0-1.noarch ("), "{text}");
}

#[test]
fn every_version_of_a_kernel_is_told() {
    let mut old = Fixture::new().lock().expect("solvable");
    let kernel = |version: &str| {
        let mut package = old.packages[0].clone();
        (package.name, package.version) = ("kernel".to_owned(), version.to_owned());
        package.sha256 = Digest::of(version.as_bytes());
        package
    };
    let [one, two, three, four] = ["1", "2", "3", "4"].map(kernel);
    let mut new = old.clone();
    old.packages.extend([one.clone(), two.clone()]);
    new.packages.extend([two.clone(), three.clone()]);
    let changes = Changes::between(&old, &new);
    assert_eq!(changes.to_string(), "  kernel: 1-1.noarch -> 3-1.noarch\n");
    new.packages.push(four);
    let changes = Changes::between(&old, &new);
    assert_eq!(changes.removed, ["kernel 1-1.noarch"]);
    assert_eq!(changes.added, ["kernel 3-1.noarch", "kernel 4-1.noarch"]);
}

#[test]
fn a_package_that_does_not_exist_is_explained() {
    let fixture = Fixture::new();
    fixture.write_recipe("[\"app\", \"missing\"]");
    let error = fixture.lock().expect_err("unsolvable");
    assert!(error.contains("nothing provides missing\n    asked for by the recipe"), "{error}");
}

#[test]
fn a_package_of_a_hundred_terabytes_is_refused() {
    let mut lock = Fixture::new().lock().expect("solvable");
    lock.packages[1].size = 100 << 40;
    let error = Lock::parse(&lock.to_string(), Path::new("lock.toml")).expect_err("too large");
    let text = error.to_string();
    assert!(text.contains("data-3.0-1.noarch") && text.contains("109951162777600"), "{text}");
}

#[test]
fn a_tool_cannot_name_a_place() {
    let mut lock = Fixture::new().lock().expect("solvable");
    for name in ["/etc/cron.d/x", "../x", "slipway-other"] {
        let tool = LockedTool { name: name.to_owned(), size: 1, sha256: Digest::of(b"x") };
        lock.tools = vec![tool];
        let error = Lock::parse(&lock.to_string(), Path::new("lock.toml")).expect_err("a place");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn what_has_no_end_is_no_lock() {
    let error = Lock::load(Path::new("/dev/zero")).expect_err("endless");
    assert!(error.to_string().contains("longer than"), "{error}");
}
