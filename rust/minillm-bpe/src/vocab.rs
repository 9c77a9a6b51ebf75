//! The vocabulary: which bytes an id stands for, and which neighbours merge, in which order.
//!
//! One type serves every origin. A vocabulary trained here or read from Hugging Face's files
//! *lists* its merges; tiktoken's files only *rank* the tokens, and there any two neighbours whose
//! bytes together are a token merge with that token's rank. Both become the same table of
//! [`Merge`]s, so the encoder knows one rule: lowest rank first, leftmost first among equals.
//!
//! Ids are whatever the files say. They may have gaps, the 256 bytes may stand anywhere (GPT-2
//! begins with `!`), and special tokens may lie far above the rest; therefore tokens are kept by
//! ascending id and found by search, never in an array of `size()` entries.

mod build;
mod ranks;
mod truncate;

use std::sync::OnceLock;

use foldhash::HashMap;
use std::borrow::Cow;

use crate::TokenId;
use crate::pretokenize::Pattern;
pub(crate) use build::show;
pub(crate) use ranks::MAX_RANKED_BYTES;

/// Two neighbours and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The neighbour that stands first.
    pub left: TokenId,
    /// The neighbour that stands second.
    pub right: TokenId,
    /// The token that replaces both.
    pub result: TokenId,
    /// Merges of lower rank are applied first; among equals, the leftmost.
    pub rank: u32,
}

/// Where the merges come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MergeOrigin {
    /// Each was listed, and its place in the list is its rank.
    Listed,
    /// Every split of a token into two tokens, with the token's id as rank.
    TokenRank,
}

/// Ids, their bytes, the merges between them, special tokens, and the pre-tokenizer's pattern.
///
/// Immutable. Two vocabularies are equal when they encode and decode everything alike by
/// construction: same ids, bytes, merges, ranks, special tokens, and pattern. How often the
/// merges occurred in training makes no difference.
#[derive(Clone, Debug)]
pub struct Vocab {
    /// Every id in use, ascending, special tokens included.
    ids: Vec<TokenId>,
    /// Token `i` of `ids` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
    /// Ordinary tokens only.
    by_bytes: HashMap<Vec<u8>, TokenId>,
    merges: Vec<Merge>,
    merge_origin: MergeOrigin,
    /// Ascending by id.
    specials: Vec<(String, TokenId)>,
    pattern: Pattern,
    whole_pretoken_lookup: bool,
    merge_counts: Option<Vec<u64>>,
    /// Hash of the saved form, once it is known: saving takes some milliseconds.
    pub(crate) sha256: OnceLock<String>,
}

impl PartialEq for Vocab {
    fn eq(&self, other: &Self) -> bool {
        // Named one by one, so that a new field has to say whether it counts.
        let Self { ids, ends, bytes, by_bytes: _, merges, merge_origin, .. } = self;
        let Self { specials, pattern, whole_pretoken_lookup, merge_counts: _, .. } = self;
        (ids, ends, bytes) == (&other.ids, &other.ends, &other.bytes)
            && (merges, merge_origin) == (&other.merges, &other.merge_origin)
            && (specials, pattern) == (&other.specials, &other.pattern)
            && *whole_pretoken_lookup == other.whole_pretoken_lookup
    }
}

impl Vocab {
    /// Number of ids in use, special tokens included.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Highest id + 1: the number of rows that an embedding of these ids needs.
    pub fn size(&self) -> u32 {
        self.ids.last().map_or(0, |&last| last + 1)
    }

    /// The bytes of an ordinary or special token.
    pub fn token(&self, id: TokenId) -> Option<&[u8]> {
        // Without gaps below it, an id is its own index.
        let dense = usize::try_from(id).ok().filter(|&index| self.ids.get(index) == Some(&id));
        let index = dense.or_else(|| self.ids.binary_search(&id).ok())?;
        Some(self.token_at(index))
    }

    /// The id of an ordinary token; special tokens have [`special_id`](Self::special_id).
    pub fn id(&self, token: &[u8]) -> Option<TokenId> {
        self.by_bytes.get(token).copied()
    }

