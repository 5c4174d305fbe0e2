//! The OpenPGP key a repository is signed with: made at run time, kept beside
//! the repository in the cache, never part of the source.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use pgp::composed::{
    ArmorOptions, Deserializable, DetachedSignature, EncryptionCaps, KeyType,
    SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password};
use rpm::Package;
use rpm::signature::pgp::Signer;

/// A secret key that signs packages and metadata.
pub struct SigningKey {
    secret: SignedSecretKey,
    signer: Signer,
}

impl SigningKey {
    /// Makes a new key. RSA with 2048 bits, like the keys of the distributions
    /// this stands in for; rpm 4.18 and dnf accept it.
    pub fn generate(user_id: &str) -> Result<Self> {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Rsa(2048))
            .can_certify(true)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .primary_user_id(user_id.into());
        let parameters = parameters.build().context("cannot describe the signing key")?;
        let secret =
            parameters.generate(rand::rngs::OsRng).context("cannot make the signing key")?;
        Self::from_secret(secret)
    }

    /// Reads the key at `path`, or makes one and keeps it there, readable by its
    /// owner only.
    pub fn load_or_generate(path: &Path, user_id: &str) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => {
                let (secret, _) = SignedSecretKey::from_string(&text)
                    .with_context(|| format!("{} holds no secret key", path.display()))?;
                Self::from_secret(secret)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate(user_id)?;
                key.store(path)?;
                Ok(key)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn from_secret(secret: SignedSecretKey) -> Result<Self> {
        let armored = secret.to_armored_string(ArmorOptions::default())?;
        let signer = Signer::from_asc(&armored).context("the rpm library refuses the key")?;
        Ok(SigningKey { secret, signer })
    }

    fn store(&self, path: &Path) -> Result<()> {
        let armored = self.secret.to_armored_string(ArmorOptions::default())?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all(armored.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The public key, ASCII-armoured.
    pub fn public_armored(&self) -> Result<String> {
        let public = SignedPublicKey::from(self.secret.clone());
        Ok(public.to_armored_string(ArmorOptions::default())?)
    }

    /// Signs a package's header in place. The signature carries the key's own
    /// time, so that signing twice gives the same bytes.
    pub fn sign_package(&self, package: &mut Package) -> Result<()> {
        let made = self.secret.primary_key.created_at().as_secs();
        package.sign_with_timestamp(self.signer.clone(), made)?;
        Ok(())
    }

    /// A detached, ASCII-armoured signature over `data`.
    pub fn sign_detached(&self, data: &[u8]) -> Result<String> {
        let signature = DetachedSignature::sign_binary_data(
            rand::rngs::OsRng,
            &self.secret.primary_key,
            &Password::empty(),
            HashAlgorithm::Sha256,
            data,
        )
        .map_err(|error| anyhow!("cannot sign: {error}"))?;
        Ok(signature.to_armored_string(ArmorOptions::default())?)
    }
}
