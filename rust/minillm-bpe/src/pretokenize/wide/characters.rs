//! The classes of the characters outside ASCII that a stretch holds.
//!
//! Where the processor can, those of the most common ones come from masks; all others are looked
//! up one by one.

#![expect(clippy::inline_always, reason = "each is compiled into its caller, for the processor")]

use super::{
    lanes::{Lanes, WIDTH},
    stretch::low_bits,
};
use crate::pretokenize::unicode::{Case, Class, kind_at};

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
    pub whitespace: u64,
    /// All bytes but the first of each character.
    pub continuation: u64,
    /// First byte of a character that masks cannot deal with: a byte that is not UTF-8, a number
    /// or mark of which the pattern asks more than its class.
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
#[inline(always)]
pub(super) fn characters(
    lanes: impl Lanes,
    asks: Asks,
    text: &[u8],
    base: usize,
    bytes: &[u8; WIDTH],
    high: u64,
) -> Characters {
    let common = lanes.common(bytes);
    let second = common.continuation >> 1;
    let third = second >> 1;
    let of_two = |lead: u64| (lead & second & high) * 3;
    let of_three = |lead: u64| (lead & second & third & high) * 7;
    let (upper, lower) = (of_two(common.upper), of_two(common.lower));
    let either = of_three(common.either);
    let other = of_three(common.other);
    let letter = upper | lower | either;
    let mut found = Characters { letter, upper, either, other, ..Characters::default() };
    let mut unclear = 0;
    let mut known = letter | other;
    // From the masks, and not each from the one before: so they are looked up side by side.
    let mut leads = high & !common.continuation & !known;
    while leads != 0 {
        let at = leads.trailing_zeros() as usize;
        leads &= leads - 1;
        let (class, case, len) = kind_at(text, base + at);
        let bits = low_bits(len) << at;
        known |= bits;
        unclear |= found.put(asks, class, case, bits);
    }
    // A continuation that continues nothing.
    unclear |= high & !known;
    found.continuation = common.continuation & known;
    found.unclear = (unclear != 0).then(|| unclear.trailing_zeros() as usize);
    found
}

impl Characters {
    /// Enters the bytes of a character; returns them if it is unclear.
    ///
    /// Without branches, which in mixed text would often be mispredicted.
    #[inline(always)]
    fn put(&mut self, asks: Asks, class: Class, case: Case, bits: u64) -> u64 {
        let bits_if = |is: bool| if is { bits } else { 0 };
        self.letter |= bits_if(class == Class::Letter);
        self.number |= bits_if(class == Class::Number);
        self.other |= bits_if(class == Class::Other);
        self.whitespace |= bits_if(class == Class::Whitespace);
        let is_counted = asks != Asks::Class && class == Class::Number;
        // A mark counts as a letter if case is asked for.
        let is_mark = asks == Asks::Case && class == Class::Other && case != Case::None;
        if asks == Asks::Case {
            self.upper |= bits_if(case == Case::Upper);
            self.either |= bits_if(case == Case::Either);
        }
        bits_if(is_counted || is_mark || bits.is_power_of_two())
    }
}
