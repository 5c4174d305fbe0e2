//! Nothing is left, however a build ends.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::bounds::processes;
use crate::fixture::{Place, mounted_below, settings, tree};

/// Where the victim works, for the process that is the victim.
const FOLDER: &str = "SLIPWAY_TEST_VICTIM";

/// Not a test of its own: a process that is killed while a script runs.
#[test]
#[ignore = "started by the test below"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut sandbox = slipway::sandbox::Sandbox::new(Path::new(&folder), settings()).unwrap();
    let program = ["/bin/sh".to_owned()];
    let text = "touch /srv/started; setsid sleep 76543 & sleep 76543";
    let call = slipway::sandbox::Call { program: &program, text, arguments: &[], stdin: b"" };
    let _ = sandbox.run(&mut tree(), &call);
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "lifetime::victim", "--ignored", "--nocapture"]).env(FOLDER, folder);
    command.spawn().unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_build_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = start(folder.path());
    let started = folder.path().join("sandbox/mirror/srv/started");
    wait_until("the script runs", || started.exists() && processes("sleep\x0076543") == 2);
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the script is ended", || processes("sleep\x0076543") == 0);
    wait_until("the folder is gone", || !folder.path().join("sandbox").exists());
    assert!(!mounted_below(folder.path()));
}

/// Kills the keeper of the sandbox in this folder, which cannot clear up then.
pub fn kill_keeper(folder: &Path) {
    let folder = fs::canonicalize(folder).unwrap().join("sandbox");
    let works_there = |pid: &Path| fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd == folder);
    let mut all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let keeper = all.find(|pid| works_there(pid)).unwrap();
    let number = keeper.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(number).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_killed_keeper_takes_the_script_with_it_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut place = Place { sandbox: None, folder: tempfile::tempdir().unwrap() };
    place.sandbox = Some(slipway::sandbox::Sandbox::new(folder.path(), settings()).unwrap());
    let mut tree = tree();
    place.succeed(&mut tree, "true");
    kill_keeper(folder.path());
    let program = ["/bin/true".to_owned()];
    let call = slipway::sandbox::Call { program: &program, text: "", arguments: &[], stdin: b"" };
    let error = place.sandbox.as_mut().unwrap().run(&mut tree, &call).unwrap_err();
    assert!(error.to_string().contains("ended without an answer"), "{error}");
}

#[test]
fn a_dropped_sandbox_leaves_only_contents() {
    let mut place = Place::new();
    let mut tree = tree();
    place.succeed(&mut tree, "true");
    place.sandbox = None;
    let names: Vec<_> =
        fs::read_dir(place.folder.path().join("sandbox")).unwrap().flatten().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].file_name(), "contents");
}
