//! Continued training, smaller vocabularies, and odd tokenizers to continue from.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::tests::{options, tied_words};
use super::super::{TieBreak, Trained, train_counts};
use super::*;
use crate::format::tokenizer_json::to_json;
use crate::pretokenize::{NamedPattern, Pattern};
use crate::{count::Counts, reference};

type Words = Vec<(Vec<u8>, u64)>;

fn train(words: &Words, options: &TrainOptions) -> Result<Trained> {
    let counts = Counts::from_pairs(words.iter().map(|(word, n)| (word.as_slice(), *n))).unwrap();
    train_counts(&counts, options, &Progress::default())
}

fn words(words: &[(&str, u64)]) -> Words {
    words.iter().map(|&(word, count)| (word.as_bytes().to_vec(), count)).collect()
}

/// `options` that continue from `base`.
fn from(base: &Vocab, options: &TrainOptions) -> TrainOptions {
    TrainOptions { base: Some(Arc::new(base.clone())), ..options.clone() }
}

fn gpt2() -> Pattern {
    Pattern::Named(NamedPattern::Gpt2)
}

#[test]
fn ids_of_the_base_stay_and_new_ones_lie_above() {
    // Bytes from 1000 down, gaps, a token without merges, a special token in the middle.
    let bytes = (0..=u8::MAX).map(|byte| (1000 - u32::from(byte), vec![byte]));
    let more = [(1002, b"ab".to_vec()), (1500, b"cd".to_vec())];
    let specials = vec![("<|endoftext|>".to_owned(), Some(1001))];
    let merges = vec![(b"a".to_vec(), b"b".to_vec())];
    let base = Vocab::new(bytes.chain(more).collect(), merges, specials, gpt2()).unwrap();
    let words = words(&[("abcd", 9), ("cd", 4), ("xyz", 2)]);
    let trained = train(&words, &from(&base, &options(1504, TieBreak::Lex))).unwrap();
    for (id, token) in base.tokens() {
        assert_eq!(trained.vocab.token(id), Some(token));
    }
    assert_eq!(trained.vocab.eot_id(), Some(1001));
    let merges: Vec<_> = trained.vocab.merge_bytes().collect();
    let pair = |left: &'static str, right: &'static str| (left.as_bytes(), right.as_bytes());
    let learned = [pair("c", "d"), pair("ab", "cd"), pair("y", "z"), pair("x", "yz")];
    assert_eq!(merges[0], pair("a", "b"));
    assert_eq!(merges[1..], learned);
    // The token without merges keeps its id; the others follow the highest.
    let results: Vec<_> = trained.vocab.merges().iter().map(|merge| merge.result).collect();
    assert_eq!(results, [1002, 1500, 1501, 1502, 1503]);
    assert_eq!(trained.vocab.merge_counts(), Some(&[9, 13, 9, 2, 2][..]));
}

#[test]
fn merges_of_the_base_come_first_even_if_they_never_occur() {
    let base = train(&words(&[("xyxyz", 5)]), &options(260, TieBreak::Lex)).unwrap().vocab;
    let listed: Vec<_> = base.merge_bytes().collect();
    let limited =
        TrainOptions { max_token_bytes: Some(2), min_frequency: 3, ..options(261, TieBreak::Lex) };
    let continued = train(&words(&[("ab", 9)]), &from(&base, &limited)).unwrap().vocab;
    let merges: Vec<_> = continued.merge_bytes().collect();
    assert_eq!(merges[..listed.len()], listed);
    assert_eq!(merges[listed.len()..], [(&b"a"[..], &b"b"[..])]);
    assert_eq!(continued.merge_counts(), Some(&[0, 0, 0, 9][..]));
}

#[test]
fn merges_that_training_would_not_make_are_met_again() {
    // "abc" comes out as `a bc` here, and yet there is a token for it.
    let merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("abc", "d"), ("d", "abc")];
    let merges = merges.map(|(left, right)| (left.as_bytes().to_vec(), right.into())).to_vec();
    let more = ["bc", "ab", "abc", "abcd", "dabc"].map(|token| token.as_bytes().to_vec());
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    let tokens = (0..).zip(bytes.chain(more)).collect();
    let specials = vec![("<|endoftext|>".to_owned(), None)];
    let base = Vocab::new(tokens, merges, specials, gpt2()).unwrap();
    let options = from(&base, &options(265, TieBreak::Lex));
    let trained = train(&words(&[("abcdx", 9)]), &options).unwrap();
    let merges: Vec<_> = trained.vocab.merge_bytes().skip(5).collect();
    let learned = [("d", "x"), ("bc", "dx"), ("a", "bcdx")];
    assert_eq!(merges, learned.map(|(l, r)| (l.as_bytes(), r.as_bytes())));
    let short = TrainOptions { max_token_bytes: Some(4), ..options };
    let trained = train(&words(&[("abcd", 9), ("abc", 5)]), &short).unwrap();
    let merges: Vec<_> = trained.vocab.merges()[5..].iter().map(|m| m.result).collect();
    // (a, bc) is listed with the id of "abc"; (abc, d) was listed before, and is made again.
    assert_eq!(merges, [258]);
    assert_eq!(trained.vocab.merge_counts(), Some(&[14, 0, 0, 0, 0, 14][..]));
    assert_eq!(trained.corpus_tokens, 9 + 5);
    assert_eq!(trained.stopped_early.as_deref(), Some("no two neighbours are left to merge"));
}

