//! `posix.getpasswd` and `posix.getgroup`, and names of owners: from the tree's
//! own `/etc/passwd` and `/etc/group`, as after chroot.

use mlua::{Error, Function, Lua, MultiValue, Value};

use super::posix::{Field, select};
use super::state::{Host, State};

/// Files larger than this are none of the two.
const MAX_BYTES: u64 = 4 << 20;

/// Lines of one of the two files, by their fields.
fn lines(state: &State, path: &str) -> Vec<Vec<String>> {
    let bytes = state.files.tree.read(path, MAX_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// The line of that name or number; the third field is the number.
fn find(state: &State, path: &str, wanted: &Value) -> mlua::Result<Option<Vec<String>>> {
    let wanted = match wanted {
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => super::posix::whole(*number).to_string(),
        Value::String(text) => text.to_string_lossy(),
        _ => return Err(Error::runtime("bad argument #1 (string or number expected)")),
    };
    let number: Option<u32> = wanted.parse().ok();
    let column = if number.is_some() { 2 } else { 0 };
    Ok(lines(state, path).into_iter().find(|fields| fields.get(column) == Some(&wanted)))
}

fn id(state: &State, path: &str, wanted: &Value) -> mlua::Result<Option<u32>> {
    match wanted {
        Value::Nil => Ok(None),
        Value::Integer(number) => Ok(u32::try_from(*number).ok().filter(|id| *id != u32::MAX)),
        Value::Number(number) => Ok(u32::try_from(super::posix::whole(*number)).ok()),
        // rpm leaves the owner alone if there is none of the name
        _ => Ok(find(state, path, wanted)?.and_then(|fields| fields.get(2)?.parse().ok())),
    }
}

/// The number of a user given by name or number; none for "as it is".
pub fn user_id(state: &State, wanted: &Value) -> mlua::Result<Option<u32>> {
    id(state, "/etc/passwd", wanted)
}

/// The number of a group given by name or number; none for "as it is".
pub fn group_id(state: &State, wanted: &Value) -> mlua::Result<Option<u32>> {
    id(state, "/etc/group", wanted)
}

fn number(text: Option<&String>) -> f64 {
    text.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0).into()
}

/// `posix.getpasswd`
pub fn passwd(lua: &Lua, host: &Host) -> mlua::Result<Function> {
    let host = host.clone();
    lua.create_function(move |lua, (wanted, selector): (Value, Option<String>)| {
        let wanted = if wanted.is_nil() { Value::Integer(0) } else { wanted };
        let Some(fields) = host.with(|state| find(state, "/etc/passwd", &wanted))?? else {
            return Ok(MultiValue::from_iter([Value::Nil]));
        };
        let text = |at: usize| Field::Text(fields.get(at).cloned().unwrap_or_default());
        let all = vec![
            ("name", text(0)),
            ("uid", Field::Number(number(fields.get(2)))),
            ("gid", Field::Number(number(fields.get(3)))),
            ("dir", text(5)),
            ("shell", text(6)),
            ("gecos", text(4)),
            ("passwd", text(1)),
        ];
        select(lua, all, selector)
    })
}

/// `posix.getgroup`
pub fn group(lua: &Lua, host: &Host) -> mlua::Result<Function> {
    let host = host.clone();
    lua.create_function(move |lua, wanted: Value| {
        let Some(fields) = host.with(|state| find(state, "/etc/group", &wanted))?? else {
            return Ok(Value::Nil);
        };
        let members = fields.get(3).map(String::as_str).unwrap_or_default().split(',');
        let table = lua.create_sequence_from(members.filter(|member| !member.is_empty()))?;
        table.set("name", fields.first().map(String::as_str).unwrap_or_default())?;
        table.set("gid", number(fields.get(2)))?;
        Ok(Value::Table(table))
    })
}
