//! Each way to scan against the scalar scanner and the regex engine, each part against its twin.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{
    Path,
    lanes::{Common, Lanes, Masks, Portable, WIDTH},
    stretch::{low_bits, run_start, runs_from},
};
use crate::pretokenize::{
    NamedPattern, Pattern, PreTokenizer,
    unicode::{Case, Class, kind_at},
};

/// A pattern by the regex engine, by the scalar scanner, and by all other ways.
struct Contest {
    regex: PreTokenizer,
    scalar: PreTokenizer,
    wide: Vec<(&'static str, PreTokenizer)>,
}

static CONTESTS: LazyLock<[Contest; 5]> = LazyLock::new(|| {
    NamedPattern::ALL.map(|named| {
        let by = |path| PreTokenizer::with_path(&Pattern::Named(named), path).unwrap();
        let (scalar, wide) =
            Path::available().split_first().map(|(a, b)| (*a, b.to_vec())).unwrap();
        Contest {
            regex: PreTokenizer::new(&Pattern::Regex(named.regex().to_owned())).unwrap(),
            scalar: by(scalar),
            wide: wide.into_iter().map(|path| (path.name(), by(path))).collect(),
        }
    })
});

fn ends(pre_tokenizer: &PreTokenizer, text: &[u8]) -> Vec<usize> {
    let mut out = Vec::new();
    pre_tokenizer
        .for_each_span(text, |start, end| {
            assert_eq!(start, out.last().copied().unwrap_or(0));
            assert!(start < end);
            out.push(end);
        })
        .unwrap();
    assert_eq!(out.last().copied().unwrap_or(0), text.len());
    out
}

/// All wide ways equal the scalar scanner on `text`.
fn assert_wide_equals_scalar(text: &[u8]) {
    for contest in CONTESTS.iter() {
        let expected = ends(&contest.scalar, text);
        for (way, wide) in &contest.wide {
            let found = ends(wide, text);
            let pattern = wide.pattern().name();
            assert_eq!(found, expected, "{pattern:?} {way} {}", text.escape_ascii());
        }
    }
}

/// And the regex engine too.
fn assert_all_equal(text: &[u8]) {
    assert_wide_equals_scalar(text);
    for Contest { regex, scalar, .. } in CONTESTS.iter() {
        let pattern = scalar.pattern().name();
        assert_eq!(ends(scalar, text), ends(regex, text), "{pattern:?} {}", text.escape_ascii());
    }
}

/// Pieces between which the patterns' rules have to decide something.
const PIECES: [&str; 60] = [
    "a",
    "b",
    "A",
    "B",
    "the",
    "NASA",
    "Mc",
    "'",
    "'s",
    "'S",
    "'t",
    "'re",
    "'VE",
    "'ll",
    "'lL",
    "'d",
    "'\u{17f}",
    "''",
    "\"",
    "!",
    "?!",
    "/",
    "//",
    "-",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    "\u{b}",
    "\u{a0}",
    "\u{85}",
    "\u{3000}",
    "\u{2028}",
    "\u{200b}",
    "1",
    "12",
    "123",
    "1234",
    "\u{b2}",
    "\u{661}",
    "\u{ff11}",
    "\u{301}",
    "\u{94d}",
    "\u{fe0f}",
    "\u{e9}",
    "\u{c9}",
    "\u{df}",
    "\u{1c5}",
    "\u{2b0}",
    "\u{5d0}",
    "\u{43f}\u{440}",
    "\u{41f}",
    "\u{d55c}\u{ae00}",
    "\u{4e2d}",
    "\u{4dc0}",
    "\u{201c}",
    "\u{1f600}",
];

/// Bytes that are no UTF-8: stray, cut short, overlong, surrogate, too large.
const BROKEN: [&[u8]; 14] = [
    b"\x80",
    b"\xBF\xBF",
    b"\xC0\xAF",
    b"\xC3",
    b"\xD0",
    b"\xE4\xB8",
    b"\xE5",
    b"\xED\x95",
    b"\xED\xA0\x80",
    b"\xE0\x80\x80",
    b"\xF0\x9F\x98",
    b"\xF0\x80\x80\x80",
    b"\xF4\x90\x80\x80",
    b"\xFF",
];

fn nasty_text(pieces: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => prop::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        8 => prop::sample::select(vec!["and", " of", " the", "\n", "'s", " 19"])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::sample::select(&BROKEN[..]).prop_map(<[u8]>::to_vec),
        1 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
        1 => (prop::sample::select(&PIECES[..]), 2..90_usize)
            .prop_map(|(piece, times)| piece.repeat(times).into_bytes()),
    ];
    prop::collection::vec(piece, pieces).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn prop_every_way_equals_scalar_and_regex(text in nasty_text(0..60)) {
        assert_all_equal(&text);
    }

