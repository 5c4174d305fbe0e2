//! Packages whose scripts need each of the engines there are: rpm's own Lua, a
//! shell that does what nobody understands unread, and a program of a package.
//! Their triggers wait for the same package, so that all of them are mixed in
//! one transaction; every script writes to the log of [`super::transaction`].

use rpm::Dependency;

use super::transaction::{LOG, log, log_files, logging, trigger};
use super::{directory, file, with_mode};
use crate::rpm_package::{RpmPackage, Script, TriggerKind};

/// What all of the triggers wait for: a package, and files.
const THING: &str = "mixed-thing";
const FILES: &str = "/usr/share/synthetic/mixed";
/// A program that scripts are for.
const RUN: &str = "/usr/bin/synthetic-run";

/// All of them.
pub(super) fn packages() -> Vec<RpmPackage> {
    vec![
        program(),
        engine("lua", lua, lua_files),
        engine("shell", shell, shell_files),
        engine("program", by_program, by_program),
        engine("known", log, log_files),
        thing(),
        bare(),
        failing(),
        changing(),
    ]
}

/// Writes to the log which words it got, the script among them, and what it reads.
fn program() -> RpmPackage {
    let mut made = logging("mixed-run");
    let text = format!(
        "#!/bin/sh\nexec >> {LOG}\necho \"program with $# words\"\n\
         while [ \"${{1#-}}\" != \"$1\" ]; do echo \"its own word $1\"; shift; done\n\
         [ $# -eq 0 ] || {{ cat \"$1\"; shift; echo \"arguments $*\"; }}\ncat\n"
    );
    made.files.push(with_mode(file(RUN, &text), 0o755));
    made
}

fn lua(line: &str) -> Script {
    Script::lua(format!(
        "local f = io.open(\"{LOG}\", \"a\")\n\
         f:write(\"{line} \", #arg, \" \", tostring(arg[2]), \" \", tostring(arg[3]), \"\\n\")\n\
         f:close()\n"
    ))
}

fn lua_files(line: &str) -> Script {
    let Script { interpreter, body } = lua(line);
    let rest = format!(
        "f = io.open(\"{LOG}\", \"a\")\nlocal name = rpm.next_file()\n\
         while name do f:write(name, \"\\n\") name = rpm.next_file() end\nf:close()\n"
    );
    Script { interpreter, body: body.map(|body| body.replace("local f", "f") + &rest) }
}

/// With a loop and a pipe, which only a shell understands.
fn shell(line: &str) -> Script {
    Script::shell(format!(
        "for word in some more; do echo \"{line} $word $1 $2 $#\"; done | sed 's/$/ ./' >> {LOG}\n"
    ))
}

fn shell_files(line: &str) -> Script {
    Script::shell(format!(
        "echo \"{line} $1 $#\" >> {LOG}\nwhile read -r name; do echo \"read $name\"; done >> {LOG}\n"
    ))
}

/// A trigger's program has no words of its own.
fn by_program(line: &str) -> Script {
    Script { interpreter: RUN.into(), body: Some(format!("{line}\nmore of it\n")) }
}

/// A package with scripts of every phase and triggers of every kind, all for one
/// engine.
fn engine(name: &str, script: fn(&str) -> Script, reads: fn(&str) -> Script) -> RpmPackage {
    let mut made = logging(&format!("mixed-{name}"));
    made.requires.extend(["mixed-run", "sed"].map(Dependency::script_pre));
    made.files.push(file(&format!("{FILES}/by-{name}"), name));
    let say = |what: &str| script(&format!("{name} {what}"));
    let read = |what: &str| reads(&format!("{name} {what}"));
    if name == "lua" {
        // Nothing else runs in a root where there is nothing.
        let folders = ["/usr", "/usr/share", "/usr/share/synthetic"];
        let make = folders.map(|folder| format!("posix.mkdir(\"{folder}\")\n")).concat();
        let Script { interpreter, body } = say("pretrans");
        made.scripts.pretrans = Some(Script { interpreter, body: body.map(|body| make + &body) });
    }
    made.scripts.pre = Some(say("pre"));
    made.scripts.post = Some(say("post"));
    made.scripts.posttrans = Some(say("posttrans"));
    let at = |number| u32::try_from(number + name.len()).unwrap_or_default();
    made.more_triggers = vec![
        trigger(TriggerKind::PreIn, THING, say("triggerprein")),
        trigger(TriggerKind::In, THING, say("triggerin")),
        trigger(TriggerKind::File(at(20_000)), FILES, read("high")),
        trigger(TriggerKind::File(at(100)), FILES, read("low")),
        trigger(TriggerKind::TransactionFile(at(100)), FILES, read("transaction")),
    ];
    made
}

/// What they wait for; of its own scripts each is for another engine.
fn thing() -> RpmPackage {
    let mut made = logging(THING);
    made.requires.extend(["mixed-run", "sed", "mixed-lua"].map(Dependency::script_pre));
    made.files.extend([file(&format!("{FILES}/one"), "1\n"), file(&format!("{FILES}/two"), "2\n")]);
    made.scripts.pretrans = Some(lua("thing pretrans"));
    made.scripts.pre = Some(shell("thing pre"));
    made.scripts.post = Some(by_program("thing post"));
    made.scripts.posttrans = Some(lua("thing posttrans"));
    made
}

/// A program that is all there is of a script, with words of its own and without.
fn bare() -> RpmPackage {
    let mut made = logging("mixed-bare");
    made.requires.push(Dependency::script_pre("mixed-run"));
    made.scripts.pre = Some(Script::program(RUN));
    made.scripts.post = Some(Script::program(&format!("{RUN} -v")));
    let words = format!("{RUN} -x -yz");
    made.scripts.posttrans = Some(Script { interpreter: words, ..by_program("bare posttrans") });
    made
}

/// rpm goes on after those.
fn failing() -> RpmPackage {
    let mut made = logging("mixed-failing");
    made.requires.push(Dependency::script_pre("sed"));
    let Script { interpreter, body } = lua("fails");
    let rest = "error(\"enough\")\nos.remove(\"/etc/passwd\")\n";
    made.scripts.post = Some(Script { interpreter, body: body.map(|body| body + rest) });
    made.scripts.posttrans =
        Some(Script::shell(format!("for word in fails; do echo $word >> {LOG}; done\nexit 3\n")));
    made
}

/// A script that does to files what scripts may do.
fn changing() -> RpmPackage {
    const AT: &str = "/usr/share/synthetic/changing";
    let mut made = logging("mixed-changing");
    let tools = ["sed", "libcap2-bin", "passwd", "libc-bin"];
    made.requires.extend(tools.map(Dependency::script_post));
    made.files.extend([
        directory(AT),
        directory(&format!("{AT}/deep")),
        file(&format!("{AT}/deep/one"), "one\n"),
        file(&format!("{AT}/two"), "two\n"),
        file(&format!("{AT}/three"), "three\n"),
        with_mode(file(&format!("{AT}/four"), "four\n"), 0o755),
    ]);
    made.scripts.post = Some(Script::shell(format!(
        "set -e\ncd {AT}\nfor word in one; do mv deep moved; done\nln moved/one linked\n\
         sed -i s/t/T/ two\nrm three\nmkdir three\nchmod 2750 three\nchown 42:43 three two\n\
         cp -a two copy\nln -s ../two three/link\nchown -h 42 three/link\nmkfifo -m 600 pipe\n\
         truncate -s 1000000 sparse\necho end >> sparse\nsetcap cap_net_raw=ep four\n\
         chown 42 moved/one\nchmod 6755 moved/one\ncat linked >> {LOG}\n"
    )));
    made
}
