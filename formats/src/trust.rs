//! Whom a machine believes: a TUF root document (TUF specification 1.0,
//! section 4.3) and the chain that replaces it.
//!
//! ```text
//! bytes a person trusts ─first─▶ Root ─advance, one version at a time─▶ Root ─verify_targets─▶ ()
//! ```
//!
//! Expiry dates are not looked at here: a machine without a network may have no
//! clock, and roll-back is barred by epochs. Whoever reads a channel online
//! checks them there.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ed25519_dalek::{Signature as Ed25519, VerifyingKey};

use crate::digest::{Digest, from_hex};
use crate::dsse::Signature;
use crate::json::{Json, object};

/// A root document larger than this is refused unread.
pub const MAX_ROOT_BYTES: usize = 256 << 10;

/// A role's keys, and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// identifiers of its keys
    pub keys: BTreeSet<Digest>,
    /// at least 1
    pub threshold: u32,
}

/// A root document whose own signatures were checked.
#[derive(Clone, Debug)]
pub struct Root {
    version: u32,
    keys: BTreeMap<Digest, VerifyingKey>,
    root: Role,
    targets: Role,
}

/// Why a document or signature is not believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not the expected document.
    #[error("not a trust root: {0}")]
    Malformed(String),
    /// A key could make forgeries easy.
    #[error("key {0} of the trust root is weak or not an ed25519 key")]
    WeakKey(Digest),
    /// Too few valid signatures by distinct keys of the role.
    #[error("valid signatures of the {role:?} role: {valid}, needed: {threshold}{hint}")]
    Threshold {
        /// the role
        role: &'static str,
        /// valid ones
        valid: u32,
        /// needed ones
        threshold: u32,
        /// what may be the matter
        hint: &'static str,
    },
    /// The chain skips or repeats a version.
    #[error("trust root version {got} where {expected} must follow")]
    Version {
        /// what must come
        expected: u32,
        /// what came
        got: u32,
    },
}

fn malformed(what: &str) -> TrustError {
    TrustError::Malformed(what.to_string())
}

impl Root {
    /// Reads a document that the caller has a reason of its own to trust: it
    /// came with the machine, or its digest was given by a person.
    pub fn first(bytes: &[u8]) -> Result<Self, TrustError> {
        let (root, signed, signatures) = parse(bytes)?;
        root.verify("root", &root.root, &signed, &signatures)?;
        Ok(root)
    }

    /// The next version, signed by the thresholds of both this one and itself
    /// (TUF 5.3.4 and 5.3.5).
    pub fn advance(&self, bytes: &[u8]) -> Result<Self, TrustError> {
        let (next, signed, signatures) = parse(bytes)?;
        let expected = self.version.saturating_add(1);
        if next.version != expected {
            return Err(TrustError::Version { expected, got: next.version });
        }
        self.verify("root", &self.root, &signed, &signatures)?;
        next.verify("root", &next.root, &signed, &signatures)?;
        Ok(next)
    }

    /// The document's version, from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The role that signs bundles.
    #[must_use]
    pub fn targets(&self) -> &Role {
        &self.targets
    }

    /// Whether enough keys of the `targets` role have signed `message`.
    pub fn verify_targets(&self, message: &[u8], by: &[Signature]) -> Result<(), TrustError> {
        self.verify("targets", &self.targets, message, by)
    }

    fn verify(
        &self,
        name: &'static str,
        role: &Role,
        message: &[u8],
        by: &[Signature],
    ) -> Result<(), TrustError> {
        // a key counts once however often it signs, and under one name only,
        // since identifiers are computed from the keys
        let mut valid = BTreeSet::new();
        for signature in by.iter().filter(|signature| role.keys.contains(&signature.key)) {
            let Some(key) = self.keys.get(&signature.key) else {
                continue;
            };
            if key.verify_strict(message, &Ed25519::from_bytes(&signature.bytes)).is_ok() {
                valid.insert(signature.key);
            }
        }
        let known = by.iter().any(|signature| role.keys.contains(&signature.key));
        let count = u32::try_from(valid.len()).unwrap_or(u32::MAX);
        if count >= role.threshold {
            return Ok(());
        }
        let hint = match (by.is_empty(), known) {
            (true, _) => ": it is not signed",
            (false, false) => ": it is signed by keys this trust root does not name",
            (false, true) => "",
        };
        Err(TrustError::Threshold { role: name, valid: count, threshold: role.threshold, hint })
    }
}

