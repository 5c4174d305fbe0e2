//! `hwdb.bin`: what udev knows of devices by their names, compiled from the
//! texts in `hwdb.d` as `systemd-hwdb update` does (systemd's `hwdb(7)` and
//! `src/shared/hwdb-util.c`), byte for byte.

use std::collections::BTreeMap;

use crate::tree::{Content, Inode, Metadata, Node, PathError, Tree, TreeError, TreePath};

mod trie;

use trie::{Source, Trie};

/// Folders with texts; of two files of one name the first counts.
const FOLDERS: [&str; 2] = ["/etc/udev/hwdb.d", "/usr/lib/udev/hwdb.d"];
/// The largest text, of the makers of network cards, has 6 MB.
const MAX_FILE_BYTES: u64 = 32 << 20;
/// All texts together have 12 MB.
const MAX_ALL_BYTES: usize = 128 << 20;
/// The longest line of systemd's has 262.
const MAX_LINE_BYTES: usize = 1024;
/// Matches times properties, over all records: systemd's have 122,443.
const MAX_PROPERTIES: usize = 500_000;
/// The file says which systemd made it; these are known to make the same.
const VERSIONS: std::ops::RangeInclusive<u64> = 249..=255;
/// Where distributions have the library whose name tells the version.
const LIBRARIES: [&str; 3] =
    ["/usr/lib/systemd", "/usr/lib64/systemd", "/usr/lib/x86_64-linux-gnu/systemd"];

/// Why the database is not compiled here.
#[derive(Debug, thiserror::Error)]
pub enum HwdbError {
    /// There is more to it than is known.
    #[error("hwdb: {0}")]
    Unknown(String),
    /// The tree does not have what it should.
    #[error("hwdb")]
    Tree(#[from] TreeError),
}

impl From<PathError> for HwdbError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// Compiles the database, into `/usr` if `usr`, else into `/etc`.
///
/// # Errors
/// If that takes more than is known here; then the program has to run.
pub fn update(tree: &mut Tree, usr: bool) -> Result<(), HwdbError> {
    let folder = if usr { "/usr/lib/udev" } else { "/etc/udev" };
    let path = TreePath::new(&format!("{folder}/hwdb.bin"))?;
    let version = version(tree)?;
    match compile(tree, "", version)? {
        Some(bytes) => {
            let meta = Metadata::root(0o444, tree.default_mtime());
            tree.insert(&path, Inode { node: Node::File(Content::bytes(bytes)), meta })?;
        }
        None => {
            tree.remove(&path);
        }
    }
    Ok(())
}

/// The version of the tree's systemd.
fn version(tree: &Tree) -> Result<u64, HwdbError> {
    let names = LIBRARIES.iter().flat_map(|folder| tree.children(folder));
    let versions: Vec<u64> = names
        .filter_map(|(name, _)| name.strip_prefix("libsystemd-shared-")?.strip_suffix(".so"))
        .filter_map(|name| name.split(['-', '.']).next()?.parse().ok())
        .collect();
    match versions[..] {
        [version] if VERSIONS.contains(&version) => Ok(version),
        _ => Err(HwdbError::Unknown(format!("made by another systemd: {versions:?}"))),
    }
}

/// The database; none without texts. Their paths in it begin with `prefix`.
fn compile(tree: &Tree, prefix: &str, version: u64) -> Result<Option<Vec<u8>>, HwdbError> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        let place = tree.canonical(folder).map(|place| place.to_string());
        for (name, _) in tree.children(folder).filter(|(name, _)| name.ends_with(".hwdb")) {
            files.insert(name, format!("{}/{name}", place.as_deref().unwrap_or(folder)));
        }
    }
    let (mut trie, mut all, mut left) = (Trie::default(), 0, MAX_PROPERTIES);
    for (at, path) in files.values().enumerate() {
        let unknown = |why: &str| HwdbError::Unknown(format!("{path}: {why}"));
        let text = match tree.resolve(path) {
            Some(_) => tree.read(path, MAX_FILE_BYTES)?,
            None => continue,
        };
        all += text.len();
        // What ends a line besides is nobody's to guess.
        if all > MAX_ALL_BYTES || text.contains(&0) || text.contains(&b'\r') {
            return Err(unknown("no text, or too much of it"));
        }
        let priority = u16::try_from(at + 1).map_err(|_| unknown("too many files"))?;
        let place = format!("{prefix}{path}");
        let source = Source { path: place.as_bytes(), priority, line: 0 };
        import(&mut trie, &text, &source, &mut left).map_err(|limit| unknown(&limit))?;
    }
    Ok((!files.is_empty()).then(|| trie.to_bytes(version)))
}

