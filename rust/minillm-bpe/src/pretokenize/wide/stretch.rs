//! Up to 63 bytes of text as masks, and where to end them.
//!
//! Of the 64 bytes that are read, the last only tells what follows. A stretch ends earlier where
//! something reaches over its end that is not understood without it: a character of several
//! bytes, a run of white space, and what the patterns add. The next stretch begins there. So all
//! that one must tell the next is what its last byte was.

#![expect(clippy::inline_always, reason = "each is compiled into its caller, for the processor")]

use super::{
    characters::{Asks, Characters, characters, whole_characters},
    lanes::{Lanes, Masks, WIDTH},
};
use crate::pretokenize::unicode::{Class, class_at};

/// Masks of the first `len` bytes; their bits from there on mean nothing unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub(in crate::pretokenize) struct Stretch {
    pub len: usize,
    /// The text ends behind this stretch; all masks go on with spaces.
    pub is_end: bool,
    /// The scalar scanner must see to what follows this stretch.
    pub is_unclear: bool,
    /// All letters.
    pub letter: u64,
    /// Of `letter`: those that begin a word only, `\p{Lu}\p{Lt}`.
    pub upper: u64,
    /// Of `letter`: those without case, `\p{Lm}\p{Lo}`.
    pub either: u64,
    pub number: u64,
    pub other: u64,
    /// Bit `len` is known too.
    pub whitespace: u64,
    /// Of `whitespace`: the space, U+0020.
    pub space: u64,
    /// Of `whitespace`: line feed and carriage return.
    pub line_break: u64,
    pub apostrophe: u64,
    pub slash: u64,
    /// All bytes but the first of each character.
    pub continuation: u64,
}

impl Stretch {
    /// The stretch that begins at `base`, which is less than `text.len()`.
    #[inline(always)]
    pub(super) fn read(lanes: impl Lanes, asks: Asks, text: &[u8], base: usize) -> Self {
        let rest = &text[base..];
        let padded;
        let (bytes, mut len, is_end) = if let Some(bytes) = rest.first_chunk::<WIDTH>() {
            (bytes, WIDTH - 1, false)
        } else {
            padded = with_spaces(rest);
            (&padded, rest.len(), true)
        };
        let masks = lanes.masks(bytes);
        let mut found = Characters::default();
        if masks.high & low_bits(len) != 0 {
            if !is_end {
                len = whole_characters(bytes, len);
            }
            found = characters(lanes, asks, text, base, bytes, masks.high & low_bits(len));
        }
        let mut stretch = Self::new(masks, found, len, is_end);
        if let Some(at) = found.unclear {
            stretch.len = at;
            stretch.is_unclear = true;
            stretch.is_end = false;
        }
        stretch.leave_open_whitespace(text, base, masks.high);
        stretch
    }

    #[inline(always)]
    fn new(masks: Masks, found: Characters, len: usize, is_end: bool) -> Self {
        let Masks { letter, upper, number, whitespace, space, line_break, .. } = masks;
        Self {
            len,
            is_end,
            is_unclear: false,
            letter: letter | found.letter,
            upper: upper | found.upper,
            either: found.either,
            number: number | found.number,
            other: !(letter | number | whitespace | masks.high) | found.other,
            whitespace: whitespace | found.whitespace,
            space,
            line_break,
            apostrophe: masks.apostrophe,
            slash: masks.slash,
            continuation: found.continuation,
        }
    }

    /// Ends before a run of white space that is longer than the stretch, or may be.
    #[inline(always)]
    fn leave_open_whitespace(&mut self, text: &[u8], base: usize, high: u64) {
        let len = self.len;
        let ends_in_whitespace = (self.whitespace << 1 >> len) & 1 != 0;
        if ends_in_whitespace
            && !self.is_end
            && (self.is_unclear
                || (self.whitespace >> len) & 1 != 0
                || ((high >> len) & 1 != 0 && class_at(text, base + len).0 == Class::Whitespace))
        {
            self.end_before(self.whitespace);
        }
    }

    /// Ends before the run of `mask` that reaches the end.
    #[inline]
    pub(super) fn end_before(&mut self, mask: u64) {
        self.end_at(run_start(mask, self.len));
    }

    /// Ends at `len`, earlier than thought. What is not understood from its first byte on is left
    /// to the scalar scanner.
    #[inline]
    pub(super) fn end_at(&mut self, len: usize) {
        self.len = len;
        self.is_end = false;
        self.is_unclear |= len == 0;
    }

    /// Whether the last byte is in `mask`.
    #[inline]
    pub(super) fn last(&self, mask: u64) -> bool {
        mask & (1 << self.len >> 1) != 0
    }
}

/// `rest`, which is shorter, and then spaces.
#[cold]
fn with_spaces(rest: &[u8]) -> [u8; WIDTH] {
    let mut padded = [b' '; WIDTH];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// The `n` lowest bits, `n` less than 64.
#[inline]
pub(super) fn low_bits(n: usize) -> u64 {
    (1 << n) - 1
}

/// The last characters of runs of `blank` that `whitespace` does not go on behind, by their first
/// bytes. Something follows them, and `\s+(?!\S)` gives them up.
#[inline(always)]
pub(super) fn given_up(blank: u64, whitespace: u64, continuation: u64) -> u64 {
    let mut lasts = blank & !(whitespace >> 1);
    while lasts & continuation != 0 {
        lasts = (lasts & !continuation) | ((lasts & continuation) >> 1);
    }
    lasts
}

/// The first bits of the runs of `mask`; `carried` tells whether the byte before the stretch was in it.
#[inline]
pub(super) fn firsts(mask: u64, carried: bool) -> u64 {
    mask & !behind(mask, carried)
}

/// The bytes behind those of `mask`.
#[inline]
pub(super) fn behind(mask: u64, carried: bool) -> u64 {
    (mask << 1) | u64::from(carried)
}

/// The first bit of `mask`.
///
/// This and [`run_start`] say where a stretch ends early. They are calls so that the compiler makes
/// a branch of the question whether it does: of a choice between two lengths, each stretch would
/// have to wait for the masks of the one before it. Measured, this is up to twice as fast.
#[cold]
#[inline(never)]
pub(super) fn first_bit(mask: u64) -> usize {
    mask.trailing_zeros() as usize
}

/// The first bit of the run of `mask` that reaches up to `end`, which itself is not looked at.
#[cold]
#[inline(never)]
pub(super) fn run_start(mask: u64, end: usize) -> usize {
    WIDTH - (!mask & low_bits(end)).leading_zeros() as usize
}

/// The runs of `mask` from `starts` on: one at most in each run.
///
/// A sum carries a bit through the run; what it turns to 0 on its way is the run.
#[inline]
pub(super) fn runs_from(starts: u64, mask: u64) -> u64 {
    mask & !mask.wrapping_add(starts)
}
