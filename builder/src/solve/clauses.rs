//! Dependencies as clauses: lists of packages of which at least one must be
//! there or, where its number is negative, must not be there.

use super::SolveError;
use super::pool::{Literal, Pool};
use super::rich::Need;

/// Real dependencies have a handful; a hostile one could have 2^16.
const MAX_LITERALS: usize = 1 << 16;

/// All of them must be fulfilled. None is always true; one that is empty never.
pub(super) type Clauses = Vec<Vec<Literal>>;

/// The clauses of `need`, or of its opposite. `None` if they would be too many.
pub(super) fn clauses(
    pool: &Pool<'_>,
    need: &Need,
    holds: bool,
) -> Result<Option<Clauses>, SolveError> {
    Ok(match need {
        Need::Plain(_) | Need::With(..) | Need::Without(..) => {
            let providers = pool.providers_of_need(need)?;
            Some(match holds {
                true => vec![providers],
                false => providers.into_iter().map(|package| vec![-package]).collect(),
            })
        }
        Need::And(needs) => joined(pool, needs, holds, holds)?,
        Need::Or(needs) => joined(pool, needs, holds, !holds)?,
        Need::If { then, when, otherwise } => {
            // (then or not when) and (otherwise or when). The opposite is
            // spelled out as the two ways to break it: that also says, in one
            // clause, that then and otherwise cannot both be there.
            let first = [(then.as_ref(), holds), (when.as_ref(), false)];
            match otherwise {
                None if holds => either(pool, &first)?,
                None => all(vec![clauses(pool, then, false)?, clauses(pool, when, true)?]),
                Some(other) if holds => {
                    all(vec![either(pool, &first)?, either(pool, &[(other, true), (when, true)])?])
                }
                Some(other) => {
                    let first = all(vec![clauses(pool, then, false)?, clauses(pool, when, true)?]);
                    let second =
                        all(vec![clauses(pool, other, false)?, clauses(pool, when, false)?]);
                    distributed(first, second)
                }
            }
        }
        Need::Unless { then, when, otherwise } => {
            // (then and not when) or (otherwise and when)
            match otherwise {
                None if holds => all(vec![clauses(pool, then, true)?, clauses(pool, when, false)?]),
                None => either(pool, &[(then, false), (when, true)])?,
                Some(other) if holds => {
                    let first = all(vec![clauses(pool, then, true)?, clauses(pool, when, false)?]);
                    let second = all(vec![clauses(pool, other, true)?, clauses(pool, when, true)?]);
                    distributed(first, second)
                }
                Some(other) => all(vec![
                    either(pool, &[(then, false), (when, true)])?,
                    either(pool, &[(other, false), (when, false)])?,
                ]),
            }
        }
    })
}

/// All (`is_and`) or any of `needs`, each of which holds or not.
fn joined(
    pool: &Pool<'_>,
    needs: &[Need],
    holds: bool,
    is_and: bool,
) -> Result<Option<Clauses>, SolveError> {
    let mut parts = Vec::new();
    for need in needs {
        parts.push(clauses(pool, need, holds)?);
    }
    Ok(if is_and { all(parts) } else { parts.into_iter().reduce(distributed).flatten() })
}

fn either(pool: &Pool<'_>, needs: &[(&Need, bool); 2]) -> Result<Option<Clauses>, SolveError> {
    let [(one, holds), (other, other_holds)] = needs;
    Ok(distributed(clauses(pool, one, *holds)?, clauses(pool, other, *other_holds)?))
}

/// What can never be is all there is to say then: beside an alternative, the
/// clauses of the other parts would ask for packages that help nobody.
fn all(parts: Vec<Option<Clauses>>) -> Option<Clauses> {
    let mut found = Clauses::new();
    for part in parts {
        found.extend(part?);
    }
    if found.iter().any(Vec::is_empty) {
        return Some(vec![Vec::new()]);
    }
    Some(found)
}

/// One or the other: each clause of the one joined with each of the other.
fn distributed(one: Option<Clauses>, other: Option<Clauses>) -> Option<Clauses> {
    let (one, other) = (one?, other?);
    let size = |clauses: &Clauses| clauses.iter().map(|clause| clause.len() + 1).sum::<usize>();
    if size(&one).saturating_mul(other.len()) + size(&other).saturating_mul(one.len())
        > MAX_LITERALS
    {
        return None;
    }
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| [a.as_slice(), b].concat()));
    Some(pairs.filter_map(tidied).collect())
}

/// Sorted, each literal once; nothing if it is always true.
pub(super) fn tidied(mut clause: Vec<Literal>) -> Option<Vec<Literal>> {
    clause.sort_unstable();
    clause.dedup();
    let always = clause.iter().any(|literal| clause.binary_search(&-literal).is_ok());
    (!always).then_some(clause)
}
