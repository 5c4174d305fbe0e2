//! Everything that must hold of a choice, as clauses with their reasons: what
//! each package that could play a part requires and refuses, and what the
//! recipe asks for.

use std::collections::HashMap;
use std::rc::Rc;

use super::clauses::{clauses, tidied};
use super::pool::{Literal, Pool, literal, package_id};
use super::rich::Need;
use super::{RPMLIB, SolveError};
use crate::evr::Nevra;
use crate::repository::{DependencyId, Relations};

/// What dnf lets be there in several versions (`installonlypkgs`), as names
/// that a package has or provides.
const INSTALL_ONLY: [&str; 6] = [
    "kernel",
    "kernel-PAE",
    "installonlypkg(kernel)",
    "installonlypkg(kernel-module)",
    "installonlypkg(vm)",
    "multiversion(kernel)",
];

/// Clauses, and packages named in them, that are collected. All versions of a
/// package exclude each other in pairs: 5,000 of one name make 25 million.
const MAX_CLAUSES: usize = if cfg!(test) { 100_000 } else { 32 << 20 };
const MAX_LITERALS: usize = 4 * MAX_CLAUSES;

/// Why a clause must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The recipe asks for it: the position in its list.
    Asked(usize),
    /// The package requires it.
    Requires(DependencyId),
    /// The package requires it, and nothing meets that.
    Unmet(DependencyId),
    /// The package requires a feature of rpm that is not known.
    NewerRpm(DependencyId),
    /// The package requires what cannot be understood.
    Nonsense(DependencyId),
    /// The package conflicts with the other.
    Conflicts(DependencyId),
    /// The package obsoletes the other.
    Obsoletes(DependencyId),
    /// They are two versions of one package.
    SameName,
    /// The package is excluded.
    Excluded,
    /// It follows from others.
    Learnt,
}

/// A clause, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    start: u32,
    len: u32,
    pub why: Why,
    /// The package that wants it so; 0 where the recipe does.
    pub by: Literal,
}

/// Clauses, those of packages first, sorted by the packages' numbers: the
/// order in which libsolv looks at them.
#[derive(Debug, Default)]
pub(super) struct Rules {
    literals: Vec<Literal>,
    rules: Vec<Rule>,
    /// How many are about packages.
    pub of_packages: usize,
}

impl Rules {
    /// Adds a clause behind all others.
    pub fn push(&mut self, clause: &[Literal], why: Why, by: Literal) -> usize {
        let (start, len) = (self.literals.len(), clause.len());
        self.literals.extend_from_slice(clause);
        // More than 4 G literals would not fit into memory.
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        self.rules.push(Rule { start: number(start), len: number(len), why, by });
        self.rules.len() - 1
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    fn is_full(&self) -> bool {
        self.rules.len() > MAX_CLAUSES || self.literals.len() > MAX_LITERALS
    }

    pub fn rule(&self, rule: usize) -> &Rule {
        &self.rules[rule]
    }

    pub fn literals(&self, rule: usize) -> &[Literal] {
        let Rule { start, len, .. } = self.rules[rule];
        &self.literals[start as usize..(start + len) as usize]
    }

    /// Sorts, and drops what is there twice.
    fn unified(self) -> Self {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|a, b| self.literals(*a).cmp(self.literals(*b)));
        order.dedup_by(|a, b| self.literals(*a) == self.literals(*b));
        let mut sorted = Self::default();
        for rule in order {
            let Rule { why, by, .. } = self.rules[rule];
            sorted.push(self.literals(rule), why, by);
        }
        sorted.of_packages = sorted.len();
        sorted
    }
}

/// Collects what packages require and refuse.
pub(super) struct Collector<'p, 'r> {
    pool: &'p Pool<'r>,
    /// Whether what is only recommended may come in too.
    weak: bool,
    rules: Rules,
    seen: Vec<bool>,
    queue: Vec<Literal>,
    rich: HashMap<DependencyId, Option<Rc<Need>>>,
}

