//! Vocabularies that rank their tokens instead of listing merges: tiktoken's rule.
//!
//! There, the rank of two neighbours is the rank of the token that their bytes make together. All
//! such pairs are tabled beforehand: 3 to 5 per token in the published vocabularies. The pairs
//! that encoding can really meet are fewer (one per token, nearly always), but which ones is a
//! property of the whole vocabulary; the full table is exact for any.

use foldhash::HashMap;

use super::{Merge, MergeOrigin, Vocab};
use crate::pretokenize::Pattern;
use crate::{Error, Pair, Result, TokenId};

/// Splitting a token takes time in the square of its length. Published ones have up to 128 bytes.
pub(crate) const MAX_RANKED_BYTES: usize = 1024;

impl Vocab {
    /// A vocabulary in tiktoken's manner: `ranks` are ids and merge order at once.
    ///
    /// Every split of a token into two tokens is a merge with the token's rank, and a pre-token
    /// that is a token is taken whole. Takes time in the sum of the squared token lengths.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); also [`Error::BadVocab`] for a token above 1,024 bytes.
    pub fn from_ranks(
        ranks: Vec<(Vec<u8>, TokenId)>,
        specials: Vec<(String, TokenId)>,
        pattern: Pattern,
    ) -> Result<Self> {
        if let Some((token, id)) = ranks.iter().find(|(token, _)| token.len() > MAX_RANKED_BYTES) {
            let length = token.len();
            let reason =
                format!("token {id} has {length} bytes; ranked, at most {MAX_RANKED_BYTES}");
            return Err(Error::BadVocab { reason });
        }
        let tokens = ranks.into_iter().map(|(token, id)| (id, token)).collect();
        let specials = specials.into_iter().map(|(text, id)| (text, Some(id))).collect();
        let mut vocab = Self::without_merges(tokens, specials, pattern)?;
        vocab.merges = vocab.all_splits();
        vocab.merge_origin = MergeOrigin::TokenRank;
        vocab.whole_pretoken_lookup = true;
        Ok(vocab)
    }

    fn all_splits(&self) -> Vec<Merge> {
        let mut merges = Vec::new();
        for (result, token) in self.ordinary() {
            merges.extend((1..token.len()).filter_map(|middle| {
                let (left, right) = token.split_at(middle);
                let (left, right) = (self.id(left)?, self.id(right)?);
                Some(Merge { left, right, result, rank: result })
            }));
        }
        merges
    }

    /// For each token, the last merge of encoding it with the merges below its own rank.
    ///
    /// The ranks of all neighbours are kept, so that each step is a search for the smallest number:
    /// a file of runs of one letter would otherwise take seconds.
    pub(super) fn canonical_merges(&self) -> Vec<Merge> {
        let by_pair: HashMap<Pair, &Merge> =
            self.merges.iter().map(|merge| ((merge.left, merge.right), merge)).collect();
        let rank_of = |left: TokenId, right: TokenId| {
            by_pair.get(&(left, right)).map_or(u32::MAX, |merge| merge.rank)
        };
        let mut canonical = Vec::new();
        let mut parts: Vec<TokenId> = Vec::new();
        let mut ranks: Vec<u32> = Vec::new();
        for (id, token) in self.ordinary() {
            parts.clear();
            parts.extend(token.iter().filter_map(|&byte| self.byte_id(byte)));
            ranks.clear();
            ranks.extend(parts.windows(2).map(|pair| rank_of(pair[0], pair[1])));
            let mut last = None;
            while let Some(at) = leftmost_lowest(&ranks, id)
                && let Some(&merge) = by_pair.get(&(parts[at], parts[at + 1]))
            {
                parts[at] = merge.result;
                parts.remove(at + 1);
                ranks.remove(at);
                if at > 0 {
                    ranks[at - 1] = rank_of(parts[at - 1], parts[at]);
                }
                if at < ranks.len() {
                    ranks[at] = rank_of(parts[at], parts[at + 1]);
                }
                last = Some(merge);
            }
            if let (&[whole], Some(&merge)) = (&parts[..], last)
                && whole == id
                && let Ok(rank) = u32::try_from(canonical.len())
            {
                canonical.push(Merge { rank, ..merge });
            }
        }
        canonical
    }

    /// Ordinary tokens by ascending id.
    pub(super) fn ordinary(&self) -> impl Iterator<Item = (TokenId, &[u8])> {
        self.tokens().filter(|&(id, token)| self.id(token) == Some(id))
    }
}

/// Where the lowest of `ranks` stands first, unless it is above `limit`.
fn leftmost_lowest(ranks: &[u32], limit: u32) -> Option<usize> {
    let lowest = ranks.iter().min().filter(|&&lowest| lowest <= limit)?;
    ranks.iter().position(|rank| rank == lowest)
}