fn parse(bytes: &[u8]) -> Result<(Root, Vec<u8>, Vec<Signature>), TrustError> {
    if bytes.len() > MAX_ROOT_BYTES {
        return Err(malformed("larger than 256 KiB"));
    }
    let json = Json::parse(bytes).map_err(|error| TrustError::Malformed(error.to_string()))?;
    let signed = json.get("signed").ok_or_else(|| malformed("no \"signed\""))?;
    if signed.get("_type").and_then(Json::as_str) != Some("root") {
        return Err(malformed("its \"_type\" is not \"root\""));
    }
    if !signed.get("spec_version").and_then(Json::as_str).is_some_and(|v| v.starts_with("1.")) {
        return Err(malformed("its \"spec_version\" is not 1.x"));
    }
    let version = signed.get("version").and_then(Json::as_u32).filter(|version| *version > 0);
    let root = Root {
        version: version.ok_or_else(|| malformed("no \"version\" from 1"))?,
        keys: read_keys(signed.get("keys"))?,
        root: read_role(signed, "root")?,
        targets: read_role(signed, "targets")?,
    };
    let signatures = read_signatures(&json)?;
    Ok((root, signed.canonical(), signatures))
}

fn read_keys(keys: Option<&Json>) -> Result<BTreeMap<Digest, VerifyingKey>, TrustError> {
    let keys = keys.and_then(Json::as_object).ok_or_else(|| malformed("no \"keys\""))?;
    let mut out = BTreeMap::new();
    for (name, key) in keys {
        let id: Digest = name.parse().map_err(|_| malformed("a key's name is not a digest"))?;
        if Digest::of(&key.canonical()) != id {
            return Err(malformed("a key's name is not the digest of the key"));
        }
        out.insert(id, read_key(id, key)?);
    }
    Ok(out)
}

fn read_key(id: Digest, key: &Json) -> Result<VerifyingKey, TrustError> {
    let text = |field: &str| key.get(field).and_then(Json::as_str);
    let public = key.get("keyval").and_then(|value| value.get("public")).and_then(Json::as_str);
    let mut bytes = [0; 32];
    let usable = text("keytype") == Some("ed25519") && text("scheme") == Some("ed25519");
    let read = from_hex(public.unwrap_or_default(), &mut bytes);
    if !usable || read.is_none() {
        return Err(TrustError::WeakKey(id));
    }
    VerifyingKey::from_bytes(&bytes)
        .ok()
        .filter(|key| !key.is_weak())
        .ok_or(TrustError::WeakKey(id))
}

fn read_role(signed: &Json, name: &str) -> Result<Role, TrustError> {
    let role = signed.get("roles").and_then(|roles| roles.get(name));
    let ids = role.and_then(|role| role.get("keyids")).and_then(Json::as_array);
    let keys = ids.unwrap_or_default().iter().map(|id| id.as_str()?.parse().ok());
    let keys: Option<BTreeSet<Digest>> = keys.collect();
    let threshold = role.and_then(|role| role.get("threshold")).and_then(Json::as_u32);
    match (keys, threshold) {
        (Some(keys), Some(threshold)) if threshold > 0 => Ok(Role { keys, threshold }),
        _ => Err(TrustError::Malformed(alloc::format!("no usable role {name:?}"))),
    }
}

fn read_signatures(json: &Json) -> Result<Vec<Signature>, TrustError> {
    let list = json.get("signatures").and_then(Json::as_array);
    let read = |entry: &Json| {
        let key = entry.get("keyid")?.as_str()?.parse().ok()?;
        let mut bytes = [0; 64];
        from_hex(entry.get("sig")?.as_str()?, &mut bytes)?;
        Some(Signature { key, bytes })
    };
    let signatures: Option<Vec<_>> = list.unwrap_or_default().iter().map(read).collect();
    signatures.ok_or_else(|| malformed("unreadable \"signatures\""))
}

