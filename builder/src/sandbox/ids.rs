//! Which users and groups a script can know: those that the system lets the
//! user who runs slipway give to a user namespace (user_namespaces(7),
//! subuid(5)).

use std::fs;
use std::io;
use std::process::Command;

use rustix::process::{getegid, geteuid};

use super::SandboxError;

/// Where newuidmap and newgidmap are when PATH does not have them.
const USUAL_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// How many ids programs take for granted: 65534 is `nobody`.
const ENOUGH: u64 = 65_536;

/// A run of ids: those from `inside` on are `outside` and following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// How ids in a sandbox are related to those outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Slipway runs as root: they are the same.
    Root,
    /// A plain user's sub-ids.
    SubIds,
    /// There is only root inside, who is the user outside.
    Single,
}

/// The ids that are there.
#[derive(Debug, Clone)]
pub struct Ids {
    mapping: Mapping,
    users: Vec<Range>,
    groups: Vec<Range>,
    /// why there are no more, if there is but one
    shortage: Option<String>,
}

impl Ids {
    /// The most that can be had.
    pub fn find() -> Self {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        if uid == 0 {
            let of = |kind| fs::read_to_string(format!("/proc/self/{kind}_map")).map(|t| own(&t));
            if let (Ok(users), Ok(groups)) = (of("uid"), of("gid"))
                && holds(&users, 0)
                && holds(&groups, 0)
            {
                return Self { mapping: Mapping::Root, users, groups, shortage: None };
            }
        }
        let name = fs::read_to_string("/etc/passwd").ok().and_then(|text| user_name(&text, uid));
        let name = name.unwrap_or_else(|| std::env::var("USER").unwrap_or_default());
        let read = |file| fs::read_to_string(file).map(|text| sub_ids(&text, &name, uid));
        let users = read("/etc/subuid").unwrap_or_default();
        let groups = read("/etc/subgid").unwrap_or_default();
        if users.is_empty() || groups.is_empty() {
            let reason = format!(
                "{name} has no sub-ids; `usermod --add-subuids 100000-165535 --add-subgids \
                 100000-165535 {name}`, run as root, gives it some"
            );
            return Self::single(reason);
        }
        if program("newuidmap").is_none() || program("newgidmap").is_none() {
            return Self::single(
                "newuidmap and newgidmap are missing: Debian's package uidmap \
                 has them"
                    .to_owned(),
            );
        }
        let with_own = |own, mut ranges: Vec<Range>| {
            ranges.insert(0, Range { inside: 0, outside: own, count: 1 });
            ranges
        };
        Self {
            mapping: Mapping::SubIds,
            users: with_own(uid, users),
            groups: with_own(gid, groups),
            shortage: None,
        }
    }

    /// Root only, with the reason why.
    pub fn single(shortage: String) -> Self {
        let one = |outside| vec![Range { inside: 0, outside, count: 1 }];
        Self {
            mapping: Mapping::Single,
            users: one(geteuid().as_raw()),
            groups: one(getegid().as_raw()),
            shortage: Some(shortage),
        }
    }

    /// Which kind it is.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// Why there is but one id; none if there are more.
    #[must_use]
    pub fn shortage(&self) -> Option<&str> {
        self.shortage.as_deref()
    }

    /// Whether a script can see and make files of this user.
    #[must_use]
    pub fn has_user(&self, id: u32) -> bool {
        holds(&self.users, id)
    }

    /// Whether a script can see and make files of this group.
    #[must_use]
    pub fn has_group(&self, id: u32) -> bool {
        holds(&self.groups, id)
    }

    /// Whether every id that a distribution gives out is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let count = |ranges: &[Range]| ranges.iter().map(|one| u64::from(one.count)).sum::<u64>();
        count(&self.users) >= ENOUGH && count(&self.groups) >= ENOUGH
    }

    /// Maps the ids of process `pid`, which is in a new user namespace.
    pub fn apply(&self, pid: u32) -> Result<(), SandboxError> {
        let write = |name: &str, text: String| {
            let path = format!("/proc/{pid}/{name}");
            fs::write(&path, text).map_err(|source| SandboxError::Map { what: path, source })
        };
        match self.mapping {
            Mapping::SubIds => {
                run_mapper("newuidmap", pid, &self.users)?;
                run_mapper("newgidmap", pid, &self.groups)
            }
            Mapping::Root => {
                write("uid_map", lines(&self.users))?;
                write("gid_map", lines(&self.groups))
            }
            Mapping::Single => {
                write("uid_map", lines(&self.users))?;
                // Without this a plain user may not map a group.
                write("setgroups", "deny".to_owned())?;
                write("gid_map", lines(&self.groups))
            }
        }
    }
}

fn holds(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|range| id >= range.inside && id - range.inside < range.count)
}

/// As `uid_map` wants it.
fn lines(ranges: &[Range]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
}

/// The ids that are there for a process with this `uid_map`, unchanged.
fn own(map: &str) -> Vec<Range> {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            let inside = inside.ok()?;
            Some(Range { inside, outside: inside, count: count.ok()? })
        })
        .collect()
}

/// A user's ranges in `/etc/subuid`, for ids inside from 1 on.
fn sub_ids(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut inside: u32 = 1;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let owner = fields.next().unwrap_or_default();
        if owner.is_empty() || (owner != name && owner.parse() != Ok(uid)) {
            continue;
        }
        let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (Some(outside), Some(count)) = (number(), number()) else {
            continue;
        };
        let count = count.min(u32::MAX - inside);
        if count > 0 {
            ranges.push(Range { inside, outside, count });
            inside += count;
        }
    }
    ranges
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.into_iter().find_map(|fields| match fields.as_slice() {
        [name, _, id, ..] if id.parse() == Ok(uid) => Some((*name).to_owned()),
        _ => None,
    })
}

fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(USUAL_PATH.split(':')).filter(|one| one.starts_with('/'));
    folders.map(|folder| std::path::Path::new(folder).join(name)).find(|path| path.is_file())
}

fn run_mapper(name: &str, pid: u32, ranges: &[Range]) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Map { what: name.to_owned(), source };
    let path = program(name).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let mut command = Command::new(path);
    command.arg(pid.to_string());
    for range in ranges {
        command.args([range.inside, range.outside, range.count].map(|number| number.to_string()));
    }
    let output = command.output().map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed(io::Error::other(said.trim().to_owned())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_ids_by_name_and_number() {
        let text = "other:1:5\nbuild:100000:65536\n1000:300000:10\nbuild:x:1\n\nbuild:7:0\n";
        let ranges = sub_ids(text, "build", 1000);
        let expected = [
            Range { inside: 1, outside: 100_000, count: 65_536 },
            Range { inside: 65_537, outside: 300_000, count: 10 },
        ];
        assert_eq!(ranges, expected);
        assert!(holds(&ranges, 65_546) && !holds(&ranges, 65_547) && !holds(&ranges, 0));
        assert!(sub_ids(text, "", 7).is_empty());
    }

    #[test]
    fn ids_of_a_container_stay_as_they_are() {
        let map = own("         0     100000       1000\n      2000 1 5\n");
        assert_eq!(lines(&map), "0 0 1000\n2000 2000 5\n");
    }

    #[test]
    fn names_of_users() {
        let text = "root:x:0:0::/root:/bin/sh\nbuild:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user_name(text, 1000).as_deref(), Some("build"));
        assert_eq!(user_name(text, 5), None);
    }
}
