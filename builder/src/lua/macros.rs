//! `rpm.expand` and what belongs to it: the few macros that are the same on
//! every distribution, and those that a script defines itself. Anything else
//! depends on a machine's rpm, and ends the script as not supported.

use std::collections::BTreeMap;

/// A macro may be made of others, but not without end.
const MAX_DEPTH: usize = 16;

/// Longest result, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// rpm's own paths that no distribution changes.
const STANDARD: [(&str, &str); 12] = [
    ("_bindir", "%{_exec_prefix}/bin"),
    ("_datadir", "%{_prefix}/share"),
    ("_exec_prefix", "%{_prefix}"),
    ("_includedir", "%{_prefix}/include"),
    ("_infodir", "%{_datadir}/info"),
    ("_localstatedir", "/var"),
    ("_mandir", "%{_datadir}/man"),
    ("_prefix", "/usr"),
    ("_sysconfdir", "/etc"),
    ("_tmppath", "/var/tmp"),
    ("_usr", "/usr"),
    ("_var", "/var"),
];

/// What is defined before a script defines anything.
pub fn standard() -> BTreeMap<String, String> {
    STANDARD.iter().map(|(name, body)| ((*name).to_owned(), (*body).to_owned())).collect()
}

/// Takes `name body`; none if it is no definition of a plain macro.
pub fn define(macros: &mut BTreeMap<String, String>, text: &str) -> Option<()> {
    let (name, body) = text.trim_start().split_once([' ', '\t'])?;
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    macros.insert(name.to_owned(), body.trim().to_owned());
    Some(())
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Expands `%name`, `%{name}`, `%{?name}`, `%{!?name:text}`, `%{?name:text}`
/// and `%%`.
///
/// # Errors
/// With what is not understood or not known.
pub fn expand(macros: &BTreeMap<String, String>, text: &str) -> Result<String, String> {
    expand_to(macros, text, 0)
}

fn expand_to(
    macros: &BTreeMap<String, String>,
    text: &str,
    depth: usize,
) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err(text.to_owned());
    }
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (value, after) = one(macros, rest, depth)?;
        result.push_str(&value);
        rest = after;
        if result.len() > MAX_BYTES {
            return Err(text.to_owned());
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// What comes after a `%`: its value, and the rest.
fn one<'t>(
    macros: &BTreeMap<String, String>,
    rest: &'t str,
    depth: usize,
) -> Result<(String, &'t str), String> {
    let unknown = || format!("%{rest}");
    if let Some(after) = rest.strip_prefix('%') {
        return Ok(("%".to_owned(), after));
    }
    if let Some(inside) = rest.strip_prefix('{') {
        let end = closing(inside).ok_or_else(unknown)?;
        let value = braces(macros, &inside[..end], depth)?;
        return Ok((value, &inside[end + 1..]));
    }
    let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
    let starts = rest.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    match (starts, macros.get(&rest[..end])) {
        (true, Some(body)) => Ok((expand_to(macros, body, depth + 1)?, &rest[end..])),
        _ => Err(unknown()),
    }
}

/// Where the brace is closed that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    text.bytes().position(|byte| {
        open += match byte {
            b'{' => 1,
            b'}' => -1,
            _ => 0,
        };
        open == 0
    })
}

fn braces(macros: &BTreeMap<String, String>, inside: &str, depth: usize) -> Result<String, String> {
    let unknown = || format!("%{{{inside}}}");
    let name = inside.trim_start_matches(['?', '!']);
    let flags = &inside[..inside.len() - name.len()];
    let (name, text) = match name.split_once(':') {
        Some((name, text)) => (name, Some(text)),
        None => (name, None),
    };
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(unknown());
    }
    // A macro that is not known here may well be known to an rpm.
    let body = macros.get(name).ok_or_else(unknown)?;
    let unless = flags.matches('!').count() % 2 == 1;
    match (flags.contains('?'), unless, text) {
        (_, true, _) if flags.contains('?') => Ok(String::new()),
        (true, false, Some(text)) => expand_to(macros, text, depth + 1),
        (_, false, None) => expand_to(macros, body, depth + 1),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_what_is_known() {
        let mut macros = standard();
        define(&mut macros, "mine  a %{_sysconfdir} ").unwrap();
        let cases = [
            ("%{_mandir}/x 100%%", "/usr/share/man/x 100%"),
            ("%_bindir:%mine", "/usr/bin:a /etc"),
            ("%{?mine:<%{mine}>}%{!?mine:none}", "<a /etc>"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(&macros, text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["%{_libdir}", "%(date)", "%{lua:x}", "%", "%{", "%{?dist}", "%-1"] {
            assert!(expand(&macros, text).is_err(), "{text}");
        }
        define(&mut macros, "loop %{loop}").unwrap();
        assert!(expand(&macros, "%loop").is_err());
        assert!(define(&mut macros, "f() x").is_none());
    }
}
