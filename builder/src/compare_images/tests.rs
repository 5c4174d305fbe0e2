//! Images that differ in one byte each.

use std::os::unix::fs::FileExt;

use super::*;
use crate::disk;
use crate::recipe::Recipe;
use crate::tree::{Tree, TreePath};
use crate::{erofs as erofs_writer, fixture};

/// A folder with a disk and documents, as a build makes them but for the UKI.
fn image(folder: &Path, contents: &str) {
    fs::create_dir_all(folder).expect("made");
    let mut tree = Tree::new(7);
    for (path, bytes) in
        [("/etc/small", contents.as_bytes().to_vec()), ("/usr/bin/large", vec![3; 300_000])]
    {
        tree.write(&TreePath::new(path).expect("a path"), 0o644, bytes).expect("written");
    }
    let root_path = folder.join("root");
    let mut root = File::create_new(&root_path).expect("made");
    let mut out = crate::pieces::Buffered::new(&mut root);
    erofs_writer::write(&tree, [1; 16], 7, &mut out).expect("an image");
    out.flush().expect("written");
    let root = File::open(&root_path).expect("there");
    let mib = 1 << 20;
    let sizes = disk::Sizes { esp: mib, uki: mib, root: 2 * mib, verity: mib, data: mib };
    let gpt = disk::layout(&sizes, b"seed");
    let out = File::create_new(folder.join(DISK_FILE)).expect("made");
    out.set_len(gpt.disk_bytes).expect("sparse");
    for (offset, bytes) in gpt.encode().expect("fits") {
        out.write_all_at(&bytes, offset).expect("written");
    }
    let mut bytes = vec![0; usize::try_from(root.metadata().expect("there").len()).expect("small")];
    root.read_exact_at(&mut bytes, 0).expect("read");
    out.write_all_at(&bytes, gpt.named("root-a").expect("there").start_bytes).expect("written");
    fs::remove_file(root_path).expect("removed");
    fs::write(folder.join(report::PACKAGES_FILE), "a 1\nb 2\n").expect("written");
    fs::write(folder.join(report::MANIFEST_FILE), "{\"a\": {\"b\": 1}}\n").expect("written");
}

fn compared(change: impl FnOnce(&Path)) -> Vec<String> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    image(&one, "same");
    image(&other, "same");
    change(&other);
    let found = compare(&one, &other).expect("readable");
    found.iter().map(ToString::to_string).collect()
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

/// Where `needle` begins in a file.
fn find(path: &Path, needle: &[u8]) -> u64 {
    let bytes = fs::read(path).expect("there");
    bytes.windows(needle.len()).position(|window| window == needle).expect("in it") as u64
}

#[test]
fn the_same_is_the_same() {
    assert!(compared(|_| {}).is_empty());
}

#[test]
fn documents_are_named_with_line_and_field() {
    let found = compared(|folder| flip(&folder.join(report::PACKAGES_FILE), 4));
    assert_eq!(found, ["packages.txt: line 2: \"b 2\" here, \"c 2\" there"]);
    let found = compared(|folder| {
        fs::write(folder.join(report::MANIFEST_FILE), "{\"a\": {\"b\": 2}}\n").expect("written");
    });
    assert_eq!(found, ["manifest.json: a.b: 1 here, 2 there"]);
    let found =
        compared(|folder| fs::remove_file(folder.join(report::PACKAGES_FILE)).expect("gone"));
    assert!(found.len() == 1 && found[0].starts_with("packages.txt: missing from"), "{found:?}");
    let found = compared(|folder| fs::write(folder.join("more.qcow2"), "x").expect("written"));
    assert!(found.len() == 1 && found[0].starts_with("more.qcow2: missing from"), "{found:?}");
}

#[test]
fn files_of_the_root_are_named() {
    let disk = |folder: &Path| folder.join(DISK_FILE);
    let found = compared(|folder| flip(&disk(folder), find(&disk(folder), b"same")));
    assert!(found.len() == 1, "{found:?}");
    assert!(found[0].starts_with("disk.raw, partition root-a: /etc/small: content"), "{found:?}");
    let found = compared(|folder| flip(&disk(folder), find(&disk(folder), &[3; 4096]) + 200_000));
    assert!(
        found[0].starts_with("disk.raw, partition root-a: /usr/bin/large: content"),
        "{found:?}"
    );
    let found = compared(|folder| {
        let name = find(&disk(folder), b"small");
        flip(&disk(folder), name);
    });
    assert!(found.iter().any(|what| what.contains("/etc/small")), "{found:?}");
    assert!(found.iter().any(|what| what.contains("/etc/rmall")), "{found:?}");
}

