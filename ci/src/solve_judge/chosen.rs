//! Small repositories for one rule each, written down in `chosen.txt`.

use anyhow::{Context, Result, bail, ensure};

use super::listing::Listing;
use super::{Case, Place, Wanted};

const TEXT: &str = include_str!("chosen.txt");

/// All of them.
pub fn cases() -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in TEXT.lines().enumerate() {
        let line = line.trim();
        take(&mut cases, line).with_context(|| format!("chosen.txt, line {}", number + 1))?;
    }
    for case in &mut cases {
        ensure!(!case.requests.is_empty(), "{} asks for nothing", case.name);
        // In a repository of its own, where no rule about the others reaches it.
        let stub = Listing::new("stub", "1", "noarch");
        case.repositories.push(Place { packages: vec![stub], ..Place::new("stub") });
    }
    Ok(cases)
}

fn take(cases: &mut Vec<Case>, line: &str) -> Result<()> {
    if let Some(name) = line.strip_prefix("= ") {
        let (name, repositories) = (name.to_owned(), Vec::new());
        cases.push(Case { name, repositories, requests: Vec::new() });
        return Ok(());
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let case = cases.last_mut().context("before the first case")?;
    if let Some(text) = line.strip_prefix("? ") {
        case.requests.extend(requests(text)?);
    } else if let Some(text) = line.strip_prefix('[') {
        case.repositories.push(place(text.trim_end_matches(']'))?);
    } else {
        if case.repositories.is_empty() {
            case.repositories.push(Place::new("r"));
        }
        let last = case.repositories.last_mut().context("a repository")?;
        last.packages.push(Listing::parse(line)?);
    }
    Ok(())
}

/// `id; priority: 10; cost: 500; exclude: a, b; only: c`.
fn place(text: &str) -> Result<Place> {
    let mut parts = text.split(';').map(str::trim);
    let mut place = Place::new(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_once(": ") {
            Some(("priority", number)) => place.priority = number.parse()?,
            Some(("cost", number)) => place.cost = number.parse()?,
            Some(("exclude", list)) => place.exclude = words(list),
            Some(("only", list)) => place.only = words(list),
            _ => bail!("{part:?} says nothing of a repository"),
        }
    }
    Ok(place)
}

/// `a, b; exclude: c; never: d; snapshot: 2026-01-31`, with what is only
/// recommended and without.
fn requests(text: &str) -> Result<[Wanted; 2]> {
    let mut parts = text.split(';').map(str::trim);
    let install = words(parts.next().unwrap_or_default());
    let mut wanted = Wanted { install, ..Wanted::default() };
    for part in parts {
        match part.split_once(": ") {
            Some(("exclude", list)) => wanted.exclude = words(list),
            Some(("never", list)) => wanted.never = words(list),
            Some(("snapshot", day)) => wanted.snapshot = Some(day.to_owned()),
            _ => bail!("{part:?} says nothing of a request"),
        }
    }
    Ok([Wanted { weak: true, ..wanted.clone() }, wanted])
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| word.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_can_be_read() {
        let cases = cases().unwrap();
        assert!(cases.len() > 20, "{}", cases.len());
        let two = cases.iter().find(|case| case.name == "a repository limited to some").unwrap();
        assert_eq!(two.repositories[0].only, ["a*"]);
    }
}
