//! Short pre-tokens as numbers: what the tables of counting and of encoding are keyed by.
//!
//! Nine in ten pre-tokens have at most [`MAX_BYTES`] bytes. Packed into 128 bits with their length,
//! they are loaded, masked and compared as one number, whatever they are.

/// Longest text that is a key.
pub(crate) const MAX_BYTES: usize = 15;

/// Keys are less.
pub(crate) const END: u128 = 16 << 120;

/// `text[start..end]` as a number, its length in the top byte; [`None`] if it has more than
/// [`MAX_BYTES`] bytes. Never 0 but for the empty text.
#[inline]
pub(crate) fn of_span(text: &[u8], start: usize, end: usize) -> Option<u128> {
    let len = end - start;
    if len > MAX_BYTES {
        return None;
    }
    let bytes = if let Some(sixteen) = text.get(start..).and_then(<[u8]>::first_chunk::<16>) {
        // One load and a mask, whatever the length.
        u128::from_le_bytes(*sixteen) & FIRST_BYTES[len]
    } else {
        let mut buffer = [0; 16];
        buffer[..len].copy_from_slice(&text[start..end]);
        u128::from_le_bytes(buffer)
    };
    Some(bytes | ((len as u128) << 120))
}

/// [`of_span`] of a whole text.
pub(crate) fn of(text: &[u8]) -> Option<u128> {
    of_span(text, 0, text.len())
}

/// The first n bytes of 16.
static FIRST_BYTES: [u128; 16] = {
    let mut masks = [0; 16];
    let mut len = 1;
    while len < 16 {
        masks[len] = (masks[len - 1] << 8) | 0xFF;
        len += 1;
    }
    masks
};

/// The text of a key, with what lies behind it, and its length.
pub(crate) fn text_of(key: u128) -> ([u8; 16], usize) {
    let bytes = key.to_le_bytes();
    (bytes, usize::from(bytes[15]))
}

/// Spreads a key over 64 bits: two halves folded by a widening product.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
pub(crate) fn hash(key: u128) -> u64 {
    let (low, high) = (key as u64, (key >> 64) as u64);
    // The constants keep a half that is zero from making the product zero.
    let product =
        u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xD6E8_FEB8_6659_FD93);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_depend_on_what_follows() {
        let long = b"the end of a text that goes on";
        assert_eq!(of_span(long, 0, 3), of(b"the"));
        assert_eq!(of_span(long, 4, 19), of(&long[4..19]));
        assert_eq!(of_span(long, 4, 20), None);
        assert_ne!(of(b"a"), of(b"a\0"), "the length is part of the key");
    }

    #[test]
    fn a_key_holds_its_text() {
        for len in 0..=MAX_BYTES {
            let text = &b"fifteen letters"[..len];
            let (bytes, found) = text_of(of(text).unwrap());
            assert_eq!(&bytes[..found], text);
        }
    }
}