#[test]
fn ranked_bases_stay_ranked() {
    let ranks = (0..=u8::MAX).map(|byte| (vec![byte], u32::from(byte)));
    let ranks = ranks.chain([(b"ab".to_vec(), 256), (b"zzz".to_vec(), 257)]).collect();
    let specials = vec![("<|endoftext|>".to_owned(), 300)];
    let base = Vocab::from_ranks(ranks, specials, gpt2()).unwrap();
    let words = words(&[("abc", 5), (&"q".repeat(5000), 1)]);
    let trained = train(&words, &from(&base, &options(400, TieBreak::Lex))).unwrap();
    assert!(trained.vocab.is_ranked());
    assert_eq!(trained.vocab.eot_id(), Some(300));
    assert!(trained.vocab.id(b"abc") > Some(300));
    assert!(trained.vocab.id(&[b'q'; 1024]).is_some());
    assert_eq!(trained.vocab.merge_counts(), None);
}

#[test]
fn what_contradicts_the_base_is_refused() {
    let words = words(&[("abab", 5)]);
    let options = options(258, TieBreak::Lex);
    let base = train(&words, &options).unwrap().vocab;
    let message =
        |options: &TrainOptions| train(&words, &from(&base, options)).unwrap_err().to_string();
    assert_eq!(
        message(&TrainOptions { vocab_size: 257, ..options.clone() }),
        "vocab_size is 257, but the tokenizer to continue from has 258 ids"
    );
    assert_eq!(
        message(&TrainOptions { pattern: Pattern::None, ..options.clone() }),
        "pattern is none, but the tokenizer to continue from has `gpt2`"
    );
    assert_eq!(
        message(&TrainOptions { special_tokens: vec![], ..options.clone() }),
        "special_tokens is [], but the tokenizer to continue from has [\"<|endoftext|>\"]"
    );
    assert!(
        message(&TrainOptions { max_memory: Some(1 << 30), ..options.clone() })
            .starts_with("max_memory cannot be kept while continuing from a tokenizer")
    );
    let tokens = vec![(0, b"a".to_vec())];
    let specials = vec![("<|endoftext|>".to_owned(), None)];
    let partial = Vocab::new(tokens, vec![], specials, gpt2()).unwrap();
    let error = train(&words, &from(&partial, &options)).unwrap_err();
    assert_eq!(error.to_string(), "vocabulary: no token for byte 0x00, so it cannot be continued");
}

fn tied_options() -> impl Strategy<Value = TrainOptions> {
    let longest = prop_oneof![Just(None), (2_usize..6).prop_map(Some)];
    let parts = (275_u32..330, 0_usize..3, 0_u64..4, longest, any::<bool>());
    parts.prop_map(|(vocab_size, mode, min_frequency, max_token_bytes, specials_first)| {
        TrainOptions {
            min_frequency,
            max_token_bytes,
            specials_first,
            special_tokens: vec!["<|endoftext|>".to_owned(), "aba".to_owned()],
            ..options(vocab_size, TieBreak::ALL[mode])
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn prop_smaller_vocabularies_are_prefixes(
        words in tied_words(),
        options in tied_options(),
        cut in 258_u32..330,
    ) {
        let cut = cut.min(options.vocab_size);
        let smaller_sizes = vec![cut, 258];
        let large = train(&words, &TrainOptions { smaller_sizes, ..options.clone() }).unwrap();
        for (size, tokens) in large.smaller {
            let options = TrainOptions { vocab_size: size, ..options.clone() };
            let small = train(&words, &options).unwrap();
            let truncated = large.vocab.truncated(size.min(large.vocab.size())).unwrap();
            prop_assert_eq!(to_json(&truncated).unwrap(), to_json(&small.vocab).unwrap());
            prop_assert_eq!(tokens, small.corpus_tokens);
        }
    }

    #[test]
    fn prop_continued_training_equals_one_run(
        words in tied_words(),
        options in tied_options(),
        cut in 258_u32..330,
    ) {
        let whole = train(&words, &options).unwrap();
        let cut = TrainOptions { vocab_size: cut.min(options.vocab_size), ..options.clone() };
        let base = train(&words, &cut).unwrap().vocab;
        let continued = train(&words, &from(&base, &options)).unwrap();
        crate::train::tests::assert_table_is_true(&continued);
        prop_assert_eq!(continued.vocab.merge_counts(), whole.vocab.merge_counts());
        prop_assert!(continued.vocab.merge_bytes().eq(whole.vocab.merge_bytes()));
        prop_assert_eq!(continued.corpus_tokens, whole.corpus_tokens);
        if options.specials_first {
            prop_assert_eq!(continued.vocab, whole.vocab);
        }
    }

    #[test]
    fn prop_continued_training_equals_the_textbook(
        first in tied_words(),
        second in tied_words(),
        options in tied_options(),
        cut in 258_u32..330,
    ) {
        let cut = TrainOptions { vocab_size: cut.min(options.vocab_size), ..options.clone() };
        let options = from(&train(&first, &cut).unwrap().vocab, &options);
        let fast = train(&second, &options).unwrap();
        let slow = reference::train::train(&second, &options);
        let halves = fast.vocab.merge_bytes().map(|(left, right)| (left.to_vec(), right.to_vec()));
        let halves: Vec<_> = halves.collect();
        let counts = fast.vocab.merge_counts().unwrap().iter().copied();
        let merges: Vec<_> = halves.iter().cloned().zip(counts).collect();
        prop_assert_eq!(merges, slow.merges);
        prop_assert_eq!(fast.corpus_tokens, slow.corpus_tokens);
        let tokens = fast.vocab.tokens().filter(|&(id, token)| fast.vocab.id(token) == Some(id));
        let tokens = tokens.map(|(id, token)| (id, token.to_vec())).collect();
        let specials = fast.vocab.specials().iter().map(|(text, id)| (text.clone(), Some(*id)));
        prop_assert_eq!(Vocab::new(tokens, halves, specials.collect(), gpt2()).unwrap(), fast.vocab);
    }
}
