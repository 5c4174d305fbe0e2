//! POSIX access lists, as Linux keeps them in extended attributes
//! (`posix_acl_xattr.h`), and as the text of `setfacl` and `tmpfiles.d` has them.

use crate::tree::Metadata;

/// The list that is in force.
pub const ACCESS: &str = "system.posix_acl_access";
/// The list that what is made in a folder begins with.
pub const DEFAULT: &str = "system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_BYTES: usize = 8;
/// The id of an entry that needs none.
const NO_ID: u32 = u32::MAX;

/// Whom an entry is for, in the order that a list is kept in (`ACL_USER_OBJ` to
/// `ACL_OTHER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
enum Whom {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

impl Whom {
    const ALL: [Self; 6] =
        [Self::Owner, Self::User, Self::OwningGroup, Self::Group, Self::Mask, Self::Other];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    whom: Whom,
    id: u32,
    permissions: u16,
}

/// A list of who may do what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

/// What a text says of both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// For the thing itself.
    pub access: Acl,
    /// For what is made in it.
    pub default: Acl,
}

impl Lists {
    /// Reads `d:group:adm:r-x,user::rw`. Names are looked up by `id`, the first
    /// argument says whether as a group. Outside: not understood; inside: a name
    /// that does not exist.
    pub fn parse(text: &str, id: impl Fn(bool, &str) -> Option<u32>) -> Option<Option<Self>> {
        let mut lists = Self::default();
        for entry in text.split(',').filter(|entry| !entry.is_empty()) {
            let rest = entry.strip_prefix("default:").or_else(|| entry.strip_prefix("d:"));
            let list = if rest.is_some() { &mut lists.default } else { &mut lists.access };
            match parse(rest.unwrap_or(entry), &id)? {
                Some(entry) => list.put(entry),
                None => return Some(None),
            }
        }
        Some(Some(lists))
    }
}

fn parse(text: &str, id: impl Fn(bool, &str) -> Option<u32>) -> Option<Option<Entry>> {
    let [whom, name, letters] = text.split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let (whom, group) = match (whom, name.is_empty()) {
        ("user" | "u", true) => (Whom::Owner, false),
        ("user" | "u", false) => (Whom::User, false),
        ("group" | "g", true) => (Whom::OwningGroup, true),
        ("group" | "g", false) => (Whom::Group, true),
        ("mask" | "m", true) => (Whom::Mask, false),
        ("other" | "o", true) => (Whom::Other, false),
        _ => return None,
    };
    let mut permissions = 0;
    for letter in letters.chars() {
        permissions |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let id = match whom {
        Whom::User | Whom::Group => name.parse().ok().or_else(|| id(group, name)),
        _ => Some(NO_ID),
    };
    Some(id.map(|id| Entry { whom, id, permissions }))
}

impl Acl {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads an attribute's value; none if it is malformed.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let (version, entries) = value.split_first_chunk()?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let entry = |[a, b, c, d, e, f, g, h]: [u8; ENTRY_BYTES]| {
            let tag = u16::from_le_bytes([a, b]);
            let whom = Whom::ALL.into_iter().find(|whom| *whom as u16 == tag)?;
            let (permissions, id) = (u16::from_le_bytes([c, d]), u32::from_le_bytes([e, f, g, h]));
            Some(Entry { whom, id, permissions })
        };
        entries.iter().map(|bytes| entry(*bytes)).collect::<Option<_>>().map(Self)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            out.extend((entry.whom as u16).to_le_bytes());
            out.extend(entry.permissions.to_le_bytes());
            out.extend(entry.id.to_le_bytes());
        }
        out
    }

    fn put(&mut self, entry: Entry) {
        let key = |one: &Entry| (one.whom, one.id);
        match self.0.binary_search_by_key(&key(&entry), key) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.0.insert(at, entry),
        }
    }

    fn find(&mut self, whom: Whom) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.whom == whom)
    }

    /// Adds the mask that a list with names in it has to have.
    fn complete_mask(&mut self) {
        let named = |entry: &Entry| matches!(entry.whom, Whom::User | Whom::Group);
        if self.find(Whom::Mask).is_some() || !self.0.iter().any(named) {
            return;
        }
        let masked = |entry: &&Entry| named(entry) || entry.whom == Whom::OwningGroup;
        let permissions = self.0.iter().filter(masked).fold(0, |all, one| all | one.permissions);
        self.put(Entry { whom: Whom::Mask, id: NO_ID, permissions });
    }

    /// Adds what a mode says of owner, group and others, where it is missing.
    fn complete_base(&mut self, mode: u16) {
        for (whom, shift) in [(Whom::Owner, 6), (Whom::OwningGroup, 3), (Whom::Other, 0)] {
            if self.find(whom).is_none() {
                self.put(Entry { whom, id: NO_ID, permissions: mode >> shift & 7 });
            }
        }
    }
}