    /// The id of the token that is this one byte.
    ///
    /// Some published vocabularies lack bytes that their training text did not hold.
    pub fn byte_id(&self, byte: u8) -> Option<TokenId> {
        self.id(&[byte])
    }

    /// Every id with its bytes, ascending, special tokens included.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = (TokenId, &[u8])> {
        self.ids.iter().enumerate().map(|(index, &id)| (id, self.token_at(index)))
    }

    /// Bytes of text that each id up to the highest stands for; 0 for special tokens and unused ids.
    pub fn text_lengths(&self) -> Vec<i64> {
        let mut lengths = vec![0; self.size() as usize];
        for (id, token) in self.tokens() {
            lengths[id as usize] = i64::try_from(token.len()).unwrap_or(i64::MAX);
        }
        for &(_, id) in &self.specials {
            lengths[id as usize] = 0;
        }
        lengths
    }

    /// All merges by ascending rank; of a vocabulary made [`from_ranks`](Self::from_ranks), every
    /// split of every token.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// One merge per token, in the order and number that a list of merges has.
    ///
    /// That is [`merges`](Self::merges), except for a vocabulary made
    /// [`from_ranks`](Self::from_ranks): there it is the split that the lower ranks lead to, and a
    /// token that they do not bring down to two parts has none. Costs one encoding of each token.
    pub fn listed_merges(&self) -> Cow<'_, [Merge]> {
        match self.merge_origin {
            MergeOrigin::Listed => Cow::Borrowed(&self.merges),
            MergeOrigin::TokenRank => Cow::Owned(self.canonical_merges()),
        }
    }

    /// The bytes of each of [`listed_merges`](Self::listed_merges).
    pub fn merge_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let merges = self.listed_merges().into_owned();
        merges
            .into_iter()
            .filter_map(|merge| Some((self.token(merge.left)?, self.token(merge.right)?)))
    }

    /// The longest tokens that merges make, at most `count`; the longest first, and of equally long
    /// ones the least.
    pub fn longest_merged(&self, count: usize) -> Vec<Vec<u8>> {
        let merged = self.merge_bytes().map(|(left, right)| [left, right].concat());
        let mut tokens: Vec<Vec<u8>> = merged.collect();
        tokens.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        tokens.dedup();
        tokens.truncate(count);
        tokens
    }

    /// How often each listed merge's pair occurred when training merged it, if that is known.
    pub fn merge_counts(&self) -> Option<&[u64]> {
        self.merge_counts.as_deref()
    }

    /// Special tokens, ascending by id.
    pub fn specials(&self) -> &[(String, TokenId)] {
        &self.specials
    }

    /// The id of a special token.
    pub fn special_id(&self, token: &str) -> Option<TokenId> {
        self.specials.iter().find(|(text, _)| text == token).map(|&(_, id)| id)
    }

    /// The id of `<|endoftext|>`, which separates documents.
    pub fn eot_id(&self) -> Option<TokenId> {
        self.special_id(crate::END_OF_TEXT)
    }

    /// What cuts text into pre-tokens before merging.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether a pre-token that is a token is taken whole, even where no merges lead to it.
    ///
    /// True of tiktoken's vocabularies, and of Hugging Face's with `ignore_merges`.
    pub fn whole_pretoken_lookup(&self) -> bool {
        self.whole_pretoken_lookup
    }

    /// Whether the merges were derived from token ranks instead of listed.
    pub fn is_ranked(&self) -> bool {
        self.merge_origin == MergeOrigin::TokenRank
    }

    fn token_at(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Error;

    fn bytes_and(more: &[&[u8]]) -> Vec<(TokenId, Vec<u8>)> {
        let tokens =
            (0..=255).map(|byte| vec![byte]).chain(more.iter().map(|token| token.to_vec()));
        (0..).zip(tokens).collect()
    }

    fn merge(left: &str, right: &str) -> (Vec<u8>, Vec<u8>) {
        (left.as_bytes().to_vec(), right.as_bytes().to_vec())
    }

    fn new(
        tokens: Vec<(TokenId, Vec<u8>)>,
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        specials: &[(&str, Option<TokenId>)],
    ) -> crate::Result<Vocab> {
        let specials = specials.iter().map(|&(text, id)| (text.to_owned(), id)).collect();
        Vocab::new(tokens, merges, specials, Pattern::None)
    }

    #[test]
    fn longest_tokens_and_lengths_leave_special_tokens_out() {
        let tokens = bytes_and(&[b"ab", b"abc", b"<|x|>"]);
        let merges = vec![merge("a", "b"), merge("ab", "c")];
        let vocab = new(tokens, merges, &[("<|x|>", None), ("<|y|>", Some(300))]).unwrap();
        assert_eq!(vocab.longest_merged(1), [b"abc"]);
        assert_eq!(vocab.longest_merged(9), [&b"abc"[..], b"ab"]);
        let lengths = vocab.text_lengths();
        assert_eq!((lengths.len(), lengths[255..260].to_vec()), (301, vec![1, 2, 3, 0, 0]));
    }

    #[test]
    fn ids_may_have_gaps_and_specials_may_lie_far_above() {
        let tokens = vec![(7, b"b".to_vec()), (2, b"a".to_vec()), (40, b"ab".to_vec())];
        let specials = [("<|x|>", Some(4_000_000_000)), ("<|y|>", None)];
        let vocab = new(tokens, vec![merge("a", "b")], &specials).unwrap();
        assert_eq!((vocab.len(), vocab.size()), (5, 4_000_000_002));
        assert_eq!(vocab.token(40), Some(&b"ab"[..]));
        assert_eq!(vocab.token(4_000_000_001), Some(&b"<|y|>"[..]));
        assert_eq!((vocab.token(3), vocab.byte_id(b'c')), (None, None));
        assert_eq!(vocab.merges(), [Merge { left: 2, right: 7, result: 40, rank: 0 }]);
    }

    #[test]
    fn special_without_id_takes_its_own_from_the_tokens() {
        let vocab =
            new(bytes_and(&[b"<|endoftext|>"]), vec![], &[("<|endoftext|>", None)]).unwrap();
        assert_eq!(vocab.eot_id(), Some(256));
        assert_eq!(vocab.id(b"<|endoftext|>"), None, "a special token is no ordinary token");
        assert_eq!(vocab.size(), 257);
    }

    #[test]
    fn special_may_have_the_bytes_of_an_ordinary_token_under_another_id() {
        let vocab = new(bytes_and(&[b"ab"]), vec![merge("a", "b")], &[("ab", Some(300))]).unwrap();
        assert_eq!((vocab.id(b"ab"), vocab.special_id("ab")), (Some(256), Some(300)));
    }

    #[test]
    fn merges_to_the_same_bytes_share_the_id() {
        let tokens = bytes_and(&[b"aa", b"aaa"]);
        let merges = vec![merge("a", "a"), merge("aa", "a"), merge("a", "aa")];
        let vocab = new(tokens, merges, &[]).unwrap();
        assert_eq!(vocab.merges()[1].result, vocab.merges()[2].result);
    }

    #[test]
    fn counts_of_merges_fit_the_merges_and_make_no_difference() {
        let plain = new(bytes_and(&[b"ab"]), vec![merge("a", "b")], &[]).unwrap();
        let counted = plain.clone().with_merge_counts(vec![9]).unwrap();
        assert_eq!((counted.merge_counts(), plain.merge_counts()), (Some(&[9][..]), None));
        assert_eq!(counted, plain);
        let message = plain.with_merge_counts(vec![9, 8]).unwrap_err().to_string();
        assert_eq!(message, "merge_counts: has 2 counts for 1 merges");
        let ranks = vec![(b"a".to_vec(), 0), (b"aa".to_vec(), 1)];
        let ranked = Vocab::from_ranks(ranks, vec![], Pattern::None).unwrap();
        let message = ranked.with_merge_counts(vec![9]).unwrap_err().to_string();
        assert_eq!(message, "merge_counts: given, but the merges are those of ranks");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let ab = || bytes_and(&[b"ab"]);
        let cases = [
            (new(vec![(1, vec![])], vec![], &[]), "token 1 is empty"),
            (
                new(vec![(1, b"a".to_vec()), (1, b"b".to_vec())], vec![], &[]),
                "id 1 stands for both b\"a\" and b\"b\"",
            ),
            (
                new(vec![(1, b"a".to_vec()), (2, b"a".to_vec())], vec![], &[]),
                "token b\"a\" has two ids, 1 and 2",
            ),
            (
                new(ab(), vec![merge("a", "c")], &[]),
                "merge 0 (b\"a\" b\"c\"): b\"ac\" is not a token",
            ),
            (
                new(ab(), vec![merge("zz", "c")], &[]),
                "merge 0 (b\"zz\" b\"c\"): b\"zz\" is not a token",
            ),
            (
                new(ab(), vec![merge("a", "b"), merge("a", "b")], &[]),
                "merge 1 (b\"a\" b\"b\"): repeats merge 0",
            ),
            (new(ab(), vec![merge("", "a")], &[]), "merge 0 (b\"\" b\"a\"): b\"\" is not a token"),
            (new(ab(), vec![], &[("", None)]), "special token \"\": is empty"),
            (
                new(ab(), vec![], &[("x!", None), ("x!", None)]),
                "special token \"x!\": is listed twice",
            ),
            (
                new(ab(), vec![merge("a", "b")], &[("ab", None)]),
                "special token \"ab\": shares id 256 with an ordinary token",
            ),
            (
                new(ab(), vec![], &[("x!", Some(97))]),
                "special token \"x!\": id 97 already stands for b\"a\"",
            ),
            (new(vec![(u32::MAX, b"a".to_vec())], vec![], &[]), "id 4294967295 is too large"),
        ];
        for (result, expected) in cases {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }

    #[test]
    fn ranks_make_every_split_a_merge_and_list_the_canonical_one() {
        let mut ranks: Vec<_> =
            (0..=255_u8).map(|byte| (vec![byte], TokenId::from(byte))).collect();
        ranks.extend([(b"ab".to_vec(), 256), (b"bc".to_vec(), 257), (b"abc".to_vec(), 258)]);
        ranks.push((b"xyz".to_vec(), 259));
        let vocab =
            Vocab::from_ranks(ranks, vec![("<|e|>".to_owned(), 999)], Pattern::None).unwrap();
        let splits: Vec<_> = vocab.merges().iter().map(|m| (m.left, m.right, m.rank)).collect();
        assert_eq!(splits, [(97, 98, 256), (98, 99, 257), (97, 257, 258), (256, 99, 258)]);
        let listed: Vec<_> = vocab.merge_bytes().collect();
        assert_eq!(listed, [(&b"a"[..], &b"b"[..]), (b"b", b"c"), (b"ab", b"c")]);
        assert!(vocab.whole_pretoken_lookup());
    }

    #[test]
    fn ranked_token_of_absurd_length_is_refused() {
        let ranks = vec![(b"a".to_vec(), 0), (vec![b'a'; 5000], 1)];
        let error = Vocab::from_ranks(ranks, vec![], Pattern::None).unwrap_err();
        assert!(matches!(error, Error::BadVocab { .. }), "{error}");
        assert!(error.to_string().contains("5000 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn prop_every_token_is_found_by_id_and_by_bytes(
            tokens in prop::collection::btree_map(0_u32..5000, "[a-z]{1,6}", 1..200)
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let tokens: Vec<(TokenId, Vec<u8>)> = tokens
                .into_iter()
                .filter(|(_, text)| seen.insert(text.clone()))
                .map(|(id, text)| (id, text.into_bytes()))
                .collect();
            let vocab = Vocab::new(tokens.clone(), vec![], vec![], Pattern::None).unwrap();
            for (id, bytes) in &tokens {
                prop_assert_eq!(vocab.token(*id), Some(&bytes[..]));
                prop_assert_eq!(vocab.id(bytes), Some(*id));
            }
            prop_assert_eq!(vocab.tokens().len(), tokens.len());
        }
    }
}
