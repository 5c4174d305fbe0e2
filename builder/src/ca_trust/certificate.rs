//! What p11-kit looks at in a certificate (RFC 5280, section 4.1).

use crate::der::{
    OBJECT_ID, OCTET_STRING, SEQUENCE, SET, UTF8_STRING, dotted, element, expect, take,
};

/// `[0]`, explicit: the version.
const VERSION: u8 = 0xa0;
/// `[3]`, explicit: the extensions.
const EXTENSIONS: u8 = 0xa3;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// Object identifiers of extensions.
pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
/// What a certificate may be used for.
pub const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
/// An identifier of the key.
pub const SUBJECT_KEY_ID: &str = "2.5.29.14";
/// p11-kit's own: what OpenSSL's form says a certificate may not be used for.
pub const REJECT: &str = "1.3.6.1.4.1.3319.6.10.1";
/// What p11-kit writes for no purpose at all, where one is required.
const RESERVED_PURPOSE: &str = "1.3.6.1.4.1.3319.6.10.16";

/// Common name, organizational unit, organization: the first there is names a
/// certificate that has no label.
const NAMES: [&str; 3] = ["2.5.4.3", "2.5.4.11", "2.5.4.10"];

/// Parts of a certificate, as they are encoded.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    is_v1: bool,
    /// Serial number, with tag and length.
    pub serial: &'a [u8],
    /// The issuer's name.
    pub issuer: &'a [u8],
    subject: &'a [u8],
    /// The subject's public key, with its algorithm.
    pub public_key: &'a [u8],
    extensions: &'a [u8],
}

/// An extension of a certificate.
#[derive(Debug, Clone)]
pub struct Extension<'a> {
    /// Its object identifier, with dots.
    pub id: String,
    /// Its value's bytes.
    pub value: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate that is all of `der`.
    #[must_use]
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let mut outer = expect(der, SEQUENCE).filter(|outer| outer.rest.is_empty())?.contents;
        let mut rest = take(&mut outer, SEQUENCE)?.contents;
        take(&mut outer, SEQUENCE)?;
        take(&mut outer, BIT_STRING).filter(|signature| signature.rest.is_empty())?;

        let version = take(&mut rest, VERSION);
        let is_v1 = version.is_none_or(|version| version.contents == [INTEGER, 1, 0]);
        let serial = take(&mut rest, INTEGER)?.whole;
        take(&mut rest, SEQUENCE)?;
        let issuer = take(&mut rest, SEQUENCE)?.whole;
        take(&mut rest, SEQUENCE)?;
        let subject = take(&mut rest, SEQUENCE)?.whole;
        let public_key = take(&mut rest, SEQUENCE)?.whole;
        // identifiers of issuer and subject
        for tag in [0x81, 0x82] {
            take(&mut rest, tag);
        }
        let extensions = match take(&mut rest, EXTENSIONS) {
            Some(found) => {
                expect(found.contents, SEQUENCE).filter(|all| all.rest.is_empty())?.contents
            }
            None => &[],
        };
        let found = Self { is_v1, serial, issuer, subject, public_key, extensions };
        // what is not understood anywhere makes it no certificate
        (rest.is_empty() && found.all_extensions()?.len() < 100).then_some(found)
    }

    fn all_extensions(&self) -> Option<Vec<Extension<'a>>> {
        let mut rest = self.extensions;
        let mut found = Vec::new();
        while !rest.is_empty() {
            found.push(extension(take(&mut rest, SEQUENCE)?.contents)?);
        }
        Some(found)
    }

    /// The value of an extension.
    #[must_use]
    pub fn extension(&self, id: &str) -> Option<&'a [u8]> {
        let all = self.all_extensions().unwrap_or_default();
        all.into_iter().find(|one| one.id == id).map(|one| one.value)
    }

    /// Whether others are signed with it, as p11-kit sees that.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        match self.extension(BASIC_CONSTRAINTS) {
            Some(value) => {
                let mut inner = expect(value, SEQUENCE).map_or(&[][..], |inner| inner.contents);
                take(&mut inner, BOOLEAN).is_some_and(|is| is.contents == [0xff])
            }
            None => self.is_v1 && self.issuer == self.subject,
        }
    }

    /// A label from the subject's name; none if that has none of the names that
    /// count.
    ///
    /// # Errors
    /// If it is in an encoding that is not read here.
    pub fn label(&self) -> Result<Option<String>, &'static str> {
        for wanted in NAMES {
            if let Some(text) = self.name(wanted)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The first part of the subject's name of this kind, if it can be read.
    fn name(&self, wanted: &str) -> Result<Option<String>, &'static str> {
        const MALFORMED: &str = "the subject of a certificate is malformed";
        let mut sets = expect(self.subject, SEQUENCE).ok_or(MALFORMED)?.contents;
        while !sets.is_empty() {
            let mut pairs = take(&mut sets, SET).ok_or(MALFORMED)?.contents;
            while !pairs.is_empty() {
                let mut pair = take(&mut pairs, SEQUENCE).ok_or(MALFORMED)?.contents;
                let kind = take(&mut pair, OBJECT_ID).ok_or(MALFORMED)?;
                if dotted(kind.contents).as_deref() == Some(wanted) {
                    let value = element(pair).ok_or(MALFORMED)?;
                    return text(value.tag, value.contents);
                }
            }
        }
        Ok(None)
    }
}

fn text(tag: u8, bytes: &[u8]) -> Result<Option<String>, &'static str> {
    let found = match tag {
        UTF8_STRING | NUMERIC_STRING | IA5_STRING | TELETEX_STRING | PRINTABLE_STRING => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        BMP_STRING => {
            let units =
                bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
            let read: Option<String> = units.map(char::from_u32).collect();
            Some(
                read.filter(|_| bytes.len().is_multiple_of(2))
                    .ok_or("a name is in a strange encoding")?,
            )
        }
        UNIVERSAL_STRING => return Err("a name is in a rare encoding"),
        _ => None,
    };
    match found {
        Some(text) if text.contains('\0') => Err("a name has a zero in it"),
        other => Ok(other),
    }
}

/// Reads an `Extension`'s contents.
fn extension(mut contents: &[u8]) -> Option<Extension<'_>> {
    let id = dotted(take(&mut contents, OBJECT_ID)?.contents)?;
    take(&mut contents, BOOLEAN);
    let value = expect(contents, OCTET_STRING).filter(|value| value.rest.is_empty())?.contents;
    Some(Extension { id, value })
}

/// Reads an `Extension` that is all of `der`.
#[must_use]
pub fn attached(der: &[u8]) -> Option<Extension<'_>> {
    let outer = expect(der, SEQUENCE).filter(|outer| outer.rest.is_empty())?;
    extension(outer.contents)
}

/// The purposes in an extension's value, with dots; the one that stands for none
/// is left out.
#[must_use]
pub fn purposes(value: &[u8]) -> Option<Vec<String>> {
    let mut rest = expect(value, SEQUENCE).filter(|outer| outer.rest.is_empty())?.contents;
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push(dotted(take(&mut rest, OBJECT_ID)?.contents)?);
    }
    found.retain(|purpose| purpose != RESERVED_PURPOSE);
    Some(found)
}
