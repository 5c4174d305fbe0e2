//! `string.find`, `match`, `gmatch` and `gsub`, over [`super::pattern`]. They
//! take the place of Lua's own, to which they leave what is no proper call: its
//! messages are the right ones.

use std::rc::Rc;

use mlua::{Error, Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use super::MAX_MEMORY;
use super::pattern::{Budget, Capture, Fault, Matcher};

/// Puts them into the table `string`.
pub fn replace(lua: &Lua, string: &Table, budget: &Rc<Budget>) -> mlua::Result<()> {
    type Own = fn(&Lua, &Rc<Budget>, &Call, &MultiValue) -> mlua::Result<MultiValue>;
    let all: [(&str, Own); 4] =
        [("find", find), ("match", find_match), ("gmatch", gmatch), ("gsub", gsub)];
    for (name, own) in all {
        let (theirs, budget): (Function, _) = (string.get(name)?, budget.clone());
        let call = move |lua: &Lua, arguments: MultiValue| {
            match Call::read(lua, &arguments) {
                Some(call) if call.fits(name, &arguments) => own(lua, &budget, &call, &arguments),
                // It complains.
                _ => theirs.call(arguments),
            }
        };
        string.set(name, lua.create_function(call)?)?;
    }
    Ok(())
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::runtime(fault.0)
    }
}

/// Subject, pattern, and a number in the place where the function has one.
struct Call {
    subject: LuaString,
    pattern: LuaString,
    third: Option<i64>,
    fourth: Option<i64>,
}

impl Call {
    fn read(lua: &Lua, arguments: &MultiValue) -> Option<Self> {
        let text = |at: usize| lua.coerce_string(arguments.get(at)?.clone()).ok().flatten();
        let number = |at: usize| lua.coerce_integer(arguments.get(at)?.clone()).ok().flatten();
        let (subject, pattern) = (text(0)?, text(1)?);
        Some(Self { subject, pattern, third: number(2), fourth: number(3) })
    }

    /// Whether the other arguments are what they should be.
    fn fits(&self, name: &str, arguments: &MultiValue) -> bool {
        let given = |at: usize| !matches!(arguments.get(at), None | Some(Value::Nil));
        match name {
            "gsub" => {
                let kind = arguments.get(2).map(Value::type_name);
                let kinds = ["string", "number", "integer", "function", "table"];
                kind.is_some_and(|kind| kinds.contains(&kind))
                    && (self.fourth.is_some() || !given(3))
            }
            _ => self.third.is_some() || !given(2),
        }
    }

    /// Where to begin; none if that is past the end.
    fn begin(&self, len: usize) -> Option<usize> {
        let from_end = |back: i64| len.saturating_sub(usize::try_from(back).unwrap_or(usize::MAX));
        let begin = match self.third.unwrap_or(1) {
            0 => 0,
            back @ ..0 => from_end(back.checked_neg().unwrap_or(i64::MAX)),
            place => usize::try_from(place - 1).unwrap_or(usize::MAX),
        };
        (begin <= len).then_some(begin)
    }
}

fn value(lua: &Lua, capture: Capture<'_>) -> mlua::Result<Value> {
    Ok(match capture {
        Capture::Text(bytes) => Value::String(lua.create_string(bytes)?),
        Capture::Position(place) => Value::Integer(i64::try_from(place).unwrap_or(i64::MAX)),
    })
}

/// What a match gives.
fn values(
    lua: &Lua,
    matcher: &Matcher<'_>,
    (start, end): (usize, usize),
    count: usize,
) -> mlua::Result<MultiValue> {
    (0..count).map(|index| value(lua, matcher.capture(index, start, end)?)).collect()
}

/// The pattern without its anchor, and whether it had one.
fn anchored(pattern: &[u8]) -> (&[u8], bool) {
    match pattern.split_first() {
        Some((b'^', rest)) => (rest, true),
        _ => (pattern, false),
    }
}

fn nothing() -> MultiValue {
    MultiValue::from_vec(vec![Value::Nil])
}

/// A match that was found, with where it begins and ends.
type Found<'a> = (Matcher<'a>, (usize, usize));

/// The first match of `pattern`, which may have an anchor, from `begin` on.
fn search<'a>(
    subject: &'a [u8],
    pattern: &'a [u8],
    begin: usize,
    budget: &'a Budget,
) -> Result<Option<Found<'a>>, Fault> {
    let (pattern, anchor) = anchored(pattern);
    let mut matcher = Matcher::new(subject, pattern, budget);
    let last = if anchor { begin } else { subject.len() };
    for start in begin..=last {
        if let Some(end) = matcher.at(start)? {
            return Ok(Some((matcher, (start, end))));
        }
    }
    Ok(None)
}

/// Refuses a text longer than a script may hold.
fn within_memory(text: &[u8]) -> mlua::Result<()> {
    match text.len() > MAX_MEMORY {
        true => Err(Error::MemoryError("not enough memory".to_owned())),
        false => Ok(()),
    }
}

