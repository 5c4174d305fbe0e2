//! What a package's file meets: another package's file of its name, or what a
//! `%pretrans` has left in its place. rpm says which are refused, and what
//! becomes of the others. Only root can let rpm install.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{DirEntryExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use rpm::{FileOptions, PackageBuilder, Scriptlet};

use super::judge::{compare, states, states_by_rpm, strange};
use super::*;
use crate::engines::Lua;
use crate::package::testing::{TIME, directory, file, link, write};

/// Where rpm keeps its database: no folder that a file of the tests is in.
const DATABASE: &str = "/.rpmdb";

/// A kind of file, and how a package gets one of it.
type Kind = (&'static str, fn(&mut PackageBuilder, &str));

fn with_mode(builder: &mut PackageBuilder, at: &str, mode: u16, text: &str) {
    builder.with_file_contents(text, FileOptions::new(at).permissions(mode)).unwrap();
}

fn special(builder: &mut PackageBuilder, options: rpm::FileOptionsBuilder) {
    builder.with_special_file(options.permissions(0o640)).unwrap();
}

const KINDS: [Kind; 24] = [
    ("folder", directory),
    ("closed-folder", |builder, at| {
        builder.with_dir_entry(FileOptions::dir(at).permissions(0o700)).unwrap();
    }),
    ("file", |builder, at| file(builder, at, "one")),
    ("other-file", |builder, at| file(builder, at, "two")),
    ("longer-file", |builder, at| file(builder, at, "three")),
    ("closed-file", |builder, at| with_mode(builder, at, 0o600, "one")),
    ("setuid-file", |builder, at| with_mode(builder, at, 0o4755, "one")),
    // as much as two blocks of any file system have, and a word
    ("sparse-file", |builder, at| {
        let mut bytes = vec![0; 1 << 20];
        bytes.extend(b"end");
        file(builder, at, bytes);
    }),
    ("owned-file", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).user("nobody-here");
        builder.with_file_contents("one", options).unwrap();
    }),
    ("grouped-file", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).group("nobodies");
        builder.with_file_contents("one", options).unwrap();
    }),
    ("capable-file", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).caps("cap_net_raw=ep").unwrap();
        builder.with_file_contents("one", options).unwrap();
    }),
    ("doc", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).doc();
        builder.with_file_contents("one", options).unwrap();
    }),
    ("config", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).config();
        builder.with_file_contents("one", options).unwrap();
    }),
    ("kept-config", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).config().noreplace();
        builder.with_file_contents("one", options).unwrap();
    }),
    ("config-that-may-go", |builder, at| {
        let options = FileOptions::new(at).permissions(0o644).config().noreplace().missingok();
        builder.with_file_contents("one", options).unwrap();
    }),
    ("link", |builder, at| link(builder, at, "target")),
    ("other-link", |builder, at| link(builder, at, "tegrat")),
    ("kept-link", |builder, at| {
        let options = FileOptions::symlink(at, "target").config().noreplace();
        builder.with_symlink(options).unwrap();
    }),
    ("pipe", |builder, at| special(builder, FileOptions::fifo(at))),
    ("character-device", |builder, at| special(builder, FileOptions::character_device(at, 1, 3))),
    ("other-device", |builder, at| special(builder, FileOptions::character_device(at, 1, 5))),
    ("block-device", |builder, at| special(builder, FileOptions::block_device(at, 7, 0))),
    ("ghost", |builder, at| {
        builder.with_ghost(FileOptions::ghost(at)).unwrap();
    }),
    ("ghost-config", |builder, at| {
        builder.with_ghost(FileOptions::ghost(at).config().noreplace()).unwrap();
    }),
];

/// What may be there before, by rpm's Lua; `P` is where.
const LEFT: [(&str, &str); 10] = [
    ("empty-folder", "posix.mkdir(P)"),
    ("full-folder", "posix.mkdir(P) write(P .. '/own', 'own')"),
    ("same-file", "write(P, 'one')"),
    ("other-file", "write(P, 'two')"),
    ("longer-file", "write(P, 'three')"),
    ("closed-file", "write(P, 'one') posix.chmod(P, '0600')"),
    ("link", "posix.symlink('target', P)"),
    ("link-to-folder", "posix.symlink('../a-folder', P)"),
    ("dangling-link", "posix.symlink('../nowhere', P)"),
    ("pipe", "posix.mkfifo(P)"),
];
const WRITE: &str = "function write(path, text) local f = io.open(path, 'w') f:write(text) f:close() end\n\
                     posix.mkdir('/srv') posix.mkdir('/srv/a-folder')\n";

