//! Which kernel modules the initrd needs, and the order to load them in: read
//! from the modules themselves, since `modules.dep` is made by a scriptlet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use object::{Object, ObjectSection};

/// A module as it goes into the initrd: uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// its name, with underscores
    pub name: String,
    /// the ELF file
    pub bytes: Vec<u8>,
}

/// No module is larger uncompressed.
pub(crate) const MAX_MODULE_BYTES: u64 = 64 << 20;
/// What modules say of themselves, as far as it is kept: that of the 1,121
/// modules of Debian's cloud kernel comes to 2.4 MB.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// What `xz -9` needs, and some.
const XZ_MEMORY_BYTES: u64 = 128 << 20;

/// Why the modules cannot be gathered.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Neither a file nor built in.
    #[error("the kernel has no module {name:?}{needed_by}")]
    Missing {
        /// the module
        name: String,
        /// ", needed by …", or nothing
        needed_by: String,
    },
    /// The file is not one.
    #[error("{path} is not a kernel module")]
    NotAModule {
        /// its path in the tree
        path: String,
    },
    /// It does not decompress.
    #[error("cannot decompress {path}")]
    Compressed {
        /// its path in the tree
        path: String,
        /// why
        source: std::io::Error,
    },
    /// All modules together have more to say than is kept.
    #[error(
        "{path}: with it the kernel's modules have more than {} MiB to say of themselves",
        MAX_KEPT_BYTES >> 20
    )]
    TooMuch {
        /// the path of the one that was too much
        path: String,
    },
}

/// How much may still be kept of what a kernel's modules say of themselves.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self::of(MAX_KEPT_BYTES)
    }
}

impl Room {
    /// For so many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Takes it for `texts` of the module at `path`. Each of them costs its
    /// place in a list besides, as there may be many short ones.
    pub(crate) fn take<'t>(
        &self,
        path: &str,
        texts: impl IntoIterator<Item = &'t String>,
    ) -> Result<(), ModuleError> {
        let bytes = texts.into_iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
        let rest = |left: usize| left.checked_sub(bytes);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        taken.map(drop).map_err(|_| ModuleError::TooMuch { path: path.to_owned() })
    }
}

#[derive(Debug)]
struct Info {
    path: String,
    depends: Vec<String>,
    softdeps: Vec<String>,
}

/// What every module of a kernel says of itself.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Info>,
    aliases: BTreeMap<String, BTreeSet<String>>,
    builtin: BTreeSet<String>,
    room: Room,
}