/// Matches, each on a line, then properties, indented, then an empty line.
/// Each match has each property, and all of them are taken from `left`. Fails
/// with the limit that is not kept.
fn import(
    trie: &mut Trie,
    text: &[u8],
    source: &Source<'_>,
    left: &mut usize,
) -> Result<(), String> {
    let (mut matches, mut in_data): (Vec<&[u8]>, bool) = (Vec::new(), false);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        if line.first() == Some(&b'#') {
            continue;
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(format!("line {number}: more than {MAX_LINE_BYTES} bytes"));
        }
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let line = trim_end(line);
        match line.first() {
            None => (matches, in_data) = (Vec::new(), false),
            Some(b' ') if matches.is_empty() => {}
            Some(b' ') => {
                in_data = true;
                let source = Source { line: number, ..*source };
                if let Some((key, value)) = property(line) {
                    let rest = left.checked_sub(matches.len());
                    *left = rest
                        .ok_or_else(|| format!("with it more than {MAX_PROPERTIES} properties"))?;
                    matches.iter().for_each(|one| trie.insert(one, key, value, &source));
                }
            }
            // After properties, something else ends the record.
            Some(_) if in_data => (matches, in_data) = (Vec::new(), false),
            Some(_) if matches.len() == *left => {
                return Err(format!("with it more than {MAX_PROPERTIES} matches"));
            }
            Some(_) => matches.push(line),
        }
    }
    Ok(())
}

fn trim_end(line: &[u8]) -> &[u8] {
    let space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let end = line.iter().rposition(|byte| !space(byte)).map_or(0, |last| last + 1);
    &line[..end]
}

