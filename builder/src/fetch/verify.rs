//! Whether an RPM file was signed by whom it should be. The signature covers
//! the header; the header names the digest of the payload; both are checked
//! over the bytes of the file (rpm's `docs/manual/format_v4`).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use formats::Hasher;
use pgp::packet::Signature;

use super::header;
use crate::evr::{Evr, Nevra};
use crate::header::{Header, HeaderError, RawHeaders};
use crate::signature::{self, Keyring, SignatureError, Signer};

/// Why an RPM file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PackageFault {
    /// It cannot be read.
    #[error("cannot read it back from the store")]
    Io(#[from] io::Error),
    /// It is no RPM, or its headers are damaged.
    #[error("its headers cannot be used")]
    Headers(#[from] HeaderError),
    /// It does not say what it is.
    #[error("its header has no tag {0}")]
    NoTag(u32),
    /// It is not signed by a trusted key.
    #[error("its signature is not accepted")]
    Signature(#[source] SignatureError),
    /// The signed header does not cover the payload.
    #[error("its header has no SHA-256 of the payload, so the signature says nothing about it")]
    NoPayloadDigest,
    /// The payload was exchanged.
    #[error("its payload is not the one that was signed")]
    Payload,
    /// It is another package than the metadata said.
    #[error("it is {found}")]
    OtherPackage {
        /// What its header says.
        found: Nevra,
    },
}

/// Checks the RPM file at `path`: signed by a key of `keyring`, whole, and
/// the package `expected`.
pub fn verify(path: &Path, keyring: &Keyring, expected: &Nevra) -> Result<Signer, PackageFault> {
    verify_from(BufReader::with_capacity(128 * 1024, File::open(path)?), keyring, expected)
}

/// The same for a file that is open.
pub(super) fn verify_from(
    mut file: impl Read,
    keyring: &Keyring,
    expected: &Nevra,
) -> Result<Signer, PackageFault> {
    let headers = RawHeaders::read(&mut file)?;
    let signatures = header_signatures(&headers.signature()).map_err(PackageFault::Signature)?;
    let signer =
        keyring.verify(&signatures, headers.signed_bytes()).map_err(PackageFault::Signature)?;
    // Only now is what the header says worth anything.
    let header = headers.header();
    check_payload(&header, file)?;
    check_name(&header, expected)?;
    Ok(signer)
}

fn header_signatures(header: &Header<'_>) -> Result<Vec<Signature>, SignatureError> {
    let mut raw: Vec<Vec<u8>> =
        header.texts(header::SIGNATURE_OPENPGP).filter_map(header::base64).collect();
    if raw.is_empty() {
        let tags = [header::SIGNATURE_RSA, header::SIGNATURE_DSA];
        raw.extend(tags.iter().filter_map(|tag| header.binary(*tag)).map(<[u8]>::to_vec));
    }
    let mut found = Vec::new();
    for bytes in raw {
        found.extend(signature::packets(&bytes)?);
    }
    Ok(found)
}

fn check_payload(header: &Header<'_>, mut payload: impl Read) -> Result<(), PackageFault> {
    let signed = header.text(header::PAYLOAD_SHA256).ok_or(PackageFault::NoPayloadDigest)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match payload.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    if hasher.finish().to_string() == signed.to_ascii_lowercase() {
        return Ok(());
    }
    Err(PackageFault::Payload)
}

fn check_name(header: &Header<'_>, expected: &Nevra) -> Result<(), PackageFault> {
    let text = |tag| header.text(tag).map(str::to_owned).ok_or(PackageFault::NoTag(tag));
    let found = Nevra {
        name: text(header::NAME)?,
        evr: Evr {
            epoch: header.number(header::EPOCH).unwrap_or(0),
            version: text(header::VERSION)?,
            release: text(header::RELEASE)?,
        },
        arch: text(header::ARCH)?,
    };
    if found == *expected {
        return Ok(());
    }
    Err(PackageFault::OtherPackage { found })
}