impl<'p, 'r> Collector<'p, 'r> {
    pub fn new(pool: &'p Pool<'r>, weak: bool) -> Self {
        let seen = vec![false; pool.len() + 1];
        let (rules, queue, rich) = (Rules::default(), Vec::new(), HashMap::new());
        Self { pool, weak, rules, seen, queue, rich }
    }

    /// Adds packages and everything they could bring in.
    pub fn follow(&mut self, packages: &[Literal]) -> Result<(), SolveError> {
        self.enqueue(packages.iter().copied());
        while let Some(package) = self.queue.pop() {
            let relations = &self.pool.package(package).relations;
            self.requires(package, relations)?;
            self.conflicts(package, relations)?;
            self.replaced(package, relations);
            self.check(package)?;
            if self.weak {
                self.wishes(&relations.recommends)?;
            }
        }
        Ok(())
    }

    /// Adds packages that are better with those already there.
    pub fn follow_supplements(&mut self) -> Result<(), SolveError> {
        let all = self.pool.repositories.packages();
        let wanted = all.filter(|(id, package)| {
            self.pool.counts(*id) && !package.relations.supplements.is_empty()
        });
        let wanted: Vec<Literal> = wanted.map(|(id, _)| literal(id)).collect();
        self.follow(&wanted)
    }

    pub fn finish(self) -> Rules {
        self.rules.unified()
    }

    fn enqueue(&mut self, packages: impl IntoIterator<Item = Literal>) {
        for package in packages.into_iter().filter(|package| *package > 0) {
            let seen = &mut self.seen[package.unsigned_abs() as usize];
            if std::mem::replace(seen, true) {
                continue;
            }
            match self.pool.counts(package_id(package)) {
                true => self.queue.push(package),
                false => drop(self.rules.push(&[-package], Why::Excluded, package)),
            }
        }
    }

    /// Refuses a repository that asks for clauses without end.
    fn check(&self, by: Literal) -> Result<(), SolveError> {
        let package = || self.pool.nevra(by).to_string();
        match self.rules.is_full() {
            true => Err(SolveError::TooMuch { package: package(), most: MAX_CLAUSES }),
            false => Ok(()),
        }
    }

    fn requires(&mut self, by: Literal, relations: &Relations) -> Result<(), SolveError> {
        for id in &relations.requires {
            self.check(by)?;
            let name = &*self.pool.repositories.dependency(*id).name;
            if let Some(feature) = name.strip_prefix("rpmlib(") {
                if !RPMLIB.contains(&feature.trim_end_matches(')')) {
                    self.rules.push(&[-by], Why::NewerRpm(*id), by);
                }
            } else if name.starts_with('(') {
                self.rich_requires(by, *id)?;
            } else {
                let providers = self.pool.providers(*id)?;
                self.requires_one_of(by, &providers, *id);
            }
        }
        Ok(())
    }

    fn requires_one_of(&mut self, by: Literal, clause: &[Literal], id: DependencyId) {
        if clause.contains(&by) {
            return;
        }
        let is_excluded =
            |literal: &Literal| *literal > 0 && !self.pool.counts(package_id(*literal));
        if clause.iter().all(is_excluded) {
            self.rules.push(&[-by], Why::Unmet(id), by);
            return;
        }
        let why = Why::Requires(id);
        if clause.iter().any(|literal| *literal < 0) {
            // Of a rich dependency: it may name the package itself. Its place
            // among the rules follows from its least literal, whose ever it is.
            if let Some(whole) = tidied([&[-by], clause].concat()) {
                self.rules.push(&whole, why, by);
            }
        } else {
            let clause: Vec<_> = std::iter::once(-by).chain(clause.iter().copied()).collect();
            self.rules.push(&clause, why, by);
        }
        self.enqueue(clause.iter().copied());
    }

