//! `systemd-tmpfiles --root` judges what is made.

use std::fs;
use std::process::Command;

use super::*;
use crate::compose::judge::compare;
use crate::tree::testing::{directory, materialise, tree};
use crate::tree::{Node, TreePath};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nman:x:6:12:man:/:/bin/false\n\
                      app:x:990:990:app:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\nman:x:12:\nutmp:x:43:\njournal:x:991:\napp:x:990:\n";
const VARIOUS: &str = "# various\n\
    d /var/cache/man 0755 man man 1w\n\
    d /var/lib/app 0750 app app -\n\
    f /var/lib/app/state 0600 app app - one\\ttwo\\n\n\
    d /var/lib/deep/er/est 02770 root app ~10d\n\
    D /run/dropped 1777\n\
    q /srv 0711 - - -\n\
    Q /home 0755 - - -\n\
    v /var/lib/machines 0700 - - -\n\
    d /etc/kept :0700 :app :app -\n\
    d /etc/made :0700 :app :app -\n\
    d /etc/is-a-file 0700 - - -\n\
    f /etc/there 0640 - utmp - ignored\n\
    f+ /etc/over 0644 - - - new text\n\
    F /etc/over-too 0644 - - - \"new text\"\n\
    f /var/log/wtmp 0664 root utmp -\n\
    w /etc/longer - - - - AB\n\
    w+ /etc/append* - - - - more\\n\n\
    e /var/tmp-* 0700 app - -\n\
    L /var/lock - - - - ../run/lock\n\
    L /etc/factory\n\
    L /etc/wrong-link - - - - /else\n\
    L+ /etc/forced - - - - ../forced\n\
    L+ /etc/forced-folder - app - - ../forced\n\
    C /etc/copied\n\
    C /etc/copied-folder 0750 app - - /usr/share/factory/folder\n\
    C /etc/not-copied - - - - /nothing/there\n\
    p /run/fifo 0600 app - -\n\
    z /etc/mode[12] 0604 - utmp\n\
    Z /etc/recursive ~0775 app app\n\
    h /var/log/journal - - - - +C\n\
    z /var/log/journal 2755 root journal - -\n\
    z /var/log/journal/%m 2755 root journal - -\n\
    a+ /var/log/missing - - - - d:group::r-x\n\
    x /tmp/systemd-private-%b-*\n\
    r! /forcefsck\n\
    R! /tmp/*\n\
    d! /var/only-boot 0755 - - -\n\
    f^ /etc/hosts - - - - network.hosts\n\
    d /var/run/moved 0755 - - -\n\
    d \"/var/with space\" 0700\n";

fn etc() -> Tree {
    let mut tree = tree(&[
        ("/etc/passwd", PASSWD),
        ("/etc/group", GROUP),
        ("/etc/is-a-file", "x"),
        ("/etc/there", "old\n"),
        ("/etc/over", "old and longer\n"),
        ("/etc/over-too", "old\n"),
        ("/etc/longer", "abcdef\n"),
        ("/etc/append1", "1\n"),
        ("/etc/.append2", "2\n"),
        ("/etc/wrong-link", "-> /there"),
        ("/etc/forced", "x"),
        ("/etc/forced-folder/x/y", "x"),
        ("/etc/mode1", ""),
        ("/etc/mode2", "-> mode3"),
        ("/etc/mode3", ""),
        ("/etc/recursive/a/b", ""),
        ("/usr/share/factory/etc/copied", "copy\n"),
        ("/usr/share/factory/folder/a", "a\n"),
        ("/usr/share/factory/folder/b/c", "c\n"),
        ("/usr/lib/tmpfiles.d/a-various.conf", VARIOUS),
        ("/usr/lib/tmpfiles.d/b-late.conf", "d /var/cache/man 0700 - - -\nd /var 0755\n"),
        ("/usr/lib/tmpfiles.d/c-shadowed.conf", "d /never\n"),
        ("/etc/tmpfiles.d/c-shadowed.conf", "d /shadow\n"),
        ("/usr/lib/tmpfiles.d/d-off.conf", "d /never\n"),
        ("/etc/tmpfiles.d/d-off.conf", "-> /dev/null"),
    ]);
    for path in ["/etc/kept", "/var/tmp-a", "/var/tmp-b", "/var/log/journal", "/run", "/srv"] {
        directory(&mut tree, path);
    }
    directory(&mut tree, "/dev");
    tree
}

/// Runs both; gives their exit statuses and in what the trees differ.
fn both(mut tree: Tree, arguments: &[&str]) -> Option<(i32, i32, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    materialise(&tree, folder.path());
    let root = format!("--root={}", folder.path().display());
    let Ok(out) = Command::new("systemd-tmpfiles").arg(root).args(arguments).output() else {
        skip::because("systemd-tmpfiles is not installed");
        return None;
    };
    if !rustix::process::geteuid().is_root() {
        skip::because("only root can give files to others");
        return None;
    }
    print!("{}", String::from_utf8_lossy(&out.stderr));
    let ours = Call::parse(arguments).unwrap().run(&mut tree).unwrap();
    let differences = compare(&tree, folder.path());
    Some((ours, out.status.code().unwrap(), differences))
}

#[test]
fn everything_is_made_as_systemd_makes_it() {
    let Some((ours, theirs, differences)) = both(etc(), &["--create"]) else { return };
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(ours, theirs);
}

