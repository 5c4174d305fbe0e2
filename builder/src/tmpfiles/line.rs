//! A line of a `tmpfiles.d` file, read. What depends on the machine that runs
//! it (`%b`, `%H`, `%v`) is not understood, unless nothing comes of the line.

use super::{Call, FOREIGN, is_below};
use crate::acl::Lists;
use crate::tree::{Node, Tree, TreePath};
use crate::users::Accounts;

/// What lines ask for; the letter is the line's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `d`, `D`, and `v`, `q`, `Q`, which are subvolumes only below one.
    Directory,
    /// `e`: permissions of a directory that is there.
    Existing,
    /// `f`; with `+`, or as `F`, written over.
    File,
    /// `w`; with `+`, at the end.
    Write,
    /// `L`; with `+`, in place of whatever is there.
    Link,
    /// `C`
    Copy,
    /// `p`
    Fifo,
    /// `z` and `m`
    Permissions,
    /// `Z`
    PermissionsBelow,
    /// `a`; as `A`, also below. With `+`, besides those there are.
    Lists,
    /// `t`, `T`: what a file has besides.
    Attributes,
    /// `b`, `c`: only where they are left alone anyway.
    Device,
    /// `x`, `X`, `r`, `R`, `h`, `H`: nothing when things are created. The last
    /// two are flags of a file system, which a tree does not have.
    Nothing,
}

/// A line that is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub letter: char,
    pub kind: Kind,
    /// `+`
    pub force: bool,
    pub path: String,
    pub mode: Option<u16>,
    /// The mode is only taken away from, `~`.
    pub masked: bool,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Mode, user, group: only for what is made, `:`.
    pub only_new: [bool; 3],
    pub age: String,
    pub argument: Option<String>,
    /// Of `a` and `A`.
    pub lists: Lists,
}

/// What a line comes to.
#[derive(Debug)]
pub(super) enum Read {
    Item(Item),
    Nothing,
    /// Its user or group does not exist, which systemd skips and complains of.
    NoOwner,
}

/// Reads a line without white space around it; none if it is not understood.
pub(super) fn read(text: &str, call: &Call, accounts: &Accounts, tree: &Tree) -> Option<Read> {
    if text.is_empty() || text.starts_with('#') {
        return Some(Read::Nothing);
    }
    let (words, argument) = words(text)?;
    let (word, path) = (words.first()?, words.get(1)?);
    let letter = word.chars().next()?;
    let modifiers = &word[letter.len_utf8()..];
    let has = |modifier| modifiers.contains(modifier);
    if !modifiers.chars().all(|one| "!+-^".contains(one)) {
        return None;
    }
    let kind = kind(letter)?;
    // `^` takes what a service manager hands over, and there is none.
    if (has('!') && !call.boot) || has('^') || (kind == Kind::Nothing && path.contains('%')) {
        return Some(Read::Nothing);
    }
    let Some(path) = expand(path, tree)? else {
        return Some(Read::Nothing);
    };
    let path = simple(&path)?;
    if !call.wants(&path) {
        return Some(Read::Nothing);
    }
    let foreign = FOREIGN.iter().any(|prefix| is_below(&path, prefix));
    if kind == Kind::Device && !foreign {
        return None;
    }
    let argument = match argument.filter(|_| kind.takes_argument()) {
        Some(argument) => match expand(&unescape(&argument)?, tree)? {
            Some(argument) => Some(argument),
            None => return Some(Read::Nothing),
        },
        None => None,
    };
    if kind == Kind::Write && argument.is_none() {
        return None;
    }
    let lists = match (kind, &argument) {
        (Kind::Lists, Some(text)) => Lists::parse(text, |group, name| match group {
            true => accounts.gid(name),
            false => accounts.uid(name),
        })?,
        (Kind::Lists, None) => return None,
        _ => Some(Lists::default()),
    };
    // systemd takes no notice of a list with a name that does not exist.
    let Some(lists) = lists else {
        return Some(Read::Nothing);
    };
    let field = |at: usize| words.get(at).map(String::as_str).filter(|text| is_set(text));
    let (mode, masked, mode_once) = mode(field(2))?;
    let (user, user_once) = once(field(3));
    let (group, group_once) = once(field(4));
    let Some((uid, gid)) = owner(user, group, accounts)? else {
        return Some(Read::NoOwner);
    };
    if foreign {
        return Some(Read::Nothing);
    }
    let only_new = [mode_once, user_once, group_once];
    let age = field(5).unwrap_or_default().to_owned();
    let force = has('+') || letter == 'F';
    Some(Read::Item(Item {
        letter,
        kind,
        force,
        path,
        mode,
        masked,
        uid,
        gid,
        only_new,
        age,
        argument,
        lists,
    }))
}

type Owner = (Option<u32>, Option<u32>);

/// Numbers of user and group, where they are named. Inside: one does not exist.
/// Outside: one that systemd knows by itself, with a number for each
/// distribution.
fn owner(user: Option<&str>, group: Option<&str>, accounts: &Accounts) -> Option<Option<Owner>> {
    let number = |name: &str, known: Option<u32>| name.parse().ok().or(known);
    let uid = user.map(|name| number(name, accounts.uid(name)));
    let gid = group.map(|name| number(name, accounts.gid(name)));
    if uid != Some(None) && gid != Some(None) {
        return Some(Some((uid.flatten(), gid.flatten())));
    }
    let nobody = [user, group].contains(&Some("nobody")) || group == Some("nogroup");
    (!nobody).then_some(None)
}

