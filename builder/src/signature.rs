//! OpenPGP: who signed repository metadata and packages. A keyring holds the
//! keys of one repository; only it decides what is trusted. Web of trust,
//! key servers and private keys have no place here.

use std::fmt;

use formats::{Digest, Hasher};
use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::types::{Duration, KeyDetails, Timestamp, VerifyingKey};

use crate::recipe::KeyFile;

/// A signed file has one signature, rarely two; more would only cost time.
const MAX_SIGNATURES: usize = 16;
/// Keys of one file; distributions publish up to a handful.
const MAX_KEYS: usize = 64;

/// Why a signature, or a key file, is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file holds no key that can be used.
    #[error("{path}: {why}")]
    Key {
        /// The key file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no signature at all.
    #[error("not signed")]
    Unsigned,
    /// The bytes that should be a signature are none.
    #[error("the signature cannot be read: {0}")]
    Malformed(String),
    /// Signed by a key that is not in the keyring.
    #[error("signed by key {by}, which is not among the trusted ones ({trusted})")]
    UnknownKey {
        /// Key id or fingerprint named in the signature.
        by: String,
        /// Fingerprints of the keyring.
        trusted: String,
    },
    /// Signed by a trusted key, but something else, or damaged since.
    #[error("the signature by key {by} does not fit: the signed bytes were changed")]
    Bad {
        /// Fingerprint of the key.
        by: String,
    },
    /// The key or the signature may not be used for this.
    #[error("the signature by key {by} is refused: {why}")]
    Refused {
        /// Fingerprint of the key.
        by: String,
        /// Why.
        why: String,
    },
}

/// The keys one repository is trusted by.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<Trusted>,
    identity: Digest,
}

/// A key, with what it says of itself: the signatures under that are checked
/// once, and not with every package.
#[derive(Debug, Clone)]
struct Trusted {
    key: SignedPublicKey,
    is_revoked: bool,
    lifetime: Option<Duration>,
    primary_signs: bool,
}

impl Trusted {
    fn new(key: SignedPublicKey) -> Self {
        let is_revoked = is_revoked(&key);
        let newest = self_signatures(&key).last().copied();
        let lifetime = newest.and_then(Signature::key_expiration_time);
        // A key without flags is a general one (RFC 9580, section 5.2.3.29).
        let primary_signs =
            newest.is_none_or(|signature| signature.key_flags().sign() || !has_flags(signature));
        Self { is_revoked, lifetime, primary_signs, key }
    }
}

