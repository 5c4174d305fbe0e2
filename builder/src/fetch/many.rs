//! Many packages that could not be brought in, told in a few lines: whatever is
//! wrong with a server or a key is wrong with every package of it alike.

use std::fmt;

use super::{FetchError, FetchErrors, FetchFault};
use crate::progress::counted;

/// So many packages are named of those that fail alike.
const NAMED: usize = 3;
/// Digits of a SHA-256, which is another one for each package.
const DIGEST_CHARS: usize = 64;

impl fmt::Display for FetchErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch what the lock names")?;
        // After a server was given up, every package says the same.
        let (again, first): (Vec<_>, Vec<_>) = self.iter().partition(|error| error.is_repetition());
        for alike in groups(&first) {
            write!(f, "\n  {}", told(&alike))?;
        }
        match again.len() {
            0 => Ok(()),
            count => {
                let packages = counted(count, "more package", "more packages");
                write!(f, "\n  and {packages} from servers that were given up")
            }
        }
    }
}

/// Those that fail alike, in the order of the first of each.
fn groups<'e>(errors: &[&'e FetchError]) -> Vec<Vec<&'e FetchError>> {
    let mut groups: Vec<(String, Vec<&FetchError>)> = Vec::new();
    for error in errors {
        let kind = error.kind();
        match groups.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, group)) => group.push(error),
            None => groups.push((kind, vec![error])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn told(alike: &[&FetchError]) -> String {
    let Some(first) = alike.first() else { return String::new() };
    let why = first.why();
    // Not once more where the fault has it already.
    let from = match why.contains(&first.address) {
        true => String::new(),
        false => format!(" from {}", first.address),
    };
    if alike.len() == 1 {
        return format!("{}{from}: {why}", first.package);
    }
    let names: Vec<&str> = alike.iter().take(NAMED).map(|error| error.package.as_str()).collect();
    let more = match alike.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let from = if from.is_empty() { from } else { format!(", the first{from}") };
    format!("{} packages ({}{more}){from}: {why}", alike.len(), names.join(", "))
}

impl FetchError {
    fn is_repetition(&self) -> bool {
        matches!(&self.fault, FetchFault::Location(error) if error.is_repetition())
    }

    /// The fault and its causes.
    fn why(&self) -> String {
        let mut text = self.fault.to_string();
        let mut source = std::error::Error::source(&self.fault);
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text
    }

    /// What is wrong, without what is of this package alone: its files,
    /// digests and sizes. Of an address the server stays.
    fn kind(&self) -> String {
        self.why().split_whitespace().map(kind_of).collect::<Vec<_>>().join(" ")
    }
}

fn kind_of(word: &str) -> String {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let is_digest = bare.len() >= DIGEST_CHARS && bare.bytes().all(|c| c.is_ascii_hexdigit());
    if is_digest || bare.bytes().all(|c| c.is_ascii_digit()) {
        return String::new();
    }
    match word.split_once("://") {
        Some((scheme, rest)) => {
            format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
        }
        None if word.contains('/') => "/".to_owned(),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::LocationError;
    use crate::signature::SignatureError;
    use crate::store::StoreError;
    use formats::Digest;

    fn error(package: &str, fault: FetchFault) -> FetchError {
        let address = format!("https://host/x/{package}.rpm");
        FetchError { package: package.into(), address, fault }
    }

    fn lines(errors: Vec<FetchError>) -> Vec<String> {
        FetchErrors(errors).to_string().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn what_fails_alike_is_one_line() {
        let unknown = || SignatureError::UnknownKey { by: "AB12".into(), trusted: "CD34".into() };
        let wrong_key = |name: &str| {
            error(name, FetchFault::Package(super::super::PackageFault::Signature(unknown())))
        };
        let found = lines((0..100).map(|at| wrong_key(&format!("p{at}"))).collect());
        let [line] = &found[..] else { panic!("{found:?}") };
        assert!(
            line.starts_with("  100 packages (p0, p1, p2 and 97 more), the first from https"),
            "{line}"
        );
        assert!(line.contains("signed by key AB12"), "{line}");
    }

    #[test]
    fn addresses_and_digests_of_its_own_do_not_set_a_package_apart() {
        let replaced = |name: &str| {
            let expected = Digest::of(name.as_bytes());
            let wrong = StoreError::Digest { expected, found: Digest::of(b"other") };
            error(name, FetchFault::Replaced(wrong))
        };
        let offline = |name: &str, host: &str| {
            let address = format!("https://{host}/{name}.rpm");
            error(name, FetchFault::Location(LocationError::Offline { address }))
        };
        let found = lines(vec![
            replaced("a"),
            offline("b", "one"),
            replaced("c"),
            offline("d", "one"),
            offline("e", "two"),
        ]);
        let [first, second, third] = &found[..] else { panic!("{found:?}") };
        assert!(first.starts_with("  2 packages (a, c), the first from "), "{first}");
        assert!(second.starts_with("  2 packages (b, d), the first from "), "{second}");
        assert!(third.starts_with("  e from https://host/x/e.rpm: it would"), "{third}");
    }
}
