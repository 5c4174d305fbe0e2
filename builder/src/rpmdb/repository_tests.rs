//! Our database beside the one that rpm makes of the same packages: the same
//! rows in every table, the same headers, the same answers. Needs root, as rpm
//! does to install.
//!
//! `SLIPWAY_DEMO_REPOSITORY` names a whole repository to do it with as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tests::headers;
use super::*;
use crate::package::testing;

const TIME: u32 = 1_704_067_200;
/// Debian's rpm has its database in the home folder unless told otherwise.
const DATABASE: [&str; 2] = ["--define", "_dbpath /var/lib/rpm"];
const RPM_PATH: &str = "var/lib/rpm/rpmdb.sqlite";

/// Runs it at the time of the test; its output, if it can be run and does well.
fn run(command: &mut Command) -> Result<String, String> {
    command.env("SOURCE_DATE_EPOCH", TIME.to_string()).env("LC_ALL", "C");
    let out = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    match out.status.success() {
        true => Ok(text),
        false => Err(format!("{command:?}: {text}{}", String::from_utf8_lossy(&out.stderr))),
    }
}

fn rpm(root: &Path) -> Command {
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(root).args(DATABASE);
    rpm
}

pub fn sql(database: &Path, statement: &str) -> String {
    run(Command::new("sqlite3").arg("-readonly").arg(database).arg(statement)).unwrap()
}

fn can_judge() -> bool {
    let tools = ["rpm", "sqlite3", "rpmdb"];
    let missing = tools.iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        skip::because(format_args!("{tool} is not installed"));
        return false;
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip::because("only root can let rpm install");
    }
    is_root
}

/// Everything in a table, a line each.
pub fn rows(database: &Path, table: &str) -> String {
    match table {
        "Packages" => sql(database, "SELECT hnum, quote(blob) FROM Packages ORDER BY hnum"),
        _ => {
            let columns = "rowid, quote(key), typeof(key), hnum, idx";
            sql(database, &format!("SELECT {columns} FROM '{table}' ORDER BY rowid"))
        }
    }
}

/// Says where two texts differ rather than showing them.
pub fn assert_same(ours: &str, theirs: &str, what: &str) {
    let mut lines = ours.lines().zip(theirs.lines()).enumerate();
    if let Some((at, (our, their))) = lines.find(|(_, (our, their))| our != their) {
        let from = our.bytes().zip(their.bytes()).take_while(|(a, b)| a == b).count();
        let part =
            |line: &str| line.chars().skip(from.saturating_sub(40)).take(160).collect::<String>();
        panic!("{what}, line {at}, from {from}:\nours   {}\ntheirs {}", part(our), part(their));
    }
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{what}");
}

/// What rpm entered, in its order, with the states it gave the files.
fn as_rpm_did(database: &Path, rpms: &[PathBuf]) -> Vec<Installed> {
    let sha1 = |headers: &RawHeaders| headers.signature().text(269).unwrap().to_owned();
    let by_sha1: BTreeMap<String, RawHeaders> =
        rpms.iter().map(|rpm| headers(rpm)).map(|headers| (sha1(&headers), headers)).collect();
    let blobs = sql(database, "SELECT hex(blob) FROM Packages ORDER BY hnum");
    let installed = blobs.lines().map(|line| {
        let digits = line.as_bytes().chunks(2);
        let bytes: Vec<u8> = digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect();
        let header = crate::header::Header::parse_stored(&bytes).unwrap();
        let headers = by_sha1[header.text(269).unwrap()].clone();
        let states = header.entry(1029).map_or(&[][..], |entry| entry.data);
        Installed { headers, states: states.iter().map(|state| state_of(*state)).collect() }
    });
    installed.collect()
}

fn state_of(number: u8) -> FileState {
    use FileState::{NetShared, Normal, NotInstalled, Replaced, WrongColor};
    [Normal, Replaced, NotInstalled, NetShared, WrongColor][usize::from(number)]
}

