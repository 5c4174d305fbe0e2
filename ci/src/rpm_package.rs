//! What an RPM is made of, and turning it into signed bytes with the `rpm`
//! crate. Everything is in memory: the packages of the demo are small. It knows
//! nothing about Debian, and nothing about repositories.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rpm::{
    BuildConfig, CompressionWithLevel, Dependency, FileOptions, FileOptionsBuilder, Header,
    HeaderEntry, IndexData, IndexTag, Package, PackageBuilder, Scriptlet, SignatureHeaderBuilder,
    Timestamp,
};
use sha2::{Digest, Sha256};

use crate::metadata::hex;
use crate::pgp_key::SigningKey;

/// What a path in a package is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A regular file and its bytes.
    Regular(Vec<u8>),
    /// One name of a file that has several; names with the same `set` are one
    /// inode and carry the same bytes.
    HardLink {
        /// Any text that the names of one inode have in common.
        set: String,
        /// The bytes of the file.
        bytes: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A symbolic link and where it points.
    Symlink(String),
    /// A file the package owns but does not ship.
    Ghost,
}

/// How rpm treats a file that is not just payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Payload like any other.
    #[default]
    Plain,
    /// `%config(noreplace)`.
    Config,
    /// `%config`.
    ReplacedConfig,
    /// `%doc`.
    Doc,
    /// `%license`.
    License,
}

/// One path of a package.
#[derive(Clone, Debug)]
pub struct PackageFile {
    /// Absolute path, without a trailing slash.
    pub path: String,
    /// What is there.
    pub content: Content,
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
    /// Owner's name.
    pub user: String,
    /// Group's name.
    pub group: String,
    /// Modification time in seconds since 1970.
    pub mtime: u32,
    /// How rpm treats it.
    pub role: Role,
    /// File capabilities as `cap_to_text` writes them.
    pub capabilities: Option<String>,
    /// `%lang`: the language it is for.
    pub language: Option<String>,
    /// 1 for an elf32 file, 2 for an elf64 one; else 0.
    pub color: u32,
}

impl PackageFile {
    /// A path that belongs to root, with the usual mode of its kind.
    pub fn new(path: &str, content: Content, mtime: u32) -> Self {
        let mode = match content {
            Content::Directory => 0o755,
            Content::Symlink(_) => 0o777,
            _ => 0o644,
        };
        PackageFile {
            path: path.to_string(),
            content,
            mode,
            user: "root".into(),
            group: "root".into(),
            mtime,
            role: Role::Plain,
            capabilities: None,
            language: None,
            color: 0,
        }
    }

    fn options(&self, builder: FileOptionsBuilder) -> Result<FileOptionsBuilder> {
        let mut options = builder
            .user(&self.user)
            .group(&self.group)
            .modified_at(Timestamp(self.mtime))
            .permissions(self.mode);
        options = match self.role {
            Role::Plain => options,
            Role::Config => options.config().noreplace(),
            Role::ReplacedConfig => options.config(),
            Role::Doc => options.doc(),
            Role::License => options.license(),
        };
        if let Some(language) = &self.language {
            options = options.language(language);
        }
        match &self.capabilities {
            Some(text) => Ok(options.caps(text)?),
            None => Ok(options),
        }
    }

    fn add_to(self, builder: &mut PackageBuilder) -> Result<()> {
        match &self.content {
            Content::Regular(bytes) => {
                let options = self.options(FileOptions::new(&self.path))?;
                builder.with_file_contents(bytes.clone(), options)?;
            }
            Content::HardLink { set, bytes } => {
                let options = self.options(FileOptions::new(&self.path))?.hardlink(set);
                builder.with_file_contents(bytes.clone(), options)?;
            }
            Content::Directory => {
                builder.with_dir_entry(self.options(FileOptions::dir(&self.path))?)?;
            }
            Content::Symlink(target) => {
                builder.with_symlink(self.options(FileOptions::symlink(&self.path, target))?)?;
            }
            Content::Ghost => {
                builder.with_ghost(self.options(FileOptions::ghost(&self.path))?)?;
            }
        }
        Ok(())
    }
}

/// A scriptlet: what runs it, and its text.
#[derive(Clone, Debug)]
pub struct Script {
    /// `/bin/sh`, `<lua>` or another program; words of its own may follow it.
    pub interpreter: String,
    /// None for the `-p PROGRAM` form.
    pub body: Option<String>,
}

impl Script {
    /// A shell script.
    pub fn shell(body: impl Into<String>) -> Self {
        Script { interpreter: "/bin/sh".into(), body: Some(body.into()) }
    }

    /// A script for rpm's own Lua interpreter.
    pub fn lua(body: impl Into<String>) -> Self {
        Script { interpreter: "<lua>".into(), body: Some(body.into()) }
    }