#[test]
fn partitions_and_what_lies_between_are_named() {
    let disk = |folder: &Path| folder.join(DISK_FILE);
    for (mib, name) in [(1, "esp"), (2, "state"), (7, "uki-a"), (10, "root-a-verity"), (15, "data")]
    {
        let found = compared(|folder| flip(&disk(folder), mib << 20));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("disk.raw, partition {name}: ")), "{found:?}");
    }
    let found = compared(|folder| flip(&disk(folder), 900_000));
    assert!(found[0].starts_with("disk.raw, outside of the partitions"), "{found:?}");
}

#[test]
fn damaged_roots_are_read_without_a_panic() {
    let folder = tempfile::tempdir().expect("temporary folder");
    image(&folder.path().join("one"), "same");
    let path = folder.path().join("one").join(DISK_FILE);
    let file = File::options().read(true).write(true).open(&path).expect("there");
    let disk = Bytes::of(&file).expect("its length");
    let gpt = Gpt::read(&mut DiskFile(&disk)).expect("a table");
    let begin = gpt.named("root-a").expect("there").start_bytes;
    let root = disk.window(begin, 400_000);
    let good = erofs::list(&root).expect("an image");
    // Superblock, inodes and directories, one byte after the other.
    let mut noticed = 0;
    for at in 1024..3000 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, begin + at).expect("read");
        file.write_all_at(&[!byte[0]], begin + at).expect("written");
        noticed += usize::from(erofs::list(&root).as_ref() != Some(&good));
        file.write_all_at(&byte, begin + at).expect("restored");
    }
    assert!(noticed > 100, "{noticed}");
    assert_eq!(erofs::list(&root), Some(good));
}

#[test]
fn a_recipe_is_flattened_to_one_that_says_the_same() {
    let fixture = fixture::Fixture::new();
    let overlay = fixture.path("overlays/first/etc/name");
    fs::create_dir_all(overlay.parent().expect("below")).expect("made");
    fs::write(&overlay, "1").expect("written");
    let mut text = fs::read_to_string(fixture.recipe_path()).expect("there");
    text += "[root]\noverlay = [\"../overlays/first\"]\n[[root.file]]\npath = \"/etc/x\"\n\
             content = '''\na \"quoted\" \\ line\n'''\n";
    text = text.replace("url = \"../repository\"", "url = \"https://me:secret@host/x\"");
    fs::write(fixture.recipe_path(), text).expect("written");
    let recipe = fixture.recipe();
    assert!(!recipe.flat.text.contains("secret"), "{}", recipe.flat.text);
    let lock = crate::lock::Lock::load(&{
        // Any lock does; it is carried along as it is.
        let other = fixture::Fixture::new();
        let path = fixture.path("lock.toml");
        other.lock().expect("solvable").save(&path).expect("written");
        path
    })
    .expect("a lock");
    let archive = fixture.path("inputs.tar");
    crate::inputs::write_archive(&recipe, &lock, &archive).expect("written");
    let into = fixture.path("unpacked");
    fs::create_dir(&into).expect("made");
    crate::inputs::unpack(&archive, &into).expect("unpacked");
    let again = Recipe::load(&into.join("recipe.toml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.inputs_digest(), recipe.inputs_digest());
    assert_eq!(format!("{:?}", again.root.files), format!("{:?}", recipe.root.files));
    assert_eq!(fs::read(again.root.overlay[0].join("etc/name")).expect("there"), b"1");
    // A second time it is the same to the byte.
    assert_eq!(again.flat.text, recipe.flat.text);
    let second = fixture.path("second.tar");
    crate::inputs::write_archive(&again, &lock, &second).expect("written");
    assert_eq!(fs::read(&archive).expect("there"), fs::read(&second).expect("there"));
}

#[test]
fn archives_of_inputs_that_lead_elsewhere_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let archive = |name: &str, link: Option<&str>| {
        let path = folder.path().join("inputs.tar");
        let mut tar = tar::Builder::new(File::create(&path).expect("made"));
        let mut add = |name: &str, kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.set_cksum();
            tar.append(&header, io::empty()).expect("added");
        };
        if let Some(link) = link {
            add("overlay", tar::EntryType::Symlink, link);
        }
        let kind =
            if name.ends_with("device") { tar::EntryType::Char } else { tar::EntryType::Regular };
        add(name, kind, "");
        drop(tar.into_inner());
        let into = tempfile::tempdir().expect("temporary folder");
        crate::inputs::unpack(&path, into.path())
    };
    archive("keys/good", None).expect("nothing is wrong with it");
    for (name, link) in [
        ("../escaped", None),
        ("/tmp/escaped", None),
        ("overlay/x", Some("/tmp")),
        ("a-device", None),
    ] {
        archive(name, link).expect_err(name);
    }
}
