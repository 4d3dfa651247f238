//! Decoders of the textual forms of protocol 0, and of UTF-8 with lone surrogates.

/// Whether `bytes` is UTF-8 in which lone surrogates may stand (what Python's `surrogatepass` writes).
pub(crate) fn is_surrogate_utf8(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let Err(error) = std::str::from_utf8(rest) else { return true };
        let Some(bad) = rest.get(error.valid_up_to()..) else { return false };
        match bad {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] => rest = after,
            _ => return false,
        }
    }
}

fn push_code_point(out: &mut Vec<u8>, code: u32) -> Option<()> {
    if let Some(c) = char::from_u32(code) {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return Some(());
    }
    // A surrogate.
    let code = u16::try_from(code).ok()?;
    let [high, low] = code.to_be_bytes();
    out.extend_from_slice(&[
        0xe0 | (high >> 4),
        0x80 | ((high & 0x0f) << 2) | (low >> 6),
        0x80 | (low & 0x3f),
    ]);
    Some(())
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Decodes `raw-unicode-escape` into UTF-8 (with surrogates).
pub(crate) fn raw_unicode_escape(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(rest.len());
    loop {
        let width = match rest {
            [] => return Some(out),
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            [b'\\', other, after @ ..] => {
                out.push(b'\\');
                push_code_point(&mut out, u32::from(*other))?;
                rest = after;
                continue;
            }
            [byte, after @ ..] => {
                push_code_point(&mut out, u32::from(*byte))?;
                rest = after;
                continue;
            }
        };
        let (digits, after) = rest.get(2..)?.split_at_checked(width)?;
        push_code_point(&mut out, hex(digits)?)?;
        rest = after;
    }
}

/// Decodes the quoted form of a Python 2 str.
pub(crate) fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = match text.trim_ascii() {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return None,
    };
    let mut out = Vec::with_capacity(rest.len());
    loop {
        let (byte, after) = match rest {
            [] => return Some(out),
            [b'\\', b'x', digits @ ..] => {
                let (digits, after) = digits.split_at_checked(2)?;
                (u8::try_from(hex(digits)?).ok()?, after)
            }
            [b'\\', b'0'..=b'7', ..] => {
                let digits = rest.get(1..)?;
                let count = digits.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let (digits, after) = digits.split_at_checked(count)?;
                let code = digits.iter().fold(0u32, |code, digit| code * 8 + u32::from(digit - b'0'));
                (u8::try_from(code & 0xff).ok()?, after)
            }
            [b'\\', escaped, after @ ..] => {
                let byte = match escaped {
                    b'\\' | b'\'' | b'"' => *escaped,
                    b'a' => 7,
                    b'b' => 8,
                    b't' => 9,
                    b'n' => 10,
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => 13,
                    other => {
                        out.extend_from_slice(&[b'\\', *other]);
                        rest = after;
                        continue;
                    }
                };
                (byte, after)
            }
            [b'\\'] => return None,
            [byte, after @ ..] => (*byte, after),
        };
        out.push(byte);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(raw_unicode_escape(b"a\\u00e9\xe9\\n").unwrap(), "aéé\\n".as_bytes());
        assert_eq!(raw_unicode_escape(b"\\U0001f600").unwrap(), "😀".as_bytes());
        assert_eq!(raw_unicode_escape(b"\\ud800").unwrap(), [0xed, 0xa0, 0x80]);
        assert_eq!(raw_unicode_escape(b"\\u00"), None);
        assert_eq!(raw_unicode_escape(b"\\Uffffffff"), None);
        assert_eq!(quoted(b"'a\\x41\\101\\n\\''").unwrap(), b"aAA\n'");
        assert_eq!(quoted(b"\"\\q\"").unwrap(), b"\\q");
        assert_eq!(quoted(b"'"), None);
        assert_eq!(quoted(b"'abc"), None);
        assert_eq!(quoted(b"'\\'"), None);
    }

    #[test]
    fn surrogates() {
        assert!(is_surrogate_utf8(b"a\xed\xa0\x80b"));
        assert!(is_surrogate_utf8("é".as_bytes()));
        assert!(!is_surrogate_utf8(b"\xff"));
        assert!(!is_surrogate_utf8(b"\xed\xa0"));
    }
}
