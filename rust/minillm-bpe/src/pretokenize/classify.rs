//! The classes of 64 bytes at once, as one bit a byte.
//!
//! Three ways to the same masks: eight bytes in a register of any processor (the portable path),
//! 32 with AVX2, 64 with AVX-512. [`Classify::best`] asks the processor once; what is compiled
//! stays baseline, so one wheel serves all.

/// Bytes that are classified together.
pub(super) const WIDTH: usize = 64;

/// Bit i tells of byte i. Bytes of 128 and more are in `high` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// `A-Z a-z`
    pub letter: u64,
    /// `0-9`
    pub number: u64,
    /// Tab, line feed, vertical tab, form feed, carriage return, space.
    pub whitespace: u64,
    /// Space alone.
    pub space: u64,
    /// `'`
    pub apostrophe: u64,
    /// 128 and more.
    pub high: u64,
}

/// One way to make [`Masks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Classify {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Classify {
    /// The fastest that this processor can do.
    pub(super) fn best() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// All that this processor can do, slowest first.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let all = [
            (Self::Portable, true),
            (Self::Avx2, is_x86_feature_detected!("avx2")),
            (Self::Avx512, is_x86_feature_detected!("avx512bw")),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let all = [(Self::Portable, true)];
        all.into_iter().filter(|(_, has)| *has).map(|(way, _)| way)
    }

    #[inline]
    pub(super) fn masks(self, bytes: &[u8; WIDTH]) -> Masks {
        match self {
            Self::Portable => portable(bytes),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes this value, and only where the processor has AVX2.
            Self::Avx2 => unsafe { avx2(bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes this value, and only where the processor has AVX-512BW.
            Self::Avx512 => unsafe { avx512(bytes) },
        }
    }
}

/// Eight bytes a step, each in its own lane of a 64-bit register.
fn portable(bytes: &[u8; WIDTH]) -> Masks {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    /// The high bit of each lane whose value, below 128, is at least `n`.
    fn at_least(lanes: u64, n: u8) -> u64 {
        (lanes + (0x80 - u64::from(n)) * ONES) & HIGH
    }
    /// Gathers the high bits of the lanes: the product lines them up in the top byte.
    fn gather(high_bits: u64) -> u64 {
        ((high_bits >> 7).wrapping_mul(0x0102_0408_1020_4080)) >> 56
    }
    let mut masks = Masks::default();
    for (i, chunk) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let lanes = u64::from_le_bytes(*chunk);
        let high = lanes & HIGH;
        let low = lanes & !HIGH;
        let in_range = |lanes: u64, first: u8, last: u8| {
            at_least(lanes, first) & !at_least(lanes, last + 1) & !high
        };
        let put = |mask: &mut u64, bits: u64| *mask |= gather(bits) << (8 * i);
        let space = in_range(low, b' ', b' ');
        put(&mut masks.letter, in_range(low | (0x20 * ONES), b'a', b'z'));
        put(&mut masks.number, in_range(low, b'0', b'9'));
        put(&mut masks.whitespace, in_range(low, b'\t', b'\r') | space);
        put(&mut masks.space, space);
        put(&mut masks.apostrophe, in_range(low, b'\'', b'\''));
        put(&mut masks.high, high);
    }
    masks
}

/// 32 bytes a step. Comparisons are signed there, so a range test first moves the range down to
/// the least values.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(bytes: &[u8; WIDTH]) -> Masks {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi8, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };
    let splat = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
    let bits = |lanes: __m256i| u64::from(_mm256_movemask_epi8(lanes).cast_unsigned());
    let in_range = |lanes: __m256i, first: u8, last: u8| {
        let moved = _mm256_add_epi8(lanes, splat(0x80_u8.wrapping_sub(first)));
        _mm256_cmpgt_epi8(splat(0x81_u8.wrapping_add(last - first)), moved)
    };
    let mut masks = Masks::default();
    for (i, half) in bytes.as_chunks::<32>().0.iter().enumerate() {
        // SAFETY: `half` is 32 readable bytes, and the load needs no alignment.
        let lanes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
        let put = |mask: &mut u64, lanes: __m256i| *mask |= bits(lanes) << (32 * i);
        let space = _mm256_cmpeq_epi8(lanes, splat(b' '));
        let whitespace = _mm256_or_si256(in_range(lanes, b'\t', b'\r'), space);
        let lower = _mm256_or_si256(lanes, splat(0x20));
        put(&mut masks.letter, in_range(lower, b'a', b'z'));
        put(&mut masks.number, in_range(lanes, b'0', b'9'));
        put(&mut masks.whitespace, whitespace);
        put(&mut masks.space, space);
        put(&mut masks.apostrophe, _mm256_cmpeq_epi8(lanes, splat(b'\'')));
        put(&mut masks.high, lanes);
    }
    masks
}

/// All 64 bytes in one register; comparisons yield masks by themselves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw")]
fn avx512(bytes: &[u8; WIDTH]) -> Masks {
    use std::arch::x86_64::{
        __m512i, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512,
        _mm512_movepi8_mask, _mm512_or_si512, _mm512_set1_epi8, _mm512_sub_epi8,
    };
    let splat = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
    let in_range = |lanes: __m512i, first: u8, last: u8| {
        _mm512_cmplt_epu8_mask(_mm512_sub_epi8(lanes, splat(first)), splat(last - first + 1))
    };
    // SAFETY: `bytes` is 64 readable bytes, and the load needs no alignment.
    let lanes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    let space = _mm512_cmpeq_epi8_mask(lanes, splat(b' '));
    Masks {
        letter: in_range(_mm512_or_si512(lanes, splat(0x20)), b'a', b'z'),
        number: in_range(lanes, b'0', b'9'),
        whitespace: in_range(lanes, b'\t', b'\r') | space,
        space,
        apostrophe: _mm512_cmpeq_epi8_mask(lanes, splat(b'\'')),
        high: _mm512_movepi8_mask(lanes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One byte after the other.
    fn reference(bytes: &[u8; WIDTH]) -> Masks {
        let mask = |is: &dyn Fn(u8) -> bool| {
            (0..WIDTH).filter(|&i| is(bytes[i])).fold(0, |mask, i| mask | 1 << i)
        };
        Masks {
            letter: mask(&|byte| byte.is_ascii_alphabetic()),
            number: mask(&|byte| byte.is_ascii_digit()),
            whitespace: mask(&|byte| matches!(byte, b'\t'..=b'\r' | b' ')),
            space: mask(&|byte| byte == b' '),
            apostrophe: mask(&|byte| byte == b'\''),
            high: mask(&|byte| byte >= 128),
        }
    }

    #[test]
    fn every_way_knows_every_byte_in_every_lane() {
        for way in Classify::available() {
            for byte in 0..=u8::MAX {
                for lane in 0..WIDTH {
                    let mut bytes = [b'.'; WIDTH];
                    bytes[lane] = byte;
                    assert_eq!(way.masks(&bytes), reference(&bytes), "{way:?} {byte} {lane}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn prop_every_way_equals_the_reference(bytes in prop::array::uniform32(any::<u8>())) {
            let mut both = [0; WIDTH];
            both[..32].copy_from_slice(&bytes);
            both[32..].copy_from_slice(&bytes.map(u8::reverse_bits));
            for way in Classify::available() {
                prop_assert_eq!(way.masks(&both), reference(&both), "{:?}", way);
            }
        }
    }
}
