//! What a script changes comes back, and nothing else.

use slipway::sandbox::{Mapping, Settings, Status};
use slipway::tree::{Content, Inode, Metadata, Node};

use crate::fixture::{Place, TIME, is_root, listing, path, put, settings, tree};

#[test]
fn what_is_changed_comes_back() {
    let (mut place, mut tree) = (Place::new(), tree());
    let before = listing(&tree);
    place.succeed(
        &mut tree,
        "echo new > /srv/new; chmod 4711 /srv/new; ln -s ../new /srv/a/link; mkfifo /srv/pipe\n\
         mkdir -m 2770 /srv/group; rm /srv/suid; echo more >> /srv/a/one",
    );
    let after = listing(&tree);
    let changed: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    let expected = [
        "/srv/a/link 0777 0:0 link ../new as /srv/a/link",
        "/srv/a/one 0644 0:0 file \"1\\nmore\\n\" as /srv/a/one",
        "/srv/group 2770 0:0 directory as /srv/group",
        "/srv/new 4711 0:0 file \"new\\n\" as /srv/new",
        "/srv/pipe 0644 0:0 fifo as /srv/pipe",
    ];
    assert_eq!(changed, expected);
    assert!(tree.get("/srv/suid").is_none());
    assert_eq!(tree.get("/srv/private").unwrap().meta.uid, 42);
}

#[test]
fn untouched_files_keep_their_content_and_time() {
    let (mut place, mut tree) = (Place::new(), tree());
    let before = tree.get("/usr/bin/bash").unwrap().clone();
    place.succeed(&mut tree, "chmod 700 /srv/a/one; touch -d @5 /srv/suid; chmod 4711 /bin/bash");
    let after = tree.get("/usr/bin/bash").unwrap();
    assert_eq!(before.node, after.node);
    assert_eq!((after.meta.mode, after.meta.mtime), (0o4711, TIME));
    assert_eq!(tree.get("/srv/a/one").unwrap().meta.mtime, TIME);
    assert_eq!(tree.get("/srv/suid").unwrap().meta.mtime, 5);
    assert_eq!(tree.get("/var/tmp").unwrap().meta.mtime, TIME);
    assert_eq!(tree.children("/var/tmp").count(), 0);
}

#[test]
fn directories_are_renamed_made_again_and_replaced() {
    let (mut place, mut tree) = (Place::new(), tree());
    place.succeed(&mut tree, "mv /srv/a /srv/b");
    assert_eq!(tree.read("/srv/b/deep/two", 9).unwrap(), b"2\n");
    assert_eq!(tree.get("/srv/b/deep/two").unwrap().meta.uid, 42);
    assert!(tree.get("/srv/a").is_none());
    let moved = "rename('/srv/b/deep', '/srv/c') or die \"rename: $!\"";
    let ran = place.call(&mut tree, &["/usr/bin/perl"], moved, &["1"], b"");
    assert!(ran.status.success(), "{}", ran.last_lines);
    assert!(tree.get("/srv/c/two").is_some() && tree.get("/srv/b/deep").is_none());
    place.succeed(&mut tree, "rm -r /srv/c; mkdir /srv/c; echo 3 > /srv/c/three");
    assert_eq!(tree.children("/srv/c").map(|(name, _)| name).collect::<Vec<_>>(), ["three"]);
    place.succeed(&mut tree, "rm -r /srv/c; echo file > /srv/c; rm /srv/suid; mkdir /srv/suid");
    assert_eq!(tree.read("/srv/c", 9).unwrap(), b"file\n");
    assert!(tree.get("/srv/suid").unwrap().node.is_directory());
    place.succeed(&mut tree, "rm /srv/c; ln -s b /srv/c");
    assert_eq!(tree.read("/srv/c/one", 9).unwrap(), b"1\n");
}

