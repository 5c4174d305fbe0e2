//! Who needs whom, as rpm reads it from headers to order packages
//! (`addRelation` in `lib/order.c`, `rpmalSatisfiesDepend` in `lib/rpmal.c`).

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

use super::ComposeError;
use super::links::Links;
use super::order::Graph;
use super::plan::PREFERRED_COLOR;
use crate::package::{Package, Relation};
use crate::repository::Dependency;
use crate::solve::rich::Need;

/// `RPMSENSE_SCRIPT_PRE` to `_POSTUN`.
const SCRIPTS: u32 = 0xf << 9;
/// `isInstallPreReq`: `%pre`, `%post`, rpmlib, keyring, `%pretrans`, `%posttrans`.
const FOR_SCRIPT: u32 = 1 << 9 | 1 << 10 | 1 << 24 | 1 << 26 | 1 << 7 | 1 << 5;
/// `isUnorderedReq`: rpmlib, config, pretrans, posttrans, verify, meta.
const UNORDERED: u32 = 1 << 24 | 1 << 28 | 1 << 7 | 1 << 5 | 1 << 13 | 1 << 29;
/// `RPMSENSE_PREREQ`, and what beside it makes it no legacy one.
const PREREQ: u32 = 1 << 6;
const ALL_REQUIRES: u32 = 1 << 8
    | 0x1f << 9
    | 1 << 14
    | 1 << 24
    | 1 << 26
    | 1 << 7
    | 1 << 5
    | PREREQ
    | 1 << 29
    | MISSING_OK;
/// `RPMSENSE_MISSINGOK`: a weak need.
const MISSING_OK: u32 = 1 << 19;

/// Offers that are held against needs, over all packages. A package may need
/// and offer one name a million times each; those of a distribution do so a few
/// times.
const MAX_COMPARISONS: usize = if cfg!(test) { 1_000_000 } else { 100_000_000 };

/// The order in which `packages` are installed, as their indices. Ties are
/// decided by the order they are given in.
///
/// # Errors
/// With the package that needs more than can be looked for.
pub fn install_order(packages: &[&Package], links: &Links) -> Result<Vec<usize>, ComposeError> {
    let offers = Offers::of(packages, links);
    let mut graph = Graph::new(packages.iter().map(|package| package.color));
    for (at, package) in packages.iter().enumerate() {
        let relations = &package.relations;
        let mut record = Record { graph: &mut graph, offers: &offers, package: at };
        relations.requires.iter().for_each(|need| record.need(need, Kind::Required));
        relations.wishes.iter().for_each(|need| record.need(need, Kind::Weak));
        relations.reversed.iter().for_each(|need| record.need(need, Kind::Reversed));
        relations.orders.iter().for_each(|need| record.need(need, Kind::Weak));
        if offers.left.get() == 0 {
            let package = package.identity.to_string();
            return Err(ComposeError::TooManyNeeds { package, most: MAX_COMPARISONS });
        }
    }
    Ok(graph.order(PREFERRED_COLOR))
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Required,
    Weak,
    Reversed,
}

struct Record<'a> {
    graph: &'a mut Graph,
    offers: &'a Offers<'a>,
    package: usize,
}

impl Record<'_> {
    fn need(&mut self, relation: &Relation, kind: Kind) {
        let flags = relation.flags;
        if flags & UNORDERED != 0 && flags & SCRIPTS == 0 {
            return;
        }
        let strong = kind == Kind::Required && flags & MISSING_OK == 0;
        let legacy = flags & ALL_REQUIRES == PREREQ;
        let for_script = strong && (flags & FOR_SCRIPT != 0 || legacy);
        // The solver refuses what it cannot read; here it orders nothing.
        if let Ok(need) = Need::parse(&relation.dependency) {
            self.rich(&need, kind, for_script);
        }
    }

    fn rich(&mut self, need: &Need, kind: Kind, for_script: bool) {
        match need {
            Need::Plain(dependency) => self.plain(dependency, kind, for_script),
            Need::And(all) | Need::Or(all) => {
                all.iter().for_each(|one| self.rich(one, kind, for_script));
            }
            Need::If { then, otherwise, .. } | Need::Unless { then, otherwise, .. } => {
                self.rich(then, kind, for_script);
                if let Some(otherwise) = otherwise {
                    self.rich(otherwise, kind, for_script);
                }
            }
            Need::With(first, _) | Need::Without(first, _) => self.rich(first, kind, for_script),
        }
    }

    fn plain(&mut self, dependency: &Dependency, kind: Kind, for_script: bool) {
        let Some(other) = self.offers.provider(dependency, self.package) else {
            return;
        };
        match kind {
            Kind::Reversed => self.graph.supplement(self.package, other),
            _ => self.graph.need(self.package, other, for_script),
        }
    }
}

