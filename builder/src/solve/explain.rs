//! Why there is no set of packages: who wants what, who wanted that one, and
//! what came close.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::pool::{Literal, Pool, literal, package_id};
use super::rich::Need as Rich;
use super::rules::{Rules, Why};
use super::search::Search;
use super::{Request, SolveError};
use crate::repository::{Dependency, DependencyId, RepositoryError};

/// Reasons are for people; more than this nobody reads.
const MAX_TURNED_DOWN: usize = 8;
/// Leaving out one rule after the other takes the square of their number.
const MAX_REDUCED: usize = 400;

/// Everything that keeps a request from being fulfilled.
#[derive(Debug, Default, Serialize)]
pub struct Unsolvable {
    /// Needs that nothing meets.
    pub needs: Vec<Need>,
    /// Packages that cannot be together, or cannot be installed at all.
    pub clashes: Vec<String>,
}

/// A need that nothing meets.
#[derive(Debug, Serialize)]
pub struct Need {
    /// The requirement.
    pub what: String,
    /// Who has it, and why that one is there, up to the recipe.
    pub chain: Vec<String>,
    /// What came close.
    pub turned_down: Vec<TurnedDown>,
}

/// A package that came close to meeting a need.
#[derive(Debug, Serialize)]
pub struct TurnedDown {
    /// Its name, version and architecture.
    pub package: String,
    /// Why it does not do.
    pub why: String,
}

/// Tells why rules contradict each other.
pub(super) struct Explainer<'e, 'r> {
    pub pool: &'e Pool<'r>,
    pub request: &'e Request,
    pub rules: &'e Rules,
}

/// Which need of whom brought a package in.
type Because = HashMap<Literal, (Literal, String)>;

impl Explainer<'_, '_> {
    /// Adds the reasons behind `rules`, and returns the positions of the wishes
    /// that they make impossible.
    pub fn explain(
        &self,
        rules: &[usize],
        unsolvable: &mut Unsolvable,
    ) -> Result<Vec<usize>, SolveError> {
        let rules = self.reduced(rules);
        let because = self.because(&rules);
        let known = unsolvable.needs.len() + unsolvable.clashes.len();
        for rule in &rules {
            self.reason(*rule, &because, unsolvable)?;
        }
        if unsolvable.needs.len() + unsolvable.clashes.len() == known {
            // An answer without what was asked for is none, whatever the reason.
            unsolvable.clashes.push("what the recipe asks for contradicts itself".to_owned());
        }
        let asked = rules.iter().filter_map(|rule| match self.rules.rule(*rule).why {
            Why::Asked(index) => Some(index),
            _ => None,
        });
        Ok(asked.collect())
    }

    /// As few of `rules` as still contradict each other.
    fn reduced(&self, rules: &[usize]) -> Vec<usize> {
        let mut left = rules.to_vec();
        if left.len() > MAX_REDUCED {
            return left;
        }
        let mut at = left.len();
        while at > 0 {
            at -= 1;
            let mut without = left.clone();
            without.remove(at);
            if !self.can_hold(&without) {
                left = without;
            }
        }
        left
    }

    fn can_hold(&self, rules: &[usize]) -> bool {
        let mut some = Rules::default();
        for rule in rules {
            some.push(self.rules.literals(*rule), Why::Learnt, 0);
        }
        let mut search = Search::new(some, self.pool.len());
        if search.start().is_err() {
            return false;
        }
        let mut level = 1;
        loop {
            let open = (0..rules.len()).find_map(|rule| {
                let literals = search.rules.literals(rule);
                if literals.iter().any(|literal| search.is_true(*literal)) {
                    return None;
                }
                literals.iter().copied().find(|literal| search.decision(*literal) == 0)
            });
            let Some(literal) = open else { return true };
            match search.decide(literal, level) {
                Ok(reached) => level = reached,
                Err(_) => return false,
            }
        }
    }

