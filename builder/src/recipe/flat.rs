//! A recipe as one file with everything it names beside it, whatever folders
//! it was written in: what an image's folder and a vendored store carry, so
//! that anybody can build the same again.
//!
//! Values are copied as they were written. Only paths become others: keys are
//! in `keys/`, overlays in `overlay/0`, `overlay/1`, … Addresses of
//! repositories stay (a lock is made for them), without their passwords.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::document::{Node, Sources, Table, Value};
use crate::location::without_password;

/// The recipe as one file.
#[derive(Debug, Clone, Default)]
pub struct FlatRecipe {
    /// The file.
    pub text: String,
    /// What belongs beside it: names relative to it, and where that is now. A
    /// folder stands for all that is in it.
    pub files: Vec<(String, PathBuf)>,
}

/// What a text at some place of a recipe is.
enum Role {
    Plain,
    Key,
    Overlay,
    Address,
}

/// `*` in a path of keys stands for every item of a list.
fn role(at: &[&str]) -> Role {
    match at {
        ["repository", "*", "keys", "*" | "path"] | ["repository", "*", "keys", "*", "path"] => {
            Role::Key
        }
        ["repository", "*", "url"] | ["repository", "*", "mirrors", "*"] => Role::Address,
        ["root", "overlay", "*"] => Role::Overlay,
        _ => Role::Plain,
    }
}

/// Flattens the merged tables of a recipe.
pub(super) fn flatten(table: &Table, sources: &Sources) -> FlatRecipe {
    let mut flat = Flattener { sources, out: FlatRecipe::default(), overlays: 0 };
    let mut text = String::new();
    flat.table(table, &mut Vec::new(), "", &mut text);
    flat.out.text = text;
    flat.out
}

struct Flattener<'s> {
    sources: &'s Sources,
    out: FlatRecipe,
    overlays: usize,
}

impl<'s> Flattener<'s> {
    /// Plain values first, then tables, as TOML wants it.
    fn table<'t>(
        &mut self,
        table: &'t Table,
        at: &mut Vec<&'t str>,
        header: &str,
        text: &mut String,
    ) {
        for (key, entry) in table.0.iter().filter(|(_, entry)| !is_section(&entry.node)) {
            at.push(key);
            let value = self.value(&entry.node, at);
            at.pop();
            *text += &format!("{} = {value}\n", quoted_key(key));
        }
        for (key, entry) in table.0.iter().filter(|(_, entry)| is_section(&entry.node)) {
            let header = match header {
                "" => quoted_key(key),
                above => format!("{above}.{}", quoted_key(key)),
            };
            at.push(key);
            match &entry.node.value {
                Value::Table(table) => {
                    *text += &format!("\n[{header}]\n");
                    self.table(table, at, &header, text);
                }
                Value::List(items) => {
                    at.push("*");
                    for item in items {
                        if let Value::Table(table) = &item.value {
                            *text += &format!("\n[[{header}]]\n");
                            self.table(table, at, &header, text);
                        }
                    }
                    at.pop();
                }
                _ => {}
            }
            at.pop();
        }
    }

    fn value<'t>(&mut self, node: &'t Node, at: &mut Vec<&'t str>) -> String {
        match &node.value {
            Value::List(items) => {
                at.push("*");
                let items: Vec<String> = items.iter().map(|item| self.value(item, at)).collect();
                at.pop();
                format!("[{}]", items.join(", "))
            }
            Value::Table(table) => {
                let fields = table.0.iter().map(|(key, entry)| {
                    at.push(key);
                    let value = self.value(&entry.node, at);
                    at.pop();
                    format!("{} = {value}", quoted_key(key))
                });
                let fields: Vec<String> = fields.collect();
                format!("{{ {} }}", fields.join(", "))
            }
            Value::Text(text) => match role(at) {
                Role::Key => quoted(&self.key(node, text)),
                Role::Overlay => quoted(&self.overlay(node, text)),
                Role::Address => quoted(&without_password(text)),
                Role::Plain => quoted(text),
            },
            _ => self.sources.written(&node.at).to_owned(),
        }
    }

    /// Two keys of one name get different ones here.
    fn key(&mut self, node: &Node, text: &str) -> String {
        let path = self.sources.resolve(&node.at, text);
        if let Some((name, _)) = self.out.files.iter().find(|(_, other)| *other == path) {
            return name.clone();
        }
        let file = path.file_name().map_or_else(|| "key".into(), |name| name.to_string_lossy());
        let taken: BTreeSet<&str> = self.out.files.iter().map(|(name, _)| name.as_str()).collect();
        let names = (1_usize..).map(|count| match count {
            1 => format!("keys/{file}"),
            count => format!("keys/{count}-{file}"),
        });
        let name = names.into_iter().find(|name| !taken.contains(name.as_str()));
        let name = name.unwrap_or_default();
        self.out.files.push((name.clone(), path));
        name
    }

    fn overlay(&mut self, node: &Node, text: &str) -> String {
        let name = format!("overlay/{}", self.overlays);
        self.overlays += 1;
        self.out.files.push((name.clone(), self.sources.resolve(&node.at, text)));
        name
    }
}

/// Whether it gets a header of its own.
fn is_section(node: &Node) -> bool {
    match &node.value {
        Value::Table(_) => true,
        Value::List(items) => {
            !items.is_empty() && items.iter().all(|item| matches!(item.value, Value::Table(_)))
        }
        _ => false,
    }
}

fn quoted_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

/// A basic string of TOML on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
