//! Streaming XML with limits: a document has a known length, and no element
//! or text of it may be longer than a line of metadata ever is.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesEnd, BytesStart, Event};

/// The longest real ones are descriptions and change logs, some 100 KB.
const MAX_EVENT_BYTES: u64 = 4 << 20;
/// Nor is a text longer that comes in several events, such as one with escapes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// The longest tags have a name and a version, some hundred bytes.
const MAX_TAG_BYTES: usize = 64 << 10;
/// Metadata has five levels.
const MAX_DEPTH: usize = 32;

/// What is wrong with a document, without its name.
pub(super) type Fault = String;

/// Counts what is read and refuses to go past the announced length.
pub(super) struct Limited<R> {
    inner: R,
    total: u64,
    in_event: u64,
    limit: u64,
}

impl<R: BufRead> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Limited<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.total > self.limit {
            return Err(io::Error::other(format!("it is longer than {} bytes", self.limit)));
        }
        if self.in_event > MAX_EVENT_BYTES {
            return Err(io::Error::other("an element is too long"));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.total += amount as u64;
        self.in_event += amount as u64;
        self.inner.consume(amount);
    }
}

/// The events of a document.
pub(super) struct Document<R: BufRead> {
    reader: Reader<Limited<R>>,
    buffer: Vec<u8>,
    depth: usize,
    /// Bytes of text since the last tag.
    text_bytes: usize,
}

/// What a document consists of, as far as repositories use it.
pub(super) enum Piece<'a> {
    /// An element begins.
    Begin(Element<'a>),
    /// An element ends.
    End(End<'a>),
    /// Text, already without escapes; one text may come in several pieces.
    Text(Cow<'a, str>),
    /// Nothing of interest.
    Other,
    /// The document is over.
    Over,
}

/// An element's name and attributes.
pub(super) struct Element<'a>(BytesStart<'a>);

impl Element<'_> {
    /// Its name without prefix.
    pub fn name(&self) -> &str {
        local(self.0.name().into_inner())
    }

    /// The attribute `name`, without escapes.
    pub fn attribute(&self, name: &str) -> Result<Option<String>, Fault> {
        let found = self.0.try_get_attribute(name).map_err(|error| error.to_string())?;
        let Some(found) = found else { return Ok(None) };
        let value = found.normalized_value(XmlVersion::Implicit1_0);
        Ok(Some(value.map_err(|error| error.to_string())?.into_owned()))
    }

    /// The attributes of these names, without escapes, in one go.
    pub fn attributes<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Cow<'_, str>>; N], Fault> {
        let mut found = [const { None }; N];
        for attribute in self.0.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let key = attribute.key.into_inner();
            if let Some(at) = names.iter().position(|name| *name == key) {
                let value = attribute.normalized_value(XmlVersion::Implicit1_0);
                found[at] = Some(value.map_err(|error| error.to_string())?);
            }
        }
        Ok(found)
    }

    /// The attribute `name`, which must be there.
    pub fn required(&self, name: &str) -> Result<String, Fault> {
        let missing = || format!("<{}> has no {name}", self.name());
        self.attribute(name)?.ok_or_else(missing)
    }
}

/// The end of an element.
pub(super) struct End<'a>(BytesEnd<'a>);

impl End<'_> {
    /// The element's name without prefix.
    pub fn name(&self) -> &str {
        local(self.0.name().into_inner())
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

impl<R: BufRead> Document<R> {
    /// Reads `inner`, which must not be longer than `limit`.
    pub fn new(inner: R, limit: u64) -> Self {
        let mut reader = Reader::from_reader(Limited { inner, total: 0, in_event: 0, limit });
        // One way to see the end of an element, however it is written.
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new(), depth: 0, text_bytes: 0 }
    }

    /// The next piece.
    pub fn next(&mut self) -> Result<Piece<'_>, Fault> {
        self.buffer.clear();
        self.reader.get_mut().in_event = 0;
        let event = self.reader.read_event_into(&mut self.buffer);
        let event = event.map_err(|error| error.to_string())?;
        check(&event, &mut self.depth, &mut self.text_bytes)?;
        Ok(match event {
            Event::Start(start) => Piece::Begin(Element(start)),
            Event::End(end) => Piece::End(End(end)),
            Event::Text(text) => Piece::Text(text.xml10_content()),
            Event::CData(text) => Piece::Text(text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                let named = || resolve_predefined_entity(&reference).map(str::to_owned);
                let text = character.map(String::from).or_else(named);
                let text = text.ok_or_else(|| format!("unknown entity &{};", &*reference))?;
                Piece::Text(text.into())
            }
            Event::DocType(_) => return Err("it has a document type".to_owned()),
            Event::Eof => Piece::Over,
            _ => Piece::Other,
        })
    }

    /// Bytes read so far.
    pub fn length(&mut self) -> u64 {
        self.reader.get_mut().total
    }
}

/// Keeps what a document makes us remember bounded: open elements, the text of
/// one, and attributes that are compared with each other.
fn check(event: &Event<'_>, depth: &mut usize, text_bytes: &mut usize) -> Result<(), Fault> {
    match event {
        Event::Start(start) => {
            *depth += 1;
            *text_bytes = 0;
            if *depth > MAX_DEPTH {
                return Err(format!("its elements are more than {MAX_DEPTH} deep"));
            }
            if start.len() > MAX_TAG_BYTES {
                return Err(format!("a tag of {} bytes is too long", start.len()));
            }
        }
        Event::End(_) => {
            *depth = depth.saturating_sub(1);
            *text_bytes = 0;
        }
        other => {
            *text_bytes += other.len();
            if *text_bytes > MAX_TEXT_BYTES {
                return Err("a text is too long".to_owned());
            }
        }
    }
    Ok(())
}
