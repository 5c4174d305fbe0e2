//! Signing keys and the trust root that names them.
//!
//! Private keys are PKCS#8 PEM files that openssl reads, made readable for
//! their owner only. `root.json` is a TUF root document (section 4.3) whose
//! four roles are all there, so that a channel can be made from it later.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signer, SigningKey};
use formats::dsse::{self, MANIFEST_TYPE, Signature, pre_authentication_encoding};
use formats::json::{Json, object};
use formats::trust::{Root, TrustError, key_document, key_id};

/// File of the trust root in a folder of keys.
pub const ROOT_FILE: &str = "root.json";
/// Private key of the root role: signs the next root, otherwise stays offline.
pub const ROOT_KEY_FILE: &str = "root.key.pem";
/// Private key of the targets role: signs bundles.
pub const TARGETS_KEY_FILE: &str = "targets.key.pem";
/// Public key of the targets role, for openssl.
pub const TARGETS_PUBLIC_FILE: &str = "targets.pub.pem";
const EXPIRES_AFTER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file.
    #[error("cannot {what} {path}")]
    Io {
        /// what was being done
        what: &'static str,
        /// the file
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// No keys where they should be.
    #[error(
        "{0} does not exist: name the folder of your keys with --keys, or make new ones once with \
         `slipway keys new FOLDER`"
    )]
    Missing(PathBuf),
    /// Making new keys over old ones would lock machines out.
    #[error("{0} exists already; keys are never overwritten")]
    Exists(PathBuf),
    /// Not a PKCS#8 PEM file of an ed25519 key.
    #[error("{0} is not an ed25519 private key in PKCS#8 PEM")]
    NotAKey(PathBuf),
    /// The trust root is not usable.
    #[error("cannot use {path}")]
    Root {
        /// the file
        path: PathBuf,
        /// why
        source: TrustError,
    },
    /// Signing with it would be in vain.
    #[error("{key} is not a key of the targets role of {root}")]
    NotATargetsKey {
        /// the private key
        key: PathBuf,
        /// the trust root
        root: PathBuf,
    },
    /// The operating system has no randomness to give.
    #[error("no randomness for a new key")]
    Random(#[source] io::Error),
}

/// What `slipway build` signs with: the key, and the root that vouches for it.
#[derive(Debug)]
pub struct Signing {
    with: With,
    /// bytes of `root.json`
    pub root: Vec<u8>,
    /// its version
    pub root_version: u32,
}

/// What the signatures come from.
#[derive(Debug)]
enum With {
    /// Made here.
    Key(Box<SigningKey>),
    /// Made by somebody else: the bytes of `signatures.json`.
    Given(Vec<u8>),
}

impl Signing {
    /// Puts signatures that somebody else has made in place of signing. Whether
    /// they fit is for the caller to check.
    #[must_use]
    pub fn given(signatures: Vec<u8>, root: Vec<u8>, root_version: u32) -> Self {
        Self { with: With::Given(signatures), root, root_version }
    }

    /// Loads `root.json` and `targets.key.pem` from a folder.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        let (root_path, key_path) = (folder.join(ROOT_FILE), folder.join(TARGETS_KEY_FILE));
        let bytes = read(&root_path)?;
        let root = Root::first(&bytes)
            .map_err(|source| KeyError::Root { path: root_path.clone(), source })?;
        let pem = String::from_utf8(read(&key_path)?).unwrap_or_default();
        let key =
            SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::NotAKey(key_path.clone()))?;
        if !root.targets().keys.contains(&key_id(&key.verifying_key())) {
            return Err(KeyError::NotATargetsKey { key: key_path, root: root_path });
        }
        let root_version = root.version();
        Ok(Self { with: With::Key(Box::new(key)), root: bytes, root_version })
    }

    /// Who signs: the public key, or the signatures themselves.
    #[must_use]
    pub fn identity(&self) -> Vec<u8> {
        match &self.with {
            With::Given(signatures) => signatures.clone(),
            With::Key(key) => key.verifying_key().to_bytes().to_vec(),
        }
    }

    /// The bytes of `signatures.json` for those of a manifest.
    #[must_use]
    pub fn signatures(&self, manifest: &[u8]) -> Vec<u8> {
        match &self.with {
            With::Given(signatures) => signatures.clone(),
            With::Key(key) => {
                let message = pre_authentication_encoding(MANIFEST_TYPE, manifest);
                dsse::encode(&[Signature {
                    key: key_id(&key.verifying_key()),
                    bytes: key.sign(&message).to_bytes(),
                }])
            }
        }
    }
}

