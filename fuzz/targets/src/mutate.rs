//! Changes to inputs, the same for the same numbers: no state, no feedback, so
//! that any input of a run can be made again from seed and position.

/// What parsers look out for: ends of ranges, lengths that overflow, and the
/// pieces that texts and metadata are made of.
const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x0100_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\"",
    b"'''",
    b"[[",
    b"]]",
    b"{",
    b"}",
    b"<",
    b"/>",
    b"<![CDATA[",
    b"&#0;",
    b"&x;",
    b"<!DOCTYPE",
    b"../",
    b"\n",
    b"\r",
    b"=",
    b"99999999999999999999",
    b"-1",
    b"\xff\xfe",
    b"1e999",
    b"\xe2\x80\xae",
    b"07070X",
    b"TRAILER!!!",
];
/// No input grows past this.
const MAX_BYTES: usize = 1 << 20;

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The stream of input `position` of the run `seed`.
    #[must_use]
    pub fn new(seed: u64, position: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ position.wrapping_mul(0x9e37_79b9))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Less than `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Input `position` of the run `seed`: one of `seeds`, changed in one to eight
/// places.
#[must_use]
pub fn input(seeds: &[Vec<u8>], seed: u64, position: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed, position);
    let mut bytes = seeds.get(numbers.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..1 << numbers.below(4) {
        change(&mut bytes, seeds, &mut numbers);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    // Headers and lengths are in front: half of all changes are made there.
    let front = if numbers.below(2) == 0 { bytes.len().min(256) } else { bytes.len() };
    let at = numbers.below(front);
    match numbers.below(9) {
        0 => flip(bytes, at, numbers),
        1 => overwrite(bytes, at, &[numbers.next().to_le_bytes()[0]]),
        2 | 3 => number(bytes, at, numbers),
        4 => {
            let end = bytes.len().min(at + 1 + numbers.below(64));
            bytes.drain(at.min(end)..end);
        }
        5 => {
            let end = bytes.len().min(at + 1 + numbers.below(256));
            let piece = bytes[at.min(end)..end].repeat(1 + numbers.below(8));
            insert(bytes, end, &piece);
        }
        6 => {
            let piece = numbers.one_of(&PIECES).unwrap_or_default();
            insert(bytes, at, piece);
        }
        7 => splice(bytes, at, seeds, numbers),
        _ if numbers.below(4) == 0 => bytes.truncate(at),
        _ => digits(bytes, at, numbers),
    }
}

fn flip(bytes: &mut [u8], at: usize, numbers: &mut Numbers) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << numbers.below(8);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, piece: &[u8]) {
    let room = bytes.get_mut(at..).unwrap_or_default();
    for (to, from) in room.iter_mut().zip(piece) {
        *to = *from;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() + piece.len() <= MAX_BYTES {
        let at = at.min(bytes.len());
        bytes.splice(at..at, piece.iter().copied());
    }
}

/// A number of one to eight bytes in either order, often a neighbour.
fn number(bytes: &mut [u8], at: usize, numbers: &mut Numbers) {
    let width = 1 << numbers.below(4);
    let value = numbers.one_of(&NUMBERS).unwrap_or(0);
    let value = value.wrapping_add(numbers.below(3) as u64).wrapping_sub(1);
    match numbers.below(2) {
        0 => overwrite(bytes, at, &value.to_le_bytes()[..width]),
        _ => overwrite(bytes, at, &value.to_be_bytes()[8 - width..]),
    }
}

/// A part of a seed in place of what is here.
fn splice(bytes: &mut Vec<u8>, at: usize, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let Some(other) = seeds.get(numbers.below(seeds.len())) else { return };
    let start = numbers.below(other.len());
    let end = other.len().min(start + numbers.below(512));
    match numbers.below(2) {
        0 => overwrite(bytes, at, &other[start..end]),
        _ => insert(bytes, at, &other[start..end]),
    }
}

/// Another number in place of the next digits.
fn digits(bytes: &mut Vec<u8>, at: usize, numbers: &mut Numbers) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes.iter().skip(at).position(digit).map(|found| at + found) else { return };
    let count = bytes[start..].iter().take_while(|byte| digit(byte)).count();
    let value = numbers.one_of(&NUMBERS).unwrap_or(0).to_string();
    bytes.splice(start..start + count, value.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_give_the_same_input() {
        let seeds = [b"some 12 text".to_vec(), vec![7; 300], Vec::new()];
        let mut different = std::collections::BTreeSet::new();
        for position in 0..2000 {
            let made = input(&seeds, 5, position);
            assert_eq!(made, input(&seeds, 5, position));
            assert!(made.len() <= MAX_BYTES);
            different.insert(made);
        }
        assert!(different.len() > 1000, "{}", different.len());
        assert_ne!(input(&seeds, 5, 3), input(&seeds, 6, 3));
        assert!(input(&[], 1, 1).len() < 4096);
    }
}