/// What is still to be done to find an order.
enum Step<'n, 'i> {
    /// Load this module, which another may need.
    Module(&'n str, Option<&'n str>),
    /// Load whatever has this name.
    Wish(&'n str),
    /// What it needs is there: it comes next.
    Loaded(&'i str),
}

/// `path/to/dm-verity.ko.xz` is the module `dm_verity`.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, rest) = file.split_once(".ko")?;
    ["", ".gz", ".xz", ".zst"].contains(&rest).then(|| normal(stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The uncompressed module in a file of this path.
pub fn decompress(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
    let failed = |source| ModuleError::Compressed { path: path.into(), source };
    let mut reader: Box<dyn Read> = match path.rsplit('.').next() {
        Some("gz") => Box::new(flate2::read::GzDecoder::new(bytes.as_slice())),
        Some("xz") => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, 0);
            let stream = stream.map_err(|error| failed(error.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(bytes.as_slice(), stream))
        }
        Some("zst") => {
            Box::new(zstd::stream::read::Decoder::new(bytes.as_slice()).map_err(failed)?)
        }
        _ => return Ok(bytes),
    };
    let mut out = Vec::new();
    reader.by_ref().take(MAX_MODULE_BYTES + 1).read_to_end(&mut out).map_err(failed)?;
    if out.len() as u64 > MAX_MODULE_BYTES {
        return Err(failed(std::io::Error::other("larger than 64 MiB")));
    }
    Ok(out)
}

impl ModuleIndex {
    /// Takes in one file below `/usr/lib/modules/<release>/`, with its
    /// uncompressed bytes. Files that are not modules are passed over.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), ModuleError> {
        let Some(name) = name_of(path) else {
            return Ok(());
        };
        let not_one = || ModuleError::NotAModule { path: path.into() };
        let elf = object::File::parse(bytes).map_err(|_| not_one())?;
        let section = elf.section_by_name(".modinfo").ok_or_else(not_one)?;
        let modinfo = section.data().map_err(|_| not_one())?;
        let mut info = Info { path: path.into(), depends: Vec::new(), softdeps: Vec::new() };
        let mut aliases = BTreeSet::new();
        for entry in modinfo.split(|byte| *byte == 0) {
            match String::from_utf8_lossy(entry).split_once('=') {
                Some(("depends", list)) => {
                    info.depends = list.split(',').filter(|n| !n.is_empty()).map(normal).collect();
                }
                Some(("softdep", list)) => info.softdeps.extend(pre_softdeps(list)),
                Some(("alias", alias)) => drop(aliases.insert(normal(alias))),
                _ => {}
            }
        }
        let names = std::iter::repeat_n(&name, aliases.len());
        let texts = aliases.iter().chain(names).chain(&info.depends).chain(&info.softdeps);
        self.room.take(path, texts)?;
        for alias in aliases {
            self.aliases.entry(alias).or_default().insert(name.clone());
        }
        self.modules.insert(name, info);
        Ok(())
    }

    /// Takes in the text of `modules.builtin`.
    pub fn add_builtin(&mut self, text: &str) {
        self.builtin.extend(text.lines().filter_map(name_of));
    }

    /// Paths of the modules needed for `wanted`, in the order to load them.
    /// What is built into the kernel needs no file. Chains of needs are as long
    /// as the modules make them, so it is no recursion.
    pub fn load_order(&self, wanted: &[String]) -> Result<Vec<&str>, ModuleError> {
        let wanted: Vec<String> = wanted.iter().map(|name| normal(name)).collect();
        let mut steps: Vec<Step<'_, '_>> =
            wanted.iter().rev().map(|name| Step::Module(name, None)).collect();
        let (mut order, mut seen, mut wishes) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        while let Some(step) = steps.pop() {
            match step {
                Step::Loaded(path) => order.push(path),
                Step::Wish(name) => {
                    // Whoever has the same wish meanwhile goes on with the rest
                    // of what it means, so each is looked at once.
                    let choices = wishes.entry(name).or_insert_with(|| self.choices(name));
                    if let Some(choice) = choices.next() {
                        steps.extend([Step::Wish(name), Step::Module(choice, None)]);
                    }
                }
                // One that names itself again, through others, is not loaded twice.
                Step::Module(name, _) if self.builtin.contains(name) || !seen.insert(name) => {}
                Step::Module(name, needed_by) => {
                    let info = self.info(name, needed_by)?;
                    steps.push(Step::Loaded(&info.path));
                    let needs = info.depends.iter().rev();
                    steps.extend(needs.map(|needed| Step::Module(needed, Some(name))));
                    steps.extend(info.softdeps.iter().rev().map(|soft| Step::Wish(soft)));
                }
            }
        }
        Ok(order)
    }

    fn info(&self, name: &str, needed_by: Option<&str>) -> Result<&Info, ModuleError> {
        self.modules.get(name).ok_or_else(|| {
            let needed_by = needed_by.map(|by| format!(", needed by {by}")).unwrap_or_default();
            ModuleError::Missing { name: name.into(), needed_by }
        })
    }

    /// A wish: an alias may name several modules, or none that exist.
    fn choices<'i>(&'i self, soft: &'i str) -> impl Iterator<Item = &'i str> + use<'i> {
        let named = self.modules.contains_key(soft).then_some(soft);
        let aliased = self.aliases.get(soft).into_iter().flatten().map(String::as_str);
        named.into_iter().chain(aliased)
    }
}

/// The `pre:` part of a softdep: `pre: a b post: c` gives a and b.
fn pre_softdeps(list: &str) -> Vec<String> {
    let mut pre = false;
    let mut names = Vec::new();
    for word in list.split_whitespace() {
        match word {
            "pre:" => pre = true,
            "post:" => pre = false,
            name if pre => names.push(normal(name)),
            _ => {}
        }
    }
    names
}

/// A module from its path and bytes.
pub fn module(path: &str, bytes: Vec<u8>) -> Result<Module, ModuleError> {
    let name = name_of(path).ok_or_else(|| ModuleError::NotAModule { path: path.into() })?;
    Ok(Module { name, bytes: decompress(path, bytes)? })
}

/// The least that counts as a module.
#[cfg(test)]
pub(crate) mod testing {
    /// One with this `.modinfo`.
    pub fn elf(info: &[u8]) -> Vec<u8> {
        file(&[(b".modinfo", 1, 0, 0, info)])
    }

    /// One whose symbol table names the same text so many times.
    pub fn elf_with_symbols(name: &str, count: usize) -> Vec<u8> {
        let texts = [b"\0", name.as_bytes(), b"\0"].concat();
        let undefined = [&1_u32.to_le_bytes()[..], &[0x10], &[0; 19]].concat();
        let symbols = [vec![0; 24], undefined.repeat(count)].concat();
        file(&[(b".symtab", 2, 2, 24, &symbols), (b".strtab", 3, 0, 0, &texts)])
    }

    /// A section: its name, kind, link, size of an entry, and bytes.
    type Section<'a> = (&'a [u8], u32, u32, u64, &'a [u8]);

