//! glob(7) on a tree: names in each directory are matched by themselves, so
//! `*` and `?` never reach across a slash, and hidden names want their dot.

use globset::{GlobBuilder, GlobMatcher};

use super::files::Files;

/// Paths that a pattern may lead to.
const MAX_FOUND: usize = 100_000;

/// Every path that matches, sorted. The pattern is absolute or relative to the
/// current directory.
pub fn find(files: &Files, pattern: &str) -> Result<Vec<String>, globset::Error> {
    let start = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![start.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let matcher = match part.contains(['*', '?', '[', '{']) {
            true => Some(GlobBuilder::new(part).literal_separator(true).build()?.compile_matcher()),
            false => None,
        };
        let next = found.iter().flat_map(|at| step(files, at, part, matcher.as_ref()));
        found = next.take(MAX_FOUND).collect();
    }
    found.retain(|path| !path.is_empty());
    found.sort_unstable();
    Ok(found)
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
