//! From the merged tree to the typed recipe: which keys there are, what each
//! may say, and what is assumed where one is missing.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::document::{Node, Sources, Table, Value, read_at_most};
use super::fields::{Fields, Located, parsed};
use super::flat::{FlatRecipe, flatten};
use super::words::{self, Arch, Fingerprint, ImageName, Mode, Pattern, Product, Requirement};
use super::{
    Boot, Disk, Health, KeyFile, PackagePattern, Packages, Recipe, Repository, RepositoryPlace,
    Root, RootContent, RootFile, Snapshot, Stub,
};
use crate::archive::Archive;
use crate::diagnose::Problems;
use crate::disk::format::DiskFormat;
use crate::location::without_password;
use crate::rootfs::FileSystem;

/// Keys are small; a path given by mistake may not be.
const MAX_KEY_BYTES: u64 = 1 << 20;
/// Data blocks that one block of hashes covers, less one: a safe divisor for
/// the size of the whole tree (4,096-byte blocks, 32-byte digests).
const BLOCKS_PER_HASH_BLOCK: u32 = 126;

/// Loads the recipe at `path`.
pub(super) fn recipe(path: &Path) -> Result<Recipe, Problems> {
    let mut sources = Sources::default();
    let table = sources.load(path);
    recipe_of(sources, table, path)
}

/// Loads somebody else's recipe, which was carried along with all it names.
pub(super) fn carried_recipe(path: &Path) -> Result<Recipe, Problems> {
    let mut sources = Sources::carried();
    let table = sources.load(path);
    recipe_of(sources, table, path)
}

/// The recipe that `table` says, unless something was wrong with its `sources`.
pub(super) fn recipe_of(
    mut sources: Sources,
    table: Table,
    path: &Path,
) -> Result<Recipe, Problems> {
    if !sources.problems.is_empty() {
        // What a broken file seems to lack would only distract.
        return Err(Problems::new(sources.problems));
    }
    let flat = flatten(&table, &sources);
    let recipe = whole(Fields::new(&mut sources, table, None, "the recipe"), path);
    let recipe = recipe.map(|recipe| Recipe { flat, ..recipe });
    Problems::none_or(sources.problems, recipe)
}

fn whole(mut fields: Fields<'_>, path: &Path) -> Option<Recipe> {
    schema(&mut fields);
    let name = fields.required("name", "\"demo\"", ImageName::from_str);
    let version = fields.required("version", "\"1.0.0\"", FromStr::from_str);
    let product = fields.optional("product", Product::from_str);
    let product = product.or_else(|| product_of(&mut fields, name.as_ref()?));
    let epoch = fields.number("epoch", 1..=u32::MAX, 1);
    let arch = fields.optional("arch", Arch::from_str);
    let repositories = repositories(&mut fields);
    let snapshot = fields.optional("snapshot", Snapshot::from_str);
    let packages = packages(fields.table("packages"));
    let root = root(fields.table("root"));
    let boot = boot(fields.table("boot"));
    let health = health(fields.table("health"));
    let persist = persist(fields.table("etc"));
    let disk = disk(fields.table("disk"));
    fields.finish();
    Some(Recipe {
        path: path.to_owned(),
        name: name?.value,
        version: version?.value,
        product: product?.value,
        epoch: NonZeroU32::new(epoch)?,
        arch: arch.map_or(Arch::X86_64, |arch| arch.value),
        repositories: repositories?,
        snapshot: snapshot.map(|snapshot| snapshot.value),
        packages,
        root,
        boot: boot?,
        health,
        persist,
        disk,
        flat: FlatRecipe::default(),
    })
}

fn schema(fields: &mut Fields<'_>) {
    // Taken out when the files were merged, but a key that may be meant.
    fields.has("extends");
    match fields.node("schema") {
        None => fields.missing("schema", "1"),
        Some(Node { value: Value::Integer(1), .. }) => {}
        Some(node) => {
            let hint = "this slipway reads schema 1; a newer recipe needs a newer slipway";
            fields.sources.report(&node.at, "not a schema this slipway reads", Some(hint));
        }
    }
}

fn product_of(fields: &mut Fields<'_>, name: &Located<ImageName>) -> Option<Located<Product>> {
    let text = Located { at: name.at.clone(), value: name.value.as_str().to_owned() };
    parsed(fields.sources, text, |text| {
        text.parse().map_err(|_| "too long for a product\nset `product` to a shorter one".into())
    })
}