    #[test]
    fn prop_every_way_equals_scalar_on_long_text(text in nasty_text(300..900)) {
        assert_wide_equals_scalar(&text);
    }

    #[test]
    fn prop_every_way_equals_scalar_on_any_bytes(
        text in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        assert_wide_equals_scalar(&text);
    }
}

#[test]
fn pieces_are_cut_alike_at_every_offset() {
    let before = ["a", " ", "!", "1", "\n", "Ab", "'s", "\u{d55c}", "\u{41f}", "a'", "! \n", " x"];
    for piece in PIECES {
        for (i, pad) in before.iter().enumerate() {
            let behind = before[(i + 5) % before.len()];
            for offset in 0..=2 * WIDTH {
                let mut text = pad.repeat(offset.div_ceil(pad.len()));
                while !text.is_char_boundary(text.len().min(offset)) {
                    text.insert(0, '.');
                }
                text.truncate(offset);
                text.push_str(piece);
                text.push_str(behind);
                assert_wide_equals_scalar(text.as_bytes());
                text.push_str(&" and so on".repeat(8));
                assert_wide_equals_scalar(text.as_bytes());
            }
        }
    }
}

#[test]
fn broken_utf8_is_cut_alike_at_every_position() {
    for text in ["It's the 1,234 \n\n ", "\u{43f}\u{440}\u{41f} ", "\u{d55c}\u{ae00} ", "\u{4e2d}"]
    {
        let text = text.repeat(200 / text.len());
        for broken in BROKEN {
            for at in 0..=text.len().min(2 * WIDTH + 8) {
                let (before, behind) = text.as_bytes().split_at(at);
                assert_wide_equals_scalar(&[before, broken, behind].concat());
                assert_wide_equals_scalar(&[before, broken].concat());
            }
        }
    }
}

#[test]
fn every_code_point_is_cut_as_the_regex_does() {
    let code_points: Vec<char> = ('\0'..=char::MAX).collect();
    for some in code_points.chunks(128) {
        let text = some
            .iter()
            .flat_map(|c| {
                ["", "a", "1 ", "B ", "", " \n", "! x", "'s\t"].map(|piece| format!("{piece}{c}"))
            })
            .collect::<Vec<_>>()
            .concat();
        assert_all_equal(text.as_bytes());
    }
}

#[test]
fn a_megabyte_of_anything_repeated_is_linear() {
    for piece in PIECES {
        let text = piece.repeat(1_000_000 / piece.len());
        assert_wide_equals_scalar(text.as_bytes());
    }
    assert_wide_equals_scalar(&vec![0xFF; 1_000_000]);
}

/// One byte after the other.
fn reference_masks(bytes: &[u8; WIDTH]) -> Masks {
    let mask =
        |is: fn(u8) -> bool| (0..WIDTH).filter(|&i| is(bytes[i])).fold(0, |mask, i| mask | 1 << i);
    Masks {
        letter: mask(|byte| byte.is_ascii_alphabetic()),
        upper: mask(|byte| byte.is_ascii_uppercase()),
        number: mask(|byte| byte.is_ascii_digit()),
        whitespace: mask(|byte| matches!(byte, b'\t'..=b'\r' | b' ')),
        space: mask(|byte| byte == b' '),
        line_break: mask(|byte| matches!(byte, b'\n' | b'\r')),
        apostrophe: mask(|byte| byte == b'\''),
        slash: mask(|byte| byte == b'/'),
        high: mask(|byte| byte >= 128),
    }
}

