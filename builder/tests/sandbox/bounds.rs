//! What a script cannot reach, and how long it may take.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use slipway::sandbox::{Call, Settings, Status};

use crate::fixture::{Place, listing, mounted_below, path, put, settings, tree};

#[test]
fn there_is_no_network() {
    let (mut place, mut tree) = (Place::new(), tree());
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let connect = format!(
        "socket(S, 2, 1, 0) or die; my $address = pack('S n C4 x8', 2, {port}, 127, 0, 0, 1); \
         connect(S, $address) ? print 'connected' : print $!"
    );
    let ran = place.call(&mut tree, &["/usr/bin/perl"], &connect, &["1"], b"");
    assert_eq!(ran.last_lines, "Network is unreachable");
    let said = place.succeed(&mut tree, "cat /proc/net/dev | sed 1,2d | tr -d ' ' | sed s/:.*//");
    assert_eq!(said, "lo");
}

/// System V message queues, which have no path, only a number for all who share
/// a namespace.
#[test]
fn queues_of_the_host_are_not_there() {
    let key = std::process::id();
    let perl = |text: &str| {
        let said = std::process::Command::new("perl").args(["-e", text]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let queues = || fs::read_to_string("/proc/sysvipc/msg").unwrap();
    let is_listed = |list: &str| {
        let mut keys = list.lines().filter_map(|line| line.split_ascii_whitespace().next());
        keys.any(|found| found == key.to_string())
    };
    let id = perl(&format!("my $id = msgget({key}, 01600); defined $id or die $!; print $id"));
    assert!(is_listed(&queues()));
    let (mut place, mut tree) = (Place::new(), tree());
    let said = place.succeed(&mut tree, "sed 1d /proc/sysvipc/msg");
    assert_eq!(said, "");
    // one of the same number can be made, and goes with the script
    let make = format!("defined msgget({key}, 03600) or die $!");
    let ran = place.call(&mut tree, &["/usr/bin/perl"], &make, &["1"], b"");
    assert!(ran.status.success(), "{}", ran.last_lines);
    perl(&format!("msgctl({id}, 0, 0) or die $!"));
    assert!(!is_listed(&queues()));
}

#[test]
fn the_host_cannot_be_reached() {
    let (mut place, mut tree) = (Place::new(), tree());
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let folder = place.folder.path().display().to_string();
    let said = place.succeed(
        &mut tree,
        &format!(
            "ln -s {folder} /srv/out; cat /srv/out/secret /proc/1/root/{folder}/secret\n\
             cd /; cd ../../../../..; cat ./{folder}/secret ../..{folder}/secret\n\
             cat /proc/self/root{folder}/secret /proc/1/cwd/{folder}/secret; true"
        ),
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    let refused = |line: &&str| line.ends_with("No such file or directory");
    assert_eq!(lines.iter().filter(|line| refused(line)).count(), 4, "{said}");
    assert_eq!(lines.iter().filter(|l| l.ends_with("Permission denied")).count(), 2, "{said}");
    let said = place.succeed(
        &mut tree,
        "mount -t tmpfs none /srv; chroot /proc/1/root /bin/ls; ls -l /proc/1/exe; true",
    );
    assert_eq!(said.matches("ermission denied").count(), 3, "{said}");
    assert_eq!(
        place.succeed(&mut tree, "ls /dev").replace('\n', " "),
        "fd full null random shm stderr stdin stdout tty urandom zero"
    );
    // only the script's own, which are the first in their namespace
    let processes = place.succeed(&mut tree, "ls /proc | sed -n '/^[0-9]/p'");
    assert!(processes.lines().all(|number| number.len() == 1), "{processes}");
    assert!(!mounted_below(place.folder.path()));
}

/// What is below these folders is not looked at after a script, so what it has
/// made of them must not lead anywhere.
#[test]
fn a_folder_turned_into_a_link_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let (mut place, mut tree) = (Place::new(), tree());
    put(&mut tree, "/run/old", "1", 0o644, 0, 0);
    fs::write(outside.path().join("old"), "theirs").unwrap();
    let outside_path = outside.path().display();
    place.succeed(&mut tree, &format!("rm -r /run; ln -s {outside_path} /run"));
    put(&mut tree, "/run/payload", "2", 0o644, 0, 0);
    tree.remove(&path("/run/old"));
    let call = Call { program: &["/bin/sh".to_owned()], text: ":", arguments: &[], stdin: b"" };
    let error = place.sandbox.as_mut().unwrap().run(&mut tree, &call).unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("in place of a folder"), "{text}");
    assert_eq!(fs::read_to_string(outside.path().join("old")).unwrap(), "theirs");
    assert!(!outside.path().join("payload").exists());
}

#[test]
fn descriptors_of_slipway_are_not_inherited() {
    let leak = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let (mut place, mut tree) = (Place::new(), tree());
    let said = place.succeed(&mut tree, "ls /proc/self/fd");
    assert_eq!(said, "0\n1\n2\n3", "the last is ls' own");
}

#[test]
fn the_machine_cannot_be_changed() {
    let (mut place, mut tree) = (Place::new(), tree());
    let mode = || std::fs::metadata("/dev/null").unwrap().permissions();
    let before = mode();
    for change in [
        "echo x > /proc/sys/kernel/hostname",
        "echo b > /proc/sysrq-trigger",
        "chmod 600 /dev/null",
        "mount -o remount,rw,bind /proc/sys",
        "mount -t proc proc /srv/a",
        "unshare -U true",
        "unshare -m true",
        "chown 5 /dev/zero",
    ] {
        let ran = place.shell(&mut tree, change);
        assert!(!ran.status.success(), "{change}: {}", ran.last_lines);
    }
    assert_eq!(before, mode());
    place.succeed(
        &mut tree,
        "echo ok > /dev/null && cat /dev/null && head -c 9 /dev/urandom | wc -c",
    );
    let ran = place.shell(&mut tree, "mknod /srv/dev b 8 0");
    assert_eq!(ran.status, Status::Exit(1));
}

#[test]
fn a_script_that_goes_on_is_ended_with_all_it_has_started() {
    let limited = Settings { time_limit: Duration::from_secs(1), ..settings() };
    let (mut place, mut tree) = (Place::with(limited), tree());
    let before = listing(&tree);
    let ran =
        place.shell(&mut tree, "setsid sleep 98765 & echo begun; echo x > /srv/x; sleep 98764");
    assert_eq!(ran.status, Status::TimedOut(1));
    assert_eq!(ran.last_lines, "begun");
    assert_eq!(listing(&tree), before);
    assert_eq!(processes("sleep\x009876"), 0);
    // What was half done is not seen by the next script.
    assert_eq!(place.succeed(&mut tree, "ls /srv"), "a\nprivate\nsuid");
}

#[test]
fn what_a_script_leaves_running_is_ended() {
    let (mut place, mut tree) = (Place::new(), tree());
    let said = place.succeed(&mut tree, "nohup setsid sleep 87654 > /srv/log 2>&1 & echo done");
    assert_eq!(said, "done");
    assert_eq!(processes("sleep\x0087654"), 0);
}

#[test]
fn failures_say_how_and_what_and_leave_what_was_done() {
    let (mut place, mut tree) = (Place::new(), tree());
    let ran = place.shell(&mut tree, "rm -r /srv/a; seq 1 100; echo bad >&2; exit 3");
    assert_eq!(ran.status, Status::Exit(3));
    assert!(ran.last_lines.starts_with("82\n") && ran.last_lines.ends_with("100\nbad"));
    assert!(tree.get("/srv/a").is_none());
    assert_eq!(place.succeed(&mut tree, "ls /srv"), "private\nsuid");
    let ran = place.shell(&mut tree, "kill -9 $$");
    assert_eq!(ran.status, Status::Signal(9));
    let ran = place.shell(&mut tree, "if");
    assert_eq!(ran.status, Status::Exit(2));
    assert!(ran.last_lines.contains("Syntax error"), "{}", ran.last_lines);
    let noisy = "exec perl -e 'print \"x\" x 1000, \"\\n\" for 1..5000; print \"end\\n\"'";
    assert!(place.succeed(&mut tree, noisy).ends_with("\nend"));
}

#[test]
fn input_may_be_large_and_left_unread() {
    let (mut place, mut tree) = (Place::new(), tree());
    let mut input = Vec::new();
    for number in 0..100_000 {
        writeln!(input, "/usr/lib/{number}").unwrap();
    }
    let ran = place.call(&mut tree, &["/bin/sh"], "wc -l", &[], &input);
    assert_eq!(ran.last_lines, "100000");
    let ran = place.call(&mut tree, &["/bin/sh"], "true", &[], &input);
    assert!(ran.status.success());
}

/// How many processes have this in their command line.
pub fn processes(text: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}
