//! All lines, in the order they are carried out in: those that make things
//! before those with patterns, what is above before what is below, else as
//! they were read.

use std::collections::{HashMap, HashSet};

use super::line::Item;

/// Lines by path: the plain ones, and those with patterns.
#[derive(Debug, Default)]
pub(super) struct Items {
    plain: Groups,
    patterns: Groups,
}

/// Lines of each path, in the order in which paths were met.
#[derive(Debug, Default)]
struct Groups {
    all: Vec<Vec<Item>>,
    places: HashMap<String, usize>,
}

impl Groups {
    fn of(&self, path: &str) -> Option<&Vec<Item>> {
        self.places.get(path).map(|at| &self.all[*at])
    }
}

impl Items {
    /// Adds a line, unless an earlier one wants the same thing differently.
    pub fn add(&mut self, item: Item) {
        let groups = if item.is_pattern() { &mut self.patterns } else { &mut self.plain };
        let Some(at) = groups.places.get(&item.path) else {
            groups.places.insert(item.path.clone(), groups.all.len());
            groups.all.push(vec![item]);
            return;
        };
        let group = &mut groups.all[*at];
        let appends = |item: &Item| item.letter == 'w' && item.force;
        let clashes =
            |known: &Item| !(compatible(known, &item) || appends(known) && appends(&item));
        if !group.iter().any(clashes) {
            group.push(item);
            group.sort_by_key(|item| (!item.makes(), item.letter));
        }
    }

    /// Lines in their order.
    pub fn in_order(&self) -> Vec<&Item> {
        let mut order = Order { items: self, done: HashSet::new(), out: Vec::new() };
        self.plain.all.iter().chain(&self.patterns.all).for_each(|group| order.take(group));
        order.out
    }

    fn of(&self, path: &str) -> Option<&Vec<Item>> {
        self.plain.of(path).or_else(|| self.patterns.of(path))
    }

    /// The lines for the nearest folder above.
    fn above(&self, path: &str) -> Option<&Vec<Item>> {
        let mut path = path;
        while let Some((above, _)) = path.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
            if let Some(group) = self.of(above) {
                return Some(group);
            }
            path = above;
        }
        None
    }
}

struct Order<'a> {
    items: &'a Items,
    done: HashSet<*const Item>,
    out: Vec<&'a Item>,
}

impl<'a> Order<'a> {
    /// A path is at most so deep that following it upwards ends.
    fn take(&mut self, group: &'a [Item]) {
        if !self.done.insert(group.as_ptr()) {
            return;
        }
        if let Some(above) = self.items.above(&group[0].path) {
            self.take(above);
        }
        self.out.extend(group);
    }
}

/// Whether two lines of one path can both be meant.
fn compatible(one: &Item, other: &Item) -> bool {
    let told = |item: &Item| {
        let Item { mode, masked, uid, gid, only_new, .. } = *item;
        (mode.unwrap_or_else(|| item.new_mode()), mode.is_some(), masked, uid, gid, only_new)
    };
    !(one.makes() && other.makes())
        || (told(one) == told(other) && one.age == other.age && one.argument == other.argument)
}
