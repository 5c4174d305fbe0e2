//! A tiny signed repository and a recipe for it, made in a temporary folder:
//! what the tests of locking and fetching work on. Only for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use formats::Digest;
use pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::types::KeyDetails;
use rpm::signature::Signing;
use rpm::signature::pgp::Signer;
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder, Timestamp};

use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;

/// Whom something is signed by. The keys are made when a test first needs them.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Key {
    Trusted,
    Other,
    None,
}

static TRUSTED: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("trusted"));
static OTHER: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("other"));

fn generate(name: &str) -> SignedSecretKey {
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .can_encrypt(EncryptionCaps::None)
        .primary_user_id(format!("Slipway test ({name}) <{name}@example.invalid>"));
    let parameters = parameters.build().expect("a description");
    parameters.generate(rand::rngs::OsRng).expect("a key")
}

impl Key {
    fn secret(self) -> Option<&'static SignedSecretKey> {
        match self {
            Self::Trusted => Some(&TRUSTED),
            Self::Other => Some(&OTHER),
            Self::None => None,
        }
    }

    fn signer(self) -> Option<Signer> {
        let armoured = self.secret()?.to_armored_string(ArmorOptions::default()).expect("text");
        Some(Signer::from_asc(&armoured).expect("a key"))
    }

    /// The public half.
    pub fn public(self) -> String {
        let public = self.secret().cloned().map(SignedPublicKey::from);
        public.map_or_else(String::new, |key| {
            key.to_armored_string(ArmorOptions::default()).expect("text")
        })
    }

    pub fn sign(self, data: &[u8]) -> Option<Vec<u8>> {
        Some(self.signer()?.sign(data, signed_at()).expect("signature"))
    }
}

/// When everything is signed: as the keys are made.
fn signed_at() -> Timestamp {
    Timestamp(
        TRUSTED.primary_key.created_at().as_secs().max(OTHER.primary_key.created_at().as_secs()),
    )
}

/// An RPM of one file.
pub(crate) fn rpm(name: &str, version: &str, requires: &[&str], key: Key) -> Vec<u8> {
    let config = BuildConfig::v4().compression(CompressionType::Gzip).source_date(signed_at());
    let mut builder = PackageBuilder::new(name, version, "MIT", "noarch", "a test");
    builder.using_config(config).release("1");
    let path = format!("/usr/share/{name}/file");
    builder
        .with_file_contents(format!("contents of {name}"), FileOptions::new(path))
        .expect("file");
    for required in requires {
        builder.requires(Dependency::any(*required));
    }
    let mut package = builder.build().expect("package");
    if let Some(signer) = key.signer() {
        package.sign_with_timestamp(&signer, signed_at()).expect("signature");
    }
    let mut bytes = Vec::new();
    package.write(&mut bytes).expect("bytes");
    bytes
}

/// A repository, a recipe, tools and a store in one temporary folder.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    packages: Vec<(String, String, Vec<String>, Vec<u8>)>,
    /// Whom `repomd.xml` is signed by.
    pub metadata_key: Key,
    /// Whether metadata is packed with zstd instead of gzip.
    pub zstd: bool,
}

impl Fixture {
    /// `app`, which needs `lib` and `/usr/share/data/file`, and the package
    /// of the stub.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut fixture =
            Self { folder, packages: Vec::new(), metadata_key: Key::Trusted, zstd: true };
        fixture.add("app", "1.0", &["lib", "/usr/share/data/file"], Key::Trusted);
        fixture.add("lib", "2.0", &[], Key::Trusted);
        fixture.add("data", "3.0", &[], Key::Trusted);
        fixture.add("stub", "4.0", &["nothing-that-exists"], Key::Trusted);
        fixture.write_file("keys/trusted", Key::Trusted.public());
        fixture.write_file("keys/other", Key::Other.public());
        for tool in crate::lock::TOOLS {
            fixture.write_file(&format!("tools/{tool}"), tool);
        }
        fixture.write_recipe("[\"app\"]");
        fixture.publish();
        fixture
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn write_file(&self, relative: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("folder");
        fs::write(path, contents).expect("file");
    }

    pub fn add(&mut self, name: &str, version: &str, requires: &[&str], key: Key) {
        let bytes = rpm(name, version, requires, key);
        self.add_bytes(name, version, requires, bytes);
    }

    /// A package whose file holds `bytes`, whatever the metadata says of it.
    pub fn add_bytes(&mut self, name: &str, version: &str, requires: &[&str], bytes: Vec<u8>) {
        let requires = requires.iter().map(ToString::to_string).collect();
        self.packages.retain(|(other, ..)| other != name);
        self.packages.push((name.to_owned(), version.to_owned(), requires, bytes));
    }

    pub fn package_file(&self, name: &str) -> PathBuf {
        self.path(&format!("repository/packages/{name}.rpm"))
    }

