//! Users and groups of a tree: read from and written to `/etc/passwd`,
//! `group`, `shadow` and `gshadow`, without calling `useradd`.
//!
//! New system users get numbers from [`SYSTEM_MAX`] downwards, as shadow-utils
//! and systemd give them. Entries that are there keep their place and text.

use std::collections::BTreeSet;

use crate::tree::{Tree, TreeError, TreePath};

mod add;
mod sysusers;

pub use add::{GroupAdd, UserAdd};
pub use sysusers::SysusersError;

/// Highest number that is given to a system user or group.
pub const SYSTEM_MAX: u32 = 999;
/// `SYS_UID_MIN` of shadow-utils without a `login.defs` of its own.
const SYSTEM_MIN: u32 = 101;
/// No account file comes near this.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What can go wrong with accounts.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// An account file cannot be read or written.
    #[error("accounts")]
    Tree(#[from] TreeError),
    /// A line of an account file that is not one.
    #[error("{file}, line {line}: not an account: {text:?}")]
    Line {
        /// Which file.
        file: &'static str,
        /// Which line, from 1.
        line: usize,
        /// Its text.
        text: String,
    },
    /// All numbers for system users are taken.
    #[error("no number is left for {name:?}")]
    Full {
        /// Who wanted one.
        name: String,
    },
    /// A name that would break the files it goes into.
    #[error("{name:?} cannot be the name of a user or group")]
    Name {
        /// The name.
        name: String,
    },
    /// A user wants a group that is not there.
    #[error("user {user:?} wants the group {group:?}, which does not exist")]
    NoGroup {
        /// Who.
        user: String,
        /// Which.
        group: String,
    },
    /// A text with a colon or line break, for a file that has neither.
    #[error("{text:?} cannot be part of an account")]
    Field {
        /// The text.
        text: String,
    },
}

/// An account file: lines of fields. Empty lines and comments are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    fn read(tree: &Tree, path: &str) -> Result<Self, TreeError> {
        if tree.resolve(path).is_none() {
            return Ok(Self::default());
        }
        let bytes = tree.read(path, MAX_FILE_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        let fields = |line: &str| line.split(':').map(str::to_owned).collect();
        Ok(Self { lines: text.lines().map(fields).collect() })
    }

    fn find(&self, name: &str) -> Option<&Vec<String>> {
        self.lines.iter().find(|fields| fields[0] == name)
    }

    fn push(&mut self, fields: &[&str]) {
        self.lines.push(fields.iter().map(|field| (*field).to_owned()).collect());
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|fields| (fields.join(":") + "\n").into_bytes()).collect()
    }
}

/// All accounts of a tree.
#[derive(Debug, Clone)]
pub struct Accounts {
    passwd: Table,
    group: Table,
    shadow: Table,
    gshadow: Table,
    before: [Table; 4],
    /// Days since 1970, for the field that says when a password changed.
    today: u64,
    made: Vec<String>,
    skipped: Vec<String>,
}

const FILES: [(&str, u16); 4] = [
    ("/etc/passwd", 0o644),
    ("/etc/group", 0o644),
    ("/etc/shadow", 0o000),
    ("/etc/gshadow", 0o000),
];

impl Accounts {
    /// Reads the tree's account files; missing ones are empty. `now`, in
    /// seconds since 1970, is when new accounts say they were made.
    ///
    /// # Errors
    /// If a file cannot be read or has a line that is no account.
    pub fn read(tree: &Tree, now: u64) -> Result<Self, UsersError> {
        let [passwd, group, shadow, gshadow] = FILES.map(|(path, _)| Table::read(tree, path));
        let (passwd, group, shadow, gshadow) = (passwd?, group?, shadow?, gshadow?);
        check(&passwd, FILES[0].0, 7, &[2, 3])?;
        check(&group, FILES[1].0, 4, &[2])?;
        let before = [passwd.clone(), group.clone(), shadow.clone(), gshadow.clone()];
        let (today, made, skipped) = (now / 86_400, Vec::new(), Vec::new());
        Ok(Self { passwd, group, shadow, gshadow, before, today, made, skipped })
    }

    /// Writes back what changed. Owners and modes of existing files stay.
    ///
    /// # Errors
    /// If a file's place in the tree is taken by something else.
    pub fn write(&self, tree: &mut Tree) -> Result<(), UsersError> {
        let tables = [&self.passwd, &self.group, &self.shadow, &self.gshadow];
        for (((path, mode), table), before) in FILES.iter().zip(tables).zip(&self.before) {
            if table != before {
                let path = TreePath::new(path).map_err(TreeError::from)?;
                tree.rewrite(&path, *mode, table.to_bytes())?;
            }
        }
        Ok(())
    }

    /// Names of the users and groups that were added, as `user NAME (NUMBER)`.
    #[must_use]
    pub fn made(&self) -> &[String] {
        &self.made
    }

