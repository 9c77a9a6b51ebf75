//! The smaller vocabulary that is in a larger one: training adds tokens one after the other, so
//! what it had when it was smaller is a prefix of what it has in the end.
//!
//! The last merge that stays is the one that made the last token that stays. Special tokens behind
//! all others move down with the end; those elsewhere, as in a vocabulary that was trained on from
//! another, keep their ids.

use std::collections::HashSet;

use super::{Merge, MergeOrigin, Vocab, show};
use crate::{Error, Result, TokenId};

impl Vocab {
    /// The vocabulary of `size` ids that training had on its way to this one, with the counts of
    /// its merges.
    ///
    /// Equals, byte for byte as a file, what training gives for that size, unless several merges
    /// yield the same token, which only those of a tokenizer made elsewhere do: then, which of
    /// them are listed may differ. Linear in the vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::CannotTruncate`] if there are fewer ids; if a byte or a special token that stands
    /// among the others would be lost; if ids are not in the order of the merges, as they may be
    /// in files made elsewhere.
    pub fn truncated(&self, size: u32) -> Result<Self> {
        let refuse = |reason: String| Err(Error::CannotTruncate { size, reason });
        let Some(shift) = self.size().checked_sub(size) else {
            return refuse(format!("it has only {}", self.size()));
        };
        if shift == 0 {
            return Ok(self.clone());
        }
        let last_ordinary = self.ordinary().map(|(id, _)| id).max();
        let n_fixed = self.specials.partition_point(|&(_, id)| Some(id) < last_ordinary);
        let (fixed, trailing) = self.specials.split_at(n_fixed);
        // Ordinary tokens from here on are cut off.
        let end = trailing.first().map_or(self.size(), |&(_, id)| id).saturating_sub(shift);
        if let Some((_, token)) = self.ordinary().find(|(id, token)| *id >= end && token.len() == 1)
        {
            return refuse(format!("byte {} would be lost", show(token)));
        }
        if let Some((text, id)) = fixed.iter().find(|&&(_, id)| id >= end) {
            return refuse(format!("special token `{text}` has id {id}, with tokens above it"));
        }
        let tokens = self.ordinary().filter(|&(id, _)| id < end);
        let tokens = tokens.map(|(id, token)| (id, token.to_vec()));
        let fixed = fixed.iter().cloned();
        let specials = fixed.chain(trailing.iter().map(|(text, id)| (text.clone(), id - shift)));
        let pattern = self.pattern.clone();
        let smaller = if self.merge_origin == MergeOrigin::TokenRank {
            let ranks = tokens.map(|(id, token)| (token, id)).collect();
            Self::from_ranks(ranks, specials.collect(), pattern)?
        } else {
            let merges = self.merges_into(end).map_err(|merge| {
                let Merge { rank, result, .. } = merge;
                let reason = format!("merge {rank} makes id {result}: ids are not in their order");
                Error::CannotTruncate { size, reason }
            })?;
            let bytes = |id| self.token(id).unwrap_or_default().to_vec();
            let pairs = merges.iter().map(|merge| (bytes(merge.left), bytes(merge.right)));
            let specials = specials.map(|(text, id)| (text, Some(id)));
            let smaller =
                Self::new(tokens.collect(), pairs.collect(), specials.collect(), pattern)?;
            match self.merge_counts() {
                Some(counts) => smaller.with_merge_counts(counts[..merges.len()].to_vec())?,
                None => smaller,
            }
        };
        Ok(smaller.with_whole_pretoken_lookup(self.whole_pretoken_lookup))
    }

