//! Packages that show in which order rpm does things and with what: every
//! script writes a line to one log, which rpm and whoever composes must fill
//! alike; and files that depend on what is there when they are placed.

use rpm::Dependency;

use super::{directory, file, link, package, with_file, with_mode};
use crate::demo_list::MADE_TIME;
use crate::rpm_package::{Content, PackageFile, Role, RpmPackage, Script, Trigger, TriggerKind};

/// Where scripts write.
const LOG: &str = "/usr/share/synthetic/log";

/// All of them.
pub(super) fn packages() -> Vec<RpmPackage> {
    [order(), accounts(), kinds(), policies()].concat()
}

fn log(line: &str) -> Script {
    Script::shell(format!("echo \"{line} $1 $2 $#\" >> {LOG}\n"))
}

/// Writes what it reads, too.
fn log_files(line: &str) -> Script {
    Script::shell(format!("echo \"{line} $1 $#\" >> {LOG}\ncat >> {LOG}\n"))
}

fn trigger(kind: TriggerKind, on: &str, script: Script) -> Trigger {
    Trigger { kind, on: on.into(), script }
}

/// Needs the shell and the log's folder before its scripts run.
fn logging(name: &str) -> RpmPackage {
    let mut made = with_file(name);
    made.requires.extend(["/bin/sh", "basic", "coreutils"].map(Dependency::script_pre));
    made
}

/// Scripts of every phase, and triggers of every kind, in several packages.
fn order() -> Vec<RpmPackage> {
    let mut watcher = logging("order-watcher");
    watcher.scripts.pre = Some(log("watcher pre"));
    watcher.scripts.post = Some(log("watcher post"));
    watcher.scripts.posttrans = Some(log("watcher posttrans"));
    let files = "/usr/share/synthetic/order";
    watcher.more_triggers = vec![
        trigger(TriggerKind::PreIn, "order-thing", log("watcher triggerprein")),
        trigger(TriggerKind::In, "order-thing", log("watcher triggerin")),
        trigger(TriggerKind::In, "order-watcher", log("watcher triggerin itself")),
        trigger(TriggerKind::File(20_000), files, log_files("watcher high")),
        trigger(TriggerKind::File(10), files, log_files("watcher low")),
        trigger(TriggerKind::File(11), "/usr/share/synthetic/nothing", log_files("never")),
        trigger(TriggerKind::TransactionFile(5), files, log_files("watcher transaction 5")),
        trigger(TriggerKind::TransactionFile(50), "/usr/share/ghosts", log_files("watcher 50")),
    ];
    let mut thing = logging("order-thing");
    thing.requires.push(Dependency::any("order-watcher"));
    thing.files.push(file("/usr/share/synthetic/order/one", "1\n"));
    thing.files.push(file("/usr/share/synthetic/order/two", "2\n"));
    thing.scripts.pre = Some(log("thing pre"));
    thing.scripts.post = Some(log("thing post"));
    thing.scripts.posttrans = Some(log("thing posttrans"));
    // Set off by a package that is there already, and by one that comes later.
    let mut late = logging("order-late");
    late.requires.push(Dependency::any("order-thing"));
    late.files.push(file("/usr/share/synthetic/order/three", "3\n"));
    late.scripts.post = Some(log("late post"));
    late.more_triggers = vec![
        trigger(TriggerKind::PreIn, "order-thing", log("late triggerprein")),
        trigger(TriggerKind::In, "order-thing", log("late triggerin")),
        trigger(TriggerKind::File(30_000), files, log_files("late high")),
        trigger(TriggerKind::File(1), files, log_files("late low")),
        trigger(TriggerKind::TransactionFile(1), files, log_files("late transaction")),
    ];
    // The same name in two versions: scripts are told how many there are.
    let twice = |version: &str| {
        let mut made = logging("order-twice");
        made.version = version.into();
        made.scripts.pre = Some(log(&format!("twice {version} pre")));
        made.scripts.post = Some(log(&format!("twice {version} post")));
        made.scripts.posttrans = Some(log(&format!("twice {version} posttrans")));
        made
    };
    let mut failing = logging("order-failing");
    failing.scripts.post = Some(Script::shell(format!("echo failing >> {LOG}\nexit 3\n")));
    vec![watcher, thing, late, twice("1.0"), twice("2.0"), failing]
}

