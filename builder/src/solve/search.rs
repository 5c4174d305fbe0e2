//! Whether all clauses can hold together: decides packages, follows what is
//! forced, and learns a new clause from each contradiction. The search is the
//! one of MiniSat as libsolv has it, down to the order of its watch lists, as
//! that order can show in what is chosen. Which package to try next is decided
//! elsewhere.

use super::pool::Literal;
use super::rules::{Rules, Why};

/// There is no rule 0 in a watch list.
const END: u32 = u32::MAX;

/// Two literals of a rule that are not both false, and the rules that follow
/// in the lists of these literals.
#[derive(Debug, Clone, Copy)]
struct Watch {
    literals: [Literal; 2],
    next: [u32; 2],
}

/// Where a link of a watch list is kept.
#[derive(Clone, Copy)]
enum Link {
    Head(Literal),
    Next(u32, usize),
}

/// A choice that could have been made otherwise.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    /// The level before the choice.
    pub level: i32,
    /// What was possible; negative what was tried.
    pub choices: Vec<Literal>,
}

/// No choice is possible: the rules that contradict each other.
#[derive(Debug)]
pub(super) struct Contradiction(pub Vec<usize>);

/// The state of the search.
pub(super) struct Search {
    pub rules: Rules,
    watches: Vec<Watch>,
    heads: Vec<u32>,
    packages: usize,
    /// By package: 0, or the level at which it was decided, negative if the
    /// package must not be there.
    decisions: Vec<i32>,
    /// In order, each with the rule that forced it.
    pub trail: Vec<(Literal, Option<usize>)>,
    next: usize,
    pub branches: Vec<Branch>,
    /// For each rule that was learnt, those it follows from.
    learnt: Vec<Vec<usize>>,
    first_learnt: usize,
}

impl Search {
    pub fn new(rules: Rules, packages: usize) -> Self {
        let mut search = Self {
            watches: Vec::with_capacity(rules.len()),
            heads: vec![END; 2 * packages + 1],
            packages,
            decisions: vec![0; packages + 1],
            trail: Vec::new(),
            next: 0,
            branches: Vec::new(),
            learnt: Vec::new(),
            first_learnt: rules.len(),
            rules,
        };
        for rule in 0..search.rules.len() {
            let literals = match search.rules.literals(rule) {
                [first, second, ..] => [*first, *second],
                _ => [0, 0],
            };
            search.watches.push(Watch { literals, next: [END; 2] });
        }
        // The first rules come first in every list.
        for rule in (0..search.rules.len()).rev() {
            search.watch(rule);
        }
        search
    }

    fn head(&mut self, literal: Literal) -> &mut u32 {
        let at = self.packages as i64 + i64::from(literal);
        // Within the list, as it has room for both signs of every package.
        &mut self.heads[usize::try_from(at).unwrap_or(0)]
    }

    fn watch(&mut self, rule: usize) {
        for slot in 0..2 {
            let literal = self.watches[rule].literals[slot];
            if literal != 0 {
                self.watches[rule].next[slot] = *self.head(literal);
                *self.head(literal) = u32::try_from(rule).unwrap_or(END);
            }
        }
    }

    /// The level at which the package was decided; 0 if it was not.
    pub fn decision(&self, package: Literal) -> i32 {
        self.decisions[package.unsigned_abs() as usize]
    }

    pub fn is_true(&self, literal: Literal) -> bool {
        let decision = self.decision(literal);
        if literal > 0 { decision > 0 } else { decision < 0 }
    }

    pub fn is_false(&self, literal: Literal) -> bool {
        self.is_true(-literal)
    }

    /// The packages that are there, in the order in which they were decided.
    pub fn chosen(&self) -> impl Iterator<Item = Literal> {
        self.trail.iter().map(|(literal, _)| *literal).filter(|literal| *literal > 0)
    }

    fn assign(&mut self, literal: Literal, level: i32, why: Option<usize>) {
        self.decisions[literal.unsigned_abs() as usize] = if literal > 0 { level } else { -level };
        self.trail.push((literal, why));
    }

    /// Follows what is certain from the start, at level 1.
    pub fn start(&mut self) -> Result<(), Contradiction> {
        for rule in 0..self.rules.len() {
            let &[literal] = self.rules.literals(rule) else { continue };
            if self.is_false(literal) {
                return Err(self.contradiction(rule));
            }
            if self.decision(literal) == 0 {
                self.assign(literal, 1, Some(rule));
            }
        }
        match self.propagate(1) {
            Some(rule) => Err(self.contradiction(rule)),
            None => Ok(()),
        }
    }

    fn link(&mut self, link: Link) -> &mut u32 {
        match link {
            Link::Head(literal) => self.head(literal),
            Link::Next(rule, slot) => &mut self.watches[rule as usize].next[slot],
        }
    }

    /// Follows what is forced; returns a rule that cannot hold.
    fn propagate(&mut self, level: i32) -> Option<usize> {
        while let Some(&(decided, _)) = self.trail.get(self.next) {
            self.next += 1;
            let lost = -decided;
            let mut link = Link::Head(lost);
            loop {
                let rule = *self.link(link);
                if rule == END {
                    break;
                }
                let watch = self.watches[rule as usize];
                let slot = usize::from(watch.literals[0] != lost);
                let other = watch.literals[1 - slot];
                if self.is_true(other) {
                    link = Link::Next(rule, slot);
                    continue;
                }
                let literals = self.rules.literals(rule as usize);
                let free = |literal: &&Literal| **literal != other && !self.is_false(**literal);
                if let Some(&free) = literals.iter().find(free) {
                    *self.link(link) = watch.next[slot];
                    self.watches[rule as usize].literals[slot] = free;
                    self.watches[rule as usize].next[slot] = *self.head(free);
                    *self.head(free) = rule;
                    continue;
                }
                if self.is_false(other) {
                    return Some(rule as usize);
                }
                self.assign(other, level, Some(rule as usize));
                link = Link::Next(rule, slot);
            }
        }
        None
    }

