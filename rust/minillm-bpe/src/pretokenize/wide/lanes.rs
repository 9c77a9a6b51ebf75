//! The classes of 64 bytes at once, as one bit a byte, on any processor.
//!
//! [`Lanes`] is what a processor is asked to do; here it is done with plain 64-bit registers,
//! eight bytes a step, and `x86.rs` does it with vector instructions. The rest of the wide
//! scanner is written once, over this trait, and compiled for each.

#![expect(clippy::inline_always, reason = "so that masks nobody asks for cost nothing")]

/// Bytes that are looked at together.
pub(super) const WIDTH: usize = 64;

/// Bit i tells of byte i. Bytes of 128 and more are in `high` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// `A-Z a-z`
    pub letter: u64,
    /// `A-Z`
    pub upper: u64,
    /// `0-9`
    pub number: u64,
    /// Tab, line feed, vertical tab, form feed, carriage return, space.
    pub whitespace: u64,
    /// Space alone.
    pub space: u64,
    /// Line feed and carriage return.
    pub line_break: u64,
    /// `'`
    pub apostrophe: u64,
    /// `/`
    pub slash: u64,
    /// 128 and more.
    pub high: u64,
}

/// Common outside ASCII that can be told from two bytes: bit i is set where one begins.
///
/// They need not be all: what is left out is looked up one by one (`characters.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Common {
    /// Two bytes, `\p{Lu}`: U+0400 to U+042F, Cyrillic.
    pub upper: u64,
    /// Two bytes, `\p{Ll}`: U+0430 to U+045F, Cyrillic.
    pub lower: u64,
    /// Three bytes, `\p{Lo}`: U+4000 to U+4DBF and U+4E00 to U+9FFF, Chinese; U+AC00 to U+D77F,
    /// Korean.
    pub either: u64,
    /// Three bytes, neither letter nor mark, number or white space: punctuation of U+2010 to U+2027,
    /// of U+3001 to U+301F, the full-width forms of ASCII's, and what boxes are drawn with, U+2500 to
    /// U+25FF.
    pub other: u64,
    /// Each byte from 80 to BF: the second and later ones of a character.
    pub continuation: u64,
}

/// What a processor does with 64 bytes.
pub(super) trait Lanes: Copy {
    fn masks(self, bytes: &[u8; WIDTH]) -> Masks;

    /// Called where a byte is high; that second and third bytes are continuations is not checked.
    fn common(self, bytes: &[u8; WIDTH]) -> Common;

    /// Writes `first + i` for each bit i of `mask`, in order, at the head of `out`; what is
    /// behind them is arbitrary.
    fn positions(self, mask: u64, first: u16, out: &mut [u16; WIDTH]);
}

/// Any processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portable;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

impl Lanes for Portable {
    /// In step k, the high bit of each lane tells of byte 8k + lane. From step to step it moves down
    /// by one; what remains is to swap rows and columns of eight by eight bits.
    #[inline(always)]
    fn masks(self, bytes: &[u8; WIDTH]) -> Masks {
        let mut masks = Masks::default();
        for chunk in bytes.as_chunks::<8>().0 {
            let lanes = u64::from_le_bytes(*chunk);
            let ascii = !lanes & HIGH;
            let low = lanes & !HIGH;
            // The high bit of each lane whose value, below 128, is at least `n`.
            let at_least = |lanes: u64, n: u8| lanes + (0x80 - u64::from(n)) * ONES;
            let in_range = |lanes: u64, first: u8, last: u8| {
                at_least(lanes, first) & !at_least(lanes, last + 1) & ascii
            };
            let put = |mask: &mut u64, bits: u64| *mask = (*mask >> 1) | bits;
            let space = in_range(low, b' ', b' ');
            put(&mut masks.letter, in_range(low | (0x20 * ONES), b'a', b'z'));
            put(&mut masks.upper, in_range(low, b'A', b'Z'));
            put(&mut masks.number, in_range(low, b'0', b'9'));
            put(&mut masks.whitespace, in_range(low, b'\t', b'\r') | space);
            put(&mut masks.space, space);
            put(&mut masks.line_break, in_range(low, b'\n', b'\n') | in_range(low, b'\r', b'\r'));
            put(&mut masks.apostrophe, in_range(low, b'\'', b'\''));
            put(&mut masks.slash, in_range(low, b'/', b'/'));
            put(&mut masks.high, lanes & HIGH);
        }
        Masks {
            letter: transposed(masks.letter),
            upper: transposed(masks.upper),
            number: transposed(masks.number),
            whitespace: transposed(masks.whitespace),
            space: transposed(masks.space),
            line_break: transposed(masks.line_break),
            apostrophe: transposed(masks.apostrophe),
            slash: transposed(masks.slash),
            high: transposed(masks.high),
        }
    }

    /// Continuations alone: eight bytes a step, to tell the rest takes longer than to look it up.
    #[inline(always)]
    fn common(self, bytes: &[u8; WIDTH]) -> Common {
        let mut continuation = 0;
        for chunk in bytes.as_chunks::<8>().0 {
            let lanes = u64::from_le_bytes(*chunk);
            continuation = (continuation >> 1) | (lanes & !(lanes << 1) & HIGH);
        }
        Common { continuation: transposed(continuation), ..Common::default() }
    }

    #[inline]
    fn positions(self, mask: u64, first: u16, out: &mut [u16; WIDTH]) {
        positions(mask, first, out);
    }
}

/// Rows and columns of eight by eight bits swapped: blocks of one, of two, of four.
#[inline]
fn transposed(mut bits: u64) -> u64 {
    for (shift, corner) in
        [(7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0x0000_0000_F0F0_F0F0)]
    {
        let swapped = (bits ^ (bits >> shift)) & corner;
        bits ^= swapped ^ (swapped << shift);
    }
    bits
}

/// [`Lanes::positions`] bit by bit, eight at a time whether there are as many or not: a loop that
/// ends at the right one would be mispredicted in each stretch.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the number of a bit is at most 64")]
pub(super) fn positions(mut mask: u64, first: u16, out: &mut [u16; WIDTH]) {
    for eight in out.as_chunks_mut::<8>().0 {
        for slot in eight {
            *slot = first.wrapping_add(mask.trailing_zeros() as u16);
            mask &= mask.wrapping_sub(1);
        }
        if mask == 0 {
            break;
        }
    }
}
