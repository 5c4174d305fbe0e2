//! Enough of the shell's grammar for the scripts that packages carry: simple
//! commands whose output may go to a file, `&&`, `||`, `!` and `if`. What goes
//! beyond is refused as a whole, so that a script is never half understood.

/// A command of a script.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// A simple command.
    Simple(Simple),
    /// Runs the second only if the first succeeds.
    And(Box<Command>, Box<Command>),
    /// Runs the second only if the first fails.
    Or(Box<Command>, Box<Command>),
    /// Turns success and failure round.
    Not(Box<Command>),
    /// Condition, then, else.
    If(Vec<Command>, Vec<Command>, Vec<Command>),
}

/// Words, and where standard output goes. Redirections that only quieten a
/// command are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simple {
    /// Program and arguments.
    pub words: Vec<String>,
    /// A file that the output goes to.
    pub output: Option<Output>,
}

/// `> FILE` or `>> FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub path: String,
    /// Whether what is in it stays.
    pub append: bool,
}

/// What in a script is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word, and whether any of it was quoted (then it is no keyword).
    Word(String, bool),
    Output(Output),
    And,
    Or,
    End,
}

const DEEPEST: usize = 16;
/// Commands joined by `&&` and `||`, each within the next.
const LONGEST_CHAIN: usize = 256;
/// Keywords of the shell that are not followed, or not where a command begins.
const UNSUPPORTED: [&str; 16] = [
    "for", "while", "until", "case", "function", "{", "}", "[[", "do", "select", "then", "elif",
    "else", "fi", "done", "esac",
];

/// Parses a script that is called with `arguments`.
pub fn parse(script: &str, arguments: &[String]) -> Result<Vec<Command>, NotUnderstood> {
    let tokens = Lexer { rest: script, arguments }.tokens()?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let commands = parser.list(&[])?;
    match parser.peek() {
        None => Ok(commands),
        Some(token) => Err(NotUnderstood(format!("{token:?} out of place"))),
    }
}

struct Lexer<'a> {
    rest: &'a str,
    arguments: &'a [String],
}