    /// Follows the rules from the recipe to everything they bring in.
    fn because(&self, rules: &[usize]) -> Because {
        let mut because = Because::new();
        let mut reached = vec![0];
        while let Some(by) = reached.pop() {
            for rule in rules.iter().filter(|rule| self.rules.rule(**rule).by == by) {
                let what = match self.rules.rule(*rule).why {
                    Why::Asked(index) => self.request.install[index].to_string(),
                    Why::Requires(id) => self.dependency(id).to_string(),
                    _ => continue,
                };
                for package in self.rules.literals(*rule).iter().filter(|literal| **literal > 0) {
                    because.entry(*package).or_insert_with(|| {
                        reached.push(*package);
                        (by, what.clone())
                    });
                }
            }
        }
        because
    }

    fn dependency(&self, id: DependencyId) -> &Dependency {
        self.pool.repositories.dependency(id)
    }

    fn reason(
        &self,
        rule: usize,
        because: &Because,
        unsolvable: &mut Unsolvable,
    ) -> Result<(), SolveError> {
        let (by, why) = (self.rules.rule(rule).by, self.rules.rule(rule).why);
        let literals = self.rules.literals(rule);
        let others: Vec<Literal> = literals
            .iter()
            .map(|literal| -literal)
            .filter(|other| *other > 0 && *other != by)
            .collect();
        let nevra = |package: Literal| self.pool.nevra(package);
        let with_chains = |what: String| {
            let chains = std::iter::once(&by).chain(&others);
            let lines = chains.flat_map(|package| self.chain(*package, because));
            lines.fold(what, |text, line| format!("{text}\n    {line}"))
        };
        match why {
            // A rich dependency that can hold only where the package is not.
            Why::Requires(id) | Why::Conflicts(id) if literals == [-by] => {
                let (own, what) = (nevra(by), self.dependency(id));
                let verb =
                    if matches!(why, Why::Requires(_)) { "requires" } else { "conflicts with" };
                let text = format!("{own} {verb} {what}, which cannot be once it is there");
                unsolvable.clashes.push(with_chains(text));
            }
            Why::Unmet(id) => {
                let dependency = self.dependency(id);
                let mut chain = vec![format!("required by {}", nevra(by))];
                chain.extend(self.chain(by, because));
                let turned_down = turned_down(self.pool, dependency)?;
                unsolvable.needs.push(Need { what: dependency.to_string(), chain, turned_down });
                return Ok(());
            }
            Why::NewerRpm(id) => {
                let what = self.dependency(id);
                let text = format!("{} needs a newer rpm than slipway knows: {what}", nevra(by));
                unsolvable.clashes.push(with_chains(text));
            }
            Why::Nonsense(id) => {
                let what = self.dependency(id);
                let why = Rich::parse(what).err().unwrap_or_else(|| "it is too long".to_owned());
                let text = format!("{}: {what} makes no sense: {why}", nevra(by));
                unsolvable.clashes.push(with_chains(text));
            }
            Why::Conflicts(id) => {
                let with = listed(others.iter().map(|other| nevra(*other).to_string()));
                let what = self.dependency(id);
                let text = format!("{} conflicts with {with} ({what})", nevra(by));
                unsolvable.clashes.push(with_chains(text));
            }
            Why::Obsoletes(id) => {
                let with = listed(others.iter().map(|other| nevra(*other).to_string()));
                let what = self.dependency(id);
                let text = format!("{} obsoletes {with} ({what})", nevra(by));
                unsolvable.clashes.push(with_chains(text));
            }
            Why::Excluded => {
                let why = self.pool.refused(package_id(by)).unwrap_or_default();
                unsolvable.clashes.push(format!("{} does not count: {why}", nevra(by)));
            }
            Why::SameName => {
                let with = listed(others.iter().map(|other| nevra(*other).to_string()));
                let text = format!("{} cannot be there together with {with}", nevra(by));
                unsolvable.clashes.push(with_chains(text));
            }
            // A rich dependency that forbids something.
            Why::Requires(id) if !others.is_empty() => {
                let with = listed(others.iter().map(|other| nevra(*other).to_string()));
                let what = self.dependency(id);
                let text = format!("{} requires {what}, and there is {with}", nevra(by));
                unsolvable.clashes.push(with_chains(text));
            }
            Why::Asked(_) | Why::Requires(_) | Why::Learnt => {}
        }
        Ok(())
    }

