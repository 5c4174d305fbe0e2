//! Packages made on the spot, composed; `rpm` judges.

use std::path::Path;

use rpm::FileOptions;

use super::*;
use crate::package::testing::{TIME, directory, file, link, package};
use crate::tree::Node;

fn options() -> Options {
    Options::new(u64::from(TIME) + 1000)
}

fn composed(packages: &[Package]) -> Result<Composed, ComposeError> {
    compose(packages, &options(), Runners::default())
}

fn base(folder: &Path) -> Package {
    package(folder, "filesystem", |builder| {
        for path in ["/usr", "/usr/lib", "/usr/bin", "/etc", "/var"] {
            directory(builder, path);
        }
        link(builder, "/lib", "usr/lib");
        link(builder, "/bin", "usr/bin");
        file(builder, "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        file(builder, "/etc/group", "root:x:0:\nadm:x:4:\n");
        // What scripts call has to be there.
        for program in ["sh", "useradd", "groupadd", "getent", "systemctl", "ldconfig", "sed"] {
            let options = FileOptions::new(format!("/usr/bin/{program}")).permissions(0o755);
            builder.with_file_contents("", options).unwrap();
        }
    })
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.read(path, 1 << 20).unwrap()).unwrap()
}

#[test]
fn owners_links_and_capabilities_come_from_the_headers() {
    let folder = tempfile::tempdir().unwrap();
    let kit = package(folder.path(), "a-kit", |builder| {
        let own =
            |path: &str, mode| FileOptions::new(path).permissions(mode).user("kit").group("adm");
        builder.with_file_contents("x", own("/lib/kit/data", 0o640)).unwrap();
        builder.with_file_contents("x", own("/bin/kit", 0o6755)).unwrap();
        let other = FileOptions::new("/bin/lost").permissions(0o6755).user("nobody-knows");
        builder.with_file_contents("x", other).unwrap();
        let caps = FileOptions::new("/bin/ping").permissions(0o755).caps("cap_net_raw=ep");
        builder.with_file_contents("x", caps.unwrap()).unwrap();
        for name in ["/bin/one", "/usr/bin/two"] {
            let options = FileOptions::new(name).permissions(0o755).hardlink("set");
            builder.with_file_contents("linked", options).unwrap();
        }
        builder.with_ghost(FileOptions::ghost("/var/kit.log")).unwrap();
        builder.pre_install_script(
            "getent group kit >/dev/null || groupadd -r kit\n\
             getent passwd kit >/dev/null || useradd -r -g kit -d / -s /sbin/nologin kit\n",
        );
    });
    let composed = composed(&[kit, base(folder.path())]).unwrap();
    let tree = &composed.tree;
    let data = tree.get("/usr/lib/kit/data").unwrap();
    assert_eq!((data.meta.uid, data.meta.gid, data.meta.mode), (999, 4, 0o640));
    assert_eq!(data.meta.mtime, u64::from(TIME));
    assert_eq!(tree.get("/usr/bin/kit").unwrap().meta.mode, 0o6755);
    assert_eq!(tree.get("/usr/bin/lost").unwrap().meta.mode, 0o2755, "setuid for root is lost");
    assert_eq!(composed.report.unknown_owners.len(), 1);
    assert!(tree.get("/usr/bin/ping").unwrap().meta.xattrs.contains_key("security.capability"));
    assert_eq!(tree.locate("/usr/bin/one"), tree.locate("/bin/two"));
    assert!(tree.get("/var/kit.log").is_none());
    assert!(matches!(&tree.get("/lib").unwrap().node, Node::Symlink(to) if to == "usr/lib"));
    assert!(text(tree, "/etc/passwd").ends_with("kit:x:999:999::/:/sbin/nologin\n"));
    assert_eq!(composed.report.accounts, ["group kit (999)", "user kit (999)"]);
    assert_eq!(composed.report.handled.len(), 1);
}

