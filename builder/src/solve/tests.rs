//! Choosing packages: what is taken, and how a set that cannot be is explained.

use super::*;
use crate::evr::{Bound, Nevra, Sense};
use crate::repository::Package;

/// `name-version` of release 1; lists like `a >= 1, b`.
fn package(nevra: &str) -> Package {
    let (name_version, arch) = nevra.rsplit_once('.').expect("architecture");
    let (name, version) = name_version.rsplit_once('-').expect("version");
    let evr = Evr { epoch: 0, version: version.into(), release: "1".into() };
    Package {
        provides: vec![itself(name, &evr)],
        nevra: Nevra { name: name.into(), evr, arch: arch.into() },
        repository: 0,
        location: format!("{nevra}.rpm"),
        size: 1,
        digest: formats::Digest::of(nevra.as_bytes()),
        requires: Vec::new(),
        conflicts: Vec::new(),
        obsoletes: Vec::new(),
        files: Vec::new(),
    }
}

fn dependencies(list: &str) -> Vec<Dependency> {
    list.split(", ")
        .map(|text| {
            let words: Vec<&str> = text.split(' ').collect();
            match words[..] {
                [name, sign, version] if !name.starts_with('(') => Dependency {
                    name: name.into(),
                    bound: Sense::from_sign(sign).map(|sense| Bound::parse(sense, version)),
                },
                _ => Dependency::any(text),
            }
        })
        .collect()
}

impl Package {
    fn requiring(mut self, list: &str) -> Self {
        self.requires = dependencies(list);
        self
    }

    fn providing(mut self, list: &str) -> Self {
        self.provides.extend(dependencies(list));
        self
    }

    fn conflicting(mut self, list: &str) -> Self {
        self.conflicts = dependencies(list);
        self
    }

    fn obsoleting(mut self, list: &str) -> Self {
        self.obsoletes = dependencies(list);
        self
    }

    fn with_file(mut self, path: &str) -> Self {
        self.files.push(path.into());
        self
    }
}

fn words(list: &str) -> Vec<Requirement> {
    list.split_whitespace().map(|word| word.parse().expect("requirement")).collect()
}

fn solve(packages: Vec<Package>, install: &str, exclude: &str) -> Result<String, String> {
    let repositories = Repositories::from_packages(packages);
    let request = Request {
        install: words(install),
        exclude: words(exclude),
        parts: Vec::new(),
        arch: Arch::X86_64,
    };
    let resolution = resolve(&repositories, &request).map_err(|error| error.to_string())?;
    let name = |id: &PackageId| repositories.package(*id).nevra.to_string();
    Ok(resolution.packages.iter().map(name).collect::<Vec<_>>().join(" "))
}

#[test]
fn the_closure_takes_the_newest_that_fits() {
    let packages = vec![
        package("app-1.x86_64").requiring("lib >= 2, /usr/bin/sh"),
        package("lib-2.x86_64"),
        package("lib-10.x86_64"),
        package("lib-10.i686"),
        package("sh-1.noarch").with_file("/usr/bin/sh"),
        package("unrelated-1.noarch"),
    ];
    let found = solve(packages, "app", "");
    assert_eq!(found.as_deref(), Ok("app-1-1.x86_64 lib-10-1.x86_64 sh-1-1.noarch"));
}

#[test]
fn a_chosen_package_settles_a_choice() {
    let packages = || {
        vec![
            package("app-1.x86_64").requiring("mta"),
            package("zz-postfix-1.x86_64").providing("mta"),
            package("exim-1.x86_64").providing("mta"),
        ]
    };
    assert_eq!(solve(packages(), "app", "").as_deref(), Ok("app-1-1.x86_64 exim-1-1.x86_64"));
    let found = solve(packages(), "app zz-postfix", "");
    assert_eq!(found.as_deref(), Ok("app-1-1.x86_64 zz-postfix-1-1.x86_64"));
    let found = solve(packages(), "app", "exim");
    assert_eq!(found.as_deref(), Ok("app-1-1.x86_64 zz-postfix-1-1.x86_64"));
}

