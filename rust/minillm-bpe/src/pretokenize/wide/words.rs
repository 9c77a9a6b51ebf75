//! Where pre-tokens of GPT-4's and GPT-4o's patterns begin, by arithmetic on masks.
//!
//! A pre-token begins
//!
//! - at the first of a run of letters, unless a character leads it: white space that is no line
//!   break, or an other that stands alone and that no space leads;
//! - GPT-4o: at a capital behind a small letter;
//! - at the first of a run of numbers, and at each `max_numbers`-th from there;
//! - at the first of a run of others, unless a space leads it. The line breaks behind such a run
//!   belong to it; GPT-4o: and slashes behind these, and so on;
//! - at the first of a run of white space, as far as it does not belong to others before it;
//! - in such a run, behind the last line break, and at the last character if it is no line break
//!   and something follows.
//!
//! GPT-4's contractions stand before words and GPT-4o's behind them; both are mended one by one.

#![expect(clippy::inline_always, reason = "each is compiled into its caller, for the processor")]

use super::{
    Rules,
    characters::Asks,
    stretch::{Stretch, behind, first_bit, firsts, given_up, low_bits, run_start, runs_from},
};
use crate::pretokenize::{cl100k, o200k};

/// GPT-4's pattern and its relatives.
pub(in crate::pretokenize) type Cl100k = Words<false>;
/// GPT-4o's pattern.
pub(in crate::pretokenize) type O200k = Words<true>;

/// A pattern of the family; `CASES` is what GPT-4o's adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pretokenize) struct Words<const CASES: bool>(cl100k::Rules);

impl Cl100k {
    pub(in crate::pretokenize) fn new(rules: cl100k::Rules) -> Self {
        Self(rules)
    }
}

impl O200k {
    pub(in crate::pretokenize) fn new() -> Self {
        Self(cl100k::Rules { max_numbers: o200k::MAX_NUMBERS, keeps_end: false })
    }
}

/// What the last byte of a stretch was.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pretokenize) struct Carry {
    /// A letter, or what leads letters.
    word: bool,
    /// An other, or a space, which leads others.
    other: bool,
    /// What takes line breaks: an other, or a slash behind line breaks.
    tail: bool,
    last: Last,
}

/// What GPT-4o's pattern alone asks of the last byte. As one value and not as four flags: of these
/// the compiler would make a vector, at whose ends the next stretch had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Elsewhere,
    /// A letter by its case.
    Lower,
    Upper,
    Either,
    /// A line break or slash that belongs to others before it.
    Tail,
}

/// A contraction has at most this many bytes, `'` and all.
const LONGEST_CONTRACTION: usize = 3;

impl Last {
    fn is_letter(self) -> bool {
        matches!(self, Self::Lower | Self::Upper | Self::Either)
    }
}

impl<const CASES: bool> Rules for Words<CASES> {
    const ASKS: Asks = if CASES { Asks::Case } else { Asks::Count };
    type Carry = Carry;

    fn pre_token_end(self, text: &[u8], start: usize) -> usize {
        if CASES {
            o200k::pre_token_end(text, start)
        } else {
            cl100k::pre_token_end(text, start, self.0)
        }
    }

    #[inline(always)]
    fn begins(self, rest: &[u8], stretch: &mut Stretch, carry: &mut Carry) -> u64 {
        let Stretch { letter, upper, either, space, apostrophe, .. } = *stretch;
        let lower = letter & !upper & !either;
        if CASES {
            leave_capitals_behind_caseless(stretch, carry);
        }
        let numbers = self.numbers(stretch);
        let tail = tails::<CASES>(stretch, carry);
        let other = stretch.other & !tail;
        let whitespace = stretch.whitespace & !tail;
        let blank = stretch.whitespace & !stretch.line_break;

        let others = other & !behind(other | space, carry.other);
        // Behind the first character of a run: through the rest of its bytes, if it has several.
        let continuation = stretch.continuation & other;
        let behind_leader = continuation.wrapping_add(others << 1) & !continuation;
        let mut words = letter & !behind(letter | blank, carry.word) & !behind_leader;
        if CASES {
            words |= upper & behind(lower, carry.last == Last::Lower);
        }
        let mut begins = words | numbers | others | self.whitespace(stretch, whitespace, blank);
        let quotes =
            if CASES { behind(letter, carry.last.is_letter()) } else { others } & apostrophe;
        // Of the byte behind the end it may not be known whether it is a letter.
        let before_letter = (letter >> 1) | (1 << stretch.len >> 1);
        begins = contractions::<CASES>(rest, stretch, quotes & before_letter, begins);

        let goes_on = letter | blank | (behind_leader >> 1);
        *carry = Carry {
            word: stretch.last(goes_on),
            other: stretch.last(other | space),
            tail: stretch.last(stretch.other),
            last: if !CASES {
                Last::Elsewhere
            } else if stretch.last(lower) {
                Last::Lower
            } else if stretch.last(upper) {
                Last::Upper
            } else if stretch.last(either) {
                Last::Either
            } else if stretch.last(tail) {
                Last::Tail
            } else {
                Last::Elsewhere
            },
        };
        begins
    }
}