/// A public key as TUF writes it.
#[must_use]
pub fn key_document(key: &VerifyingKey) -> Json {
    let hex: String = key.as_bytes().iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    object([
        ("keytype", "ed25519".into()),
        ("keyval", object([("public", hex.as_str().into())])),
        ("scheme", "ed25519".into()),
    ])
}

/// The identifier TUF gives a key: the digest of its canonical document.
#[must_use]
pub fn key_id(key: &VerifyingKey) -> Digest {
    Digest::of(&key_document(key).canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn role(keys: &[SigningKey], threshold: u32) -> Json {
        let ids = keys.iter().map(|key| Json::String(key_id(&key.verifying_key()).to_string()));
        object([("keyids", Json::Array(ids.collect())), ("threshold", threshold.into())])
    }

    fn document(version: u32, keys: &[SigningKey], threshold: u32, by: &[SigningKey]) -> Vec<u8> {
        let listed = keys.iter().map(|key| {
            let public = key.verifying_key();
            (key_id(&public).to_string(), key_document(&public))
        });
        let signed = object([
            ("_type", "root".into()),
            ("spec_version", "1.0.31".into()),
            ("version", version.into()),
            ("expires", "2030-01-01T00:00:00Z".into()),
            ("keys", Json::Object(listed.collect())),
            (
                "roles",
                object([("root", role(keys, threshold)), ("targets", role(keys, threshold))]),
            ),
        ]);
        let message = signed.canonical();
        let signatures = by.iter().map(|key| {
            let sig = key.sign(&message).to_bytes();
            let sig: String = sig.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
            let id = key_id(&key.verifying_key()).to_string();
            object([("keyid", id.as_str().into()), ("sig", sig.as_str().into())])
        });
        object([("signatures", Json::Array(signatures.collect())), ("signed", signed)]).canonical()
    }

    fn signed(message: &[u8], by: &[SigningKey]) -> Vec<Signature> {
        let sign = |key: &SigningKey| Signature {
            key: key_id(&key.verifying_key()),
            bytes: key.sign(message).to_bytes(),
        };
        by.iter().map(sign).collect()
    }

    #[test]
    fn a_threshold_counts_distinct_keys() {
        let keys = [key(1), key(2), key(3)];
        let root = Root::first(&document(1, &keys, 2, &keys[..2])).expect("two of two");
        assert!(root.verify_targets(b"m", &signed(b"m", &keys[1..])).is_ok());
        assert!(root.verify_targets(b"m", &signed(b"m", &[key(1), key(1)])).is_err());
        assert!(root.verify_targets(b"m", &signed(b"m", &[key(1), key(9)])).is_err());
        assert!(root.verify_targets(b"m", &signed(b"n", &keys)).is_err());
        assert!(Root::first(&document(1, &keys, 2, &keys[..1])).is_err());
    }

    #[test]
    fn a_chain_needs_the_old_and_the_new_threshold() {
        let root = Root::first(&document(1, &[key(1)], 1, &[key(1)])).expect("first");
        let next = document(2, &[key(2)], 1, &[key(1), key(2)]);
        assert_eq!(root.advance(&next).expect("both signed").version(), 2);
        for (version, by) in [(2, [key(2)]), (2, [key(1)]), (3, [key(1)]), (1, [key(1)])] {
            assert!(root.advance(&document(version, &[key(2)], 1, &by)).is_err());
        }
    }

    #[test]
    fn weak_keys_are_refused() {
        let zero = VerifyingKey::from_bytes(&[0; 32]);
        if let Ok(zero) = zero {
            assert!(read_key(key_id(&zero), &key_document(&zero)).is_err());
        }
        let mut identity = [0; 32];
        identity[0] = 1;
        let identity = VerifyingKey::from_bytes(&identity).expect("a point, of small order");
        assert!(read_key(key_id(&identity), &key_document(&identity)).is_err());
    }
}
