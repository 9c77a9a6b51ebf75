//! [`Lanes`] with AVX2, 32 bytes a step, and with AVX-512, all 64.
//!
//! A value of [`Avx2`] or [`Avx512`] is the proof that the processor has what its functions are
//! compiled for: only `detect` makes one.

#![expect(clippy::inline_always, reason = "each is compiled into its caller, for the processor")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi8, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256,
    _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm512_add_epi16,
    _mm512_castsi512_si256, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_cvtepu8_epi16,
    _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_maskz_compress_epi8, _mm512_movepi8_mask,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_storeu_si512, _mm512_sub_epi8,
};

use super::lanes::{Common, Lanes, Masks, WIDTH, positions};

/// A processor with AVX2 and the bit instructions that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

/// A processor with AVX-512, down to the instruction that squeezes bytes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }
}

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi2");
        has.then_some(Self(()))
    }
}

impl Lanes for Avx2 {
    #[inline]
    fn masks(self, bytes: &[u8; WIDTH]) -> Masks {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { masks_avx2(bytes) }
    }

    #[inline]
    fn common(self, bytes: &[u8; WIDTH]) -> Common {
        // SAFETY: as above.
        unsafe { common_avx2(bytes) }
    }

    #[inline]
    fn positions(self, mask: u64, first: u16, out: &mut [u16; WIDTH]) {
        positions(mask, first, out);
    }
}

impl Lanes for Avx512 {
    #[inline]
    fn masks(self, bytes: &[u8; WIDTH]) -> Masks {
        // SAFETY: `self` proves that the processor has AVX-512 F and BW.
        unsafe { masks_avx512(bytes) }
    }

    #[inline]
    fn common(self, bytes: &[u8; WIDTH]) -> Common {
        // SAFETY: as above.
        unsafe { common_avx512(bytes) }
    }

    #[inline]
    fn positions(self, mask: u64, first: u16, out: &mut [u16; WIDTH]) {
        // SAFETY: `self` proves that the processor has AVX-512 F, BW and VBMI2.
        unsafe { positions_avx512(mask, first, out) }
    }
}

/// Comparisons are signed here, so a range test first moves the range down to the least values.
#[inline]
#[target_feature(enable = "avx2")]
fn in_range_avx2(lanes: __m256i, first: u8, last: u8) -> __m256i {
    let splat = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
    let moved = _mm256_add_epi8(lanes, splat(0x80_u8.wrapping_sub(first)));
    _mm256_cmpgt_epi8(splat(0x81_u8.wrapping_add(last - first)), moved)
}

