//! The store: what is kept, what is refused, what stays behind.

use super::*;

fn files(store: &Store) -> Vec<String> {
    let mut files = crate::fixture::files_below(store.root());
    files.retain(|file| file != "gate" && !file.starts_with("leases/"));
    files
}

#[test]
fn only_what_was_announced_is_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("store");
    let digest = Digest::of(b"abc");
    let error = store.insert(b"ab".as_slice(), 3, &digest).expect_err("too short");
    assert!(matches!(error, StoreError::Size { expected: 3, received: 2 }));
    let error = store.insert(b"abcd".as_slice(), 3, &digest).expect_err("too long");
    assert!(matches!(error, StoreError::Size { expected: 3, .. }));
    let error = store.insert(b"abd".as_slice(), 3, &digest).expect_err("other bytes");
    assert!(matches!(error, StoreError::Digest { .. }));
    drop(store.receive(b"abc".as_slice(), 3, &digest, |_| {}).expect("received, not kept"));
    assert!(files(&store).is_empty());
    let path = store.insert(b"abc".as_slice(), 3, &digest).expect("right");
    assert_eq!(fs::read(&path).expect("readable"), b"abc");
    assert!(store.has(&digest, 3) && !store.has(&digest, 4));
    assert_eq!(files(&store), [format!("sha256/ba/{digest}")]);
}

#[test]
fn what_is_derived_is_made_once_or_not_at_all() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("store");
    let source = Digest::of(b"source");
    let broken = store.derived(&source, "payload", |file| {
        file.write_all(b"half").expect("written");
        Err(StoreError::NoHome)
    });
    assert!(broken.is_err() && files(&store).is_empty());
    let make = |file: &mut File| {
        file.write_all(b"whole").expect("written");
        Ok::<(), StoreError>(())
    };
    let path = store.derived(&source, "payload", make).expect("made");
    let again = store.derived(&source, "payload", |_| -> Result<(), StoreError> {
        panic!("it is there already")
    });
    assert_eq!(again.expect("there"), path);
    assert_eq!(fs::read(path).expect("readable"), b"whole");
}

#[test]
fn leftovers_of_the_dead_are_removed_and_work_of_the_living_is_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("store");
    fs::write(folder.path().join("tmp/1-dead"), "half").expect("leftover");
    let living = store.pending().expect("pending");
    Store::open(folder.path()).expect("opened by another");
    let left = files(&store);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(living.path().exists());
    drop(living);
    assert!(files(&store).is_empty());
}

#[test]
fn checks_are_remembered_by_whom_they_were_made() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("store");
    let (blob, one, other) = (Digest::of(b"blob"), Digest::of(b"one"), Digest::of(b"other"));
    store.note_checked(&blob, &one).expect("noted");
    assert!(store.is_checked(&blob, &one));
    assert!(!store.is_checked(&blob, &other));
}