    /// Writes packages and metadata.
    pub fn publish(&self) {
        let (mut primary, mut filelists) = (String::new(), String::new());
        for (name, version, requires, bytes) in &self.packages {
            self.write_file(&format!("repository/packages/{name}.rpm"), bytes);
            primary += &primary_entry(name, version, requires, bytes);
            filelists += &format!(
                "<package pkgid=\"{}\" name=\"{name}\" arch=\"noarch\"><version epoch=\"0\" ver=\"{version}\" \
                 rel=\"1\"/><file>/usr/share/{name}/file</file></package>\n",
                Digest::of(bytes)
            );
        }
        let mut repomd = String::from("<?xml version=\"1.0\"?>\n<repomd>\n");
        repomd += &self.metadata("primary", &format!("<metadata>{primary}</metadata>"));
        repomd += &self.metadata("filelists", &format!("<filelists>{filelists}</filelists>"));
        repomd += "</repomd>\n";
        self.publish_repomd(&repomd);
    }

    /// Writes and signs `repomd.xml`.
    pub fn publish_repomd(&self, repomd: &str) {
        self.write_file("repository/repodata/repomd.xml", repomd);
        let signature = self.path("repository/repodata/repomd.xml.asc");
        match self.metadata_key.sign(repomd.as_bytes()) {
            Some(bytes) => fs::write(signature, bytes).expect("signature"),
            None => drop(fs::remove_file(signature)),
        }
    }

    fn metadata(&self, kind: &str, text: &str) -> String {
        let (packed, extension) = if self.zstd {
            (zstd::encode_all(text.as_bytes(), 3).expect("zstd"), "zst")
        } else {
            use std::io::Write;
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).expect("gzip");
            (encoder.finish().expect("gzip"), "gz")
        };
        let href = format!("repodata/{kind}.xml.{extension}");
        self.write_file(&format!("repository/{href}"), &packed);
        format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum>\
             <open-checksum type=\"sha256\">{}</open-checksum><location href=\"{href}\"/>\
             <size>{}</size><open-size>{}</open-size></data>\n",
            Digest::of(&packed),
            Digest::of(text.as_bytes()),
            packed.len(),
            text.len()
        )
    }

    pub fn recipe_path(&self) -> PathBuf {
        self.path("recipes/test.toml")
    }

    /// Writes the recipe, which installs `install`.
    pub fn write_recipe(&self, install: &str) {
        self.write_file(
            "recipes/test.toml",
            format!(
                "schema = 1\nname = \"test\"\nversion = \"1.0\"\n\
                 [[repository]]\nid = \"base\"\nurl = \"../repository\"\nkeys = [\"../keys/trusted\"]\n\
                 [packages]\ninstall = {install}\n\
                 [boot]\nstub = {{ package = \"stub\", path = \"/usr/share/stub/file\" }}\n\
                 kernel = \"/boot/vmlinuz-*\"\n"
            ),
        );
    }

    pub fn recipe(&self) -> Recipe {
        Recipe::load(&self.recipe_path()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    pub fn store(&self) -> Store {
        Store::open(self.path("store")).expect("store")
    }

    /// Resolves the recipe.
    pub fn lock(&self) -> Result<crate::lock::Lock, String> {
        let recipe = self.recipe();
        let whole = |error: &dyn std::error::Error| chain(error);
        let repositories =
            crate::repository::Repositories::open(&recipe, &self.store(), &Progress::Quiet)
                .map_err(|error| whole(&error))?;
        let request = crate::solve::Request::of(&recipe);
        let resolution =
            crate::solve::resolve(&repositories, &request).map_err(|error| whole(&error))?;
        let tools = crate::lock::tools_in(&self.path("tools")).map_err(|error| whole(&error))?;
        Ok(crate::lock::Lock::new(&recipe, &repositories, &resolution, tools))
    }
}

/// The error and all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// The files below `folder`, relative to it.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path.strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

fn primary_entry(name: &str, version: &str, requires: &[String], bytes: &[u8]) -> String {
    let entries: String =
        requires.iter().map(|required| format!("<rpm:entry name=\"{required}\"/>")).collect();
    format!(
        "<package type=\"rpm\"><name>{name}</name><arch>noarch</arch>\
         <version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\
         <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum>\
         <summary>a &lt;test&gt; &amp; more</summary>\
         <size package=\"{}\" installed=\"1\" archive=\"1\"/>\
         <location href=\"packages/{name}.rpm\"/><format><rpm:license>MIT</rpm:license>\
         <rpm:provides><rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"{version}\" \
         rel=\"1\"/></rpm:provides><rpm:requires>{entries}</rpm:requires></format></package>\n",
        Digest::of(bytes),
        bytes.len()
    )
}
