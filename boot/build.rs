//! Linker settings of the EFI program; nothing on other targets.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("uefi") {
        return;
    }
    // the same bytes from each build: a digest in place of the time of day in
    // the COFF header, and no debug directory with the path of a PDB file
    println!("cargo::rustc-link-arg-bins=/Brepro");
    println!("cargo::rustc-link-arg-bins=/DEBUG:NONE");
}
