//! Reading a recipe as a function of a text, for `fuzz/targets` alone: no part
//! of what this crate offers. What it extends is left out, so that nothing is
//! read but keys, and those from a folder that does not exist.

use std::path::Path;

use super::document::Sources;
use super::read;

/// Takes `text` as a recipe; says what is wrong with it, as a person sees it.
pub fn recipe(text: &str) -> Option<String> {
    let mut sources = Sources::default();
    let path = Path::new("/nowhere/recipes/fuzz.toml");
    let table = sources.single(path, text);
    read::recipe_of(sources, table, path).err().map(|problems| problems.to_string())
}
