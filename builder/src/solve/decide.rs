//! The order in which packages are decided: first what the recipe asks for,
//! then what they require, then what they only recommend; and at the end a
//! second look at choices that turned out to be needless. Follows libsolv's
//! `solver_run_sat()`, as its order shows in the result.

use super::SolveError;
use super::policy::{Policy, Purpose};
use super::pool::Literal;
use super::rules::Why;
use super::search::{Branch, Contradiction, Search};
use super::wishes::Wishes;

/// Why there is no choice.
pub(super) enum Failure {
    Contradiction(Contradiction),
    Solve(SolveError),
}

impl From<Contradiction> for Failure {
    fn from(contradiction: Contradiction) -> Self {
        Self::Contradiction(contradiction)
    }
}

impl From<SolveError> for Failure {
    fn from(error: SolveError) -> Self {
        Self::Solve(error)
    }
}

/// A search with the policy that guides it.
pub(super) struct Decider<'p, 'r> {
    pub policy: Policy<'p, 'r>,
    pub search: Search,
    pub wishes: Wishes,
    /// Whether what is recommended is installed too.
    pub weak: bool,
}

impl Decider<'_, '_> {
    /// Decides until nothing is open any more.
    pub fn run(&mut self) -> Result<(), Failure> {
        self.search.start()?;
        let mut level = 1;
        let mut asked = 0;
        loop {
            if level < asked || asked == 0 {
                level = self.asked(level)?;
                asked = level + 1;
            }
            level = self.required(level, asked)?;
            if level < asked - 1 {
                asked = level + 1;
                continue;
            }
            if self.weak
                && let Some(next) = self.recommended(level)?
            {
                level = next;
                continue;
            }
            match self.second_look()? {
                Some(next) => level = next,
                None => return Ok(()),
            }
        }
    }

    /// The packages of a clause between which there is still a choice; nothing
    /// where it holds, or may hold for another reason.
    fn open(&self, rule: usize) -> Option<Vec<Literal>> {
        let mut open = Vec::new();
        for literal in self.search.rules.literals(rule) {
            if *literal < 0 {
                if !self.search.is_false(*literal) {
                    return None;
                }
            } else if self.search.is_true(*literal) {
                return None;
            } else if self.search.decision(*literal) == 0 {
                open.push(*literal);
            }
        }
        (!open.is_empty()).then_some(open)
    }

    fn filter(&mut self, packages: &mut Vec<Literal>, purpose: Purpose) -> Result<(), SolveError> {
        self.policy.filter(packages, &self.search, &mut self.wishes, purpose)
    }

    /// What the recipe asks for.
    fn asked(&mut self, mut level: i32) -> Result<i32, Failure> {
        let first = self.search.rules.of_packages;
        let mut rule = first;
        while rule < self.search.rules.len() {
            if !matches!(self.search.rules.rule(rule).why, Why::Asked(_)) {
                break;
            }
            let Some(open) = self.open(rule) else {
                rule += 1;
                continue;
            };
            let before = level;
            level = self.choose(open, level)?;
            match level {
                same if same == before => {}
                back if back < before => rule = first,
                _ => rule += 1,
            }
        }
        Ok(level)
    }

    /// Chooses one of `packages` and remembers the others.
    fn choose(&mut self, mut packages: Vec<Literal>, level: i32) -> Result<i32, Failure> {
        self.filter(&mut packages, Purpose::Choose)?;
        let best = packages.remove(0);
        if !packages.is_empty() {
            self.search.branches.push(Branch { level, others: packages });
        }
        Ok(self.search.decide(best, level)?)
    }

    /// What packages require: first where the policy leaves no choice, then,
    /// from the first choice on, one after the other.
    fn required(&mut self, mut level: i32, asked: i32) -> Result<i32, Failure> {
        let mut at = 0;
        let mut unchanged = 0;
        // The first rule that was put off, once there is one.
        let mut put_off = None;
        let mut is_final = false;
        loop {
            if unchanged >= self.search.rules.len() {
                match put_off.take() {
                    Some(rule) if !is_final => {
                        at = rule;
                        is_final = true;
                        unchanged = 0;
                    }
                    _ => return Ok(level),
                }
            }
            if at >= self.search.rules.len() {
                at = 0;
            }
            let rule = at;
            at += 1;
            unchanged += 1;
            let Some(mut open) = self.open(rule).filter(|open| open.len() > 1) else { continue };
            if !is_final {
                self.filter(&mut open, Purpose::Look)?;
                if open.len() > 1 {
                    put_off.get_or_insert(rule);
                    continue;
                }
            }
            level = self.choose(open, level)?;
            if level < asked - 1 {
                return Ok(level);
            }
            unchanged = 0;
        }
    }

    /// What chosen packages recommend, and what supplements them. Returns the
    /// level if there was anything.
    fn recommended(&mut self, level: i32) -> Result<Option<i32>, Failure> {
        let pool = self.policy.pool;
        let chosen: Vec<Literal> = self.search.chosen().collect();
        let mut sorted = chosen.clone();
        sorted.sort_unstable();
        let mut all = Vec::new();
        for package in sorted {
            for id in &pool.package(package).relations.recommends {
                let choices = self.wishes.choices(pool, &self.search, *id)?;
                all.extend(choices.into_iter().flatten());
            }
        }
        let mut supplements = Vec::new();
        for (id, package) in pool.repositories.packages() {
            let literal = super::pool::literal(id);
            if !package.relations.supplements.is_empty()
                && pool.counts(id)
                && self.search.decision(literal) == 0
                && self.wishes.is_supplement(pool, &self.search, literal)?
            {
                supplements.push(literal);
            }
        }
        all.extend(&supplements);
        if all.is_empty() {
            return Ok(None);
        }
        all.sort_unstable();
        all.dedup();
        self.filter(&mut all, Purpose::Recommended)?;
        self.install_wishes(level, &chosen, &supplements, &all).map(Some)
    }

    fn install_wishes(
        &mut self,
        mut level: i32,
        chosen: &[Literal],
        supplements: &[Literal],
        best: &[Literal],
    ) -> Result<i32, Failure> {
        let pool = self.policy.pool;
        for package in supplements {
            if self.search.decision(*package) == 0 && best.contains(package) {
                let before = level;
                level = self.search.decide(*package, level)?;
                if level <= before {
                    return Ok(level);
                }
            }
        }
        for package in chosen {
            for id in &pool.package(*package).relations.recommends {
                for mut open in self.wishes.choices(pool, &self.search, *id)? {
                    open.retain(|package| best.contains(package));
                    let Some(first) = open.first().copied() else { continue };
                    if open.len() > 1 {
                        self.search.branches.push(Branch { level, others: open.split_off(1) });
                    }
                    let before = level;
                    level = self.search.decide(first, level)?;
                    if level <= before {
                        return Ok(level);
                    }
                }
            }
        }
        Ok(level)
    }

    /// Where a package was chosen among several, and another of them came in
    /// too, with it or later: goes back and takes that one.
    fn second_look(&mut self) -> Result<Option<i32>, Failure> {
        let mut found = None;
        for branch in self.search.branches.iter().rev() {
            for other in &branch.others {
                if self.search.decision(*other) > branch.level {
                    found = Some((branch.level, *other));
                }
            }
        }
        let Some((level, other)) = found else { return Ok(None) };
        self.search.revert(level);
        Ok(Some(self.search.decide(other, level)?))
    }
}