/// Bit i for byte i where `test` sets the byte's high bit.
#[inline]
#[target_feature(enable = "avx2")]
fn bits_avx2(halves: [__m256i; 2], test: impl Fn(__m256i) -> __m256i) -> u64 {
    let [low, high] =
        halves.map(|half| u64::from(_mm256_movemask_epi8(test(half)).cast_unsigned()));
    low | (high << 32)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_avx2(bytes: &[u8; WIDTH]) -> [__m256i; 2] {
    // SAFETY: `bytes` is 64 readable bytes, and the loads need no alignment.
    unsafe {
        [
            _mm256_loadu_si256(bytes.as_ptr().cast()),
            _mm256_loadu_si256(bytes.as_ptr().add(WIDTH / 2).cast()),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn masks_avx2(bytes: &[u8; WIDTH]) -> Masks {
    let halves = load_avx2(bytes);
    let is = |byte: u8| {
        bits_avx2(halves, |half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte.cast_signed())))
    };
    let range = |first, last| bits_avx2(halves, |half| in_range_avx2(half, first, last));
    let space = is(b' ');
    Masks {
        letter: bits_avx2(halves, |half| {
            in_range_avx2(_mm256_or_si256(half, _mm256_set1_epi8(0x20)), b'a', b'z')
        }),
        upper: range(b'A', b'Z'),
        number: range(b'0', b'9'),
        whitespace: range(b'\t', b'\r') | space,
        space,
        line_break: is(b'\n') | is(b'\r'),
        apostrophe: is(b'\''),
        slash: is(b'/'),
        high: bits_avx2(halves, |half| half),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn common_avx2(bytes: &[u8; WIDTH]) -> Common {
    let halves = load_avx2(bytes);
    common(|first, last| bits_avx2(halves, |half| in_range_avx2(half, first, last)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn in_range_avx512(lanes: __m512i, first: u8, last: u8) -> u64 {
    let splat = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
    _mm512_cmplt_epu8_mask(_mm512_sub_epi8(lanes, splat(first)), splat(last - first + 1))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_avx512(bytes: &[u8; WIDTH]) -> __m512i {
    // SAFETY: `bytes` is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn masks_avx512(bytes: &[u8; WIDTH]) -> Masks {
    let lanes = load_avx512(bytes);
    let is = |byte: u8| _mm512_cmpeq_epi8_mask(lanes, _mm512_set1_epi8(byte.cast_signed()));
    let range = |first, last| in_range_avx512(lanes, first, last);
    let space = is(b' ');
    Masks {
        letter: in_range_avx512(_mm512_or_si512(lanes, _mm512_set1_epi8(0x20)), b'a', b'z'),
        upper: range(b'A', b'Z'),
        number: range(b'0', b'9'),
        whitespace: range(b'\t', b'\r') | space,
        space,
        line_break: is(b'\n') | is(b'\r'),
        apostrophe: is(b'\''),
        slash: is(b'/'),
        high: _mm512_movepi8_mask(lanes),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn common_avx512(bytes: &[u8; WIDTH]) -> Common {
    let lanes = load_avx512(bytes);
    common(|first, last| in_range_avx512(lanes, first, last))
}

/// [`Lanes::common`], given which bytes are in a range. A byte's condition on the one behind it
/// is the latter's mask, moved back by one.
#[inline(always)]
fn common(range: impl Fn(u8, u8) -> u64) -> Common {
    let next = |first, last| range(first, last) >> 1;
    let (d0, d1) = (range(0xD0, 0xD0), range(0xD1, 0xD1));
    let from_b0 = next(0xB0, 0xBF);
    let chinese = (range(0xE4, 0xE4) & !next(0xB7, 0xB7)) | range(0xE5, 0xE9);
    let korean =
        (range(0xEA, 0xEA) & from_b0) | range(0xEB, 0xEC) | (range(0xED, 0xED) & next(0x80, 0x9D));
    let third = |first, last| range(first, last) >> 2;
    let after_80 = next(0x80, 0x80);
    let western = range(0xE2, 0xE2) & ((after_80 & third(0x90, 0xA7)) | next(0x94, 0x97));
    let eastern = range(0xE3, 0xE3) & after_80 & (third(0x81, 0x84) | third(0x88, 0x9F));
    let full_width = range(0xEF, 0xEF) & next(0xBC, 0xBC) & (third(0x81, 0x8F) | third(0x9A, 0xA0));
    Common {
        upper: d0 & next(0x80, 0xAF),
        lower: (d0 & from_b0) | (d1 & next(0x80, 0x9F)),
        either: chinese | korean,
        other: western | eastern | full_width,
        continuation: range(0x80, 0xBF),
    }
}

/// The numbers of the bits are the bytes of a register; those wanted are squeezed together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn positions_avx512(mask: u64, first: u16, out: &mut [u16; WIDTH]) {
    const NUMBERS: [u8; WIDTH] = {
        let mut numbers = [0; WIDTH];
        let mut i = 0;
        while i < WIDTH {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            let number = i as u8;
            numbers[i] = number;
            i += 1;
        }
        numbers
    };
    let squeezed = _mm512_maskz_compress_epi8(mask, load_avx512(&NUMBERS));
    let first = _mm512_set1_epi16(first.cast_signed());
    let [low, high] = [_mm512_castsi512_si256(squeezed), _mm512_extracti64x4_epi64::<1>(squeezed)]
        .map(|half| _mm512_add_epi16(_mm512_cvtepu8_epi16(half), first));
    let (low_out, high_out) = out.split_at_mut(WIDTH / 2);
    // SAFETY: both halves of `out` are 32 numbers of 16 bits, 64 writable bytes, and the stores
    // need no alignment.
    unsafe {
        _mm512_storeu_si512(low_out.as_mut_ptr().cast(), low);
        if mask.count_ones() > 32 {
            _mm512_storeu_si512(high_out.as_mut_ptr().cast(), high);
        }
    }
}
