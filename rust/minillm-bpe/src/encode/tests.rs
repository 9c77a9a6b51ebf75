use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::pretokenize::{NamedPattern, Pattern};
use crate::progress::Progress;
use crate::{Decoder, Error, reference};

const GPT2: Pattern = Pattern::Named(NamedPattern::Gpt2);

fn bytes() -> Vec<(TokenId, Vec<u8>)> {
    (0..=255_u8).map(|byte| (TokenId::from(byte), vec![byte])).collect()
}

fn specials() -> Vec<(String, Option<TokenId>)> {
    [("<|endoftext|>", Some(60_000)), ("<a>", None), ("<a><b>", None)]
        .map(|(text, id)| (text.to_owned(), id))
        .to_vec()
}

/// A vocabulary of the bytes in reverse and of merges of whatever is there so far.
fn grow(picks: &[(Index, Index)], pattern: Pattern) -> Vocab {
    let mut tokens: Vec<Vec<u8>> = (0..=255).rev().map(|byte| vec![byte]).collect();
    let mut roots: Vec<Vec<u8>> = [b"a", b"b", b" ", b"\xff"].map(|byte| byte.to_vec()).to_vec();
    let mut merges: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (left, right) in picks {
        let merge = (left.get(&roots).clone(), right.get(&roots).clone());
        if merges.contains(&merge) {
            continue;
        }
        let result = [&merge.0[..], &merge.1[..]].concat();
        if !tokens.contains(&result) {
            tokens.push(result.clone());
            roots.push(result);
        }
        merges.push(merge);
    }
    // Every third id only: gaps.
    let tokens = (0..).step_by(3).zip(tokens).collect();
    Vocab::new(tokens, merges, specials(), pattern).unwrap()
}

fn listed_vocab() -> impl Strategy<Value = Vocab> {
    let pattern = prop_oneof![Just(GPT2), Just(Pattern::None)];
    (prop::collection::vec(any::<(Index, Index)>(), 0..40), pattern, any::<bool>())
        .prop_map(|(picks, pattern, whole)| grow(&picks, pattern).with_whole_pretoken_lookup(whole))
}

