//! Functions of Lua that do as much as a number says, inside one call: the
//! number is taken from the script's budget first. They are Lua's own otherwise.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::pattern::Budget;

/// Short texts that are copied in the time of an instruction.
const COPIES_A_STEP: i64 = 16;

/// How much a call is going to do.
type Measure = fn(&Lua, &MultiValue) -> mlua::Result<i64>;

/// Puts them into the tables `string` and `table`.
pub fn replace(lua: &Lua, budget: &Rc<Budget>) -> mlua::Result<()> {
    let all: [(&str, &str, Measure); 5] = [
        ("string", "rep", |lua, call| Ok(number(lua, call, 1, 0)? / COPIES_A_STEP)),
        ("table", "move", |lua, call| between(number(lua, call, 1, 0)?, number(lua, call, 2, 0)?)),
        ("table", "concat", |lua, call| {
            between(number(lua, call, 2, 1)?, number(lua, call, 3, length(call)?)?)
        }),
        // Only a place in the middle has others moved.
        ("table", "insert", |lua, call| match call.len() {
            3 => between(number(lua, call, 1, 0)?, length(call)?),
            _ => Ok(1),
        }),
        ("table", "remove", |lua, call| match call.len() {
            2 => between(number(lua, call, 1, 0)?, length(call)?),
            _ => Ok(1),
        }),
    ];
    for (library, name, measure) in all {
        let library: Table = lua.globals().get(library)?;
        let (theirs, budget): (Function, _) = (library.get(name)?, budget.clone());
        let call = move |lua: &Lua, arguments: MultiValue| {
            let amount = u64::try_from(measure(lua, &arguments)?).unwrap_or(0);
            match budget.take(amount) {
                true => theirs.call::<MultiValue>(arguments),
                false => Err(super::too_long()),
            }
        };
        library.set(name, lua.create_function(call)?)?;
    }
    Ok(())
}

/// An argument, or `default`: what is none makes Lua complain.
fn number(lua: &Lua, call: &MultiValue, at: usize, default: i64) -> mlua::Result<i64> {
    let value = call.get(at).cloned().unwrap_or(Value::Nil);
    Ok(lua.coerce_integer(value)?.unwrap_or(default))
}

fn between(first: i64, last: i64) -> mlua::Result<i64> {
    Ok(last.saturating_sub(first).saturating_add(1))
}

/// As `#` has it, which a script can have a say in.
fn length(call: &MultiValue) -> mlua::Result<i64> {
    match call.front() {
        Some(Value::Table(table)) => table.len(),
        _ => Ok(0),
    }
}
