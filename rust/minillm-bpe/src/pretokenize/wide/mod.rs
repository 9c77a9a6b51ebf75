//! The published patterns, up to 63 bytes at a time: where pre-tokens begin, by arithmetic on bit
//! masks.
//!
//! For each stretch of text the processor tells, one bit a byte, what is a letter, a number, white
//! space ([`lanes`], `x86.rs`); characters outside ASCII are added to these masks
//! ([`characters`]), and a pattern's rules say at which bits a pre-token begins ([`gpt2`],
//! [`words`]). What is rare and awkward - white space of several bytes, invalid UTF-8 - is left to
//! the pattern's scalar scanner, which goes on from the last known beginning until that is behind.
//! A scan may start afresh wherever a pre-token begins, for no pattern looks back.
//!
//! The beginnings of some stretches are collected as numbers before they are handed out. So the
//! masks are worked on in one function that is compiled for the processor as a whole, and what is
//! done with a pre-token is compiled once, into its caller's loop.
//!
//! Follows simdjson (Langdale and Lemire, arXiv:1902.08318).

#![expect(clippy::inline_always, reason = "each is compiled into its caller, for the processor")]

mod characters;
mod gpt2;
mod lanes;
mod stretch;
#[cfg(test)]
mod tests;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::Block;
use characters::Asks;
pub(super) use gpt2::Gpt2;
use lanes::{Lanes, Portable, WIDTH};
use stretch::{Stretch, low_bits};
pub(super) use words::{Cl100k, O200k};

/// A pattern: its scalar scanner, and the same in masks.
pub(in crate::pretokenize) trait Rules: Copy {
    const ASKS: Asks;
    /// What the end of a stretch tells the next; the default is the start of the text.
    type Carry: Copy + Default;

    /// End of the pre-token that begins at `start`, which is less than `text.len()`.
    fn pre_token_end(self, text: &[u8], start: usize) -> usize;

    /// Where pre-tokens begin in `stretch`, the head of `rest`; bits from its end on mean nothing.
    /// May end the stretch earlier.
    fn begins(self, rest: &[u8], stretch: &mut Stretch, carry: &mut Self::Carry) -> u64;
}

/// A way to scan. For measurements and tests; [`PreTokenizer::new`](super::PreTokenizer::new)
/// takes the best.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
}

impl Path {
    /// All that this processor can take, slowest first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self(Kind::Scalar), Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(x86::Avx2::detect().map(|has| Self(Kind::Avx2(has))));
            all.extend(x86::Avx512::detect().map(|has| Self(Kind::Avx512(has))));
        }
        all
    }

    /// The fastest.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self(Kind::Portable))
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
        }
    }
}

/// Bytes that the scalar scanner takes on where the wide one did not get far: text with much that
/// is awkward is not scanned twice.
const SCALAR_STRETCH: usize = 4 * WIDTH;

/// Calls `visit` with the pre-tokens of `text`, in order, some at a time.
#[inline]
pub(in crate::pretokenize) fn for_each_block<R: Rules>(
    text: &[u8],
    rules: R,
    path: Path,
    mut visit: impl FnMut(Block<'_>),
) {
    let mut start = 0;
    let mut batch = Batch { begins: [0; BATCH], len: 0 };
    while start < text.len() {
        let scan_start = start;
        let resume = if path.0 == Kind::Scalar {
            text.len()
        } else {
            let mut cursor = Cursor { base: start, carry: R::Carry::default(), known: 1 };
            loop {
                let base = cursor.base;
                let state = fill(path, rules, text, &mut cursor, &mut batch);
                if let Some(&last) = batch.begins[..batch.len].last() {
                    visit(Block { start, base, ends: &batch.begins[..batch.len] });
                    start = base + usize::from(last);
                }
                match state {
                    State::Full => {}
                    State::End => {
                        visit(Block::of_one(start, text.len()));
                        return;
                    }
                    State::Unclear => break,
                }
            }
            let is_near = cursor.base < scan_start + 2 * WIDTH;
            cursor.base + if is_near { SCALAR_STRETCH } else { 1 }
        };
        while start < text.len() && start < resume {
            let end = rules.pre_token_end(text, start);
            visit(Block::of_one(start, end));
            start = end;
        }
    }
}

/// Beginnings that are collected at once: as many as in some 16 stretches, room for the last
/// included.
const BATCH: usize = 17 * WIDTH;

/// Where pre-tokens begin, relative to the first byte of the batch.
struct Batch {
    begins: [u16; BATCH],
    len: usize,
}

/// How far a scan has come.
struct Cursor<C> {
    /// The first byte that was not looked at; at [`State::Unclear`] the awkward one.
    base: usize,
    carry: C,
    /// 1 where the scan starts: that a pre-token begins there is known.
    known: u64,
}

/// Why a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Full,
    /// The scalar scanner must go on behind what is at the cursor.
    Unclear,
    /// The last pre-token reaches to the end of the text.
    End,
}

