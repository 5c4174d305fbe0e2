//! The same as a plain user: with sub-ids, where every owner is right, and
//! without, where scripts know nobody but root.

use std::process::{Command, Stdio};

use slipway::sandbox::{Mapping, Status};

use crate::fixture::{Place, is_root, tree};

/// Tells the cases below that they are run by the user they are meant for.
const USER: &str = "SLIPWAY_TEST_USER";

const WITH: &str = "slipway-test";
const WITHOUT: &str = "slipway-alone";

/// Users are made one at a time: ranges given twice cannot be mapped.
static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Runs one case as a user, who is made if there is none; with sub-ids or not.
fn as_user(user: &str, sub_ids: bool, case: &str) {
    if !is_root() {
        return skip::because(format_args!("only root can become {user}"));
    }
    if sub_ids && !std::path::Path::new("/usr/bin/newuidmap").exists() {
        return skip::because("newuidmap is not installed (Debian's package uidmap)");
    }
    let run = |program: &str, arguments: &[&str]| {
        let made = Command::new(program).args(arguments).stderr(Stdio::null()).status();
        made.is_ok_and(|status| status.success())
    };
    let making = MAKING.lock().unwrap();
    if !run("id", &[user]) {
        assert!(run("useradd", &["--system", user]), "{user} cannot be made");
        if sub_ids {
            run(
                "usermod",
                &["--add-subuids", "700000-765535", "--add-subgids", "700000-765535", user],
            );
        }
    }
    drop(making);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(id(user, "-u")), Some(id(user, "-g"))).unwrap();
    let status = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", case, "--include-ignored", "--nocapture"])
        .env(USER, user)
        .env("TMPDIR", folder.path())
        .current_dir("/")
        .status()
        .unwrap();
    assert!(status.success(), "{case} as {user}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "{case} has left something behind");
}

fn id(user: &str, what: &str) -> u32 {
    let said = Command::new("id").args([what, user]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
}

fn is_for(user: &str) -> bool {
    std::env::var(USER).is_ok_and(|is| is == user)
}

#[test]
fn with_sub_ids() {
    as_user(WITH, true, "plain::every_owner_is_right");
}

#[test]
fn with_sub_ids_and_killed() {
    as_user(WITH, true, "lifetime::a_killed_build_leaves_nothing");
}

#[test]
fn with_sub_ids_and_everything_killed() {
    as_user(WITH, true, "plain::what_nobody_could_remove_is_removed");
}

#[test]
fn without_sub_ids() {
    as_user(WITHOUT, false, "plain::there_is_only_root");
}

#[test]
#[ignore = "started by the tests above"]
fn every_owner_is_right() {
    if !is_for(WITH) {
        return;
    }
    let (mut place, mut tree) = (Place::new(), tree());
    let ids = place.sandbox.as_ref().unwrap().ids();
    assert_eq!(ids.mapping(), Mapping::SubIds);
    assert!(ids.is_complete() && ids.has_user(65_535) && ids.shortage().is_none());
    let said = place.succeed(
        &mut tree,
        "id -u; stat -c '%u %g %a' /srv/private /srv/a/deep/two /srv/suid; cat /etc/shadow\n\
         mkdir /srv/mine; echo x > /srv/mine/f; chmod 600 /srv/mine/f; chown -R 42:43 /srv/mine\n\
         chmod 700 /srv/mine; cp /srv/suid /srv/cap; setcap cap_net_raw=ep /srv/cap\n\
         perl -e '$) = \"43 43\"; $> = 42; open F, \">\", \"/srv/private/own\" or die $!'",
    );
    assert_eq!(said, "0\n42 43 700\n42 43 640\n0 0 4755\nroot:*:1::::::");
    let owner = |path: &str| {
        let meta = &tree.get(path).unwrap().meta;
        (meta.uid, meta.gid, meta.mode)
    };
    assert_eq!(owner("/srv/mine"), (42, 43, 0o700));
    assert_eq!(owner("/srv/mine/f"), (42, 43, 0o600));
    assert_eq!(owner("/srv/private/own"), (42, 43, 0o644));
    assert_eq!(tree.read("/srv/mine/f", 9).unwrap(), b"x\n");
    let ping = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(tree.get("/srv/cap").unwrap().meta.xattrs["security.capability"], ping);
    // once more, with what was read back
    let said = place.succeed(&mut tree, "stat -c '%u %g' /srv/mine /srv/private/own; ls /srv/mine");
    assert_eq!(said, "42 43\n42 43\nf");
}

#[test]
#[ignore = "started by the tests above"]
fn there_is_only_root() {
    if !is_for(WITHOUT) {
        return;
    }
    let (mut place, mut tree) = (Place::new(), tree());
    let ids = place.sandbox.as_ref().unwrap().ids();
    assert_eq!(ids.mapping(), Mapping::Single);
    assert!(ids.shortage().unwrap().contains("usermod --add-subuids"));
    place.succeed(
        &mut tree,
        "cat /etc/shadow; echo x > /srv/new; rm -r /srv/a; chmod 4755 /srv/new",
    );
    assert_eq!(tree.get("/srv/new").unwrap().meta.uid, 0);
    assert_eq!(tree.get("/srv/private").unwrap().meta.uid, 42);
    let ran = place.shell(&mut tree, "chown 42 /srv/new");
    assert_eq!(ran.status, Status::Exit(1));
    assert!(ran.advice.unwrap().contains("has no sub-ids"));
}

#[test]
#[ignore = "started by the tests above"]
fn what_nobody_could_remove_is_removed() {
    if !is_for(WITH) {
        return;
    }
    let (mut place, mut tree) = (Place::new(), tree());
    place.succeed(
        &mut tree,
        "mkdir -p /srv/theirs/d; chown -R 42:43 /srv/theirs; chmod 700 /srv/theirs",
    );
    let folder = place.folder.path().join("sandbox");
    crate::lifetime::kill_keeper(place.folder.path());
    place.sandbox = None;
    assert!(std::fs::remove_dir_all(&folder).is_err());
    let open = std::fs::File::open(&folder).unwrap();
    slipway::sandbox::remove_left(&folder, &open, &crate::fixture::settings().program).unwrap();
    assert!(!folder.exists());
}
