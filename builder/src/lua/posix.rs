//! rpm's `posix` table (`rpmio/lposix.c` of rpm 4.18) on a tree.

use mlua::{Error, Function, Lua, MultiValue, Table, Value, Variadic};

use super::accounts;
use super::errno::Errno;
use super::files::Files;
use super::mode;
use super::state::{DONE, Host, State};
use crate::tree::Node;

/// What a script sees as the machine.
const MACHINE: [(char, &str); 5] = [
    ('m', std::env::consts::ARCH),
    ('n', "localhost"),
    // some scripts refuse to go on with an old kernel
    ('r', "6.6.0"),
    ('s', "Linux"),
    ('v', "#1"),
];

/// Only what starts or ends processes, or needs a terminal.
const REFUSED: [&str; 7] = ["exec", "fork", "kill", "redirect2null", "setgid", "setuid", "wait"];

/// Makes the table.
pub fn table(lua: &Lua, host: &Host) -> mlua::Result<Table> {
    let posix = lua.create_table()?;
    posix.set("version", "posix library for Lua 5.4 / Nov 2003")?;
    host.refuse(lua, &posix, "posix", &REFUSED)?;
    one_path(lua, host, &posix)?;
    two_paths(lua, host, &posix)?;
    attributes(lua, host, &posix)?;
    directories(lua, host, &posix)?;
    environment(lua, host, &posix)?;
    process(lua, host, &posix)?;
    system(lua, host, &posix)?;
    posix.set("getpasswd", accounts::passwd(lua, host)?)?;
    posix.set("getgroup", accounts::group(lua, host)?)?;
    Ok(posix)
}

type OnePath = fn(&mut Files, &str) -> Result<(), Errno>;

fn one_path(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let calls: [(&str, OnePath); 5] = [
        ("mkdir", Files::make_directory),
        ("rmdir", Files::remove_directory),
        ("unlink", Files::unlink),
        ("mkfifo", Files::make_fifo),
        ("chdir", Files::change_directory),
    ];
    for (name, call) in calls {
        let host = host.clone();
        let function = move |lua: &Lua, path: String| {
            let done = host.with(|state| call(&mut state.files, &path))?;
            host.result(lua, done.map(|()| DONE), Some(&path))
        };
        posix.set(name, lua.create_function(function)?)?;
    }
    Ok(())
}

type TwoPaths = fn(&mut Files, &str, &str) -> Result<(), Errno>;

fn two_paths(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let calls: [(&str, TwoPaths); 2] = [("symlink", Files::symlink), ("link", Files::hard_link)];
    for (name, call) in calls {
        let host = host.clone();
        let function = move |lua: &Lua, (old, new): (String, String)| {
            let done = host.with(|state| call(&mut state.files, &old, &new))?;
            host.result(lua, done.map(|()| DONE), None)
        };
        posix.set(name, lua.create_function(function)?)?;
    }
    let host = host.clone();
    let read_link = move |lua: &Lua, path: String| {
        let target = host.with(|state| state.files.read_link(&path))?;
        host.result(lua, target, Some(&path))
    };
    posix.set("readlink", lua.create_function(read_link)?)
}