    /// Declared users that could not be made, each with the reason.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The number of the user `name`; root needs no entry.
    #[must_use]
    pub fn uid(&self, name: &str) -> Option<u32> {
        number(&self.passwd, name).or_else(|| (name == "root").then_some(0))
    }

    /// The number of the group `name`; root needs no entry.
    #[must_use]
    pub fn gid(&self, name: &str) -> Option<u32> {
        number(&self.group, name).or_else(|| (name == "root").then_some(0))
    }

    /// Makes a user a member of a group, the last one, as shadow-utils do.
    pub fn join(&mut self, user: &str, group: &str) {
        for table in [&mut self.group, &mut self.gshadow] {
            let entry = table.lines.iter_mut().find(|fields| fields[0] == group);
            let Some(list) = entry.and_then(|fields| fields.get_mut(3)) else { continue };
            if list.is_empty() {
                list.push_str(user);
            } else if list.split(',').all(|name| name != user) {
                list.push(',');
                list.push_str(user);
            }
        }
    }

    /// Whether every password is in the shadow file of users, or of groups, so
    /// that `pwconv` or `grpconv` has nothing to do.
    #[must_use]
    pub fn is_shadowed(&self, group: bool) -> bool {
        let (table, shadow) = match group {
            true => (&self.group, &self.gshadow),
            false => (&self.passwd, &self.shadow),
        };
        let named = |fields: &&Vec<String>| fields.len() > 1;
        let entries = table.lines.iter().filter(named);
        let same = |shadow: &Vec<String>| table.find(&shadow[0]).is_some();
        entries.clone().all(|entry| entry[1] == "x" && shadow.find(&entry[0]).is_some())
            && shadow.lines.iter().filter(named).all(same)
    }

    /// Name of the user with a number.
    fn user_of(&self, uid: u32) -> Option<&str> {
        name_of(&self.passwd, uid)
    }

    /// Name of the group with a number.
    fn group_of(&self, gid: u32) -> Option<&str> {
        name_of(&self.group, gid)
    }

    /// Adds members to a group, in both files, which systemd then sorts.
    fn add_members(&mut self, group: &str, members: &[String]) {
        for table in [&mut self.group, &mut self.gshadow] {
            let entry = table.lines.iter_mut().find(|fields| fields[0] == group);
            let Some(list) = entry.and_then(|fields| fields.get_mut(3)) else { continue };
            let mut names: BTreeSet<&str> =
                list.split(',').filter(|name| !name.is_empty()).collect();
            let before = names.len();
            names.extend(members.iter().map(String::as_str));
            if names.len() > before {
                *list = names.into_iter().collect::<Vec<_>>().join(",");
            }
        }
    }

    fn push_group(&mut self, name: &str, gid: u32, password: &str) -> Result<(), UsersError> {
        check_name(name)?;
        self.group.push(&[name, "x", &gid.to_string(), ""]);
        self.gshadow.push(&[name, password, "", ""]);
        self.made.push(format!("group {name} ({gid})"));
        Ok(())
    }

    fn push_user(&mut self, user: &NewUser<'_>) -> Result<(), UsersError> {
        check_name(user.name)?;
        for field in [user.comment, user.home, user.shell] {
            if field.contains([':', '\n']) {
                return Err(UsersError::Field { text: field.to_owned() });
            }
        }
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        self.passwd.push(&[user.name, "x", &uid, &gid, user.comment, user.home, user.shell]);
        let today = self.today.to_string();
        self.shadow.push(&[user.name, user.password, &today, "", "", "", "", "", ""]);
        self.made.push(format!("user {} ({uid})", user.name));
        Ok(())
    }
}

struct NewUser<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    comment: &'a str,
    home: &'a str,
    shell: &'a str,
    /// What stands for the password; nobody can log in with any of them.
    password: &'a str,
}

fn check(
    table: &Table,
    file: &'static str,
    count: usize,
    numbers: &[usize],
) -> Result<(), UsersError> {
    for (at, fields) in table.lines.iter().enumerate() {
        let special = fields[0].is_empty() || fields[0].starts_with(['#', '+', '-']);
        let number = |at: &usize| fields.get(*at).is_some_and(|text| text.parse::<u32>().is_ok());
        if !special && (fields.len() < count || !numbers.iter().all(number)) {
            return Err(UsersError::Line { file, line: at + 1, text: fields.join(":") });
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), UsersError> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let fine = !name.is_empty()
        && name.len() <= 32
        && name.chars().all(letter)
        && !name.starts_with(['-', '.']);
    fine.then_some(()).ok_or_else(|| UsersError::Name { name: name.to_owned() })
}

fn number(table: &Table, name: &str) -> Option<u32> {
    table.find(name)?.get(2)?.parse().ok()
}

fn name_of(table: &Table, wanted: u32) -> Option<&str> {
    let wanted = wanted.to_string();
    let found = table.lines.iter().find(|fields| fields.get(2) == Some(&wanted));
    found.map(|fields| fields[0].as_str())
}

#[cfg(test)]
mod tests;