    /// Decides `literal` one level above `level`, follows what that forces,
    /// and goes back as far as it must when that cannot be. Returns the level
    /// it is at then.
    pub fn decide(&mut self, literal: Literal, level: i32) -> Result<i32, Contradiction> {
        let mut level = level + 1;
        self.assign(literal, level, None);
        while let Some(rule) = self.propagate(level) {
            if level == 1 {
                return Err(self.contradiction(rule));
            }
            let (clause, back, from) = self.analyze(rule, level);
            level = back;
            self.revert(level);
            let learnt = self.learn(&clause, from);
            self.assign(clause[0], level, Some(learnt));
        }
        Ok(level)
    }

    /// What follows from the contradiction at `rule`: a clause whose first
    /// literal is forced once the search is back at the level that is returned,
    /// and the rules it follows from.
    fn analyze(&self, rule: usize, level: i32) -> (Vec<Literal>, i32, Vec<usize>) {
        let mut seen = vec![false; self.packages + 1];
        // The first is the one decision of this level that all goes back to.
        let mut clause = vec![0];
        let mut from = vec![rule];
        let (mut back, mut open) = (1, 0_usize);
        let mut rule = rule;
        let mut trail = self.trail.iter().rev();
        loop {
            for other in self.rules.literals(rule) {
                let package = other.unsigned_abs() as usize;
                let decided = self.decisions[package].abs();
                let known = decided == 1 || self.is_true(*other);
                if known || std::mem::replace(&mut seen[package], true) {
                    continue;
                }
                if decided == level {
                    open += 1;
                } else {
                    clause.push(*other);
                    back = back.max(decided);
                }
            }
            // Of this level there is always one more: the decision itself.
            let involved = trail.find(|(literal, _)| seen[literal.unsigned_abs() as usize]);
            let Some(&(literal, why)) = involved else { break };
            open = open.saturating_sub(1);
            let Some(why) = why.filter(|_| open > 0) else {
                clause[0] = -literal;
                break;
            };
            rule = why;
            from.push(why);
        }
        (clause, back, from)
    }

    fn learn(&mut self, clause: &[Literal], from: Vec<usize>) -> usize {
        let rule = self.rules.push(clause, Why::Learnt, 0);
        self.learnt.push(from);
        let literals = match clause {
            [first, rest @ ..] if !rest.is_empty() => {
                let mut highest = rest[0];
                for literal in rest {
                    if self.decision(*literal).abs() > self.decision(highest).abs() {
                        highest = *literal;
                    }
                }
                [*first, highest]
            }
            _ => [0, 0],
        };
        self.watches.push(Watch { literals, next: [END; 2] });
        self.watch(rule);
        rule
    }

    /// Takes back all decisions above `level`, and forgets the branches there.
    pub fn revert(&mut self, level: i32) {
        self.take_back(level);
        while self.branches.last().is_some_and(|branch| branch.level >= level) {
            self.branches.pop();
        }
    }

    fn take_back(&mut self, level: i32) {
        while let Some(&(literal, _)) = self.trail.last() {
            if self.decision(literal).abs() <= level {
                break;
            }
            self.decisions[literal.unsigned_abs() as usize] = 0;
            self.trail.pop();
        }
        self.next = self.next.min(self.trail.len());
    }

    /// Remembers that `choices`, the first of which is tried now, were open
    /// at `level`.
    pub fn branch(&mut self, level: i32, mut choices: Vec<Literal>) {
        if let [tried, _, ..] = choices.as_mut_slice() {
            *tried = -*tried;
            self.branches.push(Branch { level, choices });
        }
    }

    /// Goes back to a branch and takes another of its choices.
    pub fn take_branch(&mut self, branch: usize, choice: usize) -> Result<i32, Contradiction> {
        self.branches.truncate(branch + 1);
        let Branch { level, choices } = &mut self.branches[branch];
        let (level, literal) = (*level, choices[choice]);
        choices[choice] = -literal;
        // This branch stays: the choices that are left may yet be better.
        self.take_back(level);
        self.decide(literal, level)
    }

    /// The original rules behind a contradiction at level 1.
    fn contradiction(&self, rule: usize) -> Contradiction {
        let mut found = Vec::new();
        let mut rules_seen = vec![false; self.rules.len()];
        let mut open = vec![rule];
        let mut reasons: Vec<Option<usize>> = vec![None; self.packages + 1];
        for (literal, why) in &self.trail {
            reasons[literal.unsigned_abs() as usize] = *why;
        }
        while let Some(rule) = open.pop() {
            if std::mem::replace(&mut rules_seen[rule], true) {
                continue;
            }
            match rule.checked_sub(self.first_learnt) {
                Some(learnt) => open.extend(&self.learnt[learnt]),
                None => found.push(rule),
            }
            let decided = |literal: &&Literal| self.decision(**literal).abs() == 1;
            let literals = self.rules.literals(rule).iter().filter(decided);
            open.extend(literals.filter_map(|literal| reasons[literal.unsigned_abs() as usize]));
        }
        found.sort_unstable();
        Contradiction(found)
    }
}
