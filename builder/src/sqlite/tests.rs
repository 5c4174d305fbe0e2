//! Databases of every shape, which SQLite itself checks and reads back.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use super::*;

/// What SQLite says to `sql`, or nothing where it is not installed.
fn ask(path: &Path, sql: &str) -> Option<String> {
    let Ok(out) = Command::new("sqlite3").arg("-readonly").arg(path).arg(sql).output() else {
        skip::because("sqlite3 is not installed");
        return None;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

/// A table `t` of these texts, with an index of them and one of their lengths.
fn database(texts: &[Vec<u8>]) -> Vec<u8> {
    let mut database = Database::new(Cursor::new(Vec::new())).unwrap();
    let sql = "CREATE TABLE t (length INTEGER, text TEXT)";
    let row = |at: usize| i64::try_from(at).unwrap() + 1;
    let length = |at: usize| Value::Integer(i64::try_from(texts[at].len()).unwrap());
    database
        .table("t", sql, |rows| {
            (0..texts.len())
                .try_for_each(|at| rows.row(row(at), &[length(at), Value::Text(&texts[at])]))
        })
        .unwrap();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|at| &texts[*at]);
    let entries = order.iter().map(|at| (Value::Text(&texts[*at]), row(*at)));
    database.index("by_text", "t", "CREATE INDEX by_text ON t(text)", entries).unwrap();
    order.sort_by_key(|at| (texts[*at].len(), *at));
    let entries = order.iter().map(|at| (length(*at), row(*at)));
    database.index("by_length", "t", "CREATE INDEX by_length ON t(length)", entries).unwrap();
    for number in 0..40 {
        let (name, sql) = (format!("empty{number}"), format!("CREATE TABLE empty{number} (a)"));
        database.table(&name, sql, |_| Ok::<_, SqliteError>(())).unwrap();
    }
    database.finish().unwrap().into_inner()
}

fn check(texts: &[Vec<u8>]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.sqlite");
    let bytes = database(texts);
    assert_eq!(bytes.len() % PAGE_BYTES, 0);
    assert!(bytes == database(texts), "the same rows make different bytes");
    fs::write(&path, bytes).unwrap();
    let Some(said) = ask(&path, "PRAGMA integrity_check") else {
        return;
    };
    assert_eq!(said, "ok\n");
    let count = texts.len();
    let sum: usize = texts.iter().map(Vec::len).sum();
    let all = "SELECT count(*), coalesce(sum(length(text)), 0), coalesce(max(rowid), 0) FROM t";
    assert_eq!(ask(&path, all).unwrap(), format!("{count}|{sum}|{count}\n"));
    let Some(last) = texts.last() else {
        return;
    };
    let last = String::from_utf8(last.clone()).unwrap();
    for index in ["by_text", "by_length"] {
        let sql = format!(
            "SELECT max(rowid) FROM t INDEXED BY {index} WHERE text = '{last}' AND length = {}",
            last.len()
        );
        assert_eq!(ask(&path, &sql).unwrap(), format!("{count}\n"), "{index}");
    }
}

fn text(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| b'a' + u8::try_from((seed * 31 + at * 7 + seed / 26) % 26).unwrap())
        .collect()
}

#[test]
fn small_and_empty_tables_are_whole() {
    check(&[]);
    check(&[text(1, 0)]);
    check(&[text(1, 5), text(1, 5), text(0, 3)]);
}

#[test]
fn payloads_of_every_size_are_whole() {
    let sizes = [1..20, 480..500, 990..1010, 4050..4110, 8170..8200, 100_000..100_003];
    let sizes: Vec<usize> = sizes.into_iter().flatten().collect();
    for size in &sizes {
        check(&[text(*size, *size)]);
    }
    check(&sizes.iter().map(|size| text(*size, *size)).collect::<Vec<_>>());
}

#[test]
fn trees_of_several_levels_are_whole() {
    check(&(0..120_000).map(|at| text(at, 5 + at % 17)).collect::<Vec<_>>());
    check(&(0..3_000).map(|at| text(at, 900 + at % 400)).collect::<Vec<_>>());
}

#[test]
fn a_statement_too_long_for_the_first_page_is_refused() {
    let mut database = Database::new(Cursor::new(Vec::new())).unwrap();
    let sql = format!("CREATE TABLE t (a) -- {}", "x".repeat(5000));
    let error = database.table("t", sql, |_| Ok::<_, SqliteError>(())).unwrap_err();
    assert!(matches!(error, SqliteError::LongStatement { .. }), "{error}");
}
