//! Blocks of PEM (RFC 7468), as p11-kit reads and OpenSSL writes them.

use base64ct::{Base64, Encoding};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Letters in a line, which OpenSSL insists on.
const LINE: usize = 64;

/// A block's kind and its bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What follows `BEGIN`.
    pub kind: &'a str,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All blocks of a text.
///
/// # Errors
/// If one is malformed, or has headers: there programs differ in what they make
/// of it.
pub fn blocks(mut text: &str) -> Result<Vec<Block<'_>>, &'static str> {
    let mut found = Vec::new();
    while let Some((_, rest)) = text.split_once(BEGIN) {
        let (kind, rest) = rest.split_once(DASHES).ok_or("a PEM block is cut off")?;
        let (body, rest) = rest.split_once(END).ok_or("a PEM block is cut off")?;
        let rest = rest.strip_prefix(kind).and_then(|rest| rest.strip_prefix(DASHES));
        text = rest.ok_or("a PEM block ends as another kind")?;
        if kind.contains('\n') || body.contains(':') {
            return Err("a PEM block has headers");
        }
        let body: String = body.split_ascii_whitespace().collect();
        let bytes = Base64::decode_vec(&body).map_err(|_| "a PEM block is not in base64")?;
        if bytes.is_empty() {
            return Err("a PEM block is empty");
        }
        found.push(Block { kind, bytes });
    }
    Ok(found)
}

/// Writes a block.
#[must_use]
pub fn write(kind: &str, bytes: &[u8]) -> String {
    let encoded = Base64::encode_string(bytes);
    let mut out = format!("{BEGIN}{kind}{DASHES}\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(&format!("{END}{kind}{DASHES}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_both_ways() {
        let text = format!("# one\n{}\n# two\n{}", write("A", &[7; 100]), write("B C", b"x"));
        let found = blocks(&text).unwrap();
        assert_eq!(found[0], Block { kind: "A", bytes: vec![7; 100] });
        assert_eq!(found[1], Block { kind: "B C", bytes: b"x".to_vec() });
        for bad in ["-----BEGIN A-----\n", "-----BEGIN A-----\nAAAA\n-----END B-----\n"] {
            assert!(blocks(bad).is_err(), "{bad}");
        }
    }
}
