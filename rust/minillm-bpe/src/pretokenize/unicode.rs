//! The class of a character: letter, number, white space, or other.
//!
//! Two bits a code point, 272 KiB, expanded from the ranges of `tables.rs` when the crate is
//! compiled; text touches a few cache lines of it. ASCII has a table of its own, one byte a byte.

use super::tables::{LETTER, NUMBER, WHITESPACE};

/// The version of the Unicode Character Database that all patterns use.
pub const UNICODE_VERSION: &str = "16.0.0";

/// What the published patterns ask of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// None of the below: punctuation, marks, symbols, controls, unassigned, and invalid bytes.
    Other = 0,
    /// `\p{L}`
    Letter = 1,
    /// `\p{N}`
    Number = 2,
    /// `\s`
    Whitespace = 3,
}

impl Class {
    /// The class of the low two bits.
    const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            1 => Self::Letter,
            2 => Self::Number,
            3 => Self::Whitespace,
            _ => Self::Other,
        }
    }
}

const CLASSES_PER_WORD: u32 = 32;
const N_WORDS: usize = 0x11_0000 / CLASSES_PER_WORD as usize;

static CLASSES: [u64; N_WORDS] = {
    let mut words = [0_u64; N_WORDS];
    fill(&mut words, LETTER, Class::Letter);
    fill(&mut words, NUMBER, Class::Number);
    fill(&mut words, WHITESPACE, Class::Whitespace);
    words
};

/// Writes `class` for all code points of `ranges`: whole words at once, so that the compiler's
/// interpreter is done in a moment.
const fn fill(words: &mut [u64; N_WORDS], ranges: &[(u32, u32)], class: Class) {
    let every_slot = 0x5555_5555_5555_5555 * class as u64;
    let mut i = 0;
    while i < ranges.len() {
        let (mut at, last) = ranges[i];
        while at <= last {
            let slot = at % CLASSES_PER_WORD;
            let word = (at / CLASSES_PER_WORD) as usize;
            if slot == 0 && at + CLASSES_PER_WORD - 1 <= last {
                words[word] = every_slot;
                at += CLASSES_PER_WORD;
            } else {
                words[word] |= (class as u64) << (2 * slot);
                at += 1;
            }
        }
        i += 1;
    }
}

/// The class of a code point.
#[inline]
pub(crate) fn class_of(code_point: u32) -> Class {
    let word = CLASSES.get((code_point / CLASSES_PER_WORD) as usize).copied().unwrap_or(0);
    Class::from_bits(word >> (2 * (code_point % CLASSES_PER_WORD)))
}

/// The class of an ASCII byte; [`None`] for a byte of 128 or more.
pub(crate) static ASCII: [Option<Class>; 256] = {
    let mut table = [None; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = Some(Class::from_bits(CLASSES[byte / 32] >> (2 * (byte % 32))));
        byte += 1;
    }
    table
};

/// The class and the length in bytes of the character that begins at `at`.
///
/// A byte that begins no valid UTF-8 sequence is a character of its own, of class other. The
/// caller guarantees `at < text.len()`.
#[inline]
pub(crate) fn class_at(text: &[u8], at: usize) -> (Class, usize) {
    match ASCII[usize::from(text[at])] {
        Some(class) => (class, 1),
        None => wide_class_at(text, at),
    }
}

/// [`class_at`] for a first byte of 128 or more.
fn wide_class_at(text: &[u8], at: usize) -> (Class, usize) {
    let tail = |i: usize| -> Option<u32> {
        let byte = *text.get(at + i)?;
        (byte & 0xC0 == 0x80).then_some(u32::from(byte & 0x3F))
    };
    let first = u32::from(text[at]);
    let decoded = match first {
        0xC2..=0xDF => tail(1).map(|b| (((first & 0x1F) << 6) | b, 2)),
        0xE0..=0xEF => tail(1)
            .zip(tail(2))
            .map(|(b, c)| (((first & 0x0F) << 12) | (b << 6) | c, 3))
            // Overlong forms and surrogates are not UTF-8.
            .filter(|&(point, _)| point >= 0x800 && !(0xD800..0xE000).contains(&point)),
        0xF0..=0xF4 => tail(1)
            .zip(tail(2))
            .zip(tail(3))
            .map(|((b, c), d)| (((first & 0x07) << 18) | (b << 12) | (c << 6) | d, 4))
            .filter(|&(point, _)| (0x1_0000..0x11_0000).contains(&point)),
        _ => None,
    };
    decoded.map_or((Class::Other, 1), |(point, len)| (class_of(point), len))
}

/// End of the run of characters of `class` from `at` on.
#[inline]
pub(super) fn run_end(text: &[u8], mut at: usize, class: Class) -> usize {
    loop {
        while at < text.len() && ASCII[usize::from(text[at])] == Some(class) {
            at += 1;
        }
        if at == text.len() || text[at] < 0x80 {
            return at;
        }
        let (found, len) = class_at(text, at);
        if found != class {
            return at;
        }
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regexes() -> [fancy_regex::Regex; 3] {
        [r"\p{L}", r"\p{N}", r"\s"].map(|pattern| fancy_regex::Regex::new(pattern).unwrap())
    }

    fn regex_class([letter, number, whitespace]: &[fancy_regex::Regex; 3], text: &str) -> Class {
        let is = |regex: &fancy_regex::Regex| regex.is_match(text).unwrap();
        match (is(letter), is(number), is(whitespace)) {
            (true, false, false) => Class::Letter,
            (false, true, false) => Class::Number,
            (false, false, true) => Class::Whitespace,
            _ => Class::Other,
        }
    }

    #[test]
    fn classes_equal_the_regex_engines_for_every_code_point() {
        let regexes = regexes();
        for character in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let text = character.encode_utf8(&mut buffer);
            let expected = (regex_class(&regexes, text), text.len());
            assert_eq!(class_at(text.as_bytes(), 0), expected, "U+{:04X}", u32::from(character));
        }
    }

    #[test]
    fn invalid_bytes_are_other_one_by_one() {
        let cases: [&[u8]; 8] = [
            b"\x80",
            b"\xC1\x81",
            b"\xE0\x80\x80",
            b"\xED\xA0\x80",
            b"\xF4\x90\x80\x80",
            b"\xF5",
            b"\xE2\x82",
            b"\xFF",
        ];
        for case in cases {
            assert_eq!(class_at(case, 0), (Class::Other, 1), "{case:x?}");
        }
    }

    #[test]
    #[ignore = "prints the ranges of tables.rs"]
    fn print_tables() {
        let regexes = regexes();
        for class in [Class::Letter, Class::Number, Class::Whitespace] {
            let mut ranges: Vec<(u32, u32)> = Vec::new();
            for character in '\0'..=char::MAX {
                let point = u32::from(character);
                if regex_class(&regexes, character.encode_utf8(&mut [0; 4])) == class {
                    match ranges.last_mut() {
                        Some((_, last)) if *last + 1 == point => *last = point,
                        _ => ranges.push((point, point)),
                    }
                }
            }
            println!("{class:?}");
            let ranges = ranges.iter().map(|(first, last)| format!("({first:#x}, {last:#x}), "));
            println!("{}", ranges.collect::<String>());
        }
    }
}
