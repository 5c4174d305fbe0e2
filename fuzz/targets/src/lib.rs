//! Every parser that reads bytes from outside, as a function of bytes. The list
//! is what both `cargo fuzz` (for long runs) and `ci fuzz` (for each change)
//! work through.
//!
//! The contract of each: whatever the bytes, it returns; it does not panic, it
//! holds no more than [`MEMORY_BYTES`], and it takes no longer than
//! [`SECONDS`] of processor time.
//!
//! A new parser gets a line in [`TARGETS`], a `[[bin]]` in `fuzz/Cargo.toml`,
//! and seeds: here in code if they are small, or in `ci/src/fuzz/seeds.rs` if
//! they are files that something else makes.

mod builder;
mod disk;
mod files;
pub mod mutate;
pub mod run;
mod trust;

/// Address space that a run may take. A build holds at most 256 MiB, of which a
/// zstd window and its buffers are half; the rest is for threads and code.
pub const MEMORY_BYTES: u64 = 512 << 20;

/// Processor time that one input may take. The slowest honest ones take a
/// hundredth of this in a build without optimisation.
pub const SECONDS: u64 = 10;

/// Between the parts of an input that has several, such as key and signature.
pub const NEXT: &[u8] = b"\n-- next --\n";

/// A parser.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line, and of its folder of seeds.
    pub name: &'static str,
    /// Parses the bytes; fails by panicking.
    pub parse: fn(&[u8]),
    /// Inputs it understands.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All parsers.
pub const TARGETS: &[Target] = &[
    target("repomd", builder::repomd, none),
    target("primary", builder::primary, none),
    target("filelists", builder::filelists, none),
    target("signature", builder::signature, none),
    target("package-headers", builder::package_headers, none),
    target("package-signature", builder::package_signature, none),
    target("package", builder::package, none),
    target("recipe", builder::recipe, builder::recipe_seeds),
    target("lock", builder::lock, builder::lock_seeds),
    target("script", builder::script, builder::script_seeds),
    target("lua", builder::lua, builder::lua_seeds),
    target("library", builder::library, builder::library_seeds),
    target("kernel-module", builder::kernel_module, builder::kernel_module_seeds),
    target("ca-source", builder::ca_source, builder::ca_source_seeds),
    target("tmpfiles", files::tmpfiles, files::tmpfiles_seeds),
    target("sysusers", files::sysusers, files::sysusers_seeds),
    target("units", files::units, files::units_seeds),
    target("hwdb", files::hwdb, files::hwdb_seeds),
    target("catalog", files::catalog, files::catalog_seeds),
    target("alternatives", files::alternatives, files::alternatives_seeds),
    target("certificate", files::certificate, files::certificate_seeds),
    target("stub", builder::stub, builder::stub_seeds),
    target("gpt", disk::gpt, disk::gpt_seeds),
    target("state", disk::state, disk::state_seeds),
    target("uki-header", disk::uki_header, disk::uki_header_seeds),
    target("verity", disk::verity, disk::verity_seeds),
    target("vhdx", disk::vhdx, disk::vhdx_seeds),
    target("bundle-frame", trust::frame, trust::frame_seeds),
    target("manifest", trust::manifest, trust::manifest_seeds),
    target("chunk-table", trust::chunk_table, trust::chunk_table_seeds),
    target("json", trust::json, trust::json_seeds),
    target("bundle-signatures", trust::signatures, trust::signatures_seeds),
    target("trust-root", trust::root, trust::root_seeds),
];

const fn target(name: &'static str, parse: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, parse, seeds }
}

/// All its seeds are files.
fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// The parser of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Gives `bytes` to the parser `name`.
///
/// # Panics
/// If there is no such parser, or if it has a fault.
pub fn parse(name: &str, bytes: &[u8]) {
    let target = named(name).expect("fuzz/Cargo.toml names only parsers that are listed");
    (target.parse)(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_fuzz_knows_the_same_parsers() {
        let manifest = include_str!("../../Cargo.toml");
        let names = manifest.split("[[bin]]\n").skip(1);
        let names: Vec<_> =
            names.filter_map(|entry| entry.strip_prefix("name = \"")?.split('"').next()).collect();
        let listed: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names, listed);
    }

    #[test]
    fn seeds_of_every_parser_are_taken() {
        for target in TARGETS {
            for seed in (target.seeds)() {
                (target.parse)(&seed);
            }
            (target.parse)(b"");
            (target.parse)(&[0xff; 4096]);
        }
    }
}