fn attributes(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let the = host.clone();
    let access = move |lua: &Lua, (path, wanted): (String, Option<String>)| {
        let wanted = wanted.unwrap_or_default();
        if let Some(other) = wanted.chars().find(|one| !" rwxf".contains(*one)) {
            let text = format!("bad argument #2 to 'access' (unknown mode option `{other}')");
            return Err(Error::runtime(text));
        }
        let may = the.with(|state| state.files.access(&path, wanted.contains('x')))?;
        the.result(lua, may.map(|()| DONE), Some(&path))
    };
    posix.set("access", lua.create_function(access)?)?;
    let the = host.clone();
    let chmod = move |lua: &Lua, (path, text): (String, String)| {
        let done = the.with(|state| change_mode(&mut state.files, &path, &text))??;
        the.result(lua, done.map(|()| DONE), Some(&path))
    };
    posix.set("chmod", lua.create_function(chmod)?)?;
    let the = host.clone();
    let chown = move |lua: &Lua, (path, user, group): (String, Value, Value)| {
        let done = the.with(|state| {
            let user = accounts::user_id(state, &user)?;
            let group = accounts::group_id(state, &group)?;
            Ok::<_, Error>(state.files.change_owner(&path, user, group))
        });
        the.result(lua, done??.map(|()| DONE), Some(&path))
    };
    posix.set("chown", lua.create_function(chown)?)?;
    let the = host.clone();
    let utime = move |lua: &Lua, (path, mtime): (String, Option<f64>)| {
        let done = the.with(|state| {
            let mtime = mtime.map_or(state.now(), whole);
            state.files.change_time(&path, mtime)
        })?;
        the.result(lua, done.map(|()| DONE), Some(&path))
    };
    posix.set("utime", lua.create_function(utime)?)?;
    let the = host.clone();
    let stat = move |lua: &Lua, (path, selector): (String, Option<String>)| {
        let found = the.with(|state| stat(state, &path))?;
        match found {
            Ok(found) => select(lua, found, selector),
            Err(errno) => the.result(lua, Err::<(), _>(errno), Some(&path)),
        }
    };
    posix.set("stat", lua.create_function(stat)?)
}

/// A number of seconds without its fraction; before 1970 is 1970.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub fn whole(seconds: f64) -> u64 {
    seconds as u64
}

fn change_mode(files: &mut Files, path: &str, text: &str) -> mlua::Result<Result<(), Errno>> {
    let id = match files.resolve(path) {
        Ok(id) => id,
        Err(errno) => return Ok(Err(errno)),
    };
    let old = files.tree.inode(id).meta.mode;
    let bad = || Error::runtime("bad argument #2 to 'chmod' (bad mode)");
    let mode = mode::change(old, text).ok_or_else(bad)?;
    Ok(files.change_mode(path, mode))
}

