//! Units: what scripts ask of `systemctl` and of the helper that the macros of
//! systemd 250 and later call.

use super::super::shell::NotUnderstood;
use super::World;
use crate::presets::{PresetError, Presets, Scope};

/// A call that is understood.
#[derive(Debug)]
pub(super) enum UnitCall {
    Preset(Scope, Vec<String>),
    PresetAll(Scope),
    Enable(Scope, Vec<String>),
    /// Without a running system it does nothing, and says so.
    Idle,
}

impl UnitCall {
    /// Reads a call; none if it is not understood.
    pub fn parse(name: &str, words: &[&str]) -> Option<Self> {
        match name {
            "systemctl" => systemctl(words),
            _ => update_helper(words),
        }
    }

    /// Does it; gives the exit status.
    pub fn run(&self, world: &mut World<'_>) -> Result<i32, NotUnderstood> {
        let missing = world.notes.presets.missing.len();
        self.apply(world).map_err(|error| NotUnderstood(error.to_string()))?;
        Ok(i32::from(world.notes.presets.missing.len() > missing))
    }

    fn apply(&self, world: &mut World<'_>) -> Result<(), PresetError> {
        let report = &mut world.notes.presets;
        match self {
            Self::Preset(scope, units) => {
                Presets::read(world.tree, *scope)?.apply(world.tree, units, report)
            }
            Self::PresetAll(scope) => {
                Presets::read(world.tree, *scope)?.apply_all(world.tree, report)
            }
            Self::Enable(scope, units) => {
                Presets::read(world.tree, *scope)?.enable(world.tree, units, report)
            }
            Self::Idle => Ok(()),
        }
    }
}

fn systemctl(words: &[&str]) -> Option<UnitCall> {
    let (options, words): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| word.starts_with('-'));
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
    let units: Vec<String> = units.iter().map(|unit| full_name(unit)).collect();
    Some(match *verb {
        "preset" if !units.is_empty() => UnitCall::Preset(scope, units),
        "enable" if !units.is_empty() => UnitCall::Enable(scope, units),
        "preset-all" => UnitCall::PresetAll(scope),
        "daemon-reload"
        | "daemon-reexec"
        | "start"
        | "stop"
        | "restart"
        | "try-restart"
        | "condrestart"
        | "reload"
        | "reload-or-restart"
        | "reload-or-try-restart"
        | "kill"
        | "set-property"
        | "reset-failed" => UnitCall::Idle,
        _ => return None,
    })
}

fn update_helper(words: &[&str]) -> Option<UnitCall> {
    let (verb, units) = words.split_first()?;
    let units = units.iter().map(|unit| full_name(unit)).collect();
    Some(match *verb {
        "install-system-units" => UnitCall::Preset(Scope::System, units),
        "install-user-units" => UnitCall::Preset(Scope::User, units),
        "system-reload" | "user-reload" | "system-reload-restart" | "user-reload-restart" => {
            UnitCall::Idle
        }
        _ => return None,
    })
}

/// `systemctl` takes a name without a kind for a service's.
fn full_name(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}
