//! Lua's `os` library: names on a tree, and a clock that stands still.

use mlua::{Error, Function, IntoLuaMulti, Lua, Table, Value, Variadic};

use super::io::{failed, temporary_name};
use super::open_file::{Mode, OpenFile};
use super::state::Host;

/// What starts or ends programs.
const REFUSED: [&str; 2] = ["execute", "exit"];

/// Makes the library, of Lua's own `os.date` and our functions.
pub fn table(lua: &Lua, host: &Host, date: Function) -> mlua::Result<Table> {
    let os = lua.create_table()?;
    host.refuse(lua, &os, "os", &REFUSED)?;
    let the = host.clone();
    let remove = move |lua: &Lua, path: String| {
        let removed = the.with(|state| {
            // remove(3)
            let files = &mut state.files;
            let directory =
                files.locate(&path).is_ok_and(|id| files.tree.inode(id).node.is_directory());
            if directory { files.remove_directory(&path) } else { files.unlink(&path) }
        })?;
        match removed {
            Ok(()) => true.into_lua_multi(lua),
            Err(errno) => failed(lua, errno, Some(&path)),
        }
    };
    os.set("remove", lua.create_function(remove)?)?;
    let the = host.clone();
    let rename = move |lua: &Lua, (from, to): (String, String)| match the
        .with(|state| state.files.rename(&from, &to))?
    {
        Ok(()) => true.into_lua_multi(lua),
        Err(errno) => failed(lua, errno, None),
    };
    os.set("rename", lua.create_function(rename)?)?;
    let the = host.clone();
    let temporary = move |_: &Lua, ()| {
        let path = temporary_name(&the, "/tmp/lua_")?;
        let mode = Mode::parse("a").ok_or_else(|| Error::runtime("no mode"))?;
        let made = the.with(|state| OpenFile::open(&mut state.files, &path, mode))?;
        made.map_err(|_| Error::runtime("unable to generate a unique filename"))?;
        Ok(path)
    };
    os.set("tmpname", lua.create_function(temporary)?)?;
    let the = host.clone();
    let get =
        move |_: &Lua, name: String| the.with(|state| state.environment.all().get(&name).cloned());
    os.set("getenv", lua.create_function(get)?)?;
    os.set("clock", lua.create_function(|_, ()| Ok(0.0))?)?;
    os.set("difftime", lua.create_function(|_, (a, b): (f64, f64)| Ok(a - b))?)?;
    let locale = |_: &Lua, (wanted, _): (Option<String>, Option<String>)| {
        let known = wanted.is_none_or(|name| matches!(name.as_str(), "" | "C" | "POSIX"));
        Ok(known.then_some("C"))
    };
    os.set("setlocale", lua.create_function(locale)?)?;
    time(lua, host, date, &os)?;
    Ok(os)
}

fn time(lua: &Lua, host: &Host, date: Function, os: &Table) -> mlua::Result<()> {
    let now = i64::try_from(host.with(|state| state.now())?).unwrap_or(0);
    let text = move |_: &Lua, (format, time): (Option<String>, Option<i64>)| {
        let format = format.unwrap_or_else(|| "%c".to_owned());
        let format = format.strip_prefix('!').unwrap_or(&format);
        // `!` is UTC: the machine's own zone is nobody's business
        date.call::<Value>((format!("!{format}"), time.unwrap_or(now)))
    };
    os.set("date", lua.create_function(text)?)?;
    let seconds = move |_: &Lua, fields: Variadic<Value>| match fields.first() {
        None | Some(Value::Nil) => Ok(now),
        Some(Value::Table(fields)) => from_fields(fields),
        Some(_) => Err(Error::runtime("bad argument #1 to 'time' (table expected)")),
    };
    os.set("time", lua.create_function(seconds)?)
}

fn from_fields(fields: &Table) -> mlua::Result<i64> {
    let field = |name: &str, default: Option<i64>| -> mlua::Result<i64> {
        let value: Option<i64> = fields.get(name)?;
        let value = value.or(default);
        value
            .filter(|value| value.unsigned_abs() < 1 << 31)
            .ok_or_else(|| Error::runtime(format!("field '{name}' missing or out of bounds")))
    };
    let (year, month, day) = (field("year", None)?, field("month", None)?, field("day", None)?);
    let (hour, minute) = (field("hour", Some(12))?, field("min", Some(0))?);
    let second = field("sec", Some(0))?;
    let days = days_from_civil(year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    Ok((((days + day - 1) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01 to the first of a month in the Gregorian calendar,
/// whose years are counted from March here, so that the leap day comes last.
fn days_from_civil(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::days_from_civil;

    #[test]
    fn days() {
        // date -u -d DATE +%s, divided by 86400
        let cases = [((1970, 1), 0), ((2000, 3), 11_017), ((2024, 2), 19_754), ((1969, 12), -31)];
        for ((year, month), days) in cases {
            assert_eq!(days_from_civil(year, month), days, "{year}-{month}");
        }
    }
}