/// `KEY=VALUE`, the key with one space before it; none if it is no property.
fn property(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let (mut key, value) = (&line[..at], &line[at + 1..]);
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    while blank(key.first()) && blank(key.get(1)) {
        key = &key[1..];
    }
    (key.len() > 1).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::tree::testing::{materialise, tree};

    const TEXTS: [(&str, &str); 4] = [
        (
            "/usr/lib/udev/hwdb.d/20-a.hwdb",
            "# a comment\nusb:v1D6B*\n ID_VENDOR=Linux\n\nusb:v1D6Bp0001*\nusb:v1D6Bp0002*\n \
             ID_MODEL=1.1 # why\n   \t ID_OTHER = x y \n\n KEY=lost\nusb:v1*\n\nusb:v2*\n A=1\nB\n \
             C=1\n\nend*\n  =none\n none\n\nlast:*\n A=2",
        ),
        ("/usr/lib/udev/hwdb.d/30-b.hwdb", "usb:v1D6B*\n ID_VENDOR=Other\n A=\n\nu*\n A=é\n"),
        ("/usr/lib/udev/hwdb.d/40-c.hwdb", "never\n A=1\n"),
        ("/etc/udev/hwdb.d/40-c.hwdb", "usb\n A=1\n\nusb:v1D6Bp0001\n Z=1\n A=1\n"),
    ];

    /// The tool's database; none without it.
    fn theirs(tree: &Tree, usr: bool) -> Option<(String, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        materialise(tree, folder.path());
        let root = folder.path().canonicalize().unwrap().display().to_string();
        let mut tool = Command::new("systemd-hwdb");
        tool.arg(format!("--root={root}")).arg("update").args(usr.then_some("--usr"));
        let Ok(out) = tool.output() else {
            skip::because("systemd-hwdb is not installed");
            return None;
        };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let place = if usr { "usr/lib/udev/hwdb.bin" } else { "etc/udev/hwdb.bin" };
        Some((root, fs::read(folder.path().join(place)).unwrap()))
    }

    fn tool_version(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(bytes[8..16].try_into().unwrap())
    }

    #[test]
    fn the_database_is_systemds() {
        let mut tree = tree(&TEXTS);
        // Debian's program looks there.
        tree.symlink(&TreePath::new("/lib").unwrap(), "usr/lib").unwrap();
        let Some((root, theirs)) = theirs(&tree, false) else { return };
        let ours = compile(&tree, &root, tool_version(&theirs)).unwrap().unwrap();
        assert!(ours == theirs, "{} bytes, {} bytes", ours.len(), theirs.len());
    }

    #[test]
    fn what_debian_ships_is_compiled_to_the_same() {
        let mut tree = tree(&TEXTS[..1]);
        tree.symlink(&TreePath::new("/lib").unwrap(), "usr/lib").unwrap();
        for entry in fs::read_dir("/usr/lib/udev/hwdb.d").into_iter().flatten() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            tree.write(&TreePath::new(path.to_str().unwrap()).unwrap(), 0o644, bytes).unwrap();
        }
        let Some((root, theirs)) = theirs(&tree, true) else { return };
        let ours = compile(&tree, &root, tool_version(&theirs)).unwrap().unwrap();
        println!("{} bytes", ours.len());
        assert!(ours == theirs, "{} bytes, {} bytes", ours.len(), theirs.len());
    }

    #[test]
    fn an_unknown_systemd_is_left_to_itself() {
        let mut tree = tree(&TEXTS);
        assert!(update(&mut tree, false).is_err());
        let library = TreePath::new("/usr/lib/systemd/libsystemd-shared-255.so").unwrap();
        tree.write(&library, 0o755, Vec::new()).unwrap();
        update(&mut tree, false).unwrap();
        assert_eq!(tree.get("/etc/udev/hwdb.bin").unwrap().meta.mode, 0o444);
        let newer = TreePath::new("/usr/lib/systemd/libsystemd-shared-300.so").unwrap();
        tree.write(&newer, 0o755, Vec::new()).unwrap();
        assert!(update(&mut tree, false).is_err());
    }

    fn import_within(text: &str, mut left: usize) -> Result<(), String> {
        let source = Source { path: b"/a.hwdb", priority: 1, line: 0 };
        import(&mut Trie::default(), text.as_bytes(), &source, &mut left)
    }

    #[test]
    fn matches_times_properties_are_bounded() {
        let text = "a\nb\nc\n X=1\n Y=2\n\nd\n Z=3\n";
        import_within(text, 7).unwrap();
        assert!(import_within(text, 6).is_err());
        assert!(import_within("a\nb\nc\n", 2).is_err());
    }

    #[test]
    fn long_lines_are_not_taken() {
        let mut tree = tree(&[]);
        let path = TreePath::new("/etc/udev/hwdb.d/a.hwdb").unwrap();
        tree.write(&path, 0o644, [b'a'; MAX_LINE_BYTES].to_vec()).unwrap();
        compile(&tree, "", 255).unwrap();
        tree.write(&path, 0o644, [b'a'; MAX_LINE_BYTES + 1].to_vec()).unwrap();
        let error = compile(&tree, "", 255).unwrap_err().to_string();
        assert_eq!(error, "hwdb: /etc/udev/hwdb.d/a.hwdb: line 1: more than 1024 bytes");
    }

    #[test]
    fn matches_that_begin_with_each_other_need_no_stack() {
        let small = std::thread::Builder::new().stack_size(64 << 10);
        let run = move || {
            let mut trie = Trie::default();
            for len in 1..3000 {
                let source = Source { path: b"/a.hwdb", priority: 1, line: 1 };
                trie.insert(&b"a".repeat(len), b" K", b"1", &source);
            }
            trie.to_bytes(255).len()
        };
        assert!(small.spawn(run).unwrap().join().unwrap() > 2999 * 24);
    }
}
