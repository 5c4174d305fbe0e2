//! `groupadd` and `useradd` as packages call them in `%pre`.

use super::{Accounts, NewUser, SYSTEM_MAX, SYSTEM_MIN, UsersError};

/// First number for accounts of people, `UID_MIN`.
const PEOPLE_MIN: u32 = 1000;
const PEOPLE_MAX: u32 = 60_000;
/// What both tools put where a password would be.
const LOCKED: &str = "!";

/// A call of `groupadd`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupAdd {
    /// Name of the group.
    pub name: String,
    /// `-g`: the number it must have.
    pub gid: Option<u32>,
    /// `-r`: a number from the system's range.
    pub system: bool,
    /// `-f`: an existing group is no failure.
    pub force: bool,
}

/// A call of `useradd`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserAdd {
    /// Name of the user.
    pub name: String,
    /// `-u`: the number it must have.
    pub uid: Option<u32>,
    /// `-g`: name or number of its group.
    pub group: Option<String>,
    /// `-G`: further groups.
    pub groups: Vec<String>,
    /// `-c`.
    pub comment: String,
    /// `-d`.
    pub home: Option<String>,
    /// `-s`.
    pub shell: Option<String>,
    /// `-r`: a number from the system's range.
    pub system: bool,
    /// `-N`: no group of its own.
    pub no_group: bool,
}

impl GroupAdd {
    /// Reads the words after `groupadd`; none if an option is not known.
    #[must_use]
    pub fn parse(words: &[String]) -> Option<Self> {
        let mut call = Self::default();
        let mut names = Vec::new();
        each_option(words, "g", |option, value| {
            match option {
                "g" | "gid" => call.gid = Some(value?.parse().ok()?),
                "r" | "system" => call.system = true,
                "f" | "force" => call.force = true,
                "" => names.push(value?.to_owned()),
                _ => return None,
            }
            Some(())
        })?;
        call.name = single(names)?;
        Some(call)
    }
}

impl UserAdd {
    /// Reads the words after `useradd`; none if an option is not known.
    #[must_use]
    pub fn parse(words: &[String]) -> Option<Self> {
        let mut call = Self::default();
        let mut names = Vec::new();
        each_option(words, "ugGcds", |option, value| {
            match option {
                "u" | "uid" => call.uid = Some(value?.parse().ok()?),
                "g" | "gid" => call.group = Some(value?.to_owned()),
                "G" | "groups" => call.groups.extend(value?.split(',').map(str::to_owned)),
                "c" | "comment" => value?.clone_into(&mut call.comment),
                "d" | "home-dir" | "home" => call.home = Some(value?.to_owned()),
                "s" | "shell" => call.shell = Some(value?.to_owned()),
                "r" | "system" => call.system = true,
                "N" | "no-user-group" => call.no_group = true,
                "M" | "no-create-home" | "U" | "user-group" | "o" | "non-unique" => {}
                "" => names.push(value?.to_owned()),
                _ => return None,
            }
            Some(())
        })?;
        call.name = single(names)?;
        Some(call)
    }
}

fn single(names: Vec<String>) -> Option<String> {
    let [name] = <[String; 1]>::try_from(names).ok()?;
    Some(name)
}

/// Calls `take` with each option and its value, and with an empty option for
/// other words. `with_value` lists the short options that take one; of the long
/// ones, those that have `=`.
fn each_option<'w>(
    words: &'w [String],
    with_value: &str,
    mut take: impl FnMut(&str, Option<&'w str>) -> Option<()>,
) -> Option<()> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => take(name, Some(value))?,
                None if long_with_value(long) => take(long, Some(words.next()?))?,
                None => take(long, None)?,
            }
        } else if let Some(short) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            for (at, letter) in short.char_indices() {
                let option = letter.encode_utf8(&mut [0; 4]).to_owned();
                if !with_value.contains(letter) {
                    take(&option, None)?;
                    continue;
                }
                let attached = &short[at + letter.len_utf8()..];
                let value = if attached.is_empty() { words.next()? } else { attached };
                take(&option, Some(value))?;
                break;
            }
        } else {
            take("", Some(word))?;
        }
    }
    Some(())
}

