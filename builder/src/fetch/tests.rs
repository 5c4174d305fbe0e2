//! Fetching from a small repository: what is kept, and what is refused.

use std::fs;

use super::*;
use crate::fixture::{Fixture, Key, files_below, rpm};

fn fetch(fixture: &Fixture, lock: &Lock) -> Result<(), String> {
    let store = fixture.store();
    packages(lock, &fixture.recipe(), &store, &Progress::Quiet).map_err(|error| error.to_string())
}

/// Everything of packages that is in the store; metadata is there as well.
fn stored(fixture: &Fixture, lock: &Lock) -> usize {
    let store = fixture.store();
    assert!(files_below(&fixture.path("store/tmp")).is_empty(), "nothing half-done may stay");
    lock.all_packages().filter(|package| store.blob_path(&package.sha256).exists()).count()
}

#[test]
fn packages_are_fetched_once() {
    let fixture = Fixture::new();
    let lock = fixture.lock().expect("solvable");
    fetch(&fixture, &lock).expect("fetched");
    assert_eq!(stored(&fixture, &lock), 4);
    for package in lock.all_packages() {
        assert!(fixture.store().has(&package.sha256, package.size));
    }
    // Nothing is asked of the repository any more.
    fs::remove_dir_all(fixture.path("repository")).expect("removed");
    fetch(&fixture, &lock).expect("all there");
}

#[test]
fn bad_packages_are_refused_each_in_its_way() {
    let good = rpm("lib", "2.0", &[], Key::Trusted);
    let mut payload = good.clone();
    *payload.last_mut().expect("bytes") ^= 1;
    let mut header = good.clone();
    let at = header.windows(3).rposition(|window| window == b"MIT").expect("licence in the header");
    header[at] ^= 1;
    let cases: [(&str, Vec<u8>, &str); 6] = [
        (
            "unsigned",
            rpm("lib", "2.0", &[], Key::None),
            "its signature is not accepted: not signed",
        ),
        ("another key", rpm("lib", "2.0", &[], Key::Other), "which is not among the trusted ones"),
        ("another payload", payload, "its payload is not the one that was signed"),
        ("another header", header, "does not fit: the signed bytes were changed"),
        ("another package", rpm("bil", "2.0", &[], Key::Trusted), "it is bil-2.0-1.noarch"),
        ("no package", b"something else".to_vec(), "not an RPM package"),
    ];
    for (case, bytes, expected) in cases {
        let mut fixture = Fixture::new();
        fixture.add_bytes("lib", "2.0", &[], bytes);
        fixture.publish();
        let lock = fixture.lock().expect("solvable");
        let error = fetch(&fixture, &lock).expect_err(case);
        assert!(error.contains("lib-2.0-1.noarch from"), "{case}: {error}");
        assert!(error.contains(expected), "{case}: {error}");
        assert_eq!(stored(&fixture, &lock), 3, "{case}: the bad one must not stay");
    }
}

#[test]
fn files_that_are_not_what_was_locked_are_refused() {
    let fixture = Fixture::new();
    let lock = fixture.lock().expect("solvable");
    let file = fixture.package_file("lib");
    let good = fs::read(&file).expect("file");
    let mut changed = good.clone();
    changed[0] ^= 1;
    let cases: [(Option<&[u8]>, &str); 4] = [
        (Some(&good[..good.len() - 1]), "it is cut off"),
        (Some(&changed), "it is not the file that was locked"),
        (Some(&[good.as_slice(), b"more"].concat()), "it is not the file that was locked"),
        (None, "it is gone from the repository"),
    ];
    for (bytes, expected) in cases {
        match bytes {
            Some(bytes) => fs::write(&file, bytes).expect("written"),
            None => fs::remove_file(&file).expect("removed"),
        }
        let error = fetch(&fixture, &lock).expect_err(expected);
        assert!(error.contains("lib-2.0-1.noarch from") && error.contains(expected), "{error}");
        assert!(!fixture.store().has(&lock.packages[2].sha256, lock.packages[2].size));
    }
    fs::write(&file, good).expect("written");
    fetch(&fixture, &lock).expect("all good again");
    assert_eq!(stored(&fixture, &lock), 4);
}

#[test]
fn what_was_checked_with_other_keys_is_checked_again() {
    let fixture = Fixture::new();
    let lock = fixture.lock().expect("solvable");
    fetch(&fixture, &lock).expect("fetched");
    fixture.write_file("keys/trusted", Key::Other.public());
    let error = fetch(&fixture, &lock).expect_err("another key");
    assert!(error.contains("not among the trusted ones"), "{error}");
}

#[test]
fn broken_headers_do_not_panic() {
    let fixture = Fixture::new();
    let keyring = Keyring::new(&fixture.recipe().repositories[0].keys).expect("keys");
    let good = rpm("lib", "2.0", &[], Key::Trusted);
    let path = fixture.path("broken.rpm");
    let expected = fixture.lock().expect("solvable").packages[2].nevra();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        verify(&path, &keyring, &expected)
    };
    check(&good).expect("good");
    for end in (0..good.len()).step_by(13) {
        assert!(check(&good[..end]).is_err(), "cut off at {end}");
    }
    // The lead and the padding after the signature are not signed.
    let signed =
        good.windows(4).rposition(|window| window == [0x8e, 0xad, 0xe8, 1]).expect("header");
    for at in (signed..good.len()).step_by(11) {
        let mut bytes = good.clone();
        bytes[at] = !bytes[at];
        assert!(check(&bytes).is_err(), "changed at {at}");
    }
    for at in (96..signed).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] = 0xff;
        let _ = check(&bytes);
    }
}

#[test]
fn the_demo_repository_is_accepted() {
    let recipe = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/demo.toml");
    if !recipe.with_file_name("../out/repository/repodata/repomd.xml").exists() {
        skip::without_data("there is no demo repository");
        return;
    }
    let recipe = Recipe::load(&recipe).unwrap_or_else(|problems| panic!("{problems}"));
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("store");
    let repositories =
        crate::repository::Repositories::open(&recipe, &store, &Progress::Quiet).expect("metadata");
    let request = crate::solve::Request::of(&recipe);
    let resolution = crate::solve::resolve(&repositories, &request).expect("solvable");
    let lock = Lock::new(&recipe, &repositories, &resolution, Vec::new());
    if let Err(errors) = packages(&lock, &recipe, &store, &Progress::Quiet) {
        panic!("{errors}");
    }
}
