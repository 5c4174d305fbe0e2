//! The hash of a certificate's subject that OpenSSL names links by: SHA-1 over
//! the canonical form of the name (`X509_NAME_hash`, and `x509_name_canon` in
//! OpenSSL's `crypto/x509/x_name.c`). Reads just enough DER (X.690) and X.509
//! (RFC 5280, section 4.1) for it.

use base64ct::{Base64, Encoding};
use sha1::{Digest as _, Sha1};

use crate::der::{SEQUENCE, SET, UTF8_STRING, element, expect, put};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// `[0]`, explicit: a certificate's version.
const VERSION: u8 = 0xa0;
const PRINTABLE_STRING: u8 = 0x13;
const T61_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// The DER of a PEM file's certificate, if there is exactly one.
pub fn only_certificate(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, rest) = rest.split_once(END)?;
    if rest.contains(BEGIN) {
        return None;
    }
    let body: String = body.split_ascii_whitespace().collect();
    Base64::decode_vec(&body).ok()
}

/// The hash of the subject; none if this is no certificate, or its subject has
/// text in a form that is not read.
pub fn hash(certificate: &[u8]) -> Option<u32> {
    let canonical = canonical(subject(certificate)?)?;
    let digest = Sha1::digest(canonical);
    Some(u32::from_le_bytes(digest[..4].try_into().ok()?))
}

/// Contents of the subject's sequence of names.
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = expect(certificate, SEQUENCE)?.contents;
    let mut rest = expect(certificate, SEQUENCE)?.contents;
    if let Some(version) = expect(rest, VERSION) {
        rest = version.rest;
    }
    // serial number, algorithm, issuer, validity
    for _ in 0..4 {
        rest = element(rest)?.rest;
    }
    expect(rest, SEQUENCE).map(|subject| subject.contents)
}

/// The sets of names one after the other, without the sequence around them.
fn canonical(mut names: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !names.is_empty() {
        let found = expect(names, SET)?;
        let mut set = found.contents;
        names = found.rest;
        let mut entries = Vec::new();
        while !set.is_empty() {
            let pair = expect(set, SEQUENCE)?;
            set = pair.rest;
            entries.push(entry(pair.contents)?);
        }
        // DER orders a set by its members' bytes
        entries.sort();
        put(&mut out, SET, &entries.concat());
    }
    Some(out)
}

fn entry(pair: &[u8]) -> Option<Vec<u8>> {
    let value = element(pair)?.rest;
    let text = element(value)?;
    let mut contents = pair[..pair.len() - value.len()].to_vec();
    match decoded(text.tag, text.contents) {
        Some(text) => put(&mut contents, UTF8_STRING, folded(&text?).as_bytes()),
        None => contents.extend_from_slice(value),
    }
    let mut out = Vec::new();
    put(&mut out, SEQUENCE, &contents);
    Some(out)
}

/// A string's text; none inside if it is malformed, none at all if it is of a
/// kind that is left as it is.
fn decoded(tag: u8, bytes: &[u8]) -> Option<Option<String>> {
    Some(match tag {
        UTF8_STRING => std::str::from_utf8(bytes).ok().map(str::to_owned),
        PRINTABLE_STRING | IA5_STRING | VISIBLE_STRING | T61_STRING => {
            // OpenSSL reads them as Latin-1
            Some(bytes.iter().copied().map(char::from).collect())
        }
        BMP_STRING => wide(bytes, 2),
        UNIVERSAL_STRING => wide(bytes, 4),
        _ => return None,
    })
}

fn wide(bytes: &[u8], width: usize) -> Option<String> {
    let units = bytes.chunks(width).map(|unit| {
        let number = unit.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        char::from_u32(number).filter(|_| unit.len() == width)
    });
    units.collect()
}

/// In lower case, without spaces around, and with one where there are several.
/// Only what C calls a space counts, and only ASCII has cases.
fn folded(text: &str) -> String {
    let words = text.split(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// openssl makes certificates, and says what their hashes are.
    fn made(subject: &str) -> Option<(Vec<u8>, u32)> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-utf8", "-multivalue-rdn"])
            .args(["-subj", subject, "-keyout"])
            .arg(path("key"))
            .arg("-out")
            .arg(path("pem"))
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let pem = std::fs::read(path("pem")).unwrap();
        let mut said = Command::new("openssl")
            .args(["x509", "-noout", "-subject_hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        said.stdin.take().unwrap().write_all(&pem).unwrap();
        let said = said.wait_with_output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        Some((pem, u32::from_str_radix(text.trim(), 16).unwrap()))
    }

    #[test]
    fn hashes_are_openssls() {
        let subjects = [
            "/C=DE/O=Some  Company /CN=Root CA  1",
            "/O=Ünïcode Größe/CN=ΑΒΓ",
            "/C=US/CN=b+OU=a+O=A",
            "/CN=x",
        ];
        for subject in subjects {
            let Some((pem, expected)) = made(subject) else {
                return skip::because("openssl makes no certificates here");
            };
            let certificate = only_certificate(&pem).unwrap();
            assert_eq!(hash(&certificate), Some(expected), "{subject}");
            for len in 0..certificate.len() {
                // whatever is cut off is refused, or the subject is still whole
                assert!(hash(&certificate[..len]).is_none_or(|hash| hash == expected));
            }
            assert!(only_certificate(&[&pem[..], &pem[..]].concat()).is_none());
        }
    }
}
