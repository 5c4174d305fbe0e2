//! Which of several packages is tried first: libsolv's rules, as dnf has them
//! set (`policy_filter_unwanted()`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::SolveError;
use super::pool::{Literal, Pool};
use super::search::Search;
use super::wishes::Wishes;
use crate::evr::{Bound, Sense};
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
            self.last_the_old(packages);
            self.last_the_older_offers(packages);
            let mut suggested = Vec::with_capacity(packages.len());
            for package in packages.iter() {
                suggested.push((!wishes.is_suggested(self.pool, search, *package)?, *package));
            }
            suggested.sort_by_key(|(is_not, _)| *is_not);
            *packages = suggested.into_iter().map(|(_, package)| package).collect();
        }
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

    /// Two that obsolete each other both stay.
    fn not_obsoleted(&self, packages: &mut Vec<Literal>) {
        let obsoletes = |by: Literal, other: Literal| {
            let mut own = self.pool.package(by).relations.obsoletes.iter();
            by != other
                && own
                    .any(|id| self.pool.is_obsoleted(other, self.pool.repositories.dependency(*id)))
        };
        let all = packages.clone();
        packages.retain(|package| {
            !all.iter().any(|by| obsoletes(*by, *package) && !obsoletes(*package, *by))
        });
    }

    /// To the end with packages of which there is a newer version, or one in a
    /// better repository, that was no candidate.
    fn last_the_old(&self, packages: &mut [Literal]) {
        packages.sort_by_cached_key(|package| self.is_old(*package));
    }

    fn is_old(&self, package: Literal) -> bool {
        let nevra = self.pool.nevra(package);
        let priority = self.preference(package).priority;
        self.pool.named(&nevra.name).any(|other| {
            let found = self.pool.nevra(other);
            let better = self.preference(other).priority;
            other != package
                && found.arch == nevra.arch
                && (better < priority || (better == priority && found.evr > nevra.evr))
        })
    }

    /// To the end with packages that provide something in an older version
    /// than another candidate does.
    fn last_the_older_offers(&self, packages: &mut [Literal]) {
        let all = packages.to_vec();
        packages.sort_by_cached_key(|package| {
            all.iter().any(|other| self.offers_more(*other, *package))
        });
    }

    fn offers_more(&self, one: Literal, other: Literal) -> bool {
        let mut offers = self.offers(one);
        offers.any(|(name, newer)| {
            self.offers(other).any(|(same, older)| same == name && newer.compare(older).is_gt())
        })
    }

    /// What a package provides in exactly one version.
    fn offers(&self, package: Literal) -> impl Iterator<Item = (&Arc<str>, &Bound)> {
        let provides = self.pool.package(package).relations.provides.iter();
        provides.map(|id| self.pool.repositories.dependency(*id)).filter_map(|dependency| {
            let bound = dependency.bound.as_ref()?;
            (bound.sense == Sense::Equal).then_some((&dependency.name, bound))
        })
    }
}

/// Keeps those for which `is_good` holds, if there are any.
fn keep_any(packages: &mut Vec<Literal>, mut is_good: impl FnMut(Literal) -> bool) {
    let good: Vec<Literal> = packages.iter().copied().filter(|package| is_good(*package)).collect();
    if !good.is_empty() {
        *packages = good;
    }
}