impl Lexer<'_> {
    fn tokens(mut self) -> Result<Vec<Token>, NotUnderstood> {
        let mut tokens = Vec::new();
        while let Some(first) = self.rest.chars().next() {
            match first {
                ' ' | '\t' => self.skip(1),
                '\n' | ';' => {
                    self.skip(1);
                    tokens.push(Token::End);
                }
                '#' => self.rest = self.rest.trim_start_matches(|c| c != '\n'),
                '\\' if self.rest.starts_with("\\\n") => self.skip(2),
                '&' if self.rest.starts_with("&&") => {
                    self.skip(2);
                    tokens.push(Token::And);
                }
                '|' if self.rest.starts_with("||") => {
                    self.skip(2);
                    tokens.push(Token::Or);
                }
                _ if self.redirection(&mut tokens)? => {}
                '&' | '|' | '(' | ')' | '<' | '>' => {
                    return Err(NotUnderstood(format!("shell operator {first:?}")));
                }
                _ => tokens.push(self.word()?),
            }
        }
        Ok(tokens)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Passes over a redirection to `/dev/null` or to another descriptor: those
    /// only quieten a command. Notes one of standard output to a file, and
    /// refuses any other.
    fn redirection(&mut self, tokens: &mut Vec<Token>) -> Result<bool, NotUnderstood> {
        let operator = ["2>&1", "1>&2", ">&2", "&>>", "&>", "2>>", "2>", "1>>", "1>", ">>", ">"];
        let Some(found) = operator.iter().find(|operator| self.rest.starts_with(**operator)) else {
            return Ok(false);
        };
        self.skip(found.len());
        if found.ends_with(['1', '2']) {
            return Ok(true);
        }
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        match self.word()? {
            Token::Word(target, _) if target == "/dev/null" => {}
            Token::Word(path, _) if path.starts_with('/') && !found.starts_with(['2', '&']) => {
                tokens.push(Token::Output(Output { path, append: found.ends_with(">>") }));
            }
            other => return Err(NotUnderstood(format!("redirection to {other:?}"))),
        }
        Ok(true)
    }

    fn word(&mut self) -> Result<Token, NotUnderstood> {
        let (mut word, mut quoted) = (String::new(), false);
        while let Some(next) = self.rest.chars().next() {
            match next {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    quoted = true;
                    let (inside, after) = self.rest[1..].split_once('\'').ok_or_else(open_quote)?;
                    word.push_str(inside);
                    self.rest = after;
                }
                '"' => {
                    quoted = true;
                    self.skip(1);
                    self.double_quoted(&mut word)?;
                }
                '$' => self.variable(&mut word)?,
                '`' | '*' | '?' | '{' | '}' => {
                    return Err(NotUnderstood(format!("{next:?} in a word")));
                }
                '~' if word.is_empty() => return Err(NotUnderstood("a home folder".to_owned())),
                '[' if !self.is_test(&word) => {
                    return Err(NotUnderstood("a pattern in a word".to_owned()));
                }
                '\\' => {
                    self.skip(1);
                    quoted = true;
                    let escaped = self.rest.chars().next().ok_or_else(open_quote)?;
                    self.skip(escaped.len_utf8());
                    if escaped != '\n' {
                        word.push(escaped);
                    }
                }
                _ => {
                    word.push(next);
                    self.skip(next.len_utf8());
                }
            }
        }
        Ok(Token::Word(word, quoted))
    }

    /// `[` alone is a command; within a word it begins a pattern.
    fn is_test(&self, before: &str) -> bool {
        before.is_empty() && self.rest[1..].starts_with([' ', '\t'])
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), NotUnderstood> {
        loop {
            let next = self.rest.chars().next().ok_or_else(open_quote)?;
            match next {
                '"' => {
                    self.skip(1);
                    return Ok(());
                }
                '$' => self.variable(word)?,
                '`' => return Err(NotUnderstood(format!("{next:?} in quotes"))),
                // Only before these is it more than itself.
                '\\' => {
                    self.skip(1);
                    match self.rest.chars().next() {
                        Some(special @ ('$' | '`' | '"' | '\\')) => {
                            self.skip(1);
                            word.push(special);
                        }
                        Some('\n') => self.skip(1),
                        _ => word.push('\\'),
                    }
                }
                _ => {
                    word.push(next);
                    self.skip(next.len_utf8());
                }
            }
        }
    }

    fn variable(&mut self, word: &mut String) -> Result<(), NotUnderstood> {
        let number = self.arguments.len().to_string();
        let value = |at: usize| self.arguments.get(at).map_or("", String::as_str);
        let known = [
            ("${1}", value(0)),
            ("$1", value(0)),
            ("${2}", value(1)),
            ("$2", value(1)),
            ("$#", &number),
        ];
        let Some((name, value)) = known.into_iter().find(|(name, _)| self.rest.starts_with(name))
        else {
            let shown: String = self.rest.chars().take(12).collect();
            return Err(NotUnderstood(format!("expansion {shown:?}")));
        };
        word.push_str(value);
        self.skip(name.len());
        Ok(())
    }
}