    /// `-p PROGRAM`, with no text.
    pub fn program(path: &str) -> Self {
        Script { interpreter: path.into(), body: None }
    }

    fn scriptlet(&self) -> Scriptlet {
        let body = self.body.clone().unwrap_or_default();
        Scriptlet::new(body).prog(self.interpreter.split(' ').collect())
    }
}

/// What a trigger waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// `%triggerprein`: a package that is about to be installed.
    PreIn,
    /// `%triggerin`: a package.
    In,
    /// `%filetriggerin`: files below a path, with a priority.
    File(u32),
    /// `%transfiletriggerin`: the same, once for all packages.
    TransactionFile(u32),
}

/// A trigger: what it waits for, and what it runs.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// What kind of thing it waits for.
    pub kind: TriggerKind,
    /// Package name or path.
    pub on: String,
    /// The script.
    pub script: Script,
}

/// The ordinary scriptlets.
#[derive(Clone, Debug, Default)]
pub struct Scripts {
    /// `%pretrans`.
    pub pretrans: Option<Script>,
    /// `%posttrans`.
    pub posttrans: Option<Script>,
    /// `%pre`.
    pub pre: Option<Script>,
    /// `%post`.
    pub post: Option<Script>,
    /// `%preun`.
    pub preun: Option<Script>,
    /// `%postun`.
    pub postun: Option<Script>,
}

/// A whole package, before it is built.
#[derive(Clone, Debug)]
pub struct RpmPackage {
    /// Package name.
    pub name: String,
    /// Epoch; 0 is left out of the header.
    pub epoch: u32,
    /// Version, without a hyphen.
    pub version: String,
    /// Release, without a hyphen.
    pub release: String,
    /// `x86_64` or `noarch`.
    pub arch: String,
    /// One line.
    pub summary: String,
    /// Paragraphs.
    pub description: String,
    /// Free text.
    pub license: String,
    /// Home page, may be empty.
    pub url: String,
    /// Capabilities provided, beside the package's own name.
    pub provides: Vec<Dependency>,
    /// What must be installed with it.
    pub requires: Vec<Dependency>,
    /// What must not.
    pub conflicts: Vec<Dependency>,
    /// What it replaces.
    pub obsoletes: Vec<Dependency>,
    /// What is nice to have.
    pub recommends: Vec<Dependency>,
    /// The payload.
    pub files: Vec<PackageFile>,
    /// Scriptlets.
    pub scripts: Scripts,
    /// `%transfiletriggerin`: path prefix and shell text.
    pub triggers: Vec<(String, String)>,
    /// Triggers of every kind.
    pub more_triggers: Vec<Trigger>,
    /// Payload compression.
    pub compression: CompressionWithLevel,
}

impl RpmPackage {
    /// A package with nothing in it, compressed fast.
    pub fn new(name: &str, version: &str, release: &str, arch: &str) -> Self {
        RpmPackage {
            name: name.into(),
            epoch: 0,
            version: version.into(),
            release: release.into(),
            arch: arch.into(),
            summary: name.into(),
            description: String::new(),
            license: "see /usr/share/doc".into(),
            url: String::new(),
            provides: Vec::new(),
            requires: Vec::new(),
            conflicts: Vec::new(),
            obsoletes: Vec::new(),
            recommends: Vec::new(),
            files: Vec::new(),
            scripts: Scripts::default(),
            triggers: Vec::new(),
            more_triggers: Vec::new(),
            compression: CompressionWithLevel::Zstd(3),
        }
    }

    /// Builds the package. The build time is that of its newest file, so the
    /// same input gives the same bytes.
    pub fn build(self) -> Result<Package> {
        let name = self.name.clone();
        self.build_inner().with_context(|| format!("package {name}"))
    }

    /// Builds and signs the package.
    pub fn build_signed(self, key: &SigningKey) -> Result<Package> {
        let name = self.name.clone();
        let mut package = self.build()?;
        key.sign_package(&mut package).with_context(|| format!("cannot sign package {name}"))?;
        Ok(package)
    }

    fn build_inner(self) -> Result<Package> {
        let newest = self.files.iter().map(|f| f.mtime).max().unwrap_or(DEFAULT_BUILD_TIME);
        let config = BuildConfig::v4().compression(self.compression).source_date(Timestamp(newest));
        let mut builder = PackageBuilder::new(
            &self.name,
            &self.version,
            &self.license,
            &self.arch,
            &self.summary,
        );
        builder.using_config(config).release(&self.release).vendor("Slipway demo");
        builder.build_host("localhost").group("Unspecified");
        if self.epoch != 0 {
            builder.epoch(self.epoch);
        }
        if !self.url.is_empty() {
            builder.url(&self.url);
        }
        if !self.description.is_empty() {
            builder.description(&self.description);
        }
        let corrections = Corrections::of(&self);
        add_dependencies(&mut builder, &self);
        add_scripts(&mut builder, &self.scripts, &self.triggers);
        add_triggers(&mut builder, &self.more_triggers);
        for file in self.files {
            let path = file.path.clone();
            file.add_to(&mut builder).with_context(|| format!("path {path}"))?;
        }
        like_rpmbuild(builder.build()?, &corrections)
    }
}

