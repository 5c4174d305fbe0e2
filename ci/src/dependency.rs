//! Debian's relations in RPM's words. The two differ where a version has no
//! revision: Debian orders `2.36` before `2.36-9`, RPM calls them equal, so some
//! operators change.

use std::collections::BTreeSet;

use rpm::{Dependency, DependencyFlags};

/// A version split the way RPM wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpmVersion {
    /// 0 where Debian has none.
    pub epoch: u32,
    /// Debian's upstream version, hyphens replaced.
    pub version: String,
    /// Debian's revision; `None` for a version that has none.
    pub release: Option<String>,
}

impl RpmVersion {
    /// Splits `[epoch:]upstream[-revision]` (Debian Policy 5.6.12).
    pub fn from_debian(text: &str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release.to_string())),
            None => (rest, None),
        };
        RpmVersion { epoch, version: version.replace('-', "_"), release }
    }

    /// The release of a package with this version; Debian's native packages have
    /// no revision, RPMs always have a release.
    pub fn package_release(&self) -> &str {
        self.release.as_deref().unwrap_or("0")
    }

    /// `[epoch:]version[-release]`, as dependencies write it.
    pub fn evr(&self) -> String {
        let epoch = if self.epoch == 0 { String::new() } else { format!("{}:", self.epoch) };
        let release = self.release.as_ref().map(|r| format!("-{r}")).unwrap_or_default();
        format!("{epoch}{}{release}", self.version)
    }
}

/// One relation: a name and, maybe, a bound on its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Name without an architecture qualifier.
    pub name: String,
    /// RPM's comparison flags and version.
    pub bound: Option<(DependencyFlags, String)>,
}

impl Relation {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split('[').next()?.trim();
        let (name, bound) = match text.split_once('(') {
            Some((name, bound)) => (name, Some(bound.trim_end().trim_end_matches(')'))),
            None => (text, None),
        };
        let name = name.trim().split(':').next()?.to_string();
        if name.is_empty() {
            return None;
        }
        Some(Relation { name, bound: bound.and_then(parse_bound) })
    }

    /// The relation as a dependency.
    pub fn dependency(&self) -> Dependency {
        let mut dependency = Dependency::any(&self.name);
        if let Some((flags, version)) = &self.bound {
            dependency.flags = *flags;
            dependency.version = version.clone();
        }
        dependency
    }
}

fn parse_bound(text: &str) -> Option<(DependencyFlags, String)> {
    let text = text.trim();
    let split = text.find(|c: char| !"<>=".contains(c))?;
    let (operator, version) = text.split_at(split);
    let version = RpmVersion::from_debian(version.trim());
    let no_release = version.release.is_none();
    let flags = match operator {
        "<<" | "<" => DependencyFlags::LESS,
        // Any revision of that upstream version is later in Debian, equal in RPM.
        "<=" if no_release => DependencyFlags::LESS,
        "<=" => DependencyFlags::LE,
        "=" => DependencyFlags::EQUAL,
        ">=" => DependencyFlags::GE,
        ">>" | ">" if no_release => DependencyFlags::GE,
        ">>" | ">" => DependencyFlags::GREATER,
        _ => return None,
    };
    Some((flags, version.evr()))
}

/// Parses a relation field into groups of alternatives.
pub fn parse_relations(field: &str) -> Vec<Vec<Relation>> {
    let groups =
        field.split(',').map(|group| group.split('|').filter_map(Relation::parse).collect());
    groups.filter(|group: &Vec<Relation>| !group.is_empty()).collect()
}

/// The names that exist in the set that is converted.
pub struct Known<'a> {
    /// Package names and the names they provide.
    pub available: &'a BTreeSet<String>,
    /// Names that the set goes without on purpose.
    pub absent: &'a BTreeSet<String>,
}

impl Known<'_> {
    /// Translates a field of needs. Of alternatives, those in the set are kept
    /// (more than one as a rich dependency); a need that only an absent package
    /// could meet is dropped; one that nothing meets stays, for the judge to see.
    pub fn needs(&self, field: &str) -> Vec<Dependency> {
        parse_relations(field).into_iter().filter_map(|group| self.need(group)).collect()
    }

    fn need(&self, group: Vec<Relation>) -> Option<Dependency> {
        let first = group.first()?.dependency();
        let without = group.iter().any(|relation| self.absent.contains(&relation.name));
        let mut here: Vec<Dependency> = group
            .iter()
            .filter(|relation| self.available.contains(&relation.name))
            .map(Relation::dependency)
            .collect();
        match here.len() {
            0 if without => None,
            0 => Some(first),
            1 => here.pop(),
            _ => {
                let words: Vec<String> = here.iter().map(Dependency::to_string).collect();
                Some(Dependency::any(format!("({})", words.join(" or "))))
            }
        }
    }

    /// Translates a field of wishes: only those the set can meet.
    pub fn wishes(&self, field: &str) -> Vec<Dependency> {
        let groups = parse_relations(field).into_iter();
        groups
            .filter_map(|group| group.into_iter().find(|r| self.available.contains(&r.name)))
            .map(|relation| relation.dependency())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(field: &str) -> Vec<String> {
        let available = ["a", "b", "c"].map(String::from).into();
        let absent = ["gone"].map(String::from).into();
        let known = Known { available: &available, absent: &absent };
        known.needs(field).iter().map(Dependency::to_string).collect()
    }

    #[test]
    fn operators_follow_the_missing_revision() {
        assert_eq!(words("a (>> 2.36)"), ["a >= 2.36"]);
        assert_eq!(words("a (>> 2.36-1)"), ["a > 2.36-1"]);
        assert_eq!(words("a (<= 2.36)"), ["a < 2.36"]);
        assert_eq!(words("a (<< 2.36), b:any (= 1:2-3)"), ["a < 2.36", "b = 1:2-3"]);
    }

    #[test]
    fn alternatives_become_rich_or_plain() {
        assert_eq!(words("a | nowhere"), ["a"]);
        assert_eq!(words("a (>= 1) | b"), ["(a >= 1 or b)"]);
        assert_eq!(words("nowhere | gone"), Vec::<String>::new());
        assert_eq!(words("nowhere (>= 2)"), ["nowhere >= 2"]);
    }

    #[test]
    fn versions_split() {
        let version = RpmVersion::from_debian("1:2.0-rc-1+b3");
        assert_eq!((version.epoch, version.version.as_str()), (1, "2.0_rc"));
        assert_eq!(version.evr(), "1:2.0_rc-1+b3");
        assert_eq!(RpmVersion::from_debian("37").package_release(), "0");
    }
}
