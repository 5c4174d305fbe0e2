//! Lua's patterns (section 6.4.1 of its manual), matched with a limit of steps.
//! Lua's own matcher goes back and tries again for as long as it takes, inside
//! one call, where nothing can end it.

use std::cell::Cell;

/// Captures that a pattern can have (`LUA_MAXCAPTURES`).
const MAX_CAPTURES: usize = 32;
/// How deep one part of a pattern can be tried within another (`MAXCCALLS`).
const MAX_DEPTH: u32 = 200;
const ESCAPE: u8 = b'%';

/// What a script has taken so far, in instructions and in steps of matching.
#[derive(Debug)]
pub struct Budget {
    taken: Cell<u64>,
    most: u64,
}

impl Budget {
    /// One of which `most` can be taken.
    pub fn new(most: u64) -> Self {
        Self { taken: Cell::new(0), most }
    }

    /// Takes some; says whether there is any left.
    pub fn take(&self, count: u64) -> bool {
        self.taken.set(self.taken.get().saturating_add(count));
        self.taken.get() < self.most
    }
}

/// Why a pattern was not matched: Lua's own words, or that it takes too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

type Matched = Result<Option<usize>, Fault>;

fn fault<T>(text: &str) -> Result<T, Fault> {
    Err(Fault(text.to_owned()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Open,
    Position,
    Bytes(usize),
}

/// What a capture holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Capture<'a> {
    /// A part of the subject.
    Text(&'a [u8]),
    /// A place in it, from 1.
    Position(usize),
}

/// A subject and a pattern without its anchor.
#[derive(Debug)]
pub struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: Vec<(usize, Extent)>,
    depth: u32,
    budget: &'a Budget,
}

impl<'a> Matcher<'a> {
    pub fn new(subject: &'a [u8], pattern: &'a [u8], budget: &'a Budget) -> Self {
        Self { subject, pattern, captures: Vec::new(), depth: 0, budget }
    }

    /// Where a match that begins at `start` ends.
    pub fn at(&mut self, start: usize) -> Matched {
        self.captures.clear();
        self.depth = 0;
        self.run(start, 0)
    }

    /// Whether the last match has captures.
    pub fn has_captures(&self) -> bool {
        !self.captures.is_empty()
    }

    /// All of a match.
    pub fn whole(&self, start: usize, end: usize) -> Capture<'a> {
        Capture::Text(&self.subject[start..end])
    }

    /// How many values a match gives.
    pub fn count(&self) -> usize {
        self.captures.len().max(1)
    }

    /// A capture of the last match, which was from `start` to `end`; all of it if
    /// the pattern has no captures.
    pub fn capture(&self, index: usize, start: usize, end: usize) -> Result<Capture<'a>, Fault> {
        match self.captures.get(index) {
            None if index == 0 => Ok(Capture::Text(&self.subject[start..end])),
            None => fault(&format!("invalid capture index %{}", index + 1)),
            Some((_, Extent::Open)) => fault("unfinished capture"),
            Some((at, Extent::Position)) => Ok(Capture::Position(at + 1)),
            Some((at, Extent::Bytes(len))) => Ok(Capture::Text(&self.subject[*at..at + len])),
        }
    }

    fn step(&self, count: usize) -> Result<(), Fault> {
        match self.budget.take(count as u64) {
            true => Ok(()),
            false => fault(super::TOO_LONG),
        }
    }

    fn run(&mut self, at: usize, part: usize) -> Matched {
        if self.depth == MAX_DEPTH {
            return fault("pattern too complex");
        }
        self.depth += 1;
        let found = self.parts(at, part);
        self.depth -= 1;
        found
    }

    /// Matches the pattern from `part` on.
    fn parts(&mut self, mut at: usize, mut part: usize) -> Matched {
        loop {
            self.step(1)?;
            let Some(first) = self.pattern.get(part) else {
                return Ok(Some(at));
            };
            let next = self.pattern.get(part + 1).copied();
            match (first, next) {
                (b'(', Some(b')')) => return self.open(at, part + 2, Extent::Position),
                (b'(', _) => return self.open(at, part + 1, Extent::Open),
                (b')', _) => return self.close(at, part + 1),
                (b'$', None) => return Ok((at == self.subject.len()).then_some(at)),
                (&ESCAPE, Some(b'b')) => {
                    let Some(end) = self.balanced(at, part + 2)? else { return Ok(None) };
                    (at, part) = (end, part + 4);
                }
                (&ESCAPE, Some(b'f')) => {
                    let Some(end) = self.frontier(at, part + 2)? else { return Ok(None) };
                    part = end;
                }
                (&ESCAPE, Some(digit @ b'0'..=b'9')) => {
                    let Some(end) = self.again(at, digit)? else { return Ok(None) };
                    (at, part) = (end, part + 2);
                }
                _ => {
                    let end = self.class_end(part)?;
                    let suffix = self.pattern.get(end).copied();
                    match (self.one(at, part, end), suffix) {
                        (true, Some(b'?')) => {
                            if let Some(found) = self.run(at + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            part = end + 1;
                        }
                        (true, Some(b'+')) => return self.most(at + 1, part, end),
                        (_, Some(b'*')) => return self.most(at, part, end),
                        (_, Some(b'-')) => return self.least(at, part, end),
                        (false, Some(b'?')) => part = end + 1,
                        (false, _) => return Ok(None),
                        (true, _) => (at, part) = (at + 1, end),
                    }
                }
            }
        }
    }

    fn most(&mut self, at: usize, part: usize, end: usize) -> Matched {
        let mut count = 0;
        while self.one(at + count, part, end) {
            count += 1;
        }
        self.step(count)?;
        for count in (0..=count).rev() {
            if let Some(found) = self.run(at + count, end + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn least(&mut self, mut at: usize, part: usize, end: usize) -> Matched {
        loop {
            if let Some(found) = self.run(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.one(at, part, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, part: usize, extent: Extent) -> Matched {
        if self.captures.len() >= MAX_CAPTURES {
            return fault("too many captures");
        }
        self.captures.push((at, extent));
        let found = self.run(at, part)?;
        if found.is_none() {
            self.captures.pop();
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, part: usize) -> Matched {
        let open = self.captures.iter().rposition(|(_, extent)| *extent == Extent::Open);
        let Some(open) = open else {
            return fault("invalid pattern capture");
        };
        self.captures[open].1 = Extent::Bytes(at - self.captures[open].0);
        let found = self.run(at, part)?;
        if found.is_none() {
            self.captures[open].1 = Extent::Open;
        }
        Ok(found)
    }

    /// `%1`: what a capture holds, once more.
    fn again(&self, at: usize, digit: u8) -> Matched {
        let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let wanted = match self.captures.get(index) {
            Some((start, Extent::Bytes(len))) => &self.subject[*start..start + len],
            Some((_, Extent::Position)) => return Ok(None),
            _ => return fault(&format!("invalid capture index %{}", char::from(digit))),
        };
        self.step(wanted.len())?;
        Ok(self.subject[at..].starts_with(wanted).then(|| at + wanted.len()))
    }

    /// `%bxy`
    fn balanced(&self, at: usize, part: usize) -> Matched {
        let [open, close] = self.pattern.get(part..part + 2).unwrap_or_default() else {
            return fault("malformed pattern (missing arguments to '%b')");
        };
        if self.subject.get(at) != Some(open) {
            return Ok(None);
        }
        let mut depth = 1;
        for (past, byte) in self.subject[at + 1..].iter().enumerate() {
            self.step(1)?;
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + past + 2));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`; gives where the set ends.
    fn frontier(&self, at: usize, part: usize) -> Matched {
        if self.pattern.get(part) != Some(&b'[') {
            return fault("missing '[' after '%f' in pattern");
        }
        let end = self.class_end(part)?;
        let before = at.checked_sub(1).map_or(0, |before| self.subject[before]);
        let here = self.subject.get(at).copied().unwrap_or(0);
        let set = &self.pattern[part + 1..end - 1];
        Ok((!in_set(before, set) && in_set(here, set)).then_some(end))
    }

    /// Where a class ends that begins at `part`.
    fn class_end(&self, part: usize) -> Result<usize, Fault> {
        let mut at = part + 1;
        match self.pattern[part] {
            ESCAPE if at == self.pattern.len() => fault("malformed pattern (ends with '%')"),
            ESCAPE => Ok(at + 1),
            b'[' => {
                at += usize::from(self.pattern.get(at) == Some(&b'^'));
                // the first one is a member, even if it is a bracket
                loop {
                    let Some(byte) = self.pattern.get(at) else {
                        return fault("malformed pattern (missing ']')");
                    };
                    at += 1 + usize::from(*byte == ESCAPE && at + 1 < self.pattern.len());
                    if self.pattern.get(at) == Some(&b']') {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(at),
        }
    }

    fn one(&self, at: usize, part: usize, end: usize) -> bool {
        let Some(byte) = self.subject.get(at) else {
            return false;
        };
        match self.pattern[part] {
            b'.' => true,
            ESCAPE => in_class(*byte, self.pattern[part + 1]),
            b'[' => in_set(*byte, &self.pattern[part + 1..end - 1]),
            same => same == *byte,
        }
    }
}

/// Whether a byte is in what stands between brackets.
fn in_set(byte: u8, set: &[u8]) -> bool {
    let (mut rest, yes) = match set.split_first() {
        Some((b'^', rest)) => (rest, false),
        _ => (set, true),
    };
    loop {
        let (found, after) = match rest {
            [] => return !yes,
            [ESCAPE, class, after @ ..] => (in_class(byte, *class), after),
            [from, b'-', to, after @ ..] => ((*from..=*to).contains(&byte), after),
            [one, after @ ..] => (*one == byte, after),
        };
        if found {
            return yes;
        }
        rest = after;
    }
}

fn in_class(byte: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        // deprecated, and still there
        b'z' => byte == 0,
        _ => return class == byte,
    };
    found != class.is_ascii_uppercase()
}
