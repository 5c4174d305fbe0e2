//! The files that programs read certificates from, as `trust extract` of
//! p11-kit writes them: PEM, OpenSSL's form of it with what each certificate is
//! trusted for, a Java key store, and the list of EDK II.

use std::collections::BTreeSet;

use sha1::{Digest as _, Sha1};

use super::store::Entry;
use super::{certificate, pem, usages};
use crate::der::{OCTET_STRING, SEQUENCE, UTF8_STRING, expect, put};

/// A file's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `pem-bundle`
    Pem,
    /// `openssl-bundle`
    OpenSsl,
    /// `java-cacerts`
    Java,
    /// `edk2-cacerts`
    Edk2,
}

/// `[0]`: rejected purposes.
const REJECTED: u8 = 0xa0;
/// What a blocked certificate is rejected for, in p11-kit's order.
const ALL_PURPOSES: [&str; 8] = [
    "1.3.6.1.5.5.7.3.1",
    "1.3.6.1.5.5.7.3.2",
    "1.3.6.1.5.5.7.3.3",
    "1.3.6.1.5.5.7.3.4",
    "1.3.6.1.5.5.7.3.5",
    "1.3.6.1.5.5.7.3.6",
    "1.3.6.1.5.5.7.3.7",
    "1.3.6.1.5.5.7.3.8",
];

/// Writes a file. `comments` has PEM say the names; `seconds` since 1970 are when
/// a Java key store says it was made.
///
/// # Errors
/// If there is something that does not fit the form.
pub fn write(
    format: Format,
    entries: &[Entry<'_>],
    comments: bool,
    seconds: u64,
) -> Result<Vec<u8>, &'static str> {
    match format {
        Format::Java => java(entries, seconds),
        Format::Edk2 => edk2(entries),
        Format::Pem => {
            armoured(entries, comments, |entry| Ok(pem::write("CERTIFICATE", entry.der)))
        }
        Format::OpenSsl => armoured(entries, comments, |entry| {
            Ok(pem::write("TRUSTED CERTIFICATE", &with_trust(entry)?))
        }),
    }
}

fn armoured(
    entries: &[Entry<'_>],
    comments: bool,
    block: impl Fn(&Entry<'_>) -> Result<String, &'static str>,
) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if comments {
            out.extend_from_slice(if at == 0 { b"# " } else { b"\n# " });
            out.extend_from_slice(entry.label.as_deref().unwrap_or(b"certificate"));
            out.push(b'\n');
        }
        out.extend_from_slice(block(entry)?.as_bytes());
    }
    Ok(out)
}

/// The certificate, and OpenSSL's `CertAux` after it.
fn with_trust(entry: &Entry<'_>) -> Result<Vec<u8>, &'static str> {
    let purposes = |id: &str| match entry.attached.get(id) {
        Some(value) => certificate::purposes(value).map(Some).ok_or("a malformed list of purposes"),
        None => Ok(None),
    };
    let mut rejects = purposes(certificate::REJECT)?;
    let trusts = if entry.distrusted {
        rejects.get_or_insert_default().extend(ALL_PURPOSES.map(str::to_owned));
        None
    } else if entry.trusted {
        purposes(certificate::EXTENDED_KEY_USAGE)?
    } else {
        Some(Vec::new())
    };
    let mut aux = Vec::new();
    for (tag, list) in [(SEQUENCE, trusts), (REJECTED, rejects)] {
        if let Some(list) = list {
            put(&mut aux, tag, &usages::joined(&list)?);
        }
    }
    if let Some(label) = &entry.label {
        put(&mut aux, UTF8_STRING, label);
    }
    if let Some(id) = entry.attached.get(certificate::SUBJECT_KEY_ID) {
        expect(id, OCTET_STRING).ok_or("a malformed identifier of a key")?;
        put(&mut aux, OCTET_STRING, id);
    }
    let mut out = entry.der.to_vec();
    put(&mut out, SEQUENCE, &aux);
    Ok(out)
}

/// A key store of Java's first kind: a list of certificates, and a digest over
/// it with the password that everybody knows (`JavaKeyStore` in OpenJDK).
fn java(entries: &[Entry<'_>], seconds: u64) -> Result<Vec<u8>, &'static str> {
    const MAGIC: u32 = 0xfeed_feed;
    const VERSION: u32 = 2;
    const TRUSTED_CERTIFICATE: u32 = 2;
    const PASSWORD: &str = "changeit";
    const WHITENER: &[u8] = b"Mighty Aphrodite";
    let milliseconds = seconds.checked_mul(1000).ok_or("a time that is too late")?;
    let count = u32::try_from(entries.len()).map_err(|_| "too many certificates")?;
    let mut out = Vec::new();
    for number in [MAGIC, VERSION, count] {
        out.extend(number.to_be_bytes());
    }
    let mut aliases = BTreeSet::new();
    for entry in entries {
        out.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        short(&mut out, &alias(entry, &mut aliases))?;
        out.extend(milliseconds.to_be_bytes());
        short(&mut out, b"X.509")?;
        let len = u32::try_from(entry.der.len()).map_err(|_| "a certificate is too long")?;
        out.extend(len.to_be_bytes());
        out.extend_from_slice(entry.der);
    }
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let digest = Sha1::new().chain_update(password).chain_update(WHITENER).chain_update(&out);
    out.extend(digest.finalize());
    Ok(out)
}

/// A text and, before it, its length.
fn short(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    let len = i16::try_from(text.len()).map_err(|_| "a label is too long")?;
    out.extend(len.to_be_bytes());
    out.extend_from_slice(text);
    Ok(())
}

/// The label in small letters without spaces and what is not ASCII, and with a
/// number if there is another of this name.
fn alias(entry: &Entry<'_>, taken: &mut BTreeSet<Vec<u8>>) -> Vec<u8> {
    let label = entry.label.as_deref().unwrap_or(b"unlabeled");
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let plain = label.iter().copied().filter(|byte| byte.is_ascii() && !is_space(*byte));
    let plain: Vec<u8> = plain.map(|byte| byte.to_ascii_lowercase()).collect();
    let mut alias = plain.clone();
    let mut number = 0;
    while !taken.insert(alias.clone()) {
        number += 1;
        alias = [&plain[..], format!("-{number}").as_bytes()].concat();
    }
    alias
}

/// `EFI_SIGNATURE_LIST`s of one certificate each (UEFI 2.10, section 32.4.1).
fn edk2(entries: &[Entry<'_>]) -> Result<Vec<u8>, &'static str> {
    /// `EFI_CERT_X509_GUID`, as it is stored.
    const X509: [u8; 16] = [
        0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0,
        0x72,
    ];
    /// Whose entries they are: p11-kit's.
    const OWNER: [u8; 16] = [
        0x50, 0x3b, 0xdd, 0xdc, 0x05, 0xf4, 0xfd, 0x43, 0x96, 0xbe, 0xbd, 0x33, 0xb1, 0x73, 0x47,
        0x76,
    ];
    const HEADER_BYTES: usize = 28;
    let mut out = Vec::new();
    for entry in entries {
        let size = OWNER.len() + entry.der.len();
        out.extend(X509);
        for number in [size + HEADER_BYTES, 0, size] {
            let number = u32::try_from(number).map_err(|_| "a certificate is too long")?;
            out.extend(number.to_le_bytes());
        }
        out.extend(OWNER);
        out.extend_from_slice(entry.der);
    }
    Ok(out)
}
