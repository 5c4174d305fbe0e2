//! p11-kit's own form of a trust store (`p11_persist_read` in
//! `trust/persist.c`): sections of `name: value` and PEM blocks, each an object.
//! Only attributes whose effect is known are taken.

use super::certificate::{self, Certificate};
use super::object::{Contents, Object, Record};
use super::pem;

const SECTION: &str = "[p11-kit-object-v1]";
/// Attributes of certificates that nothing here depends on.
const IDLE: [&str; 6] = [
    "modifiable",
    "private",
    "nss-mozilla-ca-policy",
    "id",
    "subject",
    "java-midp-security-domain",
];
/// The same, but only later programs know them.
const IDLE_NEW: [&str; 2] = ["nss-server-distrust-after", "nss-email-distrust-after"];

/// Whether a text is of this form.
#[must_use]
pub fn is_meant(text: &str) -> bool {
    text.contains(SECTION)
}

/// Reads a text of this form.
///
/// # Errors
/// If something in it is not known.
pub fn read(text: &str) -> Result<Contents, &'static str> {
    let mut contents = Contents::default();
    let mut section: Option<Section> = None;
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with("-----BEGIN ") {
            let (block, after) = block(rest)?;
            section.as_mut().ok_or("a PEM block before any section")?.block(block)?;
            rest = after;
            continue;
        }
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        let line = line.trim_matches(is_space);
        if line.is_empty() || line.starts_with('#') {
        } else if line == SECTION {
            contents
                .objects
                .extend(section.replace(Section::default()).map(Section::end).transpose()?);
        } else {
            let (name, value) = line.split_once(':').ok_or("a line that is no attribute")?;
            let (name, value) =
                (name.trim_end_matches(is_space), value.trim_start_matches(is_space));
            let section = section.as_mut().ok_or("an attribute before any section")?;
            contents.new_names.extend(section.attribute(name, value)?);
        }
    }
    contents.objects.extend(section.map(Section::end).transpose()?);
    Ok(contents)
}

/// What C calls a space.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// A PEM block at the beginning of a text, to the end of its last line, and what
/// follows.
fn block(text: &str) -> Result<(pem::Block<'_>, &str), &'static str> {
    let end = text.find("\n-----END ").ok_or("a PEM block without an end")?;
    let len = text[end + 1..].find('\n').map_or(text.len(), |line| end + 1 + line + 1);
    let (block, rest) = text.split_at(len);
    let mut found = pem::blocks(block)?;
    match found.len() {
        1 => Ok((found.remove(0), rest)),
        _ => Err("a PEM block within another"),
    }
}

#[derive(Debug, Default)]
struct Section {
    record: Record,
    is_certificate: bool,
    is_extension: bool,
    has_type: bool,
    /// Something was said that only a certificate has.
    of_certificate: bool,
    public_key: Option<Vec<u8>>,
    object_id: Option<String>,
    /// A certificate, or an extension.
    value: Option<Vec<u8>>,
}

impl Section {
    /// Gives the attribute's name if not every program knows it.
    fn attribute(&mut self, name: &str, value: &str) -> Result<Option<&'static str>, &'static str> {
        self.of_certificate |= !matches!(name, "class" | "value" | "object-id" | "label")
            && !IDLE[..2].contains(&name)
            && name != "id";
        let repeated = match name {
            "class" => match value {
                "certificate" => std::mem::replace(&mut self.is_certificate, true),
                "x-certificate-extension" => std::mem::replace(&mut self.is_extension, true),
                _ => return Err("an object of another class"),
            },
            "certificate-type" if value == "x-509" => std::mem::replace(&mut self.has_type, true),
            "label" => self.record.label.replace(string(value)?).is_some(),
            "trusted" => self.record.trusted.replace(boolean(value)?).is_some(),
            "x-distrusted" => self.record.distrusted.replace(boolean(value)?).is_some(),
            "issuer" => self.record.issuer.replace(string(value)?).is_some(),
            "serial-number" => self.record.serial.replace(string(value)?).is_some(),
            "value" => self.value.replace(string(value)?).is_some(),
            "object-id" => self.object_id.replace(identifier(value)?).is_some(),
            _ if IDLE.contains(&name) => false,
            _ => {
                let known = IDLE_NEW.into_iter().find(|new| *new == name);
                return known.map(Some).ok_or("an attribute that is not known");
            }
        };
        if repeated { Err("an attribute given twice") } else { Ok(None) }
    }

    fn block(&mut self, block: pem::Block<'_>) -> Result<(), &'static str> {
        let repeated = match block.kind {
            "CERTIFICATE" if !self.is_extension => {
                (self.is_certificate, self.has_type) = (true, true);
                self.value.replace(block.bytes).is_some()
            }
            "PUBLIC KEY" => self.public_key.replace(block.bytes).is_some(),
            _ => return Err("a PEM block of another kind"),
        };
        if repeated { Err("a value given twice") } else { Ok(()) }
    }

    fn end(self) -> Result<Object, &'static str> {
        match (self.is_certificate, self.is_extension) {
            (true, false)
                if self.has_type && self.object_id.is_none() && self.public_key.is_none() =>
            {
                if let Some(der) = &self.value {
                    Certificate::read(der).ok_or("a certificate is malformed")?;
                }
                Ok(Object::Certificate(Record { der: self.value, ..self.record }))
            }
            (false, true) if !self.of_certificate && !self.has_type => {
                let extension = self.value.ok_or("an extension without a value")?;
                let found = certificate::attached(&extension).ok_or("an extension is malformed")?;
                let same = self.object_id.is_none_or(|id| id == found.id);
                if !same || found.id == certificate::BASIC_CONSTRAINTS {
                    return Err("an extension that is not known");
                }
                let public_key = self.public_key.ok_or("an extension without a key")?;
                Ok(Object::Attached { public_key, extension })
            }
            _ => Err("an object that is not known"),
        }
    }
}

fn boolean(value: &str) -> Result<bool, &'static str> {
    value.parse().map_err(|_| "neither true nor false")
}

/// A text in quotes, with `%` before two hexadecimal digits for a byte.
fn string(value: &str) -> Result<Vec<u8>, &'static str> {
    const MALFORMED: &str = "a malformed text";
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let mut bytes = inner.ok_or(MALFORMED)?.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || {
                    let digit = bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                    digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(MALFORMED)
                };
                digit()? << 4 | digit()?
            }
            other => other,
        });
    }
    Ok(out)
}

/// An object identifier, with dots or as it is encoded.
fn identifier(value: &str) -> Result<String, &'static str> {
    const MALFORMED: &str = "a malformed object identifier";
    if value.starts_with('"') {
        let der = string(value)?;
        let found = crate::der::expect(&der, crate::der::OBJECT_ID);
        let found = found.filter(|found| found.rest.is_empty()).ok_or(MALFORMED)?;
        return crate::der::dotted(found.contents).ok_or(MALFORMED);
    }
    // p11-kit's list of digits lacks the 8.
    match crate::der::object_id(value).is_some() && !value.contains('8') {
        true => Ok(value.to_owned()),
        false => Err(MALFORMED),
    }
}