/// What packages offer to others, by name.
struct Offers<'a> {
    colors: Vec<u32>,
    provides: HashMap<&'a str, Vec<(usize, &'a Dependency)>>,
    /// Owners of the paths that somebody needs, by the path as it is needed.
    paths: HashMap<&'a str, Vec<usize>>,
    /// How many may still be looked at; then nobody is found any more.
    left: Cell<usize>,
}

impl<'a> Offers<'a> {
    fn of(packages: &[&'a Package], links: &Links) -> Self {
        let mut provides: HashMap<&str, Vec<(usize, &Dependency)>> = HashMap::new();
        for (at, package) in packages.iter().enumerate() {
            for provided in &package.relations.provides {
                let entry = provides.entry(&provided.dependency.name).or_default();
                entry.push((at, &provided.dependency));
            }
        }
        let colors = packages.iter().map(|package| package.color).collect();
        let (paths, left) = (paths(packages, links), Cell::new(MAX_COMPARISONS));
        Self { colors, provides, paths, left }
    }

    /// Who is taken to satisfy a need: of several the one of the preferred
    /// color, then the package itself, then the first.
    fn provider(&self, wanted: &Dependency, package: usize) -> Option<usize> {
        let owners = self.paths.get(&*wanted.name).filter(|owners| !owners.is_empty());
        let named = self.provides.get(&*wanted.name);
        let count = owners.map(Vec::len).or(named.map(Vec::len))?;
        self.left.set(self.left.get().saturating_sub(count));
        if self.left.get() == 0 {
            return None;
        }
        let found: Vec<usize> = match owners {
            Some(owners) => owners.clone(),
            None => {
                let named = named?.iter();
                named.filter(|(_, one)| one.satisfies(wanted)).map(|(at, _)| *at).collect()
            }
        };
        let score = |at: &usize| {
            2 * u8::from(self.colors[*at] == PREFERRED_COLOR) + u8::from(*at == package)
        };
        let best = found.iter().map(score).max()?;
        found.iter().copied().find(|at| score(at) == best)
    }
}

fn paths<'a>(packages: &[&'a Package], links: &Links) -> HashMap<&'a str, Vec<usize>> {
    let mut wanted: HashMap<String, BTreeSet<&str>> = HashMap::new();
    let mut names: std::collections::HashSet<&str> = std::collections::HashSet::new();
    for package in packages {
        let relations = &package.relations;
        let all = relations.requires.iter().chain(&relations.wishes).chain(&relations.reversed);
        for relation in all.filter(|relation| relation.dependency.name.starts_with('/')) {
            let text = &*relation.dependency.name;
            if let Ok(path) = crate::tree::TreePath::new(text) {
                wanted.entry(links.place(&path)).or_default().insert(text);
                names.extend(text.rsplit('/').next());
            }
        }
    }
    let mut owners: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, package) in packages.iter().enumerate() {
        for file in &package.files {
            if !file.path.name().is_some_and(|name| names.contains(name)) {
                continue;
            }
            for text in wanted.get(&links.place(&file.path)).into_iter().flatten() {
                owners.entry(text).or_default().push(at);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::testing;
    use crate::tree::Tree;

    #[test]
    fn needs_times_offers_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut package = testing::package(folder.path(), "kit", |builder| {
            builder.requires(rpm::Dependency::any("kit"));
        });
        let links = Links::of(&Tree::new(0), &[&package]);
        let own = |relation: &&Relation| *relation.dependency.name == *"kit";
        let provided = package.relations.provides.iter().find(own).unwrap().clone();
        let needed = package.relations.requires.iter().find(own).unwrap().clone();
        package.relations.provides = vec![provided; 1000];
        package.relations.requires = vec![needed; 999];
        assert_eq!(install_order(&[&package], &links).unwrap(), [0]);
        package.relations.requires.push(package.relations.requires[0].clone());
        let error = install_order(&[&package], &links).unwrap_err().to_string();
        assert!(error.starts_with("package kit-1.0-1.noarch: "), "{error}");
    }
}
