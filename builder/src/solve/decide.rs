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
        // Above which level the recipe's own wishes are known to be decided.
        let mut asked = level + 1;
        loop {
            if level < asked {
                let before = level;
                level = self.asked(level)?;
                if level < before {
                    continue;
                }
                asked = level;
            }
            let before = level;
            level = self.required(level)?;
            if level < before {
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

    pub(super) fn filter(
        &mut self,
        packages: &mut Vec<Literal>,
        purpose: Purpose,
    ) -> Result<(), SolveError> {
        self.policy.filter(packages, &self.search, &mut self.wishes, purpose)
    }

    /// What the recipe asks for; less than `level` where that had to give way.
    fn asked(&mut self, level: i32) -> Result<i32, Failure> {
        let first = self.search.rules.of_packages;
        let begun = level;
        let (mut level, mut rule) = (level, first);
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
                back if back < begun => return Ok(level),
                back if back < before => rule = first,
                _ => rule += 1,
            }
        }
        Ok(level)
    }

    /// Chooses one of `packages` and remembers the others.
    pub(super) fn choose(
        &mut self,
        mut packages: Vec<Literal>,
        level: i32,
    ) -> Result<i32, Failure> {
        self.filter(&mut packages, Purpose::Choose)?;
        let best = packages[0];
        self.search.branch(level, packages);
        Ok(self.search.decide(best, level)?)
    }

    /// What packages require: first where the policy leaves no choice, then,
    /// from the first choice on, one after the other. Ends with less than
    /// `level` where something decided before had to give way.
    fn required(&mut self, level: i32) -> Result<i32, Failure> {
        let begun = level;
        let mut level = level;
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
            if level < begun {
                return Ok(level);
            }
            unchanged = 0;
        }
    }

    /// Where a package was chosen among several and another of them came in
    /// later anyway, or would have been recommended by now: goes back and takes
    /// that one. The earliest such choice counts.
    fn second_look(&mut self) -> Result<Option<i32>, Failure> {
        if self.search.branches.is_empty() {
            return Ok(None);
        }
        self.wishes.update(self.policy.pool, &self.search)?;
        let mut found = None;
        for branch in 0..self.search.branches.len() {
            if let Some(choice) = self.better_choice(branch)? {
                found = Some((branch, choice));
                break;
            }
        }
        let Some((branch, choice)) = found else { return Ok(None) };
        Ok(Some(self.search.take_branch(branch, choice)?))
    }

    fn better_choice(&mut self, branch: usize) -> Result<Option<usize>, SolveError> {
        let Branch { level, choices } = &self.search.branches[branch];
        let is_there = |literal: &Literal| *literal > 0 && self.search.decision(*literal) > *level;
        if let Some(other) = choices.iter().position(is_there) {
            return Ok(Some(other));
        }
        let (pool, search) = (self.policy.pool, &self.search);
        let mut wished = None;
        for (at, other) in choices.iter().enumerate() {
            if *other > 0 && self.wishes.is_wanted(pool, search, *other)? {
                wished = Some(at);
                break;
            }
        }
        if wished.is_none() {
            return Ok(None);
        }
        for tried in choices.iter().filter(|choice| **choice < 0) {
            if search.decision(-tried) == level + 1
                && !self.wishes.is_wanted(pool, search, -tried)?
            {
                return Ok(wished);
            }
        }
        Ok(None)
    }
}
