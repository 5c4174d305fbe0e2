//! glob(7) on a tree: names in each directory are matched by themselves, so
//! `*` and `?` never reach across a slash, and hidden names want their dot.

use globset::{GlobBuilder, GlobMatcher};

use super::files::Files;

/// Paths that a pattern may lead to, those of its first parts among them.
const MAX_FOUND: usize = 100_000;

/// Every path that matches, sorted. The pattern is absolute or relative to the
/// current directory.
pub fn find(files: &Files, pattern: &str) -> Result<Vec<String>, String> {
    let start = if pattern.starts_with('/') { "/" } else { "" };
    let (mut found, mut left) = (vec![start.to_owned()], MAX_FOUND);
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let matcher = match part.contains(['*', '?', '[', '{']) {
            true => Some(matcher(part).map_err(|error| error.to_string())?),
            false => None,
        };
        let mut next = Vec::new();
        for at in &found {
            let below = step(files, at, part, matcher.as_ref());
            let looked_at = 1 + below.len();
            left = left.checked_sub(looked_at).ok_or("it leads to too many paths")?;
            next.extend(below);
        }
        found = next;
    }
    found.retain(|path| !path.is_empty());
    found.sort_unstable();
    Ok(found)
}

fn matcher(part: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(part).literal_separator(true).build()?.compile_matcher())
}

fn step(files: &Files, at: &str, part: &str, matcher: Option<&GlobMatcher>) -> Vec<String> {
    let join = |name: &str| match at {
        "" => name.to_owned(),
        _ if at.ends_with('/') => format!("{at}{name}"),
        _ => format!("{at}/{name}"),
    };
    let Some(matcher) = matcher else {
        let path = join(part);
        return if files.locate(&path).is_ok() { vec![path] } else { Vec::new() };
    };
    let names = files.names(if at.is_empty() { "." } else { at }).unwrap_or_default();
    let wanted = |name: &String| {
        (!name.starts_with('.') || part.starts_with('.')) && matcher.is_match(name.as_str())
    };
    names.iter().filter(|name| wanted(name)).map(|name| join(name)).collect()
}
