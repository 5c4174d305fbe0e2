//! Rich dependencies, `(a or b)`: the boolean expressions rpm has had since
//! 4.13. Only their grammar (rpm's `docs/manual/boolean_dependencies`).

use crate::evr::{Bound, Sense};
use crate::repository::Dependency;

/// Real ones nest two or three deep.
const MAX_DEPTH: usize = 16;

/// A dependency, plain or rich.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    Plain(Dependency),
    /// All of them.
    And(Vec<Need>),
    /// One of them, the first preferred.
    Or(Vec<Need>),
    /// `(then if when else otherwise)`
    If {
        then: Box<Need>,
        when: Box<Need>,
        otherwise: Option<Box<Need>>,
    },
    /// `(then unless when else otherwise)`
    Unless {
        then: Box<Need>,
        when: Box<Need>,
        otherwise: Option<Box<Need>>,
    },
    /// One package that satisfies both.
    With(Box<Need>, Box<Need>),
    /// A package that satisfies the first and not the second.
    Without(Box<Need>, Box<Need>),
}

impl Need {
    /// Reads a dependency as metadata has it.
    pub fn parse(dependency: &Dependency) -> Result<Self, String> {
        if !dependency.name.starts_with('(') {
            return Ok(Self::Plain(dependency.clone()));
        }
        let mut words = Words { rest: &dependency.name };
        let need = words.operand(0)?;
        match words.next() {
            None => Ok(need),
            Some(word) => Err(format!("unexpected {word:?}")),
        }
    }
}

/// Splits at spaces and parentheses; a name may itself hold pairs of
/// parentheses, as in `libfoo.so.1()(64bit)`.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let end = match self.rest.chars().next()? {
            '(' | ')' => 1,
            _ => word_end(self.rest),
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }

    fn peek(&self) -> Option<&'a str> {
        Words { rest: self.rest }.next()
    }

    fn operand(&mut self, depth: usize) -> Result<Need, String> {
        match self.next().ok_or("unexpected end")? {
            "(" if depth >= MAX_DEPTH => Err("nested too deeply".to_owned()),
            "(" => {
                let need = self.expression(depth + 1)?;
                match self.next() {
                    Some(")") => Ok(need),
                    other => Err(format!("unexpected {:?}", other.unwrap_or("end"))),
                }
            }
            ")" => Err("unexpected \")\"".to_owned()),
            name => Ok(Need::Plain(self.plain(name)?)),
        }
    }

    fn plain(&mut self, name: &str) -> Result<Dependency, String> {
        let Some(sense) = self.peek().and_then(Sense::from_sign) else {
            return Ok(Dependency::any(name));
        };
        self.next();
        let version = self.next().ok_or("unexpected end")?;
        Ok(Dependency { name: name.into(), bound: Some(Bound::parse(sense, version)) })
    }

    fn expression(&mut self, depth: usize) -> Result<Need, String> {
        let first = self.operand(depth)?;
        let boxed = Box::new;
        match self.peek() {
            Some("and") => Ok(Need::And(self.chain("and", first, depth)?)),
            Some("or") => Ok(Need::Or(self.chain("or", first, depth)?)),
            Some("with") => {
                let chain = self.chain("with", first, depth)?.into_iter();
                let joined = chain.reduce(|a, b| Need::With(boxed(a), boxed(b)));
                joined.ok_or_else(|| "unexpected end".to_owned())
            }
            Some("without") => {
                self.next();
                Ok(Need::Without(boxed(first), boxed(self.operand(depth)?)))
            }
            Some(word @ ("if" | "unless")) => {
                self.next();
                let (then, when) = (boxed(first), boxed(self.operand(depth)?));
                let otherwise = match self.peek() {
                    Some("else") => {
                        self.next();
                        Some(boxed(self.operand(depth)?))
                    }
                    _ => None,
                };
                Ok(match word {
                    "if" => Need::If { then, when, otherwise },
                    _ => Need::Unless { then, when, otherwise },
                })
            }
            _ => Ok(first),
        }
    }

    fn chain(&mut self, word: &str, first: Need, depth: usize) -> Result<Vec<Need>, String> {
        let mut needs = vec![first];
        while self.peek() == Some(word) {
            self.next();
            needs.push(self.operand(depth)?);
        }
        Ok(needs)
    }
}

fn word_end(text: &str) -> usize {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' if open == 0 => return at,
            ')' => open -= 1,
            c if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Need, String> {
        Need::parse(&Dependency::any(text))
    }

    fn plain(name: &str) -> Need {
        Need::Plain(Dependency::any(name))
    }

    #[test]
    fn the_grammar_is_rpms() {
        let either = vec![plain("libfoo.so.1()(64bit)"), plain("b"), plain("c")];
        assert_eq!(parse("(libfoo.so.1()(64bit) or b or c)"), Ok(Need::Or(either)));
        let versioned = Dependency {
            name: "a".into(),
            bound: Some(Bound::parse(Sense::GreaterEqual, "1:2-3")),
        };
        let with = Need::With(Box::new(Need::Plain(versioned)), Box::new(plain("b")));
        assert_eq!(parse("(a >= 1:2-3 with b)"), Ok(with));
        let nested = parse("((a and b) if (c or d) else e)").expect("valid");
        let Need::If { then, when, otherwise: Some(otherwise) } = nested else {
            panic!("not a condition");
        };
        assert_eq!(*then, Need::And(vec![plain("a"), plain("b")]));
        assert_eq!(*when, Need::Or(vec![plain("c"), plain("d")]));
        assert_eq!(*otherwise, plain("e"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["(", "()", "(a", "(a or)", "(a >=)", "(a b)", "(a) b", &"(".repeat(99_999)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
