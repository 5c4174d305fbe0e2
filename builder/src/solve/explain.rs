//! Why there is no set of packages: who wants what, who wanted that one, and
//! what came close.

use std::fmt;

/// Everything that keeps a request from being fulfilled.
#[derive(Debug, Default)]
pub struct Unsolvable {
    /// Needs that nothing meets.
    pub needs: Vec<Need>,
    /// Packages that cannot be together, or cannot be installed at all.
    pub clashes: Vec<String>,
}

/// A need that nothing meets.
#[derive(Debug)]
pub struct Need {
    /// The requirement.
    pub what: String,
    /// Who has it, and why that one is there, up to the recipe.
    pub chain: Vec<String>,
    /// What came close.
    pub turned_down: Vec<TurnedDown>,
}

/// A package that came close to meeting a need.
#[derive(Debug)]
pub struct TurnedDown {
    /// Its name, version and architecture.
    pub package: String,
    /// Why it does not do.
    pub why: String,
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
