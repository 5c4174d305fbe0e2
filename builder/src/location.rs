//! Where a repository's files are read from: a folder or an HTTP server.
//! Tries again when a failure may pass, and names the address when it does
//! not. What the bytes are worth is for the caller to check.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;

use crate::recipe::RepositoryPlace;

/// A server that needs longer to answer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a single read may take; a slow transfer may take any time.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Waits before the second, third and fourth attempt.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

/// A file of a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// A path that would lead out of the repository.
    #[error("the location {href:?} leads out of the repository")]
    Escape {
        /// The path as the metadata has it.
        href: String,
    },
    /// Not there.
    #[error("{address} does not exist")]
    Missing {
        /// URL or path.
        address: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {address}")]
    Io {
        /// The path.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server does not answer.
    #[error(
        "cannot reach {address}: check the address, the network and the proxy settings \
         (HTTPS_PROXY), or use a mirror: a folder works as a repository too"
    )]
    Unreachable {
        /// The URL.
        address: String,
        /// What the network said.
        source: reqwest::Error,
    },
    /// The server answers with an error.
    #[error("{address}: the server answers {status}")]
    Status {
        /// The URL.
        address: String,
        /// Its answer.
        status: StatusCode,
    },
    /// More bytes than such a file has.
    #[error("{address} is longer than {limit} bytes")]
    TooLong {
        /// URL or path.
        address: String,
        /// The limit.
        limit: u64,
    },
    /// HTTP cannot be used at all.
    #[error("cannot set up HTTP; is ca-certificates installed?")]
    Client(#[source] reqwest::Error),
}

impl LocationError {
    /// Whether another attempt may go better.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::Io { source, .. } => is_cut_off(source),
            _ => false,
        }
    }
}

/// Whether a read failed because a connection broke.
#[must_use]
pub fn is_cut_off(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Other, TimedOut, UnexpectedEof,
    };
    // `Other` is how reqwest wraps a body that ends early.
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | Other | TimedOut | UnexpectedEof
    )
}

/// Runs `attempt` until it succeeds, fails for good, or has failed four times.
pub fn with_retries<T, E>(
    is_temporary: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    for pause in PAUSES {
        match attempt() {
            Err(error) if is_temporary(&error) => std::thread::sleep(pause),
            done => return done,
        }
    }
    attempt()
}

/// The root of a repository. Threads may share it.
#[derive(Debug, Clone)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A folder of an HTTP server.
    Http {
        /// Its URL, without a slash at the end.
        base: String,
        /// Keeps connections open between files.
        client: Client,
    },
}

impl Location {
    /// Prepares access; nothing is read yet.
    pub fn new(place: &RepositoryPlace) -> Result<Self, LocationError> {
        match place {
            RepositoryPlace::Folder(path) => Ok(Self::Folder(path.clone())),
            RepositoryPlace::Http(base) => Ok(Self::Http { base: base.clone(), client: client()? }),
        }
    }

    /// URL or path of `href`, for messages.
    #[must_use]
    pub fn address(&self, href: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(href).display().to_string(),
            Self::Http { base, .. } => format!("{base}/{href}"),
        }
    }

    /// Opens the file `href`, which must lie inside the repository.
    pub fn open(&self, href: &str) -> Result<Box<dyn Read + Send>, LocationError> {
        check_inside(href)?;
        match self {
            Self::Folder(folder) => open_file(folder, href),
            Self::Http { client, .. } => get(client, self.address(href)),
        }
    }

    /// Reads the whole file `href` of at most `limit` bytes.
    pub fn read(&self, href: &str, limit: u64) -> Result<Vec<u8>, LocationError> {
        with_retries(LocationError::is_temporary, || {
            let mut bytes = Vec::new();
            let read = self.open(href)?.take(limit + 1).read_to_end(&mut bytes);
            let address = self.address(href);
            match read {
                Err(source) => Err(LocationError::Io { address, source }),
                Ok(count) if count as u64 > limit => Err(LocationError::TooLong { address, limit }),
                Ok(_) => Ok(bytes),
            }
        })
    }
}

/// Relative, without `..`, and without what a URL would give a meaning.
fn check_inside(href: &str) -> Result<(), LocationError> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let lower = href.to_ascii_lowercase();
    let special = href.contains(['\\', '?', '#', '\0']) || href.chars().any(char::is_control);
    let encoded = ["%2e", "%2f", "%5c"].iter().any(|code| lower.contains(code));
    if special || encoded || href.len() > 4096 || !href.split('/').all(plain) {
        return Err(LocationError::Escape { href: href.to_owned() });
    }
    Ok(())
}

fn open_file(folder: &Path, href: &str) -> Result<Box<dyn Read + Send>, LocationError> {
    let path = folder.join(href);
    let address = path.display().to_string();
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LocationError::Missing { address: address.clone() },
        _ => LocationError::Io { address: address.clone(), source },
    };
    // A link in the folder may point anywhere; its target must stay inside.
    let real = path.canonicalize().map_err(failed)?;
    if !real.starts_with(folder.canonicalize().map_err(failed)?) {
        return Err(LocationError::Escape { href: href.to_owned() });
    }
    let file = File::open(real).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(LocationError::Missing { address });
    }
    Ok(Box::new(file))
}

fn get(client: &Client, url: String) -> Result<Box<dyn Read + Send>, LocationError> {
    match client.get(&url).send() {
        Err(source) => {
            Err(LocationError::Unreachable { address: url, source: source.without_url() })
        }
        Ok(response) => match response.status() {
            status if status.is_success() => Ok(Box::new(response)),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(LocationError::Missing { address: url })
            }
            status => Err(LocationError::Status { address: url, status }),
        },
    }
}

fn client() -> Result<Client, LocationError> {
    // Already installed by an earlier repository is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(READ_TIMEOUT)
        .build()
        .map_err(LocationError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_cannot_leave_the_repository() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path().join("repository");
        std::fs::create_dir_all(root.join("packages")).expect("folder");
        std::fs::write(folder.path().join("secret"), "secret").expect("file");
        std::fs::write(root.join("packages/a+b~1^2.rpm"), "bytes").expect("file");
        std::os::unix::fs::symlink("../secret", root.join("link")).expect("link");
        let location = Location::Folder(root);
        for href in
            ["../secret", "/etc/passwd", "packages/../../secret", "link", "a//b", "%2e%2e/x"]
        {
            let error = location.read(href, 100).expect_err(href);
            assert!(matches!(error, LocationError::Escape { .. }), "{href}: {error}");
        }
        assert_eq!(location.read("packages/a+b~1^2.rpm", 5).expect("readable"), b"bytes");
        let error = location.read("packages/a+b~1^2.rpm", 4).expect_err("too long");
        assert!(matches!(error, LocationError::TooLong { .. }));
        let error = location.read("packages", 4).expect_err("a folder");
        assert!(matches!(error, LocationError::Missing { .. }));
    }

    #[test]
    fn an_unreachable_server_is_named() {
        // Port 9 of this host: nothing listens there, and no resolver is asked.
        let place = RepositoryPlace::Http("http://127.0.0.1:9/base".into());
        let location = Location::new(&place).expect("client");
        let error = location.open("repodata/repomd.xml").err().expect("refused");
        assert!(error.is_temporary());
        assert!(
            error.to_string().contains("http://127.0.0.1:9/base/repodata/repomd.xml"),
            "{error}"
        );
    }
}
