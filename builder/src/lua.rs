//! `<lua>` install scripts, run by Lua 5.4 on a [`Tree`].
//!
//! rpm runs them in its own process, after chroot, with tables `posix` and
//! `rpm` of its own. Here every function that touches a file touches the tree
//! instead: a script has no way to the machine it runs on, and no clock. What
//! cannot be had so (other programs, rpm's hooks) ends it as not supported.
//! Time and memory are limited, and a script that does not come to its end
//! leaves the tree as it was.
//!
//! What is the same as in rpm is judged by rpm itself, in the tests.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{
    Function, HookTriggers, IntoLuaMulti, Lua, LuaOptions, MultiValue, StdLib, Table, Value,
    Variadic, VmState,
};

use crate::sandbox::Call;
use crate::tree::Tree;
use files::Files;
use memory::Memory;
use pattern::Budget;
use state::{Host, State};

mod accounts;
mod errno;
mod files;
mod glob;
mod io;
mod lengths;
mod macros;
mod memory;
mod mode;
mod open_file;
mod os;
mod pattern;
mod posix;
mod rpm;
mod state;
mod strings;
#[cfg(test)]
mod tests;

/// Instructions, and steps of matching patterns, that a script may take: a
/// second or so. Tests, which are not optimised, take as long with fewer.
const MAX_INSTRUCTIONS: u64 = if cfg!(test) { 20_000_000 } else { 200_000_000 };
/// How often they are counted.
const COUNT_EVERY: u32 = 10_000;

/// How long it may take beyond that: one instruction can copy 64 MiB.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Memory that Lua may take, in bytes; see [`memory`] for what is not its own.
const MAX_MEMORY: usize = 64 << 20;

/// What scripts are called in messages.
const SCRIPT: &str = "<lua>";

/// Lua's own functions that reach out, or let a script load what is no text.
const REMOVED: [&str; 1] = ["collectgarbage"];

/// A script that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LuaRan {
    /// The end of what it printed.
    pub output: String,
}

/// Why a script has not done all it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LuaError {
    /// It asks for something that is not to be had.
    #[error("{0} is not supported in a <lua> script")]
    Unsupported(String),
    /// It has a mistake, or reports one.
    #[error("the <lua> script failed: {message}")]
    Failed {
        /// The error, with the line.
        message: String,
        /// The end of what it printed before.
        output: String,
    },
}

/// Runs a script as rpm 4.18 would. The words of `call.program` and the
/// arguments are its `arg`; `rpm.next_file` gives the lines of `call.stdin`.
///
/// # Errors
/// If it fails: the tree then has what it did before, as with rpm. If it wants
/// what is not supported or has to be ended, the tree is unchanged.
pub fn run(tree: &mut Tree, call: &Call<'_>) -> Result<LuaRan, LuaError> {
    let memory = Memory::new(memory::MAX_BYTES);
    let state = State::new(Files::new(tree.clone(), &memory), &memory, call.stdin);
    let host = Host(Rc::new(RefCell::new(state)));
    let result = execute(&host, &memory, call);
    let mut state = host.0.try_borrow_mut().map_err(|_| LuaError::Failed {
        message: "it is still running".to_owned(),
        output: String::new(),
    })?;
    let output = String::from_utf8_lossy(&state.output).into_owned();
    if let Some(what) = state.unsupported.take() {
        return Err(LuaError::Unsupported(what));
    }
    let message = match memory.exceeded() {
        true => Some(TOO_MUCH.to_owned()),
        false => result.err().map(|error| message(&error)),
    };
    if !message.as_ref().is_some_and(|text| was_ended(text)) {
        *tree = std::mem::replace(&mut state.files.tree, Tree::new(0));
    }
    match message {
        None => Ok(LuaRan { output }),
        Some(message) => Err(LuaError::Failed { message, output }),
    }
}

/// The error's first line: what follows is Lua's and our own stack. An error of
/// our functions gets the line of the script that called them, as rpm's do.
fn message(error: &mlua::Error) -> String {
    let text = match error {
        mlua::Error::CallbackError { cause, traceback } => {
            let text = message(cause);
            return match calling_line(traceback) {
                Some(line) if !text.starts_with(SCRIPT) => format!("{line} {text}"),
                _ => text,
            };
        }
        mlua::Error::RuntimeError(text) => text.clone(),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// `<lua>:7:`, if the function that failed was called from the script.
fn calling_line(traceback: &str) -> Option<&str> {
    let callers = traceback.lines().map(str::trim).filter(|line| !line.ends_with(':'));
    let caller = callers.into_iter().find(|line| !line.starts_with("[C]"))?;
    let end = caller.strip_prefix(SCRIPT)?.strip_prefix(':')?.find(':')?;
    caller.get(..SCRIPT.len() + end + 2)
}

fn execute(host: &Host, memory: &Memory, call: &Call<'_>) -> mlua::Result<()> {
    let libraries = StdLib::COROUTINE
        | StdLib::TABLE
        | StdLib::STRING
        | StdLib::UTF8
        | StdLib::MATH
        | StdLib::OS;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    lua.set_memory_limit(MAX_MEMORY)?;
    let budget = Rc::new(Budget::new(MAX_INSTRUCTIONS));
    limit(&lua, budget.clone(), memory.clone())?;
    globals(&lua, host)?;
    strings::replace(&lua, &lua.globals().get("string")?, &budget)?;
    lengths::replace(&lua, &budget)?;
    let words = call.program.iter().chain(call.arguments).cloned();
    let arguments = lua.create_sequence_from(words)?;
    for position in 0..call.arguments.len() {
        // "Hack to convert arguments to numbers for backwards compat."
        let at = call.program.len() + position + 1;
        let number: Option<f64> = call.arguments.get(position).and_then(|text| text.parse().ok());
        #[expect(clippy::cast_possible_truncation, reason = "rpm's are counts of packages")]
        match number {
            Some(number) if number.fract() == 0.0 => arguments.set(at, number as i64)?,
            Some(number) => arguments.set(at, number)?,
            None => arguments.set(at, Value::Nil)?,
        }
    }
    // rpm puts this before the script in the same line, so lines stay right.
    let text = format!("local opt, arg = ...;{}", call.text);
    let chunk = lua.load(text).set_name("=<lua>").set_mode(mlua::chunk::ChunkMode::Text);
    let done = chunk.call::<MultiValue>((lua.create_table()?, arguments));
    host.with(|state| state.flush_all())?;
    done.map(drop)
}

/// Ends a script that takes too long or too much. After that every instruction ends it, so
/// that it cannot go on by catching the error.
fn limit(lua: &Lua, budget: Rc<Budget>, memory: Memory) -> mlua::Result<()> {
    let begun = Instant::now();
    let triggers = HookTriggers::new().every_nth_instruction(COUNT_EVERY);
    lua.set_global_hook(triggers, move |lua, _| {
        let left = budget.take(u64::from(COUNT_EVERY));
        if left && begun.elapsed() < TIME_LIMIT && !memory.exceeded() {
            return Ok(VmState::Continue);
        }
        let end = |_: &Lua, _: &mlua::debug::Debug| Err(too_long());
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), end)?;
        Err(too_long())
    })
}