#[test]
fn hard_links_are_made_kept_and_parted() {
    let (mut place, mut tree) = (Place::new(), tree());
    let id = tree.locate("/srv/a/one").unwrap();
    tree.hard_link(&path("/srv/also"), id).unwrap();
    place.succeed(&mut tree, "echo x >> /srv/also; ln /srv/suid /srv/suid2");
    assert_eq!(tree.read("/srv/a/one", 9).unwrap(), b"1\nx\n");
    assert_eq!(tree.locate("/srv/a/one"), tree.locate("/srv/also"));
    assert_eq!(tree.locate("/srv/suid"), tree.locate("/srv/suid2"));
    place.succeed(&mut tree, "echo y > /srv/t; mv /srv/t /srv/also; chmod 600 /srv/suid2");
    assert_eq!(tree.read("/srv/a/one", 9).unwrap(), b"1\nx\n");
    assert_eq!(tree.read("/srv/also", 9).unwrap(), b"y\n");
    assert_eq!(tree.get("/srv/suid").unwrap().meta.mode, 0o600);
}

#[test]
fn changes_between_scripts_are_seen() {
    let (mut place, mut tree) = (Place::new(), tree());
    place.succeed(&mut tree, "echo 1 > /srv/count");
    put(&mut tree, "/srv/count", "7\n", 0o600, 42, 43);
    tree.remove(&path("/srv/a"));
    let said =
        place.succeed(&mut tree, "cat /srv/count; stat -c '%a %u %g %Y' /srv/count; ls /srv");
    let expected = match place.sandbox.as_ref().unwrap().ids().mapping() {
        Mapping::Single => "0 0",
        _ => "42 43",
    };
    assert_eq!(said, format!("7\n600 {expected} {TIME}\ncount\nprivate\nsuid"));
}

#[test]
fn owners_modes_and_capabilities_go_both_ways() {
    if !is_root() {
        return skip::because("sub-ids are tested from root");
    }
    let (mut place, mut tree) = (Place::new(), tree());
    assert_eq!(place.sandbox.as_ref().unwrap().ids().mapping(), Mapping::Root);
    let ping = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let id = tree.locate("/srv/a/one").unwrap();
    let xattrs = &mut tree.inode_mut(id).meta.xattrs;
    xattrs.insert("security.capability".to_owned(), ping.to_vec());
    xattrs.insert("security.other".to_owned(), b"kept".to_vec());
    let said = place.succeed(
        &mut tree,
        "stat -c '%u %g %a %n' /srv/private /srv/a/deep/two /srv/suid\n\
         echo x > /srv/new; chown 42:43 /srv/new; setcap cap_net_raw=ep /srv/new\n\
         mv /srv/a/one /srv/a/uno; chown demo:demo /srv/suid",
    );
    assert_eq!(said, "42 43 700 /srv/private\n42 43 640 /srv/a/deep/two\n0 0 4755 /srv/suid");
    let new = &tree.get("/srv/new").unwrap().meta;
    assert_eq!((new.uid, new.gid), (42, 43));
    assert_eq!(new.xattrs["security.capability"], ping);
    let moved = &tree.get("/srv/a/uno").unwrap().meta;
    assert_eq!(moved.xattrs["security.capability"], ping);
    let suid = &tree.get("/srv/suid").unwrap().meta;
    assert_eq!((suid.uid, suid.mode), (42, 0o755));
}

#[test]
fn with_one_id_owners_stay_what_they_were() {
    let single = Settings { single_id: true, ..settings() };
    let (mut place, mut tree) = (Place::with(single), tree());
    assert_eq!(place.sandbox.as_ref().unwrap().ids().mapping(), Mapping::Single);
    let said = place.succeed(
        &mut tree,
        "id -u; stat -c %u /srv/private; chmod 750 /srv/private; cat /etc/shadow\n\
         echo 22 > /srv/a/deep/two",
    );
    assert_eq!(said, "0\n0\nroot:*:1::::::");
    let private = &tree.get("/srv/private").unwrap().meta;
    assert_eq!((private.mode, private.uid, private.gid), (0o750, 42, 43));
    let two = &tree.get("/srv/a/deep/two").unwrap().meta;
    assert_eq!((two.mode, two.uid), (0o640, 42));
    let ran = place.shell(&mut tree, "chown 42 /srv/suid");
    assert_eq!(ran.status, Status::Exit(1));
    assert!(ran.advice.unwrap().contains("without users and groups other than root"));
}