fn kind(letter: char) -> Option<Kind> {
    Some(match letter {
        'd' | 'D' | 'v' | 'q' | 'Q' => Kind::Directory,
        'e' => Kind::Existing,
        'f' | 'F' => Kind::File,
        'w' => Kind::Write,
        'L' => Kind::Link,
        'C' => Kind::Copy,
        'p' => Kind::Fifo,
        'z' | 'm' => Kind::Permissions,
        'Z' => Kind::PermissionsBelow,
        'a' | 'A' => Kind::Lists,
        't' | 'T' => Kind::Attributes,
        'b' | 'c' => Kind::Device,
        'x' | 'X' | 'r' | 'R' | 'h' | 'H' => Kind::Nothing,
        _ => return None,
    })
}

/// The first six words, and the rest as it stands. A backslash among the words
/// means one thing before systemd 253 and another since.
fn words(text: &str) -> Option<(Vec<String>, Option<String>)> {
    let (mut words, mut rest) = (Vec::new(), text);
    while words.len() < 6 && !rest.is_empty() {
        let (mut word, mut quote, mut end) = (String::new(), None, rest.len());
        for (at, letter) in rest.char_indices() {
            match (quote, letter) {
                (_, '\\') => return None,
                (Some(open), _) if letter == open => quote = None,
                (None, '"' | '\'') => quote = Some(letter),
                (None, ' ' | '\t') => {
                    end = at;
                    break;
                }
                _ => word.push(letter),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
        rest = rest[end..].trim_start_matches([' ', '\t']);
    }
    Some((words, is_set(rest).then(|| rest.to_owned())))
}

fn is_set(text: &str) -> bool {
    !text.is_empty() && text != "-"
}

/// Replaces `%` and a letter. Outside: not understood; inside: not known yet,
/// which systemd skips a line for.
fn expand(text: &str, tree: &Tree) -> Option<Option<String>> {
    let (mut out, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => out.push('%'),
            Some('C') => out.push_str("/var/cache"),
            Some('L') => out.push_str("/var/log"),
            Some('S') => out.push_str("/var/lib"),
            Some('t') => out.push_str("/run"),
            Some('T') => out.push_str("/tmp"),
            Some('V') => out.push_str("/var/tmp"),
            Some('h') => out.push_str("/root"),
            Some('m') if has_no_machine_id(tree) => return Some(None),
            _ => return None,
        }
    }
    Some(Some(out))
}

/// An image has none, or says that it has none yet.
fn has_no_machine_id(tree: &Tree) -> bool {
    const PATH: &str = "/etc/machine-id";
    match tree.resolve(PATH) {
        None => true,
        Some(_) => tree.read(PATH, 64).is_ok_and(|id| id.is_empty() || id == b"uninitialized\n"),
    }
}

/// An absolute path without doubled or trailing slashes, `.` or `..`.
fn simple(path: &str) -> Option<String> {
    let names: Vec<&str> =
        path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let path = TreePath::new(&format!("{}{}", &path.get(..1)?, names.join("/"))).ok()?;
    match path.as_str().strip_prefix("/var/run/") {
        Some(rest) => Some(format!("/run/{rest}")),
        None => Some(path.as_str().to_owned()),
    }
}

/// The escapes of C that stand for one letter; others are not understood.
fn unescape(text: &str) -> Option<String> {
    let (mut out, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                's' => ' ',
                same @ ('\\' | '"' | '\'') => same,
                _ => return None,
            },
            _ => letter,
        });
    }
    Some(out)
}

/// Mode, whether it only masks, and whether only what is new gets it.
fn mode(text: Option<&str>) -> Option<(Option<u16>, bool, bool)> {
    let Some(text) = text else {
        return Some((None, false, false));
    };
    let digits = text.trim_start_matches(['~', ':']);
    let signs = &text[..text.len() - digits.len()];
    let octal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u16::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o7777)?;
    Some((Some(mode), signs.contains('~'), signs.contains(':')))
}

/// A name, and whether it is only for what is new.
fn once(text: Option<&str>) -> (Option<&str>, bool) {
    match text.and_then(|text| text.strip_prefix(':')) {
        Some(name) => (Some(name), true),
        None => (text, false),
    }
}

impl Kind {
    fn takes_argument(self) -> bool {
        matches!(self, Self::File | Self::Write | Self::Link | Self::Copy | Self::Lists)
    }
}

impl Item {
    /// The mode of what is made.
    pub fn new_mode(&self) -> u16 {
        let usual = if self.kind == Kind::Directory { 0o755 } else { 0o644 };
        self.mode.unwrap_or(usual)
    }

    /// Whether its path is a pattern.
    pub fn is_pattern(&self) -> bool {
        matches!(self.letter, 'w' | 'x' | 'X' | 'r' | 'R' | 'e' | 'm' | 'z' | 'Z')
            || matches!(self.letter, 't' | 'T' | 'a' | 'A' | 'h' | 'H')
    }

    /// Whether it is about the thing itself rather than what the thing has.
    pub fn makes(&self) -> bool {
        !matches!(self.letter, 'm' | 'z' | 'Z' | 't' | 'T' | 'a' | 'A' | 'h' | 'H')
    }
}

/// Whether an inode is what a line makes.
pub(super) fn fits(node: &Node, kind: Kind) -> bool {
    match kind {
        Kind::Directory | Kind::Existing => node.is_directory(),
        Kind::File | Kind::Write => matches!(node, Node::File(_)),
        Kind::Link => matches!(node, Node::Symlink(_)),
        Kind::Fifo => matches!(node, Node::Fifo),
        _ => true,
    }
}
