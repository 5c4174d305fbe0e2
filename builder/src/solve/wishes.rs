//! Weak dependencies: what chosen packages recommend and suggest, and which
//! packages make the chosen ones better.

use std::collections::HashMap;
use std::rc::Rc;

use super::SolveError;
use super::clauses::{Clauses, clauses};
use super::pool::{Literal, Pool};
use super::rich::Need;
use super::search::Search;
use crate::repository::DependencyId;

/// What the packages chosen so far wish for.
pub(super) struct Wishes {
    recommended: Marks,
    suggested: Marks,
    /// What was chosen when that was found out.
    seen: Vec<Literal>,
    rich: HashMap<DependencyId, Option<Rc<Need>>>,
}

/// The packages that could grant wishes of one kind.
struct Marks {
    /// By package.
    is_wanted: Vec<bool>,
    /// Wishes that may want more when more is chosen.
    conditional: Vec<DependencyId>,
}

impl Marks {
    fn new(packages: usize) -> Self {
        Self { is_wanted: vec![false; packages + 1], conditional: Vec::new() }
    }

    fn clear(&mut self) {
        self.is_wanted.fill(false);
        self.conditional.clear();
    }

    fn mark(&mut self, packages: &[Literal]) {
        for package in packages {
            self.is_wanted[package.unsigned_abs() as usize] = true;
        }
    }
}

impl Wishes {
    pub fn new(packages: usize) -> Self {
        let (recommended, suggested) = (Marks::new(packages), Marks::new(packages));
        Self { recommended, suggested, seen: Vec::new(), rich: HashMap::new() }
    }

    /// Takes in what was chosen since.
    pub fn update(&mut self, pool: &Pool<'_>, search: &Search) -> Result<(), SolveError> {
        let chosen: Vec<Literal> = search.chosen().collect();
        if chosen == self.seen {
            return Ok(());
        }
        if !chosen.starts_with(&self.seen) {
            self.recommended.clear();
            self.suggested.clear();
            self.seen.clear();
        }
        for package in &chosen[self.seen.len()..] {
            let relations = &pool.package(*package).relations;
            Self::collect(&mut self.recommended, pool, &relations.recommends)?;
            Self::collect(&mut self.suggested, pool, &relations.suggests)?;
        }
        self.seen = chosen;
        for id in self.recommended.conditional.clone() {
            let wanted = self.conditional(pool, search, id)?;
            self.recommended.mark(&wanted);
        }
        for id in self.suggested.conditional.clone() {
            let wanted = self.conditional(pool, search, id)?;
            self.suggested.mark(&wanted);
        }
        Ok(())
    }

    fn collect(
        marks: &mut Marks,
        pool: &Pool<'_>,
        wishes: &[DependencyId],
    ) -> Result<(), SolveError> {
        for id in wishes {
            match pool.repositories.dependency(*id).name.starts_with('(') {
                true => marks.conditional.push(*id),
                false => marks.mark(&pool.providers(*id)?),
            }
        }
        Ok(())
    }

    fn need(&mut self, pool: &Pool<'_>, id: DependencyId) -> Option<Rc<Need>> {
        let dependency = pool.repositories.dependency(id);
        self.rich.entry(id).or_insert_with(|| Need::parse(dependency).ok().map(Rc::new)).clone()
    }

    fn rich_clauses(&mut self, pool: &Pool<'_>, id: DependencyId) -> Result<Clauses, SolveError> {
        let Some(need) = self.need(pool, id) else { return Ok(Clauses::new()) };
        Ok(clauses(pool, &need, true)?.unwrap_or_default())
    }

    /// The packages that a rich wish is for, now that its conditions hold.
    fn conditional(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        id: DependencyId,
    ) -> Result<Vec<Literal>, SolveError> {
        let mut wanted = Vec::new();
        for clause in self.rich_clauses(pool, id)? {
            if conditions_hold(&clause, search) {
                wanted.extend(clause.into_iter().filter(|literal| *literal > 0));
            }
        }
        Ok(wanted)
    }

    /// The packages that could still grant a recommendation of a chosen one,
    /// each once; none if it is granted.
    pub fn open(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        id: DependencyId,
    ) -> Result<Vec<Literal>, SolveError> {
        let wanted = match pool.repositories.dependency(id).name.starts_with('(') {
            true => self.rich_clauses(pool, id)?,
            false => vec![pool.providers(id)?.to_vec()],
        };
        let mut open = Vec::new();
        for clause in wanted {
            let is_granted = clause.iter().any(|one| *one > 0 && search.is_true(*one));
            if is_granted || !conditions_hold(&clause, search) {
                continue;
            }
            for package in clause.into_iter().filter(|literal| *literal > 0) {
                if search.decision(package) == 0 && !open.contains(&package) {
                    open.push(package);
                }
            }
        }
        Ok(open)
    }

    /// Whether a chosen package recommends it, or it supplements one.
    pub fn is_wanted(
        &mut self,
        pool: &Pool<'_>,
        search: &Search,
        package: Literal,
    ) -> Result<bool, SolveError> {
        Ok(self.recommended.is_wanted[package.unsigned_abs() as usize]
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
        Ok(self.suggested.is_wanted[package.unsigned_abs() as usize]
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

/// Whether all that a clause is conditional on is there.
fn conditions_hold(clause: &[Literal], search: &Search) -> bool {
    clause.iter().all(|literal| *literal > 0 || search.is_false(*literal))
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