fn long_with_value(name: &str) -> bool {
    matches!(name, "gid" | "uid" | "groups" | "comment" | "home-dir" | "home" | "shell")
}

impl Accounts {
    /// Does what `groupadd` would; nothing if the group exists.
    ///
    /// # Errors
    /// If the name is not one, or no number is free.
    pub fn groupadd(&mut self, call: &GroupAdd) -> Result<(), UsersError> {
        if self.gid(&call.name).is_some() {
            return Ok(());
        }
        let gid = match call.gid.filter(|gid| self.group_of(*gid).is_none()) {
            Some(gid) => gid,
            None => self.free_gid(&call.name, call.system, None)?,
        };
        self.push_group(&call.name, gid, LOCKED)
    }

    /// Does what `useradd` would; nothing if the user exists.
    ///
    /// # Errors
    /// If the name is not one, its group does not exist, or no number is free.
    pub fn useradd(&mut self, call: &UserAdd) -> Result<(), UsersError> {
        if self.uid(&call.name).is_some() {
            return Ok(());
        }
        let uid = match call.uid.filter(|uid| self.user_of(*uid).is_none()) {
            Some(uid) => uid,
            None => free(&call.name, call.system, |uid| self.user_of(uid).is_none())?,
        };
        let gid = self.primary_group(call, uid)?;
        let home = call.home.clone().unwrap_or_else(|| format!("/home/{}", call.name));
        self.push_user(&NewUser {
            name: &call.name,
            uid,
            gid,
            comment: &call.comment,
            home: &home,
            shell: call.shell.as_deref().unwrap_or("/bin/sh"),
            password: LOCKED,
        })?;
        for group in &call.groups {
            self.known_group(&call.name, group)?;
            self.join(&call.name, group);
        }
        Ok(())
    }

    fn primary_group(&mut self, call: &UserAdd, uid: u32) -> Result<u32, UsersError> {
        match &call.group {
            Some(group) => self.known_group(&call.name, group),
            None if call.no_group => Ok(self.gid("users").unwrap_or(100)),
            None => {
                let gid = self.free_gid(&call.name, call.system, Some(uid))?;
                self.push_group(&call.name, gid, LOCKED)?;
                Ok(gid)
            }
        }
    }

    fn known_group(&self, user: &str, group: &str) -> Result<u32, UsersError> {
        let missing = || UsersError::NoGroup { user: user.to_owned(), group: group.to_owned() };
        self.gid(group).or_else(|| group.parse().ok()).ok_or_else(missing)
    }

    fn free_gid(&self, name: &str, system: bool, like: Option<u32>) -> Result<u32, UsersError> {
        match like.filter(|gid| self.group_of(*gid).is_none()) {
            Some(gid) => Ok(gid),
            None => free(name, system, |gid| self.group_of(gid).is_none()),
        }
    }
}

/// System accounts are numbered downwards from the lowest that is taken, people's
/// upwards from the highest; only where that leads out of the range, gaps are
/// filled (shadow's `libmisc/find_new_gid.c`).
fn free(name: &str, system: bool, is_free: impl Fn(u32) -> bool) -> Result<u32, UsersError> {
    let found = if system {
        let lowest = (SYSTEM_MIN..=SYSTEM_MAX).find(|number| !is_free(*number));
        let below = lowest.map_or(SYSTEM_MAX, |lowest| lowest - 1);
        let downwards = (SYSTEM_MIN..=below).rev().chain((SYSTEM_MIN..=SYSTEM_MAX).rev());
        downwards.into_iter().find(|number| is_free(*number))
    } else {
        let highest = (PEOPLE_MIN..=PEOPLE_MAX).rev().find(|number| !is_free(*number));
        let above = highest.map_or(PEOPLE_MIN, |highest| highest + 1);
        (above..=PEOPLE_MAX).chain(PEOPLE_MIN..=PEOPLE_MAX).find(|number| is_free(*number))
    };
    found.ok_or_else(|| UsersError::Full { name: name.to_owned() })
}
