//! The bytes of `/etc/ld.so.cache` (`struct cache_file_new` in glibc's
//! `sysdeps/generic/dl-cache.h`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const LITTLE_ENDIAN: u8 = 2;
/// `cache_extension_magic`, and the numbers of its sections.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const GENERATOR: u32 = 0;
const HWCAPS: u32 = 1;
/// `DL_CACHE_HWCAP_EXTENSION`.
const HWCAPS_BIT: u64 = 1 << 62;

/// One library that can be found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name it is asked for by.
    pub soname: String,
    /// Where it is.
    pub path: String,
    /// Kind, as in [`super::elf`].
    pub flags: u32,
    /// Name of the `glibc-hwcaps` folder it is in.
    pub hwcaps: Option<String>,
}

/// The cache; none if it would be larger than its numbers can count. Entries
/// that come first in `entries` are found first.
pub fn encode(mut entries: Vec<Entry>, generator: &str) -> Option<Vec<u8>> {
    entries.sort_by(order);
    let hwcaps: BTreeSet<&str> = entries.iter().filter_map(|e| e.hwcaps.as_deref()).collect();
    let hwcaps: Vec<&str> = hwcaps.into_iter().collect();
    let texts = entries.iter().flat_map(|entry| [entry.soname.as_str(), entry.path.as_str()]);
    let strings = Strings::of(texts.chain(hwcaps.iter().copied()));
    let base = HEADER_BYTES + entries.len() * ENTRY_BYTES;
    let offset_of = |text: &str| u32::try_from(base + strings.offsets[text]).ok();
    let extensions = (base + strings.bytes.len()).next_multiple_of(4);

    let mut cache = MAGIC.to_vec();
    cache.extend(u32::try_from(entries.len()).ok()?.to_le_bytes());
    cache.extend(u32::try_from(strings.bytes.len()).ok()?.to_le_bytes());
    cache.extend([LITTLE_ENDIAN, 0, 0, 0]);
    cache.extend(u32::try_from(extensions).ok()?.to_le_bytes());
    cache.resize(HEADER_BYTES, 0);
    for entry in &entries {
        let index = |name: &str| hwcaps.iter().position(|known| *known == name).unwrap_or(0);
        let hwcap = entry.hwcaps.as_deref().map_or(0, |name| HWCAPS_BIT | index(name) as u64);
        cache.extend(entry.flags.to_le_bytes());
        cache.extend(offset_of(&entry.soname)?.to_le_bytes());
        cache.extend(offset_of(&entry.path)?.to_le_bytes());
        cache.extend([0; 4]);
        cache.extend(hwcap.to_le_bytes());
    }
    cache.extend(&strings.bytes);
    cache.resize(extensions, 0);
    let hwcaps = hwcaps.iter().map(|name| offset_of(name)).collect::<Option<Vec<u32>>>()?;
    extend(&mut cache, &hwcaps, generator)?;
    Some(cache)
}

/// Appends the extensions: who wrote the cache, and the names of `glibc-hwcaps`
/// folders.
fn extend(cache: &mut Vec<u8>, hwcaps: &[u32], generator: &str) -> Option<()> {
    let sections = if hwcaps.is_empty() { 1 } else { 2 };
    let hwcaps_offset = u32::try_from(cache.len() + 8 + sections * 16).ok()?;
    let hwcaps_size = u32::try_from(hwcaps.len() * 4).ok()?;
    let generator_size = u32::try_from(generator.len()).ok()?;
    let mut words = vec![EXTENSION_MAGIC, u32::from(sections == 2) + 1];
    words.extend([GENERATOR, 0, hwcaps_offset.checked_add(hwcaps_size)?, generator_size]);
    if !hwcaps.is_empty() {
        words.extend([HWCAPS, 0, hwcaps_offset, hwcaps_size]);
    }
    words.extend(hwcaps);
    words.iter().for_each(|word| cache.extend(word.to_le_bytes()));
    cache.extend(generator.bytes());
    Some(())
}

/// The order entries are searched in: names descending, so that the linker can
/// halve; those for special processors before the plain ones.
fn order(a: &Entry, b: &Entry) -> Ordering {
    compare_versions(&b.soname, &a.soname).then_with(|| b.flags.cmp(&a.flags)).then_with(|| match (
        &a.hwcaps, &b.hwcaps,
    ) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    })
}

/// `_dl_cache_libcmp`: numbers in names compare as numbers.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let Some(first) = a.first() {
        let second = b.first().copied().unwrap_or(0);
        match (first.is_ascii_digit(), second.is_ascii_digit()) {
            (true, true) => {
                let (number_a, rest_a) = number(a);
                let (number_b, rest_b) = number(b);
                if number_a != number_b {
                    return number_a.cmp(&number_b);
                }
                (a, b) = (rest_a, rest_b);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if *first != second => return first.cmp(&second),
            (false, false) => (a, b) = (&a[1..], &b[1..]),
        }
    }
    if b.is_empty() { Ordering::Equal } else { Ordering::Less }
}

fn number(text: &[u8]) -> (u64, &[u8]) {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    let add =
        |number: u64, digit: &u8| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    (digits.iter().fold(0, add), rest)
}

/// Texts one after the other, each ended by a NUL; one that another ends with
/// is not stored again (`elf/stringtable.c`).
struct Strings<'a> {
    bytes: Vec<u8>,
    offsets: BTreeMap<&'a str, usize>,
}

impl<'a> Strings<'a> {
    fn of(texts: impl Iterator<Item = &'a str>) -> Self {
        let texts: BTreeSet<&str> = texts.collect();
        let mut texts: Vec<&str> = texts.into_iter().collect();
        // By their ends, descending, so that a text comes right after those
        // that end with it.
        texts.sort_by(|a, b| b.bytes().rev().cmp(a.bytes().rev()));
        let (mut bytes, mut offsets) = (Vec::new(), BTreeMap::new());
        let mut previous = "";
        for text in texts {
            if offsets.is_empty() || !previous.ends_with(text) {
                offsets.insert(text, bytes.len());
                bytes.extend(text.bytes());
                bytes.push(0);
            } else {
                offsets.insert(text, bytes.len() - 1 - text.len());
            }
            previous = text;
        }
        Self { bytes, offsets }
    }
}