/// The fingerprint of the key that made a signature, in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer(String);

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Keyring {
    /// Reads the key files of a repository.
    pub fn new(files: &[KeyFile]) -> Result<Self, SignatureError> {
        let mut keys = Vec::new();
        let mut identity = Hasher::new();
        for file in files {
            let found = read_keys(&file.bytes).and_then(|found| pinned(found, file));
            let failed = |why| SignatureError::Key { path: file.path.display().to_string(), why };
            keys.extend(found.map_err(failed)?.into_iter().map(Trusted::new));
            identity.update(&Digest::of(&file.bytes).0);
            let print = file.fingerprint.as_ref().map_or("", |print| print.as_str());
            identity.update(format!("{print}\n").as_bytes());
        }
        Ok(Self { keys, identity: identity.finish() })
    }

    /// Digest of the key files: changes when a key is added, revoked or
    /// renewed, so remembered checks can be tied to it.
    #[must_use]
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// Checks that one of `signatures` over `data` was made by a key of this
    /// ring.
    pub fn verify(&self, signatures: &[Signature], data: &[u8]) -> Result<Signer, SignatureError> {
        let mut refusal = SignatureError::Unsigned;
        for signature in signatures.iter().take(MAX_SIGNATURES) {
            match self.verify_one(signature, data) {
                Ok(signer) => return Ok(signer),
                // The first says most: later ones are often of other keys.
                Err(error) if matches!(refusal, SignatureError::Unsigned) => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    fn verify_one(&self, signature: &Signature, data: &[u8]) -> Result<Signer, SignatureError> {
        let mut refusal = self.unknown_key(signature);
        for trusted in &self.keys {
            let primary = &trusted.key.primary_key;
            if names(signature, primary) {
                match accept(trusted, primary, None, signature, data) {
                    Ok(signer) => return Ok(signer),
                    Err(error) => refusal = error,
                }
            }
            for subkey in &trusted.key.public_subkeys {
                if names(signature, &subkey.key) {
                    match accept(trusted, &subkey.key, Some(subkey), signature, data) {
                        Ok(signer) => return Ok(signer),
                        Err(error) => refusal = error,
                    }
                }
            }
        }
        Err(refusal)
    }

    fn unknown_key(&self, signature: &Signature) -> SignatureError {
        let by = match (signature.issuer_fingerprint().first(), signature.issuer_key_id().first()) {
            (Some(print), _) => hex(print.as_bytes()),
            (None, Some(id)) => hex(id.as_ref()),
            (None, None) => "that is not named".to_owned(),
        };
        let trusted: Vec<String> =
            self.keys.iter().map(|trusted| print_of(&trusted.key.primary_key)).collect();
        SignatureError::UnknownKey { by, trusted: trusted.join(", ") }
    }
}

fn read_keys(bytes: &[u8]) -> Result<Vec<SignedPublicKey>, String> {
    let (found, _) = SignedPublicKey::from_reader_many(bytes).map_err(|error| error.to_string())?;
    let mut keys = Vec::new();
    for key in found.take(MAX_KEYS) {
        keys.push(key.map_err(|error| error.to_string())?);
    }
    if keys.is_empty() {
        return Err("holds no OpenPGP public key".to_owned());
    }
    Ok(keys)
}

fn pinned(keys: Vec<SignedPublicKey>, file: &KeyFile) -> Result<Vec<SignedPublicKey>, String> {
    let Some(wanted) = &file.fingerprint else {
        return Ok(keys);
    };
    let found: Vec<String> = keys.iter().map(|key| print_of(&key.primary_key)).collect();
    let keys: Vec<_> =
        keys.into_iter().filter(|key| print_of(&key.primary_key) == wanted.as_str()).collect();
    if keys.is_empty() {
        let found = found.join(", ");
        return Err(format!("holds {found}, but the recipe wants {}", wanted.as_str()));
    }
    Ok(keys)
}

/// Whether `signature` says it was made by `key`, or does not say by which.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (prints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
    if prints.is_empty() && ids.is_empty() {
        return true;
    }
    prints.iter().any(|print| **print == key.fingerprint())
        || ids.iter().any(|id| **id == key.legacy_key_id())
}

fn accept(
    trusted: &Trusted,
    key: &impl VerifyingKey,
    subkey: Option<&SignedPublicSubKey>,
    signature: &Signature,
    data: &[u8],
) -> Result<Signer, SignatureError> {
    let owner = &trusted.key;
    let by = print_of(&owner.primary_key);
    let refused = |why: &str| SignatureError::Refused { by: by.clone(), why: why.to_owned() };
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(refused("it is not a signature over a file"));
    }
    if !signature.hash_alg().is_some_and(is_strong) {
        return Err(refused("its hash algorithm is too weak"));
    }
    if trusted.is_revoked {
        return Err(refused("the key was revoked"));
    }
    let created = signature.created().ok_or_else(|| refused("it says no time"))?;
    signature.verify(key, data).map_err(|_| SignatureError::Bad { by: by.clone() })?;
    // What the key may do matters only once it is known to have signed.
    if let Some(lifetime) = signature.signature_expiration_time().filter(|time| time.as_secs() > 0)
        && now() > created.as_secs().saturating_add(lifetime.as_secs())
    {
        return Err(refused("it has expired"));
    }
    check_lifetime(&owner.primary_key, trusted.lifetime, created).map_err(|why| refused(&why))?;
    match subkey {
        Some(subkey) => check_subkey(owner, subkey, created).map_err(|why| refused(&why))?,
        None if !trusted.primary_signs => return Err(refused("the key is not for signing")),
        None => {}
    }
    Ok(Signer(print_of(key)))
}

fn is_strong(algorithm: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(algorithm, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

fn is_revoked(key: &SignedPublicKey) -> bool {
    let revocations = &key.details.revocation_signatures;
    revocations.iter().any(|signature| signature.verify_key(&key.primary_key).is_ok())
}

/// Self-signatures that are valid, newest last. What a file of trusted keys
/// says of its primary key is believed whatever hash it was signed with: the
/// user chose the file. Attackers gain nothing from its expiry.
fn self_signatures(key: &SignedPublicKey) -> Vec<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter();
    let mut found: Vec<&Signature> =
        direct.filter(|signature| signature.verify_key(primary).is_ok()).collect();
    for user in &key.details.users {
        let valid = |signature: &&Signature| {
            signature.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
        };
        found.extend(user.signatures.iter().filter(valid));
    }
    found.sort_by_key(|signature| signature.created().map(|time| time.as_secs()));
    found
}

fn has_flags(signature: &Signature) -> bool {
    use pgp::packet::SubpacketData::KeyFlags;
    signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, KeyFlags(_)))
    })
}

