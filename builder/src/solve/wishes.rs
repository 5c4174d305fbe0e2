//! Weak dependencies: what chosen packages recommend and suggest, and which
//! packages make the chosen ones better.

use std::collections::HashMap;
use std::rc::Rc;

use super::SolveError;
use super::clauses::clauses;
use super::pool::{Literal, Pool};
use super::rich::Need;
use super::search::Search;
use crate::repository::DependencyId;

/// What the packages chosen so far wish for.
pub(super) struct Wishes {
    recommended: Vec<bool>,
    suggested: Vec<bool>,
    /// What was chosen when that was found out.
    seen: Vec<Literal>,
    rich: HashMap<DependencyId, Option<Rc<Need>>>,
}

impl Wishes {
    pub fn new(packages: usize) -> Self {
        let none = vec![false; packages + 1];
        Self { recommended: none.clone(), suggested: none, seen: Vec::new(), rich: HashMap::new() }
    }

    /// Takes in what was chosen since.
    pub fn update(&mut self, pool: &Pool<'_>, search: &Search) -> Result<(), SolveError> {
        let chosen: Vec<Literal> = search.chosen().collect();
        if !chosen.starts_with(&self.seen) {
            self.recommended.fill(false);
            self.suggested.fill(false);
            self.seen.clear();
        }
        for package in &chosen[self.seen.len()..] {
            let relations = &pool.package(*package).relations;
            for id in &relations.recommends {
                for one in self.candidates(pool, *id)? {
                    self.recommended[one.unsigned_abs() as usize] = true;
                }
            }
            for id in &relations.suggests {
                for one in self.candidates(pool, *id)? {
                    self.suggested[one.unsigned_abs() as usize] = true;
                }
            }
        }
        self.seen = chosen;
        Ok(())
    }

    fn need(&mut self, pool: &Pool<'_>, id: DependencyId) -> Option<Rc<Need>> {
        let dependency = pool.repositories.dependency(id);
        self.rich.entry(id).or_insert_with(|| Need::parse(dependency).ok().map(Rc::new)).clone()
    }

    /// The packages that could grant a wish.
    fn candidates(
        &mut self,
        pool: &Pool<'_>,
        id: DependencyId,
    ) -> Result<Vec<Literal>, SolveError> {
        if !pool.repositories.dependency(id).name.starts_with('(') {
            return Ok(pool.providers(id)?.to_vec());
        }
        let Some(need) = self.need(pool, id) else { return Ok(Vec::new()) };
        let found = clauses(pool, &need, true)?.unwrap_or_default();
        Ok(found.into_iter().flatten().filter(|package| *package > 0).collect())
    }

    /// The open choices that a recommendation of a chosen package leaves.
    pub fn choices(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        id: DependencyId,
    ) -> Result<Vec<Vec<Literal>>, SolveError> {
        let wanted = if pool.repositories.dependency(id).name.starts_with('(') {
            let Some(need) = self.need(pool, id) else { return Ok(Vec::new()) };
            clauses(pool, &need, true)?.unwrap_or_default()
        } else {
            vec![pool.providers(id)?.to_vec()]
        };
        let is_open = |clause: &Vec<Literal>| {
            !clause.iter().any(|literal| match *literal > 0 {
                true => search.is_true(*literal),
                // What a condition asks for counts only when it is there.
                false => !search.is_false(*literal),
            })
        };
        let undecided = |clause: Vec<Literal>| -> Vec<Literal> {
            let positive = clause.into_iter().filter(|literal| *literal > 0);
            positive.filter(|package| search.decision(*package) == 0).collect()
        };
        Ok(wanted.into_iter().filter(is_open).map(undecided).collect())
    }

    /// Whether a chosen package recommends it, or it supplements one.
    pub fn is_wanted(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        package: Literal,
    ) -> Result<bool, SolveError> {
        Ok(self.recommended[package.unsigned_abs() as usize]
            || self.is_supplement(pool, search, package)?)
    }

    /// Whether it says that it makes a chosen package better.
    pub fn is_supplement(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        package: Literal,
    ) -> Result<bool, SolveError> {
        self.any_holds(pool, search, &pool.package(package).relations.supplements)
    }

    /// Whether a chosen package suggests it, or it enhances one.
    pub fn is_suggested(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        package: Literal,
    ) -> Result<bool, SolveError> {
        Ok(self.suggested[package.unsigned_abs() as usize]
            || self.any_holds(pool, search, &pool.package(package).relations.enhances)?)
    }

    fn any_holds(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        list: &[DependencyId],
    ) -> Result<bool, SolveError> {
        for id in list {
            let dependency = pool.repositories.dependency(*id);
            let holds = if dependency.name.starts_with('(') {
                match self.need(pool, *id) {
                    Some(need) => holds(pool, search, &need)?,
                    None => false,
                }
            } else {
                pool.providers(*id)?.iter().any(|package| search.is_true(*package))
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether what is chosen meets `need`.
fn holds(pool: &Pool<'_>, search: &Search, need: &Need) -> Result<bool, SolveError> {
    Ok(match need {
        Need::And(needs) => {
            for need in needs {
                if !holds(pool, search, need)? {
                    return Ok(false);
                }
            }
            true
        }
        Need::Or(needs) => {
            for need in needs {
                if holds(pool, search, need)? {
                    return Ok(true);
                }
            }
            false
        }
        Need::If { then, when, otherwise } => match (holds(pool, search, when)?, otherwise) {
            (true, _) => holds(pool, search, then)?,
            (false, Some(otherwise)) => holds(pool, search, otherwise)?,
            (false, None) => true,
        },
        Need::Unless { then, when, otherwise } => match (holds(pool, search, when)?, otherwise) {
            (false, _) => holds(pool, search, then)?,
            (true, Some(otherwise)) => holds(pool, search, otherwise)?,
            (true, None) => false,
        },
        plain => pool.providers_of_need(plain)?.iter().any(|package| search.is_true(*package)),
    })
}
