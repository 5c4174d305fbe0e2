//! Commands that are put before the reader to be typed as they stand.

use std::path::Path;

/// A command line, word by word.
#[derive(Debug)]
pub struct CommandLine(String);

impl CommandLine {
    /// `slipway` and a subcommand.
    pub fn slipway(subcommand: &str) -> Self {
        Self(format!("slipway {subcommand}"))
    }

    /// One more word.
    pub fn word(mut self, word: &str) -> Self {
        self.0 += " ";
        self.0 += &quoted(word);
        self
    }

    /// A path.
    pub fn path(self, path: &Path) -> Self {
        self.word(&path.to_string_lossy())
    }

    /// An option with a path, if there is one.
    pub fn option(self, name: &str, path: Option<&Path>) -> Self {
        match path {
            Some(path) => self.word(name).path(path),
            None => self,
        }
    }

    /// An option, if it is set.
    pub fn flag(self, name: &str, is_set: bool) -> Self {
        if is_set { self.word(name) } else { self }
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        for (word, shown) in [
            ("recipes/demo.toml", "recipes/demo.toml"),
            ("my recipe", "'my recipe'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
        let line = CommandLine::slipway("lock").path(Path::new("a b")).flag("--offline", true);
        let line = line.option("--lock", Some(Path::new("l"))).option("--store", None);
        assert_eq!(line.to_string(), "slipway lock 'a b' --offline --lock l");
    }
}
