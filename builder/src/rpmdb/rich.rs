//! The names in a rich dependency, such as `(a or b)`: rpm's database lists
//! each beside the whole, so that a change of one of them has the whole looked
//! at again. Follows rpm's `rpmrichParse` and `updateRichDep`; whether such a
//! dependency holds is no matter here.

/// Nobody nests more deeply; rpm itself has no limit.
const MAX_DEPTH: usize = 64;
/// Nor names so many packages.
const MAX_NAMES: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    If,
    Unless,
    Else,
    With,
    Without,
}

/// The names in `dependency` in the order rpm enters them, each once; with `!`
/// before one whose absence matters. Nothing if it is no rich dependency.
pub fn names(dependency: &[u8]) -> Vec<Vec<u8>> {
    let mut parser = Parser { rest: dependency, names: Vec::new(), negated: false };
    if parser.group(0).is_none() {
        return Vec::new();
    }
    let mut names = parser.names;
    names.sort();
    names.dedup();
    names.into_iter().map(|name| if name[0] == b' ' { name[1..].to_vec() } else { name }).collect()
}

struct Parser<'a> {
    rest: &'a [u8],
    /// a space or an exclamation mark, then the name
    names: Vec<Vec<u8>>,
    negated: bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied().filter(|byte| *byte != 0)
    }

    fn skip_white(&mut self) {
        let is_white = |byte: &u8| is_space(*byte) || *byte == b',';
        let white = self.rest.iter().take_while(|byte| is_white(byte)).count();
        self.rest = &self.rest[white..];
    }

    /// A word up to white space, or to the parenthesis that closes around it.
    fn word(&mut self) -> &'a [u8] {
        let mut open = 0_usize;
        let mut length = 0;
        for byte in self.rest {
            match byte {
                b',' => break,
                byte if is_space(*byte) => break,
                b')' if open == 0 => break,
                b')' => open -= 1,
                b'(' => open += 1,
                _ => {}
            }
            length += 1;
        }
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        word
    }

    /// Parses what is in parentheses. Gives whether it holds something that
    /// `with` may not be said of.
    fn group(&mut self, depth: usize) -> Option<bool> {
        let mut names_before = self.names.len();
        let mut no_with = false;
        if depth > MAX_DEPTH || self.peek() != Some(b'(') {
            return None;
        }
        self.rest = &self.rest[1..];
        let mut last = None;
        loop {
            self.skip_white();
            match self.peek()? {
                b')' => return None,
                b'(' => no_with |= self.group(depth + 1)?,
                _ => self.simple()?,
            }
            self.skip_white();
            if self.peek()? == b')' {
                break;
            }
            let operator = self.operator()?;
            if !may_follow(last, operator) {
                return None;
            }
            match operator {
                Operator::If | Operator::Unless => {
                    names_before = self.names.len();
                    self.negated = !self.negated;
                }
                Operator::Else => self.turn_to_else(names_before)?,
                _ => {}
            }
            last = Some(operator);
        }
        self.rest = &self.rest[1..];
        match last {
            Some(Operator::With | Operator::Without) if no_with => return None,
            Some(Operator::If | Operator::Unless) => self.negated = !self.negated,
            _ => {}
        }
        let plain = [None, Some(Operator::With), Some(Operator::Without), Some(Operator::Or)];
        Some(no_with || !plain.contains(&last))
    }

    /// What the condition wanted absent, the alternative wants present. Each one
    /// within another doubles the names.
    fn turn_to_else(&mut self, condition: usize) -> Option<()> {
        if self.names.len() > MAX_NAMES {
            return None;
        }
        for at in condition..self.names.len() {
            let mut name = self.names[at].clone();
            name[0] ^= b' ' ^ b'!';
            self.names.push(name);
        }
        self.negated = !self.negated;
        Some(())
    }

    /// A name, perhaps with a comparison.
    fn simple(&mut self) -> Option<()> {
        let name = self.word();
        if name.is_empty() {
            return None;
        }
        self.skip_white();
        let before = self.rest;
        if is_comparison(self.word()) {
            self.skip_white();
            if self.word().is_empty() {
                return None;
            }
        } else {
            self.rest = before;
        }
        if !name.starts_with(b"rpmlib(") {
            let sign = if self.negated { b'!' } else { b' ' };
            self.names.push([&[sign], name].concat());
        }
        Some(())
    }

    fn operator(&mut self) -> Option<Operator> {
        let length =
            self.rest.iter().take_while(|byte| !is_space(**byte) && **byte != b')').count();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(match word {
            b"and" => Operator::And,
            b"or" => Operator::Or,
            b"if" => Operator::If,
            b"unless" => Operator::Unless,
            b"else" => Operator::Else,
            b"with" => Operator::With,
            b"without" => Operator::Without,
            _ => return None,
        })
    }
}

/// Whether an operator may come after the last one of the same parentheses.
fn may_follow(last: Option<Operator>, next: Operator) -> bool {
    match last {
        None => true,
        Some(Operator::If | Operator::Unless) if next == Operator::Else => true,
        Some(last) => last == next && matches!(next, Operator::And | Operator::Or | Operator::With),
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_comparison(word: &[u8]) -> bool {
    matches!(word, b"<=" | b"=<" | b"<" | b"==" | b"=" | b">=" | b"=>" | b">")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(dependency: &str) -> String {
        let names = names(dependency.as_bytes());
        names.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_name_is_listed_once() {
        assert_eq!(listed("(b or a)"), "a b");
        assert_eq!(listed("(a >= 1.0 with a < 2)"), "a");
        assert_eq!(listed("(a and (b or c) and rpmlib(X))"), "a b c");
        assert_eq!(listed("(lib.so.1()(64bit) or b)"), "b lib.so.1()(64bit)");
    }

    #[test]
    fn conditions_are_negated() {
        assert_eq!(listed("(a if b)"), "a !b");
        assert_eq!(listed("(a if b else c)"), "a b c !b");
        assert_eq!(listed("(a unless (b and c))"), "a !b !c");
        assert_eq!(listed("((a if b) if c)"), "a !b !c");
    }

    #[test]
    fn what_is_no_rich_dependency_lists_nothing() {
        for text in [
            "a",
            "(",
            "()",
            "(a",
            "(a or)",
            "(a or b and c)",
            "(a xor b)",
            "(a >= )",
            "((a and b) with c)",
            "",
        ] {
            assert_eq!(listed(text), "", "{text}");
        }
        assert_eq!(listed(&"(".repeat(100_000)), "");
        let doubling = format!("{}(a if b else c){}", "(a if ".repeat(40), " else c)".repeat(40));
        assert_eq!(listed(&doubling), "");
    }
}
