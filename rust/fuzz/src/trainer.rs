//! Training learns what the textbook does: merges, their counts, and the tokens that are left.
//!
//! The first bytes are options, the others words of a small alphabet, so that pairs tie, repeat and
//! overlap. What is learned goes through every thread count, memory bound, width of symbols
//! and start from an earlier tokenizer, and must come out the same.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use minillm_bpe::{
    Error, Result,
    count::Counts,
    pretokenize::{NamedPattern, Pattern},
    progress::Progress,
    reference::train::{self as textbook, CountedMerge},
    train::{TieBreak, TrainOptions, Trained, train_counts},
};
use minillm_fuzz::next;

/// Two of them make one character.
const ALPHABET: &[u8; 8] = b"abcd \xC3\xA9'";

const COUNTS: [u64; 8] = [1, 2, 3, 4, 7, u32::MAX as u64, 1 << 33, 1 << 40];

/// Mostly one, because starting them takes most of the time.
const THREADS: [usize; 16] = [1, 2, 1, 3, 1, 4, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1];

/// Each byte is up to four equal letters; every fourth one ends a word and gives its count.
fn words(data: &[u8]) -> Vec<(Vec<u8>, u64)> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    for byte in data {
        let (letter, times, end) = (byte & 7, byte >> 3 & 3, byte >> 5);
        word.extend([ALPHABET[usize::from(letter)]].repeat(1 + usize::from(times)));
        if end >= 6 {
            words.push((std::mem::take(&mut word), COUNTS[usize::from(letter)]));
        }
    }
    words.push((word, 1));
    words.retain(|(word, _)| !word.is_empty());
    words
}

fn options(data: &mut &[u8]) -> TrainOptions {
    let flags = next(data);
    // Above 65,536, symbols are wider and nothing but the corpus ends training.
    let is_large = flags & 1 == 1;
    let special_tokens = [vec![], vec!["<|endoftext|>".to_owned(), "aba".to_owned()]];
    let vocab_size = 258 + u32::from(next(data) % 64);
    TrainOptions {
        vocab_size: if is_large { 70_000 } else { vocab_size },
        smaller_sizes: vec![],
        base: None,
        special_tokens: special_tokens[usize::from(flags >> 1 & 1)].clone(),
        specials_first: flags >> 2 & 1 == 1,
        pattern: Pattern::Named(NamedPattern::Gpt2),
        tie_break: TieBreak::ALL[usize::from(next(data) % 3)],
        min_frequency: u64::from(next(data) % 5),
        max_token_bytes: Some(usize::from(next(data) % 16)).filter(|&longest| longest > 1),
        weights: vec![],
        threads: THREADS[usize::from(next(data) % 16)],
        max_memory: None,
        temp_dir: None,
        table_entries: 0,
    }
}

fn train(counts: &Counts, options: &TrainOptions) -> Result<Trained> {
    train_counts(counts, options, &Progress::default())
}

/// Within the least memory that works, and a little more.
fn train_bounded(counts: &Counts, options: &TrainOptions, spare: u64) -> Trained {
    let bounded = |bytes| TrainOptions { max_memory: Some(bytes), ..options.clone() };
    match train(counts, &bounded(0)) {
        Err(Error::MemoryTooSmall { least, .. }) => train(counts, &bounded(least + spare)).unwrap(),
        other => panic!("{other:?} in no memory"),
    }
}

/// Some tokens first, about `stop` of them, and then the others from there on.
fn train_in_two_parts(counts: &Counts, options: &TrainOptions, stop: u32) -> Trained {
    let taken = 256 + u32::try_from(options.special_tokens.len()).unwrap();
    let vocab_size = taken + stop % (options.vocab_size - taken + 1);
    let first = train(counts, &TrainOptions { vocab_size, ..options.clone() }).unwrap();
    let base = Some(Arc::new(first.vocab));
    train(counts, &TrainOptions { base, ..options.clone() }).unwrap()
}

/// Merges with their counts, and the tokens that the words take.
fn learned(trained: &Trained) -> (Vec<CountedMerge>, u64) {
    let counts = trained.vocab.merge_counts().unwrap();
    let halves = trained.vocab.merge_bytes().map(|(left, right)| (left.to_vec(), right.to_vec()));
    (halves.zip(counts.iter().copied()).collect(), trained.corpus_tokens)
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let options = options(&mut data);
    let (stop, spare) = (u32::from(next(&mut data)), u64::from(next(&mut data)) << 4);
    let ways = next(&mut data);
    let words = words(data);
    if words.is_empty() {
        return;
    }
    let slow = textbook::train(&words, &options);
    let expected = (slow.merges, slow.corpus_tokens);
    let counts =
        Counts::from_pairs(words.iter().map(|(word, count)| (word.as_slice(), *count))).unwrap();
    let trained = train(&counts, &options).unwrap();
    assert_eq!(learned(&trained), expected);
    if ways & 1 == 1 {
        let bounded = train_bounded(&counts, &options, spare);
        assert_eq!(learned(&bounded), expected, "within {spare} bytes more than the least");
        assert_eq!(bounded.vocab, trained.vocab);
    }
    if ways & 2 == 2 {
        let continued = train_in_two_parts(&counts, &options, stop);
        assert_eq!(learned(&continued), expected, "{stop} tokens first");
    }
});
