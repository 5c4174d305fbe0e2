//! Scripts by our engine, beside rpm's own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::package::testing as packages;
use crate::tree::testing::{materialise, tree};
use crate::tree::{Node, TreePath};

fn call<'a>(program: &'a [String], text: &'a str, arguments: &'a [String]) -> Call<'a> {
    Call { program, text, arguments, stdin: b"" }
}

fn run_on(tree: &mut Tree, text: &str) -> Result<String, LuaError> {
    let (program, arguments) = (["<lua>".to_owned()], ["1".to_owned()]);
    run(tree, &call(&program, text, &arguments)).map(|ran| ran.output)
}

/// What a script prints that has to succeed.
#[track_caller]
fn prints(tree: &mut Tree, text: &str) -> String {
    run_on(tree, text).unwrap_or_else(|error| panic!("{error:?}"))
}

fn small() -> Tree {
    let mut tree = tree(&[
        ("/etc/passwd", "root:x:0:0:r:/root:/bin/sh\ndemo:x:42:43::/var/demo:/bin/false\n"),
        ("/etc/group", "root:x:0:\ndemo:x:43:root,demo\n"),
        ("/etc/list", "one\ntwo 12 0x10\nlast"),
        ("/lib", "-> usr/lib"),
        ("/usr/lib/a.so", "a"),
        ("/usr/lib/b.so", "b"),
        ("/usr/lib/.hidden.so", ""),
        ("/usr/bin/tool", "#!"),
        ("/srv/link", "-> ../etc/list"),
        ("/srv/dangling", "-> nowhere"),
        ("/srv/loop", "-> loop"),
    ]);
    let id = tree.locate("/usr/bin/tool").unwrap();
    tree.inode_mut(id).meta.mode = 0o755;
    // as this machine's own folders are made
    for path in ["/srv/dir", "/tmp", "/var/tmp"] {
        tree.make_directories(&TreePath::new(path).unwrap()).unwrap();
    }
    tree
}

/// The real ones: CBL-Mariner's and Fedora's `filesystem` and their like.
const REAL: [&str; 3] = [
    // CBL-Mariner filesystem, %pretrans
    r#"posix.mkdir("/usr")
posix.mkdir("/usr/bin")
posix.mkdir("/proc")
posix.mkdir("/sys")
posix.chmod("/proc", 0555)
posix.chmod("/sys", 0555)
for _, n in ipairs{"bin", "sbin", "lib64"} do
  local st = posix.stat("/" .. n)
  if not st then posix.symlink("usr/" .. n, "/" .. n) end
end
posix.symlink("../run", "/var/run")
posix.mkdir("/var/lock", "x")
posix.chmod("/var/tmp", "u=rwx,g=rwx,o=rwx")
posix.chmod("/tmp", 1777)"#,
    // Fedora packaging guidelines: replacing a directory by a link
    r#"path = "/srv/dir"
st = posix.stat(path)
if st and st.type == "directory" then
  status = os.rename(path, path .. ".rpmmoved")
  if not status then
    suffix = 0
    while not status do
      suffix = suffix + 1
      status = os.rename(path .. ".rpmmoved", path .. ".rpmmoved." .. suffix)
    end
    os.rename(path, path .. ".rpmmoved")
  end
end"#,
    // Fedora's glibc and ca-certificates
    r#"local fn = "/usr/lib/a.so"
if posix.access(fn, "f") then os.remove(fn) end
if posix.readlink("/lib") == "usr/lib" then posix.symlink("b.so", "/usr/lib/c.so") end
for f in posix.files("/usr/lib") do
  if f:match("^b") then posix.link("/usr/lib/" .. f, "/usr/lib/d.so") end
end
local f = io.open("/etc/new", "w") f:write("x", 1, "\n", 2.5) f:close()
f = io.open("/etc/new", "a") f:write("more\n") f:close()
for l in io.lines("/etc/list") do if l == "last" then posix.mkdir("/last") end end"#,
];

