//! Packages of every format, unpacked; and damaged ones, refused.

use std::fs;
use std::process::Command;

use rpm::{BuildConfig, CompressionType, CompressionWithLevel, FileOptions, PackageBuilder};

use super::testing::{self, directory, file, link};
use super::*;

fn fill(builder: &mut PackageBuilder) {
    directory(builder, "/usr/share/kit");
    file(builder, "/usr/share/kit/text", "some text");
    file(builder, "/usr/share/kit/empty", "");
    file(builder, "/usr/share/kit/big", vec![7; 300_001]);
    link(builder, "/usr/share/kit/link", "text");
    for name in ["/usr/share/kit/one", "/usr/share/kit/two", "/usr/share/kit/three"] {
        let options = FileOptions::new(name).permissions(0o755).hardlink("set");
        builder.with_file_contents("linked", options).unwrap();
    }
    let caps = FileOptions::new("/usr/bin/ping").permissions(0o755).caps("cap_net_raw=ep");
    builder.with_file_contents("ping", caps.unwrap()).unwrap();
    let owned = FileOptions::new("/etc/kit.conf").permissions(0o640).user("kit").config();
    builder.with_file_contents("x = 1\n", owned).unwrap();
    builder.with_ghost(FileOptions::ghost("/var/log/kit.log")).unwrap();
    builder.with_special_file(FileOptions::fifo("/run/kit")).unwrap();
    let script = rpm::Scriptlet::new("").prog(vec!["/sbin/ldconfig"]);
    builder.post_install_script(script).pre_install_script("getent group kit\n");
}

fn find<'a>(package: &'a Package, path: &str) -> &'a PackageFile {
    package.files.iter().find(|file| file.path.as_str() == path).unwrap()
}

fn bytes(package: &Package, path: &str) -> Vec<u8> {
    find(package, path).content.as_ref().unwrap().read(1 << 20).unwrap()
}

fn check(package: &Package) {
    assert_eq!(package.identity.to_string(), "kit-1.0-1.noarch");
    assert_eq!(bytes(package, "/usr/share/kit/text"), b"some text");
    assert_eq!(bytes(package, "/usr/share/kit/empty"), b"");
    assert_eq!(bytes(package, "/usr/share/kit/big"), vec![7; 300_001]);
    for name in ["/usr/share/kit/one", "/usr/share/kit/two", "/usr/share/kit/three"] {
        assert_eq!(bytes(package, name), b"linked");
        assert_eq!(find(package, name).link_set, find(package, "/usr/share/kit/one").link_set);
        assert!(find(package, name).link_set.is_some());
    }
    assert_eq!(find(package, "/usr/share/kit/link").kind, FileKind::Symlink("text".into()));
    assert!(find(package, "/usr/bin/ping").capabilities.is_some());
    assert_eq!(find(package, "/usr/bin/ping").mode, 0o755);
    assert_eq!(&*find(package, "/etc/kit.conf").user, "kit");
    assert!(find(package, "/etc/kit.conf").config);
    let ghost = find(package, "/var/log/kit.log");
    assert!(ghost.ghost && ghost.content.is_none());
    let [pre, post] = &package.scriptlets[..] else { panic!("{:?}", package.scriptlets) };
    assert_eq!((pre.phase, post.phase), (Phase::Pre, Phase::Post));
    assert_eq!(post.program, ["/sbin/ldconfig"]);
}

#[test]
fn every_format_unpacks_once_and_is_indexed_again() {
    let compressions = [
        CompressionWithLevel::Zstd(3),
        CompressionWithLevel::Gzip(6),
        CompressionWithLevel::Xz(3),
        CompressionType::None.into(),
    ];
    for compression in compressions {
        for config in [BuildConfig::v4(), BuildConfig::v6()] {
            let folder = tempfile::tempdir().unwrap();
            let config = config.compression(compression);
            let rpm = testing::write_with(folder.path(), "kit", config, fill);
            let archive = folder.path().join("payload/kit.cpio");
            check(&Package::open(&rpm, &archive).unwrap());
            let before = fs::metadata(&archive).unwrap().modified().unwrap();
            check(&Package::open(&rpm, &archive).unwrap());
            assert_eq!(fs::metadata(&archive).unwrap().modified().unwrap(), before);
        }
    }
}

