//! Just enough DER (X.690) for certificates: elements, object identifiers, and
//! writing both.

/// `SEQUENCE`, with what it is made of.
pub const SEQUENCE: u8 = 0x30;
/// `SET`, with what it is made of.
pub const SET: u8 = 0x31;
/// `OBJECT IDENTIFIER`
pub const OBJECT_ID: u8 = 0x06;
/// `OCTET STRING`
pub const OCTET_STRING: u8 = 0x04;
/// `UTF8String`
pub const UTF8_STRING: u8 = 0x0c;

/// An element that was read.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What is in it.
    pub contents: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
    /// What follows it.
    pub rest: &'a [u8],
}

/// The element that `der` begins with; none if it is cut off.
#[must_use]
pub fn element(der: &[u8]) -> Option<Element<'_>> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match *first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            // four bytes say more than any certificate has
            let (bytes, rest) =
                rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some(Element { tag: *tag, contents, whole: &der[..der.len() - rest.len()], rest })
}

/// The same, if it has this tag.
#[must_use]
pub fn expect(der: &[u8], tag: u8) -> Option<Element<'_>> {
    element(der).filter(|found| found.tag == tag)
}

/// Takes an element with this tag off the beginning of `der`.
pub fn take<'a>(der: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    let found = expect(der, tag)?;
    *der = found.rest;
    Some(found)
}

/// Writes an element.
pub fn put(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    match contents.len() {
        len @ 0..0x80 => out.extend(u8::try_from(len)),
        len => {
            let bytes = len.to_be_bytes();
            let used: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            out.extend(u8::try_from(0x80 + used.len()));
            out.extend(used);
        }
    }
    out.extend_from_slice(contents);
}

/// An object identifier's contents as numbers with dots; none if it is cut off
/// or has larger numbers than are in use.
#[must_use]
pub fn dotted(contents: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for (at, byte) in contents.iter().enumerate() {
        number = number.checked_mul(0x80)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        } else if at + 1 == contents.len() {
            return None;
        }
    }
    let (first, others) = numbers.split_first()?;
    let top = (first / 40).min(2);
    let all = [top, first - top * 40].into_iter().chain(others.iter().copied());
    Some(all.map(|number| number.to_string()).collect::<Vec<_>>().join("."))
}

/// Writes an object identifier that is given as numbers with dots; none if it is
/// no such thing.
#[must_use]
pub fn object_id(dotted: &str) -> Option<Vec<u8>> {
    let numbers: Vec<u64> =
        dotted.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [top @ 0..=2, second, others @ ..] = &numbers[..] else {
        return None;
    };
    if *top < 2 && *second >= 40 {
        return None;
    }
    let mut contents = Vec::new();
    for number in [top.checked_mul(40)?.checked_add(*second)?].iter().chain(others) {
        let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            contents.extend(u8::try_from(number >> (7 * group) & 0x7f).map(|bits| bits | more));
        }
    }
    let mut out = Vec::new();
    put(&mut out, OBJECT_ID, &contents);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_go_both_ways() {
        for text in ["2.5.29.37", "1.3.6.1.4.1.3319.6.10.16", "2.5.29.37.0", "0.9.2342", "2.999.3"]
        {
            let der = object_id(text).unwrap();
            let found = expect(&der, OBJECT_ID).unwrap();
            assert_eq!(dotted(found.contents).as_deref(), Some(text));
        }
        assert_eq!(object_id("2.5.29.37").unwrap(), [6, 3, 0x55, 0x1d, 0x25]);
        assert!(object_id("1.40").is_none() && object_id("1").is_none() && object_id("").is_none());
        assert!(dotted(&[]).is_none() && dotted(&[0x55, 0x80]).is_none());
    }

    #[test]
    fn what_is_cut_off_is_no_element() {
        let mut whole = Vec::new();
        put(&mut whole, SEQUENCE, &[7; 300]);
        assert_eq!(element(&whole).unwrap().contents.len(), 300);
        assert!((0..whole.len()).all(|len| element(&whole[..len]).is_none()));
    }
}
