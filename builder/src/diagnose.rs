//! Mistakes in what people write, shown the way a compiler shows them: file,
//! line, the offending text underlined, and a hint. Collects every mistake
//! before anything is given up; knows nothing of recipes themselves.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A text file whose mistakes are to be shown.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The path as it is shown to the reader.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A problem about the bytes `range` of this file.
    #[must_use]
    pub fn problem(&self, range: Range<usize>, message: impl Into<String>) -> Problem {
        Problem {
            path: self.path.clone(),
            excerpt: Some(Excerpt::cut(&self.text, range)),
            message: message.into(),
            hint: None,
        }
    }
}

/// The line a problem is on and the part of it that is underlined.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    /// Counted from 1.
    line: usize,
    /// Counted from 1, in characters.
    column: usize,
    text: String,
    underlined_chars: usize,
}

impl Excerpt {
    fn cut(text: &str, range: Range<usize>) -> Self {
        let start = floor_boundary(text, range.start);
        let end = floor_boundary(text, range.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let underlined = text[start..end.min(line_end)].trim_end().chars().count();
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            // A tab would shift the underline, so it is shown as one space.
            text: text[line_start..line_end].trim_end().replace('\t', " "),
            underlined_chars: underlined.max(1),
        }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    path: PathBuf,
    excerpt: Option<Excerpt>,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A problem with a whole file, such as one that cannot be read.
    #[must_use]
    pub fn with_file(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), excerpt: None, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The file it is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line it is on, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let mut margin = 1;
        if let Some(excerpt) = &self.excerpt {
            margin = excerpt.line.to_string().len();
            writeln!(f, ":{}:{}: {}", excerpt.line, excerpt.column, self.message)?;
            writeln!(f, "{:margin$} |", "")?;
            writeln!(f, "{} | {}", excerpt.line, excerpt.text)?;
            let (indent, carets) = (excerpt.column - 1, "^".repeat(excerpt.underlined_chars));
            write!(f, "{:margin$} | {:indent$}{carets}", "", "")?;
        } else {
            write!(f, ": {}", self.message)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{:margin$} = hint: {hint}", "")?;
        }
        Ok(())
    }
}

/// Every mistake of a recipe, in the order they stand in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `value` if there were no problems.
    pub fn none_or<T>(problems: Vec<Problem>, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Self::new(problems)),
        }
    }

    /// Puts `problems` in reading order: by line within a file, files as met.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>) -> Self {
        let mut paths: Vec<PathBuf> = Vec::new();
        for problem in &problems {
            if !paths.contains(&problem.path) {
                paths.push(problem.path.clone());
            }
        }
        problems.sort_by_key(|problem| {
            let file = paths.iter().position(|path| *path == problem.path);
            let place = problem.excerpt.as_ref().map(|excerpt| (excerpt.line, excerpt.column));
            (file, place)
        });
        problems.dedup();
        Self(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}\n")?;
        }
        match self.0.len() {
            1 => write!(f, "1 mistake"),
            count => write!(f, "{count} mistakes"),
        }
    }
}

impl std::error::Error for Problems {}

/// The one of `known` that `word` was most likely meant to be: at most a third
/// of its letters differ.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, replacements and
/// swapped neighbours each count one.
fn edit_distance(a: &str, b: &str) -> usize {
    // Longer words are no typing slips, and the table is quadratic.
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_underlines_its_text() {
        let file =
            SourceFile { path: "recipes/demo.toml".into(), text: "a = 1\n\tnäme = 2\n".into() };
        let problem = file.problem(7..12, "unknown key `näme`").hint("did you mean `name`?");
        let expected = "recipes/demo.toml:2:2: unknown key `näme`
  |
2 |  näme = 2
  |  ^^^^
  = hint: did you mean `name`?";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn places_outside_the_text_do_not_panic() {
        let file = SourceFile { path: "x".into(), text: "ä".into() };
        for range in [0..0, 1..9, 9..9, 1..2] {
            let _ = file.problem(range, "message").to_string();
        }
    }

    #[test]
    fn slips_of_the_finger_are_recognised_and_other_words_are_not() {
        assert_eq!(nearest("instal", ["install", "exclude"]), Some("install"));
        assert_eq!(nearest("verison", ["version", "arch"]), Some("version"));
        assert_eq!(nearest("zzz", ["version", "arch"]), None);
    }
}
