//! Which of several packages is tried first: libsolv's rules, as dnf has them
//! set (`policy_filter_unwanted()`).

use std::cmp::Ordering;

use super::pool::{Literal, Pool};
use super::search::Search;
use super::wishes::Wishes;
use super::{SolveError, offers};
use crate::repository::Preference;

/// What a choice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One package of them is needed.
    Choose,
    /// The same, only to see whether there is a choice at all.
    Look,
    /// All of them are recommended.
    Recommended,
    /// All of them supplement something, and only the order is open.
    Order,
}

/// Knows what is preferred.
pub(super) struct Policy<'p, 'r> {
    pub pool: &'p Pool<'r>,
    /// By package: whether it is to stay as it is if it can.
    pub kept: Vec<bool>,
}

impl Policy<'_, '_> {
    /// Drops from `packages` those that others are better than, and puts the
    /// best first.
    pub fn filter(
        &self,
        packages: &mut Vec<Literal>,
        search: &Search,
        wishes: &mut Wishes,
        purpose: Purpose,
    ) -> Result<(), SolveError> {
        if purpose == Purpose::Order {
            return self.order(packages, search, wishes);
        }
        let is_kept = |package: &Literal| self.kept[package.unsigned_abs() as usize];
        if purpose != Purpose::Recommended {
            keep_any(packages, |package| is_kept(&package));
        }
        self.best_priority(packages);
        self.best_version(packages);
        if purpose == Purpose::Recommended || packages.len() < 2 {
            return Ok(());
        }
        wishes.update(self.pool, search)?;
        let mut wanted = Vec::with_capacity(packages.len());
        for package in packages.iter() {
            wanted.push(wishes.is_wanted(self.pool, search, *package)?);
        }
        let mut wanted = wanted.into_iter();
        keep_any(packages, |_| wanted.next().unwrap_or(false));
        if purpose == Purpose::Choose && packages.len() > 1 {
            self.order(packages, search, wishes)?;
        }
        Ok(())
    }

    /// Puts what is better first, and drops nothing.
    fn order(
        &self,
        packages: &mut Vec<Literal>,
        search: &Search,
        wishes: &mut Wishes,
    ) -> Result<(), SolveError> {
        packages.sort_by_cached_key(|package| self.is_old(*package));
        offers::last_the_older(self.pool, packages);
        wishes.update(self.pool, search)?;
        let mut suggested = Vec::with_capacity(packages.len());
        for package in packages.iter() {
            suggested.push((!wishes.is_suggested(self.pool, search, *package)?, *package));
        }
        suggested.sort_by_key(|(is_not, _)| *is_not);
        *packages = suggested.into_iter().map(|(_, package)| package).collect();
        Ok(())
    }

    fn preference(&self, package: Literal) -> Preference {
        self.pool.repositories.preference(self.pool.package(package).repository)
    }

    /// A repository of better priority wins over any version.
    fn best_priority(&self, packages: &mut Vec<Literal>) {
        let priority = |package: &Literal| self.preference(*package).priority;
        if let Some(best) = packages.iter().map(priority).min() {
            packages.retain(|package| priority(package) == best);
        }
    }

    /// Of each name the newest, by name; none that another one obsoletes.
    fn best_version(&self, packages: &mut Vec<Literal>) {
        packages.sort_by(|a, b| self.compare(*a, *b));
        packages.dedup_by(|later, first| {
            let (later, first) = (*later, first);
            if self.pool.nevra(later).name != self.pool.nevra(*first).name {
                return false;
            }
            if self.pool.nevra(later).evr > self.pool.nevra(*first).evr {
                *first = later;
            }
            true
        });
        if packages.len() > 1 {
            self.not_obsoleted(packages);
        }
    }

    fn compare(&self, a: Literal, b: Literal) -> Ordering {
        let key = |package| {
            let nevra = self.pool.nevra(package);
            (&nevra.name, self.preference(package).cost, package)
        };
        key(a).cmp(&key(b))
    }

    /// Drops what another one obsoletes, itself or by way of a third, unless
    /// that goes round in a circle.
    fn not_obsoleted(&self, packages: &mut Vec<Literal>) {
        let edges: Vec<Vec<usize>> =
            packages.iter().map(|package| self.obsoleted_among(*package, packages)).collect();
        if edges.iter().all(Vec::is_empty) {
            return;
        }
        let reached: Vec<Vec<bool>> = (0..packages.len()).map(|from| reach(&edges, from)).collect();
        let is_best = |at: usize| (0..packages.len()).all(|by| !reached[by][at] || reached[at][by]);
        *packages = packages
            .iter()
            .enumerate()
            .filter(|(at, _)| is_best(*at))
            .map(|(_, one)| *one)
            .collect();
    }

    /// The positions of those that `by` obsoletes.
    fn obsoleted_among(&self, by: Literal, packages: &[Literal]) -> Vec<usize> {
        let own = &self.pool.package(by).relations.obsoletes;
        if own.is_empty() {
            return Vec::new();
        }
        let is_obsoleted = |other: Literal| {
            self.pool.nevra(other).name != self.pool.nevra(by).name
                && own
                    .iter()
                    .any(|id| self.pool.is_obsoleted(other, self.pool.repositories.dependency(*id)))
        };
        (0..packages.len()).filter(|at| is_obsoleted(packages[*at])).collect()
    }

    /// Whether there is a newer version of it, or one in a better repository,
    /// that was perhaps no candidate, or is even excluded.
    fn is_old(&self, package: Literal) -> bool {
        let nevra = self.pool.nevra(package);
        let priority = self.preference(package).priority;
        self.pool.known_as(&nevra.name).any(|other| {
            let found = self.pool.nevra(other);
            let better = self.preference(other).priority;
            other != package
                && found.arch == nevra.arch
                && (better < priority || (better == priority && found.evr > nevra.evr))
        })
    }
}

/// Where one comes from `from`, step by step.
fn reach(edges: &[Vec<usize>], from: usize) -> Vec<bool> {
    let mut reached = vec![false; edges.len()];
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for next in &edges[at] {
            if !std::mem::replace(&mut reached[*next], true) {
                open.push(*next);
            }
        }
    }
    reached
}

/// Keeps those for which `is_good` holds, if there are any.
fn keep_any(packages: &mut Vec<Literal>, mut is_good: impl FnMut(Literal) -> bool) {
    let good: Vec<Literal> = packages.iter().copied().filter(|package| is_good(*package)).collect();
    if !good.is_empty() {
        *packages = good;
    }
}
