//! Packages that show in which order rpm does things and with what: every
//! script writes a line to one log, which rpm and whoever composes must fill
//! alike; and files that depend on what is there when they are placed.

use rpm::Dependency;

use super::{directory, file, link, package, with_file, with_mode};
use crate::rpm_package::{Role, RpmPackage, Script, Trigger, TriggerKind};

/// Where scripts write.
pub(super) const LOG: &str = "/usr/share/synthetic/log";

/// All of them.
pub(super) fn packages() -> Vec<RpmPackage> {
    [order(), accounts(), kinds(), policies(), idioms()].concat()
}

pub(super) fn log(line: &str) -> Script {
    Script::shell(format!("echo \"{line} $1 $2 $#\" >> {LOG}\n"))
}

/// Writes what it reads, too.
pub(super) fn log_files(line: &str) -> Script {
    Script::shell(format!("echo \"{line} $1 $#\" >> {LOG}\ncat >> {LOG}\n"))
}

pub(super) fn trigger(kind: TriggerKind, on: &str, script: Script) -> Trigger {
    Trigger { kind, on: on.into(), script }
}

/// Needs the shell and the log's folder before its scripts run.
pub(super) fn logging(name: &str) -> RpmPackage {
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

/// Directories that meet links, shared files, colors.
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

/// What packages of CBL-Mariner 2.0 have in their `%post`, word for word where
/// it matters, and every command that a builder may carry out itself.
fn idioms() -> Vec<RpmPackage> {
    let with_post = |name: &str, text: &str| {
        let mut made = logging(name);
        made.requires.extend(["passwd", "libc-bin", "grep", "sed"].map(Dependency::script_post));
        made.files.push(directory("/usr/share/cracklib"));
        made.scripts.post = Some(Script::shell(text));
        made
    };
    vec![
        with_post(
            "idiom-shells",
            "if [ $1 -eq 1 ] ; then\n    if [ ! -f \"/root/.bash_logout\" ] ; then\n        \
             cp /etc/skel/.bash_logout /root/.bash_logout\n    fi\n    \
             if [ ! -f /etc/shells ]; then\n        echo \"/bin/sh\" >> /etc/shells\n        \
             echo \"/bin/bash\" >> /etc/shells\n    else\n        \
             grep -q '^/bin/sh$' /etc/shells || \\\n        echo \"/bin/sh\" >> /etc/shells\n        \
             grep -q '^/bin/new$' /etc/shells || \\\n        echo \"/bin/new\" >> /etc/shells\n    \
             fi\nfi\n",
        ),
        with_post(
            "idiom-telinit",
            "/sbin/ldconfig\n[ -x /sbin/telinit ] && [ -p /dev/initctl ]  && /sbin/telinit U\nexit 0\n",
        ),
        with_post(
            "idiom-links",
            "/sbin/ldconfig\n[ $1 = 1 ] || exit 0\n\
             echo \"using empty dict to provide pw_dict\" >&2\n\
             ln -sf empty.hwm /usr/share/cracklib/pw_dict.hwm\n\
             ln -sf empty.pwd /usr/share/cracklib/pw_dict.pwd\n\
             ln -sf other.pwd /usr/share/cracklib/pw_dict.pwd\nln -s again /usr/share/cracklib/pw_dict.pwd\n\
             ln -s target /usr/share/cracklib\nln -sfn elsewhere /usr/share/cracklib/target\n",
        ),
        with_post("idiom-shadow", "/usr/sbin/pwconv\n/usr/sbin/grpconv\n"),
        with_post(
            "idiom-accounts",
            "getent group wheel > /dev/null || groupadd wheel\n\
             getent group zebra >/dev/null || groupadd -r zebra\n\
             getent passwd zed >/dev/null || useradd -r -M -N -g zebra -G wheel -d /srv/zed \\\n  \
             -s /usr/sbin/nologin -c 'Zed' zed\nuseradd -r -g zebra -d / alpha\n\
             usermod -a -G wheel,zebra alpha\nusermod -aG wheel alpha\ngroupadd -r wheel\n\
             useradd -r lonely || echo \"not made\" >> /usr/share/synthetic/log\n\
             groupadd -r -f zebra && true\n",
        ),
        with_post(
            "idiom-coreutils",
            "mkdir -p /var/lib/idiom/deep/er\nmkdir -m 0700 /var/lib/idiom/private\n\
             mkdir /var/lib/idiom/private /var/lib/idiom/other\nmkdir /var/lib/none/x\n\
             echo one > /var/lib/idiom/file\nchmod 6755 /var/lib/idiom/file\n\
             chown root:shadow /var/lib/idiom/file\nchgrp shadow /var/lib/idiom/private\n\
             cp /var/lib/idiom/file /var/lib/idiom/deep\ncp -f /var/lib/idiom/file /var/lib/idiom/copy\n\
             echo two > /var/lib/idiom/file\ntouch /var/lib/idiom/touched /var/lib/idiom/file\n\
             rm -f /var/lib/idiom/missing /var/lib/idiom/touched\nrm /var/lib/idiom/deep\n\
             rm -rf /var/lib/idiom/other\n: > /var/lib/idiom/empty\n\
             [ -s /var/lib/idiom/empty ] || echo empty >> /usr/share/synthetic/log\n\
             [ -d /var/lib/idiom ] && ! [ -L /var/lib/idiom ] && echo folder >> /usr/share/synthetic/log\n\
             if [ -e /var/lib/none ]; then exit 1; elif [ -r /etc/passwd ]; then\n\
             test -w /etc/passwd && echo root >> /usr/share/synthetic/log\nfi\n\
             false 2>/dev/null || echo \"no command\" >> /usr/share/synthetic/log\n",
        ),
    ]
}