#[test]
fn the_archive_is_what_rpm2cpio_gives() {
    let folder = tempfile::tempdir().unwrap();
    let rpm = testing::write(folder.path(), "kit", fill);
    let archive = folder.path().join("kit.cpio");
    Package::open(&rpm, &archive).unwrap();
    let Ok(out) = Command::new("rpm2cpio").arg(&rpm).output() else {
        skip::because("rpm2cpio is not installed");
        return;
    };
    let ours = fs::read(&archive).unwrap();
    assert!(out.stdout.starts_with(&ours), "{} and {} bytes", out.stdout.len(), ours.len());
}

#[test]
fn damage_anywhere_is_an_error_and_leaves_no_archive() {
    let folder = tempfile::tempdir().unwrap();
    let rpm = testing::write(folder.path(), "kit", fill);
    let good = fs::read(&rpm).unwrap();
    let bad = folder.path().join("bad.rpm");
    let archive = folder.path().join("bad.cpio");
    let mut refused = 0;
    for step in 0..900 {
        let mut bytes = good.clone();
        match step % 3 {
            0 => bytes.truncate(step * good.len() / 900),
            1 => bytes[step * good.len() / 900] ^= 0xff,
            _ => bytes[(step * 7) % good.len()] = 0x7f,
        }
        fs::write(&bad, bytes).unwrap();
        match Package::open(&bad, &archive) {
            Ok(_) => {
                assert_ne!(step % 3, 0, "cut off at {step} and still taken");
                fs::remove_file(&archive).unwrap();
            }
            Err(_) => refused += 1,
        }
        assert!(!archive.exists());
    }
    // A good part of a small package is reserved space and tags nobody reads.
    assert!(refused > 400, "{refused}");
    let cut = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(cut, 2, "something was left behind");
}

#[test]
fn contents_that_differ_from_the_header_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = BuildConfig::v4().compression(CompressionType::None);
    let rpm = testing::write_with(folder.path(), "kit", config, fill);
    let mut bytes = fs::read(&rpm).unwrap();
    let at = bytes.windows(9).rposition(|window| window == b"some text").unwrap();
    bytes[at] = b'S';
    fs::write(&rpm, bytes).unwrap();
    let error = Package::open(&rpm, &folder.path().join("kit.cpio")).unwrap_err();
    let digest = matches!(&error.problem, Problem::Payload(PayloadError::Digest { file })
        if file == "/usr/share/kit/text");
    assert!(digest, "{error:?}");
}

/// The archive of a package with files past 4 GiB, as rpm writes it: entries
/// are numbers, and sizes are the header's.
fn stripped(package: &Package) -> Vec<u8> {
    let mut archive = Vec::new();
    for (at, file) in package.files.iter().enumerate().filter(|(_, file)| !file.ghost) {
        archive.extend(format!("07070X{at:08x}\0\0").bytes());
        let last = package.files.iter().rposition(|other| other.link_set == file.link_set);
        match (&file.kind, &file.content) {
            (FileKind::Symlink(target), _) => archive.extend(target.bytes()),
            (_, Some(content)) if file.link_set.is_none() || last == Some(at) => {
                archive.extend(content.read(1 << 20).unwrap());
            }
            _ => {}
        }
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.extend(format!("070701{}0000000b{:08x}TRAILER!!!\0", "0".repeat(88), 0).bytes());
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive
}

#[test]
fn archives_without_metadata_are_read_by_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let mut package = testing::package(folder.path(), "kit", fill);
    let archive = stripped(&package);
    let path = folder.path().join("stripped.cpio");
    let mut file = File::create(&path).unwrap();
    let files = package.files.clone();
    let none = payload::Compression::None;
    let ranges = payload::unpack(none, archive.as_slice(), &mut file, &files).unwrap();
    let again = payload::index(BufReader::new(File::open(&path).unwrap()), &files).unwrap();
    assert_eq!(ranges, again);
    attach(&mut package, &path.as_path().into(), &ranges);
    check(&package);
}
