//! What the files of a trust store say: certificates, with or without a word on
//! whether they are to be trusted, and extensions that are attached to a key
//! from outside. Reads PEM, OpenSSL's trusted form of it, and DER; p11-kit's own
//! form is in [`super::persist`].

use super::certificate::{self, Certificate};
use super::{pem, persist, usages};
use crate::der::{OBJECT_ID, OCTET_STRING, SEQUENCE, UTF8_STRING, dotted, expect, put, take};

/// `[0]` and `[1]` of OpenSSL's `CertAux`: rejected purposes, and other things.
const REJECTED: u8 = 0xa0;
const OTHER: u8 = 0xa1;
const BOOLEAN_TRUE: [u8; 3] = [1, 1, 0xff];

/// One thing that a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A certificate, or how to recognize one.
    Certificate(Record),
    /// An extension of all certificates with a key.
    Attached {
        /// The public key, with its algorithm.
        public_key: Vec<u8>,
        /// The whole extension.
        extension: Vec<u8>,
    },
}

/// A certificate and what is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The certificate.
    pub der: Option<Vec<u8>>,
    /// Its name; it may be empty.
    pub label: Option<Vec<u8>>,
    /// It is an anchor of trust.
    pub trusted: Option<bool>,
    /// It must not be trusted.
    pub distrusted: Option<bool>,
    /// Its issuer, where it is not there itself.
    pub issuer: Option<Vec<u8>>,
    /// Its serial number, where it is not there itself.
    pub serial: Option<Vec<u8>>,
}

/// What the place of a file says of the certificates in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing.
    Plain,
    /// They are anchors, if they do not say otherwise.
    Anchors,
    /// They are not to be trusted, whatever they say.
    Blocked,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct Contents {
    /// In its order.
    pub objects: Vec<Object>,
    /// Names of attributes that older programs do not know.
    pub new_names: Vec<&'static str>,
}

/// Reads a file of any form; one of no known form says nothing.
///
/// # Errors
/// If it is of a form that is known, and what it means is not.
pub fn read(bytes: &[u8], place: Place) -> Result<Contents, &'static str> {
    let mut contents = match std::str::from_utf8(bytes) {
        Ok(text) if persist::is_meant(text) => persist::read(text)?,
        Ok(text) => Contents { objects: armoured(text)?, ..Contents::default() },
        Err(_) if Certificate::read(bytes).is_some() => {
            Contents { objects: vec![plain(bytes)], ..Contents::default() }
        }
        Err(_) if bytes.first() == Some(&SEQUENCE) || holds(bytes, b"-----BEGIN ") => {
            return Err("it is neither text nor one certificate");
        }
        Err(_) => Contents::default(),
    };
    for object in &mut contents.objects {
        if let Object::Certificate(record) = object {
            record.settle(place);
        }
    }
    Ok(contents)
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

impl Record {
    fn settle(&mut self, place: Place) {
        let (trusted, distrusted) = match place {
            Place::Anchors if self.distrusted == Some(true) => return,
            Place::Anchors => (true, false),
            Place::Blocked => (false, true),
            Place::Plain => (self.trusted.unwrap_or_default(), self.distrusted.unwrap_or_default()),
        };
        (self.trusted, self.distrusted) = (Some(trusted), Some(distrusted));
    }
}

fn plain(der: &[u8]) -> Object {
    Object::Certificate(Record { der: Some(der.to_vec()), ..Record::default() })
}

fn armoured(text: &str) -> Result<Vec<Object>, &'static str> {
    let mut found = Vec::new();
    for block in pem::blocks(text)? {
        match block.kind {
            "CERTIFICATE" => {
                Certificate::read(&block.bytes).ok_or("a certificate is malformed")?;
                found.push(plain(&block.bytes));
            }
            "TRUSTED CERTIFICATE" => trusted(&block.bytes, &mut found)?,
            _ => {}
        }
    }
    Ok(found)
}

/// A certificate with OpenSSL's `CertAux` after it: what it is trusted for, what
/// not, a name, and an identifier of the key.
fn trusted(bytes: &[u8], found: &mut Vec<Object>) -> Result<(), &'static str> {
    const MALFORMED: &str = "a trusted certificate is malformed";
    let first = expect(bytes, SEQUENCE).ok_or(MALFORMED)?;
    let certificate = Certificate::read(first.whole).ok_or(MALFORMED)?;
    let mut record = Record { der: Some(first.whole.to_vec()), ..Record::default() };
    if !first.rest.is_empty() {
        let aux = expect(first.rest, SEQUENCE).filter(|aux| aux.rest.is_empty());
        let aux = Auxiliary::read(aux.ok_or(MALFORMED)?.contents).ok_or(MALFORMED)?;
        let mut trusts = usages::in_order(&aux.trusts)?;
        let rejects = usages::in_order(&aux.rejects)?;
        trusts.retain(|purpose| !aux.rejects.contains(purpose));
        // No purpose at all is how OpenSSL says that a certificate is blocked.
        record.trusted = Some(!trusts.is_empty());
        record.distrusted = Some(trusts.is_empty());
        record.label = aux.alias;
        let key = certificate.public_key;
        found.push(attach(key, certificate::EXTENDED_KEY_USAGE, true, &usages::write(&trusts)?)?);
        if !rejects.is_empty() {
            found.push(attach(key, certificate::REJECT, false, &usages::write(&rejects)?)?);
        }
        if let Some(id) = aux.key_id {
            found.push(attach(key, certificate::SUBJECT_KEY_ID, false, &id)?);
        }
    }
    found.push(Object::Certificate(record));
    Ok(())
}

/// OpenSSL's `CertAux` (`X509_CERT_AUX` in its `crypto/x509/x_x509a.c`).
struct Auxiliary {
    trusts: Vec<String>,
    rejects: Vec<String>,
    alias: Option<Vec<u8>>,
    /// With tag and length.
    key_id: Option<Vec<u8>>,
}

impl Auxiliary {
    fn read(mut rest: &[u8]) -> Option<Self> {
        let mut purposes = |tag| match take(&mut rest, tag) {
            Some(list) => object_ids(list.contents),
            None => Some(Vec::new()),
        };
        let (trusts, rejects) = (purposes(SEQUENCE)?, purposes(REJECTED)?);
        let alias = take(&mut rest, UTF8_STRING).map(|alias| alias.contents.to_vec());
        let key_id = take(&mut rest, OCTET_STRING).map(|id| id.whole.to_vec());
        take(&mut rest, OTHER);
        let fine = rest.is_empty() && alias.as_ref().is_none_or(|alias| !alias.contains(&0));
        fine.then_some(Self { trusts, rejects, alias, key_id })
    }
}

fn object_ids(mut contents: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    while !contents.is_empty() {
        found.push(dotted(take(&mut contents, OBJECT_ID)?.contents)?);
    }
    Some(found)
}

/// An extension that is attached to a key.
pub(super) fn attach(
    key: &[u8],
    id: &str,
    critical: bool,
    value: &[u8],
) -> Result<Object, &'static str> {
    let mut inner = crate::der::object_id(id).ok_or("an object identifier is malformed")?;
    if critical {
        inner.extend(BOOLEAN_TRUE);
    }
    put(&mut inner, OCTET_STRING, value);
    let mut extension = Vec::new();
    put(&mut extension, SEQUENCE, &inner);
    Ok(Object::Attached { public_key: key.to_vec(), extension })
}
