//! The root file system that `slipway build` makes, mounted by the kernel and
//! held against what dnf leaves of the same packages: every path, its kind,
//! mode, owner, link, device, attributes and bytes. What differs on purpose is
//! listed here with its reason, and nothing else may. Then rpm is asked about
//! both.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bench::locked_packages;
use crate::images::Workshop;
use crate::judge::install_with_dnf;
use crate::process::output;
use crate::proof::partition;

mod answers;
mod archives;
mod meaning;

use answers::Asked;

/// Whose tree has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Dnf,
    /// both, and it differs
    Both,
}

/// A difference that is meant: whose, below which path, and why.
#[derive(Debug)]
struct Intended {
    side: Side,
    /// a path; with `/**` at its end, everything below it
    path: &'static str,
    why: &'static str,
}

impl Intended {
    fn fits(&self, side: Side, path: &str) -> bool {
        self.side == side && matches(self.path, path)
    }
}

const fn only(side: Side, path: &'static str, why: &'static str) -> Intended {
    Intended { side, path, why }
}

const INTENDED: &[Intended] = &[
    only(Side::Ours, "/etc/hostname", "written by the recipe"),
    only(Side::Ours, "/usr/lib/slipway/**", "the agent and its settings"),
    only(Side::Ours, "/usr/lib/slipway", "the agent and its settings"),
    only(Side::Ours, "/usr/lib/systemd/system/slipway-agent.service", "the agent's unit"),
    only(Side::Ours, "/usr/lib/systemd/system/slipway-health.target", "the health gate"),
    only(Side::Ours, "/usr/lib/systemd/system/slipway-healthy.service", "the health gate"),
    only(Side::Ours, "/usr/lib/systemd/system/slipway-health.target.wants/**", "the health gate"),
    only(Side::Ours, "/usr/lib/systemd/system/slipway-health.target.wants", "the health gate"),
    only(
        Side::Ours,
        "/usr/lib/systemd/system/sysinit.target.wants/slipway-agent.service",
        "the agent's unit",
    ),
    only(
        Side::Ours,
        "/usr/lib/systemd/system/multi-user.target.wants/slipway-health.target",
        "the health gate",
    ),
    only(Side::Ours, "/etc/machine-id", "drawn by each machine"),
    only(Side::Dnf, "/usr/share/doc/**", "left out by the recipe"),
    only(Side::Dnf, "/usr/share/info/**", "left out by the recipe"),
    only(Side::Dnf, "/usr/share/locale/**", "left out by the recipe"),
    only(Side::Dnf, "/usr/share/man/**", "left out by the recipe"),
    only(
        Side::Dnf,
        "/var/cache/**",
        "left out by the recipe; ldconfig's aux-cache has inode numbers",
    ),
    only(Side::Dnf, "/tmp/**", "dnf's own notes and logs"),
    only(Side::Dnf, "/etc/dnf/**", "dnf's own notes"),
    only(Side::Dnf, "/etc/dnf", "dnf's own notes"),
    only(Side::Dnf, "/dev/null", "left by rpm, which has no device there to throw output into"),
    only(Side::Dnf, "/root/.rpmdb/**", "where Debian's rpm keeps its database"),
    only(Side::Dnf, "/root/.rpmdb", "where Debian's rpm keeps its database"),
    only(Side::Ours, "/var/lib/rpm/**", "the database is judged by rpm itself"),
    only(Side::Ours, "/var/lib/rpm", "the database is judged by rpm itself"),
    only(Side::Ours, "/usr/lib/sysimage/**", "the database is with the root, to change with it"),
    only(Side::Ours, "/usr/lib/sysimage", "the database is with the root, to change with it"),
    only(Side::Dnf, "/etc/.pwd.lock", "a lock nobody holds"),
    // shadow keeps the file as it was before its last change
    only(Side::Dnf, "/etc/passwd-", "a back-up nobody restores"),
    only(Side::Dnf, "/etc/group-", "a back-up nobody restores"),
    only(Side::Dnf, "/etc/shadow-", "a back-up nobody restores"),
    only(Side::Dnf, "/etc/gshadow-", "a back-up nobody restores"),
];