#[test]
fn the_order_of_packages_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        package(folder.path(), name, |builder| {
            directory(builder, "/usr/share");
            file(builder, "/usr/share/common", "same");
            file(builder, &format!("/lib/{name}"), name);
            builder.pre_install_script(format!("useradd -r user-{name}"));
        })
    };
    let mut packages = vec![make("b"), make("a"), base(folder.path()), make("c")];
    let names = |composed: &Composed| -> Vec<String> {
        let entries = composed.tree.entries();
        entries
            .iter()
            .map(|(path, id)| format!("{path} {:?}", composed.tree.inode(*id).meta))
            .collect()
    };
    let first = composed(&packages).unwrap();
    packages.reverse();
    let second = composed(&packages).unwrap();
    assert_eq!(names(&first), names(&second));
    assert_eq!(text(&first.tree, "/etc/passwd"), text(&second.tree, "/etc/passwd"));
    assert!(first.tree.get("/usr/lib/a").is_some());
}

#[test]
fn different_files_of_one_name_are_refused_with_both_owners() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, path: &str, bytes: &str| {
        package(folder.path(), name, |builder| file(builder, path, bytes))
    };
    let base = base(folder.path());
    let a = make("a", "/lib/same", "one");
    let b = make("b", "/usr/lib/same", "two");
    let error = composed(&[base.clone(), a.clone(), b]).unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("/lib/same"), "{shown}");
    assert!(shown.contains("a-1.0-1.noarch") && shown.contains("b-1.0-1.noarch"), "{shown}");
    let c = make("c", "/usr/lib/same", "one");
    composed(&[base, a, c]).unwrap();
}

/// Runs nothing, but notes what it was to run.
#[derive(Default)]
struct Recorder {
    calls: Vec<String>,
    status: i32,
}

impl Runner for Recorder {
    fn run(&mut self, tree: &mut Tree, call: &Call<'_>) -> Result<Ran, RunError> {
        let stdin = String::from_utf8_lossy(call.stdin).replace('\n', " ");
        let (program, arguments) = (call.program.join(" "), call.arguments.join(" "));
        self.calls.push(format!("{program} {:?} {arguments} < {stdin}", call.text));
        let path = TreePath::new(&format!("/ran-{}", self.calls.len())).unwrap();
        tree.write(&path, 0o600, Vec::new()).unwrap();
        Ok(Ran::exit(self.status, "first\nsecond".to_owned()))
    }
}

fn in_sandbox(packages: &[Package], recorder: &mut Recorder) -> Result<Composed, ComposeError> {
    compose(packages, &options(), Runners { lua: None, sandbox: Some(recorder) })
}

#[test]
fn a_script_is_followed_whole_or_runs_in_the_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let unit = "[Install]\nWantedBy=multi-user.target\n";
    let kit = package(folder.path(), "kit", |builder| {
        file(builder, "/usr/lib/systemd/system/kit.service", unit);
        file(builder, "/usr/lib/systemd/system/off.service", unit);
        file(builder, "/usr/lib/systemd/system-preset/90.preset", "enable kit*\ndisable *\n");
        let helper = FileOptions::new("/usr/lib/systemd/systemd-update-helper").permissions(0o755);
        builder.with_file_contents("", helper).unwrap();
        builder.post_install_script(
            "if [ $1 -eq 1 ] && [ -x \"/usr/lib/systemd/systemd-update-helper\" ]; then\n\
             /usr/lib/systemd/systemd-update-helper install-system-units kit.service off.service || :\n\
             fi\n",
        );
        builder.post_trans_script("[ $1 -gt 1 ] && rm -rf / || :\n");
    });
    let odd = package(folder.path(), "odd", |builder| {
        builder.post_install_script("groupadd -r early\nsed -i s/a/b/ /etc/passwd\n");
    });
    let packages = [base(folder.path()), kit, odd];
    let mut recorder = Recorder::default();
    let composed = in_sandbox(&packages, &mut recorder).unwrap();
    let wants = "/etc/systemd/system/multi-user.target.wants";
    assert!(composed.tree.get(&format!("{wants}/kit.service")).is_some());
    assert!(composed.tree.get(&format!("{wants}/off.service")).is_none());
    assert!(!text(&composed.tree, "/etc/group").contains("early"), "half a script was done");
    assert!(composed.tree.get("/ran-1").is_some());
    let wanted = "/bin/sh \"groupadd -r early\\nsed -i s/a/b/ /etc/passwd\\n\" 1 < ";
    assert_eq!(recorder.calls, [wanted]);
    let by: Vec<Handling> = composed.report.handled.iter().map(|script| script.by).collect();
    assert_eq!(by, [Handling::Native, Handling::Sandbox, Handling::Native]);
    let error = super::tests::composed(&packages).unwrap_err().to_string();
    assert!(error.contains("%post of odd-1.0-1.noarch cannot be run"), "{error}");
    assert!(error.contains("sed -i") && error.contains("\"odd %post\""), "{error}");
    let skip_scripts = vec![("odd".to_owned(), Phase::Post)];
    let options = Options { skip_scripts, ..options() };
    let composed = compose(&packages, &options, Runners::default()).unwrap();
    assert_eq!(composed.report.skipped.len(), 1);
}