/// Ends before a capital behind a letter without case, and leaves it to the scalar scanner: whether
/// it begins a word depends on what follows, however far away.
#[inline(always)]
fn leave_capitals_behind_caseless(stretch: &mut Stretch, carry: &Carry) {
    let capitals = stretch.upper & behind(stretch.either, carry.last == Last::Either);
    if capitals & low_bits(stretch.len) != 0 {
        stretch.end_at(first_bit(capitals));
        stretch.is_unclear = true;
    }
}

/// The line breaks that belong to others before them, and GPT-4o's slashes.
#[inline(always)]
fn tails<const CASES: bool>(stretch: &Stretch, carry: &Carry) -> u64 {
    let Stretch { line_break, slash, other, .. } = *stretch;
    let mut tail = runs_from(line_break & behind(other, carry.tail), line_break);
    if CASES {
        loop {
            let slashes = slash & behind(tail, carry.last == Last::Tail) & !tail;
            if slashes == 0 {
                break;
            }
            tail |= runs_from(slashes, slash);
            tail |= runs_from(line_break & behind(tail, false) & !tail, line_break);
        }
    }
    tail
}

/// Mends the contractions at `quotes`.
#[inline(always)]
fn contractions<const CASES: bool>(
    rest: &[u8],
    stretch: &mut Stretch,
    mut quotes: u64,
    mut begins: u64,
) -> u64 {
    let mut behind_last = usize::MAX;
    while quotes != 0 {
        let at = quotes.trailing_zeros() as usize;
        quotes &= quotes - 1;
        if CASES && at == behind_last {
            // The letter before it ends a contraction, and no word.
            continue;
        }
        if at + LONGEST_CONTRACTION >= stretch.len && !stretch.is_end {
            if at < stretch.len {
                stretch.end_at(at);
            }
            break;
        }
        let len = cl100k::contraction_len(&rest[at..]);
        if len > 0 {
            let from = at + usize::from(!CASES);
            behind_last = at + len;
            begins &= !(low_bits(behind_last - from) << from);
            begins |= 1 << behind_last;
        }
    }
    begins
}

impl<const CASES: bool> Words<CASES> {
    /// Where pre-tokens of numbers begin. Ends the stretch before a run that is longer than it.
    #[inline(always)]
    fn numbers(self, stretch: &mut Stretch) -> u64 {
        let number = stretch.number;
        let max = self.0.max_numbers;
        if max == 1 {
            return number;
        }
        if (number << 1) & number & (1 << stretch.len) != 0 && !stretch.is_end {
            stretch.end_before(number);
        }
        let mut begins = firsts(number, false);
        if (begins << max) & number == 0 {
            return begins;
        }
        // Where a run has gone on for `max` bytes.
        let (mut full, mut shifted) = (number, number);
        for _ in 0..max {
            shifted <<= 1;
            full &= shifted;
        }
        let mut next = (begins << max) & full;
        while next != 0 {
            begins |= next;
            next = (next << max) & full;
        }
        begins
    }

    /// Where pre-tokens of white space begin: `whitespace` is what does not belong to others before
    /// it, `blank` all but line breaks.
    #[inline(always)]
    fn whitespace(self, stretch: &Stretch, whitespace: u64, blank: u64) -> u64 {
        let first = firsts(whitespace, false);
        let given_up = given_up(blank, stretch.whitespace, stretch.continuation);
        let mut behind_line_break = firsts(blank, false);
        let mut before_line_break = blank & (stretch.line_break >> 1);
        while before_line_break != 0 {
            let at = before_line_break.trailing_zeros() as usize;
            before_line_break &= before_line_break - 1;
            behind_line_break &= !(1 << run_start(blank, at));
        }
        let mut begins = first | behind_line_break | given_up;
        if self.0.keeps_end && stretch.is_end && stretch.last(whitespace) {
            let start = run_start(whitespace, stretch.len);
            begins &= !(u64::MAX << start << 1);
        }
        begins
    }
}