/// More of what the two have in common.
const VARIED: [&str; 6] = [
    r#"posix.umask("rwx------") posix.mkdir("/m") posix.mkfifo("/p")
io.open("/f", "w"):write("x"):close() posix.umask(022) posix.mkdir("/n")
posix.chmod("/n", "rwxr-s---") posix.mkdir("/n/sub") posix.chmod("/usr/bin/tool", "u+s,g+s")"#,
    r#"posix.chdir("/usr") posix.mkdir("x") posix.symlink("../bin", "x/y") posix.chdir("x/y")
io.open("new", "w"):close() os.remove("/usr/lib/b.so") posix.rmdir("/srv/dir")"#,
    r#"posix.chown("/usr/bin/tool", 42, 43) posix.chown("/lib", 5, 6) posix.chown("/etc/list", 7, -1)
posix.chmod("/usr/bin/tool", "6755") posix.chown("/usr/bin/tool", 1, 1)"#,
    r#"os.rename("/usr/bin/tool", "/usr/bin/t2") os.rename("/srv", "/opt") os.rename("/opt", "/opt/x")
os.rename("/usr/lib", "/srv2") posix.unlink("/lib") posix.link("/opt/link", "/hard")"#,
    r#"local f = io.open("/etc/list", "r+") f:seek("set", 4) f:write("TWO") f:close()
f = io.open("/srv/dangling", "w") f:write("here") f:close()
f = io.open("/srv/link", "a+") f:write("!") f:seek("set") print(f:read("a")) f:close()"#,
    r#"if arg[2] == 1 and type(arg[2]) == "number" and arg[1] == "<lua>" then posix.mkdir("/first") end
local v = rpm.ver("1:2.0-3") if v > rpm.ver("2.0-4") and rpm.vercmp("1.0", "1.0~a") == 1 then posix.mkdir("/v") end
posix.mkdir("/" .. rpm.b64encode("hello"):gsub("\n", "")) posix.mkdir("/" .. posix.stat("/etc/list").size)
posix.mkdir("/" .. (posix.access("/etc/list", "x") and "yes" or "no"))"#,
];

/// Those fail; what they did before stays.
const FAILING: [&str; 2] = [
    "posix.mkdir('/begun') os.remove('/etc/list') error('enough') posix.mkdir('/never')",
    "posix.mkdir('/never') if",
];

#[test]
fn rpm_makes_the_same_of_it() {
    let root = rustix::process::geteuid().is_root();
    let found = Command::new("rpm").arg("--version").output().is_ok();
    if !root || !found {
        return skip::because("rpm --root is root's, and rpm has to be installed");
    }
    for text in REAL.iter().chain(&VARIED).chain(&FAILING) {
        let mut ours = small();
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("root");
        fs::create_dir(&theirs).unwrap();
        materialise(&ours, &theirs);
        let package = packages::write(folder.path(), "script", |builder| {
            builder.post_install_script(::rpm::Scriptlet::new(*text).prog(vec!["<lua>"]));
        });
        let output = Command::new("rpm")
            .args(["-i", "--nodeps", "--nosignature", "--dbpath", "/.rpmdb", "--root"])
            .args([&theirs, &package])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let fails = run_on(&mut ours, text).is_err();
        assert_eq!(fails, FAILING.contains(text), "{text}");
        let complains = said.contains("failed") || said.contains("invalid syntax");
        assert_eq!(fails, complains, "{text}\n{said}");
        assert!(fails || output.status.success(), "{text}\n{said}");
        assert_eq!(listing(&ours), on_disk(&theirs), "{text}");
    }
}

fn listing(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    tree.visit(|path, id| {
        let inode = tree.inode(id);
        let what = match &inode.node {
            Node::Directory(_) => "directory".to_owned(),
            Node::File(content) => {
                format!("file {:?}", String::from_utf8_lossy(&content.read(1 << 20).unwrap()))
            }
            Node::Symlink(target) => format!("link {target}"),
            _ => "fifo".to_owned(),
        };
        let links = if inode.node.is_directory() {
            0
        } else {
            Files::new(tree.clone(), &Memory::new(0)).links(id)
        };
        let meta = &inode.meta;
        lines.push(format!("{path} {:o} {}:{} {what} {links}", meta.mode, meta.uid, meta.gid));
    });
    lines
}

