//! Which commands are known, and how their arguments are read. A command is
//! known only with options whose effect is known.

use super::super::shell::{NotUnderstood, Output, Simple};
use super::accounts::{self, AccountCall};
use super::files::FileCall;
use super::systemd::UnitCall;
use super::tools::ToolCall;
use super::{World, test};
use crate::ca_trust::Extract;

/// A command that is understood.
#[derive(Debug)]
pub(super) enum Known {
    /// Does nothing, with this status.
    Nothing(i32),
    /// Ends the script, with the status of the last command if none is given.
    Exit(Option<i32>),
    /// `:` or `echo`, into a file.
    Write(Option<Output>, String),
    /// `cat` of what the script reads.
    Cat(Option<Output>),
    Test(Vec<String>),
    Ldconfig,
    /// `update-ca-certificates`
    Certificates,
    /// `update-ca-trust`
    CaTrust,
    /// `ca-legacy install`
    CaLegacy,
    /// `p11-kit extract` and `trust extract`
    CaExtract(Extract),
    Depmod(String),
    Tool(ToolCall),
    Account(AccountCall),
    Units(UnitCall),
    File(FileCall),
    /// A program that has nothing to do without a running system.
    Idle,
}

/// Name of a program in one of the usual folders.
pub(super) fn base_name(program: &str) -> &str {
    let folders =
        ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/lib/systemd/", "/lib/systemd/"];
    folders.iter().find_map(|folder| program.strip_prefix(folder)).unwrap_or(program)
}

impl Known {
    /// Reads a command; none if it is not understood.
    pub fn parse(simple: &Simple) -> Option<Self> {
        let (program, arguments) = simple.words.split_first()?;
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let name = base_name(program);
        match name {
            ":" | "true" => return Some(Self::Write(simple.output.clone(), String::new())),
            "echo" => return Some(Self::Write(simple.output.clone(), echoed(&words)?)),
            "cat" if words.is_empty() => return Some(Self::Cat(simple.output.clone())),
            _ if simple.output.is_some() => return None,
            _ => {}
        }
        Some(match name {
            "false" => Self::Nothing(1),
            "exit" => match words[..] {
                [] => Self::Exit(None),
                [status] => Self::Exit(Some(i32::from(status.parse::<u8>().ok()?))),
                _ => return None,
            },
            "[" | "test" => test::known(name, arguments)?,
            "ldconfig" if words.is_empty() => Self::Ldconfig,
            "update-ca-certificates" if words.is_empty() => Self::Certificates,
            // The script takes no notice of what it is given.
            "update-ca-trust" if matches!(words[..], [] | ["extract"]) => Self::CaTrust,
            "ca-legacy" if words == ["install"] => Self::CaLegacy,
            "p11-kit" | "trust" => Self::CaExtract(Extract::parse(&words)?),
            "depmod" => match words[..] {
                ["-a", version] | [version] if !version.starts_with('-') => {
                    Self::Depmod(version.to_owned())
                }
                _ => return None,
            },
            "systemctl" | "systemd-update-helper" => Self::Units(UnitCall::parse(name, &words)?),
            // It compiles a database, of an older form than systemd-hwdb does.
            "udevadm" if words.contains(&"hwdb") => return None,
            "systemd-sysctl" | "sysctl" | "udevadm" | "telinit" => Self::Idle,
            "systemd-tmpfiles"
            | "alternatives"
            | "update-alternatives"
            | "systemd-hwdb"
            | "journalctl" => Self::Tool(ToolCall::parse(program, name, &words)?),
            _ => match AccountCall::parse(name, arguments) {
                Some(call) => Self::Account(call),
                None => Self::File(FileCall::parse(name, &words)?),
            },
        })
    }

    /// Whether the shell does it itself.
    pub fn is_builtin(&self) -> bool {
        matches!(self, Self::Nothing(_) | Self::Exit(_) | Self::Write(..) | Self::Test(_))
    }

    /// Does it; gives the exit status.
    pub fn run(&self, world: &mut World<'_>) -> Result<i32, NotUnderstood> {
        match self {
            Self::Nothing(status) => Ok(*status),
            Self::Exit(status) => Ok(status.unwrap_or(0)),
            Self::Idle | Self::Write(None, _) => Ok(0),
            Self::Write(Some(output), text) => super::files::write(world, output, text),
            Self::Cat(output) => {
                let text = world.take_input();
                output.as_ref().map_or(Ok(0), |output| super::files::write(world, output, &text))
            }
            Self::Test(words) => test::run(world, words),
            Self::Ldconfig => {
                world.notes.ldconfig = true;
                Ok(0)
            }
            Self::Certificates => {
                let done = crate::certificates::update(world.tree);
                done.map(|()| 0).map_err(|error| NotUnderstood(error.to_string()))
            }
            Self::CaTrust => done(crate::ca_trust::update(world.tree)),
            Self::CaLegacy => done(crate::ca_trust::install_legacy(world.tree)),
            Self::CaExtract(call) => done(call.run(world.tree)),
            Self::Depmod(version) => {
                let done = super::super::depmod::run(world.tree, version);
                done.map(|()| 0).map_err(|error| NotUnderstood(error.to_string()))
            }
            Self::Tool(call) => call.run(world),
            Self::Account(call) => accounts::run(world, call),
            Self::Units(call) => call.run(world),
            Self::File(call) => call.run(world),
        }
    }
}

fn done<E: std::error::Error>(result: Result<(), E>) -> Result<i32, NotUnderstood> {
    result.map(|()| 0).map_err(|error| super::tools::reason(&error))
}

/// What `echo` says, if every shell says the same.
fn echoed(words: &[&str]) -> Option<String> {
    let plain = |word: &&str| !word.contains('\\');
    let option = words.first().is_some_and(|first| first.starts_with('-'));
    (words.iter().all(plain) && !option).then(|| words.join(" ") + "\n")
}
