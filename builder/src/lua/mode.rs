//! Modes as rpm's `posix` table takes and shows them: `rwxr-xr-x`, `0755`, or
//! changes such as `u+x,go-w`. Where it differs from chmod(1), so do we: `=`
//! replaces the whole mode, and a change to no bits changes nothing.

const READ_WRITE_EXECUTE: [char; 3] = ['r', 'w', 'x'];

/// The nine letters; setuid and setgid show as `s`, or `S` without execute.
pub fn show(mode: u16) -> String {
    let letter = |position: usize| {
        let set = mode & (0o400 >> position) != 0;
        let special = match position {
            2 => mode & 0o4000 != 0,
            5 => mode & 0o2000 != 0,
            _ => false,
        };
        match (special, set) {
            (true, true) => 's',
            (true, false) => 'S',
            (false, true) => READ_WRITE_EXECUTE[position % 3],
            (false, false) => '-',
        }
    };
    (0..9).map(letter).collect()
}

/// The mode that `text` makes of `mode`; none if it is not understood.
pub fn change(mode: u16, text: &str) -> Option<u16> {
    match text.chars().next() {
        Some('r' | '-') => letters(mode, text),
        Some('0'..='7') => {
            let digits = i64::from_str_radix(text, 8).ok()?;
            u16::try_from(digits & 0o7777).ok()
        }
        _ => text.split(',').try_fold(mode, clause),
    }
}

fn letters(mode: u16, text: &str) -> Option<u16> {
    let mut mode = mode & !0o6000;
    let text: Vec<char> = text.chars().collect();
    for position in 0..9 {
        let bit = 0o400 >> position;
        match (text.get(position), position) {
            (Some('-'), _) => mode &= !bit,
            (Some('s'), 2) => mode |= 0o4000 | bit,
            (Some('s'), 5) => mode |= 0o2000 | bit,
            (Some('s'), _) => return None,
            (Some(letter), _) if *letter == READ_WRITE_EXECUTE[position % 3] => mode |= bit,
            _ => {}
        }
    }
    Some(mode)
}

fn clause(mode: u16, text: &str) -> Option<u16> {
    let text = text.trim();
    let operator = text.find(['+', '-', '='])?;
    let (who, rest) = text.split_at(operator);
    let mut affected = 0;
    for letter in who.chars().filter(|letter| *letter != ' ') {
        affected |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if affected == 0 {
        affected = 0o7777;
    }
    let mut bits = 0;
    for letter in rest.chars().skip(1).filter(|letter| *letter != ' ') {
        bits |= match letter {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            _ => return None,
        };
    }
    Some(match (bits, rest.as_bytes().first()) {
        (0, _) => mode,
        (_, Some(b'+')) => mode | (bits & affected),
        (_, Some(b'-')) => mode & !(bits & affected),
        _ => bits & affected,
    })
}

#[cfg(test)]
mod tests {
    use super::{change, show};

    #[test]
    fn as_rpm_changes_and_shows_modes() {
        // rpm --eval '%{lua: posix.chmod("f", TEXT) print(posix.stat("f", "mode"))}'
        let cases = [
            (0o644, "0755", "rwxr-xr-x"),
            (0o644, "rwxr-x---", "rwxr-x---"),
            (0o644, "rwsr-sr-x", "rwsr-sr-x"),
            (0o644, "u+x", "rwxr--r--"),
            (0o644, "+x", "rwxr-xr-x"),
            (0o755, "go-rx", "rwx------"),
            (0o755, "u=rw", "rw-------"),
            (0o755, "u=rw,g=r", "---r-----"),
            (0o755, "ug+s", "rwsr-sr-x"),
            (0o644, "u+s", "rwSr--r--"),
            (0o755, "o=", "rwxr-xr-x"),
            (0o755, "a - w , u + w", "rwxr-xr-x"),
        ];
        for (mode, text, expected) in cases {
            assert_eq!(change(mode, text).map(show).as_deref(), Some(expected), "{text}");
        }
        for text in ["u", "z+r", "u+q", "08", "rsx", "u+x;"] {
            assert_eq!(change(0o644, text), None, "{text}");
        }
    }
}
