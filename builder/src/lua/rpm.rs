//! rpm's `rpm` table (`rpmio/rpmlua.c` of rpm 4.18): versions, base 64, macros,
//! the files of a file trigger.

use std::cmp::Ordering;

use base64ct::{Base64, Encoding};
use mlua::{
    Error, IntoLuaMulti, Lua, LuaString, MetaMethod, MultiValue, Table, UserData, UserDataFields,
    UserDataMethods, UserDataRef, Value, Variadic,
};

use super::macros;
use super::memory::{ENTRY_BYTES, Held};
use super::state::Host;
use crate::evr::compare_versions;

/// What runs programs, hooks into rpm, or reads files as rpm's own.
const REFUSED: [&str; 11] = [
    "call",
    "execute",
    "exit",
    "interactive",
    "load",
    "open",
    "redirect2null",
    "register",
    "splitargs",
    "unregister",
    "unsplitargs",
];

/// Bytes of a line of base 64 unless told otherwise.
const LINE_BYTES: usize = 64;

/// Makes the table.
pub fn table(lua: &Lua, host: &Host) -> mlua::Result<Table> {
    let rpm = lua.create_table()?;
    host.refuse(lua, &rpm, "rpm", &REFUSED)?;
    versions(lua, host, &rpm)?;
    base64(lua, &rpm)?;
    macro_calls(lua, host, &rpm)?;
    let the = host.clone();
    let next = move |lua: &Lua, ()| {
        let line = the.with(|state| state.next_line())?;
        line.map(|line| lua.create_string(line)).transpose()
    };
    rpm.set("next_file", lua.create_function(next)?)?;
    let the = host.clone();
    let glob = move |lua: &Lua, (pattern, flags): (String, Option<String>)| {
        let found = the.with(|state| super::glob::find(&state.files, &pattern))?;
        let found = found.map_err(|error| Error::runtime(format!("{pattern}: {error}")))?;
        // as glob(3) with GLOB_NOCHECK
        let keep = found.is_empty() && flags.is_some_and(|flags| flags.contains('c'));
        lua.create_sequence_from(if keep { vec![pattern] } else { found })
    };
    rpm.set("glob", lua.create_function(glob)?)?;
    Ok(rpm)
}

fn macro_calls(lua: &Lua, host: &Host, rpm: &Table) -> mlua::Result<()> {
    let the = host.clone();
    let expand = move |_: &Lua, text: String| match the
        .with(|state| macros::expand(state.macros.all(), &text))?
    {
        Ok(expanded) => Ok(expanded),
        Err(part) => the.unsupported(&format!("rpm.expand of {part}")),
    };
    rpm.set("expand", lua.create_function(expand)?)?;
    let the = host.clone();
    let define = move |_: &Lua, text: String| match macros::definition(&text) {
        Some((name, body)) => {
            the.with(|state| state.macros.insert(name.to_owned(), body.to_owned()))
        }
        None => the.unsupported(&format!("rpm.define of {text:?}")),
    };
    rpm.set("define", lua.create_function(define)?)?;
    let the = host.clone();
    let undefine = move |_: &Lua, name: String| the.with(|state| state.macros.remove(&name));
    rpm.set("undefine", lua.create_function(undefine)?)?;
    let the = host.clone();
    let defined = move |_: &Lua, name: String| {
        match the.with(|state| state.macros.all().contains_key(&name))? {
            true => Ok((true, false)),
            // A macro that is not known here may well be known to an rpm.
            false => the.unsupported(&format!("rpm.isdefined of {name}")),
        }
    };
    rpm.set("isdefined", lua.create_function(defined)?)
}

