//! What the environment says: proxies and authorities. A process has one
//! environment, so each case is a process of its own: this test program again.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

const URL: &str = "SLIPWAY_TEST_URL";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfound";

/// Reads a file from a URL; what the environment says applies.
#[test]
#[ignore = "is started by the other tests of this module"]
fn reader() {
    let Ok(url) = std::env::var(URL) else {
        return println!("skipped: not started by another test");
    };
    let patience = Patience { pauses: vec![Duration::from_millis(1)], ..Patience::default() };
    let location = Location::of_places(&[RepositoryPlace::Http(url)], patience);
    match location.read("file", 100) {
        Ok(bytes) => println!("read {}", String::from_utf8_lossy(&bytes)),
        Err(error) => println!("failed {}", crate::fixture::chain(&error)),
    }
}

fn read(url: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "location::environment_tests::reader", "--ignored", "--nocapture"])
        .env(URL, url)
        .envs(environment.iter().copied());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"] {
        if environment.iter().all(|(set, _)| *set != name) {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
    }
    let done = command.output().expect("started");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The lines of a request.
fn request(stream: impl Read) -> Vec<String> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// A server whose every connection is given to `serve`.
fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A proxy that notes what it is asked for: itself the answer for `http`, and
/// a tunnel for `https`.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let address = server(move |mut stream| {
        let first = request(stream.try_clone()?).into_iter().next().unwrap_or_default();
        seen.lock().expect("no panic").push(first.clone());
        let Some(target) = first.strip_prefix("CONNECT ") else {
            return stream.write_all(ANSWER.as_bytes());
        };
        let target = TcpStream::connect(target.split(' ').next().unwrap_or_default())?;
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        let (mut up, mut down) = (stream.try_clone()?, target.try_clone()?);
        std::thread::spawn(move || io::copy(&mut up, &mut down));
        io::copy(&mut &target, &mut stream).map(drop)
    });
    (format!("http://{address}"), asked)
}

/// An authority and a server that it vouches for; `None` without openssl.
fn authority(folder: &Path) -> Option<String> {
    let script = "\
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
          -keyout ca.key -out ca.pem -subj '/CN=Test authority' && \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key \
          -out server.csr -subj '/CN=127.0.0.1' && \
        printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > ext && \
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
          -extfile ext -out server.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output().ok()?;
    if !made.status.success() {
        return None;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::from_pem_file(folder.join("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("they fit");
    let config = Arc::new(config);
    let address = server(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        let mut tls = rustls::StreamOwned::new(connection, stream);
        request(&mut tls);
        tls.write_all(ANSWER.as_bytes())?;
        tls.conn.send_close_notify();
        tls.flush()
    });
    Some(format!("https://{address}"))
}

#[test]
fn proxies_of_the_environment_are_used() {
    let (proxy, asked) = proxy();
    let said = read("http://nowhere.invalid/base", &[("HTTP_PROXY", &proxy)]);
    assert!(said.contains("read found"), "{said}");
    let seen = asked.lock().expect("no panic").clone();
    assert_eq!(seen, ["GET http://nowhere.invalid/base/file HTTP/1.1"]);
    let exceptions = [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1")];
    let direct = server(|mut stream| {
        request(stream.try_clone()?);
        stream.write_all(ANSWER.as_bytes())
    });
    assert!(read(&format!("http://{direct}"), &exceptions).contains("read found"));
    assert_eq!(asked.lock().expect("no panic").len(), 1, "the proxy was to be left out");
}

#[test]
fn only_trusted_authorities_are_believed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let Some(url) = authority(folder.path()) else {
        return skip::because("openssl is not there");
    };
    let said = read(&url, &[]);
    assert!(said.contains("failed") && said.contains("SLIPWAY_CA_FILE"), "{said}");
    let path = folder.path().join("ca.pem");
    let path = path.to_str().expect("UTF-8");
    for variable in ["SLIPWAY_CA_FILE", "SSL_CERT_FILE"] {
        let said = read(&url, &[(variable, path)]);
        assert!(said.contains("read found"), "{variable}: {said}");
    }
    let (proxy, asked) = proxy();
    let said = read(&url, &[("SLIPWAY_CA_FILE", path), ("HTTPS_PROXY", &proxy)]);
    assert!(said.contains("read found"), "{said}");
    let target = url.trim_start_matches("https://");
    assert_eq!(*asked.lock().expect("no panic"), [format!("CONNECT {target} HTTP/1.1")]);
    let empty = folder.path().join("ext");
    let said = read(&url, &[("SLIPWAY_CA_FILE", empty.to_str().expect("UTF-8"))]);
    assert!(said.contains("no certificate in PEM"), "{said}");
}
