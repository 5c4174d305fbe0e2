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
    assert!(store.partial(&digest, 3).expect("looked for").is_none(), "it is there already");
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

/// Waits until somebody waits for the lock of a file, or `until` says so.
fn wait_for_waiter(inode: u64, until: impl Fn() -> bool) {
    let waits = |line: &str| line.contains("->") && line.contains(&format!(":{inode} "));
    while !until() && !fs::read_to_string("/proc/locks").expect("locks").lines().any(waits) {
        std::thread::yield_now();
    }
}

#[test]
fn a_download_is_left_to_whoever_is_about_to_name_it() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("store");
    let bytes = content(1);
    let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
    let path = folder.path().join(TEMPORARY).join(format!("{digest}{PARTIAL}"));
    let whole = || {
        fs::write(&path, &bytes).expect("written");
        let file = File::open(&path).expect("there");
        file.set_permissions(fs::Permissions::from_mode(0o444)).expect("read-only");
        file
    };
    // Its process was killed: it begins anew.
    drop(whole());
    let partial = store.partial(&digest, size).expect("begun").expect("not there");
    assert_eq!(partial.received(), 0);
    partial.discard();
    // Its process lives.
    let other = whole();
    other.lock().expect("locked");
    let target = store.blob_path(&digest);
    fs::create_dir_all(target.parent().expect("a folder")).expect("made");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.partial(&digest, size));
        let inode = other.metadata().expect("there").ino();
        wait_for_waiter(inode, || waiting.is_finished());
        fs::rename(&path, &target).expect("nobody took it");
        other.unlock().expect("unlocked");
        assert!(waiting.join().expect("ended").expect("asked").is_none());
    });
    assert!(store.has(&digest, size));
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

/// A store with these blobs; each was used an hour after the one before it.
fn filled(folder: &Path, contents: &[&[u8]]) -> Store {
    let store = Store::open(folder).expect("store");
    for (hour, content) in (1_u64..).zip(contents) {
        let digest = Digest::of(content);
        let path = store.insert(*content, content.len() as u64, &digest).expect("inserted");
        age(&path, 100 - hour);
    }
    // The lease of whoever filled it ends here.
    drop(store);
    Store::open(folder).expect("store")
}

fn age(path: &Path, hours: u64) {
    let when = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    File::open(path).and_then(|file| file.set_modified(when)).expect("its time");
}

fn at_most(bytes: u64) -> Collection {
    Collection { max: Some(Size(bytes)), ..Collection::default() }
}

fn has(store: &Store, content: &[u8]) -> bool {
    // Not `Store::has`, which would be a use.
    store.blob_path(&Digest::of(content)).exists()
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = filled(folder.path(), &[b"first", b"second", b"third"]);
    let user = Store::open(folder.path()).expect("store");
    assert!(user.has(&Digest::of(b"first"), 5));
    drop(user);
    let dry = Collection { dry_run: true, ..at_most(11) };
    assert_eq!(store.collect(&dry).expect("collected").removed_bytes, 6);
    assert!(has(&store, b"second"), "a dry run removes nothing");
    let done = store.collect(&at_most(11)).expect("collected");
    assert_eq!((done.removed_bytes, done.left_bytes, done.left_files), (6, 10, 2));
    assert!(has(&store, b"first") && !has(&store, b"second") && has(&store, b"third"));
    assert_eq!(store.collect(&Collection::default()).expect("collected").removed.len(), 0);
}

#[test]
fn what_is_used_or_kept_stays_whatever_the_limit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = filled(folder.path(), &[b"first", b"second", b"third"]);
    let user = Store::open(folder.path()).expect("store");
    assert!(user.has(&Digest::of(b"second"), 6));
    let keep = [Digest::of(b"third")].into();
    let done = store.collect(&Collection { keep, ..at_most(0) }).expect("collected");
    assert_eq!((done.left_bytes, done.in_use_bytes, done.kept_bytes), (11, 6, 5));
    assert!(!has(&store, b"first"));
    // A clone is the same user; the last one ends the use.
    let clone = user.clone();
    drop(user);
    store.collect(&at_most(0)).expect("collected");
    assert!(has(&store, b"second") && !has(&store, b"third"));
    drop(clone);
    store.collect(&at_most(0)).expect("collected");
    assert!(files(&store).is_empty(), "{:?}", files(&store));
}

#[test]
fn derived_files_go_before_blobs_and_with_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = filled(folder.path(), &[b"package"]);
    let (digest, by) = (Digest::of(b"package"), Digest::of(b"check"));
    let derive = || {
        let maker = Store::open(folder.path()).expect("store");
        let write = |file: &mut File| {
            file.write_all(b"unpacked").expect("written");
            Ok::<(), StoreError>(())
        };
        let path = maker.derived(&digest, "payload", write).expect("made");
        maker.note_checked(&digest, &by).expect("noted");
        age(&path, 50);
        age(&maker.blob_path(&digest), 50);
    };
    derive();
    store.collect(&at_most(7)).expect("collected");
    assert!(has(&store, b"package") && store.is_checked(&digest, &by));
    assert_eq!(files(&store).len(), 2, "{:?}", files(&store));
    derive();
    fs::remove_file(store.blob_path(&digest)).expect("removed");
    store.collect(&Collection::default()).expect("collected");
    assert!(files(&store).is_empty(), "{:?}", files(&store));
}

#[test]
fn leases_of_the_dead_protect_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = filled(folder.path(), &[b"first"]);
    let name =
        format!("sha256/{}/{}", &Digest::of(b"first").to_string()[..2], Digest::of(b"first"));
    fs::create_dir_all(folder.path().join("leases")).expect("made");
    fs::write(folder.path().join("leases/1-dead"), format!("{name}\n")).expect("written");
    store.collect(&at_most(0)).expect("collected");
    assert!(!has(&store, b"first") && !folder.path().join("leases/1-dead").exists());
}