#[test]
fn a_script_that_fails_is_named_with_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let post = package(folder.path(), "post", |builder| {
        builder.post_install_script("sed -i x /y");
    });
    let mut recorder = Recorder { status: 3, ..Recorder::default() };
    let composed = in_sandbox(&[base.clone(), post], &mut recorder).unwrap();
    let [failed] = &composed.report.failed[..] else { panic!("{:?}", composed.report.failed) };
    let shown = failed.to_string();
    assert!(shown.contains("%post of post-1.0-1.noarch failed, exit status 3"), "{shown}");
    assert!(shown.ends_with("first\n    second"), "{shown}");
    let pre = package(folder.path(), "pre", |builder| {
        builder.pre_install_script("sed -i x /y");
    });
    let error = in_sandbox(&[base.clone(), pre], &mut recorder).unwrap_err();
    assert!(matches!(error, ComposeError::Failed(_)), "{error}");
    let missing = package(folder.path(), "missing", |builder| {
        builder.post_install_script("no-such-program; useradd -r made");
    });
    let composed = super::tests::composed(&[base, missing]);
    assert!(composed.is_err(), "not known, though it is not there either");
}

#[test]
fn triggers_come_in_rpms_order_with_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let script = |text: &str| rpm::Scriptlet::new(text).prog(vec!["/bin/sh"]);
    let watcher = package(folder.path(), "a-watcher", |builder| {
        builder.trigger_in("thing", None, script("sed trigger"));
        builder.file_trigger_in("/usr/share/things", None, script("sed file"));
        builder.trans_file_trigger_in("/usr/share/things", None, script("sed transaction"));
        file(builder, "/usr/share/things/own", "");
    });
    let thing = package(folder.path(), "thing", |builder| {
        file(builder, "/usr/share/things/one", "");
        file(builder, "/usr/share/things/two", "");
        builder.post_install_script("sed post").requires(rpm::Dependency::any("a-watcher"));
    });
    let mut recorder = Recorder::default();
    in_sandbox(&[base(folder.path()), thing, watcher], &mut recorder).unwrap();
    let shown: Vec<String> =
        recorder.calls.iter().map(|call| call.replace("/bin/sh ", "").replace('"', "")).collect();
    let files = "/usr/share/things/one /usr/share/things/two ";
    assert_eq!(
        shown,
        [
            "sed file 0 < /usr/share/things/own ".to_owned(),
            // The priority of a file trigger that names none is a high one.
            format!("sed file 0 < {files}"),
            "sed post 1 < ".to_owned(),
            "sed trigger 1 1 < ".to_owned(),
            format!("sed transaction 0 < /usr/share/things/own {files}"),
        ]
    );
}

#[test]
fn what_the_recipe_leaves_out_is_recorded_as_not_installed() {
    let folder = tempfile::tempdir().unwrap();
    let kit = package(folder.path(), "kit", |builder| {
        directory(builder, "/usr/share/doc/kit");
        for name in ["/usr/share/doc/kit/README", "/usr/share/doc/kit/more"] {
            let options = FileOptions::new(name).permissions(0o644).doc();
            builder.with_file_contents("x", options).unwrap();
        }
        let license = FileOptions::new("/usr/share/licenses/kit").permissions(0o644).license();
        builder.with_file_contents("x", license).unwrap();
    });
    let options = Options { docs: false, ..options() };
    let composed = compose(&[base(folder.path()), kit], &options, Runners::default()).unwrap();
    assert!(composed.tree.get("/usr/share/doc/kit").is_none());
    assert!(composed.tree.get("/usr/share/licenses/kit").is_some());
    assert_eq!(composed.installed[1].package, 1);
    let states = &composed.installed[1].states;
    assert_eq!(states.iter().filter(|state| **state == FileState::NotInstalled).count(), 3);
}
