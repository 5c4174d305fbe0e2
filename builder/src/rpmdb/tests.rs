//! What rpm would refuse is refused, and the same packages give the same bytes.
//! That the rows are rpm's own is for `repository_tests`.

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use rpm::PackageBuilder;

use super::*;
use crate::package::testing;

pub const TRANSACTION: Transaction = Transaction { time: 1_700_000_000, color: 3 };

pub fn headers(rpm: &Path) -> RawHeaders {
    RawHeaders::read(&mut BufReader::new(File::open(rpm).unwrap())).unwrap()
}

fn package(folder: &Path, name: &str, fill: impl FnOnce(&mut PackageBuilder)) -> Installed {
    Installed { headers: headers(&testing::write(folder, name, fill)), states: Vec::new() }
}

fn written(packages: &[Installed]) -> Result<Vec<u8>, RpmdbError> {
    let packages = packages.iter().cloned().map(Ok::<_, Infallible>);
    write(packages, TRANSACTION, Cursor::new(Vec::new())).map(Cursor::into_inner)
}

#[test]
fn the_same_packages_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let one =
        package(folder.path(), "one", |builder| testing::file(builder, "/usr/share/one", "1"));
    let two =
        package(folder.path(), "two", |builder| testing::file(builder, "/usr/share/two", "2"));
    let packages = [one, two];
    let bytes = written(&packages).unwrap();
    assert!(bytes == written(&packages).unwrap());
    assert!(bytes != written(&[packages[1].clone(), packages[0].clone()]).unwrap());
}

#[test]
fn an_installed_header_begins_with_what_was_signed() {
    let folder = tempfile::tempdir().unwrap();
    let one =
        package(folder.path(), "one", |builder| testing::file(builder, "/usr/share/one", "1"));
    let stored = install::stored(&one, TRANSACTION, 0).unwrap();
    let (header, stored) = (one.headers.header(), stored.header());
    assert!(stored.index().starts_with(header.index()));
    assert!(stored.data().starts_with(header.data()));
    assert_eq!(stored.number(1008), Some(TRANSACTION.time));
    assert_eq!(stored.entry(1029).unwrap().data, [0]);
    assert_eq!(stored.text(273), one.headers.signature().text(273));
    let added: Vec<u32> =
        stored.entries().skip(header.entries().count()).map(|entry| entry.tag).collect();
    assert!(added.is_sorted(), "{added:?}");
}

#[test]
fn states_must_be_of_the_files_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = package(folder.path(), "one", |builder| testing::file(builder, "/one", "1"));
    one.states = vec![FileState::NotInstalled];
    assert_eq!(
        install::stored(&one, TRANSACTION, 0).unwrap().header().entry(1029).unwrap().data,
        [2]
    );
    one.states.push(FileState::Normal);
    let error = written(&[one]).unwrap_err();
    let told = matches!(&error, RpmdbError::Package { package, refusal }
        if package == "one-1.0-1.noarch" && *refusal == Refusal::States { files: 1, states: 2 });
    assert!(told, "{error:?}");
}

#[test]
fn no_changed_byte_does_more_than_be_refused_or_entered() {
    let folder = tempfile::tempdir().unwrap();
    let path = testing::write(folder.path(), "one", |builder| testing::file(builder, "/one", "1"));
    let good = std::fs::read(path).unwrap();
    let mut taken = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] = bytes[at].wrapping_add(if at % 2 == 0 { 1 } else { 0xfe });
        let Ok(headers) = RawHeaders::read(&mut bytes.as_slice()) else {
            continue;
        };
        let package = Installed { headers, states: Vec::new() };
        if let Ok(stored) = install::stored(&package, TRANSACTION, 0) {
            index::tables().for_each(|mut table| table.add(1, stored.header()));
            taken += 1;
        }
    }
    // What is text, and what pads it, may be anything.
    assert!((1..good.len()).contains(&taken), "{taken} of {}", good.len());
}

#[test]
fn the_database_lies_with_the_root_and_rpm_finds_it() {
    let database = || Content::bytes(b"rows".to_vec());
    let mut tree = Tree::new(7);
    install(&mut tree, database()).unwrap();
    let id = tree.resolve(LINK).unwrap();
    assert_eq!(tree.resolve(PATH), Some(id));
    assert_eq!((tree.inode(id).meta.mode, tree.inode(id).meta.mtime), (0o644, 7));
    assert!(matches!(&tree.get(LINK).unwrap().node, Node::Symlink(to) if to == TARGET));

    // As in distributions whose rpm has it there already.
    let mut tree = Tree::new(7);
    tree.symlink(&TreePath::new("/var/lib/rpm").unwrap(), "../../usr/lib/sysimage/rpm").unwrap();
    install(&mut tree, database()).unwrap();
    assert_eq!(tree.read(LINK, 10).unwrap(), b"rows");
}
