//! GPT-2's pattern, 64 bytes at a time: where pre-tokens begin, by arithmetic on bit masks.
//!
//! Given one mask a class, with bit i for byte i, a pre-token begins
//!
//! - at the first character of a run of letters, of numbers or of others, unless a space leads it,
//! - at the first character of a run of white space,
//! - at the last character of such a run, if something else follows (there `\s+(?!\S)` gave it up).
//!
//! A space that leads a run is the last of its white space, so the third rule begins the
//! pre-token there. Contractions are mended bit by bit: they are rare. A character of
//! several bytes sets the bits of all of them. What is rarer still - white space of several
//! bytes, invalid UTF-8 - is left to the scalar scanner, which goes on from the last known
//! beginning until the awkward stretch is behind.
//!
//! Follows simdjson (Langdale and Lemire, arXiv:1902.08318) in carrying runs across masks.

use super::{
    classify::{Classify, Masks, WIDTH},
    gpt2::{contraction_len, pre_token_end},
    unicode::{Class, class_at},
};

/// Calls `visit` with start and end of each pre-token of `text`, in order.
#[inline]
pub(super) fn for_each_span(text: &[u8], classify: Classify, mut visit: impl FnMut(usize, usize)) {
    let mut start = 0;
    while start < text.len() {
        start = scan(text, start, classify, &mut visit);
        // The scan stopped at something that it leaves alone, at or behind `start`.
        let resume = start + WIDTH;
        while start < text.len() && start < resume {
            let end = pre_token_end(text, start);
            visit(start, end);
            start = end;
        }
    }
}

/// What one stretch of 64 bytes tells the next.
#[derive(Default)]
struct Carry {
    letter: u64,
    number: u64,
    other: u64,
    whitespace: u64,
    space: u64,
    /// A character that reaches into the next stretch: its class, and how many bytes of it.
    character: Option<(Class, usize)>,
    /// Bits of the next stretch at which a contraction ends, or which lie inside of one.
    begins: u64,
    inside: u64,
}

/// Visits pre-tokens from `start`, where one begins; returns the beginning of the first one not
/// visited, because the stretch after it holds something for the scalar scanner.
#[inline]
fn scan(
    text: &[u8],
    mut start: usize,
    classify: Classify,
    visit: &mut impl FnMut(usize, usize),
) -> usize {
    let mut base = start;
    let mut carry = Carry::default();
    while base < text.len() {
        let Some(mut begins) = beginnings(text, base, classify, &mut carry) else {
            return start;
        };
        while begins != 0 {
            let end = base + begins.trailing_zeros() as usize;
            begins &= begins - 1;
            if end > start {
                visit(start, end);
                start = end;
            }
        }
        base += WIDTH;
    }
    if start < text.len() {
        visit(start, text.len());
    }
    text.len()
}

/// Where pre-tokens begin in the 64 bytes from `base` on; [`None`] if the scalar scanner must see
/// to them.
#[inline]
fn beginnings(text: &[u8], base: usize, classify: Classify, carry: &mut Carry) -> Option<u64> {
    let rest = &text[base..];
    // Behind the end stands white space, so that a run of it at the end is not cut.
    let (masks, valid) = if let Some(bytes) = rest.first_chunk::<WIDTH>() {
        (classify.masks(bytes), u64::MAX)
    } else {
        let mut bytes = [b' '; WIDTH];
        bytes[..rest.len()].copy_from_slice(rest);
        (classify.masks(&bytes), (1 << rest.len()) - 1)
    };
    let Masks { mut letter, mut number, whitespace, space, apostrophe, high } = masks;
    let mut high_other = 0;
    if high != 0 || carry.character.is_some() {
        let wide = wide_characters(text, base, high, &mut carry.character)?;
        letter |= wide.letter;
        number |= wide.number;
        high_other = wide.other;
    }
    let other = !(letter | number | whitespace | high) | high_other;

    let behind = |mask: u64, carried: u64| (mask << 1) | carried;
    let led = behind(space, carry.space);
    let first_of = |mask: u64, carried: u64| mask & !behind(mask, carried) & !led;
    let next_is_whitespace = match text.get(base + WIDTH) {
        Some(&byte) if byte < 128 => matches!(byte, b'\t'..=b'\r' | b' '),
        Some(_) => class_at(text, base + WIDTH).0 == Class::Whitespace,
        None => true,
    };
    let before_whitespace = (whitespace >> 1) | (u64::from(next_is_whitespace) << (WIDTH - 1));
    let mut begins = first_of(letter, carry.letter)
        | first_of(number, carry.number)
        | first_of(other, carry.other)
        | (whitespace & !behind(whitespace, carry.whitespace))
        | (whitespace & !before_whitespace);
    begins = (begins | carry.begins) & !carry.inside;
    (carry.begins, carry.inside) = (0, 0);

    let mut quotes = apostrophe & begins;
    while quotes != 0 {
        let at = quotes.trailing_zeros() as usize;
        quotes &= quotes - 1;
        let len = contraction_len(&rest[at + 1..]);
        if len > 0 {
            // A contraction's letters begin nothing; what follows them does.
            let inside = 2_u128 << at;
            let next = 1_u128 << (at + 1 + len);
            begins = (begins & !low(inside)) | low(next);
            (carry.inside, carry.begins) = (carry.inside | top(inside), carry.begins | top(next));
        }
    }

    let last = |mask: u64| mask >> (WIDTH - 1);
    carry.letter = last(letter);
    carry.number = last(number);
    carry.other = last(other);
    carry.whitespace = last(whitespace);
    carry.space = last(space);
    Some(begins & valid)
}

/// The low 64 of 128 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn low(bits: u128) -> u64 {
    bits as u64
}

/// The high 64 of 128 bits.
fn top(bits: u128) -> u64 {
    low(bits >> 64)
}

/// Bytes of the characters outside ASCII, by class.
#[derive(Default)]
struct Wide {
    letter: u64,
    number: u64,
    other: u64,
}

/// Classifies the characters that the bytes of `high` form; [`None`] if one is white space or no
/// UTF-8. `open` is the character that reaches in, and becomes the one that reaches out.
fn wide_characters(
    text: &[u8],
    base: usize,
    mut high: u64,
    open: &mut Option<(Class, usize)>,
) -> Option<Wide> {
    let mut wide = Wide::default();
    let mut put = |class: Class, bits: u64| match class {
        Class::Letter => wide.letter |= bits,
        Class::Number => wide.number |= bits,
        Class::Other | Class::Whitespace => wide.other |= bits,
    };
    if let Some((class, len)) = open.take() {
        let bits = (1 << len) - 1;
        put(class, bits);
        high &= !bits;
    }
    while high != 0 {
        let at = high.trailing_zeros() as usize;
        let (class, len) = class_at(text, base + at);
        if class == Class::Whitespace || len == 1 {
            return None;
        }
        let bits = ((1 << len) - 1) << at;
        put(class, bits);
        high &= !bits;
        if at + len > WIDTH {
            *open = Some((class, at + len - WIDTH));
        }
    }
    Some(wide)
}