/// Makes a root key, a targets key and version 1 of a trust root in `folder`.
/// Refuses to touch a folder that has any of them.
pub fn create(folder: &Path) -> Result<(), KeyError> {
    fs::create_dir_all(folder).map_err(|source| KeyError::Io {
        what: "create",
        path: folder.into(),
        source,
    })?;
    for name in [ROOT_FILE, ROOT_KEY_FILE, TARGETS_KEY_FILE, TARGETS_PUBLIC_FILE] {
        if folder.join(name).exists() {
            return Err(KeyError::Exists(folder.join(name)));
        }
    }
    let (root, targets) = (new_key()?, new_key()?);
    write_private(&folder.join(ROOT_KEY_FILE), &root)?;
    write_private(&folder.join(TARGETS_KEY_FILE), &targets)?;
    let public = targets.verifying_key().to_public_key_pem(LineEnding::LF).unwrap_or_default();
    write(&folder.join(TARGETS_PUBLIC_FILE), public.as_bytes(), 0o644)?;
    let expires = SystemTime::now() + EXPIRES_AFTER;
    write(&folder.join(ROOT_FILE), &root_document(&root, &targets, expires), 0o644)
}

fn root_document(root: &SigningKey, targets: &SigningKey, expires: SystemTime) -> Vec<u8> {
    let id = |key: &SigningKey| key_id(&key.verifying_key()).to_string();
    let listed = [root, targets].map(|key| (id(key), key_document(&key.verifying_key())));
    let role = |key| {
        let ids = Json::Array(vec![Json::String(id(key))]);
        object([("keyids", ids), ("threshold", 1.into())])
    };
    let signed = object([
        ("_type", "root".into()),
        ("spec_version", "1.0.31".into()),
        ("version", 1.into()),
        ("expires", timestamp(expires).as_str().into()),
        ("consistent_snapshot", Json::Bool(true)),
        ("keys", Json::Object(listed.into_iter().collect())),
        (
            "roles",
            object([
                ("root", role(root)),
                ("targets", role(targets)),
                ("snapshot", role(targets)),
                ("timestamp", role(targets)),
            ]),
        ),
    ]);
    let sig = root.sign(&signed.canonical()).to_bytes();
    let sig: String = sig.iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = object([("keyid", id(root).as_str().into()), ("sig", sig.as_str().into())]);
    object([("signatures", Json::Array(vec![entry])), ("signed", signed)]).canonical()
}

/// `time` as TUF writes it: `2030-01-31T12:00:00Z`.
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // days to a date of the proleptic Gregorian calendar, years from March on
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let day = day - (153 * march + 2) / 5 + 1;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn new_key() -> Result<SigningKey, KeyError> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut seed[filled..], flags)
            .map_err(|error| KeyError::Random(error.into()))?;
    }
    Ok(SigningKey::from_bytes(&seed))
}

fn write_private(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::NotAKey(path.into()))?;
    write(path, pem.as_bytes(), 0o600)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { what: "write", path: path.into(), source };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.into()),
        _ => KeyError::Io { what: "read", path: path.into(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn new_keys_sign_what_their_root_believes_and_are_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        create(folder.path()).expect("new");
        assert!(matches!(create(folder.path()), Err(KeyError::Exists(_))));
        let signing = Signing::load(folder.path()).expect("just made");
        let message = pre_authentication_encoding(MANIFEST_TYPE, b"{}");
        let root = Root::first(&signing.root).expect("self-signed");
        let signed = |manifest| dsse::parse(&signing.signatures(manifest)).expect("our own");
        root.verify_targets(&message, &signed(b"{}")).expect("vouched for");
        assert!(root.verify_targets(&message, &signed(b"{ }")).is_err());
    }
}
