//! Where pre-tokens of GPT-2's pattern begin, by arithmetic on masks.
//!
//! A pre-token begins
//!
//! - at the first character of a run of letters, of numbers or of others, unless a space leads it,
//! - at the first character of a run of white space,
//! - at the last character of such a run, if something else follows (there `\s+(?!\S)` gave it up).
//!
//! A space that leads a run is the last of its white space, so the third rule begins the
//! pre-token there. Contractions are mended one by one: they are rare.

#![expect(clippy::inline_always, reason = "each is compiled into its caller, for the processor")]

use super::{
    Rules,
    characters::Asks,
    stretch::{Stretch, behind, firsts, given_up},
};
use crate::pretokenize::gpt2::{contraction_len, pre_token_end};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pretokenize) struct Gpt2;

/// Whether the last byte of a stretch was of the class, or a space, which leads all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pretokenize) struct Carry {
    letter: bool,
    number: bool,
    other: bool,
}

/// A contraction has at most this many bytes, `'` and all.
const LONGEST_CONTRACTION: usize = 3;

impl Rules for Gpt2 {
    const ASKS: Asks = Asks::Class;
    type Carry = Carry;

    fn pre_token_end(self, text: &[u8], start: usize) -> usize {
        pre_token_end(text, start)
    }

    #[inline(always)]
    fn begins(self, rest: &[u8], stretch: &mut Stretch, carry: &mut Carry) -> u64 {
        let Stretch { letter, number, other, whitespace, space, .. } = *stretch;
        let (letters, numbers, others) = (letter | space, number | space, other | space);
        let of_runs = (letter & !behind(letters, carry.letter))
            | (number & !behind(numbers, carry.number))
            | (other & !behind(others, carry.other));
        let given_up = given_up(whitespace, whitespace, stretch.continuation);
        let mut begins = of_runs | firsts(whitespace, false) | given_up;
        let mut quotes = stretch.apostrophe & begins & (letter >> 1);
        while quotes != 0 {
            let at = quotes.trailing_zeros() as usize;
            quotes &= quotes - 1;
            if at + LONGEST_CONTRACTION >= stretch.len && !stretch.is_end {
                if at < stretch.len {
                    stretch.end_at(at);
                }
                break;
            }
            let len = contraction_len(&rest[at + 1..]);
            if len > 0 {
                // A contraction's letters begin nothing; what follows them does.
                begins = (begins & !(2 << at)) | (2 << (at + len));
            }
        }
        *carry = Carry {
            letter: stretch.last(letters),
            number: stretch.last(numbers),
            other: stretch.last(others),
        };
        begins
    }
}
