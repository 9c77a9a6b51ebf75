//! Which character of a text each of its tokens begins with, as tiktoken counts it.

/// For each of `tokens`, the index of the first character that it has bytes of.
///
/// A token that begins inside of a character has bytes of the one before. What is not UTF-8 is
/// counted all the same: a character is whatever does not begin with a continuation byte.
///
/// Runs in O(bytes) time.
///
/// # Examples
///
/// ```
/// let tokens: [&[u8]; 3] = [b"a", b"\xc3", b"\xa9b"];
/// assert_eq!(minillm_bpe::decode::char_offsets(tokens), [0, 1, 1]);
/// ```
pub fn char_offsets<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Vec<usize> {
    let mut begun = 0_usize;
    let offset = |token: &[u8]| {
        let before = begun;
        begun += token.iter().filter(|&&byte| !continues(byte)).count();
        before.saturating_sub(usize::from(token.first().is_some_and(|&byte| continues(byte))))
    };
    tokens.into_iter().map(offset).collect()
}

/// Whether the byte is one of a character's but not its first.
fn continues(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_continuation_at_the_start_counts_from_zero() {
        assert_eq!(char_offsets([&b"\x80"[..], b"a", b""]), [0, 0, 1]);
    }

    #[test]
    fn whole_characters_count_one_each() {
        let tokens = ["na\u{ef}ve", " \u{1f642}", "x"].map(str::as_bytes);
        assert_eq!(char_offsets(tokens), [0, 5, 7]);
    }
}
