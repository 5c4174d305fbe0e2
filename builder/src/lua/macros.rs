//! `rpm.expand` and what belongs to it: the few macros that are the same on
//! every distribution, and those that a script defines itself. Anything else
//! depends on a machine's rpm, and ends the script as not supported.

use std::collections::BTreeMap;

/// A macro may be made of others, but not without end.
const MAX_DEPTH: usize = 16;

/// Longest result, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Macros in one text. Sixteen levels of some that are made of many, all of
/// them empty in the end, would never come to theirs.
const MAX_MACROS: usize = 10_000;

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

/// The name and body of `name body`; none if that defines no plain macro.
pub fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, body) = text.trim_start().split_once([' ', '\t'])?;
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    Some((name, body.trim()))
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
    Expansion { macros, left: MAX_MACROS }.text(text, 0)
}

/// The expansion of one text.
struct Expansion<'m> {
    macros: &'m BTreeMap<String, String>,
    /// How many macros it may still have.
    left: usize,
}

impl Expansion<'_> {
    fn text(&mut self, text: &str, depth: usize) -> Result<String, String> {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            result.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if depth > MAX_DEPTH {
                return Err(text.to_owned());
            }
            self.left = self.left.checked_sub(1).ok_or("too many macros")?;
            let (value, after) = self.one(rest, depth)?;
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
    fn one<'t>(&mut self, rest: &'t str, depth: usize) -> Result<(String, &'t str), String> {
        let unknown = || format!("%{rest}");
        if let Some(after) = rest.strip_prefix('%') {
            return Ok(("%".to_owned(), after));
        }
        if let Some(inside) = rest.strip_prefix('{') {
            let end = closing(inside).ok_or_else(unknown)?;
            return Ok((self.braces(&inside[..end], depth)?, &inside[end + 1..]));
        }
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        let starts = rest.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        match (starts, self.macros.get(&rest[..end])) {
            (true, Some(body)) => Ok((self.text(body, depth + 1)?, &rest[end..])),
            _ => Err(unknown()),
        }
    }

    fn braces(&mut self, inside: &str, depth: usize) -> Result<String, String> {
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
        let body = self.macros.get(name).ok_or_else(unknown)?;
        let unless = flags.matches('!').count() % 2 == 1;
        match (flags.contains('?'), unless, text) {
            (_, true, _) if flags.contains('?') => Ok(String::new()),
            (true, false, Some(text)) => self.text(text, depth + 1),
            (_, false, None) => self.text(body, depth + 1),
            _ => Err(unknown()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn define(macros: &mut BTreeMap<String, String>, text: &str) {
        let (name, body) = definition(text).unwrap();
        macros.insert(name.to_owned(), body.to_owned());
    }

    #[test]
    fn expands_what_is_known() {
        let mut macros = standard();
        define(&mut macros, "mine  a %{_sysconfdir} ");
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
        define(&mut macros, "loop %{loop}");
        assert!(expand(&macros, "%loop").is_err());
        assert_eq!(definition("f() x"), None);
    }

    #[test]
    fn macros_of_macros_come_to_an_end() {
        let mut macros = standard();
        macros.insert("m0".to_owned(), String::new());
        for level in 1..15 {
            macros.insert(format!("m{level}"), format!("%{{m{}}}", level - 1).repeat(20));
        }
        assert_eq!(expand(&macros, "%m3").as_deref(), Ok(""));
        assert_eq!(expand(&macros, "%m14"), Err("too many macros".to_owned()));
    }
}