fn find(
    lua: &Lua,
    budget: &Rc<Budget>,
    call: &Call,
    arguments: &MultiValue,
) -> mlua::Result<MultiValue> {
    let plain = !matches!(arguments.get(3), None | Some(Value::Nil | Value::Boolean(false)));
    let (subject, pattern) = (call.subject.as_bytes(), call.pattern.as_bytes());
    let Some(begin) = call.begin(subject.len()) else {
        return Ok(nothing());
    };
    let special = |byte: &u8| b"^$*+?.([%-".contains(byte);
    if plain || !pattern.iter().any(special) {
        let rest = subject.len() - begin;
        if !budget.take((rest as u64).saturating_mul(1 + pattern.len() as u64 / 16)) {
            return Err(super::too_long());
        }
        let found = match pattern.len() {
            0 => Some(0),
            len => subject[begin..].windows(len).position(|part| part == &pattern[..]),
        };
        return match found {
            Some(at) => (begin + at + 1, begin + at + pattern.len()).into_lua_multi(lua),
            None => Ok(nothing()),
        };
    }
    let Some((matcher, (start, end))) = search(&subject, &pattern, begin, budget)? else {
        return Ok(nothing());
    };
    let count = if matcher.has_captures() { matcher.count() } else { 0 };
    let mut found = (start + 1, end).into_lua_multi(lua)?;
    found.extend(values(lua, &matcher, (start, end), count)?);
    Ok(found)
}

fn find_match(
    lua: &Lua,
    budget: &Rc<Budget>,
    call: &Call,
    _: &MultiValue,
) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (call.subject.as_bytes(), call.pattern.as_bytes());
    let Some(begin) = call.begin(subject.len()) else {
        return Ok(nothing());
    };
    match search(&subject, &pattern, begin, budget)? {
        Some((matcher, found)) => values(lua, &matcher, found, matcher.count()),
        None => Ok(nothing()),
    }
}

fn gmatch(lua: &Lua, budget: &Rc<Budget>, call: &Call, _: &MultiValue) -> mlua::Result<MultiValue> {
    let (text, pattern) = (call.subject.clone(), call.pattern.clone());
    let len = text.as_bytes().len();
    let mut next = call.begin(len).unwrap_or(len + 1);
    let (mut last, budget) = (None, budget.clone());
    let each = move |lua: &Lua, _: MultiValue| {
        let (subject, pattern) = (text.as_bytes(), pattern.as_bytes());
        let mut matcher = Matcher::new(&subject, &pattern, &budget);
        let first = next;
        for start in first..=subject.len() {
            let end = matcher.at(start)?;
            if let Some(end) = end.filter(|_| end != last) {
                (next, last) = (end, Some(end));
                return values(lua, &matcher, (start, end), matcher.count());
            }
        }
        next = subject.len() + 1;
        Ok(nothing())
    };
    lua.create_function_mut(each)?.into_lua_multi(lua)
}

fn gsub(
    lua: &Lua,
    budget: &Rc<Budget>,
    call: &Call,
    arguments: &MultiValue,
) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (call.subject.as_bytes(), call.pattern.as_bytes());
    let replacement = arguments.get(2).cloned().unwrap_or(Value::Nil);
    let most = call.fourth.unwrap_or(i64::MAX);
    let (pattern, anchor) = anchored(&pattern);
    let mut matcher = Matcher::new(&subject, pattern, budget);
    let (mut out, mut count, mut at, mut last) = (Vec::new(), 0_i64, 0, None);
    while count < most {
        let end = matcher.at(at)?;
        if let Some(end) = end.filter(|_| end != last) {
            count += 1;
            substitute(lua, &matcher, (at, end), &subject, &replacement, &mut out)?;
            (at, last) = (end, Some(end));
        } else if let Some(byte) = subject.get(at) {
            out.push(*byte);
            at += 1;
        } else {
            break;
        }
        within_memory(&out)?;
        if anchor {
            break;
        }
    }
    out.extend_from_slice(subject.get(at..).unwrap_or_default());
    (lua.create_string(out)?, count).into_lua_multi(lua)
}

/// Puts what a match is replaced by.
fn substitute(
    lua: &Lua,
    matcher: &Matcher<'_>,
    (start, end): (usize, usize),
    subject: &[u8],
    replacement: &Value,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let first = || value(lua, matcher.capture(0, start, end)?);
    let found = match replacement {
        Value::Table(table) => table.get(first()?)?,
        Value::Function(function) => {
            function.call(values(lua, matcher, (start, end), matcher.count())?)?
        }
        text => {
            let text = lua.coerce_string(text.clone())?;
            let text = text.map(|text| text.as_bytes().to_vec()).unwrap_or_default();
            return fill(matcher, (start, end), &text, out);
        }
    };
    match found {
        Value::Nil | Value::Boolean(false) => out.extend_from_slice(&subject[start..end]),
        Value::String(text) => out.extend_from_slice(&text.as_bytes()),
        Value::Integer(_) | Value::Number(_) => {
            let text = lua.coerce_string(found)?;
            out.extend_from_slice(&text.map(|text| text.as_bytes().to_vec()).unwrap_or_default());
        }
        other => {
            let text = format!("invalid replacement value (a {})", other.type_name());
            return Err(Error::runtime(text));
        }
    }
    Ok(())
}

/// A text with `%1` for captures.
fn fill(
    matcher: &Matcher<'_>,
    (start, end): (usize, usize),
    text: &[u8],
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let index = match (byte, bytes.as_slice().first()) {
            (b'%', Some(b'%')) => {
                bytes.next();
                out.push(b'%');
                continue;
            }
            (b'%', Some(digit @ b'0'..=b'9')) => digit - b'0',
            (b'%', _) => {
                return Err(Error::runtime("invalid use of '%' in replacement string"));
            }
            (byte, _) => {
                out.push(*byte);
                continue;
            }
        };
        bytes.next();
        let capture = match index {
            0 => matcher.whole(start, end),
            number => matcher.capture(usize::from(number) - 1, start, end)?,
        };
        match capture {
            Capture::Text(bytes) => out.extend_from_slice(bytes),
            Capture::Position(place) => out.extend_from_slice(place.to_string().as_bytes()),
        }
        within_memory(out)?;
    }
    Ok(())
}
