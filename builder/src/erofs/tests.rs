//! `fsck.erofs` and the kernel judge what is written.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::pieces::Buffered;
use crate::tree::judging::{TIME, compare, hard_tree, have, put};
use crate::tree::{Content, Metadata, Node};

fn image(tree: &Tree) -> (tempfile::NamedTempFile, ErofsImage) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = Buffered::new(file.as_file());
    let image = write(tree, [7; 16], TIME, &mut out).unwrap();
    out.flush().unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), image.size_bytes);
    (file, image)
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_extents_cover_them() {
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let (first, image_one) = image(&tree);
    let (second, image_two) = image(&tree.clone());
    assert_eq!(fs::read(first.path()).unwrap(), fs::read(second.path()).unwrap());
    assert_eq!(image_one, image_two);
    covers(&image_one);
}

/// The data of files reaches without gaps to the end.
fn covers(image: &ErofsImage) {
    let first = image.files.first().expect("a file with data").offset_bytes;
    let end = image.files.iter().fold(first, |at, extent| {
        assert_eq!(extent.offset_bytes, at);
        assert!(extent.len_bytes > 0 && extent.len_bytes % BLOCK_BYTES == 0);
        at + extent.len_bytes
    });
    assert_eq!(end, image.size_bytes);
}

/// What is held for an inode decides how many there may be.
#[test]
fn little_is_held_for_each_inode() {
    assert!(size_of::<layout::Placed<'_>>() <= 48);
}

#[test]
fn fsck_and_extraction_agree() {
    if !have("fsck.erofs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let (file, _) = image(&tree);
    let target = folder.path().join("out");
    extract(file.path(), &target);
    compare(&tree, &target, false);
}

/// Extracts with `fsck.erofs`, which checks everything it reads.
fn extract(image: &Path, target: &Path) {
    let extract = format!("--extract={}", target.display());
    let out = Command::new("fsck.erofs").arg(extract).arg(image).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = [out.stdout, out.stderr].concat();
    assert!(!String::from_utf8_lossy(&text).contains("<E>"), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn the_kernel_mounts_it() {
    let folder = tempfile::tempdir().unwrap();
    let tree = hard_tree(folder.path());
    let (file, _) = image(&tree);
    mount_and_compare(&tree, file.path(), folder.path());
}

fn mount_and_compare(tree: &Tree, image: &Path, folder: &Path) {
    let target = folder.join("mnt");
    let _ = fs::create_dir(&target);
    let options = ["-t", "erofs", "-o", "loop,ro"];
    let mount = Command::new("mount").args(options).arg(image).arg(&target).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        skip::because("no right or no loop device to mount with");
        return;
    }
    let result = std::panic::catch_unwind(|| compare(tree, &target, true));
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    result.unwrap();
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let refused = |node: Node, meta: Metadata| {
        let mut tree = Tree::new(TIME);
        put(&mut tree, "/x", node, meta);
        write(&tree, [0; 16], TIME, &mut Buffered::new(std::io::sink())).is_err()
    };
    let plain = Metadata::root(0o644, TIME);
    assert!(refused(Node::Symlink("t".repeat(4096)), plain.clone()));
    assert!(refused(Node::Symlink(String::new()), plain.clone()));
    assert!(refused(Node::CharDevice(4096, 0), plain.clone()));
    let missing = Path::new("/nonexistent/file").into();
    let content = Content::Range { file: missing, offset_bytes: 0, size_bytes: 1 };
    assert!(refused(Node::File(content), plain.clone()));
    let huge = Content::Range {
        file: Path::new("/dev/zero").into(),
        offset_bytes: 0,
        size_bytes: u64::MAX,
    };
    assert!(refused(Node::File(huge), plain.clone()));
    let mut attributes = plain;
    attributes.xattrs.insert("odd.name".into(), vec![]);
    assert!(refused(Node::Fifo, attributes));
}

/// Files whose compressed data begins and ends in every way there is.
fn compressible_tree() -> Tree {
    let mut tree = Tree::new(TIME);
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let random: Vec<u8> = (0..5 << 20).map(|_| noise()).collect();
    let text: Vec<u8> =
        (0..600_000_u32).flat_map(|n| format!("{n} bottles\n").into_bytes()).collect();
    let mut mixed = Vec::new();
    for at in 0..200 {
        mixed.extend_from_slice(&random[at * 7001..][..at * 97]);
        mixed.extend_from_slice(&text[at * 9001..][..at * 331]);
    }
    let zeros = vec![0; 11 << 20];
    for (name, bytes) in
        [("random", &random), ("text", &text), ("mixed", &mixed), ("zeros", &zeros)]
    {
        let around = |size: usize| [size - 1, size, size + 1];
        let sizes =
            [4097, 8192, 12_288, 65_536, 131_072, 200_000, 4 << 20].into_iter().flat_map(around);
        for size in sizes.chain([bytes.len()]).filter(|size| *size <= bytes.len()) {
            let node = Node::File(Content::bytes(&bytes[..size]));
            put(&mut tree, &format!("/{name}/{size}"), node, Metadata::root(0o644, TIME));
        }
    }
    let mut halves = random[..300_000].to_vec();
    halves.extend_from_slice(&text[..300_000]);
    halves.extend_from_slice(&random[..100]);
    put(&mut tree, "/halves", Node::File(Content::bytes(halves)), Metadata::root(0o644, 5));
    tree
}

fn packed_image(tree: &Tree) -> (tempfile::NamedTempFile, ErofsImage) {
    let folder = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut out = Buffered::new(file.as_file());
    let image = write_lz4(tree, [7; 16], TIME, folder.path(), &mut out).unwrap();
    out.flush().unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), image.size_bytes);
    (file, image)
}

#[test]
fn compressed_images_are_smaller_the_same_each_time_and_whole() {
    let tree = compressible_tree();
    let (file, packed) = packed_image(&tree);
    let (again, same) = packed_image(&tree);
    assert!(fs::read(file.path()).unwrap() == fs::read(again.path()).unwrap());
    assert_eq!(packed, same);
    let (_, plain) = image(&tree);
    assert!(
        packed.size_bytes < plain.size_bytes * 2 / 3,
        "{} {}",
        packed.size_bytes,
        plain.size_bytes
    );
    covers(&packed);
}

#[test]
fn fsck_and_the_kernel_read_compressed_files() {
    let folder = tempfile::tempdir().unwrap();
    for tree in [compressible_tree(), hard_tree(folder.path())] {
        let (file, _) = packed_image(&tree);
        let target = folder.path().join("out");
        if have("fsck.erofs") {
            extract(file.path(), &target);
            compare(&tree, &target, false);
            fs::remove_dir_all(&target).unwrap();
        }
        mount_and_compare(&tree, file.path(), folder.path());
    }
}

/// Programs and texts that every Debian has.
const SAMPLE: &str = "/usr/lib/x86_64-linux-gnu/perl-base";

#[test]
fn compression_is_as_good_as_that_of_mkfs() {
    let sample = std::env::var_os("SLIPWAY_SAMPLE_TREE").unwrap_or_else(|| SAMPLE.into());
    if !have("mkfs.erofs") || !Path::new(&sample).is_dir() {
        return skip::because(format_args!("no mkfs.erofs or no {SAMPLE}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(TIME);
    tree.overlay_dir(Path::new(&sample)).unwrap();
    let (_, plain) = image(&tree);
    let began = std::time::Instant::now();
    let (_, ours) = packed_image(&tree);
    let took = began.elapsed();
    let mkfs = |options: &[&str]| {
        let theirs = folder.path().join("theirs");
        let _ = fs::remove_file(&theirs);
        let mut command = Command::new("mkfs.erofs");
        command.args(["-T1700000000", "--all-root"]).args(options).arg(&theirs).arg(&sample);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::metadata(theirs).unwrap().len()
    };
    let began = std::time::Instant::now();
    let theirs = mkfs(&["-zlz4", "-C65536"]);
    let their_plain = mkfs(&[]);
    println!(
        "plain {} and {their_plain}, ours {} in {took:?}, mkfs.erofs {theirs} in {:?}",
        plain.size_bytes,
        ours.size_bytes,
        began.elapsed()
    );
    // Beside each one's own uncompressed image: mkfs.erofs packs the ends of
    // files more tightly, where ours keeps each in a place of its own.
    let ratio = |packed: u64, plain: u64| packed * 1000 / plain;
    let (mine, other) = (ratio(ours.size_bytes, plain.size_bytes), ratio(theirs, their_plain));
    assert!(mine <= other + other / 50, "{mine} and {other} in a thousand");
}