/// Builds the larger demo and compares. Needs root, to mount and for dnf.
pub fn judge(workshop: &Workshop) -> Result<()> {
    let lock = workshop.out().join("images/demo-node.lock.toml");
    let image = workshop.build(&workshop.top.join("recipes/demo-node.toml"), &lock)?;
    let folder = tempfile::tempdir_in(workshop.out())?;
    let mounted = Mounted::root_of(&image.disk, folder.path())?;
    let root = folder.path().join("dnf");
    let names = locked_packages(&fs::read_to_string(&lock)?)?;
    install_with_dnf(&workshop.out().join("repository"), &names, &root)?;
    let (ours, theirs) = (read_tree(&mounted.at)?, read_tree(&root)?);
    ensure!(ours.len() > 1000 && theirs.len() > 1000, "the trees are nearly empty");
    let differences = compare((&mounted.at, &ours), (&root, &theirs))?;
    let meant = |(side, path, _): &&(Side, String, String)| {
        INTENDED.iter().any(|one| one.fits(*side, path))
    };
    let (meant, strange): (Vec<_>, Vec<_>) = differences.iter().partition(meant);
    println!(
        "dnf: the tree of {} packages is the same in {} names, {} differ on purpose",
        names.len(),
        ours.len(),
        meant.len()
    );
    if !strange.is_empty() {
        let lines = strange.iter().map(|(side, path, what)| format!("{side:?} {path}: {what}"));
        bail!(
            "{} differences from dnf's tree:\n{}",
            strange.len(),
            lines.collect::<Vec<_>>().join("\n")
        );
    }
    explain(&meant)?;
    let asked = Asked { image: &mounted.at, root: &root };
    let in_both: Vec<&str> =
        ours.keys().filter(|path| theirs.contains_key(*path)).map(String::as_str).collect();
    asked.say_the_same(&in_both)?;
    asked.verify_the_same(|path| {
        meant.iter().any(|(side, at, _)| *side == Side::Dnf && at == path)
    })?;
    archives::judge(workshop)
}

/// How often each reason was given. One that never is has no place in the list.
fn explain(meant: &[&(Side, String, String)]) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unused = Vec::new();
    for rule in INTENDED {
        let fits = |(side, path, _): &&&(Side, String, String)| rule.fits(*side, path);
        match meant.iter().filter(fits).count() {
            0 => unused.push(rule),
            count => *counts.entry(rule.why).or_default() += count,
        }
    }
    ensure!(unused.is_empty(), "no difference is explained by {unused:#?}");
    counts.iter().for_each(|(why, count)| println!("  {count:5}  {why}"));
    Ok(())
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix("/**") {
        Some(folder) => path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        None => path == pattern,
    }
}

/// A root file system mounted from a disk image, until it is dropped.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Slot a's.
    fn root_of(disk: &Path, folder: &Path) -> Result<Self> {
        let at = folder.join("image");
        fs::create_dir(&at)?;
        let place = partition(&File::open(disk)?, "root-a")?;
        let options = format!("ro,loop,offset={},sizelimit={}", place.start_bytes, place.len_bytes);
        output(Command::new("mount").args(["-t", "erofs", "-o", &options]).arg(disk).arg(&at))?;
        Ok(Self { at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = output(Command::new("umount").arg(&self.at)) {
            eprintln!("{error:#}");
        }
    }
}

/// What is compared of an inode, but for a regular file's bytes.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    device: u64,
    target: String,
    /// first name of the same inode
    first_name: String,
    attributes: BTreeMap<String, Vec<u8>>,
}

type Entries = BTreeMap<String, Entry>;