/// A field's name and value.
type Fields = Vec<(&'static str, Field)>;

/// What the tables of the `posix` table hold.
pub enum Field {
    Number(f64),
    Text(String),
}

/// Everything as a table, or one field that is asked for.
pub fn select(lua: &Lua, fields: Fields, selector: Option<String>) -> mlua::Result<MultiValue> {
    let value = |field: Field| match field {
        Field::Number(number) => Ok(Value::Number(number)),
        Field::Text(text) => lua.create_string(text).map(Value::String),
    };
    let Some(selector) = selector else {
        let table = lua.create_table()?;
        for (name, field) in fields {
            table.set(name, value(field)?)?;
        }
        return Ok(MultiValue::from_iter([Value::Table(table)]));
    };
    let found = fields.into_iter().find(|(name, _)| *name == selector);
    let unknown = || Error::runtime(format!("bad argument (invalid option '{selector}')"));
    Ok(MultiValue::from_iter([value(found.ok_or_else(unknown)?.1)?]))
}

fn stat(state: &State, path: &str) -> Result<Fields, Errno> {
    let files = &state.files;
    let id = files.locate(path)?;
    let inode = files.tree.inode(id);
    let (kind, bits, size) = match &inode.node {
        Node::Directory(_) => ("directory", 0o040_000, 4096),
        Node::File(content) => ("regular", 0o100_000, content.size_bytes()),
        Node::Symlink(target) => ("link", 0o120_000, target.len() as u64),
        Node::CharDevice(..) => ("character device", 0o020_000, 0),
        Node::BlockDevice(..) => ("block device", 0o060_000, 0),
        Node::Fifo => ("fifo", 0o010_000, 0),
    };
    let meta = &inode.meta;
    #[expect(clippy::cast_precision_loss, reason = "numbers of a script have 53 bits, as rpm's")]
    let (size, time, links, number) =
        (size as f64, meta.mtime as f64, files.links(id) as f64, id.number() as f64 + 1.0);
    Ok(vec![
        ("mode", Field::Text(mode::show(meta.mode))),
        ("ino", Field::Number(number)),
        ("dev", Field::Number(1.0)),
        ("nlink", Field::Number(links)),
        ("uid", Field::Number(meta.uid.into())),
        ("gid", Field::Number(meta.gid.into())),
        ("size", Field::Number(size)),
        ("atime", Field::Number(time)),
        ("mtime", Field::Number(time)),
        ("ctime", Field::Number(time)),
        ("type", Field::Text(kind.to_owned())),
        ("_mode", Field::Number(f64::from(bits | u32::from(meta.mode)))),
    ])
}

fn directories(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let the = host.clone();
    let dir = move |lua: &Lua, path: Option<String>| {
        let path = path.unwrap_or_else(|| ".".to_owned());
        let names = the.with(|state| state.files.names(&path))?;
        let table = names.map(|names| lua.create_sequence_from(names));
        match table {
            Ok(table) => the.result(lua, Ok(table?), Some(&path)),
            Err(errno) => the.result(lua, Err::<(), _>(errno), Some(&path)),
        }
    };
    posix.set("dir", lua.create_function(dir)?)?;
    let the = host.clone();
    let files = move |lua: &Lua, path: Option<String>| {
        let path = path.unwrap_or_else(|| ".".to_owned());
        match the.with(|state| state.files.names(&path))? {
            Ok(names) => the.result(lua, Ok(each(lua, &the, names)?), Some(&path)),
            Err(errno) => the.result(lua, Err::<(), _>(errno), Some(&path)),
        }
    };
    posix.set("files", lua.create_function(files)?)?;
    let the = host.clone();
    let current = move |_: &Lua, ()| the.with(|state| state.files.current().to_string());
    posix.set("getcwd", lua.create_function(current)?)
}

/// A function that gives one of `names` after the other, then nothing.
fn each(lua: &Lua, host: &Host, names: Vec<String>) -> mlua::Result<Function> {
    let bytes = names.iter().map(|name| name.len() + size_of::<String>()).sum();
    let held = host.hold(bytes)?;
    let names = std::cell::RefCell::new((names.into_iter(), held));
    lua.create_function(move |_, _: MultiValue| Ok(names.borrow_mut().0.next()))
}

fn environment(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let the = host.clone();
    let get = move |lua: &Lua, name: Option<String>| {
        the.with(|state| match (name, state.environment.all()) {
            (Some(name), all) => match all.get(&name) {
                Some(value) => lua.create_string(value).map(Value::String),
                None => Ok(Value::Nil),
            },
            (None, all) => {
                let all = all.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                lua.create_table_from(all).map(Value::Table)
            }
        })?
    };
    posix.set("getenv", lua.create_function(get)?)?;
    let the = host.clone();
    let set = move |_: &Lua, (name, value, over): (String, String, Option<bool>)| {
        the.with(|state| {
            if over.unwrap_or(true) || !state.environment.all().contains_key(&name) {
                state.environment.insert(name, value);
            }
            DONE
        })
    };
    posix.set("setenv", lua.create_function(set)?)?;
    let the = host.clone();
    let put = move |_: &Lua, text: String| {
        the.with(|state| {
            match text.split_once('=') {
                Some((name, value)) => state.environment.insert(name.to_owned(), value.to_owned()),
                None => state.environment.remove(&text),
            };
            DONE
        })
    };
    posix.set("putenv", lua.create_function(put)?)?;
    let the = host.clone();
    let unset = move |_: &Lua, name: String| the.with(|state| state.environment.remove(&name));
    posix.set("unsetenv", lua.create_function(unset)?)
}

fn process(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let the = host.clone();
    let umask = move |_: &Lua, text: Option<String>| {
        the.with(|state| {
            let mut allowed = !state.files.umask & 0o777;
            if let Some(text) = text {
                allowed = mode::change(allowed, &text)? & 0o777;
                state.files.umask = !allowed & 0o777;
            }
            Some(mode::show(allowed))
        })
    };
    posix.set("umask", lua.create_function(umask)?)?;
    let the = host.clone();
    let errno = move |_: &Lua, ()| {
        the.with(|state| match state.errno {
            Some(errno) => (errno.text(), f64::from(errno.number())),
            None => ("Success", 0.0),
        })
    };
    posix.set("errno", lua.create_function(errno)?)?;
    let ids = |lua: &Lua, selector: Option<String>| {
        let zeros = ["egid", "euid", "gid", "uid"].map(|name| (name, Field::Number(0.0)));
        let ones = ["pgrp", "pid", "ppid"].map(|name| (name, Field::Number(1.0)));
        select(lua, zeros.into_iter().chain(ones).collect(), selector)
    };
    posix.set("getprocessid", lua.create_function(ids)?)?;
    let times = |lua: &Lua, selector: Option<String>| {
        let names = ["utime", "stime", "cutime", "cstime", "elapsed"];
        select(lua, names.map(|name| (name, Field::Number(0.0))).into(), selector)
    };
    posix.set("times", lua.create_function(times)?)?;
    // Nothing happens meanwhile that could be waited for.
    posix.set("sleep", lua.create_function(|_, _: f64| Ok(DONE))?)?;
    let none = |_: &Lua, _: Variadic<Value>| Ok(Value::Nil);
    posix.set("getlogin", lua.create_function(none)?)?;
    posix.set("ttyname", lua.create_function(none)?)?;
    posix.set("ctermid", lua.create_function(|_, ()| Ok("/dev/tty"))?)
}

fn system(lua: &Lua, host: &Host, posix: &Table) -> mlua::Result<()> {
    let uname = |_: &Lua, format: Option<String>| {
        let format = format.unwrap_or_else(|| "%s %n %r %v %m".to_owned());
        let (mut text, mut letters) = (String::new(), format.chars());
        while let Some(letter) = letters.next() {
            let wanted = if letter == '%' { letters.next() } else { None };
            match wanted.map(|wanted| (wanted, MACHINE.iter().find(|(one, _)| *one == wanted))) {
                None => text.push(letter),
                Some(('%', _)) => text.push('%'),
                Some((_, Some((_, value)))) => text.push_str(value),
                Some((other, None)) => {
                    return Err(Error::runtime(format!("unknown format option `{other}'")));
                }
            }
        }
        Ok(text)
    };
    posix.set("uname", lua.create_function(uname)?)?;
    // Those of Linux with an ext4.
    let sysconf = |lua: &Lua, selector: Option<String>| {
        let values = [
            ("arg_max", 2_097_152.0),
            ("child_max", 63_000.0),
            ("clk_tck", 100.0),
            ("ngroups_max", 65_536.0),
            ("stream_max", 16.0),
            ("tzname_max", -1.0),
            ("open_max", 1024.0),
            ("job_control", 1.0),
            ("saved_ids", 1.0),
            ("version", 200_809.0),
        ];
        select(lua, values.map(|(name, value)| (name, Field::Number(value))).into(), selector)
    };
    posix.set("sysconf", lua.create_function(sysconf)?)?;
    let pathconf = |lua: &Lua, (_, selector): (String, Option<String>)| {
        let values = [
            ("link_max", 65_000.0),
            ("max_canon", 255.0),
            ("max_input", 255.0),
            ("name_max", 255.0),
            ("path_max", 4096.0),
            ("pipe_buf", 4096.0),
            ("chown_restricted", 1.0),
            ("no_trunc", 1.0),
            ("vdisable", 0.0),
        ];
        select(lua, values.map(|(name, value)| (name, Field::Number(value))).into(), selector)
    };
    posix.set("pathconf", lua.create_function(pathconf)?)?;
    posix.set("mkstemp", super::io::make_temporary(lua, host)?)
}
