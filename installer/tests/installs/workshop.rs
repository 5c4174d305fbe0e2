//! Small signed bundles and disks for the tests, made from the formats alone.

use std::io::{self, Write};
use std::path::PathBuf;

use ed25519_dalek::{Signer, SigningKey};
use formats::block::BLOCK_BYTES;
use formats::chunks::{Chunk, ChunkTable};
use formats::dsse::{self, Signature};
use formats::gpt::{Gpt, Partition, kind};
use formats::guid::Guid;
use formats::json::{Json, object};
use formats::manifest::{FORMAT, Manifest, Payload, Payloads};
use formats::state::{self, SlotState, State, Status};
use formats::trust::{Root, key_document, key_id};
use formats::uki_header::UkiHeader;
use formats::{BlockDevice, DataSchema, Digest, Release, Slot, archive};
use slipway_installer::apply::InstallDisk;

/// A key that is the same each time.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A trust root whose roles are all `key`'s.
pub fn root_document(version: u32, key: &SigningKey) -> Vec<u8> {
    let public = key.verifying_key();
    let id = key_id(&public).to_string();
    let role =
        || object([("keyids", Json::Array(vec![id.as_str().into()])), ("threshold", 1.into())]);
    let keys = [(id.clone(), key_document(&public))].into_iter().collect();
    let signed = object([
        ("_type", "root".into()),
        ("spec_version", "1.0.31".into()),
        ("version", version.into()),
        ("expires", "2030-01-01T00:00:00Z".into()),
        ("keys", Json::Object(keys)),
        ("roles", object([("root", role()), ("targets", role())])),
    ]);
    let sig = key.sign(&signed.canonical()).to_bytes();
    let sig: String = sig.iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = object([("keyid", id.as_str().into()), ("sig", sig.as_str().into())]);
    object([("signatures", Json::Array(vec![entry])), ("signed", signed)]).canonical()
}

/// The root that the tests trust.
pub fn trusted() -> Root {
    Root::first(&root_document(1, &key(1))).expect("self-signed")
}

/// Everything that goes into a bundle, to be changed before it is written.
pub struct Draft {
    pub version: &'static str,
    pub product: &'static str,
    pub arch: &'static str,
    pub epoch: u32,
    pub data: DataSchema,
    pub signer: SigningKey,
    pub roots: Vec<Vec<u8>>,
    /// uki, root, verity
    pub payloads: [Vec<u8>; 3],
}

impl Draft {
    /// A bundle that is as it should be; its contents follow from `version`.
    pub fn new(version: &'static str) -> Self {
        let content = |name: &str, blocks: usize| -> Vec<u8> {
            let block = |number: usize| {
                let seed = Digest::of(format!("{name} {version} {number}").as_bytes());
                seed.0.repeat(BLOCK_BYTES / Digest::LEN)
            };
            (0..blocks).flat_map(block).collect()
        };
        let mut root = content("root", 6);
        root[BLOCK_BYTES..3 * BLOCK_BYTES].fill(0);
        Self {
            version,
            product: "test",
            arch: "x86_64",
            epoch: 1,
            data: DataSchema { min: 1, max: 1 },
            signer: key(1),
            roots: vec![root_document(1, &key(1))],
            payloads: [content("uki", 3), root, content("verity", 1)],
        }
    }

    /// The manifest and, for each payload, its table and its frames.
    fn packed(&self) -> (Manifest, [(ChunkTable, Vec<u8>); 3]) {
        let packed = [0, 1, 2].map(|at: usize| pack(&self.payloads[at]));
        let payload = |at: usize| Payload {
            size: self.payloads[at].len() as u64,
            sha256: Digest::of(&self.payloads[at]),
            chunks: packed[at].0.chunks().len() as u64,
            table_sha256: Digest::of(&packed[at].0.encode()),
            frames_size: packed[at].0.frames_len(),
        };
        let manifest = Manifest {
            format: FORMAT,
            name: "test".into(),
            product: self.product.parse().expect("short"),
            arch: self.arch.into(),
            version: self.version.parse().expect("short"),
            epoch: self.epoch,
            tries: 3,
            data: self.data,
            root_hash: Digest::of(self.version.as_bytes()),
            payloads: Payloads { uki: payload(0), root: payload(1), verity: payload(2) },
        };
        (manifest, packed)
    }

    /// The bundle's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (manifest, packed) = self.packed();
        let manifest = manifest.encode();
        let message = dsse::pre_authentication_encoding(dsse::MANIFEST_TYPE, &manifest);
        let signature = Signature {
            key: key_id(&self.signer.verifying_key()),
            bytes: self.signer.sign(&message).to_bytes(),
        };
        let mut out = Vec::new();
        member(&mut out, archive::MARKER, archive::MARKER_CONTENT);
        member(&mut out, "manifest.json", &manifest);
        member(&mut out, "signatures.json", &dsse::encode(&[signature]));
        for (number, root) in self.roots.iter().enumerate() {
            member(&mut out, &format!("root/{}.json", number + 1), root);
        }
        for ((table, _), name) in packed.iter().zip(["chunks/uki", "chunks/root", "chunks/verity"])
        {
            member(&mut out, name, &table.encode());
        }
        for ((_, frames), name) in packed.iter().zip(["data/uki", "data/root", "data/verity"]) {
            member(&mut out, name, frames);
        }
        out.extend_from_slice(&[0; archive::END_BYTES as usize]);
        out
    }
}