fn base64(lua: &Lua, rpm: &Table) -> mlua::Result<()> {
    let encode = |_: &Lua, (bytes, line): (LuaString, Option<i64>)| {
        let line = line.map_or(LINE_BYTES, |line| usize::try_from(line).unwrap_or(LINE_BYTES));
        let text = Base64::encode_string(&bytes.as_bytes());
        let line = line / 4 * 4;
        if line == 0 || text.is_empty() {
            return Ok(text);
        }
        let lines = text.as_bytes().chunks(line).map(String::from_utf8_lossy);
        Ok(lines.map(|line| format!("{line}\n")).collect())
    };
    rpm.set("b64encode", lua.create_function(encode)?)?;
    let decode = |lua: &Lua, text: LuaString| {
        let packed: Vec<u8> =
            text.as_bytes().iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let packed = String::from_utf8(packed).ok();
        match packed.and_then(|text| Base64::decode_vec(&text).ok()) {
            Some(bytes) => lua.create_string(bytes).map(Value::String),
            None => Ok(Value::Nil),
        }
    };
    rpm.set("b64decode", lua.create_function(decode)?)
}

/// A version as `rpm.ver` makes it.
struct Version {
    epoch: Option<String>,
    version: String,
    release: Option<String>,
}

impl Version {
    /// As rpm's `parseEVR`; only an empty text is none.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (epoch, rest) = match text[digits..].strip_prefix(':') {
            Some(rest) if digits == 0 => (Some("0".to_owned()), rest),
            Some(rest) => (Some(text[..digits].to_owned()), rest),
            None => (None, text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release.to_owned())),
            None => (rest, None),
        };
        (!text.is_empty()).then(|| Self { epoch, version: version.to_owned(), release })
    }

    fn order(&self, other: &Self) -> Ordering {
        let epoch = |one: &Self| one.epoch.clone().unwrap_or_else(|| "0".to_owned());
        let release = match (&self.release, &other.release) {
            (Some(one), Some(two)) => compare_versions(one, two),
            (one, two) => one.is_some().cmp(&two.is_some()),
        };
        compare_versions(&epoch(self), &epoch(other))
            .then_with(|| compare_versions(&self.version, &other.version))
            .then(release)
    }
}

/// A version that a script has.
struct Kept {
    version: Version,
    _held: Held,
}

impl UserData for Kept {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("e", |_, this| Ok(this.version.epoch.clone()));
        fields.add_field_method_get("v", |_, this| Ok(this.version.version.clone()));
        fields.add_field_method_get("r", |_, this| Ok(this.version.release.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        type Other = UserDataRef<Kept>;
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: Other| {
            Ok(this.version.order(&other.version).is_eq())
        });
        methods.add_meta_method(MetaMethod::Lt, |_, this, other: Other| {
            Ok(this.version.order(&other.version).is_lt())
        });
        methods.add_meta_method(MetaMethod::Le, |_, this, other: Other| {
            Ok(this.version.order(&other.version).is_le())
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            let this = &this.version;
            let epoch = this.epoch.as_ref().map(|epoch| format!("{epoch}:")).unwrap_or_default();
            let release = this.release.as_ref().map(|one| format!("-{one}")).unwrap_or_default();
            Ok(format!("{epoch}{}{release}", this.version))
        });
    }
}

fn versions(lua: &Lua, host: &Host, rpm: &Table) -> mlua::Result<()> {
    let compare = |_: &Lua, (one, two): (String, String)| {
        let parse = |position: u8, text: &str| {
            let wrong = || {
                Error::runtime(format!("bad argument #{position} to 'vercmp' (invalid version )"))
            };
            Version::parse(text).ok_or_else(wrong)
        };
        Ok(match parse(1, &one)?.order(&parse(2, &two)?) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })
    };
    rpm.set("vercmp", lua.create_function(compare)?)?;
    let the = host.clone();
    let make = move |lua: &Lua, words: Variadic<Option<String>>| -> mlua::Result<MultiValue> {
        let bytes = words.iter().flatten().map(String::len).sum::<usize>() + ENTRY_BYTES;
        let made = match words.as_slice() {
            [Some(text)] => Version::parse(text),
            [epoch, Some(version), release] => Some(Version {
                epoch: epoch.clone(),
                version: version.clone(),
                release: release.clone(),
            }),
            [_] | [_, _, _] => None,
            _ => {
                let text = format!("invalid number of arguments: {}", words.len());
                return Err(Error::runtime(text));
            }
        };
        match made {
            Some(version) => Kept { version, _held: the.hold(bytes)? }.into_lua_multi(lua),
            None => Ok(MultiValue::new()),
        }
    };
    rpm.set("ver", lua.create_function(make)?)
}
