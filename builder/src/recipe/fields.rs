//! Takes the fields of a table one by one, noting what is missing, of the
//! wrong kind, malformed or not known, and going on. What the fields mean is
//! said by the caller.

use super::document::{Entry, Node, Place, Sources, Table, Value};
use crate::diagnose::nearest;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub at: Place,
    pub value: T,
}

/// A table being taken apart.
pub(super) struct Fields<'s> {
    pub sources: &'s mut Sources,
    table: Table,
    /// Where to point when something is missing.
    at: Option<Place>,
    /// How the table is called in messages: "`[boot]`".
    called: String,
    known: Vec<&'static str>,
}

impl<'s> Fields<'s> {
    pub fn new(sources: &'s mut Sources, table: Table, at: Option<Place>, called: &str) -> Self {
        Self { sources, table, at, called: called.to_owned(), known: Vec::new() }
    }

    /// The fields of `node`, which must be a table.
    pub fn of_node(sources: &'s mut Sources, node: Node, called: &str) -> Option<Self> {
        match node.value {
            Value::Table(table) => Some(Self::new(sources, table, Some(node.at), called)),
            other => {
                let message = format!("{called} must be a table, not {}", other.kind());
                sources.report(&node.at, message, None);
                None
            }
        }
    }

    /// The table `key` of this one: as if empty where it is missing.
    pub fn table(&mut self, key: &'static str) -> Fields<'_> {
        let called = format!("`[{key}]`");
        let (table, at) = match self.take(key) {
            None => (Table::default(), self.at.clone()),
            Some(Entry { key: place, node }) => match node.value {
                Value::Table(table) => (table, Some(place)),
                other => {
                    let message = format!("{called} must be a table, not {}", other.kind());
                    self.sources.report(&node.at, message, None);
                    (Table::default(), Some(place))
                }
            },
        };
        Fields::new(self.sources, table, at, &called)
    }

    /// The raw value of `key`.
    pub fn node(&mut self, key: &'static str) -> Option<Node> {
        self.take(key).map(|entry| entry.node)
    }

    fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        self.table.0.remove(key)
    }

    /// The text `key`, where there is one.
    pub fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        text_of(self.sources, node, &format!("`{key}`"))
    }

    /// The text `key`, which must be there, read by `parse`.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        if !self.table.0.contains_key(key) {
            self.missing(key, example);
        }
        self.optional(key, parse)
    }

    /// The text `key`, read by `parse`.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let text = self.text(key)?;
        parsed(self.sources, text, parse)
    }

    /// Notes that `key` is missing.
    pub fn missing(&mut self, key: &'static str, example: &str) {
        self.known.push(key);
        let message = format!("`{key}` is missing in {}", self.called);
        let hint = format!("add {key} = {example}");
        match &self.at {
            Some(place) => self.sources.report(&place.clone(), message, Some(&hint)),
            None => self.sources.report_file(message, &hint),
        }
    }

    /// The number `key` within `range`, or `default`.
    pub fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let node = self.node(key);
        self.number_of(node, key, range, default)
    }

    /// The number in `node`, which was the value of `key`.
    pub fn number_of(
        &mut self,
        node: Option<Node>,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(node) = node else { return default };
        let Value::Integer(number) = node.value else {
            let message = format!("`{key}` must be a whole number, not {}", node.value.kind());
            self.sources.report(&node.at, message, None);
            return default;
        };
        match u32::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let message = format!("`{key}` is out of range");
                let hint = format!("from {} to {} is possible", range.start(), range.end());
                self.sources.report(&node.at, message, Some(&hint));
                default
            }
        }
    }

    /// The switch `key`, or `default`.
    pub fn switch(&mut self, key: &'static str, default: bool) -> bool {
        match self.node(key) {
            None => default,
            Some(Node { value: Value::Boolean(value), .. }) => value,
            Some(node) => {
                let message = format!("`{key}` must be true or false, not {}", node.value.kind());
                self.sources.report(&node.at, message, Some("without quotes"));
                default
            }
        }
    }

    /// Whether `key` is there.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        self.table.0.contains_key(key)
    }

    /// The items of the list `key`; none where it is missing.
    pub fn list(&mut self, key: &'static str) -> Vec<Node> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                let message = format!("`{key}` must be a list, not {}", node.value.kind());
                self.sources.report(&node.at, message, Some("put it in [ ]"));
                Vec::new()
            }
        }
    }

    /// The texts of the list `key`, each read by `parse`.
    pub fn texts<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<Located<T>> {
        let called = format!("an item of `{key}`");
        let items = self.list(key);
        let texts: Vec<_> =
            items.into_iter().filter_map(|node| text_of(self.sources, node, &called)).collect();
        texts.into_iter().filter_map(|text| parsed(self.sources, text, &mut parse)).collect()
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self) {
        // One that is missing was asked for once more, to say so.
        let mut known = self.known;
        known.dedup();
        for (key, entry) in &self.table.0 {
            let message = format!("unknown key `{key}` in {}", self.called);
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.sources.report(&entry.key, message, Some(&hint));
        }
    }
}

/// `node` as text.
pub(super) fn text_of(sources: &mut Sources, node: Node, called: &str) -> Option<Located<String>> {
    match node.value {
        Value::Text(value) => Some(Located { at: node.at, value }),
        other => {
            let message = format!("{called} must be a text, not {}", other.kind());
            sources.report(&node.at, message, Some("put it in quotes"));
            None
        }
    }
}

/// `text` read by `parse`, whose error may hold a hint after a line break.
pub(super) fn parsed<T>(
    sources: &mut Sources,
    text: Located<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<Located<T>> {
    match parse(&text.value) {
        Ok(value) => Some(Located { at: text.at, value }),
        Err(why) => {
            let (message, hint) = match why.split_once('\n') {
                Some((message, hint)) => (message, Some(hint)),
                None => (why.as_str(), None),
            };
            sources.report(&text.at, message, hint);
            None
        }
    }
}
