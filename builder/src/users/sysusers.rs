//! `sysusers.d`: the accounts that packages declare, made as
//! `systemd-sysusers --root` makes them (systemd's `sysusers.d(5)` and
//! `src/sysusers/sysusers.c`).

use std::collections::BTreeMap;

use super::{Accounts, MAX_FILE_BYTES, NewUser, SYSTEM_MAX, UsersError};
use crate::tree::{Tree, TreeError};

/// Folders with declarations; of two files of one name the first counts.
const FOLDERS: [&str; 3] = ["/etc/sysusers.d", "/run/sysusers.d", "/usr/lib/sysusers.d"];
/// Lines that declare something: all packages of a distribution have some
/// hundreds.
const MAX_LINES: usize = 5_000;
/// What systemd puts where a password would be.
const INVALID: &str = "!*";
const NOLOGIN: &str = "/usr/sbin/nologin";

/// What can go wrong with declared accounts.
#[derive(Debug, thiserror::Error)]
pub enum SysusersError {
    /// A declaration cannot be read.
    #[error("sysusers.d")]
    Tree(#[from] TreeError),
    /// A line that means nothing, or something that is not supported.
    #[error("{file}, line {line}: {text:?} is not understood")]
    Line {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// Its text.
        text: String,
    },
    /// An account cannot be made.
    #[error("sysusers.d")]
    Users(#[from] UsersError),
    /// More lines than anybody declares.
    #[error("{file}: with it sysusers.d has more than {MAX_LINES} lines")]
    TooMuch {
        /// The file that was too much.
        file: String,
    },
}

/// A `u` or `g` line.
#[derive(Debug, Clone, Default)]
struct Item {
    name: String,
    uid: Option<u32>,
    gid: Option<u32>,
    /// `UID:GROUP`: a group by name, which must exist.
    group: Option<String>,
    comment: String,
    home: Option<String>,
    shell: Option<String>,
}

/// All declarations, in the order they are carried out.
#[derive(Debug, Default)]
struct Declared {
    users: Vec<Item>,
    groups: Vec<Item>,
    members: Vec<(String, Vec<String>)>,
    lines: usize,
}

impl Accounts {
    /// Makes every account that the tree's `sysusers.d` files declare.
    ///
    /// # Errors
    /// If a file has a line that is not understood, or an account cannot be made.
    pub fn sysusers(&mut self, tree: &Tree) -> Result<(), SysusersError> {
        self.sysusers_of(tree, &[])
    }

    /// Makes the accounts that the named declaration files declare, or all if
    /// none is named. A file is looked for in the usual folders unless its path
    /// is given.
    ///
    /// # Errors
    /// As [`Accounts::sysusers`], or if a named file is not there.
    pub fn sysusers_of(&mut self, tree: &Tree, named: &[String]) -> Result<(), SysusersError> {
        let mut declared = Declared::default();
        let found = match named {
            [] => files(tree),
            _ => named.iter().map(|name| find(tree, name)).collect(),
        };
        for path in found {
            let bytes = tree.read(&path, MAX_FILE_BYTES)?;
            declared.read(&path, &String::from_utf8_lossy(&bytes))?;
        }
        declared.add_implied();
        let mut numbers = Numbers { next: SYSTEM_MAX };
        let groups: Vec<String> = declared.groups.iter().map(|item| item.name.clone()).collect();
        for item in &declared.groups {
            self.declared_group(item, &mut numbers)?;
        }
        for item in &declared.users {
            self.declared_user(item, &groups, &mut numbers)?;
        }
        for (group, members) in &declared.members {
            self.add_members(group, members);
        }
        Ok(())
    }

    /// Gives the group's number, made if it has to be.
    fn declared_group(&mut self, item: &Item, numbers: &mut Numbers) -> Result<u32, UsersError> {
        if let Some(gid) = self.gid(&item.name) {
            return Ok(gid);
        }
        let asked = item.gid.filter(|gid| self.group_of(*gid).is_none());
        let like_user = item.uid.filter(|uid| self.group_of(*uid).is_none());
        let gid = match asked.or(like_user) {
            Some(gid) => gid,
            None => numbers.free(self, &item.name)?,
        };
        self.push_group(&item.name, gid, INVALID)?;
        Ok(gid)
    }

    fn declared_user(
        &mut self,
        item: &Item,
        groups: &[String],
        numbers: &mut Numbers,
    ) -> Result<(), UsersError> {
        let gid = match self.group_for(item, groups, numbers) {
            // systemd goes on without the user, so a build must not stop.
            Err(UsersError::NoGroup { user, group }) => {
                self.skipped.push(format!("user {user}: there is no group {group}"));
                return Ok(());
            }
            gid => gid?,
        };
        if self.uid(&item.name).is_some() {
            return Ok(());
        }
        // With a group named beside it, the number may be another group's.
        let strict = item.gid.is_some() || item.group.is_some() || groups.contains(&item.name);
        let fits = |uid: &u32| self.uid_is_free(*uid, &item.name);
        let asked = item.uid.filter(|uid| fits(uid) || (strict && self.user_of(*uid).is_none()));
        let uid = match asked.or(Some(gid).filter(fits)) {
            Some(uid) => uid,
            None => numbers.free(self, &item.name)?,
        };
        let shell = if uid == 0 { "/bin/sh" } else { NOLOGIN };
        self.push_user(&NewUser {
            name: &item.name,
            uid,
            gid,
            comment: &item.comment,
            home: item.home.as_deref().unwrap_or("/"),
            shell: item.shell.as_deref().unwrap_or(shell),
            password: INVALID,
        })
    }

    fn group_for(
        &mut self,
        item: &Item,
        groups: &[String],
        numbers: &mut Numbers,
    ) -> Result<u32, UsersError> {
        let missing = |group: &str| {
            let (user, group) = (item.name.clone(), group.to_owned());
            UsersError::NoGroup { user, group }
        };
        if let Some(group) = &item.group {
            return self.gid(group).ok_or_else(|| missing(group));
        }
        if let Some(gid) = item.gid {
            let known = self.group_of(gid).is_some();
            return known.then_some(gid).ok_or_else(|| missing(&gid.to_string()));
        }
        match self.gid(&item.name).filter(|_| groups.contains(&item.name)) {
            Some(gid) => Ok(gid),
            None => self.declared_group(item, numbers),
        }
    }

    fn uid_is_free(&self, uid: u32, name: &str) -> bool {
        self.user_of(uid).is_none() && self.group_of(uid).is_none_or(|group| group == name)
    }

    fn gid_is_free(&self, gid: u32, name: &str) -> bool {
        self.group_of(gid).is_none() && self.user_of(gid).is_none_or(|user| user == name)
    }
}

/// Numbers are tried once, from the top of the system's range.
struct Numbers {
    next: u32,
}

impl Numbers {
    /// A number that neither a group nor a user of another name has.
    fn free(&mut self, accounts: &Accounts, name: &str) -> Result<u32, UsersError> {
        while self.next > 0 {
            let number = self.next;
            self.next -= 1;
            if accounts.gid_is_free(number, name) && accounts.uid_is_free(number, name) {
                return Ok(number);
            }
        }
        Err(UsersError::Full { name: name.to_owned() })
    }
}

/// A declaration file by its name or path.
fn find(tree: &Tree, name: &str) -> String {
    let places = FOLDERS.iter().map(|folder| format!("{folder}/{name}"));
    let found = places.into_iter().find(|path| tree.resolve(path).is_some());
    found.filter(|_| !name.contains('/')).unwrap_or_else(|| name.to_owned())
}

/// Declaration files, sorted by name whatever their folder.
fn files(tree: &Tree) -> Vec<String> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        for (name, _) in tree.children(folder).filter(|(name, _)| name.ends_with(".conf")) {
            found.insert(name.to_owned(), format!("{folder}/{name}"));
        }
    }
    // A link to /dev/null switches a file off.
    found.into_values().filter(|path| tree.resolve(path).is_some()).collect()
}

