//! Where a repository's files are read from: a folder or an HTTP server, and
//! its mirrors. Tries again when a failure may pass, goes on to the next mirror
//! when it does not, and names the address. What the bytes are worth is for the
//! caller to check.

#[cfg(test)]
mod environment_tests;
mod patience;
mod server;
#[cfg(test)]
mod tests;
mod transfer;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;

use crate::recipe::{Repository, RepositoryPlace};
pub use patience::Patience;
pub(crate) use server::without_password;
use server::{Client, Server};
pub use transfer::{Brought, Counted, TransferError};

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
    /// The server cannot prove who it is.
    #[error(
        "{address}: the certificate of the server is not trusted; if an authority of your own \
         signs it, name the file of that authority's certificate in SLIPWAY_CA_FILE"
    )]
    Certificate {
        /// The URL.
        address: String,
        /// What TLS said.
        source: reqwest::Error,
    },
    /// The server answers with an error.
    #[error("{address}: the server answers {status}")]
    Status {
        /// The URL.
        address: String,
        /// Its answer.
        status: StatusCode,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server answers with other bytes of the file than were asked for.
    #[error("{address}: the server sends another part of the file than was asked for")]
    OtherRange {
        /// The URL.
        address: String,
    },
    /// More bytes than such a file has.
    #[error("{address} is longer than {limit} bytes")]
    TooLong {
        /// URL or path.
        address: String,
        /// The limit.
        limit: u64,
    },
    /// It failed before in this run, for long enough.
    #[error("{address} was given up after it had failed several times")]
    GivenUp {
        /// URL or path.
        address: String,
    },
    /// Only what is at hand may be used.
    #[error(
        "it would have to come from {address}, and --offline forbids that: do the same once \
         without --offline, or name a store that has it with --store"
    )]
    Offline {
        /// URL.
        address: String,
    },
    /// No mirror could give it.
    #[error("no mirror gives it: {}", listed(.0))]
    Mirrors(Vec<LocationError>),
    /// HTTP cannot be used at all.
    #[error("cannot set up HTTP; is ca-certificates installed?")]
    Client(#[source] reqwest::Error),
    /// The authority of `SLIPWAY_CA_FILE` cannot be used.
    #[error("cannot use SLIPWAY_CA_FILE {path}: {why}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

fn listed(errors: &[LocationError]) -> String {
    errors.iter().map(with_causes).collect::<Vec<_>>().join("; ")
}

fn with_causes(error: &LocationError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

impl LocationError {
    /// Whether another attempt may go better.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_redirect() && !source.is_builder(),
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::Io { source, .. } => is_cut_off(source),
            Self::OtherRange { .. } => true,
            _ => false,
        }
    }

    /// Whether the file is nowhere, rather than out of reach.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Mirrors(all) => all.iter().all(Self::is_missing),
            _ => false,
        }
    }

    /// Whether it could not be asked for because of `--offline`.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Offline { .. } => true,
            Self::Mirrors(all) => all.iter().any(Self::is_offline),
            _ => false,
        }
    }

    /// Whether it says no more than that an earlier one has.
    #[must_use]
    pub fn is_repetition(&self) -> bool {
        match self {
            Self::GivenUp { .. } => true,
            Self::Mirrors(all) => all.iter().all(Self::is_repetition),
            _ => false,
        }
    }

    /// Whether the place is not worth asking for other files either.
    fn is_of_the_place(&self) -> bool {
        // A server may refuse one file, and have the others.
        self.is_temporary() || matches!(self, Self::Unreachable { .. } | Self::Certificate { .. })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// One error for what every place said.
    fn of_all(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            _ if errors.iter().all(Self::is_missing) && !errors.is_empty() => errors.remove(0),
            _ => Self::Mirrors(errors),
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

/// The root of a repository and of its mirrors. Threads may share it.
#[derive(Debug, Clone)]
pub struct Location(Arc<Vec<Place>>);

/// One of them.
#[derive(Debug)]
pub struct Place {
    source: Source,
    /// Whether it has failed for good; then it is left alone for the rest of
    /// the run.
    given_up: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Folder(PathBuf),
    Http(Server),
    /// Not to be asked.
    Offline(String),
}

impl Location {
    /// Prepares access to a repository and its mirrors; nothing is read yet,
    /// and no connection is opened.
    #[must_use]
    pub fn new(repository: &Repository) -> Self {
        let places = std::iter::once(&repository.place).chain(&repository.mirrors);
        Self::of_places(places, Patience::default())
    }

    /// Access to the same files in several places, the preferred first.
    pub fn of_places<'p>(
        places: impl IntoIterator<Item = &'p RepositoryPlace>,
        patience: Patience,
    ) -> Self {
        let client = Arc::new(Client::new(patience));
        let place = |place: &RepositoryPlace| Place {
            source: match place {
                RepositoryPlace::Folder(path) => Source::Folder(path.clone()),
                RepositoryPlace::Http(base) => Source::Http(Server::new(base, client.clone())),
                RepositoryPlace::Offline(url) => Source::Offline(url.clone()),
            },
            given_up: AtomicBool::new(false),
        };
        Self(Arc::new(places.into_iter().map(place).collect()))
    }

    /// URL or path of `href`, for messages; without the password of a URL.
    #[must_use]
    pub fn address(&self, href: &str) -> String {
        self.0.first().map_or_else(|| href.to_owned(), |place| place.address(href))
    }

    /// URL or path of `href` in the place of this number.
    #[must_use]
    pub fn address_in(&self, place: usize, href: &str) -> String {
        self.0.get(place).map_or_else(|| self.address(href), |place| place.address(href))
    }

    /// Reads the whole file `href` of at most `limit` bytes from the first
    /// place that has it.
    pub fn read(&self, href: &str, limit: u64) -> Result<Vec<u8>, LocationError> {
        self.first(|place| place.read(href, limit)).map(|(_, bytes)| bytes)
    }

    /// What the first place that can be read gives to `read`, and which place
    /// that was. Files that belong together are read in one `read`.
    pub fn first<T>(
        &self,
        read: impl Fn(&Place) -> Result<T, LocationError>,
    ) -> Result<(usize, T), LocationError> {
        let mut errors = Vec::new();
        for (index, place) in self.0.iter().enumerate() {
            match place.usable().and_then(|()| read(place)) {
                Ok(done) => return Ok((index, done)),
                Err(error @ LocationError::Escape { .. }) => return Err(error),
                Err(error) => {
                    place.judge(&error);
                    errors.push(error);
                }
            }
        }
        Err(LocationError::of_all(errors))
    }
}

impl Place {
    /// URL or path of `href`, for messages.
    #[must_use]
    pub fn address(&self, href: &str) -> String {
        match &self.source {
            Source::Folder(folder) => folder.join(href).display().to_string(),
            Source::Http(server) => server.address(href),
            Source::Offline(url) => format!("{url}/{href}"),
        }
    }

    /// Reads the whole file `href` of at most `limit` bytes.
    pub fn read(&self, href: &str, limit: u64) -> Result<Vec<u8>, LocationError> {
        check_inside(href)?;
        match &self.source {
            Source::Offline(_) => Err(LocationError::Offline { address: self.address(href) }),
            Source::Folder(folder) => self.take(open_file(folder, href)?, href, limit),
            Source::Http(server) => {
                let mut tries = server.patience().tries();
                loop {
                    let read = server.get(href, 0).and_then(|body| self.take(body, href, limit));
                    match read {
                        Err(error) if error.is_temporary() => {
                            tries.pause(error.retry_after()).map_err(|_| error)?;
                        }
                        done => return done,
                    }
                }
            }
        }
    }

    fn take(&self, body: impl Read, href: &str, limit: u64) -> Result<Vec<u8>, LocationError> {
        let mut bytes = Vec::new();
        let address = || self.address(href);
        match body.take(limit + 1).read_to_end(&mut bytes) {
            Err(source) => Err(LocationError::Io { address: address(), source }),
            Ok(count) if count as u64 > limit => {
                Err(LocationError::TooLong { address: address(), limit })
            }
            Ok(_) => Ok(bytes),
        }
    }

    fn usable(&self) -> Result<(), LocationError> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(LocationError::GivenUp { address: self.address("") });
        }
        Ok(())
    }

    /// Gives the place up if the error is one of the place.
    fn judge(&self, error: &LocationError) {
        if error.is_of_the_place() {
            self.give_up();
        }
    }

    /// Of a folder, what is wrong with one file says nothing about the next.
    fn give_up(&self) {
        let is_server = matches!(self.source, Source::Http(_));
        self.given_up.fetch_or(is_server, Ordering::Relaxed);
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

fn open_file(folder: &Path, href: &str) -> Result<File, LocationError> {
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
    Ok(file)
}
