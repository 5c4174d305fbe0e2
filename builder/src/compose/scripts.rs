//! Install scripts, carried out without running them.
//!
//! An interpreter with a handful of commands follows each script and notes what
//! it wants done. At the first command that is not known the script is given
//! up with nothing noted, and reported. What is wanted is done afterwards, once
//! and in a fixed order: it does not matter how many packages call `ldconfig`.

use std::collections::BTreeSet;

use super::shell::{self, Command, NotUnderstood};
use super::{ComposeError, HandledScriptlet, Report, UnhandledScriptlet};
use crate::package::{Package, Phase, Scriptlet};
use crate::presets::{PresetReport, Presets, Scope};
use crate::tree::{Node, Tree};
use crate::users::{Accounts, GroupAdd, UserAdd};

/// All that the scripts want done.
#[derive(Debug, Default, Clone)]
pub struct Wishes {
    accounts: Vec<Account>,
    preset: Vec<(Scope, String)>,
    preset_all: BTreeSet<Scope>,
    enable: Vec<(Scope, String)>,
    /// Whether the cache of libraries is to be made.
    pub ldconfig: bool,
    /// Kernel versions whose modules are to be indexed.
    pub depmod: BTreeSet<String>,
}

#[derive(Debug, Clone)]
enum Account {
    Group(GroupAdd),
    User(UserAdd),
}

/// Follows the scripts of all packages, in the order an installation would
/// come to them, and reports each as handled or not.
pub fn run(packages: &[&Package], tree: &Tree, report: &mut Report) -> Wishes {
    let mut wishes = Wishes::default();
    let mut all: Vec<(&Package, &Scriptlet)> = Vec::new();
    for package in packages {
        all.extend(package.scriptlets.iter().map(|script| (*package, script)));
    }
    all.sort_by_key(|(_, script)| script.phase);
    for (package, script) in all.into_iter().filter(|(_, script)| triggered(script, packages, tree))
    {
        let mut run = Run { tree, wishes: wishes.clone() };
        let (name, sha256) = (package.identity.to_string(), script.digest());
        match run.script(script) {
            Ok(()) => {
                wishes = run.wishes;
                let phase = script.phase;
                report.handled.push(HandledScriptlet { package: name, phase, sha256 });
            }
            Err(NotUnderstood(reason)) => report.unhandled.push(UnhandledScriptlet {
                package: name,
                phase: script.phase,
                sha256,
                program: script.program.clone(),
                text: script.text.clone(),
                reason,
            }),
        }
    }
    wishes
}

/// Whether what a trigger waits for is part of the tree; true for other scripts.
fn triggered(script: &Scriptlet, packages: &[&Package], tree: &Tree) -> bool {
    let there = |name: &String| match script.phase {
        Phase::TriggerIn => packages.iter().any(|package| package.identity.name == *name),
        _ => tree.resolve(name).is_some(),
    };
    script.triggered_by.is_empty() || script.triggered_by.iter().any(there)
}

/// Makes the accounts that scripts and declarations want, and writes them.
pub fn make_accounts(wishes: &Wishes, tree: &mut Tree, now: u64) -> Result<Accounts, ComposeError> {
    let mut accounts = Accounts::read(tree, now)?;
    for account in &wishes.accounts {
        match account {
            Account::Group(call) => accounts.groupadd(call)?,
            Account::User(call) => accounts.useradd(call)?,
        }
    }
    // systemd makes missing ones at boot, which a read-only root cannot.
    accounts.sysusers(tree)?;
    accounts.write(tree)?;
    Ok(accounts)
}

/// Enables the units that scripts want enabled.
pub fn apply_presets(
    wishes: &Wishes,
    tree: &mut Tree,
    report: &mut PresetReport,
) -> Result<(), ComposeError> {
    for scope in [Scope::System, Scope::User] {
        let presets = Presets::read(tree, scope)?;
        let of = |list: &[(Scope, String)]| -> Vec<String> {
            list.iter().filter(|(of, _)| *of == scope).map(|(_, unit)| unit.clone()).collect()
        };
        if wishes.preset_all.contains(&scope) {
            presets.apply_all(tree, report)?;
        }
        presets.apply(tree, &of(&wishes.preset), report)?;
        presets.enable(tree, &of(&wishes.enable), report)?;
    }
    Ok(())
}

