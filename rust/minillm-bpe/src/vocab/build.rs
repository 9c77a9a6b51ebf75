//! Builds a [`Vocab`] from its parts and refuses parts that contradict each other.

use std::sync::OnceLock;

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{Merge, MergeOrigin, Vocab};
use crate::pretokenize::Pattern;
use crate::{Error, Pair, Result, TokenId};

impl Vocab {
    /// A vocabulary that lists its merges; a merge's place in the list is its rank.
    ///
    /// Two merges may yield the same bytes; they share the id. A special token given without an id
    /// keeps the one that its bytes have in `tokens` (and is then no ordinary token), or else gets
    /// the next id above all. One given with an id may have the bytes of an ordinary token that
    /// has another id: it comes out only where it is allowed. Linear in the bytes of the parts.
    ///
    /// # Errors
    ///
    /// [`Error::BadVocab`] for an empty token, an id or a token that appears twice;
    /// [`Error::BadMerge`] for a merge of or into something that is not an ordinary token, or one
    /// listed twice; [`Error::SpecialToken`] for a special token that is empty, listed twice, or
    /// has the id of something else.
    ///
    /// # Examples
    ///
    /// ```
    /// use minillm_bpe::{Vocab, pretokenize::Pattern};
    ///
    /// let tokens = vec![(0, b"a".to_vec()), (1, b"b".to_vec()), (2, b"ab".to_vec())];
    /// let merges = vec![(b"a".to_vec(), b"b".to_vec())];
    /// let specials = vec![("<|endoftext|>".to_owned(), None)];
    /// let vocab = Vocab::new(tokens, merges, specials, Pattern::None)?;
    /// assert_eq!(vocab.eot_id(), Some(3));
    /// # Ok::<(), minillm_bpe::Error>(())
    /// ```
    pub fn new(
        tokens: Vec<(TokenId, Vec<u8>)>,
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        specials: Vec<(String, Option<TokenId>)>,
        pattern: Pattern,
    ) -> Result<Self> {
        let mut vocab = Self::without_merges(tokens, specials, pattern)?;
        vocab.merges = vocab.resolve(merges)?;
        vocab.refuse_specials_from_merges()?;
        Ok(vocab)
    }

    /// [`new`](Self::new) from merges that have ids already, so that none of their bytes are looked
    /// up. The caller knows that these are ids of `tokens`, that no pair comes twice, and that the
    /// ranks count up from 0.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), but for [`Error::BadMerge`].
    pub(crate) fn with_merge_ids(
        tokens: Vec<(TokenId, Vec<u8>)>,
        merges: Vec<Merge>,
        specials: Vec<(String, Option<TokenId>)>,
        pattern: Pattern,
    ) -> Result<Self> {
        let vocab = Self { merges, ..Self::without_merges(tokens, specials, pattern)? };
        vocab.refuse_specials_from_merges()?;
        Ok(vocab)
    }

    /// The same vocabulary, with [`whole_pretoken_lookup`](Self::whole_pretoken_lookup) set.
    #[must_use]
    pub fn with_whole_pretoken_lookup(mut self, on: bool) -> Self {
        self.whole_pretoken_lookup = on;
        self.sha256 = OnceLock::new();
        self
    }

    /// The same vocabulary, which knows how often each listed merge occurred in training.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] unless there is one count for each merge, and the merges are listed.
    pub fn with_merge_counts(mut self, counts: Vec<u64>) -> Result<Self> {
        let refuse = |reason| Err(Error::Format { field: "merge_counts".to_owned(), reason });
        if self.is_ranked() {
            return refuse("given, but the merges are those of ranks".to_owned());
        }
        let (got, expected) = (counts.len(), self.merges.len());
        if got != expected {
            return refuse(format!("has {got} counts for {expected} merges"));
        }
        self.merge_counts = Some(counts);
        Ok(self)
    }

    pub(super) fn without_merges(
        mut tokens: Vec<(TokenId, Vec<u8>)>,
        specials: Vec<(String, Option<TokenId>)>,
        pattern: Pattern,
    ) -> Result<Self> {
        tokens.sort_by_key(|&(id, _)| id);
        refuse_bad_tokens(&tokens)?;
        let mut by_bytes = HashMap::with_capacity(tokens.len());
        for (id, token) in &tokens {
            if let Some(other) = by_bytes.insert(token.clone(), *id) {
                let reason = format!("token {} has two ids, {other} and {id}", show(token));
                return Err(Error::BadVocab { reason });
            }
        }
        let specials = place_specials(&tokens, &by_bytes, specials)?;
        for (text, id) in &specials {
            if by_bytes.get(text.as_bytes()) == Some(id) {
                by_bytes.remove(text.as_bytes());
            } else {
                tokens.push((*id, text.as_bytes().to_vec()));
            }
        }
        tokens.sort_by_key(|&(id, _)| id);

        let mut bytes = Vec::with_capacity(tokens.iter().map(|(_, token)| token.len()).sum());
        let mut ends = Vec::with_capacity(tokens.len());
        for (_, token) in &tokens {
            bytes.extend_from_slice(token);
            ends.push(bytes.len());
        }
        Ok(Self {
            ids: tokens.into_iter().map(|(id, _)| id).collect(),
            ends,
            bytes,
            by_bytes,
            merges: Vec::new(),
            merge_origin: MergeOrigin::Listed,
            specials,
            pattern,
            whole_pretoken_lookup: false,
            merge_counts: None,
            sha256: OnceLock::new(),
        })
    }