impl Declared {
    fn read(&mut self, path: &str, text: &str) -> Result<(), SysusersError> {
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.lines += 1;
            if self.lines > MAX_LINES {
                return Err(SysusersError::TooMuch { file: path.to_owned() });
            }
            let fields = fields(line);
            self.line(&fields).ok_or_else(|| SysusersError::Line {
                file: path.to_owned(),
                line: at + 1,
                text: line.to_owned(),
            })?;
        }
        Ok(())
    }

    fn line(&mut self, fields: &[String]) -> Option<()> {
        let field = |at: usize| fields.get(at).filter(|text| !text.is_empty() && *text != "-");
        let name = field(1)?.clone();
        match fields[0].trim_end_matches('!') {
            "u" => {
                let (uid, gid, group) = user_number(field(2).map(String::as_str))?;
                let comment = field(3).cloned().unwrap_or_default();
                let (home, shell) = (field(4).cloned(), field(5).cloned());
                add(&mut self.users, Item { name, uid, gid, group, comment, home, shell });
            }
            "g" => {
                let gid = match field(2) {
                    Some(text) => Some(text.parse().ok()?),
                    None => None,
                };
                add(&mut self.groups, Item { name, gid, ..Item::default() });
            }
            "m" => {
                let group = field(2)?.clone();
                match self.members.iter_mut().find(|(known, _)| *known == group) {
                    Some((_, members)) => members.push(name),
                    None => self.members.push((group, vec![name])),
                }
            }
            // Ranges of numbers are of no concern below 1000.
            "r" => {}
            _ => return None,
        }
        Some(())
    }

    /// A member makes its user and group, if nothing else does.
    fn add_implied(&mut self) {
        for (group, members) in &self.members {
            let named = |name: &String| Item { name: name.clone(), ..Item::default() };
            add(&mut self.groups, named(group));
            members.iter().for_each(|member| add(&mut self.users, named(member)));
        }
    }
}

/// The first declaration of a name counts.
fn add(items: &mut Vec<Item>, item: Item) {
    if items.iter().all(|known| known.name != item.name) {
        items.push(item);
    }
}

type UserNumber = (Option<u32>, Option<u32>, Option<String>);

/// `UID`, `UID:GID` or `UID:GROUP`; a path takes the number of that file's
/// owner, which a tree that is being composed does not have yet.
fn user_number(text: Option<&str>) -> Option<UserNumber> {
    let Some(text) = text else {
        return Some((None, None, None));
    };
    let Some((uid, group)) = text.split_once(':') else {
        let uid = text.parse().ok()?;
        return Some((Some(uid), None, None));
    };
    let uid = match uid {
        "-" => None,
        text => Some(text.parse().ok()?),
    };
    Some(match group.parse() {
        Ok(gid) => (uid, Some(gid), None),
        Err(_) => (uid, None, Some(group.to_owned())),
    })
}

/// Splits at white space, with double and single quotes.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quote, mut open) = (vec![], String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (None, '"' | '\'') => (quote, open) = (Some(letter), true),
            (None, ' ' | '\t') => {
                if open {
                    fields.push(std::mem::take(&mut field));
                }
                open = false;
            }
            _ => {
                field.push(letter);
                open = true;
            }
        }
    }
    if open {
        fields.push(field);
    }
    fields
}