/// Owners that come before, with and after the files that want them.
fn accounts() -> Vec<RpmPackage> {
    let owned = |path: &str, name: &str, mode| {
        let mut made = with_mode(file(path, "owned\n"), mode);
        (made.user, made.group) = (name.into(), name.into());
        made
    };
    let make = |name: &str| {
        Script::shell(format!(
            "getent group {name} >/dev/null || groupadd -r {name}\n\
             getent passwd {name} >/dev/null || useradd -r -g {name} -d / -s /sbin/nologin {name}\n"
        ))
    };
    let mut early = logging("owner-early");
    early.requires.extend(["passwd", "libc-bin"].map(Dependency::script_pre));
    early.scripts.pre = Some(make("early"));
    early.files.push(owned("/usr/share/owner/early", "early", 0o6750));
    let mut late = logging("owner-late");
    late.requires.extend(["passwd", "libc-bin"].map(Dependency::script_post));
    late.scripts.post = Some(make("late"));
    late.files.push(owned("/usr/share/owner/late", "late", 0o6755));
    let mut other = logging("owner-other");
    other.requires.push(Dependency::script_pre("owner-late"));
    other.files.push(owned("/usr/share/owner/other", "late", 0o6711));
    vec![early, late, other]
}

/// Directories that meet links, shared files, colors, hard links that are
/// partly left out.
fn kinds() -> Vec<RpmPackage> {
    let mut linking = logging("dir-link");
    linking.files.push(directory("/usr/share/synthetic/real"));
    linking.scripts.post = Some(Script::shell(
        "ln -s real /usr/share/synthetic/linked\nln -s nowhere /usr/share/synthetic/dangling\n\
         echo gone > /usr/share/synthetic/was-file\n",
    ));
    let mut over = logging("dir-over-link");
    over.requires.push(Dependency::script_pre("dir-link"));
    over.files.extend([
        with_mode(directory("/usr/share/synthetic/linked"), 0o2750),
        file("/usr/share/synthetic/linked/file", "through the link\n"),
        with_mode(directory("/usr/share/synthetic/dangling"), 0o700),
        file("/usr/share/synthetic/dangling/file", "in a new folder\n"),
        directory("/usr/share/synthetic/was-file"),
    ]);
    let mut replacing = logging("link-over-file");
    replacing.requires.push(Dependency::script_pre("basic"));
    replacing.scripts.pre = Some(Script::shell("echo old > /usr/share/synthetic/becomes-link\n"));
    replacing.files.push(link("/usr/share/synthetic/becomes-link", "basic"));
    let shared = |name: &str, group: &str| {
        let mut made = logging(name);
        let mut folder = with_mode(directory("/usr/share/synthetic/shared"), 0o755);
        folder.group = group.into();
        made.files.push(folder);
        made.files.push(file("/usr/share/synthetic/shared/same", "same\n"));
        made
    };
    let elf = |name: &str, color| {
        let mut made = package(name);
        let mut program = with_mode(file("/usr/bin/synthetic-elf", &format!("{name}\n")), 0o755);
        program.color = color;
        made.files.push(program);
        made
    };
    vec![
        linking,
        over,
        replacing,
        shared("shared-a", "root"),
        shared("shared-b", "root"),
        shared("shared-c", "root"),
        elf("elf32", 1),
        elf("elf64", 2),
    ]
}

/// What a recipe may leave out, and settings.
fn policies() -> Vec<RpmPackage> {
    let role = |path: &str, role| {
        let mut made = file(path, "text\n");
        made.role = role;
        made
    };
    let mut documented = package("documented");
    documented.files.extend([
        directory("/usr/share/documented"),
        role("/usr/share/documented/README", Role::Doc),
        directory("/usr/share/documented/deep"),
        role("/usr/share/documented/deep/more", Role::Doc),
        role("/usr/share/licenses/documented", Role::License),
        file("/usr/share/documented-kept/plain", "kept\n"),
        role("/usr/share/documented-kept/README", Role::Doc),
    ]);
    for (index, name) in ["doc", "plain"].iter().enumerate() {
        let content = Content::HardLink { set: "half".into(), bytes: b"half\n".to_vec() };
        let mut made = PackageFile::new(&format!("/usr/share/half/{name}"), content, MADE_TIME);
        made.role = if index == 0 { Role::Doc } else { Role::Plain };
        documented.files.push(made);
    }
    let mut languages = package("languages");
    for language in ["de", "en", "pt_BR"] {
        let mut made = file(&format!("/usr/share/locale/{language}/synthetic.mo"), language);
        made.language = Some(language.into());
        languages.files.push(directory(&format!("/usr/share/locale/{language}")));
        languages.files.push(made);
    }
    let mut config = package("config");
    config.files.push(role("/etc/config-replaced", Role::ReplacedConfig));
    config.files.push(role("/etc/config-kept", Role::Config));
    vec![documented, languages, config]
}
