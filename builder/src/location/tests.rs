//! Servers that misbehave, each in one way, and what is made of it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use formats::Digest;

use super::*;
use crate::store::{Store, StoreError};

/// What a server is asked for.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    /// First byte of the range.
    from: usize,
    authorization: Option<String>,
}

type Answer = dyn Fn(usize, &Asked, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A server on a port of its own that closes each connection after one answer.
struct Http {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Http {
    /// `answer` gets the number of the request, from 0.
    fn new(
        answer: impl Fn(usize, &Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, answer): (_, Arc<Answer>) = (asked.clone(), Arc::new(answer));
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer, count) = (seen.clone(), answer.clone(), count.clone());
                std::thread::spawn(move || serve(stream, &seen, &*answer, &count));
            }
        });
        Self { url, asked }
    }

    /// Serves `bytes`, in parts too.
    fn good(bytes: &'static [u8]) -> Self {
        Self::new(move |_, asked, out| send(out, bytes, asked.from))
    }

    /// Answers with this status and these headers, and nothing more.
    fn status(status: &'static str) -> Self {
        Self::new(move |_, _, out| {
            write!(out, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        })
    }

    fn requests(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Asked>>, answer: &Answer, count: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut asked = Asked { path, from: 0, authorization: None };
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.trim_start_matches("bytes=").trim_end_matches('-');
                asked.from = from.parse().expect("a range");
            }
            "authorization" => asked.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    seen.lock().expect("no panic").push(asked.clone());
    let number = count.fetch_add(1, Ordering::SeqCst);
    let _ = answer(number, &asked, &mut stream);
}

