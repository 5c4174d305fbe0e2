//! Choosing packages: what is taken, and how a set that cannot be is explained.

use super::*;
use crate::evr::{Bound, Evr, Sense};
use crate::repository::listed::Listed;
use crate::repository::{Dependency, Package, Preference, Relations};

/// `name-version` of release 1; lists like `a >= 1, b`.
fn package(nevra: &str) -> Listed {
    let (name_version, arch) = nevra.rsplit_once('.').expect("architecture");
    let (name, version) = name_version.rsplit_once('-').expect("version");
    let evr = Evr { epoch: 0, version: version.into(), release: "1".into() };
    let package = Package {
        nevra: Nevra { name: name.into(), evr, arch: arch.into() },
        repository: 0,
        location: format!("{nevra}.rpm"),
        size: 1,
        digest: formats::Digest::of(nevra.as_bytes()),
        build_time: 0,
        relations: Relations::default(),
    };
    let none = Vec::new;
    Listed {
        package,
        requires: none(),
        provides: none(),
        conflicts: none(),
        obsoletes: none(),
        recommends: none(),
        supplements: none(),
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

impl Listed {
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

    fn recommending(mut self, list: &str) -> Self {
        self.recommends = dependencies(list);
        self
    }

    fn supplementing(mut self, list: &str) -> Self {
        self.supplements = dependencies(list);
        self
    }

    fn with_file(mut self, path: &str) -> Self {
        self.files.push(path.into());
        self
    }

    fn from(mut self, repository: usize) -> Self {
        self.package.repository = repository;
        self
    }

    fn built(mut self, time: u64) -> Self {
        self.package.build_time = time;
        self
    }
}

fn words(list: &str) -> Vec<Requirement> {
    list.split(", ").map(|word| word.parse().expect("requirement")).collect()
}

fn request(install: &str) -> Request {
    Request {
        install: words(install),
        exclude: Vec::new(),
        exclude_from: Vec::new(),
        only_from: Vec::new(),
        parts: Vec::new(),
        arch: Arch::X86_64,
        weak: false,
        snapshot: None,
        keep: Keep::default(),
    }
}

fn answer(packages: Vec<Listed>, request: &Request) -> Result<String, String> {
    let preferences = [10, 99].map(|priority| Preference { priority, cost: 1000 });
    let repositories = Repositories::from_listed(packages, preferences.to_vec());
    let resolution = resolve(&repositories, request).map_err(|error| error.to_string())?;
    let name = |id: &PackageId| repositories.package(*id).nevra.to_string();
    Ok(resolution.packages.iter().map(name).collect::<Vec<_>>().join(" "))
}

fn solve(packages: Vec<Listed>, install: &str, exclude: &str) -> Result<String, String> {
    let mut request = request(&install.replace(' ', ", "));
    request.exclude =
        exclude.split_whitespace().map(|word| word.parse().expect("pattern")).collect();
    answer(packages, &request)
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
    // As libsolv reads it: d, and not b.
    assert!(solve(base(), "a e", "").is_err());
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
fn what_dnf_understands_on_its_command_line_is_said_to_be_written_otherwise() {
    let packages = || vec![package("lib-x-2.x86_64"), package("lib-1.x86_64")];
    for (wish, hint) in [
        ("lib-x-2.0-1", "\n    a version is written \"lib-x = 2.0-1\""),
        ("lib*", "\n    packages are named one by one: patterns are for `exclude`"),
        ("lib-y", "asked for by the recipe"),
        ("gone-1.0", "asked for by the recipe"),
    ] {
        let error = solve(packages(), wish, "").expect_err("unsolvable");
        assert!(error.ends_with(hint), "{error}");
    }
}

#[test]
fn an_older_version_is_taken_where_the_newest_cannot_be() {
    let packages = vec![
        package("a-1.x86_64").requiring("lib"),
        package("b-1.x86_64").requiring("lib < 2"),
        package("lib-1.x86_64"),
        package("lib-2.x86_64"),
    ];
    let found = solve(packages, "a b", "");
    assert_eq!(found.as_deref(), Ok("a-1-1.x86_64 b-1-1.x86_64 lib-1-1.x86_64"));
}

#[test]
fn contradictions_are_explained() {
    let packages = vec![
        package("a-1.x86_64").requiring("lib >= 2"),
        package("b-1.x86_64").requiring("middle"),
        package("middle-1.x86_64").requiring("lib < 2"),
        package("lib-1.x86_64"),
        package("lib-2.x86_64"),
    ];
    let error = solve(packages, "a b", "").expect_err("two versions");
    let expected = "no set of packages fits the recipe
  lib-2-1.x86_64 cannot be there together with lib-1-1.x86_64
    lib-2-1.x86_64 is there as a-1-1.x86_64 requires lib >= 2
    a-1-1.x86_64 is there as the recipe asks for a
    lib-1-1.x86_64 is there as middle-1-1.x86_64 requires lib < 2
    middle-1-1.x86_64 is there as b-1-1.x86_64 requires middle
    b-1-1.x86_64 is there as the recipe asks for b";
    assert_eq!(error, expected);
    let packages = vec![package("a-1.x86_64").conflicting("b < 2"), package("b-1.x86_64")];
    let error = solve(packages, "a b", "").expect_err("conflict");
    assert!(error.contains("a-1-1.x86_64 conflicts with b-1-1.x86_64 (b < 2)"), "{error}");
    let packages = vec![
        package("a-1.x86_64").requiring("(b unless c)"),
        package("b-1.x86_64"),
        package("c-1.x86_64"),
    ];
    let error = solve(packages, "a c", "").expect_err("forbidden");
    assert!(
        error.contains("a-1-1.x86_64 requires (b unless c), and there is c-1-1.x86_64"),
        "{error}"
    );
}

#[test]
fn what_is_obsoleted_gives_way() {
    let packages =
        vec![package("a-1.x86_64"), package("b-1.x86_64").obsoleting("a"), package("c-1.x86_64")];
    let found = solve(packages, "a c", "");
    assert_eq!(found.as_deref(), Ok("b-1-1.x86_64 c-1-1.x86_64"));
}

#[test]
fn kernels_may_be_there_in_several_versions() {
    let packages = vec![package("kernel-1.x86_64"), package("kernel-2.x86_64")];
    let found = answer(packages, &request("kernel = 1, kernel = 2"));
    assert_eq!(found.as_deref(), Ok("kernel-1-1.x86_64 kernel-2-1.x86_64"));
}

#[test]
fn priority_wins_over_version() {
    let packages = || vec![package("a-1.x86_64").from(0), package("a-2.x86_64").from(1)];
    assert_eq!(answer(packages(), &request("a")).as_deref(), Ok("a-1-1.x86_64"));
    assert_eq!(answer(packages(), &request("a >= 2")).as_deref(), Ok("a-2-1.x86_64"));
}

/// dnf loads the better repository first, wherever it is defined, and looks at
/// what packages of the other one need before: that brings `mail` in, and no
/// other shell is looked for.
#[test]
fn needs_of_the_worse_repository_are_looked_at_first() {
    let packages = vec![
        package("mail-1.x86_64").with_file("/usr/bin/sh").from(1),
        package("base-1.x86_64").requiring("lib").from(1),
        package("lib-1.x86_64").from(0),
        package("lib-2.x86_64").requiring("mail").from(0),
        package("py-1.x86_64").requiring("/usr/bin/sh").from(0),
        package("x-1.x86_64").with_file("/usr/bin/sh").from(0),
    ];
    let found = answer(packages, &request("py, base"));
    let expected = "base-1-1.x86_64 lib-2-1.x86_64 mail-1-1.x86_64 py-1-1.x86_64";
    assert_eq!(found.as_deref(), Ok(expected));
}

#[test]
fn what_was_excluded_is_named_where_it_is_missed() {
    let packages = vec![
        package("app-1.x86_64").requiring("cap"),
        package("one-1.x86_64").providing("cap"),
        package("two-1.x86_64").providing("cap").requiring("gone"),
    ];
    assert_eq!(solve(packages.clone(), "app", "").as_deref(), Ok("app-1-1.x86_64 one-1-1.x86_64"));
    let error = solve(packages.clone(), "app", "one").expect_err("impossible");
    assert!(error.contains("one-1-1.x86_64 does not count: excluded by the recipe"), "{error}");
    assert!(error.contains("nothing provides gone"), "{error}");
    let error = solve(packages, "app", "one two").expect_err("impossible");
    assert!(error.contains("nothing provides cap\n    required by app-1-1.x86_64"), "{error}");
    assert!(error.contains("turned down: one-1-1.x86_64: excluded by the recipe"), "{error}");
}

#[test]
fn weak_dependencies_are_followed_if_wanted() {
    let packages = || {
        vec![
            package("a-1.x86_64").recommending("b, none"),
            package("b-1.x86_64"),
            package("c-1.x86_64").supplementing("(a and b)"),
        ]
    };
    assert_eq!(answer(packages(), &request("a")).as_deref(), Ok("a-1-1.x86_64"));
    let weak = Request { weak: true, ..request("a") };
    let found = answer(packages(), &weak);
    assert_eq!(found.as_deref(), Ok("a-1-1.x86_64 b-1-1.x86_64 c-1-1.x86_64"));
}

#[test]
fn a_snapshot_forgets_what_came_later() {
    let packages = vec![package("a-1.x86_64").built(86_399), package("a-2.x86_64").built(86_400)];
    let snapshot = Some("1970-01-01".parse().expect("a day"));
    let found = answer(packages, &Request { snapshot, ..request("a") });
    assert_eq!(found.as_deref(), Ok("a-1-1.x86_64"));
}

#[test]
fn what_is_kept_moves_only_if_it_must() {
    let packages = || {
        vec![
            package("app-1.x86_64").requiring("lib, other"),
            package("app-2.x86_64").requiring("lib >= 2, other"),
            package("lib-1.x86_64"),
            package("lib-2.x86_64"),
            package("lib-3.x86_64"),
            package("other-1.x86_64"),
            package("other-2.x86_64"),
        ]
    };
    let kept = |nevra: &str| {
        let one = package(nevra).package;
        Kept { nevra: one.nevra, digest: one.digest }
    };
    let keep = |list: &[&str], is_whole| Request {
        keep: Keep {
            packages: list.iter().map(|one| kept(one)).collect(),
            is_whole,
            ..Keep::default()
        },
        ..request("app")
    };
    let all = ["app-1.x86_64", "lib-1.x86_64", "other-1.x86_64"];
    let old = "app-1-1.x86_64 lib-1-1.x86_64 other-1-1.x86_64";
    assert_eq!(answer(packages(), &keep(&all, true)).as_deref(), Ok(old));
    assert_eq!(answer(packages(), &keep(&all, false)).as_deref(), Ok(old));
    let found = answer(packages(), &keep(&all[1..], false));
    assert_eq!(found.as_deref(), Ok("app-2-1.x86_64 lib-3-1.x86_64 other-1-1.x86_64"));
    let gone = ["app-1.x86_64", "lib-0.x86_64", "other-1.x86_64"];
    let found = answer(packages(), &keep(&gone, true));
    assert_eq!(found.as_deref(), Ok("app-1-1.x86_64 lib-3-1.x86_64 other-1-1.x86_64"));
}

#[test]
fn a_package_that_excludes_itself_is_refused() {
    let offered = || package("a-1.x86_64").providing("c");
    let unless = offered().requiring("(b unless c)");
    let error = answer(vec![unless, package("b-1.x86_64")], &request("a")).expect_err("impossible");
    assert!(error.contains("requires (b unless c), which cannot be once it is there"), "{error}");
    let always = offered().conflicting("(b or (c if nothing))");
    let error = answer(vec![always, package("b-1.x86_64")], &request("a, b"));
    assert!(error.is_err(), "{error:?}");
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
fn more_versions_of_a_package_than_can_be_compared_are_refused() {
    let versions = |count| (1..=count).map(|at| package(&format!("a-{at}.x86_64"))).collect();
    assert_eq!(answer(versions(200), &request("a")).as_deref(), Ok("a-200-1.x86_64"));
    let error = answer(versions(400), &request("a")).expect_err("80,000 pairs");
    assert!(error.starts_with("a-") && error.contains("more than 100000 rules"), "{error}");
}
