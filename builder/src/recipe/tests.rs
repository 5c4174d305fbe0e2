//! Recipes: what they mean, and every mistake with its place.

use std::fs;

use super::*;
use crate::fixture::Fixture;

fn problems_of(fixture: &Fixture) -> String {
    let text = Recipe::load(&fixture.recipe_path()).expect_err("mistakes").to_string();
    text.replace(&format!("{}/", fixture.path("recipes").display()), "")
}

#[test]
fn a_small_recipe_has_sane_defaults() {
    let recipe = Fixture::new().recipe();
    assert_eq!(recipe.product.as_str(), "test");
    assert_eq!(recipe.epoch.get(), 1);
    assert_eq!(recipe.health.timeout.as_secs(), 60);
    assert_eq!(recipe.health.tries, 3);
    assert_eq!(recipe.boot.init.as_str(), "/sbin/init");
    let disk = Disk {
        esp_mib: 8,
        uki_mib: 64,
        root_mib: 512,
        verity_mib: 16,
        data_mib: 64,
        formats: vec![crate::disk::format::DiskFormat::Raw],
    };
    assert_eq!(recipe.disk, disk);
    assert_eq!(recipe.root.filesystem, crate::rootfs::FileSystem::Erofs);
    assert!(recipe.root.archives.is_empty());
    assert!(recipe.packages.database);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let fixture = Fixture::new();
    fixture.write_file(
        "recipes/test.toml",
        r#"schema = 1
name = "Demo"
verison = "1.0"
epoch = 0
arch = "arm"
[[repository]]
id = "base"
url = "ftp://example.invalid"
keys = ["../keys/none"]
[packages]
install = ["bash", 7, "a b", "vim"]
exclude = ["vim"]
[root]
exclude = ["usr/**", "/a["]
overlay = ["missing"]
file = [{ path = "etc/x" }, { path = "/y", content = "", link = "/z", mode = "999" }]
[boot]
kernel = 1
modules = ["ext4.ko"]
cmdline = "quiet panic=1"
[health]
timeout_seconds = 1
[etc]
persist = ["/var/lib"]
[disk]
root_mib = 8192
verity_mib = 16
[boots]
"#,
    );
    let expected = r#"test.toml: `version` is missing in the recipe
  = hint: add version = "1.0.0"

test.toml:2:8: 'D' is not possible here
  |
2 | name = "Demo"
  |        ^^^^^^
  = hint: small letters, digits and - are possible

test.toml:3:1: unknown key `verison` in the recipe
  |
3 | verison = "1.0"
  | ^^^^^^^
  = hint: did you mean `version`?

test.toml:4:9: `epoch` is out of range
  |
4 | epoch = 0
  |         ^
  = hint: from 1 to 4294967295 is possible

test.toml:5:8: `arm` is not supported
  |
5 | arch = "arm"
  |        ^^^^^
  = hint: write x86_64 or aarch64

test.toml:8:7: `ftp://` is not supported
  |
8 | url = "ftp://example.invalid"
  |       ^^^^^^^^^^^^^^^^^^^^^^^
  = hint: write http://, https://, file:// or a folder
"#;
    let found = problems_of(&fixture);
    assert!(found.starts_with(expected), "{found}");
    let lines: Vec<&str> = found.lines().filter(|line| line.starts_with("test.toml")).collect();
    let rest = [
        ":9:9: cannot read the key",
        ":11:20: an item of `install` must be a text, not a whole number",
        ":11:23: `a b` does not name a package",
        ":11:30: `vim` is both installed and excluded",
        ":14:12: `usr/**` is not an absolute path",
        ":14:22: `/a[` is not a glob",
        ":15:12: the overlay",
        ":16:9: `content` is missing in a `file`",
        ":16:18: `etc/x` is not an absolute path",
        ":16:65: a file cannot have both content and link",
        ":16:78: `999` is not a mode",
        ":17:2: `stub` is missing in `[boot]`",
        ":18:10: `kernel` must be a text, not a whole number",
        ":19:12: `ext4.ko` is a file name",
        ":20:11: `panic=1` is set by slipway itself",
        ":22:19: `timeout_seconds` is out of range",
        ":24:12: `/var/lib` is not below /etc",
        ":27:14: too small for the hash tree of a root of 8192 MiB",
        ":28:2: unknown key `boots` in the recipe",
    ];
    assert_eq!(lines.len(), 6 + rest.len(), "{found}");
    for (line, expected) in lines[6..].iter().zip(rest) {
        assert!(line.starts_with(&format!("test.toml{expected}")), "{line} instead of {expected}");
    }
    assert!(found.ends_with("25 mistakes"), "{found}");
}

#[test]
fn errors_of_syntax_are_shown_alone() {
    let fixture = Fixture::new();
    fixture.write_file("recipes/test.toml", "schema = 1\nname = \nversion = \"1.0\n");
    let found = problems_of(&fixture);
    assert!(found.contains("test.toml:2:"), "{found}");
    assert!(found.contains("test.toml:3:"), "{found}");
    assert!(!found.contains("missing in the recipe"), "{found}");
}