#[test]
fn a_candidate_in_conflict_gives_way() {
    let packages = vec![
        package("app-1.x86_64").requiring("base, mta"),
        package("base-1.x86_64").conflicting("exim"),
        package("exim-1.x86_64").providing("mta"),
        package("postfix-1.x86_64").providing("mta"),
    ];
    let found = solve(packages, "app", "");
    assert_eq!(found.as_deref(), Ok("app-1-1.x86_64 base-1-1.x86_64 postfix-1-1.x86_64"));
}

#[test]
fn rich_dependencies_are_followed() {
    let base = || {
        vec![
            package("a-1.x86_64").requiring("(none or b)"),
            package("b-1.x86_64"),
            package("c-1.x86_64").requiring("(d if b)"),
            package("d-1.x86_64").providing("x = 1"),
            package("e-1.x86_64").requiring("(d unless b)"),
            package("f-1.x86_64").requiring("(x with y)"),
            package("g-1.x86_64").providing("x = 2, y"),
            package("h-1.x86_64").requiring("(x without y)"),
        ]
    };
    let names = |install: &str| {
        let found = solve(base(), install, "").expect("solvable");
        found.replace("-1-1.x86_64", "")
    };
    assert_eq!(names("a"), "a b");
    assert_eq!(names("c"), "c");
    assert_eq!(names("a c"), "a b c d");
    assert_eq!(names("e"), "d e");
    assert_eq!(names("a e"), "a b e");
    assert_eq!(names("f"), "f g");
    assert_eq!(names("h"), "d h");
}

#[test]
fn an_unmet_need_is_explained() {
    let packages = vec![
        package("app-1.x86_64").requiring("middle"),
        package("middle-1.x86_64").requiring("lib >= 3"),
        package("lib-2.x86_64"),
        package("lib-4.i686"),
    ];
    let error = solve(packages, "app nothing", "").expect_err("unsolvable");
    let expected = "no set of packages fits the recipe
  nothing provides nothing
    asked for by the recipe
  nothing provides lib >= 3
    required by middle-1-1.x86_64
    middle-1-1.x86_64 is there as app-1-1.x86_64 requires middle
    app-1-1.x86_64 is there as the recipe asks for app
    turned down: lib-4-1.i686: made for i686
    turned down: lib-2-1.x86_64: provides lib = 2-1";
    assert_eq!(error, expected);
}

#[test]
fn contradictions_are_explained() {
    let packages = vec![
        package("a-1.x86_64").requiring("lib"),
        package("b-1.x86_64").requiring("lib < 2"),
        package("lib-1.x86_64"),
        package("lib-2.x86_64"),
    ];
    let error = solve(packages, "a b", "").expect_err("two versions");
    assert!(
        error.contains("turned down: lib-1-1.x86_64: lib-2-1.x86_64 is already chosen"),
        "{error}"
    );
    let packages =
        vec![package("a-1.x86_64").conflicting("b < 2"), package("b-1.x86_64").obsoleting("a")];
    let error = solve(packages, "a b", "").expect_err("conflict");
    assert!(error.contains("a-1-1.x86_64 conflicts with b-1-1.x86_64 (b < 2)"), "{error}");
    assert!(error.contains("b-1-1.x86_64 obsoletes a-1-1.x86_64 (a)"), "{error}");
}

#[test]
fn features_of_rpm_are_checked() {
    let packages = vec![
        package("a-1.x86_64").requiring("rpmlib(PayloadIsZstd) <= 5.4.18-1, rpmlib(Magic) <= 9"),
    ];
    let error = solve(packages, "a", "").expect_err("unknown feature");
    assert!(
        error.contains("a-1-1.x86_64 needs a newer rpm than slipway knows: rpmlib(Magic) <= 9")
    );
    assert!(!error.contains("Zstd"));
}

#[test]
fn the_order_of_metadata_does_not_matter() {
    let packages = || {
        vec![
            package("app-1.x86_64").requiring("x, y, z"),
            package("one-1.x86_64").providing("x, y"),
            package("two-1.x86_64").providing("y, z"),
            package("six-1.x86_64").providing("z, x"),
        ]
    };
    let forward = solve(packages(), "app", "");
    let backward = solve(packages().into_iter().rev().collect(), "app", "");
    assert!(forward.is_ok());
    assert_eq!(forward, backward);
}