    fn file(sections: &[Section<'_>]) -> Vec<u8> {
        let mut names = vec![0];
        let mut headers = vec![0; 64];
        let mut bodies = Vec::new();
        let names_section: Section<'_> = (b".shstrtab", 3, 0, 0, b"");
        for (name, kind, link, entry, body) in sections.iter().chain([&names_section]) {
            let name_at = u32::try_from(names.len()).unwrap();
            names.extend_from_slice(name);
            names.push(0);
            let body = if *name == names_section.0 { &names } else { *body };
            let place = [64 + bodies.len() as u64, body.len() as u64];
            headers.extend([name_at, *kind].map(u32::to_le_bytes).concat());
            headers.extend([0, 0, place[0], place[1]].map(u64::to_le_bytes).concat());
            headers.extend([*link, 1].map(u32::to_le_bytes).concat());
            headers.extend([8, *entry].map(u64::to_le_bytes).concat());
            bodies.extend_from_slice(body);
            bodies.resize(bodies.len().next_multiple_of(8), 0);
        }
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([1, 62].map(u16::to_le_bytes).concat());
        elf.extend(1_u32.to_le_bytes());
        elf.extend([0, 0, 64 + bodies.len() as u64].map(u64::to_le_bytes).concat());
        elf.extend([0; 4]);
        let count = u16::try_from(sections.len() + 2).unwrap();
        elf.extend([64, 0, 0, 64, count, count - 1].map(u16::to_le_bytes).concat());
        [elf, bodies, headers].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(modules: &[(&str, &[&str], &[&str])]) -> ModuleIndex {
        let mut index = ModuleIndex::default();
        for (name, depends, softdeps) in modules {
            let info = Info {
                path: format!("kernel/{name}.ko"),
                depends: depends.iter().map(ToString::to_string).collect(),
                softdeps: softdeps.iter().map(ToString::to_string).collect(),
            };
            index.modules.insert((*name).into(), info);
        }
        index
    }

    fn order(index: &ModuleIndex, wanted: &[&str]) -> Result<Vec<String>, ModuleError> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        Ok(index.load_order(&wanted)?.into_iter().map(ToOwned::to_owned).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let mut index = index(&[
            ("dm_verity", &["dm_mod", "dm_bufio"], &[]),
            ("dm_bufio", &["dm_mod"], &[]),
            ("dm_mod", &[], &["nothing_here"]),
            ("ext4", &["jbd2"], &["crc32c"]),
            ("jbd2", &[], &[]),
            ("crc32c_generic", &[], &[]),
        ]);
        index.aliases.entry("crc32c".into()).or_default().insert("crc32c_generic".into());
        index.add_builtin("kernel/fs/overlayfs/overlay.ko\n");
        assert_eq!(
            order(&index, &["dm-verity", "ext4", "overlay"]).expect("all there"),
            ["dm_mod", "dm_bufio", "dm_verity", "crc32c_generic", "jbd2", "ext4"]
                .map(|name| format!("kernel/{name}.ko"))
        );
        let missing = order(&index, &["nfs"]).expect_err("not there").to_string();
        assert_eq!(missing, "the kernel has no module \"nfs\"");
    }

    #[test]
    fn names_and_softdeps() {
        assert_eq!(name_of("a/dm-verity.ko.xz").as_deref(), Some("dm_verity"));
        assert_eq!(name_of("a/modules.dep"), None);
        assert_eq!(name_of("a/x.ko.txt"), None);
        assert_eq!(pre_softdeps("pre: crc32c a-b post: c"), ["crc32c", "a_b"]);
    }

    #[test]
    fn a_chain_as_long_as_it_likes_needs_no_stack() {
        let mut index = ModuleIndex::default();
        let name = |at: usize| format!("m{at}");
        for at in 0..20_000 {
            let path = format!("kernel/m{at}.ko");
            let depends = if at < 19_999 { vec![name(at + 1)] } else { Vec::new() };
            index.modules.insert(name(at), Info { path, depends, softdeps: Vec::new() });
        }
        let small = std::thread::Builder::new().stack_size(64 << 10);
        let run = move || order(&index, &["m0"]).map(|found| found[0].clone());
        let first = small.spawn(run).unwrap().join().unwrap();
        assert_eq!(first.expect("all there"), "kernel/m19999.ko");
    }

    #[test]
    fn a_wish_within_the_same_wish_goes_on_with_the_rest() {
        let mut index = index(&[("want", &[], &["x"]), ("a", &[], &["x"]), ("b", &["c"], &[])]);
        index.modules.insert(
            "c".into(),
            Info { path: "kernel/c.ko".into(), depends: Vec::new(), softdeps: vec!["x".into()] },
        );
        index.aliases.insert("x".into(), ["a", "b"].map(str::to_owned).into());
        let expected = ["c", "b", "a", "want"].map(|name| format!("kernel/{name}.ko"));
        assert_eq!(order(&index, &["want"]).expect("all there"), expected);
    }

    #[test]
    fn what_is_kept_of_all_modules_is_bounded() {
        let elf = testing::elf(b"alias=a\0depends=b,c\0softdep=pre: d\0description=none of it\0");
        let once = "a".len() + "one".len() + "bcd".len() + 5 * 24;
        let mut index = ModuleIndex { room: Room::of(2 * once), ..ModuleIndex::default() };
        index.add("kernel/one.ko", &elf).expect("room for it");
        index.add("kernel/two.ko", &elf).expect("room for it");
        let error = index.add("kernel/six.ko", &elf).expect_err("no room").to_string();
        assert!(error.starts_with("kernel/six.ko: "), "{error}");
    }
}