/// What a script has as its last word that took too long.
const TOO_LONG: &str = "it takes too long";

/// What a script has that made its host hold too much.
const TOO_MUCH: &str =
    "not enough memory: its variables and what it reads and writes have more than 64 MiB";

fn too_long() -> mlua::Error {
    mlua::Error::runtime(TOO_LONG)
}

/// Whether a limit ended a script: how far it came then is a matter of ours.
fn was_ended(message: &str) -> bool {
    message.ends_with(TOO_LONG) || message.contains("not enough memory")
}

fn globals(lua: &Lua, host: &Host) -> mlua::Result<()> {
    let globals = lua.globals();
    let date: Function = globals.get::<Table>("os")?.get("date")?;
    globals.set("os", os::table(lua, host, date)?)?;
    globals.set("io", io::table(lua, host)?)?;
    globals.set("posix", posix::table(lua, host)?)?;
    globals.set("rpm", rpm::table(lua, host)?)?;
    host.refuse(lua, &globals, "Lua's own", &["require"])?;
    for name in REMOVED {
        globals.set(name, lua.create_function(|_, _: Variadic<Value>| Ok(0))?)?;
    }
    // bytecode can do what Lua's own checks never see
    globals.get::<Table>("string")?.set("dump", Value::Nil)?;
    loading(lua, host, &globals)?;
    catching(lua)?;
    let the = host.clone();
    let print = move |lua: &Lua, values: Variadic<Value>| {
        let to_text: Function = lua.globals().get("tostring")?;
        let mut line = Vec::new();
        for (position, value) in values.iter().enumerate() {
            if position > 0 {
                line.push(b'\t');
            }
            line.extend_from_slice(&to_text.call::<mlua::LuaString>(value)?.as_bytes());
        }
        line.push(b'\n');
        the.with(|state| state.print(&line))
    };
    globals.set("print", lua.create_function(print)?)?;
    random(lua)
}

/// `load`, `loadfile` and `dofile` for text, files being the tree's.
fn loading(lua: &Lua, host: &Host, globals: &Table) -> mlua::Result<()> {
    let the = host.clone();
    let read = move |lua: &Lua, path: String| {
        let bytes = the.with(|state| {
            state.flush_all();
            state.files.resolve(&path).and_then(|id| state.files.read(id))
        })?;
        match bytes {
            Ok(bytes) => (lua.create_string(bytes)?, Value::Nil).into_lua_multi(lua),
            Err(error) => {
                (Value::Nil, format!("cannot open {path}: {}", error.text())).into_lua_multi(lua)
            }
        }
    };
    let own = "local load, read = ...
        local function text(chunk, name, mode, ...) return load(chunk, name, 't', ...) end
        local function file(path, mode, ...)
            local chunk, message = read(path)
            if not chunk then return nil, message end
            return load(chunk, '@' .. path, 't', ...)
        end
        return text, file, function(path) return assert(file(path))() end";
    let load: Function = globals.get("load")?;
    let made = lua.load(own).set_name("=load");
    let (text, file, run) =
        made.call::<(Function, Function, Function)>((load, lua.create_function(read)?))?;
    globals.set("load", text)?;
    globals.set("loadfile", file)?;
    globals.set("dofile", run)
}

/// Errors of our functions are objects to Lua; a script that catches one is to
/// get a text, as rpm gives it.
fn catching(lua: &Lua) -> mlua::Result<()> {
    let text = |lua: &Lua, error: Value| match error {
        Value::Error(error) => lua.create_string(message(&error)).map(Value::String),
        other => Ok(other),
    };
    let own = "local pcall_, xpcall_, text = pcall, xpcall, ...
        local function plain(ok, ...)
            if ok then return ok, ... end
            return ok, text((...))
        end
        pcall = function(...) return plain(pcall_(...)) end
        xpcall = function(call, handler, ...)
            return xpcall_(call, function(error) return handler(text(error)) end, ...)
        end";
    lua.load(own).set_name("=pcall").call(lua.create_function(text)?)
}

/// Random numbers are the same in every run.
fn random(lua: &Lua) -> mlua::Result<()> {
    let own = "local seed = math.randomseed
        seed(42)
        math.randomseed = function(...) if select('#', ...) == 0 then seed(42) else seed(...) end end";
    lua.load(own).set_name("=random").exec()
}
