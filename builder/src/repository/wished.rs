//! The order in which libsolv looks at what a package recommends. dnf reads
//! packages from its own cache, where every list is sorted by how often the
//! repository mentions what is in it; so that order, and not the metadata's,
//! decides which of two recommended packages that exclude each other comes in.

use std::cmp::Reverse;

use super::names::{DependencyId, Names};
use super::{Package, Relations};

/// Sorts what each of `packages`, all those of one repository, recommends.
pub(super) fn sort_recommended(packages: &mut [Package], names: &Names) {
    if packages.iter().all(|package| package.relations.recommends.len() < 2) {
        return;
    }
    let mentions = Mentions::of(packages, names);
    for package in packages {
        package.relations.recommends.sort_by_key(|id| mentions.rank(*id, names));
    }
}

/// How often things are mentioned.
struct Mentions {
    names: Vec<u32>,
    dependencies: Vec<u32>,
}

impl Mentions {
    fn of(packages: &[Package], names: &Names) -> Self {
        let own: Vec<_> = packages.iter().filter_map(|one| names.find(&one.nevra.name)).collect();
        let mut mentions =
            Self { names: vec![0; names.len()], dependencies: vec![0; names.dependencies().len()] };
        for name in own {
            mentions.names[name.index()] += 1;
        }
        for id in packages.iter().flat_map(|package| all(&package.relations)) {
            mentions.dependencies[id.index()] += 1;
        }
        // A name with a version counts as one thing, which mentions the name.
        for ((name, dependency), count) in names.dependencies().iter().zip(&mentions.dependencies) {
            let once = dependency.bound.is_some();
            mentions.names[name.index()] += if once { (*count).min(1) } else { *count };
        }
        mentions
    }

    /// Plain names come first, the most mentioned before all; then versions.
    fn rank<'n>(&self, id: DependencyId, names: &'n Names) -> (bool, Reverse<u32>, &'n str, usize) {
        let (name, dependency) = &names.dependencies()[id.index()];
        let is_whole = dependency.bound.is_none() && !dependency.name.starts_with('(');
        match is_whole {
            true => (false, Reverse(self.names[name.index()]), &dependency.name, 0),
            false => (true, Reverse(self.dependencies[id.index()]), "", id.index()),
        }
    }
}

fn all(relations: &Relations) -> impl Iterator<Item = &DependencyId> {
    let Relations {
        requires,
        provides,
        conflicts,
        obsoletes,
        recommends,
        suggests,
        supplements,
        enhances,
        files: _,
    } = relations;
    let lists =
        [requires, provides, conflicts, obsoletes, recommends, suggests, supplements, enhances];
    lists.into_iter().flatten()
}
