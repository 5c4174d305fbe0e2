//! What becomes of a script's text before it runs: `-e` expands macros, `-q`
//! fills in tags of the package's header (`rpmScriptNew` in rpm's
//! `lib/rpmscript.c`). Macros are those of the machine that installs, which an
//! image has no such thing as; so only what needs none is done.

use std::borrow::Cow;

use crate::package::{Identity, ScriptFlags};

/// The text as it runs.
///
/// # Errors
/// What in it cannot be filled in.
pub fn expand<'a>(
    text: &'a str,
    flags: ScriptFlags,
    package: &Identity,
) -> Result<Cow<'a, str>, String> {
    let mut text = Cow::Borrowed(text);
    if flags.expand {
        text = Cow::Owned(replace(&text, |_| None)?);
    }
    if flags.query_format {
        text = Cow::Owned(replace(&text, |tag| tag_value(tag, package))?);
    }
    Ok(text)
}

/// Replaces `%%` and `%{TAG}`.
fn replace(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let tag = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let shown: String = after.chars().take(12).collect();
        let unknown = || format!("%{shown} in its text cannot be filled in");
        let (tag, after) = tag.ok_or_else(unknown)?;
        out.push_str(&value(tag).ok_or_else(unknown)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn tag_value(tag: &str, package: &Identity) -> Option<String> {
    let Identity { name, epoch, version, release, arch } = package;
    Some(match tag.to_ascii_lowercase().as_str() {
        "name" => name.clone(),
        "version" => version.clone(),
        "release" => release.clone(),
        "arch" => arch.clone(),
        "epoch" if *epoch != 0 => epoch.to_string(),
        "nvra" => format!("{name}-{version}-{release}.{arch}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_no_macros_is_filled_in() {
        let package = Identity {
            name: "kit".into(),
            epoch: 0,
            version: "1.0".into(),
            release: "2".into(),
            arch: "noarch".into(),
        };
        let plain = ScriptFlags::default();
        let (expand_only, query) =
            (ScriptFlags { expand: true, ..plain }, ScriptFlags { query_format: true, ..plain });
        assert_eq!(expand("date +%Y", plain, &package).unwrap(), "date +%Y");
        assert_eq!(expand("date +%%Y", expand_only, &package).unwrap(), "date +%Y");
        assert!(expand("%{_bindir}/x", expand_only, &package).is_err());
        assert!(expand("date +%Y", expand_only, &package).is_err());
        assert_eq!(expand("%{NAME} %{version}", query, &package).unwrap(), "kit 1.0");
        assert!(expand("%{", query, &package).is_err());
    }
}