/// A package with everything that rpm enters into one table or another.
fn fill(builder: &mut rpm::PackageBuilder) {
    use rpm::{Dependency, FileOptions, Scriptlet};
    for name in ["/usr/share/kit/text", "/usr/share/kit/doc", "/etc/kit.conf"] {
        let options = FileOptions::new(name).permissions(0o644);
        let options = match name {
            "/etc/kit.conf" => options.config().noreplace(),
            "/usr/share/kit/doc" => options.doc(),
            _ => options,
        };
        builder.with_file_contents(name, options).unwrap();
    }
    builder.with_ghost(FileOptions::ghost("/var/log/kit.log")).unwrap();
    testing::directory(builder, "/usr/share/kit");
    testing::link(builder, "/usr/share/kit/link", "text");
    for name in ["plain", "(a or b)", "(c if (d and e) else f)", "(g with h < 2)", "(broken"] {
        builder
            .requires(Dependency::any(name))
            .suggests(Dependency::any(name))
            .recommends(Dependency::any(name))
            .enhances(Dependency::any(name))
            .supplements(Dependency::any(name))
            .conflicts(Dependency::any(name))
            .obsoletes(Dependency::any(format!("old-{}", name.trim_matches('('))))
            .provides(Dependency::eq(format!("virtual-{}", name.len()), "1:2-3"));
    }
    builder.requires(Dependency::script_pre("only-pre"));
    builder.requires(Dependency::script_post("only-post"));
    let script = || Scriptlet::new("true\n");
    builder.post_install_script(script()).pre_uninstall_script(script());
    for name in ["bash", "systemd", "bash"] {
        builder.trigger_in(name, None, script()).trigger_un(name, None, script());
    }
    for path in ["/usr/lib", "/etc"] {
        builder.file_trigger_in(path, None, script()).trans_file_trigger_in(path, None, script());
    }
}

#[test]
fn rpm_enters_the_same_of_every_kind_of_package() {
    if !can_judge() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name, fill: fn(&mut rpm::PackageBuilder)| testing::write(folder.path(), name, fill);
    let rpms = [
        write("kit", fill),
        write("empty", |_| ()),
        // has a file of `kit` with other contents
        write("other", |builder| testing::file(builder, "/usr/share/kit/text", "another")),
        write("grouped", |builder| {
            builder.group("Some/Group").epoch(7);
            testing::file(builder, "/grouped", vec![b'x'; 5000]);
        }),
        write("long", |builder| {
            for at in 0..3000 {
                builder.provides(rpm::Dependency::any(format!("{at:01200}")));
            }
        }),
    ];
    judge(&rpms);
}

#[test]
#[ignore = "needs a repository, named by SLIPWAY_DEMO_REPOSITORY"]
fn rpm_enters_the_same_of_a_real_repository() {
    let Some(repository) = std::env::var_os("SLIPWAY_DEMO_REPOSITORY") else {
        skip::because("SLIPWAY_DEMO_REPOSITORY is not set");
        return;
    };
    if !can_judge() {
        return;
    }
    let packages = fs::read_dir(Path::new(&repository).join("Packages")).unwrap();
    let mut rpms: Vec<PathBuf> = packages.map(|entry| entry.unwrap().path()).collect();
    rpms.sort();
    judge(&rpms);
}

/// What both are asked. The files are there, as rpm has unpacked them.
fn answers(root: &Path) -> Vec<(String, String)> {
    let questions: &[&[&str]] = &[
        &["-qa"],
        &[
            "-qa",
            "--qf",
            "%{NEVRA} %{DBINSTANCE} %{INSTALLTIME} %{INSTALLTID} %{SIGMD5} %{INSTALLCOLOR}\n",
        ],
        &["-qa", "--qf", "[%{NAME} %{FILENAMES} %{FILESTATES:fstate}\n]"],
        &["-qa", "--qf", "%{NAME} %{HEADERIMMUTABLE:sha1} %{SHA1HEADER} %{RSAHEADER:pgpsig}\n"],
        &["-qa", "--scripts"],
        &["-qa", "--triggers"],
        &["-qa", "--filetriggers"],
        &["-qa", "--dump"],
        &["-qa", "--provides"],
        &["-qa", "--requires", "--verbose"],
        &["-qa", "--conflicts", "--obsoletes", "--recommends", "--suggests"],
        &["-qi", "-a"],
        &["-q", "--whatprovides", "/bin/sh", "systemd", "libc.so.6()(64bit)", "config(bash)"],
        &["-q", "--whatrequires", "libc.so.6()(64bit)", "/bin/sh", "systemd", "nowhere"],
        &["-q", "--whatrecommends", "systemd"],
        &["-q", "--whatconflicts", "rival-b"],
        &["-qg", "Unspecified"],
        &["-qf", "/usr/bin/bash", "/etc/passwd", "/usr/lib/systemd/systemd", "/usr/share/kit/text"],
        &["-Va", "--nodeps"],
    ];
    let ask = |words: &&[&str]| {
        // Verifying and looking for what is not there end with an error.
        let mut command = rpm(root);
        let out = command.args(*words).env("LC_ALL", "C").output().unwrap();
        let both = [out.stdout, out.stderr].concat();
        (words.join(" "), String::from_utf8_lossy(&both).into_owned())
    };
    questions.iter().map(ask).collect()
}

