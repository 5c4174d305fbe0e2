//! A tree as an OCI image (image specification 1.0) of one gzip layer, its
//! layout in a tar. gzip, since every tool reads it; zstd layers are newer than
//! the tools of today's stable distributions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ::tar::EntryType;
use formats::{Digest, Hasher};
use serde::Serialize;

use super::ArchiveError;
use super::gzip::Gzip;
use super::tar::{self, Member, Writer};
use crate::tree::{Metadata, Tree};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What an OCI image says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// name of the image
    pub name: &'a str,
    /// its version, which becomes its reference in the layout
    pub version: &'a str,
    /// the processor as rpm calls it
    pub arch: &'a str,
    /// seconds since 1970
    pub time: u64,
}

#[derive(Serialize)]
struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Config {
    created: String,
    architecture: &'static str,
    os: &'static str,
    config: Settings,
    rootfs: RootFs,
    history: [History; 1],
}

#[derive(Serialize)]
struct Settings {
    #[serde(rename = "Labels")]
    labels: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [String; 1],
}

#[derive(Serialize)]
struct History {
    created: String,
    created_by: &'static str,
}

#[derive(Serialize)]
struct Manifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Index {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

/// Writes the layout to `out`; the layer lies in `scratch` meanwhile.
pub fn write(
    tree: &Tree,
    named: &Named<'_>,
    scratch: &Path,
    out: &mut impl Write,
) -> Result<(), ArchiveError> {
    let mut layer = Layer::of(tree, scratch)?;
    let config = json(&config(named, &layer))?;
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: descriptor(CONFIG, &config),
        layers: [layer.descriptor()],
        annotations: annotations(named),
    })?;
    let mut described = descriptor(MANIFEST, &manifest);
    described.annotations.insert("org.opencontainers.image.ref.name", named.version.to_owned());
    let index = json(&Index { schema_version: 2, media_type: INDEX, manifests: [described] })?;

    let mut layout = Layout { writer: Writer::new(out), meta: Metadata::root(0o644, named.time) };
    layout.folder("blobs/")?;
    layout.folder("blobs/sha256/")?;
    for bytes in [&config, &manifest] {
        layout.file(&blob(Digest::of(bytes)), bytes.len() as u64, &mut bytes.as_slice())?;
    }
    layout.file(&blob(layer.digest), layer.size_bytes, &mut layer.file)?;
    layout.file("index.json", index.len() as u64, &mut index.as_slice())?;
    let version: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
    layout.file("oci-layout", version.len() as u64, &mut { version })?;
    layout.writer.finish()?;
    Ok(())
}

/// The compressed layer and both its digests.
struct Layer {
    file: File,
    size_bytes: u64,
    digest: Digest,
    /// of the tar inside
    diff_id: Digest,
}

impl Layer {
    fn of(tree: &Tree, scratch: &Path) -> Result<Self, ArchiveError> {
        let compressed = Hashing::new(BufWriter::new(tempfile::tempfile_in(scratch)?));
        let mut raw = Hashing::new(Gzip::new(compressed));
        tar::write(tree, &mut raw)?;
        let compressed = raw.out.finish()?;
        let mut file = compressed.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self {
            file,
            size_bytes: compressed.count,
            digest: compressed.hasher.finish(),
            diff_id: raw.hasher.finish(),
        })
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: LAYER,
            digest: format!("sha256:{}", self.digest),
            size: self.size_bytes,
            annotations: BTreeMap::new(),
        }
    }
}

/// Passes bytes on, counted and hashed.
struct Hashing<W> {
    out: W,
    hasher: Hasher,
    count: u64,
}

impl<W> Hashing<W> {
    fn new(out: W) -> Self {
        Self { out, hasher: Hasher::new(), count: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.hasher.update(&bytes[..taken]);
        self.count += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn config(named: &Named<'_>, layer: &Layer) -> Config {
    let created = rfc3339(named.time);
    Config {
        created: created.clone(),
        architecture: match named.arch {
            "aarch64" => "arm64",
            _ => "amd64",
        },
        os: "linux",
        config: Settings { labels: annotations(named) },
        rootfs: RootFs { kind: "layers", diff_ids: [format!("sha256:{}", layer.diff_id)] },
        history: [History { created, created_by: "slipway build" }],
    }
}

fn annotations(named: &Named<'_>) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("org.opencontainers.image.created", rfc3339(named.time)),
        ("org.opencontainers.image.title", named.name.to_owned()),
        ("org.opencontainers.image.version", named.version.to_owned()),
    ])
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn descriptor(media_type: &'static str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type,
        digest: format!("sha256:{}", Digest::of(bytes)),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
    }
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// The layout's files, all of the image's time and root's.
struct Layout<W> {
    writer: Writer<W>,
    meta: Metadata,
}

impl<W: Write> Layout<W> {
    fn folder(&mut self, name: &str) -> io::Result<()> {
        let meta = Metadata { mode: 0o755, ..self.meta.clone() };
        self.writer.begin(&member(name, EntryType::Directory, 0, &meta))
    }

    fn file(&mut self, name: &str, size_bytes: u64, bytes: &mut impl Read) -> io::Result<()> {
        self.writer.begin(&member(name, EntryType::Regular, size_bytes, &self.meta))?;
        let mut buffer = vec![0; 1 << 16];
        let mut left = size_bytes;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
            bytes.read_exact(&mut buffer[..want])?;
            self.writer.put(&buffer[..want])?;
            left -= want as u64;
        }
        self.writer.pad(size_bytes)
    }
}

fn member<'a>(name: &'a str, kind: EntryType, size_bytes: u64, meta: &'a Metadata) -> Member<'a> {
    Member { name, kind, target: "", size_bytes, meta, device: (0, 0) }
}

/// `seconds` since 1970 as RFC 3339 has it, in UTC. The days of the calendar
/// after Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // since 1 March of year 0
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_as_date_prints_them() {
        // date -u -d @N +%FT%TZ
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_709_164_799), "2024-02-28T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
