//! The SBAT section (shim's SBAT.md): lets shim's revocation list name
//! generations of this program, for those who start it through shim.

/// CSV: component, generation, vendor, package, version, URL.
const TEXT: &str = concat!(
    "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n",
    "slipway-boot,1,Slipway,slipway-boot,",
    env!("CARGO_PKG_VERSION"),
    ",-\n",
);

// SAFETY: the section holds nothing but these bytes, which nothing in the
// program refers to.
#[allow(unsafe_code)]
#[used]
#[unsafe(link_section = ".sbat")]
static SBAT: [u8; TEXT.len()] = {
    let mut bytes = [0; TEXT.len()];
    bytes.copy_from_slice(TEXT.as_bytes());
    bytes
};