/// One script being followed.
struct Run<'a> {
    tree: &'a Tree,
    wishes: Wishes,
}

/// Whether a command succeeded, or ended the script.
enum Outcome {
    Done(bool),
    Exit,
}

impl Run<'_> {
    fn script(&mut self, script: &Scriptlet) -> Result<(), NotUnderstood> {
        let program = script.program.first().map_or("/bin/sh", String::as_str);
        match base_name(program) {
            "sh" | "bash" | "dash" if script.program.len() <= 1 => {
                // `$1` is how many versions of the package there will be.
                let commands = shell::parse(&script.text, "1")?;
                self.all(&commands).map(drop)
            }
            _ if script.text.trim().is_empty() => self.simple(&script.program).map(drop),
            _ => Err(NotUnderstood(format!("interpreter {program}"))),
        }
    }

    fn all(&mut self, commands: &[Command]) -> Result<Outcome, NotUnderstood> {
        let mut last = Outcome::Done(true);
        for command in commands {
            last = self.command(command)?;
            if matches!(last, Outcome::Exit) {
                break;
            }
        }
        Ok(last)
    }

    fn command(&mut self, command: &Command) -> Result<Outcome, NotUnderstood> {
        match command {
            Command::Simple(words) => self.simple(words),
            Command::And(first, second) => match self.command(first)? {
                Outcome::Done(true) => self.command(second),
                other => Ok(other),
            },
            Command::Or(first, second) => match self.command(first)? {
                Outcome::Done(false) => self.command(second),
                other => Ok(other),
            },
            Command::Not(inner) => Ok(match self.command(inner)? {
                Outcome::Done(success) => Outcome::Done(!success),
                Outcome::Exit => Outcome::Exit,
            }),
            Command::If(condition, then, otherwise) => match self.all(condition)? {
                Outcome::Done(true) => self.all(then),
                Outcome::Done(false) => self.all(otherwise),
                Outcome::Exit => Ok(Outcome::Exit),
            },
        }
    }

    fn simple(&mut self, words: &[String]) -> Result<Outcome, NotUnderstood> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(NotUnderstood("a command without words".to_owned()));
        };
        let unknown = || NotUnderstood(format!("command {:?}", words.join(" ")));
        let success = match base_name(program) {
            ":" | "true" => true,
            "false" => false,
            "exit" => return Ok(Outcome::Exit),
            "[" | "test" => self.test(arguments).ok_or_else(unknown)?,
            "getent" => self.getent(arguments).ok_or_else(unknown)?,
            "groupadd" => {
                let call = GroupAdd::parse(arguments).ok_or_else(unknown)?;
                self.wishes.accounts.push(Account::Group(call));
                true
            }
            "useradd" => {
                let call = UserAdd::parse(arguments).ok_or_else(unknown)?;
                self.wishes.accounts.push(Account::User(call));
                true
            }
            "ldconfig" if arguments.is_empty() => {
                self.wishes.ldconfig = true;
                true
            }
            "systemctl" => self.systemctl(arguments).ok_or_else(unknown)?,
            "systemd-update-helper" => self.update_helper(arguments).ok_or_else(unknown)?,
            // Every declared account is made anyway.
            "systemd-sysusers" => true,
            // What it would make, the same program makes at every boot.
            "systemd-tmpfiles" => true,
            "depmod" => self.depmod(arguments).ok_or_else(unknown)?,
            _ => return Err(unknown()),
        };
        Ok(Outcome::Done(success))
    }

    fn test(&self, arguments: &[String]) -> Option<bool> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let words = words.strip_suffix(&["]"]).unwrap_or(&words);
        let (words, positive) = match words.strip_prefix(&["!"]) {
            Some(rest) => (rest, false),
            None => (words, true),
        };
        let node = |path: &str| self.tree.resolve(path).map(|id| self.tree.inode(id));
        let found = match words {
            [first, operator, second] => compare(first, operator, second)?,
            ["-e", path] => node(path).is_some(),
            ["-f", path] => node(path).is_some_and(|inode| matches!(inode.node, Node::File(_))),
            ["-d", path] => node(path).is_some_and(|inode| inode.node.is_directory()),
            ["-x", path] => node(path).is_some_and(|inode| inode.meta.mode & 0o111 != 0),
            ["-n", text] => !text.is_empty(),
            ["-z", text] => text.is_empty(),
            _ => return None,
        };
        Some(found == positive)
    }

    /// An account that an earlier script makes counts as there; `groupadd` and
    /// `useradd` leave alone what already is.
    fn getent(&self, arguments: &[String]) -> Option<bool> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["group" | "passwd", _] => Some(false),
            _ => None,
        }
    }

    fn systemctl(&mut self, arguments: &[String]) -> Option<bool> {
        let (options, words): (Vec<&str>, Vec<&str>) =
            arguments.iter().map(String::as_str).partition(|word| word.starts_with('-'));
        let mut scope = Scope::System;
        for option in options {
            match option {
                "--no-reload" | "-q" | "--quiet" | "--now" | "--system" | "--no-block"
                | "--no-warn" => {}
                "--global" => scope = Scope::User,
                _ => return None,
            }
        }
        let (verb, units) = words.split_first()?;
        let units = units.iter().map(|unit| (scope, full_name(unit)));
        match *verb {
            "preset" => self.wishes.preset.extend(units),
            "enable" => self.wishes.enable.extend(units),
            "preset-all" => drop(self.wishes.preset_all.insert(scope)),
            // Without a running system these do nothing, and say so.
            "daemon-reload"
            | "daemon-reexec"
            | "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "condrestart"
            | "reload"
            | "reload-or-restart"
            | "reload-or-try-restart" => {}
            _ => return None,
        }
        Some(true)
    }

    /// What the RPM macros of systemd 250 and later call.
    fn update_helper(&mut self, arguments: &[String]) -> Option<bool> {
        let (verb, units) = arguments.split_first()?;
        let scope = match verb.as_str() {
            "install-system-units" => Scope::System,
            "install-user-units" => Scope::User,
            "system-reload" | "user-reload" | "system-reload-restart" | "user-reload-restart" => {
                return Some(true);
            }
            _ => return None,
        };
        self.wishes.preset.extend(units.iter().map(|unit| (scope, full_name(unit))));
        Some(true)
    }

    fn depmod(&mut self, arguments: &[String]) -> Option<bool> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let version = match words[..] {
            ["-a", version] | [version] if !version.starts_with('-') => version,
            _ => return None,
        };
        self.wishes.depmod.insert(version.to_owned());
        Some(true)
    }
}

fn compare(first: &str, operator: &str, second: &str) -> Option<bool> {
    let numbers = || Some((first.parse::<i64>().ok()?, second.parse::<i64>().ok()?));
    Some(match operator {
        "=" | "==" => first == second,
        "!=" => first != second,
        "-eq" => numbers().map(|(a, b)| a == b)?,
        "-ne" => numbers().map(|(a, b)| a != b)?,
        "-gt" => numbers().map(|(a, b)| a > b)?,
        "-ge" => numbers().map(|(a, b)| a >= b)?,
        "-lt" => numbers().map(|(a, b)| a < b)?,
        "-le" => numbers().map(|(a, b)| a <= b)?,
        _ => return None,
    })
}

fn base_name(program: &str) -> &str {
    let folders = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/lib/systemd/"];
    folders.iter().find_map(|folder| program.strip_prefix(folder)).unwrap_or(program)
}

/// `systemctl` takes a name without a kind for a service's.
fn full_name(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}