fn on_disk(root: &Path) -> Vec<String> {
    fn level(at: &Path, path: &str, lines: &mut Vec<String>) {
        if path == "/.rpmdb" {
            return;
        }
        let found = fs::symlink_metadata(at).unwrap();
        let kind = found.file_type();
        let what = if kind.is_dir() {
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("link {}", fs::read_link(at).unwrap().display())
        } else if kind.is_file() {
            format!("file {:?}", String::from_utf8_lossy(&fs::read(at).unwrap()))
        } else {
            "fifo".to_owned()
        };
        let links = if kind.is_dir() { 0 } else { found.nlink() };
        let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
        let name = if path.is_empty() { "/" } else { path };
        lines.push(format!("{name} {mode:o} {uid}:{gid} {what} {links}"));
        if kind.is_dir() {
            let entries = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.collect();
            names.sort();
            for name in names {
                level(&at.join(&name), &format!("{path}/{}", name.display()), lines);
            }
        }
    }
    let mut lines = Vec::new();
    level(root, "", &mut lines);
    lines
}

/// Expressions whose value rpm shows; both print them after the same set-up.
/// (Debian's rpm has Lua 5.3, in which `"10" + 5` is 15.0 and not 15.)
const PRINTED: [&str; 29] = [
    r#"posix.mkdir("/none/x")"#,
    r#"posix.mkdir("/etc")"#,
    r#"posix.rmdir("/etc")"#,
    r#"posix.rmdir("/etc/list")"#,
    r#"posix.unlink("/etc")"#,
    r#"posix.symlink("x", "/lib")"#,
    r#"posix.readlink("/etc")"#,
    r#"posix.readlink("/lib")"#,
    r#"posix.access("/srv/dangling")"#,
    r#"posix.access("/srv/loop/x")"#,
    r#"posix.access("/etc/list/x", "r")"#,
    r#"posix.access("/usr/bin/tool", "rwx")"#,
    r#"posix.stat("/none")"#,
    r#"posix.stat("/etc/list", "mode"), posix.stat("/lib", "type"), posix.stat("/etc/list", "size")"#,
    r#"posix.chmod("/none", "755")"#,
    r#"posix.umask(), posix.umask("u=rwx"), posix.umask(022)"#,
    r#"os.remove("/none")"#,
    r#"os.rename("/none", "/x")"#,
    r#"os.rename("/etc", "/etc/list/x")"#,
    r#"io.open("/none/x", "w")"#,
    r#"io.open("/etc/list"):read("l", "n", "n", "L", 3, "a", "a", "l")"#,
    r#"rpm.vercmp("1:1.0-1", "2.0-1"), rpm.vercmp("1.0", "1.0-1"), rpm.b64decode("aGk=")"#,
    r#"posix.link("/etc", "/x")"#,
    r#"pcall(io.lines, "/none")"#,
    r#"pcall(error, "x"), pcall(error, {1}) == false"#,
    r#"select('#', pcall(function(...) return ... end, 1, nil, nil))"#,
    r#"xpcall(error, function(e) return "<" .. e .. ">" end, "y")"#,
    r#"tostring(1e15), 7 // 2, 7 / 2, 2^31 | 0, #"\u{e9}", math.type(posix.mkdir("/q"))"#,
    r#"posix.getprocessid("uid"), posix.setenv("A", "b"), posix.getenv("A"), tostring(rpm.ver("1-2"))"#,
];

#[test]
fn rpm_prints_the_same() {
    let root = rustix::process::geteuid().is_root();
    let found = Command::new("rpm").arg("--version").output().is_ok();
    if !root || !found {
        return skip::because("rpm --root is root's, and rpm has to be installed");
    }
    let mut ours = small();
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("root");
    fs::create_dir(&theirs).unwrap();
    materialise(&ours, &theirs);
    let lines: Vec<String> = PRINTED.iter().map(|one| format!("print({one})")).collect();
    let text = lines.join("\n");
    let package = packages::write(folder.path(), "script", |builder| {
        builder.post_install_script(::rpm::Scriptlet::new(text.as_str()).prog(vec!["<lua>"]));
    });
    let output = Command::new("rpm")
        .args(["-i", "--nodeps", "--nosignature", "--dbpath", "/.rpmdb", "--root"])
        .args([&theirs, &package])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = prints(&mut ours, &text);
    let ours: Vec<&str> = printed.lines().collect();
    let theirs: Vec<&str> = said.lines().collect();
    assert_eq!(ours, theirs);
}

