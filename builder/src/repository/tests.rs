//! Signed metadata: what is read, and what is not believed.

use std::fs;

use super::names::Names;
use super::primary;
use super::source::Source;
use crate::fixture::{Fixture, Key, chain};
use crate::recipe::{Repository, RepositoryPlace};

fn error_of(fixture: &Fixture) -> String {
    fixture.lock().expect_err("refused")
}

#[test]
fn metadata_must_be_signed_by_a_trusted_key() {
    let mut fixture = Fixture::new();
    fixture.metadata_key = Key::Other;
    fixture.publish();
    let error = error_of(&fixture);
    assert!(
        error.contains("repository base (../repository): cannot trust repodata/repomd.xml"),
        "{error}"
    );
    assert!(error.contains("not among the trusted ones"), "{error}");
    fixture.metadata_key = Key::None;
    fixture.publish();
    assert!(error_of(&fixture).contains("not signed"));
    fixture.metadata_key = Key::Trusted;
    fixture.publish();
    let path = fixture.path("repository/repodata/repomd.xml");
    let text = fs::read_to_string(&path).expect("text");
    fs::write(&path, text + " ").expect("written");
    assert!(error_of(&fixture).contains("the signed bytes were changed"));
    fixture.write_file("repository/repodata/repomd.xml.asc", "no signature");
    assert!(error_of(&fixture).contains("cannot be read"));
}

/// An owner may take a publication back; a mirror may only lag behind, or be
/// made to.
#[test]
fn older_metadata_counts_at_its_own_address_only() {
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.path("repository/repodata/repomd.xml")).expect("text");
    let publish = |revision: u32| {
        let element = format!("<repomd><revision>{revision}</revision>");
        fixture.publish_repomd(&text.replacen("<repomd>", &element, 1));
    };
    let mut repository = fixture.recipe().repositories.remove(0);
    let open = |repository: &Repository| Source::open(repository, &fixture.store());
    publish(2);
    assert!(!open(&repository).expect("the first").went_back);
    publish(1);
    assert!(open(&repository).expect("its own address").went_back);
    assert!(!open(&repository).expect("as it was seen last").went_back);
    publish(2);
    open(&repository).expect("newer");
    publish(1);
    let place = RepositoryPlace::Folder(fixture.path("nowhere"));
    repository.mirrors.push(std::mem::replace(&mut repository.place, place));
    let error = chain(&open(&repository).expect_err("a mirror that lags behind"));
    assert!(error.contains("repomd.xml is older than what this store has seen"), "{error}");
}

#[test]
fn metadata_must_be_what_the_signed_list_says() {
    let fixture = Fixture::new();
    let path = fixture.path("repository/repodata/primary.xml.zst");
    let good = fs::read(&path).expect("bytes");
    let mut changed = good.clone();
    changed[10] ^= 1;
    fs::write(&path, changed).expect("written");
    let error = error_of(&fixture);
    assert!(error.contains("cannot take repodata/primary.xml.zst: the SHA-256 is"), "{error}");
    fs::write(&path, &good[..good.len() - 1]).expect("written");
    assert!(error_of(&fixture).contains("expected"));
    fs::remove_file(&path).expect("removed");
    assert!(error_of(&fixture).contains("does not exist"));
    fs::write(&path, good).expect("written");
    fixture.lock().expect("good again");
}

#[test]
fn metadata_cannot_unpack_to_more_than_announced() {
    let fixture = Fixture::new();
    let path = fixture.path("repository/repodata/repomd.xml");
    let text = fs::read_to_string(path).expect("text");
    let open_size = text.split("<open-size>").nth(1).and_then(|rest| rest.split('<').next());
    let open_size = open_size.expect("open-size").to_owned();
    for other in ["10", "99999"] {
        let element = |size: &str| format!("<open-size>{size}</open-size>");
        fixture.publish_repomd(&text.replacen(&element(&open_size), &element(other), 1));
        let error = error_of(&fixture);
        assert!(error.contains("cannot understand repodata/primary.xml.zst"), "{error}");
    }
    fixture.publish_repomd(&text.replacen("repodata/primary", "../primary", 1));
    // Otherwise the store would have it and nobody would look.
    fs::remove_dir_all(fixture.path("store")).expect("removed");
    assert!(error_of(&fixture).contains("leads out of the repository"));
    for broken in ["", "<", "<repomd/>", "<repomd><data type=\"primary\"/></repomd>", "<a><b></a>"]
    {
        fixture.publish_repomd(broken);
        assert!(error_of(&fixture).contains("cannot understand repodata/repomd.xml"), "{broken}");
    }
}

#[test]
fn file_lists_are_read_only_when_needed() {
    let mut fixture = Fixture::new();
    fixture.add("app", "1.0", &["lib"], Key::Trusted);
    fixture.publish();
    fs::remove_file(fixture.path("repository/repodata/filelists.xml.zst")).expect("removed");
    fixture.lock().expect("not needed");
    fixture.write_recipe("[\"app\", \"/usr/share/data/file\"]");
    assert!(error_of(&fixture).contains("filelists.xml.zst does not exist"));
    fixture.publish();
    let lock = fixture.lock().expect("found in the file lists");
    assert!(lock.packages.iter().any(|package| package.name == "data"));
}

/// What a hostile `primary.xml` says, if its own repository signs it.
#[test]
fn metadata_that_would_fill_memory_is_refused() {
    let long = "x".repeat(1000);
    let cases: [(String, &str); 8] = [
        ("<!DOCTYPE m [<!ENTITY a \"&b;&b;\">]><m>&a;</m>".to_owned(), "document type"),
        ("<m>&lol;</m>".to_owned(), "unknown entity"),
        ("<m>".repeat(1000), "deep"),
        (format!("<m><name>{}</name></m>", "a&amp;".repeat(3 << 20)), "text is too long"),
        (format!("<m {}/>", "a='' ".repeat(20_000)), "too long"),
        (format!("<m><!-- {} --></m>", long.repeat(5000)), "too long"),
        (format!("<{}/>", "n".repeat(100_000)), "too long"),
        (format!("<m><package>{}</package></m>", "<file/>".repeat(200_001)), "too many entries"),
    ];
    for (text, why) in cases {
        let error =
            primary::parse(text.as_bytes(), text.len() as u64, 0, &mut Names::default(), |_| {});
        let error = error.expect_err(why);
        assert!(error.contains(why), "{why:?} is not in: {error}");
    }
}

#[test]
fn sizes_that_no_file_has_are_refused() {
    let fixture = Fixture::new();
    let text = fs::read_to_string(fixture.path("repository/repodata/repomd.xml")).expect("text");
    let open_size = text.split("<open-size>").nth(1).and_then(|rest| rest.split('<').next());
    let open_size = format!("<open-size>{}<", open_size.expect("open-size"));
    for size in ["10737418240", "18446744073709551615"] {
        fixture.publish_repomd(&text.replacen(&open_size, &format!("<open-size>{size}<"), 1));
        let error = error_of(&fixture);
        assert!(error.contains("repository base") && error.contains("too large"), "{error}");
    }
    let huge = "<m><package><name>n</name><size package=\"109951162777600\"/></package></m>";
    let error =
        primary::parse(huge.as_bytes(), huge.len() as u64, 0, &mut Names::default(), |_| {});
    assert!(error.is_err());
}
