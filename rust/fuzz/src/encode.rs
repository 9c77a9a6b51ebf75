//! Encoding gives the ids of the textbook, however it is done: with cold caches and warm ones, at
//! once and in pieces; and decoding gives the bytes back.
//!
//! The first bytes choose a vocabulary, one that was trained or one whose merges they tell, and
//! where the text is cut. The others are the text.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use minillm_bpe::{
    AllowedSpecial, Decoder, Encoder, TokenId, Vocab,
    count::Counts,
    decode::InvalidUtf8,
    pretokenize::{NamedPattern, Pattern, PreTokenizer},
    progress::Progress,
    reference::encode::encode_ordinary,
    train::{TieBreak, TrainOptions, train_counts},
};
use minillm_fuzz::{next, pieces};

const SPECIALS: [&str; 3] = ["<|endoftext|>", "<a>", "<a><b>"];

/// Prose and code with markup in it, some of them not ASCII.
const TEXT: &str = concat!(
    include_str!("../../../docs/tokenizer.md"),
    include_str!("../../../README.md"),
    "Gr\u{fc}\u{df}e \u{4f60}\u{597d}\u{4e16}\u{754c} \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \
     \u{1f642}\u{1f642} don't e\u{301}e\u{301}",
);

/// Encoders whose caches live on from input to input.
static TRAINED: LazyLock<[Encoder; 5]> = LazyLock::new(|| {
    NamedPattern::ALL.map(|named| Encoder::new(Arc::new(trained(named))).unwrap())
});

fn trained(named: NamedPattern) -> Vocab {
    let pattern = Pattern::Named(named);
    let mut words = Vec::new();
    let cut = |word: &[u8]| words.push((word.to_vec(), 1));
    PreTokenizer::new(&pattern).unwrap().for_each(TEXT.as_bytes(), cut).unwrap();
    let counts =
        Counts::from_pairs(words.iter().map(|(word, count)| (word.as_slice(), *count))).unwrap();
    let options = TrainOptions {
        vocab_size: 1500,
        smaller_sizes: vec![],
        base: None,
        special_tokens: SPECIALS.map(str::to_owned).to_vec(),
        specials_first: false,
        pattern,
        tie_break: TieBreak::ALL[0],
        min_frequency: 1,
        max_token_bytes: None,
        weights: vec![],
        threads: 1,
        max_memory: None,
        temp_dir: None,
        table_entries: 0,
    };
    train_counts(&counts, &options, &Progress::default()).unwrap().vocab
}

/// Merges of few letters, each of two tokens that there are already; or the same as ranks.
fn generated(data: &mut &[u8]) -> Vocab {
    let flags = next(data);
    let mut tokens: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    let mut merges = Vec::new();
    for _ in 0..next(data) % 24 {
        let [left, right] = [next(data), next(data)].map(|pick| match usize::from(pick) {
            pick if pick < 128 => 97 + pick % 4,
            pick => 255 - (pick - 128) % (tokens.len() - 255),
        });
        let pick = |index: usize| tokens[if index == 255 { 0xE2 } else { index }].clone();
        let (left, right) = (pick(left), pick(tokens.len().min(right)));
        let token = [left.clone(), right.clone()].concat();
        if token.len() <= 40 && !tokens.contains(&token) {
            tokens.push(token);
            merges.push((left, right));
        }
    }
    let pattern = match flags % 4 {
        0 => Pattern::None,
        1 => Pattern::parse("[ab]+|[^ab]").unwrap(),
        _ => Pattern::Named(NamedPattern::ALL[usize::from(flags / 4) % 5]),
    };
    let tokens = (0..).zip(tokens);
    if flags >= 128 {
        let specials = (2000..).zip(SPECIALS).map(|(id, name)| (name.to_owned(), id)).collect();
        let ranks = tokens.map(|(id, token)| (token, id)).collect();
        return Vocab::from_ranks(ranks, specials, pattern).unwrap();
    }
    let specials = SPECIALS.map(|name| (name.to_owned(), None)).to_vec();
    Vocab::new(tokens.collect(), merges, specials, pattern).unwrap()
}

fn check(encoder: &Encoder, text: &[u8], cuts: &[u8]) {
    let vocab = encoder.vocab();
    let expected = encode_ordinary(vocab, text).unwrap();
    for round in ["first", "second"] {
        let mut ids: Vec<TokenId> = Vec::new();
        encoder.encode_ordinary(text, &mut ids).unwrap();
        assert_eq!(ids, expected, "the {round} time");
    }
    let mut whole: Vec<TokenId> = Vec::new();
    encoder.encode(text, &AllowedSpecial::All, &mut whole).unwrap();
    let mut stream = encoder.stream(&AllowedSpecial::All).unwrap();
    let mut streamed: Vec<TokenId> = Vec::new();
    for piece in pieces(text, cuts) {
        stream.push(piece, &mut streamed).unwrap();
    }
    stream.finish(&mut streamed).unwrap();
    assert_eq!(streamed, whole, "cut at {cuts:?}");
    let decoder = Decoder::new(vocab);
    for ids in [expected, whole] {
        let mut bytes = Vec::new();
        decoder.decode(&ids, &mut bytes).unwrap();
        assert_eq!(bytes, text);
        let decoded = decoder.decode_text(&ids, InvalidUtf8::Replace).unwrap();
        assert_eq!(decoded, String::from_utf8_lossy(text));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let kind = next(&mut data);
    let cuts = [next(&mut data), next(&mut data), next(&mut data)];
    match TRAINED.get(usize::from(kind % 8)) {
        Some(encoder) => check(encoder, data, &cuts),
        None => {
            let vocab = generated(&mut data);
            check(&Encoder::new(Arc::new(vocab)).unwrap(), data, &cuts);
        }
    }
});