fn can_judge() -> bool {
    let there = Command::new("rpm").arg("--version").output().is_ok();
    let can = there && rustix::process::geteuid().is_root();
    if !can {
        skip::because("rpm --root is root's, and rpm has to be installed");
    }
    can
}

/// Runs something while the other end of every pipe in a folder is held: rpm
/// 4.18.0 opens those that it makes, and waits until somebody does the same.
fn with_other_ends<T>(folder: &Path, run: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let hold = || {
        let mut held = BTreeMap::new();
        while !done.load(Ordering::Acquire) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_fifo()) {
                    let open = || File::options().read(true).write(true).open(entry.path());
                    held.entry(entry.ino()).or_insert_with(open);
                }
            }
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(hold);
        let ran = run();
        done.store(true, Ordering::Release);
        ran
    })
}

/// Packages, and a root for rpm.
struct Meeting {
    folder: tempfile::TempDir,
    rpms: Vec<PathBuf>,
    packages: Vec<Package>,
}

impl Meeting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, rpms: Vec::new(), packages: Vec::new() }
    }

    fn package(&mut self, name: &str, fill: impl FnOnce(&mut PackageBuilder)) {
        let rpm = write(self.folder.path(), name, fill);
        self.packages.push(Package::open(&rpm, &rpm.with_extension("cpio")).unwrap());
        self.rpms.push(rpm);
    }

    fn composed(&self) -> Result<Composed, ComposeError> {
        let mut lua = Lua;
        let runners = Runners { lua: Some(&mut lua), sandbox: None };
        compose(&self.packages, &Options::new(u64::from(TIME)), runners)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn rpm(&self, options: &[&str]) -> Output {
        std::fs::create_dir(self.root()).unwrap();
        let mut rpm = Command::new("rpm");
        rpm.arg("--root")
            .arg(self.root())
            .args(["--define", &format!("_dbpath {DATABASE}"), "-i", "--nodeps", "--nosignature"])
            .args(options)
            .args(&self.rpms);
        with_other_ends(&self.root().join("srv"), || rpm.output().unwrap())
    }

    /// rpm has to install, and what it makes is what we do.
    fn judge(&self) {
        let composed = self.composed().unwrap();
        let out = self.rpm(&[]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        let differences = compare(&composed.tree, &self.root());
        assert_eq!(strange(&differences), Vec::<&String>::new(), "{said}");
        let ours = states(&self.packages, &composed);
        assert_eq!(ours, states_by_rpm(&self.root(), DATABASE));
    }
}

fn place(one: usize, other: usize) -> String {
    format!("{}-and-{}", KINDS[one].0, KINDS[other].0)
}

/// Two packages with every pair of kinds in one name each that `wanted` says;
/// one of them goes through a link.
fn pairs(wanted: impl Fn(&str) -> bool) -> Meeting {
    let mut meeting = Meeting::new();
    let every = |fill: &mut dyn FnMut(usize, usize, &str)| {
        for (one, other) in (0..KINDS.len()).flat_map(|one| (0..KINDS.len()).map(move |o| (one, o)))
        {
            let name = place(one, other);
            if wanted(&name) {
                fill(one, other, &name);
            }
        }
    };
    meeting.package("first", |builder| {
        directory(builder, "/srv");
        link(builder, "/via", "srv");
        every(&mut |one, _, name| KINDS[one].1(builder, &format!("/srv/{name}")));
    });
    meeting.package("second", |builder| {
        builder.requires(rpm::Dependency::script_pre("first"));
        every(&mut |_, other, name| KINDS[other].1(builder, &format!("/via/{name}")));
    });
    meeting
}

fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap().to_owned()
}