fn repositories(fields: &mut Fields<'_>) -> Option<Vec<Repository>> {
    let nodes = fields.list("repository");
    if nodes.is_empty() {
        let hint = "a [[repository]] table with id, url and keys";
        fields.missing("repository", hint);
        return None;
    }
    let mut found: Vec<Repository> = Vec::new();
    let mut whole = true;
    for node in nodes {
        let at = node.at.clone();
        match Fields::of_node(fields.sources, node, "`[[repository]]`").and_then(repository) {
            Some(repository) if found.iter().any(|other| other.id == repository.id) => {
                let message = format!("there is already a repository `{}`", repository.id);
                fields.sources.report(&at, message, Some("give each an id of its own"));
            }
            Some(repository) => found.push(repository),
            None => whole = false,
        }
    }
    whole.then_some(found)
}

fn repository(mut fields: Fields<'_>) -> Option<Repository> {
    let id = fields.required("id", "\"base\"", FromStr::from_str);
    let url = fields.required("url", "\"https://…\"", |text| Ok(text.to_owned()));
    let place = url.as_ref().and_then(|url| repository_place(fields.sources, url));
    let mirrors = fields.texts("mirrors", |text| Ok(text.to_owned()));
    let mirrors = mirrors.iter().filter_map(|url| repository_place(fields.sources, url)).collect();
    let nodes = fields.list("keys");
    if nodes.is_empty() {
        fields.missing("keys", "[\"../keys/NAME\"]: metadata and packages must be signed");
    }
    let count = nodes.len();
    let signs = url.as_ref().map_or("the repository", |url| url.value.as_str());
    let keys: Vec<KeyFile> =
        nodes.into_iter().filter_map(|node| key_file(fields.sources, node, signs)).collect();
    let only = patterns(&mut fields, "only");
    let exclude = patterns(&mut fields, "exclude");
    let priority = fields.number("priority", 1..=99, 99);
    let cost = fields.number("cost", 0..=1_000_000, 1000);
    fields.finish();
    Some(Repository {
        id: id?.value,
        url: without_password(&url?.value),
        place: place?,
        mirrors,
        keys: (count > 0 && keys.len() == count).then_some(keys)?,
        only,
        exclude,
        priority,
        cost,
    })
}

fn repository_place(sources: &mut Sources, url: &Located<String>) -> Option<RepositoryPlace> {
    let text = url.value.trim_end_matches('/');
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("http" | "https") => Some(RepositoryPlace::Http(text.to_owned())),
        Some("file") => Some(RepositoryPlace::Folder(PathBuf::from(&text["file://".len()..]))),
        Some(other) => {
            let message = format!("`{other}://` is not supported");
            let hint = "write http://, https://, file:// or a folder";
            sources.report(&url.at, message, Some(hint));
            None
        }
        None => Some(RepositoryPlace::Folder(sources.resolve(&url.at, text))),
    }
}

/// A key: a path, or a table of path, fingerprint and where to get it.
fn key_file(sources: &mut Sources, node: Node, signs: &str) -> Option<KeyFile> {
    if let Value::Text(path) = node.value {
        return read_key(sources, &Located { at: node.at, value: path }, None, None, signs);
    }
    let mut fields = Fields::of_node(sources, node, "a key")?;
    let path = fields.required("path", "\"../keys/NAME\"", |text| Ok(text.to_owned()));
    let fingerprint = fields.optional("fingerprint", Fingerprint::from_str);
    let from = fields.text("from");
    fields.finish();
    let fingerprint = fingerprint.map(|fingerprint| fingerprint.value);
    read_key(sources, &path?, fingerprint, from.map(|from| from.value), signs)
}