/// 2024-01-01, for packages with no files.
const DEFAULT_BUILD_TIME: u32 = 1_704_067_200;

fn add_dependencies(builder: &mut PackageBuilder, package: &RpmPackage) {
    for dependency in &package.provides {
        builder.provides(dependency.clone());
    }
    for dependency in &package.requires {
        builder.requires(dependency.clone());
    }
    for dependency in &package.conflicts {
        builder.conflicts(dependency.clone());
    }
    for dependency in &package.obsoletes {
        builder.obsoletes(dependency.clone());
    }
    for dependency in &package.recommends {
        builder.recommends(dependency.clone());
    }
}

fn add_scripts(builder: &mut PackageBuilder, scripts: &Scripts, triggers: &[(String, String)]) {
    if let Some(script) = &scripts.pretrans {
        builder.pre_trans_script(script.scriptlet());
    }
    if let Some(script) = &scripts.posttrans {
        builder.post_trans_script(script.scriptlet());
    }
    if let Some(script) = &scripts.pre {
        builder.pre_install_script(script.scriptlet());
    }
    if let Some(script) = &scripts.post {
        builder.post_install_script(script.scriptlet());
    }
    if let Some(script) = &scripts.preun {
        builder.pre_uninstall_script(script.scriptlet());
    }
    if let Some(script) = &scripts.postun {
        builder.post_uninstall_script(script.scriptlet());
    }
    for (path, body) in triggers {
        builder.trans_file_trigger_in(path, None, Script::shell(body).scriptlet());
    }
}

fn add_triggers(builder: &mut PackageBuilder, triggers: &[Trigger]) {
    for Trigger { kind, on, script } in triggers {
        let script = script.scriptlet();
        match kind {
            TriggerKind::PreIn => builder.trigger_prein(on, None, script),
            TriggerKind::In => builder.trigger_in(on, None, script),
            TriggerKind::File(_) => builder.file_trigger_in(on, None, script),
            TriggerKind::TransactionFile(_) => builder.trans_file_trigger_in(on, None, script),
        };
    }
}

/// What the crate's header lacks or has too much of.
struct Corrections {
    bodyless: Vec<IndexTag>,
    colors: BTreeMap<String, u32>,
    /// Priorities of file triggers and of those of transactions.
    priorities: [Vec<u32>; 2],
}

impl Corrections {
    fn of(package: &RpmPackage) -> Self {
        let colored = package.files.iter().filter(|file| file.color != 0);
        let of = |wanted: fn(TriggerKind) -> Option<u32>| {
            package.more_triggers.iter().filter_map(|one| wanted(one.kind)).collect::<Vec<u32>>()
        };
        // Those without a priority come first, with rpm's default.
        let mut transaction = vec![DEFAULT_PRIORITY; package.triggers.len()];
        transaction.extend(of(|kind| match kind {
            TriggerKind::TransactionFile(priority) => Some(priority),
            _ => None,
        }));
        let file = of(|kind| match kind {
            TriggerKind::File(priority) => Some(priority),
            _ => None,
        });
        Self {
            bodyless: package.scripts.tags_without_body(),
            colors: colored.map(|file| (file.path.clone(), file.color)).collect(),
            priorities: [file, transaction],
        }
    }

    fn apply(&self, entries: &mut BTreeMap<u32, IndexData>) {
        let tags =
            [IndexTag::RPMTAG_FILETRIGGERPRIORITIES, IndexTag::RPMTAG_TRANSFILETRIGGERPRIORITIES];
        for (tag, priorities) in tags.into_iter().zip(&self.priorities) {
            if let Some(entry) = entries.get_mut(&(tag as u32)) {
                *entry = IndexData::Int32(priorities.clone());
            }
        }
        let get = |tag: IndexTag| entries.get(&(tag as u32));
        let (
            Some(IndexData::StringArray(names)),
            Some(IndexData::StringArray(folders)),
            Some(IndexData::Int32(index)),
        ) = (
            get(IndexTag::RPMTAG_BASENAMES),
            get(IndexTag::RPMTAG_DIRNAMES),
            get(IndexTag::RPMTAG_DIRINDEXES),
        )
        else {
            return;
        };
        let color = |(name, index): (&String, &u32)| {
            let folder = folders.get(*index as usize).map_or("", String::as_str);
            self.colors.get(&format!("{folder}{name}")).copied().unwrap_or(0)
        };
        let colors = names.iter().zip(index).map(color).collect();
        if !self.colors.is_empty() {
            entries.insert(IndexTag::RPMTAG_FILECOLORS as u32, IndexData::Int32(colors));
        }
    }
}