fn read_tree(root: &Path) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut first_names = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let below = root.join(folder.trim_start_matches('/'));
        let mut names = fs::read_dir(&below)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let path = format!("{folder}/{name}");
            let entry = read_entry(root, &path, &mut first_names)
                .with_context(|| format!("reading {path} in {}", root.display()))?;
            if entry.kind == "directory" {
                folders.push(path.clone());
            }
            entries.insert(path, entry);
        }
    }
    Ok(entries)
}

fn read_entry(
    root: &Path,
    path: &str,
    first_names: &mut BTreeMap<u64, Vec<String>>,
) -> Result<Entry> {
    let full = root.join(path.trim_start_matches('/'));
    let found = fs::symlink_metadata(&full)?;
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () if kind.is_fifo() => "fifo",
        () if kind.is_char_device() => "character device",
        () if kind.is_block_device() => "block device",
        () => "socket",
    };
    let target = match kind {
        "link" => fs::read_link(&full)?.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    let names = first_names.entry(found.ino()).or_default();
    names.push(path.to_owned());
    let first_name =
        if found.nlink() > 1 && kind == "file" { names[0].clone() } else { String::new() };
    Ok(Entry {
        kind,
        mode: if kind == "link" { 0 } else { found.mode() & 0o7777 },
        owner: (found.uid(), found.gid()),
        device: found.rdev(),
        target,
        first_name,
        attributes: attributes(&full)?,
    })
}

fn attributes(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let len = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(len);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}

/// Every difference: whose, where and what.
fn compare(
    (our_root, ours): (&Path, &Entries),
    (their_root, theirs): (&Path, &Entries),
) -> Result<Vec<(Side, String, String)>> {
    let mut all = Vec::new();
    for (path, entry) in ours {
        match theirs.get(path) {
            None => all.push((Side::Ours, path.clone(), entry.kind.to_owned())),
            Some(other) => {
                let mut differs = differ(entry, other);
                if differs.is_none() && entry.kind == "file" {
                    differs = differ_inside(path, our_root, their_root)?;
                }
                all.extend(differs.map(|what| (Side::Both, path.clone(), what)));
            }
        }
    }
    let gone = theirs.iter().filter(|(path, _)| !ours.contains_key(*path));
    all.extend(gone.map(|(path, entry)| (Side::Dnf, path.clone(), entry.kind.to_owned())));
    Ok(all)
}

fn differ(ours: &Entry, theirs: &Entry) -> Option<String> {
    // Debian's systemctl writes a unit's folder by its old name.
    let unit = theirs.target.strip_prefix("/lib/").map(|rest| format!("/usr/lib/{rest}"));
    let target = ours.target == theirs.target || unit.as_deref() == Some(&ours.target);
    let same = ours.kind == theirs.kind
        && ours.mode == theirs.mode
        && ours.owner == theirs.owner
        && ours.device == theirs.device
        && target
        && ours.first_name == theirs.first_name
        && ours.attributes == theirs.attributes;
    (!same).then(|| format!("{ours:?}\n  dnf has {theirs:?}"))
}

/// In what two files differ, if they do: their bytes, or what those say.
fn differ_inside(path: &str, our_root: &Path, their_root: &Path) -> Result<Option<String>> {
    if same_bytes(our_root, their_root, path)? {
        return Ok(None);
    }
    Ok(match meaning::same(path, our_root, their_root)? {
        None => Some("its bytes".to_owned()),
        Some((false, why)) => Some(format!("what it says, not only its bytes ({why})")),
        Some((true, why)) => {
            println!("  {path} says the same in other bytes: {why}");
            None
        }
    })
}

fn same_bytes(our_root: &Path, their_root: &Path, path: &str) -> Result<bool> {
    let open = |root: &Path| File::open(root.join(path.trim_start_matches('/')));
    let (mut ours, mut theirs) = (open(our_root)?, open(their_root)?);
    let (mut one, mut other) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let (first, second) = (fill(&mut ours, &mut one)?, fill(&mut theirs, &mut other)?);
        if first != second || one[..first] != other[..second] {
            return Ok(false);
        }
        if first == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
