//! Users and groups: what scripts ask of shadow-utils and of systemd-sysusers.

use super::super::shell::NotUnderstood;
use super::World;
use crate::tree::Tree;
use crate::users::{Accounts, GroupAdd, UserAdd};

/// A call that is understood.
#[derive(Debug)]
pub(super) enum AccountCall {
    /// `getent group NAME` or `getent passwd NAME`.
    Getent {
        group: bool,
        name: String,
    },
    GroupAdd(GroupAdd),
    UserAdd(UserAdd),
    /// `usermod -a -G GROUPS USER`.
    Join {
        user: String,
        groups: Vec<String>,
    },
    /// `systemd-sysusers`, over all declarations or the named files.
    Sysusers(Vec<String>),
    /// `pwconv` or `grpconv`.
    Shadow {
        group: bool,
    },
}

/// `getent`: no such entry. `useradd` and `groupadd`: it exists already.
const NO_ENTRY: i32 = 2;
const EXISTS: i32 = 9;
/// `usermod` and `useradd`: there is no such group.
const NO_GROUP: i32 = 6;

impl AccountCall {
    /// Reads a call; none if it is not understood.
    pub fn parse(name: &str, arguments: &[String]) -> Option<Self> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Some(match (name, &words[..]) {
            ("getent", [database @ ("group" | "passwd"), name]) if !name.is_empty() => {
                Self::Getent { group: *database == "group", name: (*name).to_owned() }
            }
            ("groupadd", _) => Self::GroupAdd(GroupAdd::parse(arguments)?),
            ("useradd", _) => Self::UserAdd(UserAdd::parse(arguments)?),
            ("usermod", ["-aG" | "-a", rest @ ..]) => {
                let (groups, user) = match rest {
                    [groups, user] if words[0] == "-aG" => (groups, user),
                    ["-G", groups, user] if words[0] == "-a" => (groups, user),
                    _ => return None,
                };
                let groups = groups.split(',').map(str::to_owned).collect();
                Self::Join { user: (*user).to_owned(), groups }
            }
            ("systemd-sysusers", files) if files.iter().all(|file| file.ends_with(".conf")) => {
                Self::Sysusers(arguments.to_vec())
            }
            ("pwconv" | "grpconv", []) => Self::Shadow { group: name == "grpconv" },
            _ => return None,
        })
    }
}

/// Does it; gives the exit status.
pub(super) fn run(world: &mut World<'_>, call: &AccountCall) -> Result<i32, NotUnderstood> {
    let failed = |error: &dyn std::fmt::Display| NotUnderstood(error.to_string());
    let mut accounts = read(world.tree)?;
    let status = match call {
        AccountCall::Getent { group, name } => {
            let found = if *group { accounts.gid(name) } else { accounts.uid(name) };
            return Ok(if found.is_some() { 0 } else { NO_ENTRY });
        }
        AccountCall::Shadow { group } => {
            if !accounts.is_shadowed(*group) {
                return Err(NotUnderstood("passwords that are not in a shadow file".to_owned()));
            }
            0
        }
        AccountCall::GroupAdd(call) => {
            if accounts.gid(&call.name).is_some() {
                return Ok(if call.force { 0 } else { EXISTS });
            }
            accounts.groupadd(call).map_err(|error| failed(&error))?;
            0
        }
        AccountCall::UserAdd(call) => {
            if accounts.uid(&call.name).is_some() {
                return Ok(EXISTS);
            }
            // People's accounts come with more: a home, a mail box, sub-ids.
            if !call.system {
                return Err(NotUnderstood("an account that is not the system's".to_owned()));
            }
            let named = call.group.iter().chain(&call.groups);
            let known =
                |group: &String| accounts.gid(group).is_some() || group.parse::<u32>().is_ok();
            if !named.into_iter().all(known) {
                return Ok(NO_GROUP);
            }
            accounts.useradd(call).map_err(|error| failed(&error))?;
            0
        }
        AccountCall::Join { user, groups } => {
            if accounts.uid(user).is_none() || groups.iter().any(|one| accounts.gid(one).is_none())
            {
                return Ok(NO_GROUP);
            }
            groups.iter().for_each(|group| accounts.join(user, group));
            0
        }
        AccountCall::Sysusers(files) => {
            accounts.sysusers_of(world.tree, files).map_err(|error| failed(&error))?;
            0
        }
    };
    world.notes.accounts.extend(accounts.made().iter().cloned());
    world.notes.skipped_accounts.extend(accounts.skipped().iter().cloned());
    accounts.write(world.tree).map_err(|error| failed(&error))?;
    Ok(status)
}

fn read(tree: &Tree) -> Result<Accounts, NotUnderstood> {
    let now = tree.default_mtime();
    Accounts::read(tree, now).map_err(|error| NotUnderstood(error.to_string()))
}