/// [`fill_with`], compiled for the processor that `path` stands for.
#[inline]
fn fill<R: Rules>(
    path: Path,
    rules: R,
    text: &[u8],
    cursor: &mut Cursor<R::Carry>,
    batch: &mut Batch,
) -> State {
    match path.0 {
        Kind::Scalar | Kind::Portable => fill_portable(rules, text, cursor, batch),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `has` proves that the processor has what the function is compiled for.
        Kind::Avx2(has) => unsafe { fill_avx2(has, rules, text, cursor, batch) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::Avx512(has) => unsafe { fill_avx512(has, rules, text, cursor, batch) },
    }
}

#[inline(never)]
fn fill_portable<R: Rules>(
    rules: R,
    text: &[u8],
    cursor: &mut Cursor<R::Carry>,
    batch: &mut Batch,
) -> State {
    fill_with(Portable, rules, text, cursor, batch)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn fill_avx2<R: Rules>(
    has: x86::Avx2,
    rules: R,
    text: &[u8],
    cursor: &mut Cursor<R::Carry>,
    batch: &mut Batch,
) -> State {
    fill_with(has, rules, text, cursor, batch)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn fill_avx512<R: Rules>(
    has: x86::Avx512,
    rules: R,
    text: &[u8],
    cursor: &mut Cursor<R::Carry>,
    batch: &mut Batch,
) -> State {
    fill_with(has, rules, text, cursor, batch)
}

/// Collects beginnings from the cursor on until the batch is full.
#[inline(always)]
fn fill_with<R: Rules>(
    lanes: impl Lanes,
    rules: R,
    text: &[u8],
    cursor: &mut Cursor<R::Carry>,
    batch: &mut Batch,
) -> State {
    let (mut base, mut carry, mut known) = (cursor.base, cursor.carry, cursor.known);
    let mut first = 0;
    batch.len = 0;
    let state = loop {
        let Some(slots) = batch.begins[batch.len..].first_chunk_mut() else { break State::Full };
        if first >= MOST_BYTES {
            break State::Full;
        }
        let mut stretch = Stretch::read(lanes, R::ASKS, text, base);
        let begins = rules.begins(&text[base..], &mut stretch, &mut carry);
        let begins = begins & low_bits(stretch.len) & !known;
        known = 0;
        lanes.positions(begins, first, slots);
        batch.len += begins.count_ones() as usize;
        base += stretch.len;
        #[expect(clippy::cast_possible_truncation, reason = "at most 63")]
        let len = stretch.len as u16;
        first += len;
        if stretch.is_unclear {
            break State::Unclear;
        }
        if stretch.is_end || base >= text.len() {
            break State::End;
        }
    };
    *cursor = Cursor { base, carry, known };
    state
}

/// Bytes that a batch may hold, so that sixteen bits can count them.
const MOST_BYTES: u16 = u16::MAX - 64;
