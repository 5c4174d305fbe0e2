//! What a running script shares among the functions it is given: the tree, what
//! it has printed, its environment, files that are open.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use mlua::{Error, IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::errno::Errno;
use super::files::Files;
use super::memory::{Held, Memory, Texts};
use super::open_file::OpenFile;

/// More output than this is forgotten, the beginning first.
const OUTPUT_BYTES: usize = 64 << 10;

/// Open files that a script may forget to close.
const MAX_OPEN: usize = 1024;

/// All of it.
pub struct State {
    pub files: Files,
    pub output: Vec<u8>,
    /// what the script asked for and does not get: it ends the script for good,
    /// whatever the script does about the error
    pub unsupported: Option<String>,
    pub environment: Texts,
    pub errno: Option<Errno>,
    /// standard input
    pub input: Rc<[u8]>,
    /// how much of it was handed out, line by line
    lines_read: usize,
    /// how many temporary names were given out
    pub temporary: u32,
    pub macros: Texts,
    pub memory: Memory,
    open: Vec<Weak<RefCell<OpenFile>>>,
}

impl State {
    pub fn new(files: Files, memory: &Memory, input: &[u8]) -> Self {
        let environment = crate::sandbox::environment(files.tree.default_mtime());
        Self {
            files,
            output: Vec::new(),
            unsupported: None,
            environment: Texts::new(memory, environment),
            errno: None,
            input: input.into(),
            lines_read: 0,
            temporary: 0,
            macros: Texts::new(memory, super::macros::standard()),
            memory: memory.clone(),
            open: Vec::new(),
        }
    }

    /// Seconds since 1970, always.
    pub fn now(&self) -> u64 {
        self.files.tree.default_mtime()
    }

    pub fn print(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        let over = self.output.len().saturating_sub(OUTPUT_BYTES);
        self.output.drain(..over);
    }

    /// The next line of standard input, without its end.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let rest = self.input.get(self.lines_read..).filter(|rest| !rest.is_empty())?;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest[..end.unwrap_or(rest.len())].to_vec();
        self.lines_read += end.map_or(rest.len(), |end| end + 1);
        Some(line)
    }

    /// Remembers an open file, so that nothing written to it is lost.
    pub fn opened(&mut self, file: &Rc<RefCell<OpenFile>>) -> mlua::Result<()> {
        self.open.retain(|one| one.strong_count() > 0);
        if self.open.len() >= MAX_OPEN {
            return Err(Error::runtime("too many open files"));
        }
        self.open.push(Rc::downgrade(file));
        Ok(())
    }

    /// Writes back what open files hold.
    pub fn flush_all(&mut self) {
        for file in std::mem::take(&mut self.open).iter().filter_map(Weak::upgrade) {
            if let Ok(mut file) = file.try_borrow_mut() {
                file.flush(&mut self.files);
            }
            self.open.push(Rc::downgrade(&file));
        }
    }
}

/// The state as functions hold it.
#[derive(Clone)]
pub struct Host(pub Rc<RefCell<State>>);

impl Host {
    /// Calls `with` with the state. No function keeps it longer than that.
    pub fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> mlua::Result<T> {
        let mut state =
            self.0.try_borrow_mut().map_err(|_| Error::runtime("called within a call"))?;
        Ok(with(&mut state))
    }

    /// Holds so many bytes of the script's memory.
    pub fn hold(&self, bytes: usize) -> mlua::Result<Held> {
        let held = self.with(|state| state.memory.take(bytes))?;
        held.ok_or_else(|| Error::runtime(super::TOO_MUCH))
    }

    /// Ends the script: what it asks for is not to be had.
    pub fn unsupported<T>(&self, what: &str) -> mlua::Result<T> {
        self.with(|state| state.unsupported.get_or_insert_with(|| what.to_owned()).clone())
            .and_then(|what| Err(Error::runtime(format!("{what} is not supported"))))
    }

    /// Puts a function that only says that it is not supported.
    pub fn refuse(
        &self,
        lua: &Lua,
        table: &Table,
        prefix: &str,
        names: &[&str],
    ) -> mlua::Result<()> {
        for name in names {
            let (host, what) = (self.clone(), format!("{prefix}.{name}"));
            let refuse = move |_: &Lua, _: MultiValue| host.unsupported::<()>(&what);
            table.set(*name, lua.create_function(refuse)?)?;
        }
        Ok(())
    }

    /// What a call of the `posix` table returns: a number, or nothing, the
    /// reason and its number.
    pub fn result<T: IntoLuaMulti>(
        &self,
        lua: &Lua,
        result: Result<T, Errno>,
        info: Option<&str>,
    ) -> mlua::Result<MultiValue> {
        match result {
            Ok(value) => value.into_lua_multi(lua),
            Err(errno) => {
                self.with(|state| state.errno = Some(errno))?;
                let text = match info {
                    Some(info) => format!("{info}: {}", errno.text()),
                    None => errno.text().to_owned(),
                };
                (Value::Nil, text, f64::from(errno.number())).into_lua_multi(lua)
            }
        }
    }
}

/// Success, as the `posix` table says it: rpm gives numbers with a fraction.
pub const DONE: f64 = 0.0;
