//! Small repositories for one rule each.

use anyhow::Result;

use super::listing::Listing;
use super::{Case, Place, Wanted};

/// Name, packages, requests.
const CASES: &[(&str, &[&str], &[&str])] = &[(
    "backtracking",
    &["a 1; requires: lib", "b 1; requires: lib < 2", "lib 1", "lib 2"],
    &["a", "a b", "b"],
)];

/// All of them.
pub fn cases() -> Result<Vec<Case>> {
    CASES.iter().map(|(name, packages, requests)| case(name, packages, requests)).collect()
}

fn case(name: &str, packages: &[&str], requests: &[&str]) -> Result<Case> {
    let mut packages =
        packages.iter().map(|text| Listing::parse(text)).collect::<Result<Vec<_>>>()?;
    packages.push(Listing::new("stub", "1", "noarch"));
    let place = Place {
        id: "r".into(),
        packages,
        priority: 99,
        cost: 1000,
        exclude: Vec::new(),
        path: None,
    };
    let requests = requests.iter().flat_map(|text| {
        let mut install: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        install.sort();
        [false, true].map(|weak| Wanted { install: install.clone(), exclude: Vec::new(), weak })
    });
    Ok(Case { name: name.to_owned(), requests: requests.collect(), repositories: vec![place] })
}
