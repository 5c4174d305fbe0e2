//! Whether an RPM file was signed by whom it should be. The signature covers
//! the header; the header names the digest of the payload; both are checked
//! over the bytes of the file (rpm's `docs/manual/format_v4`).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use formats::Hasher;
use pgp::packet::Signature;

use super::header::{self, Header};
use crate::evr::{Evr, Nevra};
use crate::signature::{self, Keyring, SignatureError, Signer};

/// Size of the lead, which nothing is taken from any more.
const LEAD_BYTES: usize = 96;
/// Size of a header's introduction: magic, reserved, entries, data size.
const INTRO_BYTES: usize = 16;
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// Size of an entry of a header's index.
const ENTRY_BYTES: u64 = 16;
/// The headers of kernel packages, the longest, have 3 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// Why an RPM file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PackageFault {
    /// It cannot be read.
    #[error("cannot read it back from the store")]
    Io(#[from] io::Error),
    /// It is no RPM.
    #[error("not an RPM package: {0}")]
    Malformed(String),
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
    let mut file = BufReader::with_capacity(128 * 1024, File::open(path)?);
    let Front { bytes, header_at } = read_front(&mut file)?;
    let broken = || PackageFault::Malformed("a header contradicts itself".to_owned());
    let signature = Header::parse(&bytes[LEAD_BYTES..header_at]).ok_or_else(broken)?;
    let signatures = header_signatures(&signature).map_err(PackageFault::Signature)?;
    let signed = &bytes[header_at..];
    let signer = keyring.verify(&signatures, signed).map_err(PackageFault::Signature)?;
    // Only now is what the header says worth anything.
    let header = Header::parse(signed).ok_or_else(broken)?;
    check_payload(&header, file)?;
    check_name(&header, expected)?;
    Ok(signer)
}

/// Everything before the payload, and where in it the main header begins.
struct Front {
    bytes: Vec<u8>,
    header_at: usize,
}

/// Lengths are checked before memory is set aside for them.
fn read_front(file: &mut impl Read) -> Result<Front, PackageFault> {
    let mut front = Vec::new();
    take(file, LEAD_BYTES as u64, &mut front)?;
    take_header(file, &mut front)?;
    let padding = front.len().next_multiple_of(8) - front.len();
    take(file, padding as u64, &mut front)?;
    let header_at = front.len();
    take_header(file, &mut front)?;
    Ok(Front { bytes: front, header_at })
}

fn take_header(file: &mut impl Read, front: &mut Vec<u8>) -> Result<(), PackageFault> {
    let at = front.len();
    take(file, INTRO_BYTES as u64, front)?;
    let intro = &front[at..];
    if intro[..4] != HEADER_MAGIC {
        return Err(PackageFault::Malformed("a header does not begin as one".to_owned()));
    }
    let number = |at: usize| {
        u64::from(u32::from_be_bytes([intro[at], intro[at + 1], intro[at + 2], intro[at + 3]]))
    };
    let length = number(8) * ENTRY_BYTES + number(12);
    if length > MAX_HEADER_BYTES {
        return Err(PackageFault::Malformed("a header is too long".to_owned()));
    }
    take(file, length, front)
}

fn take(file: &mut impl Read, count: u64, front: &mut Vec<u8>) -> Result<(), PackageFault> {
    let found = file.take(count).read_to_end(front)?;
    if found as u64 == count {
        return Ok(());
    }
    Err(PackageFault::Malformed("it ends within its headers".to_owned()))
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
    let text = |tag| {
        let missing = || PackageFault::Malformed(format!("its header has no tag {tag}"));
        header.text(tag).map(str::to_owned).ok_or_else(missing)
    };
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