#[test]
fn fragments_merge() {
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.recipe_path()).expect("text");
    let extended = text
        .replace(
            "schema = 1\n",
            "schema = 1\nextends = [\"fragments/a.toml\", \"fragments/b.toml\"]\n",
        )
        .replace("version = \"1.0\"\n", "");
    fixture.write_file("recipes/test.toml", extended);
    fixture.write_file("recipes/fragments/base.toml", "[packages]\ninstall = [\"base\"]\n");
    fixture.write_file(
        "recipes/fragments/a.toml",
        "extends = [\"base.toml\"]\nversion = \"1\"\nname = \"other\"\n[packages]\ninstall = [\"a\"]\n[root]\noverlay = [\"tree\"]\n",
    );
    fixture.write_file("recipes/fragments/tree/etc/x", "");
    fixture.write_file(
        "recipes/fragments/b.toml",
        "extends = [\"./base.toml\"]\nversion = \"2\"\n[packages]\ninstall = [\"b\"]\n[health]\ntries = 5\n",
    );
    let recipe = fixture.recipe();
    assert_eq!(recipe.name.as_str(), "test");
    assert_eq!(recipe.version.as_str(), "2");
    assert_eq!(recipe.health.tries, 5);
    let install: Vec<&str> = recipe.packages.install.iter().map(Requirement::as_str).collect();
    assert_eq!(install, ["a", "app", "b", "base"]);
    assert_eq!(recipe.root.overlay, [fixture.path("recipes/fragments/tree")]);

    fixture.write_file("recipes/fragments/a.toml", "packages = 3\n");
    fixture.write_file("recipes/fragments/b.toml", "extends = [\"none.toml\"]\nversoin = \"2\"\n");
    let found = problems_of(&fixture);
    assert!(found.contains("fragments/b.toml:1:12: "), "{found}");
    assert!(found.contains("none.toml: cannot read it: No such file"), "{found}");
}

#[test]
fn fragments_that_extend_each_other_end() {
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.recipe_path()).expect("text");
    fixture.write_file("recipes/test.toml", format!("extends = [\"loop.toml\"]\n{text}"));
    fixture.write_file("recipes/loop.toml", "extends = [\"test.toml\", \"loop.toml\"]\n");
    assert_eq!(fixture.recipe().packages.install.len(), 1);
}

#[test]
fn a_pinned_key_must_be_the_one_in_the_file() {
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.recipe_path()).expect("text");
    let keys = "[{ path = \"../keys/trusted\", fingerprint = \"2BC9 4FFF 7015 A5F2 8F15 37AD 0CD9 FED3 3135 CE90\" }]";
    fixture.write_file("recipes/test.toml", text.replace("[\"../keys/trusted\"]", keys));
    let error = fixture.lock().expect_err("another key");
    assert!(
        error.contains("but the recipe wants 2BC94FFF7015A5F28F1537AD0CD9FED33135CE90"),
        "{error}"
    );
    fixture.write_file(
        "recipes/test.toml",
        text.replace("[\"../keys/trusted\"]", &keys.replace("trusted", "none")),
    );
    let found = problems_of(&fixture);
    assert!(found.contains("its fingerprint must be 2BC94FFF"), "{found}");
}

#[test]
fn an_unreadable_recipe_is_named() {
    let fixture = Fixture::new();
    let error = Recipe::load(&fixture.path("recipes/none.toml")).expect_err("missing");
    assert!(
        error.to_string().contains("recipes/none.toml: cannot read it: No such file"),
        "{error}"
    );
    fixture.write_file("recipes/test.toml", [0xff, 0xfe]);
    assert!(problems_of(&fixture).contains("not UTF-8"));
}

#[test]
fn the_recipes_of_this_project_lack_nothing_but_what_is_fetched() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    for entry in fs::read_dir(folder).expect("recipes").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let Err(problems) = Recipe::load(&path) else {
            continue;
        };
        for problem in problems.iter() {
            assert!(problem.message().starts_with("cannot read the key"), "{problem}");
        }
    }
}

#[test]
fn what_has_no_end_is_no_recipe_and_no_key() {
    let error = Recipe::load(Path::new("/dev/zero")).expect_err("endless").to_string();
    assert!(error.contains("longer than a recipe"), "{error}");
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.recipe_path()).expect("text");
    fixture.write_file("recipes/test.toml", text.replace("../keys/trusted", "/dev/zero"));
    let error = Recipe::load(&fixture.recipe_path()).expect_err("endless").to_string();
    assert!(error.contains("longer than a key"), "{error}");
}

#[test]
fn formats_file_system_and_archives_are_chosen_by_words() {
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.recipe_path()).expect("text");
    let with = |root: &str, disk: &str| {
        let more = format!("{text}[root]\n{root}\n[disk]\nformats = {disk}\n");
        fixture.write_file("recipes/test.toml", more);
    };
    let root = "filesystem = \"erofs-lz4\"\narchives = [\"oci\", \"tar\", \"oci\"]";
    with(root, "[\"qcow2\", \"vhdx-fixed\", \"qcow2\", \"raw\"]");
    let recipe = fixture.recipe();
    let texts: Vec<&str> = recipe.disk.formats.iter().map(|format| format.as_str()).collect();
    assert_eq!(texts, ["raw", "vhdx-fixed", "qcow2"]);
    assert_eq!(recipe.root.filesystem.as_str(), "erofs-lz4");
    assert_eq!(recipe.root.archives, crate::archive::Archive::ALL);
    with("filesystem = \"xfs\"\narchives = [\"zip\"]", "[\"vhd\"]");
    let found = problems_of(&fixture);
    for wrong in [
        "`xfs` is no root file system\n",
        "`zip` is no kind of archive\n",
        "`vhd` is no disk format\n",
        "possible are raw, vhdx, vhdx-fixed, qcow2",
    ] {
        assert!(found.contains(wrong), "{found}");
    }
}
