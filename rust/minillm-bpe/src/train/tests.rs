//! Training against the textbook, and what it refuses.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::{pretokenize::NamedPattern, reference};

pub(super) fn options(vocab_size: u32, tie_break: TieBreak) -> TrainOptions {
    TrainOptions {
        vocab_size,
        smaller_sizes: vec![],
        base: None,
        special_tokens: vec!["<|endoftext|>".to_owned()],
        specials_first: false,
        pattern: Pattern::Named(NamedPattern::Gpt2),
        tie_break,
        min_frequency: 0,
        max_token_bytes: None,
        weights: vec![],
        threads: 1,
        max_memory: None,
        temp_dir: None,
        table_entries: 1000,
    }
}

fn train_text(text: &str, options: &TrainOptions) -> Result<Trained> {
    let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
    train(vec![Source::Reader("text".to_owned(), stream)], options, &Progress::default())
}

fn merges(trained: &Trained) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    trained.vocab.merge_bytes().map(|(left, right)| (text(left), text(right))).collect()
}

fn merge_counts(trained: &Trained) -> &[u64] {
    trained.vocab.merge_counts().unwrap()
}

#[test]
fn the_course_example_merges_as_published() {
    // Sennrich et al., arXiv:1508.07909, in the form that CS336 gives it.
    let text = "low low low low low lower lower widest widest widest newest newest newest newest newest newest";
    let mut options = options(257 + 6, TieBreak::Lex);
    options.pattern = Pattern::Regex(r"\S+".to_owned());
    let words: Vec<(&[u8], u64)> = vec![(b"low", 5), (b"lower", 2), (b"widest", 3), (b"newest", 6)];
    let counts = Counts::from_pairs(words).unwrap();
    let trained = train_counts(&counts, &options, &Progress::default()).unwrap();
    let found: Vec<String> = merges(&trained).iter().map(|(a, b)| format!("{a} {b}")).collect();
    assert_eq!(found, ["s t", "e st", "o w", "l ow", "w est", "n e"], "{text}");
    assert_eq!(merge_counts(&trained), [9, 9, 7, 7, 6, 6]);
}