/// Lets rpm install `rpms`, makes our own database of them, and compares all
/// there is.
fn judge(rpms: &[PathBuf]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let options = ["--noscripts", "--notriggers", "--nodeps", "--force", "--nosignature"];
    run(rpm(&root).arg("-i").args(options).args(rpms)).unwrap();
    let theirs = root.join(RPM_PATH);
    let installed = as_rpm_did(&theirs, rpms);
    // rpm leaves out what another of the packages obsoletes.
    assert!((rpms.len() * 9 / 10..=rpms.len()).contains(&installed.len()), "{}", installed.len());

    let ours = folder.path().join("ours.sqlite");
    let started = std::time::Instant::now();
    let packages = installed.iter().cloned().map(Ok::<_, std::convert::Infallible>);
    let file = fs::File::create(&ours).unwrap();
    let transaction = Transaction::new(TIME.into(), "x86_64");
    write(packages, transaction, std::io::BufWriter::new(file)).unwrap();
    let size = fs::metadata(&ours).unwrap().len();
    println!("{} packages, {size} bytes in {:?}", installed.len(), started.elapsed());

    assert_eq!(sql(&ours, "PRAGMA integrity_check"), "ok\n");
    assert_eq!(sql(&ours, "PRAGMA foreign_key_check"), "");
    let schema = "SELECT type, name, tbl_name, sql FROM sqlite_master \
                  WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name";
    assert_same(&sql(&ours, schema), &sql(&theirs, schema), "the schema");
    let sequence = "SELECT * FROM sqlite_sequence";
    assert_same(&sql(&ours, sequence), &sql(&theirs, sequence), "the sequence");
    let tables = index::tables().map(|table| table.name());
    for table in std::iter::once("Packages").chain(tables) {
        assert_same(&rows(&ours, table), &rows(&theirs, table), table);
    }

    let expected = answers(&root);
    for file in fs::read_dir(root.join("var/lib/rpm")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    fs::copy(&ours, &theirs).unwrap();
    for ((question, ours), (_, theirs)) in answers(&root).iter().zip(&expected) {
        assert_same(ours, theirs, question);
    }
    go_on(&root, installed.len());
}

/// rpm verifies our database, adds to it and takes away; dnf reads it.
fn go_on(root: &Path, count: usize) {
    let database = |root: &Path| {
        let mut rpmdb = Command::new("rpmdb");
        rpmdb.arg("--root").arg(root).args(DATABASE);
        rpmdb
    };
    run(database(root).arg("--verifydb")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let more = testing::write(folder.path(), "one-more", |builder| {
        testing::file(builder, "/usr/share/one-more", "more");
    });
    run(rpm(root).args(["-i", "--nosignature"]).arg(more)).unwrap();
    let installed = || run(rpm(root).arg("-qa")).unwrap().lines().count();
    assert_eq!(installed(), count + 1);
    // dnf asks rpm's settings for the place.
    fs::write(folder.path().join(".rpmmacros"), "%_dbpath /var/lib/rpm\n").unwrap();
    let dnf = Command::new("dnf")
        .env("HOME", folder.path())
        .arg(format!("--installroot={}", root.display()))
        .args(["--releasever=3.0", "--setopt=reposdir=/nowhere", "--setopt=cachedir=/cache"])
        .args(["-q", "repoquery", "--installed", "--qf", "%{name}-%{epoch}:%{version}-%{release}"])
        .output();
    match dnf {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout);
            let names = text.lines().filter(|line| !line.is_empty()).count();
            assert_eq!(names, count + 1, "{text}{}", String::from_utf8_lossy(&out.stderr));
        }
        Err(_) => skip::because("dnf is not installed"),
    }
    run(rpm(root).args(["-e", "--nodeps", "--noscripts", "one-more"])).unwrap();
    assert_eq!(installed(), count);
    run(database(root).arg("--verifydb")).unwrap();
}