/// One chunk a block.
fn pack(raw: &[u8]) -> (ChunkTable, Vec<u8>) {
    let mut frames = Vec::new();
    let chunks = raw.chunks(BLOCK_BYTES).map(|block| {
        let zeros = block.iter().all(|byte| *byte == 0);
        let frame =
            if zeros { Vec::new() } else { zstd::bulk::compress(block, 1).expect("compresses") };
        frames.extend_from_slice(&frame);
        Chunk {
            raw_len: block.len() as u32,
            frame_len: frame.len() as u32,
            raw_sha256: Digest::of(block),
            frame_sha256: if zeros { Digest::ZERO } else { Digest::of(&frame) },
        }
    });
    (ChunkTable::new(chunks.collect()).expect("sound"), frames)
}

fn member(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    out.extend_from_slice(&archive::header(name, content.len() as u64).expect("small"));
    out.extend_from_slice(content);
    out.resize(out.len() + archive::padding(content.len() as u64) as usize, 0);
}

/// A file that goes away.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A folder for this test.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// A file with these bytes.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        let mut file = std::fs::File::create(&path).expect("made");
        file.write_all(bytes).expect("written");
        path
    }
}

/// One thing that was done to a disk.
#[derive(Clone, Debug)]
pub enum Action {
    Write(u64, Vec<u8>),
    Flush,
}

/// A disk in memory that remembers what was done to it, and can be made to
/// fail.
#[derive(Clone, Debug)]
pub struct TestDisk {
    pub bytes: Vec<u8>,
    pub actions: Vec<Action>,
    /// writes and flushes that still succeed
    pub lasts: usize,
}

impl TestDisk {
    /// Counts down to the failure.
    fn act(&mut self, action: Action) -> io::Result<()> {
        if self.lasts == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.lasts -= 1;
        self.actions.push(action);
        Ok(())
    }

    /// `bytes` with the first `count` actions done to them.
    pub fn after(before: &[u8], actions: &[Action]) -> Self {
        let mut disk = Self { bytes: before.to_vec(), actions: Vec::new(), lasts: usize::MAX };
        for action in actions {
            if let Action::Write(offset, bytes) = action {
                let at = *offset as usize;
                disk.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        disk
    }
}

impl BlockDevice for TestDisk {
    type Error = io::Error;

    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = offset_bytes as usize;
        let bytes = self.bytes.get(at..at + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.act(Action::Write(offset_bytes, bytes.to_vec()))?;
        let at = offset_bytes as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.act(Action::Flush)
    }
}

impl InstallDisk for TestDisk {}

/// A disk with `version` committed in slot a and nothing in b.
pub fn disk(version: &'static str) -> TestDisk {
    let names = ["state", "uki-a", "root-a", "root-a-verity", "uki-b", "root-b", "root-b-verity"];
    let kinds = [kind::STATE, kind::UKI, kind::ROOT, kind::ROOT_VERITY];
    let partitions = names.iter().enumerate().map(|(at, name)| Partition {
        kind: kinds[if at > 3 { at - 3 } else { at }],
        id: Guid::derived(&[name.as_bytes()]),
        start_bytes: (64 + 32 * at as u64) << 10,
        len_bytes: 32 << 10,
        attributes: 0,
        name: (*name).into(),
    });
    let gpt = Gpt {
        sector_bytes: 512,
        disk_id: Guid::derived(&[b"disk"]),
        disk_bytes: 512 << 10,
        partitions: partitions.collect(),
    };
    let mut disk = TestDisk { bytes: vec![0; 512 << 10], actions: Vec::new(), lasts: usize::MAX };
    for (offset, bytes) in gpt.encode().expect("fits") {
        disk.write_at(offset, &bytes).expect("on the disk");
    }
    let draft = Draft::new(version);
    let (manifest, _) = draft.packed();
    let release = manifest.release();
    let place = |name: &str| gpt.named(name).expect("there").start_bytes;
    let header = header(&manifest, release);
    disk.write_at(place("uki-a"), &header.encode()).expect("on the disk");
    disk.write_at(place("uki-a") + BLOCK_BYTES as u64, &draft.payloads[0]).expect("on the disk");
    disk.write_at(place("root-a"), &draft.payloads[1]).expect("on the disk");
    disk.write_at(place("root-a-verity"), &draft.payloads[2]).expect("on the disk");
    let mut state = State::new("test".parse().expect("short"));
    *state.slot_mut(Slot::A) = SlotState {
        status: Status::Committed,
        boots_left: 7,
        reason: None,
        release: Some(release),
    };
    state.epoch_floor = 1;
    state.data_schema = 1;
    state.root_version = 1;
    state.generation = 1;
    let start = place("state");
    let mut partition =
        formats::block::Window::new(&mut disk, start, 32 << 10).expect("on the disk");
    state::store(&mut partition, &mut state).expect("stored");
    state::store(&mut partition, &mut state).expect("stored");
    disk.actions.clear();
    disk
}

fn header(manifest: &Manifest, release: Release) -> UkiHeader {
    UkiHeader {
        image_len: manifest.payloads.uki.size,
        image_sha256: manifest.payloads.uki.sha256,
        product: manifest.product,
        release,
        generation: 1,
    }
}