    /// The merges up to the one that makes the last token below `end`; or the first among them
    /// that makes another.
    fn merges_into(&self, end: TokenId) -> Result<&[Merge], Merge> {
        let mut made = HashSet::new();
        let is_first = |merge: &Merge| merge.result < end && made.insert(merge.result);
        let firsts: Vec<bool> = self.merges.iter().map(is_first).collect();
        let n_merges = firsts.iter().rposition(|&is_first| is_first).map_or(0, |last| last + 1);
        let merges = &self.merges[..n_merges];
        match merges.iter().find(|merge| merge.result >= end) {
            None => Ok(merges),
            Some(&merge) => Err(merge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretokenize::Pattern;

    fn vocab(
        tokens: &[(TokenId, &str)],
        merges: &[(&str, &str)],
        specials: &[(&str, u32)],
    ) -> Vocab {
        let tokens = tokens.iter().map(|&(id, token)| (id, token.as_bytes().to_vec())).collect();
        let merges = merges.iter().map(|&(left, right)| (left.into(), right.into())).collect();
        let specials = specials.iter().map(|&(text, id)| (text.to_owned(), Some(id))).collect();
        Vocab::new(tokens, merges, specials, Pattern::None).unwrap()
    }

    const TOKENS: [(TokenId, &str); 5] = [(0, "a"), (1, "b"), (2, "ab"), (3, "aba"), (4, "abb")];

    #[test]
    fn merges_behind_the_last_token_are_cut_off() {
        // The third yields what is a token already.
        let merges = [("a", "b"), ("ab", "a"), ("b", "b"), ("ab", "b"), ("a", "bb")];
        let tokens = [(0, "a"), (1, "b"), (2, "ab"), (3, "aba"), (4, "bb"), (5, "abb")];
        let whole = vocab(&tokens, &merges, &[("<|x|>", 6), ("<|y|>", 9)]);
        let cut = whole.truncated(9).unwrap();
        assert_eq!(cut, vocab(&tokens[..5], &merges[..3], &[("<|x|>", 5), ("<|y|>", 8)]));
        assert_eq!(whole.truncated(10).unwrap(), whole);
        // Its last merge is not the one that made the last token.
        assert_eq!(whole.merges().len(), 5);
    }

    #[test]
    fn special_tokens_among_the_others_stay() {
        let merges = [("a", "b"), ("ab", "a"), ("ab", "b")];
        let tokens = [(1, "a"), (2, "b"), (4, "ab"), (5, "aba"), (6, "abb")];
        let whole = vocab(&tokens, &merges, &[("<|x|>", 0), ("<|y|>", 3)]);
        let expected = vocab(&tokens[..4], &merges[..2], &[("<|x|>", 0), ("<|y|>", 3)]);
        assert_eq!(whole.truncated(6).unwrap(), expected);
    }

    #[test]
    fn ranked_vocabularies_stay_ranked() {
        let ranks = TOKENS.map(|(id, token)| (token.as_bytes().to_vec(), id)).to_vec();
        let specials = vec![("<|x|>".to_owned(), 7)];
        let whole = Vocab::from_ranks(ranks.clone(), specials, Pattern::None).unwrap();
        let specials = vec![("<|x|>".to_owned(), 6)];
        let expected = Vocab::from_ranks(ranks[..4].to_vec(), specials, Pattern::None).unwrap();
        // The gap below the special token stays.
        let cut = whole.truncated(7).unwrap();
        assert_eq!((cut.size(), cut.special_id("<|x|>")), (7, Some(6)));
        assert_ne!(cut, expected);
        assert_eq!(whole.truncated(5).unwrap().len(), 5);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let merges = [("a", "b"), ("ab", "a"), ("ab", "b")];
        let plain = vocab(&TOKENS, &merges, &[("<|x|>", 5)]);
        let among = vocab(&[(0, "a"), (1, "b"), (3, "ab")], &merges[..1], &[("<|x|>", 2)]);
        let unordered = vocab(&TOKENS, &[("ab", "b"), ("ab", "a"), ("a", "b")], &[]);
        let cases = [
            (&plain, 7, "cannot shorten the vocabulary to 7 ids: it has only 6"),
            (&plain, 2, "byte b\"b\" would be lost"),
            (&plain, 0, "byte b\"a\" would be lost"),
            (&among, 2, "special token `<|x|>` has id 2, with tokens above it"),
            (&unordered, 4, "merge 0 makes id 4: ids are not in their order"),
        ];
        for (vocab, size, expected) in cases {
            let message = vocab.truncated(size).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }
}