/// Gives a file the lists, as systemd-tmpfiles does: with `add`, on top of those
/// it has. Nothing is done if those are malformed.
pub fn set(meta: &mut Metadata, lists: &Lists, add: bool, is_directory: bool) -> Option<()> {
    if !lists.access.is_empty() {
        let before = match meta.xattrs.get(ACCESS) {
            Some(value) => Acl::read(value)?,
            None => of_mode(meta.mode),
        };
        let list = merged(&lists.access, add.then_some(before), meta.mode);
        in_force(meta, list);
    }
    if is_directory && !lists.default.is_empty() {
        let before = match meta.xattrs.get(DEFAULT) {
            Some(value) => Acl::read(value)?,
            None => Acl::default(),
        };
        let list = merged(&lists.default, add.then_some(before), meta.mode);
        meta.xattrs.insert(DEFAULT.to_owned(), list.write());
    }
    Some(())
}

fn of_mode(mode: u16) -> Acl {
    let mut list = Acl::default();
    list.complete_base(mode);
    list
}

fn merged(new: &Acl, before: Option<Acl>, mode: u16) -> Acl {
    let mut list = before.unwrap_or_default();
    new.0.iter().for_each(|entry| list.put(*entry));
    list.complete_mask();
    list.complete_base(mode);
    list
}

/// The mode follows from the list; a list that says no more than the mode is not
/// kept.
fn in_force(meta: &mut Metadata, mut list: Acl) {
    let mut mode = meta.mode & 0o7000;
    for (whom, shift) in [(Whom::Owner, 6), (Whom::OwningGroup, 3), (Whom::Other, 0)] {
        mode |= list.find(whom).map_or(0, |entry| entry.permissions) << shift;
    }
    match list.find(Whom::Mask).map(|mask| mask.permissions) {
        Some(mask) => {
            mode = mode & !0o070 | mask << 3;
            meta.xattrs.insert(ACCESS.to_owned(), list.write());
        }
        None => drop(meta.xattrs.remove(ACCESS)),
    }
    meta.mode = mode;
}

/// Changes a file's mode, and with it the list in force, as the kernel does.
pub fn change_mode(meta: &mut Metadata, mode: u16) {
    meta.mode = mode;
    let Some(mut list) = meta.xattrs.get(ACCESS).and_then(|value| Acl::read(value)) else {
        return;
    };
    let group = if list.find(Whom::Mask).is_some() { Whom::Mask } else { Whom::OwningGroup };
    for (whom, shift) in [(Whom::Owner, 6), (group, 3), (Whom::Other, 0)] {
        if let Some(entry) = list.find(whom) {
            entry.permissions = mode >> shift & 7;
        }
    }
    meta.xattrs.insert(ACCESS.to_owned(), list.write());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_both_ways_and_moves_the_mode() {
        let id = |group: bool, name: &str| (group && name == "adm").then_some(4);
        let lists = Lists::parse("d:g:adm:r-x,group:adm:rw,user:7:x,o::-", id).unwrap().unwrap();
        let mut meta = Metadata::root(0o2750, 0);
        set(&mut meta, &lists, true, true).unwrap();
        assert_eq!(meta.mode, 0o2770);
        let list = Acl::read(&meta.xattrs[ACCESS]).unwrap();
        assert_eq!(list.write(), meta.xattrs[ACCESS]);
        assert_eq!(list.0.len(), 6);
        change_mode(&mut meta, 0o700);
        assert_eq!(
            Acl::read(&meta.xattrs[ACCESS]).unwrap().find(Whom::Mask).unwrap().permissions,
            0
        );
        assert_eq!(Lists::parse("g:nobody:r", id), Some(None));
        for bad in ["x::r", "g:adm", "g:adm:X", "m:adm:r", "u:1:"] {
            assert_eq!(Lists::parse(bad, id), None, "{bad}");
        }
        assert!(Acl::read(&[2, 0, 0, 0, 1]).is_none() && Acl::read(&[1, 0, 0, 0]).is_none());
    }
}