/// As a plain user none can be made, so nobody sees them; they are no less there.
#[test]
fn devices_are_not_shown_and_stay() {
    let (mut place, mut tree) = (Place::new(), tree());
    let devices = [Node::CharDevice(1, 3), Node::BlockDevice(8, 17)];
    for (number, node) in devices.iter().enumerate() {
        let inode = Inode { node: node.clone(), meta: Metadata::root(0o640, TIME) };
        tree.insert(&path(&format!("/srv/a/deep/device{number}")), inode).unwrap();
    }
    let said = place.succeed(&mut tree, "ls /srv/a/deep; chmod 700 /srv/a/deep; echo x > /srv/new");
    assert_eq!(said, "two");
    for (number, node) in devices.iter().enumerate() {
        let there = tree.get(&format!("/srv/a/deep/device{number}")).unwrap();
        assert_eq!((&there.node, there.meta.mode), (node, 0o640));
    }
    place.succeed(&mut tree, "rm -r /srv/a");
    assert!(tree.get("/srv/a").is_none());
}

#[test]
fn what_is_not_kept() {
    let (mut place, mut tree) = (Place::new(), tree());
    put(&mut tree, "/run/keep", "1", 0o644, 0, 0);
    let before = listing(&tree);
    place.succeed(
        &mut tree,
        "echo x > /dev/file; echo x > /run/file; mkdir /run/d; echo x >> /run/keep; mktemp\n\
         rm -r /tmp/*",
    );
    assert_eq!(listing(&tree), before);
    let socket = "socket(S, 1, 1, 0) or die; bind(S, pack('S a*', 1, '/srv/socket')) or die $!";
    let ran = place.call(&mut tree, &["/usr/bin/perl"], socket, &[], b"");
    assert!(ran.status.success(), "{}", ran.last_lines);
    assert!(tree.get("/srv/socket").is_none());
}

#[test]
fn scripts_get_what_rpm_gives_them() {
    let (mut place, mut tree) = (Place::new(), tree());
    let said = place.call(
        &mut tree,
        &["/bin/bash", "-e"],
        "echo $# $1 $2; pwd; umask; env | sed /^_=/d | sort; cat; date +%Z; uname -n\n\
         ls -l $0 | head -c 10",
        &["2", "1"],
        b"/usr/lib/a\n/usr/lib/b\n",
    );
    let expected = format!(
        "2 2 1\n/\n0022\nHOME=/root\nLANG=C\n\
         PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin\nPWD=/\nSHLVL=1\n\
         SOURCE_DATE_EPOCH={TIME}\nTZ=UTC\n/usr/lib/a\n/usr/lib/b\nUTC\nlocalhost\n-rw-------"
    );
    assert_eq!(said.last_lines, expected);
    let alone = place.call(&mut tree, &["/usr/bin/id", "-u"], "", &[], b"");
    assert_eq!((alone.status, alone.last_lines.as_str()), (Status::Exit(0), "0"));
    let none = place.call(&mut tree, &["/usr/bin/none"], "x", &["1"], b"");
    assert_eq!(none.status, Status::Exit(127));
    assert!(none.last_lines.contains("cannot run /usr/bin/none"), "{}", none.last_lines);
}

#[test]
fn a_root_without_temporary_folders_is_left_so() {
    let (mut place, mut tree) = (Place::new(), tree());
    for name in ["/var", "/tmp"] {
        tree.remove(&path(name));
    }
    let before = listing(&tree);
    place.succeed(&mut tree, "echo $0");
    assert_eq!(listing(&tree), before);
}

#[test]
fn contents_outlive_the_sandbox() {
    let (mut place, mut tree) = (Place::new(), tree());
    place.succeed(&mut tree, "seq 1 20000 > /srv/large; echo 1 > /srv/small; chmod 0 /srv/large");
    place.sandbox = None;
    let large = tree.read("/srv/large", 1 << 20).unwrap();
    assert!(large.ends_with(b"19999\n20000\n"));
    let small = &tree.get("/srv/small").unwrap().node;
    assert!(matches!(small, Node::File(Content::Bytes(_))));
    let left: Vec<_> = std::fs::read_dir(place.folder.path().join("sandbox")).unwrap().collect();
    assert_eq!(left.len(), 1);
}
