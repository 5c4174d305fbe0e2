//! Paths that a pattern fits, as `glob(3)` finds them: `*`, `?` and `[…]` within
//! a name, braces, and no leading dot that is not written out.

use globset::{GlobBuilder, GlobMatcher};

use super::{TmpfilesError, in_the_way};
use crate::tree::Tree;

/// Links that lead back up let a short pattern fit without end.
const MAX_FOUND: usize = 100_000;

/// What is there of a path or pattern, sorted.
pub(super) fn find(tree: &Tree, pattern: &str) -> Result<Vec<String>, TmpfilesError> {
    if !pattern.contains(['*', '?', '[', '{', '\\']) {
        return Ok(tree.locate(pattern).map(|_| pattern.to_owned()).into_iter().collect());
    }
    // Within braces a slash could come, and outside a name's own pattern a
    // backslash; neither is worth the rules.
    if pattern.contains(['{', '\\']) {
        return Err(in_the_way(pattern, "a pattern with braces or backslashes"));
    }
    let mut found = vec![String::new()];
    for name in pattern.split('/').filter(|name| !name.is_empty()) {
        let matcher = matcher(pattern, name)?;
        let next = found.iter().flat_map(|at| step(tree, at, name, matcher.as_ref()));
        found = next.take(MAX_FOUND + 1).collect();
        if found.len() > MAX_FOUND {
            return Err(in_the_way(pattern, "a pattern that fits too much"));
        }
    }
    Ok(found)
}

fn matcher(pattern: &str, name: &str) -> Result<Option<GlobMatcher>, TmpfilesError> {
    if !name.contains(['*', '?', '[']) {
        return Ok(None);
    }
    let glob = GlobBuilder::new(name).literal_separator(true).build();
    match glob {
        Ok(glob) => Ok(Some(glob.compile_matcher())),
        Err(_) => Err(in_the_way(pattern, "a pattern that is not one")),
    }
}

fn step(tree: &Tree, at: &str, name: &str, matcher: Option<&GlobMatcher>) -> Vec<String> {
    let Some(matcher) = matcher else {
        let path = format!("{at}/{name}");
        return tree.locate(&path).map(|_| path).into_iter().collect();
    };
    let folder = if at.is_empty() { "/" } else { at };
    let wanted =
        |found: &str| (!found.starts_with('.') || name.starts_with('.')) && matcher.is_match(found);
    let names = tree.children(folder).filter(|(found, _)| wanted(found));
    names.map(|(found, _)| format!("{at}/{found}")).collect()
}
