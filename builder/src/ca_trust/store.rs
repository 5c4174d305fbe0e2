//! A trust store as p11-kit sees it: objects of all files, in two parts that
//! know nothing of each other's attached extensions; and which certificates it
//! gives for what (`trust/enumerate.c`).

use std::collections::{BTreeMap, BTreeSet};

use super::certificate::{self, Certificate};
use super::object::{Object, Record};

/// Good for everything.
const ANY_PURPOSE: &str = "2.5.29.37.0";

/// Which certificates are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Authorities that are trusted, and that nothing blocks.
    Anchors,
    /// All.
    Certificates,
}

/// A certificate that is given, and what goes with it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The certificate.
    pub der: &'a [u8],
    /// Its label, if there is one.
    pub label: Option<Vec<u8>>,
    /// It is an anchor.
    pub trusted: bool,
    /// It is blocked.
    pub distrusted: bool,
    /// Attached extensions, by their object identifiers.
    pub attached: BTreeMap<String, &'a [u8]>,
}

/// Objects of each folder of the store.
#[derive(Debug, Default)]
pub struct Store {
    /// In the order in which p11-kit reads them.
    pub parts: Vec<Vec<Object>>,
}

impl Store {
    /// The certificates that pass `filter` and are good for `purpose`, each once.
    ///
    /// # Errors
    /// If there is something in the store that is not understood.
    pub fn select(
        &self,
        filter: Filter,
        purpose: Option<&str>,
    ) -> Result<Vec<Entry<'_>>, &'static str> {
        let blocked = self.blocked();
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        for part in &self.parts {
            let attached = attached(part)?;
            for record in part.iter().filter_map(record) {
                let Some((der, certificate)) = certificate_of(record) else { continue };
                let wanted = match filter {
                    Filter::Certificates => true,
                    Filter::Anchors => {
                        certificate.is_authority()
                            && record.trusted == Some(true)
                            && record.distrusted != Some(true)
                            && !blocked.holds(record, &certificate)
                    }
                };
                if !wanted || !seen.insert(der) {
                    continue;
                }
                let attached = attached.get(certificate.public_key).cloned().unwrap_or_default();
                if is_good_for(&certificate, &attached, purpose)? {
                    found.push(Entry {
                        der,
                        label: label(record, &certificate)?,
                        trusted: record.trusted == Some(true),
                        distrusted: record.distrusted == Some(true),
                        attached,
                    });
                }
            }
        }
        Ok(found)
    }

    fn blocked(&self) -> Blocked<'_> {
        let mut blocked = Blocked::default();
        let records = self.parts.iter().flatten().filter_map(record);
        for record in records.filter(|record| record.distrusted == Some(true)) {
            let certificate = certificate_of(record).map(|(_, certificate)| certificate);
            blocked.keys.extend(certificate.map(|certificate| certificate.public_key));
            blocked.serials.extend(issuer_and_serial(record, certificate.as_ref()));
        }
        blocked
    }
}

/// What certificates that are not to be trusted are recognized by.
#[derive(Debug, Default)]
struct Blocked<'a> {
    keys: BTreeSet<&'a [u8]>,
    serials: BTreeSet<(&'a [u8], &'a [u8])>,
}

impl Blocked<'_> {
    fn holds(&self, record: &Record, certificate: &Certificate<'_>) -> bool {
        let serial = issuer_and_serial(record, Some(certificate));
        self.keys.contains(certificate.public_key)
            || serial.is_some_and(|serial| self.serials.contains(&serial))
    }
}

fn issuer_and_serial<'a>(
    record: &'a Record,
    certificate: Option<&Certificate<'a>>,
) -> Option<(&'a [u8], &'a [u8])> {
    let issuer = record.issuer.as_deref().or(certificate.map(|one| one.issuer));
    let serial = record.serial.as_deref().or(certificate.map(|one| one.serial));
    let has_any = |bytes: &&[u8]| !bytes.is_empty();
    Some((issuer.filter(has_any)?, serial.filter(has_any)?))
}

fn record(object: &Object) -> Option<&Record> {
    match object {
        Object::Certificate(record) => Some(record),
        Object::Attached { .. } => None,
    }
}

fn certificate_of(record: &Record) -> Option<(&[u8], Certificate<'_>)> {
    let der = record.der.as_deref()?;
    Certificate::read(der).map(|certificate| (der, certificate))
}

/// Extensions by the key they are attached to; of two of a kind, the last.
type Attached<'a> = BTreeMap<&'a [u8], BTreeMap<String, &'a [u8]>>;

fn attached(part: &[Object]) -> Result<Attached<'_>, &'static str> {
    let mut found = Attached::new();
    for object in part {
        if let Object::Attached { public_key, extension } = object {
            let read = certificate::attached(extension).ok_or("an extension is malformed")?;
            found.entry(public_key).or_default().insert(read.id, read.value);
        }
    }
    Ok(found)
}

/// A certificate that does not say what it is good for is good for anything.
fn is_good_for(
    certificate: &Certificate<'_>,
    attached: &BTreeMap<String, &[u8]>,
    purpose: Option<&str>,
) -> Result<bool, &'static str> {
    let id = certificate::EXTENDED_KEY_USAGE;
    let Some(value) = attached.get(id).copied().or_else(|| certificate.extension(id)) else {
        return Ok(true);
    };
    let good_for = certificate::purposes(value).ok_or("a list of purposes is malformed")?;
    Ok(purpose
        .is_none_or(|purpose| good_for.iter().any(|one| one == purpose || one == ANY_PURPOSE)))
}

fn label(record: &Record, certificate: &Certificate<'_>) -> Result<Option<Vec<u8>>, &'static str> {
    let found = match &record.label {
        Some(label) => Some(label.clone()),
        None => certificate.label()?.map(String::into_bytes),
    };
    match found {
        Some(label) if label.contains(&0) => Err("a label has a zero in it"),
        other => Ok(other.filter(|label| !label.is_empty())),
    }
}
