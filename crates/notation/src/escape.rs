//! Backslash escapes: those of Go's string literals, which HCL and templates share, and JSON's.

/// What an escape stands for.
#[derive(Debug, PartialEq)]
pub(crate) enum Escaped {
    Char(char),
    /// `\x…` and octal escapes name a byte, not a character.
    Byte(u8),
}

impl Escaped {
    pub(crate) fn push_to(self, bytes: &mut Vec<u8>) {
        match self {
            Escaped::Char(char) => {
                bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Escaped::Byte(byte) => bytes.push(byte),
        }
    }
}

/// Decodes what follows the backslash of a Go string literal; also tells how many bytes it took.
pub(crate) fn decode_go(rest: &str) -> Option<(Escaped, usize)> {
    let char = match rest.chars().next()? {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        same @ ('\\' | '"') => same,
        'x' => return Some((Escaped::Byte(u8::try_from(digits(rest, 1, 2, 16)?).ok()?), 3)),
        'u' => return Some((Escaped::Char(char::from_u32(digits(rest, 1, 4, 16)?)?), 5)),
        'U' => return Some((Escaped::Char(char::from_u32(digits(rest, 1, 8, 16)?)?), 9)),
        '0'..='7' => return Some((Escaped::Byte(u8::try_from(digits(rest, 0, 3, 8)?).ok()?), 3)),
        _ => return None,
    };
    Some((Escaped::Char(char), 1))
}

/// Decodes what follows the backslash of a JSON string; also tells how many bytes it took.
/// A surrogate must come with its other half.
pub(crate) fn decode_json(rest: &str) -> Option<(char, usize)> {
    let char = match rest.chars().next()? {
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        same @ ('\\' | '"' | '/') => same,
        'u' => {
            let first = digits(rest, 1, 4, 16)?;
            if !(0xd800..0xdc00).contains(&first) {
                return Some((char::from_u32(first)?, 5));
            }
            let other = rest.get(5..)?.strip_prefix("\\u")?;
            let second = digits(other, 0, 4, 16)?;
            if !(0xdc00..0xe000).contains(&second) {
                return None;
            }
            let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Some((char::from_u32(joined)?, 11));
        }
        _ => return None,
    };
    Some((char, 1))
}

fn digits(text: &str, from: usize, count: usize, radix: u32) -> Option<u32> {
    let digits = text.get(from..from + count)?;
    // `from_str_radix` alone would also take a plus sign.
    if digits.chars().all(|digit| digit.is_digit(radix)) {
        u32::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_escapes_name_characters_and_bytes() {
        assert_eq!(decode_go("n"), Some((Escaped::Char('\n'), 1)));
        assert_eq!(decode_go("x41b"), Some((Escaped::Byte(0x41), 3)));
        assert_eq!(decode_go("101"), Some((Escaped::Byte(b'A'), 3)));
        assert_eq!(decode_go("u00e9"), Some((Escaped::Char('é'), 5)));
        assert_eq!(decode_go("U0001F600"), Some((Escaped::Char('😀'), 9)));
        for bad in ["", "q", "x4", "x+4", "777", "ud800", "u00é"] {
            assert_eq!(decode_go(bad), None, "{bad}");
        }
    }

    #[test]
    fn json_surrogates_must_be_pairs() {
        assert_eq!(decode_json("ud83d\\ude00"), Some(('😀', 11)));
        for bad in ["ud83d", "ud83d\\u0041", "ude00", "x41", "u12"] {
            assert_eq!(decode_json(bad), None, "{bad}");
        }
    }
}