    /// Why a package is there, from itself to the recipe.
    fn chain(&self, package: Literal, because: &Because) -> Vec<String> {
        let mut lines = Vec::new();
        let mut next = package;
        // Each was brought in by one that was reached before, so this ends.
        while let Some((by, what)) = because.get(&next) {
            let own = self.pool.nevra(next);
            lines.push(match *by {
                0 => format!("{own} is there as the recipe asks for {what}"),
                by => format!("{own} is there as {} requires {what}", self.pool.nevra(by)),
            });
            next = *by;
        }
        lines
    }
}

fn listed(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" and ")
}

/// A wish of the recipe that nothing meets.
pub(super) fn unmet_wish(pool: &Pool<'_>, wanted: &Dependency) -> Result<Need, RepositoryError> {
    let turned_down = turned_down(pool, wanted)?;
    let mut chain = vec!["asked for by the recipe".to_owned()];
    chain.extend(habit(pool, &wanted.name));
    Ok(Need { what: wanted.to_string(), chain, turned_down })
}

/// What is written otherwise here than on dnf's command line.
fn habit(pool: &Pool<'_>, name: &str) -> Option<String> {
    if name.contains(['*', '?', '[']) {
        return Some("packages are named one by one: patterns are for `exclude`".to_owned());
    }
    let glued = |at: usize| {
        let (package, version) = (&name[..at], &name[at + 1..]);
        let is_version = version.starts_with(|first: char| first.is_ascii_digit());
        let is_known = !pool.repositories.named(package).is_empty();
        (is_version && is_known).then(|| format!("a version is written \"{package} = {version}\""))
    };
    name.match_indices('-').find_map(|(at, _)| glued(at))
}

/// Packages that come close to meeting `wanted`, and why they do not.
fn turned_down(pool: &Pool<'_>, wanted: &Dependency) -> Result<Vec<TurnedDown>, RepositoryError> {
    let parts = match Rich::parse(wanted) {
        Ok(need) => plain_parts(&need),
        Err(_) => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for wanted in &parts {
        for id in pool.related(&wanted.name)?.into_iter().take(MAX_TURNED_DOWN) {
            if let Some(why) = pool.turned_down(id, wanted) {
                found.push(TurnedDown { package: pool.nevra(literal(id)).to_string(), why });
            }
        }
    }
    Ok(found)
}

fn plain_parts(need: &Rich) -> Vec<Dependency> {
    match need {
        Rich::Plain(dependency) => vec![dependency.clone()],
        Rich::And(needs) | Rich::Or(needs) => needs.iter().flat_map(plain_parts).collect(),
        Rich::If { then, .. } | Rich::Unless { then, .. } => plain_parts(then),
        Rich::With(one, other) => [plain_parts(one), plain_parts(other)].concat(),
        Rich::Without(one, _) => plain_parts(one),
    }
}

impl Unsolvable {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty() && self.clashes.is_empty()
    }
}

impl fmt::Display for Unsolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no set of packages fits the recipe")?;
        for need in &self.needs {
            write!(f, "\n  nothing provides {}", need.what)?;
            for line in &need.chain {
                write!(f, "\n    {line}")?;
            }
            for TurnedDown { package, why } in &need.turned_down {
                write!(f, "\n    turned down: {package}: {why}")?;
            }
        }
        self.clashes.iter().try_for_each(|clash| write!(f, "\n  {clash}"))
    }
}

impl std::error::Error for Unsolvable {}
