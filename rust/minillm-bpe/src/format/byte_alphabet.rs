//! GPT-2's way to write any bytes as printable characters: one character a byte.
//!
//! Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, for U+0100 and
//! up, so that a space is written as U+0120. Source: `bytes_to_unicode` in GPT-2's `encoder.py`.

/// The character that stands for `byte`.
pub fn char_of(byte: u8) -> char {
    let code = u32::from(byte);
    let shifted = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => code,
        // 0x100 and the number of bytes below that do not stand for themselves either.
        0..=b' ' => 0x100 + code,
        0x7f..=0xa0 => 0x121 + code - 0x7f,
        0xad => 0x143,
    };
    char::from_u32(shifted).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that `character` stands for.
pub fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Writes bytes as characters.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    encode_into(bytes, &mut text);
    text
}

/// [`encode`], behind what `text` holds already.
pub fn encode_into(bytes: &[u8], text: &mut String) {
    text.extend(bytes.iter().map(|&byte| char_of(byte)));
}

/// Reads characters as bytes.
///
/// # Errors
///
/// The first character that stands for no byte.
pub fn decode(text: &str) -> Result<Vec<u8>, char> {
    text.chars().map(|character| byte_of(character).ok_or(character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert_eq!(decode(&text), Ok(all));
        assert!(text.chars().all(|c| !c.is_whitespace() && !c.is_control()));
    }

    #[test]
    fn published_spellings_hold() {
        assert_eq!(
            encode(b" the\n\x7f\xad\xa0\xff"),
            "\u{120}the\u{10a}\u{121}\u{143}\u{142}\u{ff}"
        );
        assert_eq!(decode("a b"), Err(' '));
        assert_eq!(decode("a\u{144}"), Err('\u{144}'));
    }
}