    /// Turns pairs of bytes into pairs of ids with a result.
    fn resolve(&self, merges: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<Merge>> {
        let mut first_rank: HashMap<Pair, u32> = HashMap::with_capacity(merges.len());
        let mut resolved = Vec::with_capacity(merges.len());
        // A merge into a special token is then reported as that, not as a merge into nothing.
        let specials: HashMap<&[u8], TokenId> =
            self.specials.iter().map(|(text, id)| (text.as_bytes(), *id)).collect();
        for (index, (mut left, right)) in merges.into_iter().enumerate() {
            let rank = u32::try_from(index)
                .map_err(|_| Error::BadVocab { reason: "more than 2^32 merges".to_owned() })?;
            let bad = |left: &[u8], reason: String| Error::BadMerge {
                rank,
                left: show(left),
                right: show(&right),
                reason,
            };
            let known = |token: &[u8]| {
                let id = self.id(token).or_else(|| specials.get(token).copied());
                id.ok_or_else(|| format!("{} is not a token", show(token)))
            };
            let left_id = known(&left).map_err(|reason| bad(&left, reason))?;
            let right_id = known(&right).map_err(|reason| bad(&left, reason))?;
            let left_len = left.len();
            left.extend_from_slice(&right);
            let result = known(&left).map_err(|reason| bad(&left[..left_len], reason))?;
            match first_rank.entry((left_id, right_id)) {
                Entry::Vacant(entry) => *entry.insert(rank),
                Entry::Occupied(entry) => {
                    let reason = format!("repeats merge {}", entry.get());
                    return Err(bad(&left[..left_len], reason));
                }
            };
            resolved.push(Merge { left: left_id, right: right_id, result, rank });
        }
        Ok(resolved)
    }

    fn refuse_specials_from_merges(&self) -> Result<()> {
        // Ascending by id.
        let special =
            |merge: &Merge| self.specials.binary_search_by_key(&merge.result, |&(_, id)| id).ok();
        match self.merges.iter().filter_map(special).min().map(|index| &self.specials[index]) {
            None => Ok(()),
            Some((text, id)) => Err(shared_id(text, *id)),
        }
    }
}

/// A token for a message: `b"..."` with everything but printable ASCII escaped.
pub(crate) fn show(token: &[u8]) -> String {
    format!("b\"{}\"", token.escape_ascii())
}

/// `tokens` are sorted by id.
fn refuse_bad_tokens(tokens: &[(TokenId, Vec<u8>)]) -> Result<()> {
    let refuse = |reason| Err(Error::BadVocab { reason });
    if let Some((id, _)) = tokens.iter().find(|(_, token)| token.is_empty()) {
        return refuse(format!("token {id} is empty"));
    }
    for pair in tokens.windows(2) {
        if let [(id, first), (next, second)] = pair
            && id == next
        {
            return refuse(format!("id {id} stands for both {} and {}", show(first), show(second)));
        }
    }
    match tokens.last() {
        Some(&(TokenId::MAX, _)) => refuse(format!("id {} is too large", TokenId::MAX)),
        _ => Ok(()),
    }
}

/// Gives every special token its id; ascending by id. `tokens` are sorted by id.
fn place_specials(
    tokens: &[(TokenId, Vec<u8>)],
    by_bytes: &HashMap<Vec<u8>, TokenId>,
    specials: Vec<(String, Option<TokenId>)>,
) -> Result<Vec<(String, TokenId)>> {
    let refuse =
        |token: &str, reason: String| Err(Error::SpecialToken { token: token.to_owned(), reason });
    let highest = tokens.last().map(|&(id, _)| id);
    let highest = specials.iter().filter_map(|&(_, id)| id).chain(highest).max();
    let mut next = highest.map_or(0, |id| u64::from(id) + 1);
    let mut text_of: HashMap<TokenId, String> = HashMap::with_capacity(specials.len());
    let mut placed: Vec<(String, TokenId)> = Vec::with_capacity(specials.len());
    let mut listed = HashSet::with_capacity(specials.len());
    for (text, wanted) in specials {
        if text.is_empty() {
            return refuse(&text, "is empty".to_owned());
        }
        if !listed.insert(text.clone()) {
            return refuse(&text, "is listed twice".to_owned());
        }
        let own = by_bytes.get(text.as_bytes()).copied();
        let id = wanted.or(own).unwrap_or_else(|| {
            next += 1;
            TokenId::try_from(next - 1).unwrap_or(TokenId::MAX)
        });
        if id == TokenId::MAX {
            return refuse(&text, format!("id {id} is too large"));
        }
        if own == Some(id) && text.len() == 1 {
            return Err(shared_id(&text, id));
        }
        if let Ok(index) = tokens.binary_search_by_key(&id, |&(id, _)| id)
            && tokens[index].1 != text.as_bytes()
        {
            return refuse(&text, format!("id {id} already stands for {}", show(&tokens[index].1)));
        }
        if let Some(other) = text_of.insert(id, text.clone()) {
            return refuse(&text, format!("id {id} already stands for {}", show(other.as_bytes())));
        }
        placed.push((text, id));
    }
    placed.sort_by_key(|&(_, id)| id);
    Ok(placed)
}

fn shared_id(token: &str, id: TokenId) -> Error {
    let reason = format!("shares id {id} with an ordinary token; give it an id of its own");
    Error::SpecialToken { token: token.to_owned(), reason }
}