    fn rich_requires(&mut self, by: Literal, id: DependencyId) -> Result<(), SolveError> {
        let found = match self.need(id) {
            Some(need) => clauses(self.pool, &need, true)?,
            None => None,
        };
        match found {
            Some(found) => found.iter().for_each(|clause| self.requires_one_of(by, clause, id)),
            None => {
                self.rules.push(&[-by], Why::Nonsense(id), by);
            }
        }
        Ok(())
    }

    /// A rich dependency, read once.
    fn need(&mut self, id: DependencyId) -> Option<Rc<Need>> {
        let dependency = self.pool.repositories.dependency(id);
        self.rich.entry(id).or_insert_with(|| Need::parse(dependency).ok().map(Rc::new)).clone()
    }

    fn conflicts(&mut self, by: Literal, relations: &Relations) -> Result<(), SolveError> {
        for id in &relations.conflicts {
            self.check(by)?;
            if !self.pool.repositories.dependency(*id).name.starts_with('(') {
                for other in self.pool.providers(*id)?.iter() {
                    self.exclude(by, *other, Why::Conflicts(*id));
                }
                continue;
            }
            let found = match self.need(*id) {
                Some(need) => clauses(self.pool, &need, false)?,
                None => None,
            };
            let Some(found) = found else {
                self.rules.push(&[-by], Why::Nonsense(*id), by);
                continue;
            };
            for clause in found {
                self.conflicts_unless(by, clause, *id);
            }
        }
        Ok(())
    }

    /// With `by`, `clause` must hold, or there is a conflict.
    fn conflicts_unless(&mut self, by: Literal, clause: Vec<Literal>, id: DependencyId) {
        if clause == [-by] {
            // A package may conflict with what it provides itself.
            return;
        }
        if let &[other] = clause.as_slice()
            && other < 0
        {
            return self.exclude(by, -other, Why::Conflicts(id));
        }
        self.enqueue(clause.iter().copied());
        if let Some(whole) = tidied([&[-by], clause.as_slice()].concat()) {
            self.rules.push(&whole, Why::Conflicts(id), by);
        }
    }

    /// What `by` obsoletes, and other versions of it.
    fn replaced(&mut self, by: Literal, relations: &Relations) {
        let own = self.pool.nevra(by);
        let several = is_install_only(self.pool, by);
        for id in &relations.obsoletes {
            let obsoleted = self.pool.repositories.dependency(*id);
            let named: Vec<Literal> = self.pool.named(&obsoleted.name).collect();
            for other in named {
                if self.pool.is_obsoleted(other, obsoleted) {
                    self.exclude(by, other, Why::Obsoletes(*id));
                }
            }
        }
        let is_same = |other: &Nevra| other.evr == own.evr && other.arch == own.arch;
        let named: Vec<Literal> = self.pool.named(&own.name).collect();
        for other in named {
            if !several || is_same(self.pool.nevra(other)) {
                self.exclude(by, other, Why::SameName);
            }
        }
    }

    fn exclude(&mut self, by: Literal, other: Literal, why: Why) {
        if by != other && !self.rules.is_full() {
            let (least, other) = (by.max(other), by.min(other));
            self.rules.push(&[-least, -other], why, by);
        }
    }

    fn wishes(&mut self, wishes: &[DependencyId]) -> Result<(), SolveError> {
        for id in wishes {
            if !self.pool.repositories.dependency(*id).name.starts_with('(') {
                let providers = self.pool.providers(*id)?;
                self.enqueue(providers.iter().copied());
            } else if let Some(need) = self.need(*id)
                && let Some(found) = clauses(self.pool, &need, true)?
            {
                self.enqueue(found.into_iter().flatten());
            }
        }
        Ok(())
    }
}

/// Whether several versions of the package may be there.
pub(super) fn is_install_only(pool: &Pool<'_>, package: Literal) -> bool {
    let relations = &pool.package(package).relations;
    let mut provided = relations.provides.iter().map(|id| &pool.repositories.dependency(*id).name);
    provided.any(|name| INSTALL_ONLY.contains(&&**name))
}
