//! Detached DSSE signatures: what is signed is the pre-authentication encoding
//! of the exact bytes received, so nothing is ever re-serialised.
//!
//! A bundle's `signatures.json` is a DSSE envelope without its `payload`: that
//! is the `manifest.json` before it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The payload type of a bundle's manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.slipway.manifest+json";
/// More signatures than this are refused unread.
pub const MAX_SIGNATURES: usize = 32;

/// The bytes to sign for a `body` of type `kind` (DSSE protocol, "PAE").
#[must_use]
pub fn pre_authentication_encoding(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = b"DSSEv1 ".to_vec();
    for (at, part) in [kind.as_bytes(), body].into_iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(part.len().to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(part);
    }
    out
}

/// One signature and the key it claims to be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// identifier of the key, as TUF computes it
    pub key: Digest,
    /// the ed25519 signature
    pub bytes: [u8; 64],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    payload_type: String,
    signatures: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    keyid: Digest,
    sig: String,
}

/// Why a signatures document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSignatures {
    /// Not the expected JSON.
    #[error("the signatures are not a DSSE document: {0}")]
    Json(#[from] serde_json::Error),
    /// Signatures of something else.
    #[error("the signatures are for the payload type {0:?}")]
    OtherType(String),
    /// Absurdly many.
    #[error("more than {MAX_SIGNATURES} signatures")]
    TooMany,
    /// Not base64 of 64 bytes.
    #[error("a signature is not 64 bytes in base64")]
    Malformed,
}

/// Reads a bundle's `signatures.json`.
pub fn parse(bytes: &[u8]) -> Result<Vec<Signature>, BadSignatures> {
    let document: Document = serde_json::from_slice(bytes)?;
    if document.payload_type != MANIFEST_TYPE {
        return Err(BadSignatures::OtherType(document.payload_type));
    }
    if document.signatures.len() > MAX_SIGNATURES {
        return Err(BadSignatures::TooMany);
    }
    document.signatures.into_iter().map(read_entry).collect()
}

fn read_entry(entry: Entry) -> Result<Signature, BadSignatures> {
    let mut bytes = [0; 64];
    let len = Base64::decode(&entry.sig, &mut bytes).map_err(|_| BadSignatures::Malformed)?.len();
    if len == bytes.len() {
        Ok(Signature { key: entry.keyid, bytes })
    } else {
        Err(BadSignatures::Malformed)
    }
}

/// Writes a bundle's `signatures.json`.
#[must_use]
pub fn encode(signatures: &[Signature]) -> Vec<u8> {
    let entries = signatures.iter().map(|signature| Entry {
        keyid: signature.key,
        sig: Base64::encode_string(&signature.bytes),
    });
    let document = Document { payload_type: MANIFEST_TYPE.into(), signatures: entries.collect() };
    let mut out = serde_json::to_vec(&document).unwrap_or_default();
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_protocol() {
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn round_trip_and_refusals() {
        let signatures = [Signature { key: Digest::of(b"k"), bytes: [7; 64] }];
        let text = encode(&signatures);
        assert_eq!(parse(&text).expect("valid"), signatures);
        let text = String::from_utf8(text).expect("ASCII");
        for bad in [
            text.replace("manifest", "other"),
            text.replace("BwcH\"", "Bwc\""),
            text.replace("==", ""),
            text.replace("\"sig\"", "\"sig\":\"\",\"sig\""),
            text.clone() + "x",
        ] {
            assert!(parse(bad.as_bytes()).is_err() || bad == text, "{bad}");
        }
    }
}
