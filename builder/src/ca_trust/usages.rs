//! Lists of purposes that a certificate is or is not good for. p11-kit keeps
//! those of OpenSSL's form in a hash table, and writes them in its order; so they
//! are put in that order here.

use crate::der::{SEQUENCE, object_id, put};

/// What p11-kit writes where a list must not be empty.
const RESERVED: &str = "1.3.6.1.4.1.3319.6.10.16";
/// Chains that p11-kit's table begins with. With more entries than this it is
/// made anew, in another order; certificates have three.
const CHAINS: u32 = 9;

/// Without repetitions, in the order of p11-kit's table.
///
/// # Errors
/// If there are too many.
pub fn in_order(purposes: &[String]) -> Result<Vec<String>, &'static str> {
    let mut chains: Vec<Vec<&String>> = vec![Vec::new(); CHAINS as usize];
    let mut count = 0;
    for purpose in purposes {
        let chain = &mut chains[(hash(purpose.as_bytes()) % CHAINS) as usize];
        if !chain.contains(&purpose) {
            chain.push(purpose);
            count += 1;
        }
    }
    match count > CHAINS {
        true => Err("a certificate has more purposes than there are"),
        false => Ok(chains.into_iter().flatten().cloned().collect()),
    }
}

/// An `ExtKeyUsageSyntax`.
///
/// # Errors
/// If one is no object identifier.
pub fn write(purposes: &[String]) -> Result<Vec<u8>, &'static str> {
    let mut list: Vec<&str> = purposes.iter().map(String::as_str).collect();
    if list.is_empty() {
        list.push(RESERVED);
    }
    let mut out = Vec::new();
    put(&mut out, SEQUENCE, &joined(&list)?);
    Ok(out)
}

/// Object identifiers one after the other.
///
/// # Errors
/// If one is none.
pub fn joined<T: AsRef<str>>(purposes: &[T]) -> Result<Vec<u8>, &'static str> {
    let written = purposes.iter().map(|purpose| object_id(purpose.as_ref()));
    let written: Option<Vec<Vec<u8>>> = written.collect();
    Ok(written.ok_or("a purpose is no object identifier")?.concat())
}

/// MurmurHash3 for 32 bits, seed 42, where p11-kit takes the length modulo four
/// for the length (`p11_hash_murmur3` in `common/hash.c`).
fn hash(bytes: &[u8]) -> u32 {
    let mixed =
        |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, rest) = bytes.as_chunks::<4>();
    let mut hash: u32 = 42;
    for block in blocks {
        hash ^= mixed(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let (mut last, mut len) = (0, 0);
    for byte in rest.iter().rev() {
        last = last << 8 | u32::from(*byte);
        len += 1;
    }
    hash ^= mixed(last) ^ len;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