fn read_key(
    sources: &mut Sources,
    written: &Located<String>,
    fingerprint: Option<Fingerprint>,
    from: Option<String>,
    signs: &str,
) -> Option<KeyFile> {
    let path = sources.resolve_own(&written.at, &written.value)?;
    match read_bounded(&path) {
        Ok(bytes) => Some(KeyFile { path, bytes, fingerprint }),
        Err(why) => {
            let source = from.unwrap_or_else(|| "the repository's owner".to_owned());
            let check = match fingerprint {
                Some(print) => format!("its fingerprint must be {}", print.as_str()),
                None => "compare its fingerprint with what the owner publishes".to_owned(),
            };
            let message = format!("cannot read the key {}: {why}", path.display());
            let hint = format!("it signs {signs}; get it from {source}, save it there; {check}");
            sources.report(&written.at, message, Some(&hint));
            None
        }
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read_at_most(path, MAX_KEY_BYTES).map_err(|error| error.to_string())?;
    bytes.ok_or_else(|| format!("longer than a key is ({MAX_KEY_BYTES} bytes)"))
}

fn patterns(fields: &mut Fields<'_>, key: &'static str) -> Vec<PackagePattern> {
    let mut found: Vec<PackagePattern> =
        fields.texts(key, PackagePattern::from_str).into_iter().map(|item| item.value).collect();
    found.sort();
    found.dedup();
    found
}

fn packages(mut fields: Fields<'_>) -> Packages {
    let exclude = patterns(&mut fields, "exclude");
    let weak = fields.switch("weak", false);
    let located = fields.texts("install", Requirement::from_str);
    let excluded: HashSet<&str> = exclude.iter().map(PackagePattern::as_str).collect();
    for item in located.iter().filter(|item| excluded.contains(item.value.parts().0)) {
        let message = format!("`{}` is both installed and excluded", item.value);
        fields.sources.report(&item.at, message, Some("remove one of the two"));
    }
    if located.is_empty() {
        fields.missing("install", "[\"bash\", …]");
    }
    let docs = fields.switch("docs", true);
    let languages = fields.has("languages").then(|| {
        let named = fields.texts("languages", words::language);
        named.into_iter().map(|item| item.value).collect()
    });
    let skipped = fields.texts("skip_scripts", words::script);
    let skip_scripts = skipped.into_iter().map(|item| item.value).collect();
    let database = fields.switch("database", true);
    fields.finish();
    let mut install: Vec<Requirement> = located.into_iter().map(|item| item.value).collect();
    install.sort();
    install.dedup();
    Packages { install, exclude, weak, docs, languages, skip_scripts, database }
}

fn root(mut fields: Fields<'_>) -> Root {
    let exclude = fields.texts("exclude", Pattern::from_str);
    let overlay = fields.texts("overlay", |text| Ok(text.to_owned()));
    let overlay = overlay.into_iter().filter_map(|item| overlay_folder(fields.sources, &item));
    let overlay = overlay.collect();
    let (mut files, mut paths): (Vec<RootFile>, HashSet<String>) = Default::default();
    for node in fields.list("file") {
        let at = node.at.clone();
        let Some(file) = Fields::of_node(fields.sources, node, "a `file`").and_then(root_file)
        else {
            continue;
        };
        if !paths.insert(file.path.to_string()) {
            let message = format!("`{}` is written twice", file.path);
            fields.sources.report(&at, message, Some("keep one of the two"));
        }
        files.push(file);
    }
    let filesystem = fields.optional("filesystem", FileSystem::from_str);
    let archives = sorted(&mut fields, "archives", Archive::from_str);
    fields.finish();
    Root {
        exclude: exclude.into_iter().map(|item| item.value).collect(),
        overlay,
        files,
        filesystem: filesystem.map_or_else(FileSystem::default, |kind| kind.value),
        archives,
    }
}

/// The words of the list `key`, sorted, each once.
fn sorted<T: Ord>(
    fields: &mut Fields<'_>,
    key: &'static str,
    parse: impl FnMut(&str) -> Result<T, String>,
) -> Vec<T> {
    let words = fields.texts(key, parse).into_iter().map(|item| item.value);
    words.collect::<std::collections::BTreeSet<T>>().into_iter().collect()
}

fn overlay_folder(sources: &mut Sources, item: &Located<String>) -> Option<PathBuf> {
    let path = sources.resolve_own(&item.at, &item.value)?;
    if path.is_dir() {
        return Some(path);
    }
    let message = format!("the overlay {} is not a folder", path.display());
    sources.report(&item.at, message, Some("paths are relative to the file they are written in"));
    None
}

fn root_file(mut fields: Fields<'_>) -> Option<RootFile> {
    let path = fields.required("path", "\"/etc/…\"", FromStr::from_str);
    let content = fields.text("content");
    let mode = fields.optional("mode", Mode::from_str);
    let link = fields.text("link");
    let both = match (&content, &link) {
        (Some(_), Some(link)) => {
            Some((link.at.clone(), "a file cannot have both content and link"))
        }
        (None, Some(_)) => mode.as_ref().map(|mode| (mode.at.clone(), "a link has no mode")),
        _ => None,
    };
    if let Some((at, message)) = both {
        fields.sources.report(&at, message, Some("remove one of the two"));
    }
    if content.is_none() && link.is_none() {
        fields.missing("content", "\"…\", or link = \"…\"");
    }
    fields.finish();
    let content = match (content, link) {
        (Some(content), _) => RootContent::File {
            content: content.value,
            mode: mode.map_or(Mode::DEFAULT, |mode| mode.value),
        },
        (None, link) => RootContent::Link(link?.value),
    };
    Some(RootFile { path: path?.value, content })
}

fn boot(mut fields: Fields<'_>) -> Option<Boot> {
    let stub = match fields.node("stub") {
        Some(node) => Fields::of_node(fields.sources, node, "`stub`").and_then(stub),
        None => {
            fields.missing("stub", "{ package = \"systemd-boot\", path = \"/usr/lib/…\" }");
            None
        }
    };
    let kernel = fields.required("kernel", "\"/boot/vmlinuz-*\"", Pattern::from_str);
    let modules = fields.texts("modules", FromStr::from_str);
    let cmdline = fields.optional("cmdline", cmdline);
    let init = fields.optional("init", FromStr::from_str);
    fields.finish();
    let init = match init {
        Some(init) => init.value,
        None => "/sbin/init".parse().ok()?,
    };
    Some(Boot {
        stub: stub?,
        kernel: kernel?.value,
        modules: modules.into_iter().map(|module| module.value).collect(),
        cmdline: cmdline.map(|cmdline| cmdline.value).unwrap_or_default(),
        init,
    })
}

fn stub(mut fields: Fields<'_>) -> Option<Stub> {
    let package = fields.required("package", "\"systemd-boot\"", Requirement::from_str);
    let path = fields.required("path", "\"/usr/lib/systemd/boot/efi/…\"", FromStr::from_str);
    fields.finish();
    Some(Stub { package: package?.value, path: path?.value })
}

fn cmdline(text: &str) -> Result<String, String> {
    // A kernel's COMMAND_LINE_SIZE on x86 is 2,048; the builder adds up to 256.
    if text.len() > 1792 || text.bytes().any(|c| !(b' '..=b'~').contains(&c)) {
        return Err("not a kernel command line\none line of at most 1792 ASCII characters".into());
    }
    let own = ["roothash=", "panic="];
    match text.split(' ').find(|word| own.iter().any(|own| word.starts_with(own))) {
        Some(word) => Err(format!("`{word}` is set by slipway itself\nleave it away")),
        None => Ok(text.to_owned()),
    }
}

fn health(mut fields: Fields<'_>) -> Health {
    let timeout = fields.number("timeout_seconds", 5..=3600, 60);
    let tries = fields.number("tries", 1..=7, 3);
    fields.finish();
    Health {
        timeout: Duration::from_secs(timeout.into()),
        tries: u8::try_from(tries).unwrap_or(u8::MAX),
    }
}

fn persist(mut fields: Fields<'_>) -> Vec<super::ImagePath> {
    let paths = fields.texts("persist", |text| match text.parse() {
        Ok(path) if text.starts_with("/etc/") => Ok(path),
        Ok(_) => Err(format!("`{text}` is not below /etc\nother paths live on the data partition")),
        Err(why) => Err(why),
    });
    fields.finish();
    paths.into_iter().map(|path| path.value).collect()
}

fn disk(mut fields: Fields<'_>) -> Disk {
    let disk = Disk {
        esp_mib: fields.number("esp_mib", 4..=1024, 8),
        uki_mib: fields.number("uki_mib", 8..=1024, 64),
        root_mib: fields.number("root_mib", 8..=65536, 512),
        data_mib: fields.number("data_mib", 16..=1_048_576, 64),
        verity_mib: 0,
        formats: sorted(&mut fields, "formats", DiskFormat::from_str),
    };
    let needed = disk.root_mib.div_ceil(BLOCKS_PER_HASH_BLOCK) + 1;
    let verity = fields.node("verity_mib");
    let at = verity.as_ref().map(|node| node.at.clone());
    let verity_mib = fields.number_of(verity, "verity_mib", 1..=1024, needed.max(16));
    if let Some(at) = at.filter(|_| verity_mib < needed) {
        let message = format!("too small for the hash tree of a root of {} MiB", disk.root_mib);
        fields.sources.report(&at, message, Some(&format!("at least {needed} is needed")));
    }
    fields.finish();
    let formats = if disk.formats.is_empty() { vec![DiskFormat::Raw] } else { disk.formats };
    Disk { verity_mib, formats, ..disk }
}
