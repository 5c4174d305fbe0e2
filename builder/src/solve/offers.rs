//! Which of several packages offers the same thing in a newer version: a
//! package may be behind in one thing and ahead in another. Follows libsolv's
//! `sort_by_common_dep()`.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use super::pool::{Literal, Pool};
use crate::evr::{Bound, Evr, Sense};

/// A version that looks like the beginning of a digest says nothing about age.
const SHORTEST_DIGEST: usize = 4;

/// What a package provides, in one version or up to one.
struct Offer<'p> {
    name: &'p Arc<str>,
    bound: &'p Bound,
    /// Position of the package.
    by: usize,
}

/// Puts behind, in otherwise the same order, packages that provide things in
/// older versions than the others do; the more such versions lie between, the
/// further.
pub(super) fn last_the_older(pool: &Pool<'_>, packages: &mut Vec<Literal>) {
    let mut offers: Vec<Offer<'_>> = Vec::new();
    for (by, package) in packages.iter().enumerate() {
        for id in &pool.package(*package).relations.provides {
            let dependency = pool.repositories.dependency(*id);
            if let Some(bound) = dependency.bound.as_ref().filter(|bound| says_age(bound)) {
                offers.push(Offer { name: &dependency.name, bound, by });
            }
        }
    }
    let is_below = |offer: &Offer<'_>| offer.bound.sense == Sense::Less;
    offers.sort_by_cached_key(|offer| {
        let Bound { epoch, version, release, .. } = offer.bound;
        let release = release.clone().unwrap_or_default();
        let evr = Evr { epoch: *epoch, version: version.clone(), release };
        (offer.name, Reverse(evr), is_below(offer))
    });
    let mut behind = vec![0_u32; packages.len()];
    let mut steps = 0;
    for (at, offer) in offers.iter().enumerate() {
        match at.checked_sub(1).map(|before| &offers[before]) {
            Some(before) if before.name == offer.name => {
                let order = before.bound.compare(offer.bound).reverse();
                let order = order.then(is_below(before).cmp(&is_below(offer)));
                steps += u32::from(before.by != offer.by && order == Ordering::Less);
            }
            _ => steps = 0,
        }
        behind[offer.by] = behind[offer.by].saturating_add(steps);
    }
    let mut sorted: Vec<(u32, Literal)> =
        behind.into_iter().zip(packages.iter().copied()).collect();
    sorted.sort_by_key(|(behind, _)| *behind);
    *packages = sorted.into_iter().map(|(_, package)| package).collect();
}

fn says_age(bound: &Bound) -> bool {
    let is_digest = || {
        let mut letters = bound.version.bytes();
        bound.epoch == 0
            && bound.release.is_none()
            && bound.version.len() >= SHORTEST_DIGEST
            && letters.all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    };
    match bound.sense {
        Sense::Equal => !is_digest(),
        Sense::Less | Sense::LessEqual => true,
        Sense::Greater | Sense::GreaterEqual => false,
    }
}