/// Tokens of any bytes in any order, so that some cannot be reached by merging.
fn ranked_vocab() -> impl Strategy<Value = Vocab> {
    let token = prop::collection::vec(prop::sample::select(b"ab \xff".to_vec()), 2..7);
    let pattern = prop_oneof![Just(GPT2), Just(Pattern::None)];
    (prop::collection::vec(token, 0..60), pattern).prop_map(|(mut tokens, pattern)| {
        tokens.extend(bytes().into_iter().map(|(_, byte)| byte));
        tokens.sort_by_key(|token| std::cmp::Reverse(token.clone()));
        tokens.dedup();
        tokens.sort_by_key(|token| xxhash_rust::xxh3::xxh3_64(token));
        Vocab::from_ranks(tokens.into_iter().zip(5..).collect(), vec![], pattern).unwrap()
    })
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[ab]{1,6}".prop_map(String::into_bytes),
        3 => "[ab ]{1,3}".prop_map(String::into_bytes),
        1 => "a{30,70}".prop_map(String::into_bytes),
        1 => Just(b"\xff".to_vec()),
        1 => "<a>|<b>|<\\|endoftext\\|>|<".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn encoder(vocab: &Vocab) -> Encoder {
    Encoder::new(Arc::new(vocab.clone())).unwrap()
}

/// The ids, which are the same in two bytes and in four.
fn both(encode: impl Fn(&mut Vec<u16>, &mut Vec<TokenId>) -> Result<()>) -> Vec<TokenId> {
    let (mut two, mut four) = (Vec::new(), Vec::new());
    encode(&mut two, &mut four).unwrap();
    assert!(two.into_iter().map(TokenId::from).eq(four.iter().copied()));
    four
}

fn ordinary(encoder: &Encoder, text: &[u8]) -> Vec<TokenId> {
    both(|two, four| encoder.encode_ordinary(text, two).and(encoder.encode_ordinary(text, four)))
}

fn encode(encoder: &Encoder, text: &[u8], allowed: &AllowedSpecial) -> Vec<TokenId> {
    both(|two, four| encoder.encode(text, allowed, two).and(encoder.encode(text, allowed, four)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn prop_encoding_matches_reference(vocab in listed_vocab(), text in text()) {
        let expected = reference::encode::encode_ordinary(&vocab, &text).unwrap();
        let encoder = encoder(&vocab);
        prop_assert_eq!(ordinary(&encoder, &text), &expected[..], "cold");
        prop_assert_eq!(ordinary(&encoder, &text), expected, "warm");
    }

    #[test]
    fn prop_ranked_encoding_matches_reference(vocab in ranked_vocab(), text in text()) {
        let expected = reference::encode::encode_ordinary(&vocab, &text).unwrap();
        prop_assert_eq!(ordinary(&encoder(&vocab), &text), expected);
    }

    #[test]
    fn prop_decode_inverts_encode(vocab in listed_vocab(), text in text()) {
        let ids = encode(&encoder(&vocab), &text, &AllowedSpecial::All);
        let mut decoded = Vec::new();
        Decoder::new(&vocab).decode(&ids, &mut decoded).unwrap();
        prop_assert_eq!(decoded, text);
    }

    #[test]
    fn prop_ids_do_not_depend_on_threads(
        vocab in listed_vocab(),
        texts in prop::collection::vec(text(), 0..8),
        threads in 1_usize..5,
    ) {
        let encoder = encoder(&vocab);
        let texts: Vec<&[u8]> = texts.iter().map(|text| &text[..]).collect();
        let (ids, offsets) = encoder.encode_batch::<TokenId>(&texts, &AllowedSpecial::All, threads).unwrap();
        prop_assert_eq!(offsets.len(), texts.len() + 1);
        for (text, range) in texts.iter().zip(offsets.windows(2)) {
            let found = &ids[usize::try_from(range[0]).unwrap()..usize::try_from(range[1]).unwrap()];
            prop_assert_eq!(found, encode(&encoder, text, &AllowedSpecial::All));
        }
    }

    #[test]
    fn prop_pieces_cut_anywhere_equal_the_whole(
        vocab in listed_vocab(),
        text in text(),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
        all in any::<bool>(),
    ) {
        let allowed = if all { AllowedSpecial::All } else { AllowedSpecial::None };
        let encoder = encoder(&vocab);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut stream = encoder.stream(&allowed).unwrap();
        let mut ids: Vec<TokenId> = Vec::new();
        for range in cuts.windows(2) {
            stream.push(&text[range[0]..range[1]], &mut ids).unwrap();
        }
        stream.finish(&mut ids).unwrap();
        prop_assert_eq!(ids, encode(&encoder, &text, &allowed));
    }
}

#[test]
fn only_allowed_special_tokens_are_recognized() {
    let vocab = Vocab::new(bytes(), vec![], specials(), GPT2).unwrap();
    let encoder = encoder(&vocab);
    let [eot, a, ab] = [60_000, 60_001, 60_002];
    let text = b"<a><b>";
    let spelled: Vec<TokenId> = text.iter().map(|&byte| TokenId::from(byte)).collect();
    assert_eq!(encode(&encoder, text, &AllowedSpecial::None), spelled);
    assert_eq!(encode(&encoder, text, &AllowedSpecial::All), [ab], "the longest wins");
    let only = AllowedSpecial::Only(vec!["<a>".to_owned(), "<nobody>".to_owned()]);
    assert_eq!(encode(&encoder, text, &only), [&[a], &spelled[3..]].concat());
    assert_eq!(encode(&encoder, b"<|endoftext|>", &AllowedSpecial::All), [eot]);
}

#[test]
fn byte_without_a_token_is_named() {
    let vocab = Vocab::new(bytes()[..200].to_vec(), vec![], vec![], GPT2).unwrap();
    let encoder = encoder(&vocab);
    for text in [&b"ok\xfe"[..], &[b"ok", &[0xfe; 100][..]].concat()] {
        let error = encoder.encode_ordinary(text, &mut Vec::<u16>::new()).unwrap_err();
        assert_eq!(error.to_string(), "the vocabulary has no token for byte 0xfe of the text");
        let batch = encoder.encode_batch::<u16>(&[b"ok", text, b"ok"], &AllowedSpecial::None, 2);
        assert!(matches!(batch, Err(Error::MissingByte { byte: 0xfe })));
    }
}

#[test]
fn sixteen_bits_that_do_not_hold_the_vocabulary_are_refused() {
    let specials = vec![("<far>".to_owned(), Some(65_536))];
    let vocab = Vocab::new(bytes(), vec![], specials, GPT2).unwrap();
    let error = encoder(&vocab).encode_ordinary(b"text", &mut Vec::<u16>::new()).unwrap_err();
    assert!(matches!(error, Error::DtypeTooNarrow { vocab_size: 65_537 }));
    assert_eq!(encode_wide(&encoder(&vocab), b"<far>"), [65_536]);
}

fn encode_wide(encoder: &Encoder, text: &[u8]) -> Vec<TokenId> {
    let mut ids = Vec::new();
    encoder.encode(text, &AllowedSpecial::All, &mut ids).unwrap();
    ids
}

#[test]
fn what_an_error_leaves_does_not_reach_the_next_text() {
    let vocab = Vocab::new(bytes()[..200].to_vec(), vec![], vec![], GPT2).unwrap();
    let encoder = encoder(&vocab);
    for _ in 0..3 {
        let mut ids: Vec<TokenId> = Vec::new();
        assert!(encoder.encode_ordinary(b"some words, \xfe, and more", &mut ids).is_err());
        assert_eq!(ordinary(&encoder, b"ok"), [111, 107]);
    }
}

#[test]
fn a_megabyte_of_one_character_is_not_quadratic() {
    for character in [b'a', b' ', b'\n', b'^', 0xff] {
        let mut tokens = bytes();
        let mut merges = Vec::new();
        for power in 0..7 {
            let half = vec![character; 1 << power];
            tokens.push((256 + power, [&half[..], &half[..]].concat()));
            merges.push((half.clone(), half));
        }
        let vocab = Vocab::new(tokens, merges, vec![], GPT2).unwrap();
        let text = vec![character; 60_000];
        let start = Instant::now();
        let ids = ordinary(&encoder(&vocab), &text);
        // It takes 0.1 s; quadratic time would be minutes, even on an idle machine.
        assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
        let mut decoded = Vec::new();
        Decoder::new(&vocab).decode(&ids, &mut decoded).unwrap();
        assert_eq!(decoded, text);
        assert!(ids.len() < 8000, "a million bytes are about 7,800 tokens of 128");
    }
}

#[test]
fn a_vocabulary_that_decides_from_the_far_end_has_the_ids_of_the_reference() {
    // Each merge takes what the one to its left wants, and ranks before it: what comes last decides
    // what becomes of the first.
    let chain: Vec<u8> = (b'A'..=b'z').collect();
    let merges: Vec<_> = chain.windows(2).rev().map(|two| (vec![two[0]], vec![two[1]])).collect();
    let results = merges.iter().map(|(left, right)| [&left[..], right].concat());
    let tokens = bytes().into_iter().chain((256..).zip(results)).collect();
    let vocab = Vocab::new(tokens, merges, vec![], Pattern::None).unwrap();
    for n in [chain.len(), chain.len() - 1] {
        let text = chain[..n].repeat(3);
        let expected = reference::encode::encode_ordinary(&vocab, &text).unwrap();
        assert_eq!(ordinary(&encoder(&vocab), &text), expected);
    }
}

#[test]
fn a_long_pre_token_is_left_when_that_is_wished() {
    // Without a merge of what is in it, it would fall apart at once.
    let tokens = bytes().into_iter().chain([(256, b"yy".to_vec())]).collect();
    let merges = vec![(b"y".to_vec(), b"y".to_vec())];
    let vocab = Vocab::new(tokens, merges, vec![], Pattern::None).unwrap();
    let (encoder, progress) = (encoder(&vocab), Progress::default());
    let mut state = encoder.new_state::<u16>(1 << 16, progress.stop());
    let mut ids = Vec::new();
    encoder.encode_ordinary_with(&mut state, &[b'y'; 100], &mut ids).unwrap();
    progress.cancel();
    let error = encoder.encode_ordinary_with(&mut state, &[b'y'; 300], &mut ids).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
}

#[test]
fn long_stream_without_a_place_to_cut_is_linear() {
    let vocab = Vocab::new(bytes(), vec![], specials(), Pattern::None).unwrap();
    let mut stream = encoder(&vocab).stream(&AllowedSpecial::All).unwrap();
    let start = Instant::now();
    let mut ids: Vec<TokenId> = Vec::new();
    for _ in 0..300_000 {
        stream.push(b"x", &mut ids).unwrap();
    }
    stream.finish(&mut ids).unwrap();
    assert_eq!(ids, vec![TokenId::from(b'x'); 300_000]);
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}
