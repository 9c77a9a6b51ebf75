//! Textbook encoding: look at all neighbours, merge the lowest-ranking pair, repeat.
//!
//! Follows Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units",
//! arXiv:1508.07909, section 3.2, with ranks as in GPT-2.

use crate::pretokenize::PreTokenizer;
use crate::{Error, Merge, Result, TokenId, Vocab};

/// The ids of `text`, in which nothing is a special token.
///
/// Takes time in the number of merges times the squared length of each pre-token.
///
/// # Errors
///
/// [`Error::MissingByte`] if the vocabulary lacks a byte of `text`, [`Error::Pattern`] if its
/// pattern does not compile or gives up.
pub fn encode_ordinary(vocab: &Vocab, text: &[u8]) -> Result<Vec<TokenId>> {
    let mut pre_tokens: Vec<Vec<u8>> = Vec::new();
    let pre_tokenizer = PreTokenizer::new(vocab.pattern())?;
    pre_tokenizer.for_each(text, |pre_token| pre_tokens.push(pre_token.to_vec()))?;
    let mut ids = Vec::new();
    for pre_token in pre_tokens {
        ids.extend(encode_pre_token(vocab, &pre_token)?);
    }
    Ok(ids)
}

/// The ids of one pre-token.
///
/// # Errors
///
/// [`Error::MissingByte`] if the vocabulary lacks a byte of it.
pub fn encode_pre_token(vocab: &Vocab, pre_token: &[u8]) -> Result<Vec<TokenId>> {
    if vocab.whole_pretoken_lookup()
        && let Some(id) = vocab.id(pre_token)
    {
        return Ok(vec![id]);
    }
    let byte_id = |&byte: &u8| vocab.byte_id(byte).ok_or(Error::MissingByte { byte });
    let mut parts = pre_token.iter().map(byte_id).collect::<Result<Vec<TokenId>>>()?;
    while let Some((at, merge)) = lowest_merge(vocab, &parts) {
        parts.splice(at..at + 2, [merge.result]);
    }
    Ok(parts)
}

/// The lowest-ranking merge that applies, at the leftmost place where it does.
fn lowest_merge(vocab: &Vocab, parts: &[TokenId]) -> Option<(usize, Merge)> {
    let mut lowest: Option<(usize, Merge)> = None;
    for (at, pair) in parts.windows(2).enumerate() {
        let is_pair = |merge: &&Merge| [merge.left, merge.right] == *pair;
        if let Some(merge) = vocab.merges().iter().find(is_pair)
            && lowest.is_none_or(|(_, best)| merge.rank < best.rank)
        {
            lowest = Some((at, *merge));
        }
    }
    lowest
}
