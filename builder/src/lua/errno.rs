//! The errors that file-system calls on a tree can give, with Linux' numbers
//! and glibc's words for them: scripts print both.

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    NotPermitted,
    Missing,
    BadDescriptor,
    Access,
    Busy,
    Exists,
    NotDirectory,
    IsDirectory,
    Invalid,
    TooLarge,
    NameTooLong,
    NotEmpty,
    LinkLoop,
}

impl Errno {
    /// Its number.
    pub fn number(self) -> u8 {
        self.entry().0
    }

    /// What `strerror` says.
    pub fn text(self) -> &'static str {
        self.entry().1
    }

    fn entry(self) -> (u8, &'static str) {
        match self {
            Self::NotPermitted => (1, "Operation not permitted"),
            Self::Missing => (2, "No such file or directory"),
            Self::BadDescriptor => (9, "Bad file descriptor"),
            Self::Access => (13, "Permission denied"),
            Self::Busy => (16, "Device or resource busy"),
            Self::Exists => (17, "File exists"),
            Self::NotDirectory => (20, "Not a directory"),
            Self::IsDirectory => (21, "Is a directory"),
            Self::Invalid => (22, "Invalid argument"),
            Self::TooLarge => (27, "File too large"),
            Self::NameTooLong => (36, "File name too long"),
            Self::NotEmpty => (39, "Directory not empty"),
            Self::LinkLoop => (40, "Too many levels of symbolic links"),
        }
    }
}
