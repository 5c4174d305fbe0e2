//! Lua's `io` library on a tree, with the script's input and output as
//! `io.stdin`, `io.stdout` and `io.stderr`.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{
    AnyUserData, Error, Function, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods,
    Value, Variadic,
};

use super::errno::Errno;
use super::open_file::{Kind, Mode, OpenFile};
use super::state::Host;

/// Programs, and temporary files without a name.
const REFUSED: [&str; 4] = ["input", "output", "popen", "tmpfile"];

/// A file as scripts hold it.
#[derive(Clone)]
struct Handle {
    file: Rc<RefCell<OpenFile>>,
    host: Host,
}

/// Makes the library.
pub fn table(lua: &Lua, host: &Host) -> mlua::Result<Table> {
    let io = lua.create_table()?;
    host.refuse(lua, &io, "io", &REFUSED)?;
    let (input, memory) = host.with(|state| (state.input.to_vec(), state.memory.clone()))?;
    let stream = |kind, bytes| Handle {
        file: Rc::new(RefCell::new(OpenFile::stream(kind, bytes, &memory))),
        host: host.clone(),
    };
    let input = lua.create_userdata(stream(Kind::Input, input))?;
    let output = lua.create_userdata(stream(Kind::Output, Vec::new()))?;
    io.set("stdin", &input)?;
    io.set("stdout", &output)?;
    io.set("stderr", stream(Kind::Output, Vec::new()))?;
    let to = output.clone();
    let write = move |lua: &Lua, pieces: Variadic<Value>| write(lua, &to, &pieces);
    io.set("write", lua.create_function(write)?)?;
    let from = input.clone();
    let read = move |lua: &Lua, formats: Variadic<Value>| borrow(&from)?.read(lua, &formats);
    io.set("read", lua.create_function(read)?)?;
    let the = host.clone();
    let open = move |lua: &Lua, (path, mode): (String, Option<String>)| {
        let mode = Mode::parse(mode.as_deref().unwrap_or("r"))
            .ok_or_else(|| Error::runtime("bad argument #2 to 'open' (invalid mode)"))?;
        match open(&the, &path, mode)? {
            Ok(handle) => handle.into_lua_multi(lua),
            Err(errno) => failed(lua, errno, Some(&path)),
        }
    };
    io.set("open", lua.create_function(open)?)?;
    let the = host.clone();
    let lines = move |lua: &Lua, (path, formats): (Option<String>, Variadic<Value>)| {
        let Some(path) = path else {
            return lines(lua, borrow(&input)?, formats, false);
        };
        let mode = Mode::parse("r").ok_or_else(|| Error::runtime("no mode"))?;
        let text =
            |errno: Errno| Error::runtime(format!("cannot open file '{path}' ({})", errno.text()));
        lines(lua, self::open(&the, &path, mode)?.map_err(text)?, formats, true)
    };
    io.set("lines", lua.create_function(lines)?)?;
    let close = |lua: &Lua, file: Option<AnyUserData>| match file {
        Some(file) => borrow(&file)?.close(lua),
        None => true.into_lua_multi(lua),
    };
    io.set("close", lua.create_function(close)?)?;
    let kind = |_: &Lua, value: Value| {
        let file = value.as_userdata().and_then(|file| borrow(file).ok());
        Ok(file.map(|file| if file.file.borrow().closed { "closed file" } else { "file" }))
    };
    io.set("type", lua.create_function(kind)?)?;
    Ok(io)
}

/// `posix.mkstemp`: a new file whose name ends in letters that tell it from
/// others, the same each time the script runs.
pub fn make_temporary(lua: &Lua, host: &Host) -> mlua::Result<Function> {
    let host = host.clone();
    lua.create_function(move |lua, template: String| {
        let Some(stem) = template.strip_suffix("XXXXXX") else {
            return failed(lua, Errno::Invalid, Some(&template));
        };
        let path = temporary_name(&host, stem)?;
        let mode = Mode::parse("a+").ok_or_else(|| Error::runtime("no mode"))?;
        match open(&host, &path, mode)? {
            Ok(handle) => {
                // mkstemp(3) makes files that are nobody else's business
                let _ = host.with(|state| state.files.change_mode(&path, 0o600))?;
                (handle, path).into_lua_multi(lua)
            }
            Err(errno) => failed(lua, errno, Some(&path)),
        }
    })
}

/// A name that nothing has yet.
pub fn temporary_name(host: &Host, stem: &str) -> mlua::Result<String> {
    host.with(|state| {
        loop {
            state.temporary += 1;
            let path = format!("{stem}{:06}", state.temporary);
            if state.files.locate(&path).is_err() {
                return path;
            }
        }
    })
}

fn open(host: &Host, path: &str, mode: Mode) -> mlua::Result<Result<Handle, Errno>> {
    host.with(|state| {
        // what other files have in hand may be what this one is to read
        state.flush_all();
        let file = match OpenFile::open(&mut state.files, path, mode) {
            Ok(file) => Rc::new(RefCell::new(file)),
            Err(errno) => {
                state.errno = Some(errno);
                return Ok(Err(errno));
            }
        };
        state.opened(&file)?;
        Ok(Ok(Handle { file, host: host.clone() }))
    })?
}

fn borrow(file: &AnyUserData) -> mlua::Result<Handle> {
    Ok(file.borrow::<Handle>()?.clone())
}

/// What the `io` and `os` libraries return for a failure.
pub fn failed(lua: &Lua, errno: Errno, path: Option<&str>) -> mlua::Result<MultiValue> {
    let text = match path {
        Some(path) => format!("{path}: {}", errno.text()),
        None => errno.text().to_owned(),
    };
    (Value::Nil, text, i64::from(errno.number())).into_lua_multi(lua)
}