/// What rpm says is in conflict: `file P conflicts between attempted installs of
/// A and B`.
fn conflicts(said: &str) -> Vec<String> {
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let refused =
        said.lines().filter(|line| line.contains(" conflicts between attempted installs of "));
    let mut names: Vec<String> = refused
        .map(|line| {
            for owner in ["first-1.0-1.noarch", "second-1.0-1.noarch"] {
                assert!(line.contains(owner), "{line}");
            }
            name_of(&words(line.trim())[1])
        })
        .collect();
    names.sort();
    names
}

#[test]
fn files_of_one_name_conflict_where_rpm_says_so() {
    if !can_judge() {
        return;
    }
    let all = pairs(|_| true);
    let out = all.rpm(&["--test"]);
    let said = String::from_utf8_lossy(&out.stderr);
    let refused = conflicts(&said);
    assert!(!out.status.success());
    assert!(!refused.is_empty() && !out.status.success(), "{said}");
    let Err(ComposeError::Conflicts(ours)) = all.composed() else { panic!("no conflicts") };
    for conflict in &ours {
        let mut owners = [conflict.first.as_str(), conflict.second.as_str()];
        owners.sort_unstable();
        assert_eq!(owners, ["first-1.0-1.noarch", "second-1.0-1.noarch"]);
    }
    let mut ours: Vec<String> = ours.iter().map(|one| name_of(one.path.as_str())).collect();
    ours.sort();
    assert_eq!(ours, refused);
    let pairs_in_all = KINDS.len() * KINDS.len();
    println!("{} of {pairs_in_all} pairs conflict", refused.len());
    // and what does not conflict is made of both
    pairs(|name| refused.binary_search(&name.to_owned()).is_err()).judge();
}

/// Everything that may be there before, with every kind of file: a name, how Lua
/// makes the one, and how a package gets the other.
fn met() -> impl Iterator<Item = (String, &'static str, fn(&mut PackageBuilder, &str))> {
    LEFT.iter().flat_map(|(left, make)| {
        KINDS.iter().map(move |(kind, ship)| (format!("{left}-for-{kind}"), *make, *ship))
    })
}

/// A package that makes what is left in each name that `wanted` says, and ships a
/// file there.
fn left(wanted: impl Fn(&String) -> bool) -> Meeting {
    let mut meeting = Meeting::new();
    meeting.package("late", |builder| {
        let mut script = WRITE.to_owned();
        for (name, make, ship) in met().filter(|(name, ..)| wanted(name)) {
            script += &format!("do local P = '/srv/{name}' {make} end\n");
            ship(builder, &format!("/srv/{name}"));
        }
        builder.pre_trans_script(Scriptlet::new(script).prog(vec!["<lua>"]));
    });
    meeting
}

#[test]
fn what_pretrans_left_gives_way_as_rpm_has_it() {
    if !can_judge() {
        return;
    }
    let mut refused = Vec::new();
    for (name, ..) in met() {
        let one = left(|other| *other == name);
        let Err(error) = one.composed() else { continue };
        assert!(matches!(error, ComposeError::InTheWay { .. }), "{error:?}");
        // what is in the folder does not matter to either
        if name.starts_with("full-folder-") {
            assert!(!one.rpm(&[]).status.success(), "rpm installs {name}");
        }
        refused.push(name);
    }
    println!("{} of {} are refused", refused.len(), met().count());
    assert!(!refused.is_empty());
    left(|name| !refused.contains(name)).judge();
}

/// A file that a script has written since the files were planned.
#[test]
fn what_other_scripts_wrote_is_replaced_as_rpm_does() {
    if !can_judge() {
        return;
    }
    let mut meeting = Meeting::new();
    let lua = |text: &str| Scriptlet::new(format!("{WRITE}{text}")).prog(vec!["<lua>"]);
    meeting.package("early", |builder| {
        builder.post_install_script(lua(
            "for _, name in ipairs{'config', 'kept-config', 'file', 'link', 'ghost'} do \
             write('/srv/' .. name, 'two') end",
        ));
    });
    meeting.package("late", |builder| {
        builder.requires(rpm::Dependency::script_pre("early"));
        builder.pre_install_script(lua("write('/srv/kept-config', 'three')"));
        let wanted = ["config", "kept-config", "file", "link", "ghost"];
        for (name, ship) in KINDS.iter().filter(|(name, _)| wanted.contains(name)) {
            ship(builder, &format!("/srv/{name}"));
        }
    });
    meeting.judge();
}
