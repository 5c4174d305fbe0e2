//! What is only recommended: once all that is required is there, what chosen
//! packages recommend and what supplements them comes in as far as it can.
//! Follows libsolv's `resolve_weak()`, a round at a time.

use super::SolveError;
use super::decide::{Decider, Failure};
use super::policy::Purpose;
use super::pool::{Literal, literal};
use super::rules::is_install_only;

/// What could come in now.
#[derive(Default)]
struct Wished {
    /// Packages that make chosen ones better.
    supplements: Vec<Literal>,
    /// The same and those that are recommended.
    all: Vec<Literal>,
}

impl Decider<'_, '_> {
    /// Brings in what is recommended by what is there. Returns the level if
    /// there was anything: then new needs may be open.
    pub fn recommended(&mut self, level: i32) -> Result<Option<i32>, Failure> {
        let mut wished = self.wished()?;
        if let [only] = wished.all[..] {
            return Ok(Some(self.search.decide(only, level)?));
        }
        if wished.all.is_empty() {
            return Ok(None);
        }
        self.filter(&mut wished.all, Purpose::Recommended)?;
        wished.all.sort_unstable();
        let Wished { mut supplements, all: best } = wished;
        supplements.retain(|package| best.binary_search(package).is_ok());
        if supplements.len() > 1 {
            self.filter(&mut supplements, Purpose::Order)?;
        }
        let decided = self.search.trail.len();
        let (level, is_undone) = self.install_supplements(&supplements, level)?;
        if is_undone || self.search.trail.len() < decided {
            return Ok(Some(level));
        }
        self.install_recommended(&best, decided, level).map(Some)
    }

    fn wished(&mut self) -> Result<Wished, SolveError> {
        let pool = self.policy.pool;
        let mut wished = Wished::default();
        for (id, package) in pool.repositories.packages() {
            let number = literal(id);
            match self.search.decision(number) {
                0 if !package.relations.supplements.is_empty()
                    && pool.counts(id)
                    && self.wishes.is_supplement(pool, &self.search, number)?
                    && !self.is_other_version(number) =>
                {
                    wished.supplements.push(number);
                }
                decision if decision > 0 => {
                    for id in &package.relations.recommends {
                        wished.all.extend(self.wishes.open(pool, &self.search, *id)?);
                    }
                }
                _ => {}
            }
        }
        wished.all.extend(&wished.supplements);
        wished.all.sort_unstable();
        wished.all.dedup();
        Ok(wished)
    }

    /// Whether it is another version of a package that is there, of which
    /// there may be several: being better with something is no reason for two.
    fn is_other_version(&self, package: Literal) -> bool {
        let pool = self.policy.pool;
        is_install_only(pool, package)
            && pool.named(&pool.nevra(package).name).any(|other| self.search.is_true(other))
    }

    /// The level, and whether a decision had to be taken back.
    fn install_supplements(
        &mut self,
        supplements: &[Literal],
        mut level: i32,
    ) -> Result<(i32, bool), Failure> {
        for package in supplements {
            if self.search.decision(*package) != 0 {
                continue;
            }
            let before = level;
            level = self.search.decide(*package, level)?;
            if level <= before {
                return Ok((level, true));
            }
        }
        Ok((level, false))
    }

    /// Installs what the first `decided` packages recommend, one of `best` for
    /// each recommendation.
    fn install_recommended(
        &mut self,
        best: &[Literal],
        decided: usize,
        mut level: i32,
    ) -> Result<i32, Failure> {
        let pool = self.policy.pool;
        for at in 0..decided {
            let Some(&(package, _)) = self.search.trail.get(at) else { break };
            if package < 0 {
                continue;
            }
            for id in &pool.package(package).relations.recommends {
                let mut open = self.wishes.open(pool, &self.search, *id)?;
                open.retain(|package| best.binary_search(package).is_ok());
                if open.is_empty() {
                    continue;
                }
                let before = level;
                level = self.choose(open, level)?;
                if level <= before || self.search.trail.len() < decided {
                    return Ok(level);
                }
            }
        }
        Ok(level)
    }
}