fn write(lua: &Lua, file: &AnyUserData, pieces: &[Value]) -> mlua::Result<MultiValue> {
    let handle = borrow(file)?;
    handle.check()?;
    for piece in pieces {
        let text = match piece {
            Value::String(_) | Value::Integer(_) | Value::Number(_) => {
                lua.coerce_string(piece.clone())?
            }
            _ => None,
        };
        let text = text.ok_or_else(|| {
            Error::runtime(format!(
                "bad argument to 'write' (string expected, got {})",
                piece.type_name()
            ))
        })?;
        let bytes = text.as_bytes();
        if handle.file.borrow().kind == Kind::Output {
            handle.host.with(|state| state.print(&bytes))?;
        } else if let Err(errno) = handle.file.borrow_mut().write(&bytes) {
            return failed(lua, errno, None);
        }
    }
    file.clone().into_lua_multi(lua)
}

fn lines(
    lua: &Lua,
    handle: Handle,
    formats: Variadic<Value>,
    close: bool,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, _: MultiValue| {
        let found = handle.read(lua, &formats)?;
        if close && found.front().is_none_or(Value::is_nil) {
            handle.close(lua)?;
        }
        Ok(found)
    })
}

impl Handle {
    fn check(&self) -> mlua::Result<()> {
        match self.file.borrow().closed {
            true => Err(Error::runtime("attempt to use a closed file")),
            false => Ok(()),
        }
    }

    fn flush(&self) -> mlua::Result<()> {
        self.host.with(|state| self.file.borrow_mut().flush(&mut state.files))
    }

    fn close(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        self.check()?;
        self.host.with(|state| self.file.borrow_mut().close(&mut state.files))?;
        true.into_lua_multi(lua)
    }

    fn read(&self, lua: &Lua, formats: &[Value]) -> mlua::Result<MultiValue> {
        self.check()?;
        if !self.file.borrow().readable() {
            return failed(lua, Errno::BadDescriptor, None);
        }
        let line = [Value::String(lua.create_string("l")?)];
        let formats = if formats.is_empty() { &line } else { formats };
        let mut found = MultiValue::new();
        for format in formats {
            let one = self.read_one(lua, format)?;
            let end = one.is_nil();
            found.push_back(one);
            if end {
                break;
            }
        }
        Ok(found)
    }

    fn read_one(&self, lua: &Lua, format: &Value) -> mlua::Result<Value> {
        let mut file = self.file.borrow_mut();
        let rest = file.rest();
        let wrong = || Error::runtime("bad argument to 'read' (invalid format)");
        let (take, keep) = match format {
            Value::Integer(count) => {
                let count = usize::try_from(*count).map_err(|_| wrong())?.min(rest.len());
                if rest.is_empty() {
                    return Ok(Value::Nil);
                }
                (count, count)
            }
            Value::String(text) => {
                let text = text.to_string_lossy();
                match text.strip_prefix('*').unwrap_or(&text).chars().next() {
                    Some('a') => (rest.len(), rest.len()),
                    Some('l' | 'L') if rest.is_empty() => return Ok(Value::Nil),
                    Some(kind @ ('l' | 'L')) => {
                        let end = rest.iter().position(|byte| *byte == b'\n');
                        let whole = end.map_or(rest.len(), |end| end + 1);
                        (whole, if kind == 'L' { whole } else { end.unwrap_or(whole) })
                    }
                    Some('n') => return number(lua, &mut file),
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        };
        let found = lua.create_string(rest.get(..keep).unwrap_or_default())?;
        file.skip(take);
        Ok(Value::String(found))
    }
}

/// The number that comes next, of at most 200 characters as in Lua.
fn number(lua: &Lua, file: &mut OpenFile) -> mlua::Result<Value> {
    let blank = file.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    file.skip(blank);
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let text: Vec<u8> = file.rest().iter().take(200).take_while(part).copied().collect();
    file.skip(text.len());
    let text = Value::String(lua.create_string(&text)?);
    if let Some(whole) = lua.coerce_integer(text.clone())? {
        return Ok(Value::Integer(whole));
    }
    Ok(lua.coerce_number(text)?.map_or(Value::Nil, Value::Number))
}

impl UserData for Handle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_function("write", |lua, (file, pieces): (AnyUserData, Variadic<Value>)| {
            write(lua, &file, &pieces)
        });
        methods.add_method("read", |lua, this, formats: Variadic<Value>| this.read(lua, &formats));
        methods.add_method("lines", |lua, this, formats: Variadic<Value>| {
            this.check()?;
            lines(lua, this.clone(), formats, false)
        });
        methods.add_method("close", |lua, this, ()| this.close(lua));
        methods.add_function("flush", |_, file: AnyUserData| {
            let handle = borrow(&file)?;
            handle.check()?;
            handle.flush()?;
            Ok(file)
        });
        methods.add_method("seek", |lua, this, (whence, offset): (Option<String>, Option<i64>)| {
            this.check()?;
            let whence = whence.unwrap_or_else(|| "cur".to_owned());
            if !["set", "cur", "end"].contains(&whence.as_str()) {
                return Err(Error::runtime(format!(
                    "bad argument #1 to 'seek' (invalid option '{whence}')"
                )));
            }
            match this.file.borrow_mut().seek(&whence, offset.unwrap_or(0)) {
                Ok(position) => position.into_lua_multi(lua),
                Err(errno) => failed(lua, errno, None),
            }
        });
        methods.add_method("setvbuf", |_, _, _: Variadic<Value>| Ok(true));
        methods.add_meta_method("__tostring", |_, this, ()| {
            Ok(if this.file.borrow().closed { "file (closed)" } else { "file" })
        });
    }
}
