//! One HTTP server: requests, what its answers mean, and the connections,
//! which are opened when they are first needed. Proxies are those of the
//! environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`); trusted authorities
//! are the system's (or those of `SSL_CERT_FILE`) and that of
//! `SLIPWAY_CA_FILE`.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE, RETRY_AFTER};
use reqwest::tls::Certificate;

use super::LocationError;
use super::patience::{Patience, Steady};

/// Names a file of certificates to trust besides the system's.
const AUTHORITY: &str = "SLIPWAY_CA_FILE";

/// Connections that are kept open between files, of all mirrors together.
#[derive(Debug)]
pub(super) struct Client {
    patience: Patience,
    client: Mutex<Option<reqwest::blocking::Client>>,
}

impl Client {
    pub fn new(patience: Patience) -> Self {
        Self { patience, client: Mutex::default() }
    }

    fn open(&self) -> Result<reqwest::blocking::Client, LocationError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*client {
            Some(client) => Ok(client.clone()),
            None => Ok(client.insert(self.make()?).clone()),
        }
    }

    fn make(&self) -> Result<reqwest::blocking::Client, LocationError> {
        // Already installed by an earlier repository is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::blocking::Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.patience.connect)
            .timeout(self.patience.read)
            .tls_certs_merge(own_authorities()?)
            .build()
            .map_err(LocationError::Client)
    }
}

fn own_authorities() -> Result<Vec<Certificate>, LocationError> {
    let Some(path) = std::env::var_os(AUTHORITY).filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    let path = PathBuf::from(path);
    let wrong = |why: String| LocationError::Authority { path: path.clone(), why };
    let bytes = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&bytes).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("there is no certificate in PEM in it".to_owned()));
    }
    Ok(found)
}

/// A folder of an HTTP server.
#[derive(Debug)]
pub(super) struct Server {
    /// Its URL, without a slash at the end; may hold a password.
    base: String,
    client: Arc<Client>,
}

/// An answer that is worth reading.
pub(super) type Body = Steady<Response>;

impl Server {
    pub fn new(base: &str, client: Arc<Client>) -> Self {
        Self { base: base.to_owned(), client }
    }

    pub fn patience(&self) -> &Patience {
        &self.client.patience
    }

    /// The URL of `href` without a password.
    pub fn address(&self, href: &str) -> String {
        format!("{}/{href}", without_password(&self.base))
    }

    /// The file `href` from byte `from` on. The server may send all of it all
    /// the same; see [`Server::range_of`].
    pub fn request(&self, href: &str, from: u64) -> Result<Response, LocationError> {
        let address = || self.address(href);
        let mut request = self.client.open()?.get(format!("{}/{href}", self.base));
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().map_err(|error| {
            let (address, source) = (address(), error.without_url());
            match is_about_certificates(&source) {
                true => LocationError::Certificate { address, source },
                false => LocationError::Unreachable { address, source },
            }
        })?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(LocationError::Missing { address: address() })
            }
            status => {
                let retry_after = retry_after(response.headers(), SystemTime::now());
                Err(LocationError::Status { address: address(), status, retry_after })
            }
        }
    }

    /// The file `href` from byte `from` on, exactly.
    pub fn get(&self, href: &str, from: u64) -> Result<Body, LocationError> {
        let response = self.request(href, from)?;
        match begins_at(&response) {
            Some(begin) if begin == from => Ok(self.steady(response)),
            _ => Err(LocationError::OtherRange { address: self.address(href) }),
        }
    }

    pub fn steady(&self, response: Response) -> Body {
        Steady::new(response, self.patience())
    }
}

/// The byte of the file that an answer begins with (RFC 9110, 14.4).
pub(super) fn begins_at(response: &Response) -> Option<u64> {
    if response.status() == StatusCode::OK {
        return Some(0);
    }
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Trying again would not make a certificate any better.
fn is_about_certificates(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if is_bad_certificate(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Errors of TLS come wrapped in those of sockets, more than once.
fn is_bad_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().is_some_and(|inner| is_bad_certificate(inner));
    }
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
}

/// A URL for people and files: without what stands before an `@`.
#[must_use]
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn passwords_are_left_out() {
        for (url, shown) in [
            ("https://a:b@host/x", "https://host/x"),
            ("https://a:b@c@host:8080", "https://host:8080"),
            ("https://host/x@y", "https://host/x@y"),
            ("../folder@x", "../folder@x"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn a_server_may_ask_to_be_left_alone() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").expect("a date");
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:20 GMT"), Some(0));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }
}