/// `RPMTRIGGER_DEFAULT_PRIORITY`.
const DEFAULT_PRIORITY: u32 = 1_000_000;

impl Scripts {
    /// The header tags of scripts that have a program but no text.
    fn tags_without_body(&self) -> Vec<IndexTag> {
        let all = [
            (&self.pretrans, IndexTag::RPMTAG_PRETRANS),
            (&self.posttrans, IndexTag::RPMTAG_POSTTRANS),
            (&self.pre, IndexTag::RPMTAG_PREIN),
            (&self.post, IndexTag::RPMTAG_POSTIN),
            (&self.preun, IndexTag::RPMTAG_PREUN),
            (&self.postun, IndexTag::RPMTAG_POSTUN),
        ];
        let bodyless =
            all.into_iter().filter(|(s, _)| s.as_ref().is_some_and(|s| s.body.is_none()));
        bodyless.map(|(_, tag)| tag).collect()
    }
}

/// Makes the header what rpmbuild 4.18 would write, where the crate does not:
///
/// - The crate always writes a script's text, an empty one for `-p PROGRAM`; rpm
///   would then hand the program a temporary file, so the tag has to go.
/// - The crate recommends `user(NAME)` and `group(NAME)` of every file's owner.
///   rpm orders by recommendations too, and a systemd that provides groups would
///   make one circle of the whole set.
fn like_rpmbuild(mut package: Package, corrections: &Corrections) -> Result<Package> {
    let entries = package.metadata.header.get_all_entries()?;
    let mut entries: BTreeMap<u32, IndexData> = entries.into_iter().collect();
    for tag in &corrections.bodyless {
        entries.remove(&(*tag as u32));
    }
    corrections.apply(&mut entries);
    drop_owner_wishes(&mut entries);
    replace_header(&mut package, entries)?;
    Ok(package)
}

/// Makes `entries` the header, with a signature header that fits.
fn replace_header(package: &mut Package, mut entries: BTreeMap<u32, IndexData>) -> Result<()> {
    entries.remove(&(IndexTag::RPMTAG_HEADERIMMUTABLE as u32));
    let entries = entries.into_iter().map(|(tag, data)| HeaderEntry::new(tag, data));
    package.metadata.header = Header::from_entries(entries, IndexTag::RPMTAG_HEADERIMMUTABLE);
    let bytes = package.header_bytes()?;
    package.metadata.signature = SignatureHeaderBuilder::new()
        .set_content_length(bytes.len() as u64 + package.payload.len() as u64)
        .calculate_digests(&bytes)
        .build()?;
    Ok(())
}

/// A package that says what no builder would write: with these tags, and
/// another payload. Its digests fit; it is not signed.
pub fn forge(
    mut package: Package,
    tags: &[(IndexTag, IndexData)],
    payload: Option<&[u8]>,
) -> Result<Package> {
    let entries = package.metadata.header.get_all_entries()?;
    let mut entries: BTreeMap<u32, IndexData> = entries.into_iter().collect();
    for (tag, data) in tags {
        entries.insert(*tag as u32, data.clone());
    }
    if let Some(payload) = payload {
        package.payload = payload.to_vec();
        let digest = IndexData::StringArray(vec![hex(&Sha256::digest(payload))]);
        entries.insert(IndexTag::RPMTAG_PAYLOADSHA256 as u32, digest);
    }
    replace_header(&mut package, entries)?;
    Ok(package)
}

fn drop_owner_wishes(entries: &mut BTreeMap<u32, IndexData>) {
    let tags = [
        IndexTag::RPMTAG_RECOMMENDNAME,
        IndexTag::RPMTAG_RECOMMENDVERSION,
        IndexTag::RPMTAG_RECOMMENDFLAGS,
    ];
    let Some(IndexData::StringArray(names)) = entries.get(&(tags[0] as u32)) else {
        return;
    };
    let keep: Vec<bool> =
        names.iter().map(|n| !n.starts_with("user(") && !n.starts_with("group(")).collect();
    for tag in tags.map(|tag| tag as u32) {
        match entries.get_mut(&tag) {
            Some(IndexData::StringArray(values)) => retain(values, &keep),
            Some(IndexData::Int32(values)) => retain(values, &keep),
            _ => {}
        }
        if !keep.contains(&true) {
            entries.remove(&tag);
        }
    }
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    values.retain(|_| keep.next().copied().unwrap_or(true));
}

/// The file name of a built package in a repository.
pub fn file_name(package: &Package) -> Result<String> {
    let header = &package.metadata;
    Ok(format!(
        "{}-{}-{}.{}.rpm",
        header.get_name()?,
        header.get_version()?,
        header.get_release()?,
        header.get_arch()?
    ))
}