#[test]
fn accounts_are_the_trees_own() {
    let text = r#"local p = posix.getpasswd("demo") print(p.uid, p.dir, posix.getpasswd(42, "name"))
        print(posix.getgroup("demo").gid, #posix.getgroup(43), posix.getgroup("none"))
        posix.chown("/etc/list", "demo", "demo") posix.chown("/lib", "none", 0)"#;
    let mut tree = small();
    assert_eq!(prints(&mut tree, text), "42.0\t/var/demo\tdemo\n43.0\t2\tnil\n");
    let meta = &tree.get("/etc/list").unwrap().meta;
    assert_eq!((meta.uid, meta.gid), (42, 43));
}

#[test]
fn a_script_that_fails_says_where_and_leaves_what_it_did() {
    let mut tree = small();
    let error =
        run_on(&mut tree, "posix.mkdir('/x') print('so far')\nerror('enough')").unwrap_err();
    let expected =
        LuaError::Failed { message: "<lua>:2: enough".to_owned(), output: "so far\n".to_owned() };
    assert_eq!(error, expected);
    let error = run_on(&mut tree, "\nlocal x = 1\nposix.chmod('/etc', 'bad')").unwrap_err();
    assert!(
        error.to_string().ends_with("<lua>:3: bad argument #2 to 'chmod' (bad mode)"),
        "{error}"
    );
    assert!(tree.get("/x").is_some());
    assert!(run_on(&mut tree, "posix.mkdir('/y') if").is_err());
    assert!(run_on(&mut tree, "posix.mkdir('/z') local t = nil; t.x = 1").is_err());
    assert!(tree.get("/y").is_none() && tree.get("/z").is_some());
}

#[test]
fn what_is_not_supported_is_named_even_if_the_script_does_not_mind() {
    let mut tree = small();
    let before = listing(&tree);
    let cases = [
        ("posix.mkdir('/x') pcall(posix.fork)", "posix.fork"),
        ("rpm.execute('ls')", "rpm.execute"),
        ("pcall(os.execute, 'ls')", "os.execute"),
        ("io.popen('ls')", "io.popen"),
        ("require('x')", "Lua's own.require"),
        ("pcall(rpm.expand, '%{_libdir}')", "rpm.expand of %{_libdir}"),
        ("os.exit(0)", "os.exit"),
    ];
    for (text, what) in cases {
        let error = run_on(&mut tree, text).unwrap_err();
        assert_eq!(error, LuaError::Unsupported(what.to_owned()), "{text}");
    }
    assert_eq!(listing(&tree), before);
}

#[test]
fn the_machine_cannot_be_reached() {
    let mut tree = small();
    let text = r#"print(debug, package, string.dump, io.open("/proc/self/environ"))
        print(select(2, load("\27Lua"))) print(loadfile("/etc/shadow"))
        print(os.getenv("USER"), os.time(), os.date(), posix.uname("%s %n"))
        print(math.random(1000000) == math.random(1000000))
        print(load("return 1")(), load("return x", "n", "b", {x = 2})())"#;
    let printed = prints(&mut tree, text);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("nil\tnil\tnil\tnil\t"), "{printed}");
    assert!(lines[1].starts_with("attempt to load a binary chunk"), "{printed}");
    assert_eq!(lines[2], "nil\tcannot open /etc/shadow: No such file or directory");
    assert_eq!(lines[3], "nil\t1600000000\tSun Sep 13 12:26:40 2020\tLinux localhost");
    assert_eq!(lines[5], "1\t2");
    assert_eq!(printed, prints(&mut tree, text));
}