fn open_quote() -> NotUnderstood {
    NotUnderstood("a quote that does not end".to_owned())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn keyword(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word, false)) => Some(word),
            _ => None,
        }
    }

    /// Commands up to one of the keywords `until`, which is not taken.
    fn list(&mut self, until: &[&str]) -> Result<Vec<Command>, NotUnderstood> {
        let mut commands = Vec::new();
        loop {
            while self.peek() == Some(&Token::End) {
                self.at += 1;
            }
            if self.peek().is_none() || self.keyword().is_some_and(|word| until.contains(&word)) {
                return Ok(commands);
            }
            commands.push(self.and_or()?);
        }
    }

    fn and_or(&mut self) -> Result<Command, NotUnderstood> {
        let mut left = self.command()?;
        for _ in 0..LONGEST_CHAIN {
            let join = match self.peek() {
                Some(Token::And) => Command::And,
                Some(Token::Or) => Command::Or,
                _ => return Ok(left),
            };
            self.at += 1;
            while self.peek() == Some(&Token::End) {
                self.at += 1;
            }
            left = join(Box::new(left), Box::new(self.command()?));
        }
        Err(NotUnderstood("too many commands joined by && and ||".to_owned()))
    }

    fn command(&mut self) -> Result<Command, NotUnderstood> {
        match self.keyword() {
            Some("!") => {
                self.at += 1;
                Ok(Command::Not(Box::new(self.nested(Self::command)?)))
            }
            Some("if") => {
                self.at += 1;
                self.nested(Self::conditional)
            }
            Some(word) if UNSUPPORTED.contains(&word) => {
                Err(NotUnderstood(format!("keyword {word:?}")))
            }
            _ => self.simple(),
        }
    }

    fn nested<T>(
        &mut self,
        parse: fn(&mut Self) -> Result<T, NotUnderstood>,
    ) -> Result<T, NotUnderstood> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(NotUnderstood("too deeply nested".to_owned()));
        }
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// After `if` or `elif`.
    fn conditional(&mut self) -> Result<Command, NotUnderstood> {
        let condition = self.list(&["then"])?;
        self.expect("then")?;
        let then = self.list(&["elif", "else", "fi"])?;
        let otherwise = match self.keyword() {
            Some("elif") => {
                self.at += 1;
                return Ok(Command::If(condition, then, vec![self.nested(Self::conditional)?]));
            }
            Some("else") => {
                self.at += 1;
                self.list(&["fi"])?
            }
            _ => Vec::new(),
        };
        self.expect("fi")?;
        Ok(Command::If(condition, then, otherwise))
    }

    fn expect(&mut self, word: &str) -> Result<(), NotUnderstood> {
        if self.keyword() != Some(word) {
            return Err(NotUnderstood(format!("no {word:?} where one must be")));
        }
        self.at += 1;
        Ok(())
    }

    fn simple(&mut self) -> Result<Command, NotUnderstood> {
        let mut simple = Simple::default();
        loop {
            match self.peek() {
                Some(Token::Word(word, _)) => simple.words.push(word.clone()),
                Some(Token::Output(output)) if simple.output.is_none() => {
                    simple.output = Some(output.clone());
                }
                Some(Token::Output(_)) => {
                    return Err(NotUnderstood("two redirections of one command".to_owned()));
                }
                _ => break,
            }
            self.at += 1;
        }
        if simple.words.is_empty() {
            return Err(NotUnderstood("a command without words".to_owned()));
        }
        Ok(Command::Simple(simple))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simple(words: &[&str]) -> Command {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Command::Simple(Simple { words, output: None })
    }

    #[test]
    fn reads_what_the_usual_macros_expand_to() {
        let script = "# first\nif [ $1 -eq 1 ] && [ -x \"/usr/bin/systemctl\" ]; then\n  \
                      systemctl --no-reload preset a.service b.socket >/dev/null 2>&1 || :\nfi\n";
        let condition = Command::And(
            Box::new(simple(&["[", "1", "-eq", "1", "]"])),
            Box::new(simple(&["[", "-x", "/usr/bin/systemctl", "]"])),
        );
        let preset = simple(&["systemctl", "--no-reload", "preset", "a.service", "b.socket"]);
        let then = Command::Or(Box::new(preset), Box::new(simple(&[":"])));
        let wanted = Command::If(vec![condition], vec![then], vec![]);
        assert_eq!(parse(script, &["1".to_owned()]).unwrap(), [wanted]);
    }

    #[test]
    fn joins_lines_and_quotes() {
        let script = "useradd -c 'System \"bus\"' \\\n  -d / bus &>/dev/null; exit 0";
        let wanted = [
            simple(&["useradd", "-c", "System \"bus\"", "-d", "/", "bus"]),
            simple(&["exit", "0"]),
        ];
        assert_eq!(parse(script, &["1".to_owned()]).unwrap(), wanted);
    }

    #[test]
    fn arguments_and_files_of_output_are_taken() {
        let arguments = ["1".to_owned(), "2".to_owned()];
        let parsed = parse("echo \"$1 ${2} $# \\$x\" >> /etc/x; : >/y", &arguments).unwrap();
        let output = |path: &str, append| Some(Output { path: path.to_owned(), append });
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let wanted = [
            Simple { words: words(&["echo", "1 2 2 $x"]), output: output("/etc/x", true) },
            Simple { words: words(&[":"]), output: output("/y", false) },
        ];
        assert_eq!(parsed, wanted.map(Command::Simple));
    }

    #[test]
    fn refuses_what_it_cannot_follow() {
        for script in [
            "for x in a; do b; done",
            "a | b",
            "a > x",
            "a 2> /etc/x",
            "a > /x > /y",
            "rm a[bc]",
            "a ~/x",
            "a {b,c}",
            "a $HOME",
            "a `b`",
            "a $(b)",
            "rm /tmp/*",
            "if a; then b",
            "fi",
            "a 'b",
            "(a)",
            "a &",
            "if a; fi",
        ] {
            assert!(parse(script, &["1".to_owned()]).is_err(), "{script}");
        }
        let deep = "! ".repeat(1000);
        assert!(parse(&deep, &[]).is_err());
        assert!(parse(&format!("{}:", ": && ".repeat(100)), &[]).is_ok());
        assert!(parse(&format!("{}:", ": && ".repeat(100_000)), &[]).is_err());
    }
}
