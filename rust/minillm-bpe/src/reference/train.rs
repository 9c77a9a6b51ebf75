//! Training as the textbook has it: count all pairs, merge the best one everywhere, begin again.

use std::collections::BTreeMap;

use crate::{
    Pair,
    train::{TieBreak, TrainOptions},
};

/// The halves of a merge, and how often the pair occurred when it was merged.
pub type CountedMerge = ((Vec<u8>, Vec<u8>), u64);

/// What [`train`] learns.
#[derive(Debug)]
pub struct Learned {
    /// The merges in order.
    pub merges: Vec<CountedMerge>,
    /// Tokens that the words now take.
    pub corpus_tokens: u64,
}

/// Learns merges from words with their counts; a word may be listed more than once.
///
/// A base must have been trained here, so that its merges are all its tokens but for the bytes.
///
/// Takes time in proportion to merges times text.
pub fn train(words: &[(Vec<u8>, u64)], options: &TrainOptions) -> Learned {
    let n_merged_tokens = options.vocab_size as usize - 256 - options.special_tokens.len();
    let mut given = options.base.iter().flat_map(|base| base.merge_bytes());
    let mut tokens: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    let mut words: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, count)| (word.iter().map(|&byte| u32::from(byte)).collect(), *count))
        .collect();
    let mut merges: Vec<CountedMerge> = Vec::new();
    loop {
        let mut counts: BTreeMap<Pair, u64> = BTreeMap::new();
        for (ids, count) in &words {
            for pair in ids.windows(2) {
                *counts.entry((pair[0], pair[1])).or_default() += count;
            }
        }
        let token = |pair: Pair| [&tokens[pair.0 as usize][..], &tokens[pair.1 as usize]].concat();
        let is_special =
            |token: &[u8]| options.special_tokens.iter().any(|s| s.as_bytes() == token);
        let given = given.next().map(|halves| {
            let id = |half: &[u8]| tokens.iter().position(|token| token == half);
            let id = |half| id(half).and_then(|id| u32::try_from(id).ok()).unwrap_or(u32::MAX);
            let pair = (id(halves.0), id(halves.1));
            (pair, counts.get(&pair).copied().unwrap_or(0))
        });
        if given.is_none() && tokens.len() >= 256 + n_merged_tokens {
            break;
        }
        counts.retain(|&pair, count| {
            let token = token(pair);
            *count >= options.min_frequency
                && token.len() <= options.max_token_bytes.unwrap_or(usize::MAX)
                && !is_special(&token)
        });
        let learned = counts.into_iter().max_by(|a, b| {
            let bytes = |pair: Pair| (&tokens[pair.0 as usize], &tokens[pair.1 as usize]);
            let tie = match options.tie_break {
                TieBreak::Lex => bytes(a.0).cmp(&bytes(b.0)),
                TieBreak::Id => b.0.cmp(&a.0),
                TieBreak::Hf => hf_key(b.0).cmp(&hf_key(a.0)),
            };
            a.1.cmp(&b.1).then(tie)
        });
        let Some((pair, count)) = given.or(learned) else { break };
        let merged = token(pair);
        let known = tokens.iter().position(|token| *token == merged);
        let id = u32::try_from(known.unwrap_or(tokens.len())).unwrap_or(u32::MAX);
        let halves = (tokens[pair.0 as usize].clone(), tokens[pair.1 as usize].clone());
        if known.is_none() {
            tokens.push(merged);
        }
        if merges.iter().all(|(listed, _)| *listed != halves) {
            merges.push((halves, count));
        }
        for (ids, _) in &mut words {
            *ids = merge(ids, pair, id);
        }
    }
    let corpus_tokens = words.iter().map(|(ids, count)| ids.len() as u64 * count).sum();
    Learned { merges, corpus_tokens }
}

/// `ids` with each `pair` replaced by `id`, left to right.
fn merge(ids: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut out = Vec::new();
    let mut rest = ids;
    while let [first, tail @ ..] = rest {
        if tail.first().is_some_and(|second| (*first, *second) == pair) {
            out.push(id);
            rest = &tail[1..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Ids compare as Hugging Face's do: a byte by the character that stands for it, a merge after
/// all bytes.
fn hf_key(pair: Pair) -> [(u32, u32); 2] {
    let printable = |id: u32| matches!(id, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    [pair.0, pair.1].map(|id| match id {
        0..=255 if printable(id) => (0, id),
        0..=255 => (1, id),
        _ => (2, id),
    })
}
