//! The class of a character: letter, number, white space, or other.
//!
//! And the case of a letter, for which only GPT-4o's pattern asks.
//!
//! Four bits a code point, 544 KiB, expanded from the ranges of `tables.rs` and `case_tables.rs`
//! when the crate is compiled; text touches a few cache lines of it. ASCII has a table of its own,
//! one byte a byte.

use super::case_tables::{EITHER, LOWER, UPPER};
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

/// Where in a word a letter may stand, as far as GPT-4o's pattern cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Case {
    /// No letter, and no mark either.
    None = 0,
    /// `\p{Lu}\p{Lt}`: only in the first part.
    Upper = 1,
    /// `\p{Ll}`: only in the second part.
    Lower = 2,
    /// `\p{Lm}\p{Lo}\p{M}`: in both.
    Either = 3,
}

impl Case {
    /// The case of the low two bits.
    const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            1 => Self::Upper,
            2 => Self::Lower,
            3 => Self::Either,
            _ => Self::None,
        }
    }
}

/// Four bits for each code point: the class in the lower two, the case in the upper two.
type Table = [u64; 0x11_0000 / SLOTS_PER_WORD as usize];
const SLOTS_PER_WORD: u32 = 16;
const CASE_SHIFT: u32 = 2;

static KINDS: Table = {
    let mut table = [0; _];
    fill(&mut table, LETTER, Class::Letter as u64);
    fill(&mut table, NUMBER, Class::Number as u64);
    fill(&mut table, WHITESPACE, Class::Whitespace as u64);
    fill(&mut table, UPPER, (Case::Upper as u64) << CASE_SHIFT);
    fill(&mut table, LOWER, (Case::Lower as u64) << CASE_SHIFT);
    fill(&mut table, EITHER, (Case::Either as u64) << CASE_SHIFT);
    table
};

/// Adds `bits` to all code points of `ranges`: whole words at once, so that the compiler's
/// interpreter is done in a moment.
const fn fill(table: &mut Table, ranges: &[(u32, u32)], bits: u64) {
    let every_slot = 0x1111_1111_1111_1111 * bits;
    let mut i = 0;
    while i < ranges.len() {
        let (mut at, last) = ranges[i];
        while at <= last {
            let slot = at % SLOTS_PER_WORD;
            let word = (at / SLOTS_PER_WORD) as usize;
            if slot == 0 && at + SLOTS_PER_WORD - 1 <= last {
                table[word] |= every_slot;
                at += SLOTS_PER_WORD;
            } else {
                table[word] |= bits << (4 * slot);
                at += 1;
            }
        }
        i += 1;
    }
}

/// The four bits of a code point.
#[inline]
fn look_up(code_point: u32) -> u64 {
    let word = KINDS.get((code_point / SLOTS_PER_WORD) as usize).copied().unwrap_or(0);
    word >> (4 * (code_point % SLOTS_PER_WORD)) & 15
}

/// The class of an ASCII byte; [`None`] for a byte of 128 or more.
pub(crate) static ASCII: [Option<Class>; 256] = {
    let mut table = [None; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = Some(Class::from_bits(KINDS[byte / 16] >> (4 * (byte % 16))));
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
    let (class, _, len) = kind_at(text, at);
    (class, len)
}

/// The case and the length in bytes of the character that begins at `at`; as [`class_at`].
#[inline]
pub(crate) fn case_at(text: &[u8], at: usize) -> (Case, usize) {
    let (_, case, len) = kind_at(text, at);
    (case, len)
}

/// Class, case and length in bytes of the character that begins at `at`; as [`class_at`].
#[inline]
pub(crate) fn kind_at(text: &[u8], at: usize) -> (Class, Case, usize) {
    let (code_point, len) = decode(text, at);
    let bits = look_up(code_point);
    (Class::from_bits(bits), Case::from_bits(bits >> CASE_SHIFT), len)
}

/// The character that begins at `at` and its length in bytes. For a byte that begins no valid
/// sequence it is U+FFFD, of length 1.
#[inline]
fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let tail = |i: usize| -> Option<u32> {
        let byte = *text.get(at + i)?;
        (byte & 0xC0 == 0x80).then_some(u32::from(byte & 0x3F))
    };
    let first = u32::from(text[at]);
    let decoded = match first {
        0..=0x7F => Some((first, 1)),
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
    decoded.unwrap_or((u32::from(char::REPLACEMENT_CHARACTER), 1))
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

    const CLASS_REGEXES: [&str; 3] = [r"\p{L}", r"\p{N}", r"\s"];
    const CASE_REGEXES: [&str; 3] = [r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}\p{M}]"];

    fn compile(regexes: [&str; 3]) -> [fancy_regex::Regex; 3] {
        regexes.map(|pattern| fancy_regex::Regex::new(pattern).unwrap())
    }

    /// Which of the regexes matches a character: 1, 2, 3, or 0 for none.
    fn which(regexes: &[fancy_regex::Regex; 3], character: char) -> u64 {
        let mut buffer = [0; 4];
        let text: &str = character.encode_utf8(&mut buffer);
        (1..).zip(regexes).filter(|(_, regex)| regex.is_match(text).unwrap()).map(|(i, _)| i).sum()
    }

    #[test]
    fn classes_equal_the_regex_engines_for_every_code_point() {
        let (classes, cases) = (compile(CLASS_REGEXES), compile(CASE_REGEXES));
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            let (class, class_len) = class_at(text.as_bytes(), 0);
            let (case, case_len) = case_at(text.as_bytes(), 0);
            assert_eq!((class_len, case_len), (text.len(), text.len()), "{character:?}");
            assert_eq!(class as u64, which(&classes, character), "{character:?}");
            assert_eq!(case as u64, which(&cases, character), "{character:?}");
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
            assert_eq!(case_at(case, 0), (Case::None, 1), "{case:x?}");
        }
    }

    #[test]
    #[ignore = "prints the ranges of tables.rs and case_tables.rs"]
    fn print_tables() {
        for regexes in [CLASS_REGEXES, CASE_REGEXES] {
            let compiled = compile(regexes);
            for (wanted, regex) in (1..).zip(regexes) {
                let mut ranges: Vec<(u32, u32)> = Vec::new();
                for character in ('\0'..=char::MAX).filter(|&c| which(&compiled, c) == wanted) {
                    let point = u32::from(character);
                    match ranges.last_mut() {
                        Some((_, last)) if *last + 1 == point => *last = point,
                        _ => ranges.push((point, point)),
                    }
                }
                let ranges =
                    ranges.iter().map(|(first, last)| format!("({first:#x}, {last:#x}), "));
                println!("{regex}\n{}", ranges.collect::<String>());
            }
        }
    }
}
