//! Repositories and requests drawn at random from a seed: small, dense, and
//! with every kind of relation, so that choices and contradictions abound: about
//! one request in three has no answer.

use super::listing::Listing;
use super::{Case, Place, Wanted};

/// Random numbers that are the same everywhere for the same seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of them.
    pub fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Names in an order that is neither that of the alphabet nor of length.
const NAMES: [&str; 24] = [
    "mail", "app", "zsh", "lib-a", "kernel", "base", "py", "x", "tool", "lib-b", "web", "core",
    "db", "lib-c", "agent", "net", "gui", "a", "lib-dd", "shell", "m", "fonts", "kit", "old",
];
const VIRTUAL: [&str; 8] =
    ["mta", "libx.so.1()(64bit)", "libx.so.2()(64bit)", "cap(a)", "cap(b)", "java", "sh", "v"];
const FILES: [&str; 6] =
    ["/usr/bin/sh", "/usr/sbin/mta", "/etc/conf", "/usr/share/x/data", "/usr/lib/y", "/bin/tool"];
const VERSIONS: [&str; 10] = [
    "1.0-1",
    "1.0-2",
    "1.1-1",
    "2.0-1",
    "2.0~rc1-1",
    "2.0^git1-1",
    "10-1",
    "1:0.5-1",
    "1:1.0-1",
    "3-0.1",
];

/// How dense the relations of a repository are, each in percent.
struct Flavour {
    conflicts: usize,
    obsoletes: usize,
    rich: usize,
    weak: usize,
    provides: usize,
    missing: usize,
}

/// The case that follows from `seed`.
pub fn case(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let flavour = Flavour {
        conflicts: [0, 5, 15][dice.below(3)],
        obsoletes: [0, 3, 12][dice.below(3)],
        rich: [0, 10, 40][dice.below(3)],
        weak: [0, 20][dice.below(2)],
        provides: [30, 70][dice.below(2)],
        missing: [0, 0, 3][dice.below(3)],
    };
    let names = &NAMES[..6 + dice.below(NAMES.len() - 5)];
    let places = [1, 1, 2, 3][dice.below(4)];
    let mut repositories = Vec::new();
    for place in 0..places {
        let mut packages: Vec<Listing> = Vec::new();
        for name in names {
            for _ in 0..[1, 1, 1, 2, 2, 3][dice.below(6)] {
                let package = listing(&mut dice, name, names, &flavour);
                if !packages
                    .iter()
                    .any(|other| other.name == package.name && other.evr == package.evr)
                {
                    packages.push(package);
                }
            }
        }
        packages.push(Listing::new("stub", "1", "x86_64"));
        let mut exclude = Vec::new();
        if dice.percent(15) {
            exclude.push(dice.one_of(&["lib-*", "x", "app-1.0-1", "*.noarch", "m?il"]).to_owned());
        }
        repositories.push(Place {
            packages,
            priority: if dice.percent(30) {
                10 + u32::try_from(dice.below(3)).unwrap_or(0)
            } else {
                99
            },
            cost: if dice.percent(20) { 500 } else { 1000 },
            exclude,
            ..Place::new(&format!("r{place}"))
        });
    }
    let requests = (0..5).map(|_| request(&mut dice, names, &flavour)).collect();
    Case { name: format!("seed {seed}"), repositories, requests }
}

fn listing(dice: &mut Dice, name: &str, names: &[&str], flavour: &Flavour) -> Listing {
    let arch = if dice.percent(20) { "noarch" } else { "x86_64" };
    let mut package = Listing::new(name, dice.one_of(&VERSIONS), arch);
    if dice.percent(flavour.provides) {
        let provided = dice.one_of(&VIRTUAL);
        let version = dice.one_of(&VERSIONS);
        let bound = if dice.percent(50) { format!(" = {version}") } else { String::new() };
        package.add("provides", format!("{provided}{bound}"));
    }
    for _ in 0..[0, 1, 1, 2, 3][dice.below(5)] {
        let needed = need(dice, names, flavour);
        package.add("requires", needed);
    }
    for (relation, chance) in [("conflicts", flavour.conflicts), ("obsoletes", flavour.obsoletes)] {
        if dice.percent(chance) {
            let refused = match relation {
                "conflicts" if dice.percent(flavour.rich) => rich(dice, names, 0),
                _ => plain(dice, names),
            };
            package.add(relation, refused);
        }
    }
    for relation in ["recommends", "suggests", "supplements", "enhances"] {
        if dice.percent(flavour.weak) {
            let wished = plain(dice, names);
            package.add(relation, wished);
        }
    }
    if dice.percent(30) {
        package.files.push(dice.one_of(&FILES).to_owned());
    }
    package
}

fn need(dice: &mut Dice, names: &[&str], flavour: &Flavour) -> String {
    if dice.percent(flavour.missing) {
        return "nothing-has-this".to_owned();
    }
    if dice.percent(flavour.rich) {
        return rich(dice, names, 0);
    }
    if dice.percent(15) {
        return dice.one_of(&FILES).to_owned();
    }
    plain(dice, names)
}

fn plain(dice: &mut Dice, names: &[&str]) -> String {
    let name = if dice.percent(30) { dice.one_of(&VIRTUAL) } else { dice.one_of(names) };
    if dice.percent(80) {
        return name.to_owned();
    }
    let sign = dice.one_of(&["<", "<=", "=", ">=", ">=", ">"]);
    let version = dice.one_of(&VERSIONS);
    let whole = dice.percent(50);
    let version = if whole { version } else { version.split('-').next().unwrap_or(version) };
    format!("{name} {sign} {version}")
}

fn rich(dice: &mut Dice, names: &[&str], depth: usize) -> String {
    let part = |dice: &mut Dice| {
        if depth < 2 && dice.percent(20) {
            rich(dice, names, depth + 1)
        } else {
            plain(dice, names)
        }
    };
    let (one, two) = (part(dice), part(dice));
    match dice.below(8) {
        0 | 1 => format!("({one} or {two})"),
        2 => format!("({one} and {two})"),
        3 => format!("({one} if {two})"),
        4 => format!("({one} if {two} else {})", plain(dice, names)),
        5 => format!("({one} unless {two})"),
        6 => format!("({} with {})", plain(dice, names), plain(dice, names)),
        _ => format!("({} without {})", plain(dice, names), plain(dice, names)),
    }
}

fn request(dice: &mut Dice, names: &[&str], flavour: &Flavour) -> Wanted {
    let mut install: Vec<String> = (0..1 + dice.below(3)).map(|_| wanted(dice, names)).collect();
    install.sort();
    install.dedup();
    let mut exclude = Vec::new();
    if dice.percent(15) {
        exclude.push(dice.one_of(&["lib-a", "lib-?", "t*", "core.x86_64", "web-2.0"]).to_owned());
    }
    // A recipe may not install and exclude the same.
    let name = |wanted: &String| wanted.split(' ').next().map(str::to_owned);
    exclude.retain(|pattern| !install.iter().any(|wanted| name(wanted).as_ref() == Some(pattern)));
    let weak = flavour.weak > 0 && dice.percent(50);
    Wanted { install, exclude, weak, ..Wanted::default() }
}

fn wanted(dice: &mut Dice, names: &[&str]) -> String {
    match dice.below(10) {
        0 => dice.one_of(&FILES).to_owned(),
        1 => dice.one_of(&VIRTUAL).to_owned(),
        2 => plain(dice, names),
        _ => dice.one_of(names).to_owned(),
    }
}