#[test]
fn damage_is_found_and_removed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = filled(folder.path(), &[b"first", b"second"]);
    let rpm = crate::fixture::rpm("lib", "1", &[], crate::fixture::Key::None);
    let digest = Digest::of(&rpm);
    let blob = store.insert(rpm.as_slice(), rpm.len() as u64, &digest).expect("inserted");
    let payload = store.payload_path(&digest);
    crate::package::Package::open(&blob, &payload).expect("unpacked");
    let verify =
        |remove| store.verify(2, remove, &crate::progress::Progress::Quiet).expect("verified");
    let found = verify(true);
    assert_eq!((found.good, found.damaged.len(), found.unchecked.len()), (4, 0, 0));
    for path in [store.blob_path(&Digest::of(b"first")), payload.clone()] {
        let mut bytes = fs::read(&path).expect("readable");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("writable");
        fs::write(&path, bytes).expect("changed");
    }
    let found = verify(false);
    assert_eq!((found.good, found.damaged.len(), found.removed), (2, 2, false));
    assert!(found.damaged.iter().any(|damage| damage.why.contains("differs at byte")));
    let unseen = store.damage_seen().expect("readable");
    assert_eq!(verify(true).damaged.len(), 2);
    // what was built before is not taken for unchanged any more
    assert_ne!(store.damage_seen().expect("readable"), unseen);
    assert!(!payload.exists() && !has(&store, b"first") && has(&store, b"second"));
    assert_eq!(verify(true).damaged.len(), 0);
}

/// What the processes of the crash test put into the store.
fn content(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 3001 % 70_000).expect("small");
    number.to_le_bytes().into_iter().cycle().take(length + 8).collect()
}

/// A small generator (Knuth's MMIX constants): the same numbers each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

const CRASH_STORE: &str = "SLIPWAY_TEST_CRASH_STORE";
const CRASH_SEED: &str = "SLIPWAY_TEST_CRASH_SEED";
const BLOBS_OF_CRASH: u64 = 40;

/// One process of the crash test: inserts, derives and collects, and checks
/// that what it uses stays.
#[test]
#[ignore = "is started by `nothing_is_damaged_when_processes_are_killed`"]
fn crash_helper() {
    let Some(folder) = std::env::var_os(CRASH_STORE) else {
        return println!("skipped: not started by the crash test");
    };
    let seed = std::env::var(CRASH_SEED).expect("a seed").parse().expect("a number");
    let mut dice = Dice(seed);
    let store = Store::open(folder).expect("store");
    let mut used = Vec::new();
    for _ in 0..60 {
        let bytes = content(dice.next(BLOBS_OF_CRASH));
        let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
        match dice.next(8) {
            0 => drop(store.collect(&at_most(dice.next(600_000))).expect("collected")),
            1..4 => {
                if !store.has(&digest, size) {
                    store.insert(bytes.as_slice(), size, &digest).expect("inserted");
                }
                used.push((store.blob_path(&digest), bytes));
            }
            4 | 5 => {
                if let Some(mut partial) = store.partial(&digest, size).expect("begun") {
                    let from = usize::try_from(partial.received()).expect("small");
                    partial.append(&bytes[from..], |_| {}).expect("appended");
                    partial.finish().expect("whole").keep().expect("kept");
                }
                used.push((store.blob_path(&digest), bytes));
            }
            _ => {
                let make = |file: &mut File| {
                    file.write_all(&bytes).map_err(failed("write", Path::new("derived")))
                };
                let path = store.derived(&digest, "copy", make).expect("derived");
                used.push((path, bytes));
            }
        }
    }
    for (path, bytes) in used {
        assert_eq!(fs::read(&path).expect("what is in use stays"), bytes);
    }
}

fn start_crash_helper(folder: &Path, seed: u64) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "store::tests::crash_helper", "--ignored", "--quiet"])
        .env(CRASH_STORE, folder)
        .env(CRASH_SEED, seed.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started")
}

#[test]
fn nothing_is_damaged_when_processes_are_killed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut dice = Dice(20_261_125);
    let (mut killed, mut ended) = (0, 0);
    for round in 0..12 {
        let mut helpers: Vec<_> =
            (0..3).map(|number| start_crash_helper(folder.path(), round * 10 + number)).collect();
        for helper in &mut helpers {
            std::thread::sleep(std::time::Duration::from_millis(dice.next(40)));
            let _ = helper.kill();
        }
        for mut helper in helpers {
            let status = helper.wait().expect("ended");
            match status.code() {
                None => killed += 1,
                Some(0) => ended += 1,
                Some(code) => panic!("a helper failed with {code} in round {round}"),
            }
        }
        nothing_is_half_written(folder.path());
    }
    assert!(killed > 0, "{ended} ended, none was killed");
    // Nothing that was left behind is in anybody's way.
    let mut helpers: Vec<_> = (0..3).map(|seed| start_crash_helper(folder.path(), seed)).collect();
    for helper in &mut helpers {
        assert!(helper.wait().expect("ended").success());
    }
    nothing_is_half_written(folder.path());
    let store = Store::open(folder.path()).expect("store");
    store.collect(&at_most(0)).expect("collected");
    assert!(files(&store).is_empty(), "{:?}", files(&store));
}

fn nothing_is_half_written(folder: &Path) {
    let store = Store::open(folder).expect("store");
    let quiet = crate::progress::Progress::Quiet;
    let found = store.verify(1, false, &quiet).expect("verified");
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    for path in found.unchecked {
        let bytes = fs::read(folder.join(&path)).expect("readable");
        assert!(path.ends_with(Digest::of(&bytes).to_string()), "{} is half", path.display());
    }
}