#[test]
fn time_and_memory_are_limited() {
    let mut tree = small();
    let cases = [
        ("while true do end", "takes too long"),
        ("while true do pcall(function() while true do end end) end", "takes too long"),
        ("coroutine.wrap(function() while true do end end)()", "takes too long"),
        ("local s = ('a'):rep(3000) s:find(('.-'):rep(40) .. 'b')", "takes too long"),
        ("local s = ('a'):rep(3000) s:gsub(('a*'):rep(40) .. 'b', '')", "takes too long"),
        (
            "local s = ('a'):rep(99) while true do pcall(s.match, s, ('a?'):rep(99) .. 'b') end",
            "takes too long",
        ),
        ("local s = ('a'):rep(1 << 14) s:gsub('', s)", "memory"),
        ("string.rep('', math.maxinteger)", "takes too long"),
        ("table.move({}, 1, math.maxinteger - 1, 1)", "takes too long"),
        (
            "local t = setmetatable({}, {__len = function() return math.maxinteger - 1 end})
             table.insert(t, 1, 1)",
            "takes too long",
        ),
        ("local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end", "memory"),
        ("local function f() return f() + 1 end f()", "memory"),
        (
            "local f = io.open('/x', 'w') while true do assert(f:write(('x'):rep(1 << 20))) end",
            "large",
        ),
        (
            "local x, n = ('x'):rep(1 << 20), 0
          while true do n = n + 1 posix.setenv('V' .. n, x) end",
            "64 MiB",
        ),
        (
            "local x, n = ('x'):rep(1 << 20), 0
          while true do n = n + 1 rpm.define('m' .. n .. ' ' .. x) end",
            "64 MiB",
        ),
        (
            "local x, all = ('x'):rep(1 << 20), {}
          while true do all[#all + 1] = rpm.ver('1', x, '1') end",
            "64 MiB",
        ),
        (
            "local x, n = ('x'):rep(1 << 20), 0
          while true do n = n + 1 local f = io.open('/x' .. n, 'w') f:write(x) f:close() end",
            "64 MiB",
        ),
        (
            "local f = io.open('/x', 'w') f:write(('x'):rep(1 << 23)) f:close()
          local all = {} for at = 1, 9 do all[at] = io.open('/x') end",
            "64 MiB",
        ),
        ("local n = 0 while true do n = n + 1 posix.mkdir('/d' .. n) end", "64 MiB"),
        (
            "local x, n = ('x'):rep(1 << 20), 0
          while true do n = n + 1 posix.symlink(x, '/l' .. n) end",
            "64 MiB",
        ),
        (
            "for n = 1, 5000 do posix.mkdir('/d' .. n) end
          local all = {} while true do all[#all + 1] = posix.files('/') end",
            "64 MiB",
        ),
    ];
    for (text, expected) in cases {
        // What a script did before a limit ended it does not count.
        let text = match expected {
            "large" => text.to_owned(),
            _ => format!("posix.mkdir('/never') {text}"),
        };
        match run_on(&mut tree, &text) {
            Err(LuaError::Failed { message, .. }) => {
                assert!(message.contains(expected), "{text}: {message}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(tree.get("/never").is_none());
}

/// What ours and Lua's own make of the same calls.
#[test]
fn patterns_are_lua_s() {
    let calls = r##"
        local f, log = ..., {}
        local function try(name, ...)
            local got = table.pack(pcall(f[name], ...))
            for at = 1, got.n do got[at] = tostring(got[at]) end
            log[#log + 1] = name .. " " .. tostring((...)) .. " " .. tostring((select(2, nil, ...)))
                .. " " .. tostring((select(3, nil, ...))) .. ": " .. table.concat(got, "|")
        end
        local patterns = {"", "a", "^a", "a$", "^$", "%a+", "(%w+)%s*=%s*(.-)$", "()", "(a*(.)%w(%s*))",
            "%b()", "%f[%w]%w+", "%f[%A]", "[^%s]+", "[]]", "[^]]", "[a-c-]*", "[%a_][%w_]*", "(.)%1",
            "x?y?", "a-b", ".-b", "(a", "a)", "%", "[a", "[%", "%f", "%b", "%bx", "%9", "(()", "%z",
            "$", "^", "a$b", "^^a", "%%", "%.", "[a%]", "[]", "((((a))))", "%u%l", "%S+$", "%x%X", "%G",
            "%c", "%p", "(a?)(b?)", "\0", "[\0-\31]", "[z-a]", "(.-)%-(%d+)", ("(a)"):rep(33), "+", "*a"}
        local subjects = {"", "a", "aab", "key = some value", "f(a(b)c)d", "THE (quick) fox", "x\0y\n", "]", "a-b_c9", "foo-1.2-3", "AbCd", "aa bb cc"}
        for _, s in ipairs(subjects) do
            for _, p in ipairs(patterns) do
                for _, init in ipairs({1, 2, -1, 0, 99, -99}) do
                    try("find", s, p, init)
                    try("match", s, p, init)
                end
                try("find", s, p, 1, true)
                try("gsub", s, p, "<%0>")
                try("gsub", s, p, "%1%%%2")
                try("gsub", s, p, "x", 2)
                try("gsub", s, p, {a = "A", key = false, f = 1, quick = 1.5})
                try("gsub", s, p, function(...) if select("#", ...) > 1 then return (select(2, ...)) end end)
                local each = {}
                local ok, message = pcall(function()
                    for one, other in f.gmatch(s, p) do
                        each[#each + 1] = tostring(one) .. "," .. tostring(other)
                    end
                end)
                log[#log + 1] = table.concat(each, ";") .. tostring(message)
            end
        end
        try("find") try("find", 1) try("find", nil, "a") try("find", "a", "a", "x") try("match", 12, 1)
        try("gsub", "a", "a") try("gsub", "a", "a", true) try("gsub", "a", "a", "%x")
        try("gsub", "a", "a", function() return {} end) try("gsub", "a", "a", "b", 0)
        try("gsub", "a", "a", "b", -1) try("gsub", "abc", "%w", "%0%0", 2) try("gmatch", "a")
        try("gsub", "hello world", "%w+", "%%%0") try("gsub", "a", ".", 7)
        return table.concat(log, "\n")"##;
    let lua = Lua::new();
    let run = |lua: &Lua| -> String {
        let string: Table = lua.globals().get("string").unwrap();
        let found = lua.load(calls).set_name("=<lua>").call::<mlua::LuaString>(string).unwrap();
        String::from_utf8_lossy(&found.as_bytes()).into_owned()
    };
    let theirs = run(&lua);
    let budget = Rc::new(Budget::new(MAX_INSTRUCTIONS));
    strings::replace(&lua, &lua.globals().get("string").unwrap(), &budget).unwrap();
    catching(&lua).unwrap();
    let ours = run(&lua);
    assert!(theirs.lines().count() > 5000);
    // Where in the script a mistake was, and by what name the function was
    // called, is another text.
    let same = |line: &str| {
        let line = line.replace("<lua>:5: ", "");
        match line.split_once(" to '") {
            Some((before, name)) => {
                let after = name.split_once('\'').map_or("", |(_, after)| after);
                format!("{before}{after}")
            }
            None => line,
        }
    };
    assert_eq!(ours.lines().count(), theirs.lines().count());
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(same(ours), same(theirs));
    }
}

#[test]
fn files_of_a_trigger_and_forgotten_files() {
    let mut tree = small();
    let program = ["<lua>".to_owned(), "-x".to_owned()];
    let arguments = ["2".to_owned(), "1".to_owned()];
    let text = "local f = rpm.next_file() while f do print(f) f = rpm.next_file() end
        print(arg[2], arg[3] + 1, arg[4] + 1)
        forgotten = io.open('/forgotten', 'w') forgotten:write('kept')";
    let call = Call { program: &program, text, arguments: &arguments, stdin: b"/a\n/b\n" };
    assert_eq!(run(&mut tree, &call).unwrap().output, "/a\n/b\n-x\t3\t2\n");
    assert_eq!(tree.read("/forgotten", 9).unwrap(), b"kept");
}

#[test]
fn a_large_tree_costs_little() {
    let mut tree = small();
    for number in 0..10_000 {
        let path = TreePath::new(&format!("/opt/{}/file{number}", number % 97)).unwrap();
        tree.write(&path, 0o644, Vec::new()).unwrap();
    }
    let begun = std::time::Instant::now();
    prints(&mut tree, "posix.mkdir('/new') posix.symlink('x', '/y')");
    println!("a script on 10,000 files: {:?}", begun.elapsed());
    assert!(tree.get("/new").is_some() && tree.get("/opt/5/file5").is_some());
}

#[test]
fn what_is_closed_or_replaced_takes_no_memory() {
    let mut tree = small();
    let text = "local x = ('x'):rep(1 << 20)
        for n = 1, 200 do
            local f = io.open('/x', 'w') f:write(x) f:close()
            f = io.open('/x') f:close()
            posix.setenv('V', x) rpm.define('m ' .. x)
        end print(posix.getenv('V') == x)";
    assert_eq!(prints(&mut tree, text), "true\n");
}

#[test]
fn globs() {
    let mut tree = small();
    let text = r#"print(table.concat(rpm.glob("/usr/lib/*.so"), " "), #rpm.glob("/none*"))
        print(table.concat(rpm.glob("/*/l*"), " "), rpm.glob("/none*", "c")[1])"#;
    let expected =
        "/usr/lib/a.so /usr/lib/b.so\t0\n/etc/list /srv/link /srv/loop /usr/lib\t/none*\n";
    assert_eq!(prints(&mut tree, text), expected);
}
