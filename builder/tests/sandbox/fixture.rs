//! A tree in which a shell and common programs run, taken from this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use slipway::sandbox::{Call, Ran, Sandbox, Settings};
use slipway::tree::{Content, Inode, Metadata, Node, Tree, TreePath};

/// The time of everything, seconds since 1970.
pub const TIME: u64 = 1_600_000_000;

/// What scripts of the tests call.
const PROGRAMS: [&str; 36] = [
    "/bin/bash",
    "/bin/cat",
    "/bin/chmod",
    "/bin/chown",
    "/bin/cp",
    "/bin/date",
    "/bin/dash",
    "/bin/ln",
    "/bin/ls",
    "/bin/mkdir",
    "/bin/mknod",
    "/bin/mount",
    "/bin/mv",
    "/bin/rm",
    "/bin/rmdir",
    "/bin/sed",
    "/bin/sleep",
    "/bin/touch",
    "/bin/uname",
    "/usr/bin/env",
    "/usr/bin/head",
    "/usr/bin/id",
    "/usr/bin/mkfifo",
    "/usr/bin/mktemp",
    "/usr/bin/nohup",
    "/usr/bin/perl",
    "/usr/bin/seq",
    "/usr/bin/setsid",
    "/usr/bin/sort",
    "/usr/bin/stat",
    "/usr/bin/tr",
    "/usr/bin/truncate",
    "/usr/bin/unshare",
    "/usr/bin/wc",
    "/usr/sbin/chroot",
    "/usr/sbin/setcap",
];

pub fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

/// Puts a text with owner and mode.
pub fn put(tree: &mut Tree, at: &str, text: &str, mode: u16, uid: u32, gid: u32) {
    let meta = Metadata { uid, gid, ..Metadata::root(mode, TIME) };
    let node = Node::File(Content::bytes(text.as_bytes().to_vec()));
    tree.insert(&path(at), Inode { node, meta }).unwrap();
}

/// Puts a directory with owner and mode.
pub fn put_directory(tree: &mut Tree, at: &str, mode: u16, uid: u32, gid: u32) {
    let meta = Metadata { uid, gid, ..Metadata::root(mode, TIME) };
    tree.insert(&path(at), Inode { node: Node::directory(), meta }).unwrap();
}

/// The shell's tree: programs, the libraries that they need, and a few files.
pub fn tree() -> Tree {
    let mut tree = Tree::new(TIME);
    for (link, target) in [("/bin", "usr/bin"), ("/lib64", "usr/lib64"), ("/lib", "usr/lib")] {
        tree.symlink(&path(link), target).unwrap();
    }
    tree.symlink(&path("/sbin"), "usr/sbin").unwrap();
    let mut files = BTreeSet::new();
    for program in PROGRAMS.into_iter().filter(|program| Path::new(program).exists()) {
        files.insert(PathBuf::from(program));
        files.extend(libraries(program));
    }
    for file in &files {
        let at = TreePath::new(file.to_str().unwrap()).unwrap();
        let real = fs::canonicalize(file).unwrap();
        let size_bytes = fs::metadata(&real).unwrap().len();
        let content = Content::Range { file: real.into(), offset_bytes: 0, size_bytes };
        let inode = Inode { node: Node::File(content), meta: Metadata::root(0o755, TIME) };
        tree.insert(&at, inode).unwrap();
    }
    tree.symlink(&path("/usr/bin/sh"), "dash").unwrap();
    put(
        &mut tree,
        "/etc/passwd",
        "root:x:0:0::/root:/bin/sh\ndemo:x:42:43::/:/bin/sh\n",
        0o644,
        0,
        0,
    );
    put(&mut tree, "/etc/group", "root:x:0:\ndemo:x:43:\n", 0o644, 0, 0);
    put(&mut tree, "/etc/shadow", "root:*:1::::::\n", 0o000, 0, 0);
    put(&mut tree, "/srv/a/one", "1\n", 0o644, 0, 0);
    put(&mut tree, "/srv/a/deep/two", "2\n", 0o640, 42, 43);
    put(&mut tree, "/srv/suid", "#!", 0o4755, 0, 0);
    put_directory(&mut tree, "/srv/private", 0o700, 42, 43);
    put_directory(&mut tree, "/tmp", 0o1777, 0, 0);
    put_directory(&mut tree, "/var/tmp", 0o1777, 0, 0);
    put_directory(&mut tree, "/root", 0o700, 0, 0);
    put_directory(&mut tree, "/run", 0o755, 0, 0);
    tree
}

fn libraries(program: &str) -> Vec<PathBuf> {
    let said = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let words = text.split_ascii_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// The settings of the tests.
pub fn settings() -> Settings {
    Settings {
        program: env!("CARGO_BIN_EXE_slipway").into(),
        time_limit: Duration::from_secs(60),
        source_date_epoch: TIME,
        single_id: false,
    }
}

/// A folder and a sandbox in it.
pub struct Place {
    pub sandbox: Option<Sandbox>,
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Some(Sandbox::new(folder.path(), settings).unwrap());
        Self { sandbox, folder }
    }

    /// Runs a shell script with the argument `1`.
    pub fn shell(&mut self, tree: &mut Tree, text: &str) -> Ran {
        self.call(tree, &["/bin/sh"], text, &["1"], b"")
    }

    pub fn call(
        &mut self,
        tree: &mut Tree,
        program: &[&str],
        text: &str,
        arguments: &[&str],
        stdin: &[u8],
    ) -> Ran {
        let owned = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let (program, arguments) = (owned(program), owned(arguments));
        let call = Call { program: &program, text, arguments: &arguments, stdin };
        self.sandbox.as_mut().unwrap().run(tree, &call).unwrap()
    }

    /// Runs a script that has to succeed.
    #[track_caller]
    pub fn succeed(&mut self, tree: &mut Tree, text: &str) -> String {
        let ran = self.shell(tree, text);
        assert!(ran.status.success(), "{}: {}", ran.status, ran.last_lines);
        ran.last_lines
    }
}

/// Every name of a tree with what matters, one a line; without times and the
/// programs.
pub fn listing(tree: &Tree) -> Vec<String> {
    let mut first = std::collections::BTreeMap::new();
    let mut lines = Vec::new();
    tree.visit(|path, id| {
        if path.as_str().starts_with("/usr/") {
            return;
        }
        let inode = tree.inode(id);
        let what = match &inode.node {
            Node::Directory(_) => "directory".to_owned(),
            Node::File(content) => {
                let bytes = content.read(1 << 20).unwrap();
                format!("file {:?}", String::from_utf8_lossy(&bytes))
            }
            Node::Symlink(target) => format!("link {target}"),
            other => format!("{other:?}").to_lowercase(),
        };
        let meta = &inode.meta;
        let same = first.entry(id).or_insert_with(|| path.to_string()).clone();
        let xattrs: String = meta.xattrs.iter().map(|(n, v)| format!(" {n}={v:02x?}")).collect();
        let (mode, uid, gid) = (meta.mode, meta.uid, meta.gid);
        lines.push(format!("{path} {mode:04o} {uid}:{gid} {what}{xattrs} as {same}"));
    });
    lines
}

/// Whether this process is root's; most tests want that.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether anything is mounted below a folder.
pub fn mounted_below(folder: &Path) -> bool {
    fs::read_to_string("/proc/self/mounts").unwrap().contains(folder.to_str().unwrap())
}
