//! The classes of the characters outside ASCII that a stretch holds.
//!
//! Where the processor can, those of the most common letters come from masks; all others are
//! looked up one by one.

use super::{
    lanes::{Lanes, WIDTH},
    stretch::low_bits,
};
use crate::pretokenize::unicode::{Case, Class, case_at, class_at};

/// What a pattern asks of a character besides its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pretokenize) enum Asks {
    /// Nothing: a number may have any length.
    Class,
    /// How many numbers there are, which bytes do not tell.
    Count,
    /// That, and the case of a letter.
    Case,
}

/// All bytes of the characters outside ASCII, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Characters {
    pub letter: u64,
    /// Of `letter`: `\p{Lu}\p{Lt}`, where it was asked for.
    pub upper: u64,
    /// Of `letter`: `\p{Lm}\p{Lo}`, where it was asked for.
    pub either: u64,
    pub number: u64,
    pub other: u64,
    /// All bytes but the first of each character.
    pub continuation: u64,
    /// First byte of a character that masks cannot deal with: white space, a byte that is not
    /// UTF-8, and what the pattern asks for but a mask does not tell. What is behind is not known.
    pub unclear: Option<usize>,
}

/// Where the first `len` bytes end if no character is to be cut in two.
///
/// Takes the bytes to be UTF-8, of which one character has at most four.
#[inline]
pub(super) fn whole_characters(bytes: &[u8; WIDTH], len: usize) -> usize {
    const LEAST_LEAD: [u8; 3] = [0xC0, 0xE0, 0xF0];
    for (back, least) in (1..).zip(LEAST_LEAD) {
        if len >= back && bytes[len - back] >= least {
            return len - back;
        }
    }
    len
}

/// Classifies the characters that the bytes of `high` form, all in the first 64 of
/// `text[base..]`, of which `bytes` is a copy.
#[inline]
pub(super) fn characters(
    lanes: impl Lanes,
    asks: Asks,
    text: &[u8],
    base: usize,
    bytes: &[u8; WIDTH],
    high: u64,
) -> Characters {
    let common = lanes.letters(bytes);
    let second = common.continuation >> 1;
    let third = second >> 1;
    let of_two = |lead: u64| (lead & second & high) * 3;
    let of_three = |lead: u64| (lead & second & third & high) * 7;
    let (upper, lower) = (of_two(common.upper), of_two(common.lower));
    let either = of_three(common.either);
    let letter = upper | lower | either;
    let continuation = common.continuation & letter;
    let mut found = Characters { letter, upper, either, continuation, ..Characters::default() };
    let mut rest = high & !letter;
    while rest != 0 {
        let at = rest.trailing_zeros() as usize;
        let (class, len) = class_at(text, base + at);
        if !found.put(asks, class, at, len, || case_at(text, base + at).0) {
            found.unclear = Some(at);
            break;
        }
        rest &= !(low_bits(len) << at);
    }
    found
}

impl Characters {
    /// Enters a character of `len` bytes; false if it is unclear.
    #[inline]
    fn put(
        &mut self,
        asks: Asks,
        class: Class,
        at: usize,
        len: usize,
        case: impl FnOnce() -> Case,
    ) -> bool {
        let bits = low_bits(len) << at;
        let case = if asks == Asks::Case { case() } else { Case::None };
        match class {
            _ if len == 1 => return false,
            Class::Letter => self.letter |= bits,
            Class::Number if asks == Asks::Class => self.number |= bits,
            // A mark counts as a letter if case is asked for.
            Class::Other if case == Case::None => self.other |= bits,
            Class::Number | Class::Other | Class::Whitespace => return false,
        }
        match case {
            Case::Upper => self.upper |= bits,
            Case::Either => self.either |= bits,
            Case::Lower | Case::None => {}
        }
        self.continuation |= bits & (bits << 1);
        true
    }
}
