//! Absolute paths inside a tree, checked once.

use std::fmt;

/// Longest name Linux file systems take, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest path Linux system calls take, in bytes, without the final NUL.
pub const MAX_PATH: usize = 4095;

/// Why a text is not a path in a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("{0:?} is not an absolute path")]
    NotAbsolute(String),
    /// An empty, `.` or `..` component, a NUL, or too long a name.
    #[error("{path:?} has the component {component:?}, which no file can have")]
    Component {
        /// The whole text.
        path: String,
        /// The offending part.
        component: String,
    },
    /// More bytes than a path can have.
    #[error("a path of {0} bytes is too long")]
    TooLong(usize),
}

/// An absolute path without empty, `.` or `..` components, such as
/// `/usr/bin/env`; the root is `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<str>);

impl TreePath {
    /// The root directory.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Checks `text`. Slashes at its end do not matter.
    ///
    /// # Errors
    /// If it is not a path a tree can hold.
    pub fn new(text: &str) -> Result<Self, PathError> {
        let rest = text.strip_prefix('/').ok_or_else(|| PathError::NotAbsolute(text.to_owned()))?;
        let rest = rest.trim_end_matches('/');
        if rest.is_empty() {
            return Ok(Self::root());
        }
        if rest.len() >= MAX_PATH {
            return Err(PathError::TooLong(text.len()));
        }
        for name in rest.split('/') {
            check_name(name, text)?;
        }
        Ok(Self(["/", rest].concat().into()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names from the root downwards; none for the root itself.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The name in the last place; none for the root.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// Parent and name; none for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &str)> {
        let (parent, name) = self.0.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
        let parent = if parent.is_empty() { "/" } else { parent };
        Some((Self(parent.into()), name))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// If `name` is not a single valid name, or the whole is too long.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        check_name(name, name)?;
        let parent = if &*self.0 == "/" { "" } else { &self.0 };
        if parent.len() + name.len() >= MAX_PATH {
            return Err(PathError::TooLong(parent.len() + name.len() + 1));
        }
        Ok(Self([parent, "/", name].concat().into()))
    }
}

fn check_name(name: &str, path: &str) -> Result<(), PathError> {
    let fine =
        !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && !name.contains(['\0', '/']);
    fine.then_some(())
        .ok_or_else(|| PathError::Component { path: path.to_owned(), component: name.to_owned() })
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for TreePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_escape() {
        for text in ["", "usr", "/usr/../etc", "/./a", "//a", "/a//b", "/a\0b"] {
            assert!(TreePath::new(text).is_err(), "{text:?}");
        }
        let long = format!("/{}", "n".repeat(MAX_NAME + 1));
        assert!(TreePath::new(&long).is_err());
    }

    #[test]
    fn splits_and_joins() {
        let path = TreePath::new("/usr/bin/").unwrap();
        assert_eq!(path.as_str(), "/usr/bin");
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.as_str(), name), ("/usr", "bin"));
        assert_eq!(parent.join("bin").unwrap(), path);
        assert_eq!(TreePath::root().join("usr").unwrap().as_str(), "/usr");
        assert!(TreePath::root().split().is_none());
    }
}