/// A whole answer, or the rest from `from` on.
fn send(out: &mut TcpStream, bytes: &[u8], from: usize) -> io::Result<()> {
    let rest = &bytes[from..];
    match from {
        0 => write!(out, "HTTP/1.1 200 OK\r\n")?,
        _ => write!(
            out,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
            bytes.len() - 1,
            bytes.len()
        )?,
    }
    write!(out, "Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    out.write_all(rest)
}

/// Announces everything and breaks off after `count` bytes.
fn cut(out: &mut TcpStream, bytes: &[u8], from: usize, count: usize) -> io::Result<()> {
    let rest = &bytes[from..];
    match from {
        0 => write!(out, "HTTP/1.1 200 OK\r\n")?,
        _ => write!(out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-/*\r\n")?,
    }
    write!(out, "Content-Length: {}\r\n\r\n", rest.len())?;
    out.write_all(&rest[..count.min(rest.len())])
}

static FILE: std::sync::LazyLock<Vec<u8>> =
    std::sync::LazyLock::new(|| (0_u32..80_000).flat_map(|number| number.to_le_bytes()).collect());

fn file() -> &'static [u8] {
    &FILE
}

/// Does not wait long for anything.
fn impatient() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        read: Duration::from_millis(400),
        pauses: vec![Duration::from_millis(1); 3],
        longest_pause: Duration::from_millis(500),
        stretch: Duration::from_millis(200),
        stretch_bytes: 1000,
    }
}

fn location(servers: &[&Http]) -> Location {
    let places: Vec<_> =
        servers.iter().map(|server| RepositoryPlace::Http(server.url.clone())).collect();
    Location::of_places(&places, impatient())
}

struct Scene {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("store");
        Self { _folder: folder, store }
    }

    /// Brings the file and checks that it is the right one.
    fn bring(&self, location: &Location) -> Result<(), TransferError> {
        let digest = Digest::of(file());
        let size = file().len() as u64;
        let brought = location.bring("a/file", size, &digest, &self.store, &mut |_| {})?;
        if let Brought::Received(received) = brought {
            received.keep()?;
        }
        assert_eq!(std::fs::read(self.store.blob_path(&digest)).expect("there"), file());
        assert!(self.unfinished().is_empty(), "{:?}", self.unfinished());
        Ok(())
    }

    fn unfinished(&self) -> Vec<String> {
        crate::fixture::files_below(&self.store.root().join("tmp"))
    }
}

fn refused(location: &Location) -> String {
    let scene = Scene::new();
    let error = scene.bring(location).expect_err("refused");
    crate::fixture::chain(&error)
}

#[test]
fn locations_cannot_leave_the_repository() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let root = folder.path().join("repository");
    std::fs::create_dir_all(root.join("packages")).expect("folder");
    std::fs::write(folder.path().join("secret"), "secret").expect("file");
    std::fs::write(root.join("packages/a+b~1^2.rpm"), "bytes").expect("file");
    std::os::unix::fs::symlink("../secret", root.join("link")).expect("link");
    let location = Location::of_places(&[RepositoryPlace::Folder(root)], impatient());
    for href in ["../secret", "/etc/passwd", "packages/../../secret", "link", "a//b", "%2e%2e/x"] {
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
fn an_unreachable_server_is_named_and_then_left_alone() {
    // Port 9 of this host: nothing listens there, and no resolver is asked.
    let place = RepositoryPlace::Http("http://user:secret@127.0.0.1:9/base".into());
    let location = Location::of_places(&[place], impatient());
    let error = refused(&location);
    assert!(error.contains("cannot reach http://127.0.0.1:9/base/a/file"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    assert!(refused(&location).contains("was given up"));
}

#[test]
fn a_good_server_is_asked_once() {
    let server = Http::good(file());
    Scene::new().bring(&location(&[&server])).expect("brought");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].path, "/a/file");
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    let server = Http::new(|number, asked, out| match number {
        0 => cut(out, file(), asked.from, 100_000),
        1 => cut(out, file(), asked.from, 50_000),
        _ => send(out, file(), asked.from),
    });
    Scene::new().bring(&location(&[&server])).expect("brought");
    let from: Vec<_> = server.requests().iter().map(|asked| asked.from).collect();
    assert!(from.len() == 3 && from[0] == 0 && from[1] > 0 && from[2] > from[1], "{from:?}");
}

#[test]
fn the_next_run_goes_on_with_what_came() {
    let scene = Scene::new();
    let breaking = Http::new(|_, asked, out| cut(out, &file()[..90_000], asked.from, 90_000));
    scene.bring(&location(&[&breaking])).expect_err("never whole");
    let name = format!("{}.part", Digest::of(file()));
    assert_eq!(scene.unfinished(), [name]);
    // Opening the store again does not take it for rubbish.
    Store::open(scene.store.root()).expect("store");
    let server = Http::good(file());
    scene.bring(&location(&[&server])).expect("brought");
    assert_eq!(server.requests().len(), 1);
    assert!(server.requests()[0].from > 0, "{:?}", server.requests());
}

#[test]
fn what_came_and_was_wrong_is_fetched_again_from_the_beginning() {
    let scene = Scene::new();
    let part = format!("tmp/{}.part", Digest::of(file()));
    std::fs::write(scene.store.root().join(part), [7; 5000]).expect("written");
    let server = Http::good(file());
    scene.bring(&location(&[&server])).expect("brought");
    let from: Vec<_> = server.requests().iter().map(|asked| asked.from).collect();
    assert_eq!(from, [5000, 0]);
}

#[test]
fn a_server_that_knows_no_ranges_sends_everything() {
    let server = Http::new(|number, _, out| match number {
        0 => cut(out, file(), 0, 100_000),
        _ => send(out, file(), 0),
    });
    Scene::new().bring(&location(&[&server])).expect("brought");
}

#[test]
fn a_server_that_refuses_the_range_is_asked_for_everything() {
    let server = Http::new(|number, asked, out| match number {
        0 => cut(out, file(), 0, 100_000),
        _ if asked.from > 0 => {
            write!(
                out,
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
        _ => send(out, file(), 0),
    });
    Scene::new().bring(&location(&[&server])).expect("brought");
}

#[test]
fn a_server_that_sends_another_range_is_not_believed() {
    let server = Http::new(|number, asked, out| match number {
        0 => cut(out, file(), 0, 100_000),
        1 => {
            write!(out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\n")?;
            write!(out, "Content-Length: 5\r\n\r\nabcde")
        }
        _ => send(out, file(), asked.from),
    });
    Scene::new().bring(&location(&[&server])).expect("brought");
}

#[test]
fn busy_servers_are_asked_again_and_told_apart_from_missing_files() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"]
    {
        let server = Http::new(move |number, asked, out| match number {
            0 | 1 => {
                write!(
                    out,
                    "HTTP/1.1 {status}\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            }
            _ => send(out, file(), asked.from),
        });
        Scene::new().bring(&location(&[&server])).expect(status);
        assert_eq!(server.requests().len(), 3, "{status}");
        let never = Http::status(status);
        let error = refused(&location(&[&never]));
        assert!(error.contains(&status[..3]), "{error}");
        assert_eq!(never.requests().len(), 4, "{status}");
    }
    for status in ["404 Not Found", "410 Gone"] {
        let server = Http::status(status);
        assert!(refused(&location(&[&server])).contains("does not exist"), "{status}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    let server = Http::status("403 Forbidden");
    assert!(refused(&location(&[&server])).contains("403"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_asks_for_too_long_a_pause_is_left_alone() {
    let server = Http::new(|_, _, out| {
        write!(
            out,
            "HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    assert!(refused(&location(&[&server])).contains("503"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn servers_that_trickle_or_stop_are_abandoned() {
    let trickling = Http::new(|_, _, out| {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file().len())?;
        for byte in file() {
            out.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let error = refused(&location(&[&trickling]));
    assert!(error.contains("bytes in"), "{error}");
    let stopping = Http::new(|_, asked, out| {
        cut(out, file(), asked.from, 10)?;
        std::thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    refused(&location(&[&stopping]));
    let silent = Http::new(|_, _, _| {
        std::thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    assert!(refused(&location(&[&silent])).contains("cannot reach"));
}

#[test]
fn other_bytes_are_refused_whatever_their_number() {
    let longer = Http::new(|_, _, out| send(out, &[file(), b"more"].concat(), 0));
    let endless = Http::new(|_, _, out| {
        write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            out.write_all(&[0; 65536])?;
        }
    });
    for server in [&longer, &endless] {
        let scene = Scene::new();
        let error = scene.bring(&location(&[server])).expect_err("too long");
        assert!(matches!(error, TransferError::Store(StoreError::Size { .. })), "{error}");
        assert!(scene.unfinished().is_empty());
    }
    let other = Http::new(|_, _, out| send(out, &vec![1; file().len()], 0));
    let scene = Scene::new();
    let error = scene.bring(&location(&[&other])).expect_err("other bytes");
    assert!(matches!(error, TransferError::Store(StoreError::Digest { .. })), "{error}");
    assert_eq!(other.requests().len(), 1);
    assert!(scene.unfinished().is_empty());
    // Without a length, an early end looks like an end.
    let early = Http::new(|_, asked, out| {
        write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        out.write_all(&file()[asked.from.min(10)..1000])
    });
    refused(&location(&[&early]));
}

#[test]
fn redirects_are_followed_but_not_in_circles() {
    let server = Http::good(file());
    let target = server.url.clone();
    let redirecting = Http::new(move |_, _, out| {
        write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: {target}/else\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    Scene::new().bring(&location(&[&redirecting])).expect("brought");
    assert_eq!(server.requests()[0].path, "/else");
    let circle = Http::new(|_, _, out| {
        write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: /a/file\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    assert!(refused(&location(&[&circle])).contains("redirect"));
}

#[test]
fn mirrors_are_asked_in_order_and_a_failing_one_is_left_alone() {
    let (broken, lagging) = (Http::status("500 Broken"), Http::status("404 Not Found"));
    let good = Http::good(file());
    let location = location(&[&broken, &lagging, &good]);
    for _ in 0..2 {
        Scene::new().bring(&location).expect("brought");
    }
    assert_eq!(broken.requests().len(), 4, "all attempts of the first time");
    assert_eq!(lagging.requests().len(), 2, "it may have other files");
    assert_eq!(good.requests().len(), 2);
}

#[test]
fn a_mirror_goes_on_where_another_broke_off() {
    let breaking = Http::new(|_, asked, out| cut(out, &file()[..90_000], asked.from, 90_000));
    let good = Http::good(file());
    Scene::new().bring(&location(&[&breaking, &good])).expect("brought");
    assert!(good.requests()[0].from > 0);
}

#[test]
fn a_mirror_with_other_bytes_is_passed_over() {
    let other = Http::new(|_, _, out| send(out, &vec![1; file().len()], 0));
    let good = Http::good(file());
    Scene::new().bring(&location(&[&other, &good])).expect("brought");
}

#[test]
fn every_mirror_is_named_when_none_helps() {
    let (broken, missing) = (Http::status("500 Broken"), Http::status("404 Not Found"));
    let error = refused(&location(&[&broken, &missing]));
    for expected in [&broken.url, &missing.url, "500", "does not exist"] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn passwords_of_urls_are_sent_and_never_shown() {
    let server = Http::new(|_, asked, out| match &asked.authorization {
        Some(text) if text == "Basic dXNlcjpzZWNyZXQ=" => write!(out, "HTTP/1.1 500 No\r\n\r\n"),
        _ => write!(out, "HTTP/1.1 401 Who\r\n\r\n"),
    });
    let url = server.url.replace("http://", "http://user:secret@");
    let place = RepositoryPlace::Http(url);
    let error = refused(&Location::of_places(&[place], impatient()));
    assert!(error.contains("500") && error.contains(&server.url), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn two_that_want_the_same_file_fetch_it_once() {
    let server = Http::new(|_, asked, out| {
        std::thread::sleep(Duration::from_millis(50));
        send(out, file(), asked.from)
    });
    let (scene, location) = (Scene::new(), location(&[&server]));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // As processes do: each with a store of its own.
            let store = Store::open(scene.store.root()).expect("store");
            let scene = Scene { _folder: tempfile::tempdir().expect("unused"), store };
            let location = &location;
            scope.spawn(move || scene.bring(location).expect("brought"));
        }
    });
    assert_eq!(server.requests().len(), 1);
}