#[test]
fn ties_follow_the_chosen_order() {
    let first = |tie_break| merges(&train_text("ab cd ~", &options(258, tie_break)).unwrap());
    assert_eq!(first(TieBreak::Lex), [("c".to_owned(), "d".to_owned())]);
    assert_eq!(first(TieBreak::Id), [(" ".to_owned(), "c".to_owned())]);
    // A space sorts behind all letters there.
    assert_eq!(first(TieBreak::Hf), [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn counts_above_32_bits_decide() {
    let big = u64::from(u32::MAX);
    let counts =
        Counts::from_pairs([(&b"ab"[..], big * 4), (b"cd", big * 4 + 1), (b"ef", 7)]).unwrap();
    let trained = train_counts(&counts, &options(259, TieBreak::Lex), &Progress::default());
    let trained = trained.unwrap();
    assert_eq!(merges(&trained)[0], ("c".to_owned(), "d".to_owned()));
    assert_eq!(merge_counts(&trained), [big * 4 + 1, big * 4]);
}

#[test]
fn special_tokens_are_neither_counted_nor_learned() {
    let mut options = options(300, TieBreak::Lex);
    options.special_tokens.push("ab".to_owned());
    let counts = Counts::from_pairs([(&b"ab"[..], 9), (b"abc", 3)]).unwrap();
    let trained = train_counts(&counts, &options, &Progress::default()).unwrap();
    assert_eq!(merges(&trained)[0], ("b".to_owned(), "c".to_owned()));
    assert!(merges(&trained).iter().all(|(a, b)| format!("{a}{b}") != "ab"));
    assert_eq!(trained.vocab.special_id("ab"), Some(trained.vocab.size() - 1));
}

/// What a table holds must be what merging gives. (A small bound leaves no room for one.)
pub(super) fn assert_table_is_true(trained: &Trained) {
    let Some(table) = &trained.table else { return };
    for (pre_token, ids) in table.entries() {
        let expected = reference::encode::encode_pre_token(&trained.vocab, &pre_token).unwrap();
        assert_eq!(ids, expected, "{pre_token:?}");
    }
}

#[test]
fn the_table_holds_the_most_frequent_pre_tokens() {
    let words = (0..400).map(|n| (format!(" word{n}"), 1000 - n));
    let words: Vec<(Vec<u8>, u64)> =
        words.map(|(text, count)| (text.into_bytes(), count)).collect();
    let counts = Counts::from_pairs(words.iter().map(|(text, count)| (&text[..], *count))).unwrap();
    let few = TrainOptions { table_entries: 300, ..options(500, TieBreak::Lex) };
    let trained = train_counts(&counts, &few, &Progress::default()).unwrap();
    assert_table_is_true(&trained);
    let entries = trained.table.unwrap().entries();
    assert_eq!(entries.len(), 300);
    let holds = |text: &[u8]| entries.iter().any(|(pre_token, _)| pre_token == text);
    assert!(words[..44].iter().all(|(text, _)| holds(text)));
    let none = TrainOptions { table_entries: 0, ..few };
    assert!(train_counts(&counts, &none, &Progress::default()).unwrap().table.is_none());
}

#[test]
fn training_stops_early_and_says_why() {
    let trained = train_text("ab ab", &options(1000, TieBreak::Lex)).unwrap();
    assert_eq!(trained.vocab.len(), 257 + 2);
    assert_eq!(trained.stopped_early.as_deref(), Some("no two neighbours are left to merge"));
    let rare = TrainOptions { min_frequency: 2, ..options(1000, TieBreak::Lex) };
    let trained = train_text("ab ab", &rare).unwrap();
    assert_eq!(trained.vocab.len(), 257 + 1);
    let reason = "no pair of neighbours occurs 2 times any more (min_frequency)";
    assert_eq!(trained.stopped_early.as_deref(), Some(reason));
}

#[test]
fn tokens_are_no_longer_than_allowed() {
    let short = TrainOptions { max_token_bytes: Some(3), ..options(400, TieBreak::Lex) };
    let trained = train_text(&"abcdefgh ".repeat(50), &short).unwrap();
    assert!(trained.vocab.tokens().all(|(_, token)| token.len() <= 3 || token[0] == b'<'));
    assert!(trained.vocab.tokens().any(|(_, token)| token.len() == 3));
}

#[test]
fn special_tokens_may_come_first() {
    let first = TrainOptions { specials_first: true, ..options(258, TieBreak::Lex) };
    let vocab = train_text("aa", &first).unwrap().vocab;
    assert_eq!((vocab.eot_id(), vocab.byte_id(0), vocab.id(b"aa")), (Some(0), Some(1), Some(257)));
}

#[test]
fn impossible_requests_are_refused() {
    let message = |result: Result<Trained>| result.unwrap_err().to_string();
    assert_eq!(
        message(train_text("ab", &options(256, TieBreak::Lex))),
        "vocab_size is 256, but bytes and special tokens already take 257 ids"
    );
    for token in ["a", "\u{120}"] {
        let specials = vec![token.to_owned()];
        let options = TrainOptions { special_tokens: specials, ..options(300, TieBreak::Lex) };
        let message = message(train_text("ab", &options));
        assert!(message.contains("is how files write one of the 256 bytes"), "{message}");
    }
    assert_eq!(
        message(train_text("<|endoftext|>", &options(300, TieBreak::Lex))),
        "text: no text to train on"
    );
    assert_eq!(
        message(TieBreak::parse("lexx").map(|_| unreachable!())),
        "unknown tie-break `lexx`; known are lex, id, hf\nhint: did you mean `lex`?"
    );
}

#[test]
fn a_million_equal_bytes_become_one_token_in_few_merges() {
    let trained = train_text(&"a".repeat(1_000_000), &options(1000, TieBreak::Lex)).unwrap();
    let longest = trained.vocab.tokens().map(|(_, token)| token.len()).max();
    assert_eq!((longest, trained.corpus_tokens), (Some(1_000_000), 1));
    assert!(merge_counts(&trained).len() < 40);
}

/// Corpora on which many pairs tie and tokens repeat.
pub(super) fn tied_words() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    let word = prop_oneof!["[ab]{1,12}", "[abc]{1,6}", "(ab|ba|aab){1,6}", " ?[a-e]{1,4}"];
    let count = prop_oneof![1_u64..4, Just(1 << 33)];
    proptest::collection::vec((word.prop_map(String::into_bytes), count), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn prop_merges_equal_the_textbook(
        words in tied_words(),
        vocab_size in 257_u32..330,
        mode in 0_usize..3,
        min_frequency in 0_u64..4,
        max_token_bytes in prop_oneof![Just(None), (2_usize..6).prop_map(Some)],
        (threads, spare) in (1_usize..6, prop_oneof![Just(None), (0_u64..4000).prop_map(Some)]),
    ) {
        let counts = Counts::from_pairs(words.iter().map(|(word, n)| (word.as_slice(), *n))).unwrap();
        let options = TrainOptions {
            min_frequency,
            max_token_bytes,
            threads,
            special_tokens: vec!["<|endoftext|>".to_owned(), "aba".to_owned()],
            ..options(vocab_size + 1, TieBreak::ALL[mode])
        };
        // Room for counts and words, and for an index of a few pairs.
        let least =
            least_memory(&options, counts.len() as u64, counts.distinct_bytes() as u64);
        let options =
            TrainOptions { max_memory: spare.map(|spare| least + 100 + spare), ..options };
        let fast = train_counts(&counts, &options, &Progress::default()).unwrap();
        assert_table_is_true(&fast);
        let slow = reference::train::train(&words, &options);
        let fast_merges: Vec<_> = fast
            .vocab
            .merge_bytes()
            .map(|(left, right)| (left.to_vec(), right.to_vec()))
            .zip(merge_counts(&fast).to_vec())
            .collect();
        prop_assert_eq!(fast_merges, slow.merges);
        prop_assert_eq!(fast.corpus_tokens, slow.corpus_tokens);
    }

    #[test]
    fn prop_threads_change_nothing(text in "([a-d]{1,5}[ \\n]){0,200}x", threads in 2_usize..5) {
        let one = train_text(&text, &options(300, TieBreak::Lex)).unwrap();
        let many = TrainOptions { threads, ..options(300, TieBreak::Lex) };
        prop_assert_eq!(one.vocab, train_text(&text, &many).unwrap().vocab);
    }
}