fn check_lanes(lanes: impl Lanes, bytes: &[u8; WIDTH]) {
    assert_eq!(lanes.masks(bytes), reference_masks(bytes), "{bytes:x?}");
}

fn on_all_lanes(bytes: &[u8; WIDTH]) {
    check_lanes(Portable, bytes);
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(lanes) = super::x86::Avx2::detect() {
            check_lanes(lanes, bytes);
        }
        if let Some(lanes) = super::x86::Avx512::detect() {
            check_lanes(lanes, bytes);
        }
    }
}

#[test]
fn every_byte_is_known_in_every_lane() {
    for byte in 0..=u8::MAX {
        for lane in 0..WIDTH {
            let mut bytes = [b'.'; WIDTH];
            bytes[lane] = byte;
            on_all_lanes(&bytes);
        }
    }
}

/// Each code point that is said to be of some class is.
fn check_common(lanes: impl Lanes) {
    for c in '\u{80}'..='\u{ffff}' {
        let mut bytes = [b'.'; WIDTH];
        let len = c.encode_utf8(&mut bytes[40..]).len();
        let Common { upper, lower, either, other, continuation } = lanes.common(&bytes);
        let (class, case, _) = kind_at(&bytes, 40);
        let bit = |is: bool| u64::from(is) << 40;
        assert_eq!(upper & !bit(len == 2 && case == Case::Upper), 0, "{c:?}");
        assert_eq!(lower & !bit(len == 2 && case == Case::Lower), 0, "{c:?}");
        assert_eq!(
            either & !bit(len == 3 && class == Class::Letter && case == Case::Either),
            0,
            "{c:?}"
        );
        let is_other = class == Class::Other && case == Case::None;
        assert_eq!(other & !bit(len == 3 && is_other), 0, "{c:?}");
        assert_eq!(continuation, low_bits(len - 1) << 41, "{c:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn common_characters_are_what_they_are_taken_for() {
    if let Some(lanes) = super::x86::Avx2::detect() {
        check_common(lanes);
    }
    if let Some(lanes) = super::x86::Avx512::detect() {
        check_common(lanes);
    }
}

proptest! {
    #[test]
    fn prop_masks_equal_the_reference(bytes in prop::collection::vec(any::<u8>(), WIDTH)) {
        on_all_lanes(bytes.first_chunk().unwrap());
    }

    #[test]
    fn prop_positions_are_the_bits_in_order(mask: u64, sparse: u64, first in 0..60_000_u16) {
        for mask in [mask, mask & sparse, mask | sparse, 0, u64::MAX] {
            let expected: Vec<u16> =
                (0..64).filter(|i| mask >> i & 1 == 1).map(|i| first + i).collect();
            let check = |positions: &dyn Fn(&mut [u16; WIDTH])| {
                let mut out = [0; WIDTH];
                positions(&mut out);
                assert_eq!(out[..expected.len()], expected);
            };
            check(&|out| Portable.positions(mask, first, out));
            #[cfg(target_arch = "x86_64")]
            if let Some(lanes) = super::x86::Avx512::detect() {
                check(&|out| lanes.positions(mask, first, out));
            }
        }
    }

    #[test]
    fn prop_runs_equal_a_walk(mask: u64, start in 0..64_usize, end in 0..64_usize) {
        let is_in = |i: usize| mask >> i & 1 == 1;
        let walked = (start..64).take_while(|&i| is_in(i)).fold(0, |run, i| run | 1 << i);
        prop_assert_eq!(runs_from((1 << start) & mask, mask), walked);
        let first = (0..end).rev().take_while(|&i| is_in(i)).last().unwrap_or(end);
        prop_assert_eq!(run_start(mask, end), first);
    }
}
