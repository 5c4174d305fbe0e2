//! What is written down of a name: whether the best alternative is taken by
//! itself, the link, the followers' names and links, an empty line, and then
//! for each alternative its path, its priority and its followers' paths.

use std::fmt::Write;

/// A link, its name in the folder of links, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub link: String,
    pub name: String,
    /// None where an alternative has no such follower.
    pub target: Option<String>,
}

/// One alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    pub target: String,
    pub family: Option<String>,
    pub priority: i32,
    pub followers: Vec<Link>,
}

/// All of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub auto: bool,
    pub link: String,
    all: Vec<Alternative>,
    best: usize,
    current: Option<usize>,
}

impl State {
    /// Of a name without alternatives.
    pub fn new(link: &str) -> Self {
        Self { auto: true, link: link.to_owned(), all: Vec::new(), best: 0, current: None }
    }

    /// Reads it; none if it is not understood.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let auto = match lines.next()? {
            "auto" => true,
            "manual" => false,
            _ => return None,
        };
        let mut state = Self { auto, ..Self::new(lines.next().filter(|link| is_path(link))?) };
        let mut known = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                name if is_path(name) => return None,
                name => known.push((name, lines.next().filter(|link| is_path(link))?)),
            }
        }
        while let Some(target) = lines.next().filter(|line| !line.is_empty()) {
            let (family, priority) = priority(lines.next()?)?;
            let mut followers = Vec::new();
            for (name, link) in &known {
                let target = Some(lines.next()?).filter(|target| !target.is_empty());
                if !target.is_none_or(is_path) || !is_path(link) {
                    return None;
                }
                let (link, name) = ((*link).to_owned(), (*name).to_owned());
                followers.push(Link { link, name, target: target.map(str::to_owned) });
            }
            let target = Some(target).filter(|target| is_path(target))?.to_owned();
            state.push(Alternative { target, family, priority, followers });
        }
        (lines.all(str::is_empty) && !state.all.is_empty()).then_some(state)
    }

    /// As it is written down.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n", if self.auto { "auto" } else { "manual" }, self.link);
        // Writing to a text cannot fail.
        for follower in self.all.first().map_or(&[][..], |first| &first.followers) {
            let _ = writeln!(text, "{}\n{}", follower.name, follower.link);
        }
        text.push('\n');
        for one in &self.all {
            let family = one.family.as_ref().map_or(String::new(), |family| format!("@{family}@"));
            let _ = writeln!(text, "{}\n{family}{}", one.target, one.priority);
            for follower in &one.followers {
                let _ = writeln!(text, "{}", follower.target.as_deref().unwrap_or_default());
            }
        }
        text
    }

    fn push(&mut self, one: Alternative) {
        self.all.push(one);
        let last = self.all.len() - 1;
        if self.all[last].priority > self.all[self.best].priority {
            self.best = last;
        }
    }

    /// Where the link leads now tells whether somebody has chosen by hand.
    pub fn look(&mut self, leads_to: Option<String>) {
        let (Some(leads_to), false) = (leads_to, self.all.is_empty()) else {
            return;
        };
        self.current = self.all.iter().position(|one| one.target == leads_to);
        self.auto &= self.current == Some(self.best);
    }

    /// Adds an alternative, or replaces the one of the same path. Says whether
    /// it was replaced, and which links nothing needs any more. None if one
    /// follower has two links.
    pub fn add(&mut self, new: &Alternative) -> Option<(bool, Vec<Link>)> {
        let Some(first) = self.all.first() else {
            self.push(new.clone());
            return Some((false, Vec::new()));
        };
        let mut all = first.followers.clone();
        for follower in &new.followers {
            if all.iter().all(|known| known.link != follower.link) {
                all.push(follower.clone());
            }
        }
        let same = self.all.iter().position(|one| one.target == new.target);
        let mut unused = Vec::new();
        match same {
            Some(at) => {
                self.all[at] = new.clone();
                let used = |link: &Link| {
                    let mut others = self.all.iter().flat_map(|one| &one.followers);
                    others.any(|other| other.name == link.name && other.target.is_some())
                };
                (all, unused) = all.into_iter().partition(used);
            }
            None => self.push(new.clone()),
        }
        all.sort_by(|one, other| one.link.cmp(&other.link));
        for one in &mut self.all {
            one.followers = matched(&one.followers, &all)?;
        }
        Some((same.is_some(), unused))
    }

    /// The alternative that the links are to lead to.
    pub fn chosen(&self) -> &Alternative {
        let at = if self.auto { self.best } else { self.current.unwrap_or(0) };
        &self.all[at]
    }
}

/// The followers of one alternative, in the order of all.
fn matched(own: &[Link], all: &[Link]) -> Option<Vec<Link>> {
    let one = |wanted: &Link| match own.iter().find(|link| link.name == wanted.name) {
        Some(link) => (link.link == wanted.link).then(|| link.clone()),
        None => Some(Link { target: None, ..wanted.clone() }),
    };
    all.iter().map(one).collect()
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
}

/// `@FAMILY@PRIORITY`; a service behind it is not understood.
fn priority(line: &str) -> Option<(Option<String>, i32)> {
    match line.strip_prefix('@') {
        Some(rest) => {
            let (family, priority) = rest.split_once('@')?;
            Some((Some(family.to_owned()), super::decimal(priority)?))
        }
        None => Some((None, super::decimal(line)?)),
    }
}
