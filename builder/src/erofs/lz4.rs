//! LZ4 blocks of an exact size. Erofs wants as much input as fits into a number
//! of blocks; compressors of the LZ4 format take input of a given size. But an
//! LZ4 block is a list of sequences, and any beginning of that list is a block
//! again once it ends in literals: so a block is compressed from more input than
//! can fit, and cut.
//!
//! ```text
//! sequence = token · [literal length…] · literals · offset · [match length…]
//! ```
//!
//! The format is that of lz4's `doc/lz4_Block_format.md`.

/// The shortest match.
const MIN_MATCH: usize = 4;
/// Literals that a block which was cut ends with: the last match must begin 12
/// bytes before the end, and the last five bytes be literals.
const TAIL: usize = 12;
/// A length of this much in the token goes on in bytes behind it.
const LONG: usize = 15;

/// The block of all of `raw`.
pub fn compress(raw: &[u8]) -> Vec<u8> {
    lz4_flex::block::compress(raw)
}

/// One sequence of a block.
struct Sequence {
    /// bytes of input that come from the block
    literals: usize,
    /// bytes of input that are repeated; 0 in the last sequence
    matched: usize,
    /// behind the match's offset
    offset_end: usize,
    end: usize,
}

/// Cuts `block`, which was made of `raw` and is longer than `room`, to at most
/// `room` bytes, at most a few less. Gives the bytes of `raw` that are left in it.
pub fn cut(block: &mut Vec<u8>, raw: &[u8], room: usize) -> usize {
    let (mut at, mut consumed) = (0, 0);
    while let Some(sequence) = sequence(block, at).filter(|sequence| sequence.matched > 0) {
        if sequence.end + 1 + TAIL > room {
            if sequence.offset_end + 2 + TAIL <= room {
                consumed += sequence.literals + shorten_match(block, &sequence, room);
                at = block.len();
            }
            break;
        }
        at = sequence.end;
        consumed += sequence.literals + sequence.matched;
    }
    block.truncate(at);
    let literals = fitting_literals(room.saturating_sub(at)).min(raw.len() - consumed);
    push_length(block, literals);
    block.extend_from_slice(&raw[consumed..consumed + literals]);
    consumed + literals
}

/// Ends the block with as much of the match as leaves room for the tail; gives
/// the match's new length. There is room for at least one byte of length, and
/// the match has more.
fn shorten_match(block: &mut Vec<u8>, sequence: &Sequence, room: usize) -> usize {
    let bytes = room - TAIL - 1 - sequence.offset_end;
    block.truncate(sequence.offset_end);
    block.resize(sequence.offset_end + bytes - 1, 255);
    block.push(254);
    MIN_MATCH + LONG + 255 * (bytes - 1) + 254
}

/// The sequence at `at`; none past the end.
fn sequence(block: &[u8], at: usize) -> Option<Sequence> {
    let token = usize::from(*block.get(at)?);
    let (literals, literals_start) = length(block, at + 1, token >> 4)?;
    let offset_end = literals_start + literals + 2;
    if offset_end > block.len() {
        let end = block.len();
        return Some(Sequence { literals, matched: 0, offset_end: end, end });
    }
    let (matched, end) = length(block, offset_end, token & LONG)?;
    Some(Sequence { literals, matched: matched + MIN_MATCH, offset_end, end })
}

/// A length that begins with `nibble` and may go on at `at`; and what is behind.
fn length(block: &[u8], mut at: usize, nibble: usize) -> Option<(usize, usize)> {
    let mut length = nibble;
    if nibble == LONG {
        loop {
            let byte = *block.get(at)?;
            at += 1;
            length += usize::from(byte);
            if byte < 255 {
                break;
            }
        }
    }
    Some((length, at))
}

/// As many literals as a last sequence of at most `room` bytes holds.
fn fitting_literals(room: usize) -> usize {
    let size = |literals: usize| 1 + length_bytes(literals) + literals;
    let mut literals = room.saturating_sub(1);
    while literals > 0 && size(literals) > room {
        // off by more than one only where the length takes many bytes
        literals -= (size(literals) - room).div_ceil(2).max(1);
    }
    literals
}

/// Bytes behind the token that a length takes.
fn length_bytes(length: usize) -> usize {
    if length < LONG { 0 } else { (length - LONG) / 255 + 1 }
}

/// The token of a sequence of literals only, with the length's further bytes.
fn push_length(block: &mut Vec<u8>, literals: usize) {
    let nibble = literals.min(LONG);
    block.push(u8::try_from(nibble << 4).unwrap_or(u8::MAX));
    if nibble == LONG {
        let rest = literals - LONG;
        block.resize(block.len() + rest / 255, 255);
        block.push(u8::try_from(rest % 255).unwrap_or(u8::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes from nothing but themselves to noise.
    fn samples() -> Vec<Vec<u8>> {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        };
        let random: Vec<u8> = (0..300_000).map(|_| noise()).collect();
        let text: Vec<u8> =
            (0..40_000).flat_map(|n: u32| format!("line {n}\n").into_bytes()).collect();
        let mixed: Vec<u8> =
            (0..300_000).map(|at| if at / 1000 % 3 == 0 { noise() } else { 7 }).collect();
        let thin: Vec<u8> = (0..900_000).map(|at| u8::from(at % 7919 == 0)).collect();
        vec![vec![0; 1 << 20], random, text, mixed, thin]
    }

    #[test]
    fn what_was_cut_decompresses_to_a_beginning_of_the_input() {
        for raw in samples() {
            let whole = compress(&raw);
            for room in (4096..=65_536).step_by(4096).filter(|room| *room < whole.len()) {
                let mut block = whole.clone();
                let consumed = cut(&mut block, &raw, room);
                assert!(block.len() <= room && block.len() + 4 > room, "{} of {room}", block.len());
                let back = lz4_flex::block::decompress(&block, consumed).unwrap();
                assert!(back == raw[..consumed]);
            }
        }
    }

    #[test]
    fn literals_fill_the_room() {
        for room in [1, 2, 13, 15, 16, 17, 18, 271, 272, 273, 4096, 65_536] {
            let literals = fitting_literals(room);
            let size = |literals: usize| 1 + length_bytes(literals) + literals;
            assert!(size(literals) <= room && size(literals + 1) > room, "{room}: {literals}");
        }
    }
}
