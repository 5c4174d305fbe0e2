//! Records: the values of a row or of an index entry, as section 2.1 of the
//! format has them; and the numbers of varying length they begin with.

/// A value of a column.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Nothing; also what stands for a column that is the row's number.
    Null,
    /// A whole number.
    Integer(i64),
    /// A text: UTF-8, though nobody checks.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// Puts a record of these values into `out`, over what was there.
pub fn encode(values: &[Value<'_>], out: &mut Vec<u8>) {
    out.clear();
    let types: usize = values.iter().map(|value| varint_bytes(serial_type(value))).sum();
    // The header's size counts itself; it has a byte up to 126 bytes of types.
    let own = if types < 127 { 1 } else { 2 };
    varint((types + own) as u64, out);
    values.iter().for_each(|value| varint(serial_type(value), out));
    for value in values {
        match value {
            Value::Null => {}
            Value::Integer(number) => {
                out.extend_from_slice(&number.to_be_bytes()[8 - integer_bytes(*number)..]);
            }
            Value::Text(bytes) | Value::Blob(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Appends a number, seven bits a byte, the highest first.
pub fn varint(number: u64, out: &mut Vec<u8>) {
    if number >> 56 != 0 {
        // Nine bytes, of which the last has eight bits.
        out.extend((1..9).rev().map(|at| (number >> (7 * at + 1)).to_be_bytes()[7] | 0x80));
        out.push(number.to_be_bytes()[7]);
        return;
    }
    let bytes = varint_bytes(number);
    for at in (0..bytes).rev() {
        let more = if at == 0 { 0 } else { 0x80 };
        out.push((number >> (7 * at)).to_be_bytes()[7] & 0x7f | more);
    }
}

fn varint_bytes(number: u64) -> usize {
    let bits = 64 - number.leading_zeros() as usize;
    bits.div_ceil(7).clamp(1, 9)
}

fn serial_type(value: &Value<'_>) -> u64 {
    match value {
        Value::Null => 0,
        Value::Integer(0) => 8,
        Value::Integer(1) => 9,
        Value::Integer(number) => match integer_bytes(*number) {
            8 => 6,
            6 => 5,
            bytes => bytes as u64,
        },
        Value::Blob(bytes) => bytes.len() as u64 * 2 + 12,
        Value::Text(bytes) => bytes.len() as u64 * 2 + 13,
    }
}

/// How many bytes a number has in a record; 0 and 1 are said by their type.
fn integer_bytes(number: i64) -> usize {
    if matches!(number, 0 | 1) {
        return 0;
    }
    let fits = |bytes: usize| {
        let limit = 1_i64 << (8 * bytes - 1);
        (-limit..limit).contains(&number)
    };
    [1, 2, 3, 4, 6].into_iter().find(|bytes| fits(*bytes)).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let encoded = |number| {
            let mut out = Vec::new();
            varint(number, &mut out);
            out
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [0x7f]);
        assert_eq!(encoded(128), [0x81, 0]);
        assert_eq!(encoded(0x3fff), [0xff, 0x7f]);
        assert_eq!(encoded((1 << 56) - 1).len(), 8);
        assert_eq!(encoded(1 << 56).len(), 9);
        assert_eq!(encoded(u64::MAX), [0xff; 9]);
    }

    #[test]
    fn a_record_has_types_before_values() {
        let mut out = vec![9; 20];
        let values = [
            Value::Null,
            Value::Integer(1),
            Value::Integer(-300),
            Value::Text(b"ab"),
            Value::Blob(b""),
        ];
        encode(&values, &mut out);
        assert_eq!(out, [6, 0, 9, 2, 17, 12, 0xfe, 0xd4, b'a', b'b']);
        for (number, bytes) in
            [(127, 1), (128, 2), (-129, 2), (1 << 23, 4), (1 << 31, 6), (1 << 47, 8)]
        {
            assert_eq!(integer_bytes(number), bytes, "{number}");
        }
    }
}
