//! In which order modules are listed and loaded.

use std::collections::BTreeMap;

use super::{DepmodError, Module, owners};

/// Sorts modules as the kernel's build listed them; others come last, by path.
/// The first of two drivers for a device is the one that is loaded first.
pub fn sort_as_built(modules: &mut [Module], built: &[String]) {
    let places: BTreeMap<&str, usize> =
        built.iter().enumerate().map(|(at, path)| (path.as_str(), at)).collect();
    modules.sort_by_cached_key(|module| {
        let place = places.get(module.plain_path()).copied().unwrap_or(usize::MAX);
        (place, module.path.clone())
    });
}

/// For each module all that it needs, directly or not, users before what they
/// use.
pub fn needs(modules: &[Module]) -> Result<Vec<Vec<usize>>, DepmodError> {
    let owners = owners(modules);
    let direct: Vec<Vec<usize>> = modules
        .iter()
        .map(|module| {
            let mut needed = Vec::new();
            for at in module.imports.iter().filter_map(|name| owners.get(name.as_str())) {
                if !needed.contains(at) {
                    needed.push(*at);
                }
            }
            needed
        })
        .collect();
    let rank = ranks(modules, &direct)?;
    Ok((0..modules.len()).map(|at| all_needed(at, &direct, &rank)).collect())
}

/// A number for each module, lower for users than for what they use. Modules
/// without users are taken from the end of the list, as depmod does.
fn ranks(modules: &[Module], direct: &[Vec<usize>]) -> Result<Vec<usize>, DepmodError> {
    let mut users = vec![0usize; modules.len()];
    direct.iter().flatten().for_each(|needed| users[*needed] += 1);
    let mut roots: Vec<usize> = (0..modules.len()).filter(|at| users[*at] == 0).collect();
    let mut rank = vec![usize::MAX; modules.len()];
    let mut next = 0;
    while let Some(at) = roots.pop() {
        rank[at] = next;
        next += 1;
        for needed in &direct[at] {
            users[*needed] -= 1;
            if users[*needed] == 0 {
                roots.push(*needed);
            }
        }
    }
    match rank.iter().position(|rank| *rank == usize::MAX) {
        Some(at) => Err(DepmodError::Cycle { module: modules[at].name.clone() }),
        None => Ok(rank),
    }
}

fn all_needed(start: usize, direct: &[Vec<usize>], rank: &[usize]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut todo = direct[start].clone();
    while let Some(at) = todo.pop() {
        if !found.contains(&at) {
            found.push(at);
            todo.extend(&direct[at]);
        }
    }
    found.sort_by_key(|at| rank[*at]);
    found
}
