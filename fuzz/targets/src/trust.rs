//! What a bundle is made of, and what it is trusted by.

use ed25519_dalek::{Signer, SigningKey};
use formats::archive::{self, RECORD_BYTES};
use formats::chunks::{Chunk, ChunkTable};
use formats::dsse;
use formats::json::{Json, object};
use formats::manifest::{Manifest, Payload, Payloads};
use formats::trust::{Root, key_document, key_id};
use formats::{DataSchema, Digest};

/// A member's header, and where the next one would be.
pub fn frame(bytes: &[u8]) {
    let Some(record) = bytes.first_chunk::<RECORD_BYTES>() else { return };
    if let Some((name, size)) = archive::parse_header(record) {
        let _ = size.checked_add(archive::padding(size));
        assert_eq!(archive::header(name, size).as_ref(), Some(record));
    }
}

pub fn frame_seeds() -> Vec<Vec<u8>> {
    archive::header("manifest.json", 1234).into_iter().map(|header| header.to_vec()).collect()
}

pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _ = manifest.release().encode();
        for (_, payload) in manifest.payloads.named() {
            let _ = (payload.table_len(), payload.table(bytes));
        }
        assert_eq!(Manifest::parse(&manifest.encode()).ok(), Some(manifest));
    }
}

pub fn manifest_seeds() -> Vec<Vec<u8>> {
    let payload = Payload {
        size: 8192,
        sha256: Digest::of(b"payload"),
        chunks: 2,
        table_sha256: Digest::of(b"table"),
        frames_size: 100,
    };
    let seed = || {
        let manifest = Manifest {
            format: formats::manifest::FORMAT,
            name: "demo".to_owned(),
            product: "demo".parse().ok()?,
            arch: "x86_64".to_owned(),
            version: "1.0.0".parse().ok()?,
            epoch: 1,
            tries: 3,
            data: DataSchema { min: 1, max: 1 },
            root_hash: Digest::of(b"root"),
            payloads: Payloads { uki: payload.clone(), root: payload.clone(), verity: payload },
        };
        Some(manifest.encode())
    };
    seed().into_iter().collect()
}

pub fn chunk_table(bytes: &[u8]) {
    if let Ok(table) = ChunkTable::decode(bytes) {
        let _ = (table.raw_len(), table.frames_len(), table.chunks().len());
        assert_eq!(table.encode(), bytes, "two tables of one meaning");
    }
}

pub fn chunk_table_seeds() -> Vec<Vec<u8>> {
    let chunk = |raw_len, frame_len| Chunk {
        raw_len,
        frame_len,
        raw_sha256: Digest::of(b"raw"),
        frame_sha256: if frame_len == 0 { Digest([0; 32]) } else { Digest::of(b"frame") },
    };
    let table = ChunkTable::new(vec![chunk(4096, 100), chunk(8192, 200), chunk(1 << 20, 0)]);
    table.map(|table| table.encode()).into_iter().collect()
}

/// What is canonical stays as it is.
pub fn json(bytes: &[u8]) {
    if let Ok(value) = Json::parse(bytes) {
        let canonical = value.canonical();
        if let Ok(again) = Json::parse(&canonical) {
            assert_eq!(again.canonical(), canonical);
        }
    }
}

pub fn json_seeds() -> Vec<Vec<u8>> {
    vec![br#"{"a": [1, -2, "x\u00e9\n", {"b": null}, true], "": {}, "z": 4294967295}"#.to_vec()]
}

pub fn signatures(bytes: &[u8]) {
    if let Ok(found) = dsse::parse(bytes) {
        assert_eq!(dsse::parse(&dsse::encode(&found)).ok(), Some(found));
    }
}

pub fn signatures_seeds() -> Vec<Vec<u8>> {
    vec![dsse::encode(&[dsse::Signature { key: Digest::of(b"key"), bytes: [9; 64] }])]
}

/// As the first root, and as the next one after itself.
pub fn root(bytes: &[u8]) {
    if let Ok(root) = Root::first(bytes) {
        let _ = root.advance(bytes);
        let _ = root.verify_targets(bytes, &[]);
    }
}

/// One that its only key has signed, and that is therefore taken.
pub fn root_seeds() -> Vec<Vec<u8>> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let id = key_id(&key.verifying_key()).to_string();
    let text = |text: &str| Json::String(text.to_owned());
    let role = || object([("keyids", Json::Array(vec![text(&id)])), ("threshold", 1.into())]);
    let keys = object([(id.as_str(), key_document(&key.verifying_key()))]);
    let signed = object([
        ("_type", text("root")),
        ("spec_version", text("1.0.31")),
        ("version", 1.into()),
        ("expires", text("2040-01-01T00:00:00Z")),
        ("consistent_snapshot", Json::Bool(true)),
        ("keys", keys),
        ("roles", object(["root", "snapshot", "targets", "timestamp"].map(|name| (name, role())))),
    ]);
    let signature = key.sign(&signed.canonical()).to_bytes();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = object([("keyid", text(&id)), ("sig", text(&hex))]);
    let document =
        object([("signatures", Json::Array(vec![signature])), ("signed", signed)]).canonical();
    assert!(Root::first(&document).is_ok(), "a seed must be taken");
    vec![document]
}