fn check_subkey(
    owner: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    signed: Timestamp,
) -> Result<(), String> {
    let primary = &owner.primary_key;
    let valid =
        |signature: &&Signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok();
    let (revocations, mut bindings): (Vec<&Signature>, Vec<&Signature>) = subkey
        .signatures
        .iter()
        .filter(valid)
        .partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    if !revocations.is_empty() {
        return Err("the subkey was revoked".to_owned());
    }
    bindings.sort_by_key(|signature| signature.created().map(|time| time.as_secs()));
    let binding = bindings.last().ok_or("the subkey is not bound to its key")?;
    let claimed = binding
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !binding.key_flags().sign() || !claimed {
        return Err("the subkey is not for signing".to_owned());
    }
    check_lifetime(&subkey.key, binding.key_expiration_time(), signed)
}

/// A key may have expired since, but not before it signed.
fn check_lifetime(
    key: &impl KeyDetails,
    lifetime: Option<Duration>,
    signed: Timestamp,
) -> Result<(), String> {
    let created = key.created_at().as_secs();
    if signed.as_secs() < created {
        return Err("it is older than its key".to_owned());
    }
    match lifetime.map(|lifetime| lifetime.as_secs()).filter(|seconds| *seconds > 0) {
        Some(seconds) if signed.as_secs() > created.saturating_add(seconds) => {
            Err("the key had expired before".to_owned())
        }
        _ => Ok(()),
    }
}

fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

fn print_of(key: &impl KeyDetails) -> String {
    hex(key.fingerprint().as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// The signatures of a detached signature file, armoured or binary.
pub fn detached(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let malformed = |error: pgp::errors::Error| SignatureError::Malformed(error.to_string());
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return packets(bytes);
    }
    let mut armour = pgp::armor::Dearmor::new(bytes);
    armour.read_header().map_err(malformed)?;
    if armour.typ != Some(pgp::armor::BlockType::Signature) {
        return Err(SignatureError::Malformed("it is not a PGP SIGNATURE block".to_owned()));
    }
    let mut binary = Vec::new();
    // Armour is a third longer than what it holds, so this stays bounded.
    std::io::Read::read_to_end(&mut armour, &mut binary)
        .map_err(|error| SignatureError::Malformed(error.to_string()))?;
    packets(&binary)
}

/// The signature packets in `bytes`.
pub fn packets(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let mut found = Vec::new();
    for packet in PacketParser::new(bytes).take(MAX_SIGNATURES) {
        match packet {
            Ok(Packet::Signature(signature)) => found.push(signature),
            Ok(_) => {}
            Err(error) => return Err(SignatureError::Malformed(error.to_string())),
        }
    }
    Ok(found)
}