#[test]
fn named_files_and_prefixes_are_all_that_counts() {
    for arguments in [
        &["--create", "b-late.conf"][..],
        &["--create", "--prefix=/var/lib", "--exclude-prefix=/var/lib/deep"],
        &["--create", "--prefix", "/var", "--prefix=/etc/made"],
        &["--create", "-E", "--boot", "a-various.conf", "b-late.conf"],
        &["--create", "not-there.conf"],
    ] {
        let Some((ours, theirs, differences)) = both(etc(), arguments) else { return };
        assert!(differences.is_empty(), "{arguments:?}: {differences:#?}");
        assert_eq!(ours, theirs, "{arguments:?}");
    }
}

/// With `--root` the tool reads these from outside of the root, or makes them
/// twice below it; scripts call it without.
#[test]
fn paths_and_specifiers_are_those_within_the_root() {
    let lines = "d %S/lib\nd %C/c%%c\nd %L/%t\nL %V/x - - - - %T/y\n";
    let mut tree = tree(&[("/opt/own.conf", lines)]);
    assert_eq!(Call::parse(&["--create", "/opt/own.conf"]).unwrap().run(&mut tree).unwrap(), 0);
    for path in ["/var/lib/lib", "/var/cache/c%c", "/var/log/run"] {
        assert!(tree.get(path).unwrap().node.is_directory(), "{path}");
    }
    assert_eq!(tree.get("/var/tmp/x").unwrap().node, Node::Symlink("/tmp/y".to_owned()));
}

#[test]
fn what_systemd_ships_is_made_as_by_systemd() {
    let mut tree = etc();
    for entry in fs::read_dir("/usr/lib/tmpfiles.d").into_iter().flatten() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        tree.write(&TreePath::new(path.to_str().unwrap()).unwrap(), 0o644, bytes).unwrap();
    }
    let Some((ours, theirs, differences)) = both(tree, &["--create"]) else { return };
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(ours, theirs);
}

/// `--root` or not, the tool looks names up outside: so they are the same there.
#[test]
fn access_lists_are_systemds() {
    let lines = "d /var/a 2750 root man -
        a /var/a - - - - d:group::r-x,d:group:adm:r-x,group::r-x,group:adm:rwx
        d /var/b 0700
        a+ /var/b - - - - u:man:r,g:adm:rw-,m::r
        a+ /var/b - - - - d:u:man:rwx
        d /var/c 0751
        a+ /var/c - - - - group:adm:---,user:6:rx,other::-
        z /var/c 0711
        A+ /etc/recursive - - - - default:group:adm:r,g:adm:x
        a+ /etc/there - - - - g::w
        a /etc/over - - - - g:nosuchgroup:r
        a+ /etc/wrong-link - - - - g:adm:r
        A /etc/over-too - - - - u::rwx,g::r,o::-,d:g:adm:r
";
    let mut tree = etc();
    for path in ["/usr/lib/tmpfiles.d/a-various.conf", "/usr/lib/tmpfiles.d/b-late.conf"] {
        tree.remove(&TreePath::new(path).unwrap());
    }
    let path = TreePath::new("/usr/lib/tmpfiles.d/lists.conf").unwrap();
    tree.write(&path, 0o644, lines.into()).unwrap();
    let Some((ours, theirs, differences)) = both(tree.clone(), &["--create"]) else { return };
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(ours, theirs);
    Call::parse(&["--create"]).unwrap().run(&mut tree).unwrap();
    let lists = |path: &str| tree.get(path).unwrap().meta.xattrs.len();
    assert_eq!(["/var/a", "/var/b", "/var/c", "/etc/recursive/a"].map(lists), [2, 2, 1, 2]);
}

#[test]
fn an_owner_that_does_not_exist_skips_the_line() {
    let lines = "d /var/a 0755 who - -\nd /var/b 0755 - which -\nd /var/c\n";
    let tree = tree(&[("/usr/lib/tmpfiles.d/a.conf", lines), ("/etc/passwd", PASSWD)]);
    let Some((ours, theirs, differences)) = both(tree, &["--create"]) else { return };
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!((ours, theirs), (INVALID, INVALID));
}

#[test]
fn what_depends_on_the_machine_is_left_to_it() {
    for line in [
        "d /var/%b",
        "d /var/%H 0755",
        "w /etc/passwd - - - - %v",
        "Y /var",
        "d? /var",
        "f /a\\x20b",
        "d /var 0999",
        "a /etc/passwd - - - - g:man:X",
        "a /etc/passwd",
        "t /etc/passwd - - - - user.a=b",
        "f /var/link/x",
        "f /etc",
        "z /e{t,x}c 0755",
        "d relative",
        "d /var/\"open",
        "d /../x",
        "d",
    ] {
        let mut tree = tree(&[
            ("/etc/passwd", PASSWD),
            ("/var/link", "-> /nowhere"),
            ("/usr/lib/tmpfiles.d/a.conf", line),
        ]);
        assert!(Call::parse(&["--create"]).unwrap().run(&mut tree).is_err(), "{line}");
    }
    for arguments in
        [&["--create", "--remove"][..], &[], &["--create", "-"], &["--user", "--create"]]
    {
        assert_eq!(Call::parse(arguments), None, "{arguments:?}");
    }
}

#[test]
fn other_file_systems_are_left_alone() {
    let lines = "d /dev/made\nc+ /dev/null 0666 - - - 1:3\nz /sys/x 0600\nd /devices\n";
    let mut tree = tree(&[("/usr/lib/tmpfiles.d/a.conf", lines)]);
    assert_eq!(Call::parse(&["--create"]).unwrap().run(&mut tree).unwrap(), 0);
    assert!(tree.get("/dev").is_none());
    assert!(matches!(tree.get("/devices").unwrap().node, Node::Directory(_)));
}
