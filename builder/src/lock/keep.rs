//! What of an earlier lock stays when a recipe is locked again.

use super::{Lock, LockedPackage};
use crate::recipe::{PackagePattern, Recipe};
use crate::solve::{Keep, Kept};

impl Lock {
    /// Everything in this lock but the packages `moving`, for a request of
    /// `recipe`. If nothing moves and the recipe asks for the same, the lock
    /// is the whole answer as long as it can be.
    #[must_use]
    pub fn kept(&self, recipe: &Recipe, moving: &[PackagePattern]) -> Keep {
        let stays = |package: &&LockedPackage| !is_moving(package, moving);
        let kept =
            |package: &LockedPackage| Kept { nevra: package.nevra(), digest: package.sha256 };
        let parts = self.parts.iter().map(|part| &part.package);
        Keep {
            packages: self.packages.iter().filter(stays).map(kept).collect(),
            parts: parts.filter(stays).map(kept).collect(),
            is_whole: moving.is_empty() && self.recipe.inputs == recipe.inputs_digest(),
        }
    }

    /// Those of `moving` that mean no package of this lock.
    #[must_use]
    pub fn unknown<'m>(&self, moving: &'m [PackagePattern]) -> Vec<&'m PackagePattern> {
        let is_known = |pattern: &&PackagePattern| {
            self.all_packages().any(|package| pattern.matches(&package.nevra()))
        };
        moving.iter().filter(|pattern| !is_known(pattern)).collect()
    }
}

fn is_moving(package: &LockedPackage, moving: &[PackagePattern]) -> bool {
    moving.iter().any(|pattern| pattern.matches(&package.nevra()))
}
